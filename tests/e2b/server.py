"""An E2B-compatible server on loopback, for tests.

Control plane (v1, v2, templates v3) and proxy on one port; each sandbox is
guest.py in namespaces of its own, with real processes and FUSE.  What it must
answer was taken from the vendor's API description; the official clients run
against it (test_clients.py) to keep it so.

Beside the API, for tests:  POST /__fault {"match": "POST /v2/sandboxes",
"action": "lose" | "status:503" | "cut:N" | "delay:S", "times": N, "after": N,
"retry_after": S};  GET /__log: every request with its body, but for /files.

Differences from the real thing: fork and snapshot copy files, not memory; a
resumed sandbox keeps its TCP connections; templates are built in a sandbox
of this machine, whatever image they name.
"""
import argparse
import base64
import gzip
import io
import json
import os
import random
import re
import signal
import socket
import subprocess
import sys
import tarfile
import threading
import time
import urllib.parse
from datetime import datetime, timezone
from http.client import HTTPConnection
from http.server import ThreadingHTTPServer

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import agent  # noqa: E402
import interpreter  # noqa: E402
import wire  # noqa: E402
from sandboxes import ApiError, Sandbox, iso, random_id  # noqa: E402

MAX_TIMEOUT = 86400


class World:
    """All sandboxes and templates of the server."""

    def __init__(self, args):
        self.args = args
        self.dir = args.dir
        self.upper = os.path.join(args.dir, "u")
        os.makedirs(self.upper, exist_ok=True)
        # overlay wants its upper layer outside of the lower one's tree
        subprocess.run(["mount", "-t", "tmpfs", "-o", "mode=700", "tmpfs",
                        self.upper], check=True)
        self.sandboxes = {}
        self.templates = {}
        self.builds = {}
        self.files = {}
        self.snapshots = {}
        self.faults = []
        self.requests = []
        self.creates = []
        self.lock = threading.RLock()
        threading.Thread(target=self.reaper, daemon=True).start()

    def reaper(self):
        while True:
            time.sleep(0.1)
            now = time.time()
            for sb in list(self.sandboxes.values()):
                if sb.state == "running" and sb.end <= now:
                    if sb.auto_pause:
                        sb.pause()
                    else:
                        self.remove(sb.id)

    def template_dir(self, name):
        t = self.templates.get(name) or self.snapshots.get(name)
        return t.get("dir") if t else None

    def template_env(self, name):
        t = self.templates.get(name)
        return t.get("env", {}) if t else {}

    def resolve_template(self, name):
        if name in ("base", "code-interpreter-v1", "ratelimit") or \
                name in self.args.root:
            return name
        bare = name.split(":")[0].split("/")[-1]
        for key, t in self.templates.items():
            if bare in (key, t["name"]) and t["status"] == "ready":
                return key
        if name in self.snapshots:
            return name
        raise ApiError(404, "template '%s' not found" % name)

    def create(self, body, secure):
        if not isinstance(body.get("templateID"), str):
            raise ApiError(400, "templateID is required")
        if body["timeout"] > MAX_TIMEOUT:
            raise ApiError(400, "Max instance length exceeded")
        template = self.resolve_template(body["templateID"])
        with self.lock:
            now = time.time()
            self.creates = [t for t in self.creates if now - t < 1]
            if self.args.creates_per_s and \
                    len(self.creates) >= self.args.creates_per_s:
                raise ApiError(429, "Rate limit exceeded",
                               [("Retry-After", "1")])
            self.creates.append(now)
            running = [s for s in self.sandboxes.values()
                       if s.state == "running"]
            if len(running) >= self.args.max_sandboxes:
                raise ApiError(429, "you have reached the maximum number of "
                               "concurrent E2B sandboxes (%d)" %
                               self.args.max_sandboxes)
        sb = Sandbox(self, body, template, secure)
        self.sandboxes[sb.id] = sb
        return sb

    def get(self, sid):
        sb = self.sandboxes.get(sid.split("-")[0])
        if not sb:
            raise ApiError(404, "Sandbox \"%s\" doesn't exist or you don't "
                           "have access to it" % sid)
        return sb

    def remove(self, sid):
        sb = self.get(sid)
        del self.sandboxes[sb.id]
        sb.kill()

    def snapshot(self, sb, name):
        sid = (name or random_id("s")) + ":default"
        to = os.path.join(self.upper, "snap-" + random_id(""))
        subprocess.run(["cp", "-a", sb.dir + "/upper", to], check=True)
        self.snapshots[sid] = {"dir": to, "sandbox": sb.id}
        return sid

    def fault_for(self, method, path):
        with self.lock:
            for f in self.faults:
                if not re.match(f["match"], method + " " + path):
                    continue
                if f.get("after", 0) > 0:
                    f["after"] -= 1
                    continue
                if f["times"] > 0:
                    f["times"] -= 1
                    return f
        return None

    # ---- templates
    def new_template(self, body):
        name = body["name"].split(":")[0]
        tid = None
        for key, t in self.templates.items():
            if t["name"] == name:
                tid = key
        if not tid:
            tid = random_id("")
            self.templates[tid] = {"name": name, "status": "waiting",
                                   "env": {}, "cpu": body.get("cpuCount", 2),
                                   "memory": body.get("memoryMB", 1024),
                                   "created": time.time()}
        bid = "%08x-0000-4000-8000-%012x" % (random.getrandbits(32),
                                             random.getrandbits(48))
        self.builds[bid] = {"template": tid, "status": "waiting", "log": []}
        return {"templateID": tid, "buildID": bid, "public": False,
                "aliases": [name], "names": [name], "tags": ["default"]}

    def build(self, tid, bid, body):
        b = self.builds[bid]
        b["status"] = "building"
        threading.Thread(target=self.run_build, args=(tid, b, body),
                         daemon=True).start()

    def run_build(self, tid, b, body):
        def log(message, level="info", step=None):
            b["log"].append({"timestamp": iso(time.time()), "level": level,
                             "message": message, "step": step or ""})

        sb = None
        try:
            start = "base"
            if body.get("fromTemplate"):
                start = self.resolve_template(body["fromTemplate"])
            sb = Sandbox(self, {"timeout": 600}, start, False)
            user, cwd, env = "root", "/", {}
            for i, step in enumerate(body.get("steps") or []):
                kind, a = step["type"], step["args"]
                log("[%d] %s %s" % (i + 1, kind, " ".join(a)), step=str(i + 1))
                if kind == "RUN":
                    self.guest_run(sb, a[0], a[1] if len(a) > 1 else user,
                                   cwd, env, log)
                elif kind == "WORKDIR":
                    cwd = os.path.join(cwd, a[0])
                    self.guest_run(sb, "mkdir -p '%s'" % cwd, "root", "/",
                                   {}, log)
                elif kind == "USER":
                    user = a[0]
                elif kind == "ENV":
                    env.update(zip(a[::2], a[1::2]))
                elif kind == "COPY":
                    self.guest_copy(sb, step, cwd, user, log)
                else:
                    raise RuntimeError("unknown step " + kind)
            if body.get("startCmd"):
                log("start command: " + body["startCmd"])
            to = os.path.join(self.upper, "tpl-" + random_id(""))
            subprocess.run(["cp", "-a", sb.dir + "/upper", to], check=True)
            self.templates[tid].update(dir=to, env=env, status="ready",
                                       start=body.get("startCmd"))
            log("Build finished")
            b["status"] = "ready"
        except Exception as e:  # the build's failure is its answer
            log(str(e), "error")
            b["reason"] = {"message": str(e), "step": ""}
            b["status"] = "error"
        finally:
            if sb:
                sb.kill()

    def guest_call(self, sb, name, body, user="root"):
        c = HTTPConnection("guest")
        c.sock = sb.connect()
        c.request("POST", "/" + name, body, {
            "Content-Type": "application/connect+json" if name.endswith(
                "Start") else "application/octet-stream",
            "Authorization": "Basic " + base64.b64encode(
                (user + ":").encode()).decode()})
        return c.getresponse().read()

    def guest_run(self, sb, command, user, cwd, env, log):
        raw = self.guest_call(sb, "process.Process/Start", wire.envelope(
            {"process": {"cmd": "/bin/bash", "args": ["-l", "-c", command],
                         "cwd": cwd, "envs": env}, "stdin": False}), user)
        status = None
        for _, v in wire.envelopes(raw):
            data = (v.get("event") or {}).get("data") or {}
            for chunk in data.values():
                for line in base64.b64decode(chunk).decode(
                        errors="replace").splitlines():
                    log(line, "debug")
            if "end" in (v.get("event") or {}):
                status = v["event"]["end"].get("exitCode", 0)
            if v.get("error"):
                raise RuntimeError(v["error"]["message"])
        if status:
            raise RuntimeError("command '%s' failed: exit status %d" %
                               (command, status))

    def guest_copy(self, sb, step, cwd, user, log):
        src, dest, owner, mode = (step["args"] + ["", ""])[:4]
        data = self.files.get(step["filesHash"])
        if data is None:
            raise RuntimeError("files of COPY %s were not uploaded" % src)
        self.guest_call(sb, "files?path=/tmp/.copy.tgz&username=root", data)
        owner = owner or user
        mode_part = "chmod -R %s /tmp/.copy/*;" % mode if mode else ""
        script = (
            "set -e; rm -rf /tmp/.copy; mkdir /tmp/.copy; "
            "tar -xzf /tmp/.copy.tgz -C /tmp/.copy; cd /tmp/.copy; "
            "chown -R %s .; %s" % (owner, mode_part) +
            "src='%s'; dest='%s'; " % (src.lstrip("/").removeprefix("./") or
                                       ".", dest) +
            "case $dest in /*) ;; *) dest='%s'/$dest;; esac; " % cwd +
            "if [ -d \"$src\" ]; then mkdir -p \"$dest\"; "
            "cp -a \"$src\"/. \"$dest\"; "
            "else case $dest in */) mkdir -p \"$dest\";; "
            "*) mkdir -p \"$(dirname \"$dest\")\";; esac; "
            "cp -a $src \"$dest\"; fi; rm -rf /tmp/.copy /tmp/.copy.tgz")
        self.guest_run(sb, script, "root", "/", {}, log)


