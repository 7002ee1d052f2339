"""The guest agent's protocol, as one sandbox of the loopback server speaks it:
process.Process and filesystem.Filesystem (Connect, JSON) and /files, /health,
/metrics, /envs.  Processes and users are real.

	agent.py -isnotfc -port N    as the real agent is started (guest.py): on
	                             TCP, told by POST /init who it is
"""
import base64
import errno
import fcntl
import grp
import gzip
import json
import os
import pty
import pwd
import queue
import re
import shutil
import signal
import socketserver
import stat
import struct
import subprocess
import sys
import termios
import threading
import time
import traceback  # noqa: F401  there is no Python in some guests' roots
import urllib.parse
from datetime import datetime, timezone
from http.server import ThreadingHTTPServer

import wire

ENVD_VERSION = "0.6.13"
KEEP_STATUS_S = 30
CHUNK = 32768
GO_SIGNALS = {1: "hangup", 2: "interrupt", 3: "quit", 6: "aborted",
              9: "killed", 11: "segmentation fault", 13: "broken pipe",
              14: "alarm clock", 15: "terminated"}
HTTP_OF = {"canceled": 499, "invalid_argument": 400, "unauthenticated": 401,
           "permission_denied": 403, "not_found": 404, "already_exists": 409,
           "resource_exhausted": 429, "unimplemented": 501, "internal": 500,
           "unavailable": 503, "deadline_exceeded": 504}


class RpcError(Exception):
    def __init__(self, code, message):
        super().__init__(message)
        self.code = code
        self.message = message


class Agent:
    """What one sandbox's agent knows."""

    def __init__(self, config):
        self.config = config
        self.token = config.get("token")
        self.env = config.get("env", {})
        self.by_init = "sock" not in config
        self.processes = {}
        self.lock = threading.Lock()

    def user(self, name):
        try:
            return pwd.getpwnam(name or "user")
        except KeyError:
            raise RpcError("unauthenticated",
                           "invalid username: '%s'" % name) from None


    def init(self, told):
        self.token = told.get("accessToken")
        self.env = told.get("envVars", {})
        self.by_init = False


AGENT = None


