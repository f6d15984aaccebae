"""Calls the greeter through the gateway.
usage: python client.py [host:port]"""

import itertools
import sys

import grpc

channel = grpc.insecure_channel(sys.argv[1] if len(sys.argv) > 1 else "127.0.0.1:8080")
text = dict(request_serializer=str.encode, response_deserializer=bytes.decode)

print(channel.unary_unary("/example.Greeter/Hello", **text)("world", timeout=5))

counted = channel.unary_stream("/example.Greeter/Count", **text)("sheep", timeout=5)
for line in itertools.islice(counted, 3):
    print(line)
counted.cancel()  # the server hears of it at once

for path, seconds in [("/example.Greeter/Sleep", 0.3), ("/no.such.Service/Call", 5)]:
    try:
        channel.unary_unary(path, **text)("30", timeout=seconds)
    except grpc.RpcError as error:
        print(path, error.code().name)
