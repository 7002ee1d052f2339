"""Where the stand-in driver keeps its tables, with faults to order.

mode: ok; refuse (503); slow (answers after 1.5 s); cut (reads half of an
upload and hangs up); late (stores it, answers when nobody waits any more);
deaf (never answers).
"""
import io
import tarfile
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

EMPTY = io.BytesIO()
tarfile.open(fileobj=EMPTY, mode="w").close()


class Store:
    def __init__(self):
        self.mode = "ok"
        self.tables = {}
        self.lock = threading.Lock()
        store = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, format, *args):
                pass

            def answer(self, status, data=b""):
                self.send_response(status)
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def allowed(self):
                if self.headers.get("Authorization") == "Bearer secret-token":
                    return True
                self.answer(401)
                return False

            def do_GET(self):
                if self.allowed():
                    self.answer(200, store.as_tar(self.path))

            def do_PUT(self):
                n = int(self.headers["Content-Length"])
                mode = store.mode
                if mode == "cut":
                    self.rfile.read(n // 2)
                    self.close_connection = True
                    return
                data = self.rfile.read(n)
                if not self.allowed():
                    return
                if mode == "refuse":
                    self.answer(503)
                    return
                if mode == "deaf":
                    time.sleep(20)
                    self.close_connection = True
                    return
                if mode == "slow":
                    time.sleep(1.5)
                store.merge(self.path, data)
                if mode == "late":
                    time.sleep(6)
                self.answer(200)

            def handle_one_request(self):
                try:
                    super().handle_one_request()
                except OSError:
                    self.close_connection = True

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.url = "http://127.0.0.1:%d" % self.server.server_address[1]
        threading.Thread(target=self.server.serve_forever,
                         daemon=True).start()

    def as_tar(self, path):
        out = io.BytesIO()
        with self.lock, tarfile.open(fileobj=out, mode="w") as t:
            for name, data in self.tables.get(path, {}).items():
                info = tarfile.TarInfo(name)
                info.size = len(data)
                t.addfile(info, io.BytesIO(data))
        return out.getvalue()

    def merge(self, path, data):
        with tarfile.open(fileobj=io.BytesIO(data)) as t, self.lock:
            table = self.tables.setdefault(path, {})
            for m in t:
                if m.isfile():
                    table[m.name] = t.extractfile(m).read()

    def files(self, table):
        with self.lock:
            return {k[2:] if k.startswith("./") else k: v for k, v in
                    self.tables.get("/%s.tar" % table, {}).items()}
