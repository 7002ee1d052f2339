#!/usr/bin/env python3
"""Each command on real mounts, with the caches where they are by default
(livecase.py): what init makes and remembers, what status says, who else may
look, what a daemon keeps of the command that started it."""

import http.server
import json
import os
import pty
import re
import select
import shutil
import signal
import subprocess
import sys
import threading
import time
import unittest

from livecase import DEEPLAKE, LiveCase, harness, main

NOBODY = 65534


class Commands(LiveCase):
    def setUp(self):
        super().setUp()
        os.mkdir(self.top + "/var")
        self.bind(self.top + "/var", "/var/cache")      # root's caches
        self.addCleanup(self.unmount_all)

    def bind(self, own, path):
        """In this mount namespace, `path` is ours until the test ends."""
        subprocess.run(["mount", "--bind", own, path], check=True)
        self.addCleanup(subprocess.run, ["umount", "-l", path], check=True)

    def unmount_all(self):
        subprocess.run([DEEPLAKE, "umount", "--all", "--force",
                        "--timeout", "1"],
                       env=self.env(), check=False,
                       stderr=subprocess.DEVNULL)

    def init(self, *more, table="t", path=None, **kw):
        return self.good(DEEPLAKE, "init", "--table", table, "--path",
                         path or self.p, *more, **kw)

    def status(self, *args):
        return json.loads(self.good(DEEPLAKE, "status", "--json", *args))

    def pid(self):
        return self.status(self.p)["mounts"][0]["pid"]

    def as_nobody(self, *argv):
        return self.run_it("setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}",
                           "--clear-groups", *argv,
                           env=self.env(XDG_RUNTIME_DIR=self.home))

    def give_to_nobody(self, *paths):
        for path in paths:
            for top, _, files in os.walk(path):
                for name in [""] + files:
                    os.chown(os.path.join(top, name), NOBODY, NOBODY)

    # ---- init, mount, list

    def test_init_is_quick(self):
        took = []
        for i in range(3):
            start = time.monotonic()
            out = self.init(table=f"t{i}", path=f"{self.top}/m{i}")
            took.append(time.monotonic() - start)
            self.assertEqual(out, f"{self.top}/m{i}: table t{i} mounted\n")
        self.assertLess(min(took), 2, took)

    def test_init_remembers(self):
        self.init("--workspace", "default")
        self.put("a")
        with open(self.home + "/.deeplake/mounts.json",
                  encoding="utf-8") as f:
            entry = json.load(f)["mounts"][0]
        self.assertEqual(entry["mountPath"], self.p)
        self.assertRegex(entry["dbUrl"], r"^deeplake://[^/]+/default/t$")
        self.assertEqual(entry["pid"], self.pid())
        self.good(DEEPLAKE, "umount", self.p)
        self.assertIn("not mounted", self.good(DEEPLAKE, "list"))
        self.good(DEEPLAKE, "mount", self.p)
        self.assertEqual(self.get("a"), "text")
        self.good(DEEPLAKE, "mount", "--all")       # is already so: fine
        self.good(DEEPLAKE, "umount", "--all")
        self.assertIsNone(self.mounted())
        self.good(DEEPLAKE, "mount", "--all")
        self.assertEqual(self.get("a"), "text")
        self.good(DEEPLAKE, "umount", self.p)
        self.good(DEEPLAKE, "destroy", "t", "--yes")
        self.assertEqual(json.loads(self.good(DEEPLAKE, "list", "--json")),
                         {"mounts": []})

    def test_init_asks_on_a_terminal(self):
        ours, theirs = pty.openpty()
        with subprocess.Popen([DEEPLAKE, "init"], env=self.env(),
                              stdin=theirs, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, text=True) as p:
            os.write(ours, f"t\n{self.p}\n".encode())
            out = p.communicate(timeout=30)[0]
        os.close(ours)
        os.close(theirs)
        self.assertEqual(p.returncode, 0, out)
        self.assertEqual(self.mounted()[1], "t")

    def test_mounts_of_one_table(self):
        """Each mount point has its own cache."""
        other = self.top + "/m2"
        self.init()
        self.init(path=other)
        self.put("a")
        end = time.monotonic() + 10
        while not os.path.exists(other + "/a") and time.monotonic() < end:
            time.sleep(0.05)
        with open(other + "/a", encoding="utf-8") as f:
            self.assertEqual(f.read(), "text")
        caches = {m["cache_dir"] for m in self.status()["mounts"]}
        self.assertEqual(len(caches), 2)
        for cache in caches:
            self.assertTrue(cache.startswith("/var/cache/deeplake/"), cache)

    def test_options_of_root(self):
        self.init()
        with open("/proc/self/mountinfo", encoding="utf-8") as f:
            line = [x for x in f if f" {self.p} " in x][0]
        self.assertIn("allow_other", line)
        self.assertIn("default_permissions", line)
        self.good("setpriv", f"--reuid={NOBODY}", "--clear-groups", "ls",
                  self.p)

    def test_a_user(self):
        """Caches in the home, nobody else looks in, and init says so."""
        self.give_to_nobody(self.home, self.p)
        r = self.as_nobody(DEEPLAKE, "init", "--table", "t", "--path", self.p)
        self.assertEqual(r.returncode, 0, r.stderr)
        self.assertIn("user_allow_other", r.stderr)
        with self.assertRaises(PermissionError):
            os.listdir(self.p)
        out = self.as_nobody(DEEPLAKE, "status", "--json", self.p).stdout
        self.assertEqual(os.path.dirname(json.loads(out)["mounts"][0]
                                         ["cache_dir"]),
                         self.home + "/.cache/deeplake")
        with open("/proc/self/mountinfo", encoding="utf-8") as f:
            line = [x for x in f if f" {self.p} " in x][0]
        self.assertIn("default_permissions", line)
        r = self.as_nobody("umount", self.p)
        self.assertEqual(r.returncode, 0, r.stderr)
        self.assertIsNone(self.mounted())

    # ---- who we are

    def test_environment(self):
        """No file: both spellings of each variable will do."""
        with open(self.credentials, encoding="utf-8") as f:
            c = json.load(f)
        os.unlink(self.credentials)
        for token, org, ws in (
                ("DEEPLAKE_TOKEN", "DEEPLAKE_ORG_ID", "DEEPLAKE_WORKSPACE_ID"),
                ("DEEPLAKE_API_KEY", "ACTIVELOOP_ORG_ID",
                 "DEEPLAKE_WORKSPACE")):
            env = self.env(**{token: c["token"], org: c["orgId"],
                              ws: "default", "DEEPLAKE_API_URL": c["apiUrl"]})
            self.init(env=env)
            self.good(DEEPLAKE, "umount", self.p)
            # a variable that is wrong is noticed, so it is read
            for name, status in ((token, 3), (org, 3), (ws, 1)):
                r = self.run_it(DEEPLAKE, "init", "--table", "fresh",
                                "--path", self.p,
                                env={**env, name: "wrong"})
                self.assertEqual(r.returncode, status, (name, r.stderr))
        env = self.env(DEEPLAKE_TOKEN=c["token"],
                       DEEPLAKE_API_URL="http://127.0.0.1:1")
        self.init("--api-url", c["apiUrl"], "--org", c["orgId"], env=env)

    def test_without_home(self):
        """The password database knows the home; its credentials are read."""
        env = self.env()
        del env["HOME"]
        self.bind(self.home, "/root")
        self.init(env=env)
        self.put("a")
        self.good(DEEPLAKE, "umount", self.p, env=env)

    def test_refused(self):
        """401 and 403: status 3, and what to look at."""
        with open(self.credentials, encoding="utf-8") as f:
            c = json.load(f)
        for key in ("token", "orgId"):
            with open(self.credentials, "w", encoding="utf-8") as f:
                json.dump({**c, key: "wrong"}, f)
            self.refused(3, ["error: ", "token, orgId and apiUrl",
                             "credentials.json", c["apiUrl"]],
                         DEEPLAKE, "init", "--table", "t", "--path", self.p)
            self.assertIsNone(self.mounted())

    def test_proxy(self):
        """The usual variables; and who reads along without TLS is named."""
        seen = []

        class Proxy(http.server.BaseHTTPRequestHandler):
            def answer(self):
                seen.append(self.path)
                self.send_error(404)
                self.close_connection = True
            do_GET = do_POST = answer

            def log_message(self, *_):
                pass
        with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Proxy) as proxy:
            threading.Thread(target=proxy.serve_forever, daemon=True).start()
            env = self.env(http_proxy=f"127.0.0.1:{proxy.server_port}")
            r = self.run_it(DEEPLAKE, "query", "--api-url",
                            "http://table.example", "t", "SELECT 1", env=env)
            self.assertNotEqual(r.returncode, 0)
            self.assertTrue(seen and all(
                p.startswith("http://table.example/") for p in seen), seen)
            self.assertIn("without TLS", r.stderr)
            seen.clear()
            env["no_proxy"] = "127.0.0.1"
            r = self.run_it(DEEPLAKE, "query", "t", "SELECT 1", env=env)
            self.assertEqual(r.returncode, 0, r.stderr)
            self.assertNotIn("without TLS", r.stderr)
            self.assertEqual(seen, [])
            proxy.shutdown()

    # ---- fstab

    def test_fstab_user(self):
        """A user mounts and unmounts what fstab lets him."""
        self.init()
        self.put("a")
        self.good(DEEPLAKE, "umount", self.p)
        self.give_to_nobody(self.home, self.p)
        with open("/etc/fstab", "w", encoding="utf-8") as f:
            f.write(f"t {self.p} deeplakefs user,noauto,{self.options()} "
                    "0 0\n")
        self.addCleanup(os.truncate, "/etc/fstab", 0)
        self.give_to_nobody(self.top)
        r = self.as_nobody("mount", self.p)
        self.assertEqual(r.returncode, 0, r.stderr)
        self.assertLessEqual({"nosuid", "nodev", "noexec"},
                             set(self.mounted()[2]))
        out = self.as_nobody("cat", self.p + "/a").stdout
        self.assertEqual(out, "text")
        r = self.as_nobody("umount", self.p)
        self.assertEqual(r.returncode, 0, r.stderr)
        self.assertIsNone(self.mounted())

    def test_fstab_all(self):
        """mount -a, with everything that a line may say."""
        with open("/etc/fstab", "w", encoding="utf-8") as f:
            f.write(f"t {self.p} deeplakefs rw,_netdev,nofail,noexec,nosuid,"
                    f"nodev,x-systemd.automount,{self.options()} 0 0\n")
        self.addCleanup(os.truncate, "/etc/fstab", 0)
        self.refused(1, ["deeplake init"], "mount", self.p)
        self.good(DEEPLAKE, "init", "--table", "t", "--path", self.p)
        self.good(DEEPLAKE, "umount", self.p)
        self.good("mount", "-a", "-t", "deeplakefs")
        self.assertEqual(self.mounted()[:2], ("fuse.deeplakefs", "t"))

    def test_fstab_systemd(self):
        """systemd makes units of the line that call our helper."""
        generator = "/usr/lib/systemd/system-generators/" \
            "systemd-fstab-generator"
        if not os.path.exists(generator):
            self.skipTest("systemd is not installed")
        with open("/etc/fstab", "w", encoding="utf-8") as f:
            f.write("t /mnt/data deeplakefs _netdev,nofail,"
                    "x-systemd.automount 0 0\n")
        self.addCleanup(os.truncate, "/etc/fstab", 0)
        units = self.top + "/units"
        os.mkdir(units)
        self.good(generator, units, units, units)
        with open(units + "/mnt-data.mount", encoding="utf-8") as f:
            text = f.read()
        self.assertIn("What=t\nWhere=/mnt/data\nType=deeplakefs", text)
        self.assertTrue(os.path.exists(units + "/mnt-data.automount"))

    # ---- what status says

    def test_status_json(self):
        self.init()
        self.put("a")
        self.good(DEEPLAKE, "flush", self.p)
        doc = self.status(self.p)
        self.assertEqual(list(doc), ["mounts"])
        m = doc["mounts"][0]
        self.assertEqual((m["path"], m["table"], m["workspace"], m["fsync"]),
                         (self.p, "t", "default", "remote"))
        self.assertEqual(m["server"], f"http://127.0.0.1:{self.port}")
        self.assertEqual(m["errors"], [])
        self.assertEqual((m["dirty_bytes"], m["dirty_files"],
                          m["oldest_unsent_s"]), (0, 0, 0))
        for key in ("pid", "cache_bytes"):
            self.assertIsInstance(m[key], int)
        self.assertIsInstance(m["poll_interval_s"], (int, float))
        for key in ("last_commit", "last_poll"):
            self.assertRegex(m[key], r"^20\d\d-\d\d-\d\dT[\d:.]+Z$")
        self.assertEqual(self.status(), self.status(self.p))
        self.stop_server()
        self.put("b")
        end = time.monotonic() + 60
        while not m["errors"] and time.monotonic() < end:
            time.sleep(0.2)
            m = self.status(self.p)["mounts"][0]
        self.assertEqual(m["dirty_bytes"], 4)
        self.assertIn(m["dirty_files"], (1, 2))     # and its directory
        self.assertGreater(m["oldest_unsent_s"], 0)
        self.assertIn("server", m["errors"][0])
        text = self.good(DEEPLAKE, "status", self.p)
        self.assertRegex(text, r"unsent .* in [12] files, the oldest for")
        self.assertIn("(offline)", text)
        self.refused(5, ["not everything is in the table"], DEEPLAKE,
                     "flush", self.p, "--timeout", "1")

    def test_fsync_local_is_shown(self):
        self.init("-o", "fsync=local")
        self.assertEqual(self.status()["mounts"][0]["fsync"], "local")
        self.assertIn("disk only", self.good(DEEPLAKE, "status", self.p))

    def test_status_of_a_dead_daemon(self):
        self.init()
        pid = self.pid()
        os.kill(pid, signal.SIGKILL)
        end = time.monotonic() + 10
        # its arguments go before its socket does
        while os.path.exists(f"/proc/{pid}") and time.monotonic() < end:
            time.sleep(0.05)
        m = self.status()["mounts"][0]
        self.assertEqual((m["pid"], m["state"]), (None, "dead"))
        self.assertIn("deeplake umount", m["errors"][0])
        r = self.run_it(DEEPLAKE, "umount", self.p)
        self.assertEqual(r.returncode, 5, r.stderr)
        self.assertIn("next mount", r.stderr)
        self.assertIsNone(self.mounted())

    # ---- the daemon

    def test_daemon_keeps_nothing(self):
        """No descriptor of the command, no terminal, no directory."""
        inside, outside = os.pipe()
        start = time.monotonic()
        r = subprocess.run([DEEPLAKE, "init", "--table", "t", "--path",
                            self.p], env=self.env(), cwd=self.top,
                           pass_fds=(outside,), stdin=subprocess.DEVNULL,
                           stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                           check=True, timeout=30)
        # capturing ends at the end of all that have stdout and stderr
        self.assertLess(time.monotonic() - start, 20)
        self.assertEqual(r.stdout, f"{self.p}: table t mounted\n".encode())
        os.close(outside)
        self.assertTrue(select.select([inside], [], [], 2)[0])
        self.assertEqual(os.read(inside, 1), b"")
        os.close(inside)
        proc = f"/proc/{self.pid()}"
        for fd in "012":
            self.assertEqual(os.readlink(f"{proc}/fd/{fd}"), "/dev/null")
        self.assertEqual(os.readlink(proc + "/cwd"), "/")
        with open(proc + "/stat", encoding="utf-8") as f:
            fields = f.read().rsplit(")", 1)[1].split()
        self.assertEqual(fields[4], "0", "it has a terminal")
        with open(proc + "/cmdline", encoding="utf-8") as f:
            self.assertNotRegex(f.read(), r"ey[A-Za-z0-9_-]+\.ey")

    def test_foreground(self):
        self.init()
        self.good(DEEPLAKE, "umount", self.p)
        with subprocess.Popen([DEEPLAKE, "mount", "-f", self.p],
                              env=self.env(), stderr=subprocess.PIPE,
                              text=True) as p:
            self.assertIn("table t mounted", p.stderr.readline())
            self.put("a")
            self.assertIsNone(p.poll())
            p.send_signal(signal.SIGTERM)
            text = p.communicate(timeout=60)[1]
        self.assertEqual(p.returncode, 0, text)
        self.assertIn("everything is in the table", text)
        self.assertIsNone(self.mounted())

    def test_log_file(self):
        log = self.top + "/log"
        self.init("-o", f"log_file={log}")
        self.good(DEEPLAKE, "umount", self.p)
        with open(log, encoding="utf-8") as f:
            self.assertIn("table t mounted", f.read())
        start = time.monotonic()
        self.refused(1, ["log_file=/no/such/log", "No such file", "another"],
                     DEEPLAKE, "mount", self.p, "-o",
                     "log_file=/no/such/log")
        self.assertIsNone(self.mounted())
        self.assertLess(time.monotonic() - start, 5)


