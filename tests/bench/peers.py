"""The same work on what a user would pick instead and Debian ships.

`rclone mount --vfs-cache-mode full` on WebDAV (rclone serves it) and sshfs,
each behind a link of its own with the same round trip, beside a deeplake mount
behind its link.  "Until remote" ends when the served directory holds every
file with all its bytes (sshfs: when the work ends, for its close() waits); for
deeplake, when flush returns.
"""
import os
import shutil
import signal
import socket
import subprocess
import time

import harness
import material
from remote import Remote, RTT_S
from table import Row

PATIENCE_S = 300


class Port:
    """What harness.Link wants of a server: a port."""

    def __init__(self, port):
        self.port = port
        self.url = f"http://127.0.0.1:{port}"


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def wait_port(port):
    def listens():
        with socket.socket() as s:
            return s.connect_ex(("127.0.0.1", port)) == 0
    harness.wait_for(f"port {port} to listen", listens)


def tree_size(top):
    """(files, bytes) below top; what goes away meanwhile does not count."""
    files = size = 0
    for path, _, names in os.walk(top):
        for name in names:
            try:
                size += os.lstat(os.path.join(path, name)).st_size
                files += 1
            except FileNotFoundError:
                pass
    return files, size


class Peer:
    """One mount behind a link; subclasses know how it is served."""

    programs = ()

    def __init__(self, box, kind):
        harness.need_program(*self.programs)
        self.box, self.kind = box, kind
        self.served = os.path.join(box.dir, "served-" + kind)
        self.path = os.path.join(box.dir, "mnt-" + kind)
        self.cache = os.path.join(box.dir, "cache-" + kind)
        for d in (self.served, self.path, self.cache):
            os.makedirs(d)
        port = free_port()
        self.server = self.serve(port)
        wait_port(port)
        self.link = harness.Link(box, Port(port), RTT_S)
        box.links.append(self.link)
        self.port = int(self.link.url.rsplit(":", 1)[1])
        self.mounted = None
        self.up()

    def spawn(self, cmd):
        log = open(os.path.join(self.box.dir, f"log-{self.kind}"), "ab")
        with log:
            return subprocess.Popen(cmd, stdin=subprocess.DEVNULL,
                                    stdout=log, stderr=log,
                                    env=self.box.env())

    def up(self):
        self.mounted = self.spawn(self.mount_command())
        harness.wait_for(f"{self.kind} to be mounted",
                         lambda: harness.mounts_under(self.path), 30)

    def flush(self, top=""):
        want = tree_size(os.path.join(self.path, top))
        harness.wait_for(
            f"{want[0]} files at the server",
            lambda: tree_size(os.path.join(self.served, top)) == want,
            PATIENCE_S, 0.02)

    def down(self):
        self.box.run(["umount", self.path], timeout=PATIENCE_S)
        for sig in (0, signal.SIGTERM, signal.SIGKILL):
            try:                # all is at the server; some hang about
                self.mounted.send_signal(sig)
                self.mounted.wait(5)
                return
            except subprocess.TimeoutExpired:
                pass

    def cold(self):
        self.down()
        shutil.rmtree(self.cache)
        os.makedirs(self.cache)
        harness.drop_caches()
        self.up()

    def stop(self):
        self.down()
        self.server.send_signal(signal.SIGTERM)
        self.server.wait(20)
        self.link.stop()


class Rclone(Peer):
    programs = ("rclone",)

    def serve(self, port):
        return self.spawn(["rclone", "serve", "webdav", self.served, "--addr",
                           f"127.0.0.1:{port}", "--config", ""])

    def mount_command(self):
        return ["rclone", "mount",
                f":webdav,url='http://127.0.0.1:{self.port}':", self.path,
                "--vfs-cache-mode", "full", "--cache-dir", self.cache,
                "--config", "", "--allow-other"]


