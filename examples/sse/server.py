"""Server-sent events: a number five times a second, after the last one the client has seen.
usage: python server.py [port]"""

import sys
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Ticker(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        self.send_response(200)
        self.send_header("content-type", "text/event-stream")
        self.send_header("transfer-encoding", "chunked")
        self.end_headers()
        number = int(self.headers.get("last-event-id", 0))
        try:
            while True:
                number += 1
                event = f"id: {number}\ndata: tick {number}\n\n".encode()
                self.wfile.write(b"%x\r\n%s\r\n" % (len(event), event))
                time.sleep(0.2)
        except OSError:
            self.close_connection = True  # nobody listens any more

    def log_message(self, *about):
        pass


port = int(sys.argv[1]) if len(sys.argv) > 1 else 9001
server = ThreadingHTTPServer(("127.0.0.1", port), Ticker)
print(f"the ticker serves on 127.0.0.1:{server.server_port}", flush=True)
server.serve_forever()