class Slow(LiveCase):
    """A server that takes a second for each answer."""

    def setUp(self):
        self.rules = None
        super().setUp()

    def start_server(self):
        self.rules = self.top + "/rules"
        self.rule(0)
        self.server_args = ("--simulate", self.rules)
        super().start_server()

    def rule(self, ms):
        with open(self.rules + ".new", "w", encoding="utf-8") as f:
            json.dump({"latency_ms": [ms, ms]}, f)
        os.rename(self.rules + ".new", self.rules)
        time.sleep(0.2)         # the server looks now and then

    def said(self, terminal, *argv):
        """What a command writes to stderr, when that is a terminal or not."""
        ours, theirs = pty.openpty() if terminal else os.pipe()
        with subprocess.Popen(argv, env=self.env(), stderr=theirs,
                              stdin=subprocess.DEVNULL) as p:
            os.close(theirs)
            text = b""
            try:
                while True:
                    part = os.read(ours, 4096)
                    if not part:
                        break
                    text += part
            except OSError:     # the terminal's end
                pass
            p.wait(60)
        os.close(ours)
        self.assertEqual(p.returncode, 0, text)
        return text.decode()

    @harness.waits
    def test_progress(self):
        for terminal in (True, False):
            self.init()
            self.rule(1200)
            self.put("big", os.urandom(500000).hex())
            text = self.said(terminal, DEEPLAKE, "umount", self.p)
            self.rule(0)
            if terminal:
                self.assertRegex(text, r"sending.*(KiB|bytes)")
            else:
                self.assertEqual(text, "")
            self.mount("cold")
            self.rule(1200)
            text = self.said(terminal, DEEPLAKE, "warm", self.p)
            self.rule(0)
            self.assertEqual("fetching" in text, terminal, text)
            self.good("umount", self.p)
            shutil.rmtree(self.top + "/cold")


