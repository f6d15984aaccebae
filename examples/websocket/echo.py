"""A WebSocket server that sends back what it gets, and a client, in the standard library alone.

usage: python3 echo.py serve [PORT]
       python3 echo.py say HOST:PORT PATH MESSAGE...
"""

import base64, hashlib, os, socket, socketserver, struct, sys

GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
TEXT, CLOSE, PING, PONG = 1, 8, 9, 10


def read_frame(stream):
    first, second = stream.read(2)
    length = second & 127
    if length == 126:
        (length,) = struct.unpack("!H", stream.read(2))
    elif length == 127:
        (length,) = struct.unpack("!Q", stream.read(8))
    mask = stream.read(4) if second & 128 else bytes(4)
    payload = stream.read(length)
    return first & 15, bytes(byte ^ mask[at % 4] for at, byte in enumerate(payload))


def frame(code, payload, mask=b""):
    length, masked = len(payload), 128 if mask else 0
    size = bytes([length | masked]) if length < 126 else struct.pack("!BH", 126 | masked, length)
    if mask:
        payload = bytes(byte ^ mask[at % 4] for at, byte in enumerate(payload))
    return bytes([128 | code]) + size + mask + payload


def read_head(stream):
    lines = iter(lambda: stream.readline().decode().strip(), "")
    first = next(lines, "")
    return first, {name.lower(): value.strip() for name, value in (line.split(":", 1) for line in lines)}


class Echo(socketserver.StreamRequestHandler):
    def handle(self):
        first, fields = read_head(self.rfile)
        if "sec-websocket-key" not in fields:
            return self.wfile.write(b"HTTP/1.1 200 OK\r\ncontent-length: 6\r\nconnection: close\r\n\r\nhello\n")
        print(first, "request id", fields.get("x-request-id"), flush=True)
        accept = base64.b64encode(hashlib.sha1(fields["sec-websocket-key"].encode() + GUID).digest())
        self.wfile.write(b"HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: Upgrade\r\n"
                         b"sec-websocket-accept: " + accept + b"\r\n\r\n")
        while True:
            code, payload = read_frame(self.rfile)
            if code == CLOSE:
                print("closed with code", *struct.unpack("!H", payload[:2]), flush=True)
                return self.wfile.write(frame(CLOSE, payload))
            if code != PONG:
                self.wfile.write(frame(PONG if code == PING else code, payload))


class Server(socketserver.ThreadingTCPServer):
    allow_reuse_address = daemon_threads = True


def say(address, path, messages):
    host, port = address.rsplit(":", 1)
    with socket.create_connection((host, int(port))) as client, client.makefile("rb") as stream:
        key = base64.b64encode(os.urandom(16)).decode()
        client.sendall(f"GET {path} HTTP/1.1\r\nhost: {address}\r\nupgrade: websocket\r\nconnection: Upgrade\r\n"
                       f"sec-websocket-version: 13\r\nsec-websocket-key: {key}\r\n\r\n".encode())
        first, fields = read_head(stream)
        print(first, "request id", fields.get("x-request-id"))
        for message in messages:
            client.sendall(frame(TEXT, message.encode(), os.urandom(4)))
            code, payload = read_frame(stream)
            if code == CLOSE:
                return print("closed with code", *struct.unpack("!H", payload[:2]))
            print("heard", payload.decode())
        client.sendall(frame(CLOSE, struct.pack("!H", 1000), os.urandom(4)))
        print("closed with code", *struct.unpack("!H", read_frame(stream)[1][:2]))


match sys.argv[1:]:
    case ["serve", *port]:
        with Server(("127.0.0.1", int(port[0]) if port else 9001), Echo) as server:
            print("serves on", server.server_address[1], flush=True)
            server.serve_forever()
    case ["say", address, path, *messages]:
        say(address, path, messages)
    case _:
        sys.exit(__doc__)