WORLD = None


def parse_filter(text):
    """The server unquotes the whole, splits, and unquotes each part."""
    out = {}
    for pair in urllib.parse.unquote_plus(text).split("&"):
        if pair:
            k, _, v = pair.partition("=")
            out[urllib.parse.unquote_plus(k)] = urllib.parse.unquote_plus(v)
    return out


class Handler(wire.Handler):
    disable_nagle_algorithm = True

    def answer(self, status, value=None, ctype="application/json",
               headers=()):
        if self.lose:
            self.close_connection = True
            return
        super().answer(status, value, ctype, headers)

    def error(self, status, message, headers=()):
        self.answer(status, {"code": status, "message": message},
                    headers=headers)

    def handle_any(self):
        self.lose = False
        url = urllib.parse.urlsplit(self.path)
        raw = self.body()
        if url.path == "/__fault":
            with WORLD.lock:
                f = json.loads(raw)
                if f.get("clear"):
                    WORLD.faults.clear()
                else:
                    WORLD.faults.append(f)
            self.answer(200, {})
            return
        if url.path == "/__log":
            with WORLD.lock:
                self.answer(200, WORLD.requests)
            return
        with WORLD.lock:
            WORLD.requests.append({
                "method": self.command, "path": self.path, "body":
                "" if url.path in ("/files", "/upload") else
                raw.decode(errors="replace")})
        fault = WORLD.fault_for(self.command, url.path)
        cut = None
        if fault:
            action, _, arg = fault["action"].partition(":")
            if action == "status":
                extra = []
                if "retry_after" in fault:
                    extra = [("Retry-After", str(fault["retry_after"]))]
                self.error(int(arg), fault.get("message", "injected"), extra)
                return
            if action == "text":
                self.answer(int(arg), b"404 Not Found\n", "text/plain")
                return
            if action == "delay":
                time.sleep(float(arg))
            elif action == "lose":
                self.lose = True
            elif action == "cut":
                cut = int(arg)
        if self.is_guest(url.path):
            self.proxy(raw, cut)
            return
        try:
            self.control(url, raw)
        except ApiError as e:
            self.error(e.status, e.message, e.headers)
        except (KeyError, ValueError, TypeError) as e:
            self.error(400, "invalid request: %r" % e)

    do_GET = do_POST = do_DELETE = do_PUT = do_PATCH = handle_any

    # ---- proxy to the guests
    def is_guest(self, path):
        return (path.startswith(("/process.Process/",
                                 "/filesystem.Filesystem/", "/files",
                                 "/health", "/metrics", "/envs", "/execute",
                                 "/contexts"))
                and not path.startswith("/files/"))

    def target(self):
        sid = self.headers.get("E2b-Sandbox-Id")
        port = int(self.headers.get("E2b-Sandbox-Port") or 49983)
        m = re.match(r"(\d+)-([^.]+)\.", self.headers.get("Host", ""))
        if not sid and m:
            port, sid = int(m.group(1)), m.group(2)
        if not sid:
            token = self.headers.get("X-Access-Token")
            for sb in WORLD.sandboxes.values():
                if token and sb.token == token:
                    sid = sb.id
        return sid, port

    def proxy(self, raw, cut):
        sid, port = self.target()
        if not sid:
            self.error(400, "Invalid host")
            return
        sb = WORLD.sandboxes.get(sid)
        if not sb or sb.state != "running":
            self.answer(502, {"sandboxId": sid, "message":
                              "The sandbox was not found", "code": 502})
            return
        if port == 49999 and sb.template.startswith("code-interpreter"):
            # the clients send the token with /execute only
            if sb.token and self.path.startswith("/execute") and \
                    self.headers.get("X-Access-Token") != sb.token:
                self.error(401, "unauthorized")
            else:
                interpreter.handle(self, sb, raw)
            return
        if port != 49983:
            self.answer(502, {"sandboxId": sid, "message": "The sandbox is "
                              "running but port is not open", "port": port,
                              "code": 502})
            return
        sb.log("info", "%s %s" % (self.command, self.path.split("?")[0]))
        self.pass_on(sb, raw, cut)

    def pass_on(self, sb, raw, cut):
        head = ["%s %s HTTP/1.1" % (self.command, self.path)]
        for k, v in self.headers.items():
            if k.lower() not in ("transfer-encoding", "content-length",
                                 "connection", "expect"):
                head.append("%s: %s" % (k, v))
        head += ["Content-Length: %d" % len(raw), "Connection: close"]
        try:
            s = sb.connect()
            s.sendall("\r\n".join(head).encode("latin-1") + b"\r\n\r\n" +
                      raw)
        except OSError:
            self.answer(502, {"sandboxId": sb.id, "message":
                              "The sandbox was not found", "code": 502})
            return
        self.close_connection = True
        left = cut
        try:
            while True:
                data = s.recv(65536)
                if not data:
                    break
                if self.lose:
                    continue
                if left is not None:
                    data = data[:left]
                    left -= len(data)
                self.wfile.write(data)
                self.wfile.flush()
                if left == 0:
                    break
        except OSError:
            pass
        s.close()

    # ---- the control plane
    def control(self, url, raw):
        path = url.path
        if path.startswith("/upload/") and self.command == "PUT":
            if self.headers.get("X-API-Key"):
                raise ApiError(400, "no key belongs here")
            tarfile.open(fileobj=io.BytesIO(gzip.decompress(raw))).close()
            WORLD.files[path.split("/")[2]] = raw
            self.answer(200)
            return
        key = self.headers.get("X-API-Key")
        bearer = self.headers.get("Authorization", "")
        if key != WORLD.args.key and not bearer.startswith("Bearer sk_e2b"):
            raise ApiError(401, "Invalid API key format" if not (
                key or "").startswith("e2b_") else
                           "Cannot get the team for the given API key")
        body = json.loads(raw) if raw else {}
        query = dict(urllib.parse.parse_qsl(url.query))
        for method, pattern, function in ROUTES:
            m = re.fullmatch(pattern, path)
            if m and method == self.command:
                function(self, body, query, *map(urllib.parse.unquote,
                                                 m.groups()))
                return
        raise ApiError(404, "no such path")

    def create_v1(self, body, query):
        body.setdefault("timeout", 15)
        sb = WORLD.create(body, body.get("secure", False))
        self.answer(201, sb.created())

    def create_v2(self, body, query):
        if WORLD.args.v1_only:
            self.answer(404, b"404 Not Found", "text/plain")
            return
        body.setdefault("timeout", 300)
        self.answer(201, WORLD.create(body, True).created())

    def list_v1(self, body, query):
        self.answer(200, [s.short() for s in WORLD.sandboxes.values()
                          if s.state == "running"])

    def list_v2(self, body, query):
        want = parse_filter(query.get("metadata", ""))
        states = query.get("state", "running,paused").split(",")
        rows = [s for s in sorted(WORLD.sandboxes.values(),
                                  key=lambda s: (-s.started, s.id))
                if s.state in states and
                all(s.metadata.get(k) == v for k, v in want.items())]
        limit = int(query.get("limit", 100))
        at = int(query.get("nextToken") or 0)
        headers = [("X-Total-Running", str(len(WORLD.sandboxes)))]
        if at + limit < len(rows):
            headers.append(("X-Next-Token", str(at + limit)))
        self.answer(200, [s.short() for s in rows[at:at + limit]],
                    headers=headers)

    def info(self, body, query, sid):
        self.answer(200, WORLD.get(sid).detail())

    def delete(self, body, query, sid):
        WORLD.remove(sid)
        self.answer(204)

    def connect_sb(self, body, query, sid):
        sb = WORLD.get(sid)
        status = sb.resume(body.get("timeout", 300))
        self.answer(status, sb.created())

    def resume_sb(self, body, query, sid):
        sb = WORLD.get(sid)
        if sb.state != "paused":
            raise ApiError(409, "sandbox is already running")
        sb.resume(body.get("timeout", 15))
        self.answer(201, sb.created())

    def pause_sb(self, body, query, sid):
        WORLD.get(sid).pause()
        self.answer(204)

    def set_timeout(self, body, query, sid):
        sb = WORLD.get(sid)
        if body["timeout"] > MAX_TIMEOUT:
            raise ApiError(400, "Max instance length exceeded")
        sb.end = time.time() + body["timeout"]
        self.answer(204)

    def refresh(self, body, query, sid):
        sb = WORLD.get(sid)
        sb.end = max(sb.end, time.time() + max(15, body.get("duration", 15)))
        self.answer(204)

    def snapshot(self, body, query, sid):
        name = WORLD.snapshot(WORLD.get(sid), body.get("name"))
        self.answer(201, {"snapshotID": name, "names": []})

    def snapshots(self, body, query):
        self.answer(200, [{"snapshotID": s, "names": []}
                          for s in WORLD.snapshots])

    def fork(self, body, query, sid):
        sb = WORLD.get(sid)
        snap = WORLD.snapshot(sb, None)
        out = []
        for _ in range(body.get("count", 1)):
            made = WORLD.create({"templateID": snap, "metadata":
                                 sb.metadata, "timeout":
                                 body.get("timeout", 15)}, True)
            out.append({"sandbox": made.created()})
        self.answer(201, out)

    def metrics(self, body, query, sid):
        WORLD.get(sid)
        self.answer(200, [{"timestamp": iso(time.time()), "timestampUnix":
                           int(time.time()), "cpuCount": 2, "cpuUsedPct": 1,
                           "memUsed": 1, "memTotal": 2, "memCache": 0,
                           "diskUsed": 1, "diskTotal": 2}])

    def logs(self, body, query, sid):
        cursor = int(query.get("cursor") or 0)
        rows = [r for r in WORLD.get(sid).logs if int(datetime.fromisoformat(
            r["timestamp"].replace("Z", "+00:00")).timestamp() * 1000)
            >= cursor]
        self.answer(200, {"logs": rows[:int(query.get("limit") or 1000)]})

    def new_template(self, body, query):
        if not body.get("name"):
            raise ApiError(400, "name is required")
        self.answer(202, WORLD.new_template(body))

    def template_file(self, body, query, tid, digest):
        if tid not in WORLD.templates or not re.fullmatch("[0-9a-f]{64}",
                                                          digest):
            raise ApiError(400, "bad template or hash")
        if digest in WORLD.files:
            self.answer(201, {"present": True})
            return
        self.answer(201, {"present": False, "url": "http://127.0.0.1:%d/"
                          "upload/%s" % (WORLD.args.port, digest)})

    def start_build(self, body, query, tid, bid):
        if bid not in WORLD.builds:
            raise ApiError(404, "build not found")
        if bool(body.get("fromImage")) == bool(body.get("fromTemplate")):
            raise ApiError(400, "exactly one of fromImage, fromTemplate")
        WORLD.build(tid, bid, body)
        self.answer(202)

    def build_status(self, body, query, tid, bid):
        b = WORLD.builds.get(bid)
        if not b:
            raise ApiError(404, "build not found")
        at = int(query.get("logsOffset") or 0)
        out = {"templateID": tid, "buildID": bid, "status": b["status"],
               "logs": [], "logEntries": b["log"][at:at + 100]}
        if "reason" in b:
            out["reason"] = b["reason"]
        self.answer(200, out)

    def templates(self, body, query):
        self.answer(200, [{
            "templateID": k, "buildID": "", "cpuCount": t["cpu"],
            "memoryMB": t["memory"], "diskSizeMB": 10240, "public": False,
            "aliases": [t["name"]], "names": [t["name"]], "createdAt":
            iso(t["created"]), "updatedAt": iso(t["created"]), "createdBy":
            None, "lastSpawnedAt": None, "spawnCount": 0, "buildCount": 1,
            "envdVersion": agent.ENVD_VERSION, "buildStatus": t["status"]}
            for k, t in WORLD.templates.items()])

    def delete_template(self, body, query, tid):
        for key, t in list(WORLD.templates.items()):
            if tid in (key, t["name"]):
                del WORLD.templates[key]
                self.answer(204)
                return
        if WORLD.snapshots.pop(tid, None):
            self.answer(204)
            return
        raise ApiError(404, "template '%s' not found" % tid)

    def alias(self, body, query, name):
        for key, t in WORLD.templates.items():
            if t["name"] == name:
                self.answer(200, {"templateID": key, "public": False})
                return
        raise ApiError(404, "alias not found")