class Messages(unittest.TestCase):
    """Whatever is typed wrong: what, why, and what to do next."""

    WRONG = [
        ([], None), (["inti"], "deeplake help"),
        (["init", "--table"], "wants a value"),
        (["init", "--tabel", "t"], "--tabel is not known"),
        (["init", "t", "/mnt/x"], "--table"),
        (["init", "--table", "a b", "--path", "/x"], "use letters"),
        (["init", "--table", "t", "--path", ""], "name a directory"),
        (["init", "--table", "t:sub", "--path", "/x"], "TABLE:/sub/dir"),
        (["init", "--table", "t", "--path", "/x", "-o", "foo"],
         "help mount"),
        (["init", "--table", "t", "--path", "/x", "-o", "cache_size=1"],
         "8.0 MiB to"),
        (["init", "--table", "t", "--path", "/x", "-o", "threads=x"],
         "whole number"),
        (["mount"], "help mount"), (["mount", "/nowhere"], "deeplake init"),
        (["umount", "/"], "umount(8)"), (["umount"], "--all"),
        (["umount", "/x", "--timeout", "soon"], "1.5"),
        (["flush", "/nowhere"], "deeplake list"),
        (["status", "a", "b"], "at most one path"),
        (["status", "--clear"], "give a path"),
        (["destroy", "t"], "--yes"), (["help", "x"], "deeplake help"),
        (["version", "x"], "no arguments"), (["warm"], "one path"),
        (["list", "x"], "not expected"), (["-x"], "deeplake help"),
    ]

    def test_each(self):
        for args, want in self.WRONG:
            r = subprocess.run([DEEPLAKE, *args], capture_output=True,
                               text=True, env={"HOME": "/nonexistent"},
                               stdin=subprocess.DEVNULL, check=False)
            self.assertIn(r.returncode, (1, 2), (args, r))
            if want:
                self.assertIn(want, r.stderr, args)
                self.assertEqual(len(re.findall("error: ", r.stderr)), 1)


if __name__ == "__main__":
    sys.exit(main())
