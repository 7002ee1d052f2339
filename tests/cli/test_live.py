#!/usr/bin/env python3
"""mount(8), fstab and what survives: real mounts, and a server that comes and
goes (livecase.py)."""

import json
import os
import shutil
import signal
import sys
import time

from livecase import DEEPLAKE, LiveCase, harness, main


class Live(LiveCase):
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

    @harness.waits
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

    @harness.waits
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


if __name__ == "__main__":
    sys.exit(main())