H = Handler
S = r"/sandboxes/([^/]+)"
ROUTES = [
    ("POST", r"/sandboxes", H.create_v1),
    ("POST", r"/v2/sandboxes", H.create_v2),
    ("GET", r"/sandboxes", H.list_v1),
    ("GET", r"/v2/sandboxes", H.list_v2),
    ("GET", S, H.info), ("DELETE", S, H.delete),
    ("POST", S + "/connect", H.connect_sb),
    ("POST", "/v2" + S + "/connect", H.connect_sb),
    ("POST", S + "/resume", H.resume_sb),
    ("POST", S + "/pause", H.pause_sb),
    ("POST", S + "/timeout", H.set_timeout),
    ("POST", S + "/refreshes", H.refresh),
    ("POST", S + "/snapshots", H.snapshot),
    ("GET", r"/snapshots", H.snapshots),
    ("POST", S + "/fork", H.fork),
    ("GET", S + "/metrics", H.metrics),
    ("GET", "/v2" + S + "/logs", H.logs), ("GET", S + "/logs", H.logs),
    ("POST", r"/v3/templates", H.new_template),
    ("GET", r"/templates/([^/]+)/files/([^/]+)", H.template_file),
    ("POST", r"/v2/templates/([^/]+)/builds/([^/]+)", H.start_build),
    ("GET", r"/templates/([^/]+)/builds/([^/]+)/status", H.build_status),
    ("GET", r"/v2/templates", H.templates), ("GET", r"/templates",
                                             H.templates),
    ("DELETE", r"/templates/([^/]+)", H.delete_template),
    ("GET", r"/templates/aliases/([^/]+)", H.alias),
]