class Process:
    """A started program and those who listen to it."""

    def __init__(self, req, user):
        self.config = req["process"]
        self.tag = req.get("tag")
        self.listeners = []
        self.lock = threading.Lock()
        self.end = None
        self.master = None
        self.stdin = None
        self.spawn(req, user)

    def spawn(self, req, user):
        config = self.config
        env = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin"
                       ":/sbin:/bin",
               "HOME": user.pw_dir, "USER": user.pw_name,
               "LOGNAME": user.pw_name, "E2B_SANDBOX": "true",
               "E2B_SANDBOX_ID": AGENT.config["id"],
               "E2B_TEMPLATE_ID": AGENT.config["template"]}
        env.update(AGENT.env)
        env.update(config.get("envs") or {})
        cwd = config.get("cwd") or user.pw_dir
        if cwd.startswith("~"):
            cwd = user.pw_dir + cwd[1:]
        if not cwd.startswith("/"):
            cwd = os.path.join(user.pw_dir, cwd)
        if not os.path.isdir(cwd):
            raise RpcError("invalid_argument",
                           "cwd '%s' does not exist" % cwd)
        # as envd does it: a missing program is nice's failure, 127
        argv = ["/usr/bin/nice", "-n", "0", config["cmd"]]
        argv += config.get("args") or []

        def child():
            os.setgroups(os.getgrouplist(user.pw_name, user.pw_gid))
            os.setgid(user.pw_gid)
            os.setuid(user.pw_uid)
            os.umask(0o022)

        size = (req.get("pty") or {}).get("size")
        if size is not None:
            self.spawn_pty(argv, env, cwd, child, size)
            return
        with_in = req.get("stdin", True)
        # the agent leaks the directories of its cgroups, as the real one
        leaked = [os.open("/run", os.O_RDONLY | os.O_DIRECTORY)]
        try:
            self.popen = subprocess.Popen(
                argv, env=env, cwd=cwd, preexec_fn=child,
                stdin=subprocess.PIPE if with_in else subprocess.DEVNULL,
                stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                pass_fds=leaked)
        finally:
            for fd in leaked:
                os.close(fd)
        self.stdin = self.popen.stdin
        self.sources = [("stdout", self.popen.stdout.fileno()),
                        ("stderr", self.popen.stderr.fileno())]

    def spawn_pty(self, argv, env, cwd, child, size):
        self.master, slave = pty.openpty()
        self.resize(size)
        env.setdefault("TERM", "xterm-256color")

        def child_tty():
            os.setsid()
            fcntl.ioctl(0, termios.TIOCSCTTY, 0)
            child()

        self.popen = subprocess.Popen(argv, env=env, cwd=cwd,
                                      preexec_fn=child_tty, stdin=slave,
                                      stdout=slave, stderr=slave)
        os.close(slave)
        self.sources = [("pty", self.master)]

    def resize(self, size):
        fcntl.ioctl(self.master, termios.TIOCSWINSZ,
                    struct.pack("HHHH", size.get("rows", 24),
                                size.get("cols", 80), 0, 0))

    def start(self):
        readers = [threading.Thread(target=self.read, args=s, daemon=True)
                   for s in self.sources]
        for r in readers:
            r.start()
        threading.Thread(target=self.wait, args=(readers,),
                         daemon=True).start()

    def read(self, name, fd):
        while True:
            try:
                data = os.read(fd, CHUNK)
            except OSError:
                data = b""
            if not data:
                return
            self.tell({"event": {"data": {
                name: base64.b64encode(data).decode()}}})

    def wait(self, readers):
        # the end waits until every holder of the pipes has closed them
        for r in readers:
            r.join()
        code = self.popen.wait()
        if code < 0:
            text = "signal: " + GO_SIGNALS.get(-code, "signal %d" % -code)
            end = {"exitCode": -1, "status": text, "error": text}
        else:
            end = {"exited": True, "status": "exit status %d" % code}
            if code:
                end["exitCode"] = code
                end["error"] = end["status"]
        self.end = {"event": {"end": end}}
        self.tell(self.end)
        timer = threading.Timer(KEEP_STATUS_S, self.forget)
        timer.daemon = True
        timer.start()

    def forget(self):
        with AGENT.lock:
            AGENT.processes.pop(self.popen.pid, None)

    def tell(self, event):
        with self.lock:
            targets = list(self.listeners)
        for q in targets:
            while True:
                try:
                    q.put(event, timeout=0.2)
                    break
                except queue.Full:
                    with self.lock:
                        if q not in self.listeners:
                            break

    def listen(self):
        q = queue.Queue(maxsize=64)
        with self.lock:
            self.listeners.append(q)
            if self.end:
                q.put(self.end)
        return q

    def leave(self, q):
        with self.lock:
            if q in self.listeners:
                self.listeners.remove(q)


def find_process(req):
    sel = req.get("process") or {}
    with AGENT.lock:
        for pid, p in AGENT.processes.items():
            if sel.get("pid") == pid or (sel.get("tag") and
                                         sel["tag"] == p.tag):
                return p
    raise RpcError("not_found", "process with %s not found" %
                   json.dumps(sel))


def live_process(req):
    p = find_process(req)
    if p.end:
        raise RpcError("not_found", "process has ended")
    return p


def rpc_list(req, user):
    out = []
    with AGENT.lock:
        for pid, p in AGENT.processes.items():
            if p.end is None:
                row = {"config": p.config, "pid": pid}
                if p.tag:
                    row["tag"] = p.tag
                out.append(row)
    return {"processes": out} if out else {}


def rpc_send_input(req, user):
    p = live_process(req)
    data = req.get("input") or {}
    try:
        if "pty" in data:
            os.write(p.master, base64.b64decode(data["pty"]))
        elif p.stdin is None:
            raise RpcError("internal", "stdin not enabled or closed")
        else:
            p.stdin.write(base64.b64decode(data.get("stdin", "")))
            p.stdin.flush()
    except (OSError, ValueError) as e:
        raise RpcError("internal", str(e)) from None
    return {}


def rpc_close_stdin(req, user):
    p = live_process(req)
    if p.stdin:
        try:
            p.stdin.close()
        except OSError:
            pass
    return {}


