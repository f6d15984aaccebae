"""A service of gRPC whose messages are bytes, and a client that tries all of it: `raw.py serve` prints its port and
serves, `raw.py call HOST:PORT` prints `ok` or fails."""

import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import grpc

LARGE = 10 << 20
OPTIONS = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]
hanging = set()


def echo(request, context):
    for key, value in context.invocation_metadata():
        if key == "x-bytes-bin":
            context.send_initial_metadata(((key, value),))
    context.set_trailing_metadata((("x-end", "yes"), ("x-end-bin", b"\x00\xff")))
    return request


def fail(request, context):
    context.set_trailing_metadata((("x-why", "because"),))
    context.abort(grpc.StatusCode.FAILED_PRECONDITION, "n\u00f6: 100 %")


def count(request, context):
    for number in range(request[0]):
        yield bytes([number])


def total(requests, context):
    return b"".join(requests)


def chat(requests, context):
    yield from requests


def hang(request, context):
    ended = threading.Event()
    hanging.add(ended)
    context.add_callback(ended.set)
    ended.wait(30)
    hanging.discard(ended)
    return b""


def hangs(request, context):
    return str(len(hanging)).encode()


def what_is_left(request, context):
    return str(int(context.time_remaining() * 1000)).encode()


def serve():
    one = grpc.unary_unary_rpc_method_handler
    methods = {
        "Echo": one(echo),
        "Fail": one(fail),
        "Hang": one(hang),
        "Hangs": one(hangs),
        "Left": one(what_is_left),
        "Count": grpc.unary_stream_rpc_method_handler(count),
        "Sum": grpc.stream_unary_rpc_method_handler(total),
        "Chat": grpc.stream_stream_rpc_method_handler(chat),
    }
    server = grpc.server(ThreadPoolExecutor(16), options=OPTIONS)
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("test.Raw", methods),))
    print(server.add_insecure_port("127.0.0.1:0"), flush=True)
    server.start()
    server.wait_for_termination()


def nobody_hangs(channel):
    """Soon after a cancellation."""
    hangs = channel.unary_unary("/test.Raw/Hangs")
    until = time.monotonic() + 5
    while hangs(b"?", timeout=5) != b"0":
        assert time.monotonic() < until, "a call that nobody waits for still hangs"
        time.sleep(0.01)


def call(address):
    channel = grpc.insecure_channel(address, options=OPTIONS)
    grpc.channel_ready_future(channel).result(timeout=10)
    one = channel.unary_unary

    answer, info = one("/test.Raw/Echo").with_call(b"hi", timeout=10, metadata=(("x-bytes-bin", b"\x00\xff\n"),))
    assert answer == b"hi"
    assert dict(info.initial_metadata())["x-bytes-bin"] == b"\x00\xff\n", info.initial_metadata()
    assert dict(info.trailing_metadata())["x-end"] == "yes", info.trailing_metadata()
    assert dict(info.trailing_metadata())["x-end-bin"] == b"\x00\xff", info.trailing_metadata()

    large = bytes(range(256)) * (LARGE // 256)
    assert one("/test.Raw/Echo")(large, timeout=30) == large

    try:
        one("/test.Raw/Fail")(b"?", timeout=10)
        raise AssertionError("a refusal was expected")
    except grpc.RpcError as error:
        assert error.code() == grpc.StatusCode.FAILED_PRECONDITION, error
        assert error.details() == "n\u00f6: 100 %", error
        assert dict(error.trailing_metadata())["x-why"] == "because", error

    assert list(channel.unary_stream("/test.Raw/Count")(b"\x05", timeout=10)) == [bytes([n]) for n in range(5)]
    assert channel.stream_unary("/test.Raw/Sum")(iter([b"a", b"b", b"c"]), timeout=10) == b"abc"

    heard = threading.Semaphore(1)

    def say():
        for number in range(10):
            assert heard.acquire(timeout=10)
            yield bytes([number])

    for number, note in enumerate(channel.stream_stream("/test.Raw/Chat")(say(), timeout=30)):
        assert note == bytes([number])
        heard.release()

    left = int(one("/test.Raw/Left")(b"?", timeout=2))
    assert 1000 < left <= 2100, left  # grpcio rounds up

    try:
        one("/test.Raw/Hang")(b"?", timeout=0.3)
        raise AssertionError("a deadline was expected")
    except grpc.RpcError as error:
        assert error.code() == grpc.StatusCode.DEADLINE_EXCEEDED, error
    nobody_hangs(channel)

    waiting = one("/test.Raw/Hang").future(b"?", timeout=30)
    until = time.monotonic() + 10
    while one("/test.Raw/Hangs")(b"?", timeout=5) != b"1":
        assert time.monotonic() < until
    waiting.cancel()
    nobody_hangs(channel)

    try:
        one("/nobody.Serves/This")(b"?", timeout=10)
        raise AssertionError("no route was expected")
    except grpc.RpcError as error:
        assert error.code() == grpc.StatusCode.UNIMPLEMENTED, error
    print("ok")


if __name__ == "__main__":
    serve() if sys.argv[1] == "serve" else call(sys.argv[2])
