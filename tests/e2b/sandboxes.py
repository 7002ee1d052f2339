"""One sandbox of the loopback server: guest.py in namespaces of its own."""
import json
import os
import secrets
import shutil
import signal
import socket
import string
import subprocess
import threading
import time
from datetime import datetime, timezone

import agent

HERE = os.path.dirname(os.path.abspath(__file__))


def iso(t):
    return datetime.fromtimestamp(t, timezone.utc).strftime(
        "%Y-%m-%dT%H:%M:%S.%f")[:-3] + "Z"


def random_id(prefix):
    letters = string.ascii_lowercase + string.digits
    return prefix + "".join(secrets.choice(letters) for _ in range(20))


class ApiError(Exception):
    def __init__(self, status, message, headers=()):
        super().__init__(message)
        self.status = status
        self.message = message
        self.headers = headers


class Sandbox:
    def __init__(self, world, body, template, secure):
        self.world = world
        self.id = random_id("i")
        self.template = template
        self.token = "ea_" + secrets.token_hex(16) if secure else None
        self.metadata = body.get("metadata") or {}
        self.auto_pause = body.get("autoPause", False)
        self.started = time.time()
        self.end = self.started + body["timeout"]
        self.state = "running"
        self.logs = []
        self.lock = threading.RLock()
        self.dir = os.path.join(world.upper, self.id)
        self.sock_dir = os.path.join(world.dir, "s", self.id)
        self.boot(body.get("envVars") or {})

    def boot(self, env):
        os.makedirs(self.dir)
        os.makedirs(self.sock_dir)
        saved = self.world.template_dir(self.template)
        if saved:
            subprocess.run(["cp", "-a", saved, self.dir + "/upper"],
                           check=True)
        self.child = subprocess.Popen(
            ["unshare", "--mount", "--pid", "--fork", "--uts", "--ipc",
             "--propagation", "private", "--kill-child", "/usr/bin/python3",
             os.path.join(HERE, "guest.py")], stdin=subprocess.PIPE,
            stderr=open(os.path.join(self.world.dir, "guest.log"), "ab"))
        all_env = dict(self.world.template_env(self.template))
        all_env.update(env)
        self.child.stdin.write(json.dumps({
            "id": self.id, "template": self.template, "token": self.token,
            "env": all_env, "dir": self.dir, "sock_dir": self.sock_dir,
            "base": self.world.args.root.get(self.template, "/"),
            "envd": self.world.args.envd,
        }).encode())
        self.child.stdin.close()
        sock = self.sock_dir + "/envd.sock"
        for _ in range(400):
            if os.path.exists(sock):
                try:
                    self.connect().close()
                    break
                except OSError:
                    pass
            if self.child.poll() is not None:
                raise ApiError(500, "sandbox did not start")
            time.sleep(0.01)
        self.log("info", "sandbox started")

    def log(self, level, message, fields=None):
        self.logs.append({"timestamp": iso(time.time()), "level": level,
                          "message": message, "fields": fields or {}})

    def connect(self):
        s = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        s.connect(self.sock_dir + "/envd.sock")
        return s

    def pids(self):
        """Every process of the guest's pid namespace."""
        out = []
        mine = None
        for c in children(self.child.pid):
            mine = ns_of(c)
        if not mine:
            return out
        for name in os.listdir("/proc"):
            if name.isdigit() and ns_of(int(name)) == mine:
                out.append(int(name))
        return out

    def pause(self):
        with self.lock:
            if self.state == "paused":
                raise ApiError(409, "Error pausing sandbox - sandbox '%s' is "
                               "already paused" % self.id)
            for _ in range(5):
                for pid in self.pids():
                    send(pid, signal.SIGSTOP)
            self.state = "paused"
            self.log("info", "sandbox paused")

    def resume(self, timeout):
        with self.lock:
            if self.state != "paused":
                self.end = max(self.end, time.time() + timeout)
                return 200
            for pid in self.pids():
                send(pid, signal.SIGCONT)
            self.state = "running"
            self.started = time.time()
            self.end = time.time() + timeout
            self.log("info", "sandbox resumed")
            return 201

    def kill(self):
        with self.lock:
            self.state = "dead"
            for c in children(self.child.pid):
                send(c, signal.SIGKILL)
            self.child.kill()
            self.child.wait()
            shutil.rmtree(self.dir, ignore_errors=True)
            shutil.rmtree(self.sock_dir, ignore_errors=True)

    def short(self):
        return {"templateID": self.template, "sandboxID": self.id,
                "alias": self.template, "clientID": "6532622b",
                "envdVersion": agent.ENVD_VERSION, "startedAt":
                iso(self.started), "endAt": iso(self.end), "cpuCount": 2,
                "memoryMB": 512, "diskSizeMB": 10240, "metadata":
                self.metadata, "state": self.state, "volumeMounts": []}

    def detail(self):
        out = self.short()
        out.update({"envdAccessToken": self.token, "domain": None,
                    "allowInternetAccess": None, "lifecycle":
                    {"autoResume": False, "onTimeout":
                     "pause" if self.auto_pause else "kill"}})
        return out

    def created(self):
        return {"templateID": self.template, "sandboxID": self.id,
                "alias": self.template, "clientID": "6532622b",
                "envdVersion": agent.ENVD_VERSION, "envdAccessToken":
                self.token, "trafficAccessToken": None, "domain": None}


def send(pid, sig):
    try:
        os.kill(pid, sig)
    except ProcessLookupError:
        pass


def children(pid):
    try:
        with open("/proc/%d/task/%d/children" % (pid, pid),
                  encoding="ascii") as f:
            return [int(x) for x in f.read().split()]
    except OSError:
        return []


def ns_of(pid):
    try:
        return os.readlink("/proc/%d/ns/pid" % pid)
    except OSError:
        return None