class Sshfs(Peer):
    programs = ("sshfs", "sshd", "ssh-keygen")

    def serve(self, port):
        d = os.path.join(self.box.dir, "ssh")
        os.makedirs(d, mode=0o700)
        os.makedirs("/run/sshd", exist_ok=True)
        for name in ("host", "user"):
            self.box.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "",
                          "-f", f"{d}/{name}"])
        shutil.copy(f"{d}/user.pub", f"{d}/authorized")
        with open(f"{d}/config", "w") as f:
            f.write(f"ListenAddress 127.0.0.1:{port}\nHostKey {d}/host\n"
                    f"AuthorizedKeysFile {d}/authorized\nStrictModes no\n"
                    "PasswordAuthentication no\nUsePAM no\nPidFile none\n"
                    "PermitRootLogin yes\nSubsystem sftp internal-sftp\n")
        self.keys = d
        return self.spawn([shutil.which("sshd"), "-D", "-e", "-f",
                           f"{d}/config"])

    def flush(self, top=""):
        pass                    # close() has waited for the server

    def mount_command(self):
        return ["sshfs", "-f", "-p", str(self.port), "-o",
                f"IdentityFile={self.keys}/user,StrictHostKeyChecking=no,"
                "UserKnownHostsFile=/dev/null,allow_other",
                f"127.0.0.1:{self.served}", self.path]


class Ours(Remote):
    """A deeplake mount with the same verbs."""

    def __init__(self, box, server, name):
        super().__init__(box, server, name)
        self.kind = "deep"

    def flush(self, top=""):
        self.m.flush(PATIENCE_S)

    def cold(self):
        self.m.down()
        shutil.rmtree(self.m.cache)
        os.makedirs(self.m.cache)
        harness.drop_caches()
        self.m.up()


WORK = (
    ("unpack", "small files: unpacked and all remote", "s"),
    ("requests", "- requests", ""),
    ("read", "cold mount, all read", "s"),
    ("clone", "git clone, all remote", "s"),
    ("status", "git status on a cold mount", "s"),
    ("ls", "mount to first ls -l", "s"),
    ("rm", "rm -rf, gone at the server", "s"),
)


def clock(func):
    start = time.perf_counter()
    func()
    return time.perf_counter() - start


def one(box, peer, rows, files, repo):
    work = harness.built("tests/bench/work")
    d = os.path.join(peer.path, "small")
    c = os.path.join(peer.path, "clone")
    args = [f"files={files}"]

    def run(*cmd, cwd=None):
        box.run(list(cmd), cwd=cwd, timeout=PATIENCE_S)

    def add(key, value):
        rows[key].add(peer.kind, value)
    os.mkdir(d)
    run(work, "mkdirs", d, *args)
    peer.link.count()
    add("unpack", clock(lambda: (run(work, "create", d, *args),
                                 peer.flush("small"))))
    add("requests", peer.link.count()["requests"])
    add("read", clock(lambda: (peer.cold(), run(work, "read", d, *args))))
    add("clone", clock(lambda: (
        run("git", "clone", "-q", "file://" + repo, c), peer.flush("clone"))))
    peer.cold()
    add("status", clock(lambda: run("git", "status", "--porcelain", cwd=c)))
    add("ls", clock(lambda: (peer.cold(), run("ls", "-l", peer.path))))
    add("rm", clock(lambda: (run("rm", "-rf", d, c), gone(peer))))


def gone(peer):
    if peer.kind == "deep":
        peer.flush()
        return
    harness.wait_for("nothing left at the server",
                     lambda: tree_size(peer.served) == (0, 0), PATIENCE_S,
                     0.02)


def measure(box, server, rounds, files):
    """Rows of all that can be had here."""
    rows = {key: Row(name if name[0] == "-" else f"{files:,} {name}"
                     if key == "unpack" else name, "shown", unit=unit)
            for key, name, unit in WORK}
    repo = material.repository(200)
    made = []
    for kind, make in (("rclone", lambda: Rclone(box, "rclone")),
                       ("sshfs", lambda: Sshfs(box, "sshfs")),
                       ("deep", lambda: Ours(box, server, "peer"))):
        try:
            made.append(make())
        except harness.Skip as e:
            rows["unpack"].note += f"{kind}: not measured: {e}. "
    for _ in range(rounds):
        for peer in made:
            one(box, peer, rows, files, repo)
    for peer in made:
        peer.stop()
    return list(rows.values())