def rpc_send_signal(req, user):
    p = live_process(req)
    sig = {"SIGNAL_SIGTERM": signal.SIGTERM,
           "SIGNAL_SIGKILL": signal.SIGKILL}.get(req.get("signal"))
    if sig is None:
        raise RpcError("unimplemented", "signal not supported")
    os.kill(p.popen.pid, sig)
    return {}


def rpc_update(req, user):
    p = live_process(req)
    size = (req.get("pty") or {}).get("size")
    if size and p.master is not None:
        p.resize(size)
    return {}


def full_path(path, user):
    if path.startswith("~/") or path == "~":
        path = user.pw_dir + path[1:]
    if not path.startswith("/"):
        path = os.path.join(user.pw_dir, path)
    return os.path.normpath(path)


def entry_of(path):
    st = os.lstat(path)
    kind = "FILE"
    if stat.S_ISDIR(st.st_mode):
        kind = "DIRECTORY"
    elif stat.S_ISLNK(st.st_mode):
        kind = "SYMLINK"
    out = {"name": os.path.basename(path), "type": "FILE_TYPE_" + kind,
           "path": path, "mode": stat.S_IMODE(st.st_mode),
           "permissions": "-" + stat.filemode(st.st_mode)[1:],
           "owner": name_of(pwd.getpwuid, st.st_uid),
           "group": name_of(grp.getgrgid, st.st_gid),
           "modifiedTime": datetime.fromtimestamp(
               st.st_mtime, timezone.utc).strftime(
                   "%Y-%m-%dT%H:%M:%S.%fZ")}
    if st.st_size:
        out["size"] = str(st.st_size)
    if kind == "SYMLINK":
        out["symlinkTarget"] = os.readlink(path)
    return out


def name_of(function, number):
    try:
        return function(number)[0]
    except KeyError:
        return str(number)


def chown_new(path, user):
    """Make missing parents, and give them to the user."""
    missing = []
    at = os.path.dirname(path)
    while not os.path.isdir(at):
        missing.append(at)
        at = os.path.dirname(at)
    for d in reversed(missing):
        os.mkdir(d, 0o755)
        os.chown(d, user.pw_uid, user.pw_gid)


def rpc_stat(req, user):
    path = full_path(req["path"], user)
    try:
        return {"entry": entry_of(path)}
    except FileNotFoundError:
        raise RpcError("not_found", "file not found: " + path) from None


def rpc_list_dir(req, user):
    path = full_path(req["path"], user)
    if not os.path.exists(path):
        raise RpcError("not_found", "directory not found: " + path)
    if not os.path.isdir(path):
        raise RpcError("invalid_argument", "not a directory: " + path)
    out = []

    def walk(d, depth):
        for name in sorted(os.listdir(d)):
            full = os.path.join(d, name)
            out.append(entry_of(full))
            if depth > 1 and os.path.isdir(full) and \
                    not os.path.islink(full):
                walk(full, depth - 1)

    walk(path, req.get("depth") or 1)
    return {"entries": out} if out else {}


def rpc_make_dir(req, user):
    path = full_path(req["path"], user)
    if os.path.isdir(path):
        raise RpcError("already_exists", "directory already exists: " + path)
    if os.path.exists(path):
        raise RpcError("invalid_argument", "path is a file: " + path)
    chown_new(os.path.join(path, "x"), user)
    return {"entry": entry_of(path)}


def rpc_move(req, user):
    src = full_path(req["source"], user)
    dst = full_path(req["destination"], user)
    if not os.path.lexists(src):
        raise RpcError("not_found", "source not found: " + src)
    chown_new(dst, user)
    os.rename(src, dst)
    return {"entry": entry_of(dst)}


def rpc_remove(req, user):
    path = full_path(req["path"], user)
    if os.path.islink(path) or os.path.isfile(path):
        os.unlink(path)
    elif os.path.isdir(path):
        shutil.rmtree(path)
    return {}


def rpc_no_watch(req, user):
    raise RpcError("unimplemented", "watching is not part of this server")


UNARY = {
    "process.Process/List": rpc_list,
    "process.Process/SendInput": rpc_send_input,
    "process.Process/CloseStdin": rpc_close_stdin,
    "process.Process/SendSignal": rpc_send_signal,
    "process.Process/Update": rpc_update,
    "filesystem.Filesystem/Stat": rpc_stat,
    "filesystem.Filesystem/ListDir": rpc_list_dir,
    "filesystem.Filesystem/MakeDir": rpc_make_dir,
    "filesystem.Filesystem/Move": rpc_move,
    "filesystem.Filesystem/Remove": rpc_remove,
    "filesystem.Filesystem/CreateWatcher": rpc_no_watch,
}


