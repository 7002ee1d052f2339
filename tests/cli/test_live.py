#!/usr/bin/env python3
"""mount(8), fstab and the commands on real mounts, with a server that comes
and goes.

Runs in a mount namespace of its own, in which /usr/sbin has our helpers and
/etc/fstab is ours; for that it needs root.  BUILD names the build directory.
"""

import json
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
import harness  # noqa: E402
import sbin  # noqa: E402


class Live(unittest.TestCase):
    def setUp(self):
        self.top = tempfile.mkdtemp(prefix="df-live-")
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
             "--write-credentials", self.credentials],
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

    def run_it(self, *argv, **kw):
        env = {"HOME": self.home, "PATH": os.environ["PATH"], "LC_ALL": "C"}
        return subprocess.run(argv, env=env, capture_output=True, text=True,
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

    # ---- mount(8) and its options

    def test_mount_type(self):
        self.init()
        self.put("a")
        self.good("umount", self.p)
        self.assertIsNone(self.mounted())
        self.mount("c2", ",noexec,nosuid,nodev,_netdev,nofail")
        kind, source, opts = self.mounted()
        self.assertEqual((kind, source), ("fuse.deeplakefs", "t"))
        self.assertLessEqual({"rw", "noexec", "nosuid", "nodev"}, set(opts))
        self.assertEqual(self.get("a"), "text")

    def test_remount(self):
        self.init()
        self.good("mount", "-o", "remount,ro", self.p)
        with self.assertRaises(OSError):
            self.put("b")
        self.good("mount", "-o", "remount,rw", self.p)
        self.put("b")

    def test_fstab(self):
        self.init()
        self.put("a")
        self.good("umount", self.p)
        with open("/etc/fstab", "w", encoding="utf-8") as f:
            f.write(f"t {self.p} deeplakefs _netdev,nofail,"
                    f"{self.options('c3')} 0 0\n")
        self.addCleanup(os.truncate, "/etc/fstab", 0)
        self.good("mount", self.p)
        self.assertEqual(self.get("a"), "text")
        self.good("umount", self.p)

    def test_source_names_a_file(self):
        """mount(8) makes /cwd/t of a source that exists in the directory."""
        self.init()
        self.good("umount", self.p)
        os.mkdir(self.top + "/t")
        self.mount("c4", cwd=self.top)
        self.assertEqual(self.mounted()[1], "t")

    def test_subdir_read_only(self):
        self.init()
        os.makedirs(self.p + "/sub/dir")
        self.put("sub/dir/f")
        self.good("umount", self.p)
        self.mount("c5", ",ro", "t:/sub/dir")
        self.assertEqual(os.listdir(self.p), ["f"])
        with self.assertRaises(OSError):
            self.put("g")

    def test_twice(self):
        self.init()
        self.refused(1, ["already mounted"], DEEPLAKE, "mount", "t", self.p,
                     "-o", self.options())

    def run_file(self):
        dev = os.stat(self.p).st_dev
        return f"/run/deeplake/{os.major(dev)}:{os.minor(dev)}"

    def test_device_number_used_again(self):
        """The end of a daemon leaves the run file of a newer mount alone."""
        self.init()
        run = self.run_file()
        with open(run, encoding="utf-8") as f:
            newer = json.load(f)
        newer["pid"] = os.getpid()
        with open(run, "w", encoding="utf-8") as f:
            json.dump(newer, f)
        self.good("umount", self.p)
        self.assertTrue(os.path.exists(run))
        os.unlink(run)
        self.init()
        run = self.run_file()
        self.assertTrue(os.path.exists(run))
        self.good("umount", self.p)
        self.assertFalse(os.path.exists(run))

    # ---- what survives

    def test_dead_daemon(self):
        self.init()
        self.put("a")
        status = json.loads(self.good(DEEPLAKE, "status", "--json", self.p))
        mine = status["mounts"][0]
        self.assertEqual((mine["path"], mine["table"]), (self.p, "t"))
        os.kill(mine["pid"], signal.SIGKILL)
        end = time.monotonic() + 5
        while mine["pid"] in self.daemons() and time.monotonic() < end:
            time.sleep(0.05)
        with self.assertRaises(OSError):
            os.listdir(self.p)
        self.init()
        self.assertEqual(self.get("a"), "text")
        self.good("umount", self.p)
        self.found_elsewhere("a")

    def test_other_ways_to_unmount(self):
        for i, how in enumerate((["umount", "-i", self.p],
                                 ["umount", "-l", self.p],
                                 ["fusermount3", "-u", self.p],
                                 [DEEPLAKE, "umount", self.p, "--lazy"])):
            self.init()
            self.put(f"f{i}")
            self.good(*how)
            self.assertIsNone(self.mounted())
            self.init()  # waits for the daemon that still sends
            self.assertEqual(self.get(f"f{i}"), "text")
            self.good(DEEPLAKE, "umount", self.p)
            self.found_elsewhere(f"f{i}")

    def test_offline(self):
        """A cache that knows the table mounts; one that does not says 4."""
        self.init()
        self.put("a")
        self.good("umount", self.p)
        self.stop_server()
        start = time.monotonic()
        self.mount()
        self.assertLess(time.monotonic() - start, 10)
        self.assertEqual(self.get("a"), "text")
        self.put("b", "written offline")
        self.refused(5, [], DEEPLAKE, "umount", self.p, "--timeout", "1")
        self.assertIsNotNone(self.mounted())
        self.refused(5, [], DEEPLAKE, "flush", self.p, "--timeout", "1")
        r = self.run_it(DEEPLAKE, "umount", self.p, "--force", "--timeout",
                        "1")
        self.assertEqual(r.returncode, 5, r.stderr)
        self.assertIsNone(self.mounted())
        self.refused(4, ["does not answer"], DEEPLAKE, "mount", "t", self.p,
                     "-o", self.options("unknown"))
        self.assertIsNone(self.mounted())
        self.start_server()
        self.mount()
        self.assertEqual(self.get("b"), "written offline")
        self.good("umount", self.p)
        self.found_elsewhere("b", "written offline")

    def test_warm_then_offline(self):
        self.init()
        for i in range(50):
            self.put(f"f{i}", f"text {i}" * 1000)
        self.good("umount", self.p)
        self.mount("c6")
        self.good(DEEPLAKE, "warm", self.p)
        self.stop_server()
        for i in range(50):
            self.assertEqual(self.get(f"f{i}"), f"text {i}" * 1000)

    def test_destroy(self):
        self.init()
        self.put("a")
        self.refused(1, ["mounted"], DEEPLAKE, "destroy", "t", "--yes")
        self.good("umount", self.p)
        self.refused(2, ["--yes"], DEEPLAKE, "destroy", "t")
        self.good(DEEPLAKE, "destroy", "t", "--yes")
        self.refused(1, ["init"], DEEPLAKE, "mount", "t", self.p, "-o",
                     self.options("c7"))
        self.init("c8")
        self.assertEqual(os.listdir(self.p), [])


def main():
    if os.geteuid() != 0 or not os.path.exists("/dev/fuse"):
        print("needs root and /dev/fuse")
        print("0 passed, 0 failed, 1 skipped")
        return 0
    harness.own_namespace()
    with sbin.helpers(DEEPLAKE), tempfile.NamedTemporaryFile() as fstab:
        subprocess.run(["mount", "--bind", fstab.name, "/etc/fstab"],
                       check=True)
        result = unittest.main(exit=False, verbosity=2).result
        subprocess.run(["umount", "/etc/fstab"], check=True)
    bad = len(result.failures) + len(result.errors)
    print(f"{result.testsRun - bad - len(result.skipped)} passed, "
          f"{bad} failed, {len(result.skipped)} skipped")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
