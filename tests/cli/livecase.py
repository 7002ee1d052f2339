"""What tests of the commands on real mounts stand on.

A script that calls main() runs in a mount namespace of its own, in which
/usr/sbin has our helpers and /etc/fstab is ours; for that it needs root.  BUILD
names the build directory.
"""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import unittest

BUILD = os.path.abspath(os.environ.get("BUILD", "build"))
DEEPLAKE = os.path.join(BUILD, "deeplake")
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)),
                                "..", "mount"))
import cases  # noqa: E402
import harness  # noqa: E402
import sbin  # noqa: E402


class LiveCase(unittest.TestCase):
    """A server, credentials, a mount point; nothing of it stays."""
    server_args = ()

    def setUp(self):
        self.top = tempfile.mkdtemp(prefix="df-live-")
        os.chmod(self.top, 0o755)
        self.home = self.top + "/home"
        self.p = self.top + "/mnt"
        os.makedirs(self.home + "/.deeplake", mode=0o700)
        os.mkdir(self.p)
        self.credentials = self.home + "/.deeplake/credentials.json"
        self.server = None
        self.port = 0
        self.addCleanup(self.clean_up)
        self.start_server()

    def clean_up(self):
        while self.mounted():
            self.run_it(DEEPLAKE, "umount", self.p, "--lazy")
        self.stop_server()
        end = time.monotonic() + 20
        while self.daemons() and time.monotonic() < end:
            for pid in self.daemons():
                os.kill(pid, signal.SIGTERM)
            time.sleep(0.2)
        left = self.daemons()
        shutil.rmtree(self.top, ignore_errors=True)
        self.assertEqual(left, [])

    def daemons(self):
        """Processes that have our HOME in their environment."""
        mine = f"HOME={self.home}".encode()
        found = []
        for pid in filter(str.isdigit, os.listdir("/proc")):
            try:
                with open(f"/proc/{pid}/environ", "rb") as f:
                    if mine in f.read().split(b"\0"):
                        found.append(int(pid))
            except OSError:
                pass
        return found

    def start_server(self):
        self.server = subprocess.Popen(
            [BUILD + "/deeplake-serve", "--listen",
             f"127.0.0.1:{self.port}", "--store", f"sqlite:{self.top}/store",
             "--write-credentials", self.credentials, *self.server_args],
            stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        line = self.server.stdout.readline()
        self.assertRegex(line, r"^ready http://")
        self.port = int(line.rsplit(":", 1)[1])

    def stop_server(self):
        if self.server:
            self.server.kill()
            self.server.wait()
            self.server.stdout.close()
            self.server = None

    def env(self, **more):
        return {"HOME": self.home, "PATH": os.environ["PATH"],
                "LC_ALL": "C", **more}

    def run_it(self, *argv, **kw):
        kw.setdefault("env", self.env())
        return subprocess.run(argv, capture_output=True, text=True,
                              timeout=60, stdin=subprocess.DEVNULL,
                              check=False, **kw)

    def good(self, *argv, **kw):
        r = self.run_it(*argv, **kw)
        self.assertEqual(r.returncode, 0, f"{argv}: {r.stderr}{r.stdout}")
        return r.stdout

    def refused(self, status, words, *argv, **kw):
        r = self.run_it(*argv, **kw)
        self.assertEqual(r.returncode, status, f"{argv}: {r.stderr}")
        for word in words:
            self.assertIn(word, r.stderr)

    def mounted(self):
        """(type, source, options) of what is at self.p, or None."""
        found = None
        with open("/proc/self/mountinfo", encoding="utf-8") as f:
            for line in f:
                left, right = line.split(" - ")
                if left.split()[4] == self.p:
                    kind, source = right.split()[:2]
                    found = (kind, source, left.split()[5].split(","))
        return found

    def options(self, cache="c", more=""):
        return (f"credentials={self.credentials},"
                f"cache_dir={self.top}/{cache}{more}")

    def init(self, cache="c"):
        self.good(DEEPLAKE, "init", "--table", "t", "--path", self.p, "-o",
                  self.options(cache))

    def mount(self, cache="c", more="", source="t", **kw):
        return self.good("mount", "-t", "deeplakefs", source, self.p, "-o",
                         self.options(cache, more), **kw)

    def put(self, name, text="text"):
        with open(f"{self.p}/{name}", "w", encoding="utf-8") as f:
            f.write(text)

    def get(self, name):
        with open(f"{self.p}/{name}", encoding="utf-8") as f:
            return f.read()

    def found_elsewhere(self, name, text="text"):
        """A mount with an empty cache has it: it is in the table."""
        self.mount("elsewhere")
        self.assertEqual(self.get(name), text)
        self.good("umount", self.p)
        shutil.rmtree(self.top + "/elsewhere")


@contextlib.contextmanager
def own_system():
    harness.own_namespace()
    with sbin.helpers(DEEPLAKE), tempfile.NamedTemporaryFile() as fstab:
        subprocess.run(["mount", "--bind", fstab.name, "/etc/fstab"],
                       check=True)
        yield
        subprocess.run(["umount", "/etc/fstab"], check=True)


def main():
    if os.geteuid() != 0 or not os.path.exists("/dev/fuse"):
        print("skip all: needs root and /dev/fuse")
        return 77
    return cases.main(inside=own_system)