class Handler(wire.Handler):
    def address_string(self):
        return "unix"

    def end_headers(self):
        # the proxy asks for one answer a connection
        if self.close_connection:
            self.send_header("Connection", "close")
        super().end_headers()

    def authorised(self, query):
        if AGENT.token is None or \
                self.headers.get("X-Access-Token") == AGENT.token:
            return True
        if self.path.startswith("/health"):
            return True
        self.answer(401, {"code": 401, "message":
                          "unauthorized access, please provide a valid "
                          "access token or method signing if supported"})
        return False

    def basic_user(self):
        auth = self.headers.get("Authorization", "")
        if auth.startswith("Basic "):
            return base64.b64decode(auth[6:]).decode().split(":")[0]
        return None

    # ---- requests
    def do_GET(self):
        url = urllib.parse.urlsplit(self.path)
        query = dict(urllib.parse.parse_qsl(url.query))
        if not self.authorised(query):
            return
        if url.path == "/health":
            self.answer(204)
        elif url.path == "/files":
            self.get_file(query)
        elif url.path == "/envs":
            self.answer(200, AGENT.env)
        elif url.path == "/metrics":
            self.answer(200, {"ts": int(time.time()), "cpu_count": 2,
                              "cpu_used_pct": 1.0, "mem_total": 1 << 29,
                              "mem_used": 1 << 27, "disk_used": 1 << 20,
                              "disk_total": 10 << 30})
        else:
            self.answer(404, b"404 page not found\n", "text/plain")

    def get_file(self, query):
        try:
            user = AGENT.user(query.get("username"))
        except RpcError as e:
            self.answer(401, {"code": 401, "message": e.message})
            return
        path = full_path(query.get("path", ""), user)
        try:
            if os.path.isdir(path):
                self.answer(400, {"code": 400, "message":
                                  "path '%s' is a directory" % path})
                return
            with open(path, "rb") as f:
                size = os.fstat(f.fileno()).st_size
                self.send_response(200)
                self.send_header("Content-Type", "application/octet-stream")
                self.send_header("Content-Length", str(size))
                self.end_headers()
                shutil.copyfileobj(f, self.wfile, 1 << 20)
        except FileNotFoundError:
            self.answer(404, {"code": 404, "message":
                              "path '%s' does not exist" % path})
        except OSError as e:
            self.answer(500, {"code": 500, "message": str(e)})

    def do_POST(self):
        url = urllib.parse.urlsplit(self.path)
        query = dict(urllib.parse.parse_qsl(url.query))
        name = url.path.lstrip("/")
        body = self.body()
        if not self.authorised(query):
            return
        if url.path == "/files":
            self.post_files(query, body)
        elif name in ("process.Process/Start", "process.Process/Connect"):
            self.stream(name, body)
        elif url.path == "/init" and AGENT.by_init:
            AGENT.init(json.loads(body))
            self.answer(204)
        elif name in UNARY:
            self.unary(name, body)
        else:
            self.answer(404, b"404 page not found\n", "text/plain")

    def unary(self, name, body):
        if not self.headers.get("Content-Type", "").startswith(
                "application/json"):
            self.answer(415)
            return
        try:
            req = json.loads(body)
        except ValueError:
            self.answer(400, {"code": "invalid_argument",
                              "message": "unmarshal: unexpected end"})
            return
        try:
            user = AGENT.user(self.basic_user())
            self.answer(200, UNARY[name](req, user))
        except RpcError as e:
            self.answer(HTTP_OF[e.code], {"code": e.code,
                                          "message": e.message})
        except OSError as e:
            self.answer(500, {"code": "internal", "message": str(e)})

    # ---- files
    def parts(self, query, body):
        ctype = self.headers.get("Content-Type", "")
        if self.headers.get("Content-Encoding") == "gzip":
            body = gzip.decompress(body)
        if ctype.startswith("application/octet-stream"):
            return [(query["path"], body)] if "path" in query else []
        m = re.search(r'boundary="?([^";]+)', ctype)
        if not m:
            raise ValueError("no multipart")
        out = []
        for part in body.split(b"--" + m.group(1).encode())[1:-1]:
            head, data = part.split(b"\r\n\r\n", 1)
            n = re.search(rb'name="([^"]*)"', head)
            f = re.search(rb'filename="([^"]*)"', head)
            if n and n.group(1) == b"file" and f:
                out.append((query.get("path") or f.group(1).decode(),
                            data[:-2]))
        return out

    def post_files(self, query, body):
        try:
            user = AGENT.user(query.get("username"))
        except RpcError as e:
            self.answer(401, {"code": 401, "message": e.message})
            return
        out = []
        try:
            for path, data in self.parts(query, body):
                path = full_path(path, user)
                if os.path.isdir(path):
                    self.answer(400, {"code": 400, "message":
                                      "path is a directory: " + path})
                    return
                chown_new(path, user)
                fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC,
                             0o644)
                with os.fdopen(fd, "wb") as f:
                    os.chown(path, user.pw_uid, user.pw_gid)
                    f.write(data)
                try:
                    os.listxattr(path)
                except OSError as e:
                    if e.errno != errno.ENOTSUP:
                        raise
                out.append({"path": path, "name": os.path.basename(path),
                            "type": "file"})
        except ValueError as e:
            self.answer(400, {"code": 400, "message": str(e)})
            return
        except OSError as e:
            status = 507 if e.errno == 28 else 500
            self.answer(status, {"code": status, "message": str(e)})
            return
        self.answer(200, out)

    # ---- streams
    def frame(self, flags, value):
        data = wire.envelope(value, flags)
        self.wfile.write(b"%x\r\n%s\r\n" % (len(data), data))
        self.wfile.flush()

    def end_stream(self, error=None):
        self.frame(2, {"error": error} if error else {})
        self.wfile.write(b"0\r\n\r\n")
        self.wfile.flush()

    def stream(self, name, body):
        if not self.headers.get("Content-Type", "").startswith(
                "application/connect+json"):
            self.answer(415)
            return
        self.send_response(200)
        self.send_header("Content-Type", "application/connect+json")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        try:
            try:
                (_, req), = wire.envelopes(body)
            except ValueError:
                raise RpcError("invalid_argument", "bad envelope") from None
            if name.endswith("Start"):
                p, q = self.start(req)
            else:
                p = find_process(req)
                q = p.listen()
            self.follow(p, q)
        except RpcError as e:
            self.end_stream({"code": e.code, "message": e.message})
        except (BrokenPipeError, ConnectionResetError):
            self.close_connection = True

    def start(self, req):
        user = AGENT.user(self.basic_user())
        p = Process(req, user)
        q = p.listen()
        with AGENT.lock:
            AGENT.processes[p.popen.pid] = p
        p.start()
        return p, q

    def follow(self, p, q):
        ms = self.headers.get("Connect-Timeout-Ms")
        deadline = time.monotonic() + int(ms) / 1000 if ms else None
        every = float(self.headers.get("Keepalive-Ping-Interval") or 90)
        try:
            self.frame(0, {"event": {"start": {"pid": p.popen.pid}}})
            while True:
                wait = every
                if deadline is not None:
                    wait = min(wait, deadline - time.monotonic())
                if wait <= 0:
                    p.popen.kill()
                    raise RpcError("deadline_exceeded",
                                   "context deadline exceeded")
                try:
                    event = q.get(timeout=wait)
                except queue.Empty:
                    self.frame(0, {"event": {"keepalive": {}}})
                    continue
                self.frame(0, event)
                if "end" in event["event"]:
                    break
            self.end_stream()
        finally:
            p.leave(q)


class Server(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    daemon_threads = True
    request_queue_size = 128


def serve(config):
    """On a unix socket (config["sock"]) or on TCP (config["port"])."""
    global AGENT
    AGENT = Agent(config)
    if "sock" in config:
        server = Server(config["sock"], Handler)
    else:
        server = ThreadingHTTPServer(("127.0.0.1", config["port"]), Handler)
        server.daemon_threads = True
    server.serve_forever()


def main():
    serve({"id": "", "template": "",
           "port": int(sys.argv[sys.argv.index("-port") + 1])})


if __name__ == "__main__":
    main()
