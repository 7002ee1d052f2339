"""The inside of a sandbox of the loopback server.

Run in fresh mount, pid, ipc and uts namespaces, as process 1.  It makes a
root of its own, an overlay over this machine's or over another system's, and
starts the guest agent in it: agent.py, or the real one when the server was
given its binary.  Processes, users and FUSE mounts in it are real.
"""
import json
import os
import shutil
import socket
import stat
import subprocess
import sys
import threading
import time
from http.client import HTTPConnection

import agent

SOCK = "/run/envd/envd.sock"
ENVD = "/run/envd-bin"


def run(*argv):
    subprocess.run(argv, check=True, stdout=subprocess.DEVNULL)


def make_dev(dev):
    run("mount", "-t", "tmpfs", "-o", "mode=755", "tmpfs", dev)
    nodes = {"null": (1, 3), "zero": (1, 5), "full": (1, 7),
             "random": (1, 8), "urandom": (1, 9), "tty": (5, 0),
             "fuse": (10, 229)}
    for name, (a, b) in nodes.items():
        path = os.path.join(dev, name)
        os.mknod(path, stat.S_IFCHR | 0o666, os.makedev(a, b))
        # what a template from before April 2026 has
        os.chmod(path, 0o600 if name == "fuse" else 0o666)
    for d in ("pts", "shm"):
        os.mkdir(os.path.join(dev, d))
    run("mount", "-t", "devpts", "-o", "newinstance,ptmxmode=0666,mode=620",
        "devpts", os.path.join(dev, "pts"))
    os.chmod(os.path.join(dev, "shm"), 0o1777)
    os.symlink("pts/ptmx", os.path.join(dev, "ptmx"))
    for name, to in (("fd", "/proc/self/fd"), ("stdin", "/proc/self/fd/0"),
                     ("stdout", "/proc/self/fd/1"),
                     ("stderr", "/proc/self/fd/2")):
        os.symlink(to, os.path.join(dev, name))


def own_line(path, line):
    """Line by its name and number, in place of this machine's."""
    name, _, number = line.split(":")[:3]
    with open(path, encoding="utf-8") as f:
        rows = [r for r in f.read().splitlines()
                if r.split(":")[0] != name and
                (r.split(":") + ["", "", ""])[2] != number]
    with open(path, "w", encoding="utf-8") as f:
        f.write("\n".join(rows + [line]) + "\n")


def make_root(config, before_chroot=None):
    root = config["dir"] + "/root"
    upper = config["dir"] + "/upper"
    work = config["dir"] + "/work"
    for d in (root, upper, work):
        os.makedirs(d, exist_ok=True)
    run("mount", "-t", "overlay", "overlay", "-o",
        "lowerdir=%s,upperdir=%s,workdir=%s,index=off,metacopy=off" %
        (config["base"], upper, work), root)
    run("mount", "-t", "proc", "proc", root + "/proc")
    make_dev(root + "/dev")
    for d, mode in (("run", "755"), ("tmp", "1777"), ("root", "700"),
                    ("mnt", "755")):
        os.makedirs(root + "/" + d, exist_ok=True)
        run("mount", "-t", "tmpfs", "-o", "mode=" + mode, "tmpfs",
            root + "/" + d)
    os.makedirs(root + "/run/envd")
    run("mount", "--bind", config["sock_dir"], root + "/run/envd")
    if before_chroot:
        before_chroot(config)
    os.chroot(root)
    os.chdir("/")
    own_line("/etc/passwd", "user:x:1000:1000:user:/home/user:/bin/bash")
    own_line("/etc/group", "user:x:1000:")
    os.makedirs("/home/user", exist_ok=True)
    os.chown("/home/user", 1000, 1000)
    os.makedirs("/run/e2b")
    for name, key in ((".E2B_SANDBOX_ID", "id"),
                      (".E2B_TEMPLATE_ID", "template")):
        with open("/run/e2b/" + name, "w", encoding="utf-8") as f:
            f.write(config[key])


def copy_agent(config):
    """The real agent's binary, into the root; how it is started there."""
    root = config["dir"] + "/root"
    shutil.copy(config["envd"], root + ENVD)
    os.chmod(root + ENVD, 0o755)


def relay(port):
    """The agent's port as the socket that the proxy asks."""
    def pump(a, b):
        try:
            while True:
                data = a.recv(65536)
                if not data:
                    break
                b.sendall(data)
            b.shutdown(socket.SHUT_WR)
        except OSError:
            pass

    def both(c):
        with c, socket.create_connection(("127.0.0.1", port)) as s:
            t = threading.Thread(target=pump, args=(s, c), daemon=True)
            t.start()
            pump(c, s)
            t.join()

    listener = socket.socket(socket.AF_UNIX)
    listener.bind(SOCK)
    listener.listen(128)
    while True:
        c, _ = listener.accept()
        threading.Thread(target=both, args=(c,), daemon=True).start()


def init(port, config):
    """What the orchestrator tells a fresh agent; False: it is not up yet."""
    told = {"accessToken": config["token"], "envVars": dict(
        config["env"], E2B_SANDBOX="true", E2B_SANDBOX_ID=config["id"],
        E2B_TEMPLATE_ID=config["template"]), "defaultUser": "user",
        "defaultWorkdir": "/home/user"}
    if not config["token"]:
        del told["accessToken"]
    try:
        c = HTTPConnection("127.0.0.1", port, timeout=5)
        c.request("POST", "/init", json.dumps(told),
                  {"Content-Type": "application/json"})
        status = c.getresponse().status
    except OSError:
        return False
    if status // 100 != 2:
        sys.exit("POST /init of the guest agent: HTTP %d" % status)
    return True


def serve_real(config):
    # on this machine's loopback, where the tables' server is as well
    with socket.create_server(("127.0.0.1", 0)) as s:
        port = s.getsockname()[1]
    subprocess.Popen([ENVD, "-isnotfc", "-port", str(port)],
                     stdin=subprocess.DEVNULL)
    end = time.monotonic() + 20
    while not init(port, config):
        if time.monotonic() > end:
            sys.exit("the guest agent did not come up on port %d" % port)
        time.sleep(0.02)
    relay(port)


def main():
    config = json.loads(sys.stdin.read())
    real = config.get("envd")
    make_root(config, copy_agent if real else None)
    # process 1 only reaps, so that the agent can wait for its own
    if os.fork() == 0:
        if real:
            serve_real(config)
        agent.serve(dict(config, sock=SOCK))
    while True:
        try:
            os.wait()
        except ChildProcessError:
            return


if __name__ == "__main__":
    main()
