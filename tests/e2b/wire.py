"""What both halves of the loopback server say and hear on HTTP."""
import json
import struct
from http.server import BaseHTTPRequestHandler


def envelope(value, flags=0):
    """One message of a Connect stream."""
    data = json.dumps(value, separators=(", ", ":")).encode()
    return struct.pack(">BI", flags, len(data)) + data


def envelopes(raw):
    """(flags, value) of each; ValueError when it is not whole."""
    while raw:
        if len(raw) < 5:
            raise ValueError("half a head")
        flags, n = struct.unpack(">BI", raw[:5])
        if len(raw) < 5 + n:
            raise ValueError("half an envelope")
        yield flags, json.loads(raw[5:5 + n])
        raw = raw[5 + n:]


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, format, *args):
        pass

    def end_headers(self):
        # the proxy asks for one answer a connection
        if self.close_connection:
            self.send_header("Connection", "close")
        super().end_headers()

    def body(self):
        if "chunked" in self.headers.get("Transfer-Encoding", ""):
            out = []
            while True:
                size = int(self.rfile.readline().split(b";")[0], 16)
                if size == 0:
                    while self.rfile.readline().strip():
                        pass
                    return b"".join(out)
                out.append(self.rfile.read(size))
                self.rfile.readline()
        return self.rfile.read(int(self.headers.get("Content-Length") or 0))

    def answer(self, status, value=None, ctype="application/json",
               headers=()):
        data = value if isinstance(value, bytes) else \
            b"" if value is None else json.dumps(value).encode()
        self.send_response(status)
        if status != 204:
            self.send_header("Content-Length", str(len(data)))
            self.send_header("Content-Type", ctype)
        for k, v in headers:
            self.send_header(k, v)
        self.end_headers()
        self.wfile.write(data)
