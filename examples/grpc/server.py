"""A service of gRPC. Its messages are UTF-8 text, so that it needs no generated code.
usage: python server.py [port]"""

import sys
import time
from concurrent.futures import ThreadPoolExecutor

import grpc


def hello(name, context):
    return f"hello {name}"


def count(name, context):
    number = 0
    while context.is_active():
        number += 1
        yield f"{name} {number}"
        time.sleep(0.1)


def sleep(seconds, context):
    time.sleep(float(seconds))
    return "slept"


text = dict(request_deserializer=bytes.decode, response_serializer=str.encode)
methods = {
    "Hello": grpc.unary_unary_rpc_method_handler(hello, **text),
    "Sleep": grpc.unary_unary_rpc_method_handler(sleep, **text),
    "Count": grpc.unary_stream_rpc_method_handler(count, **text),
}
server = grpc.server(ThreadPoolExecutor(8))
server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("example.Greeter", methods),))
port = server.add_insecure_port(f"127.0.0.1:{sys.argv[1] if len(sys.argv) > 1 else 50051}")
server.start()
print(f"the greeter serves on 127.0.0.1:{port}", flush=True)
server.wait_for_termination()