def main():
    global WORLD
    ap = argparse.ArgumentParser()
    ap.add_argument("--dir", required=True)
    ap.add_argument("--port", type=int, default=0)
    ap.add_argument("--key", default="e2b_" + "0" * 40)
    ap.add_argument("--max-sandboxes", type=int, default=20)
    ap.add_argument("--creates-per-s", type=int, default=0)
    ap.add_argument("--v1-only", action="store_true")
    ap.add_argument("--root", action="append", default=[], metavar=
                    "NAME=DIR", help="a template of another system")
    ap.add_argument("--envd", help="the guest agent's binary")
    args = ap.parse_args()
    args.root = dict(r.split("=", 1) for r in args.root)
    if os.geteuid() != 0:
        print("skipped: the loopback server makes namespaces as root")
        sys.exit(77)
    if os.environ.get("E2B_TEST_NS") != "1":
        # its mounts stay its own, and go with it
        os.environ["E2B_TEST_NS"] = "1"
        os.execvp("unshare", ["unshare", "--mount", "--propagation",
                              "private", sys.executable] + sys.argv)
    os.makedirs(args.dir, exist_ok=True)
    server = ThreadingHTTPServer(("127.0.0.1", args.port), Handler)
    server.daemon_threads = True
    args.port = server.server_address[1]
    WORLD = World(args)

    def stop(sig, frame):
        for sb in list(WORLD.sandboxes.values()):
            sb.kill()
        os._exit(0)

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    print("ready http://127.0.0.1:%d" % args.port, flush=True)
    server.serve_forever()


if __name__ == "__main__":
    main()
