#!/usr/bin/env python3
"""The commands without a server: arguments, statuses, messages, and that help,
man page, option table and completion say the same.

BUILD names the build directory.
"""

import json
import os
import re
import socket
import subprocess
import sys
import tempfile
import time
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)),
                                "..", "mount"))
import cases  # noqa: E402
import harness  # noqa: E402

BUILD = os.environ.get("BUILD", "build")
DEEPLAKE = os.path.join(BUILD, "deeplake")
USAGE, CREDENTIALS = 2, 3


class Case(unittest.TestCase):
    def setUp(self):
        self.dir = tempfile.TemporaryDirectory()
        self.home = self.dir.name
        self.addCleanup(self.dir.cleanup)

    def run_as(self, argv0, *args, env=None, **kw):
        e = {"HOME": self.home, "PATH": os.environ["PATH"]}
        e.update(env or {})
        return subprocess.run([argv0, *args], executable=DEEPLAKE, env=e,
                              capture_output=True, text=True, timeout=60,
                              stdin=subprocess.DEVNULL, check=False, **kw)

    def deeplake(self, *args, **kw):
        return self.run_as("deeplake", *args, **kw)

    def refused(self, status, words, *args, **kw):
        r = self.deeplake(*args, **kw)
        self.assertEqual(r.returncode, status, r.stderr)
        self.assertEqual(r.stdout, "")
        for word in words:
            self.assertIn(word, r.stderr)
        self.assertRegex(r.stderr, r"(?m)^deeplake: error: ")
        return r

    def credentials(self, mode=0o600, **fields):
        os.makedirs(self.home + "/.deeplake", mode=0o700, exist_ok=True)
        path = self.home + "/.deeplake/credentials.json"
        with open(path, "w", encoding="utf-8") as f:
            json.dump({"token": "a.b.c", "orgId": "o", **fields}, f)
        os.chmod(path, mode)
        return path


class Arguments(Case):
    def test_no_command(self):
        r = self.deeplake()
        self.assertEqual(r.returncode, USAGE)
        self.assertIn("usage: deeplake", r.stdout)

    def test_unknown_command(self):
        self.refused(USAGE, ["'frobnicate'", "deeplake help"], "frobnicate")

    def test_unknown_option(self):
        self.refused(USAGE, ["--nope", "help init"], "init", "--nope")

    def test_version(self):
        with open("packaging/VERSION", encoding="utf-8") as f:
            version = f.read().strip()
        self.assertEqual(self.deeplake("version").stdout,
                         f"deeplakefs {version}\n")
        self.assertEqual(self.deeplake("--version").stdout,
                         f"deeplakefs {version}\n")

    def test_init_asks_nobody(self):
        self.refused(USAGE, ["--table"], "init", "--path", self.home + "/m")
        self.refused(USAGE, ["--path"], "init", "--table", "t")

    def test_table_names(self):
        for bad in ["a b", "a/../b c", "t__log", "t__pack", "x" * 80, "1a;b"]:
            self.refused(USAGE, [], "init", "--table", bad, "--path",
                         self.home + "/m")

    def test_mount_takes_one_thing(self):
        self.refused(USAGE, ["--all"], "mount")
        self.refused(USAGE, ["--all"], "mount", "--all", "/x")
        self.refused(USAGE, ["path"], "umount")
        self.refused(USAGE, ["time"], "umount", "/x", "--timeout", "soon")
        self.refused(USAGE, ["path"], "flush")

    def test_destroy_wants_yes(self):
        self.credentials()
        self.refused(USAGE, ["--yes"], "destroy", "t")

    def test_closed_stdout(self):
        with open("/dev/full", "w", encoding="utf-8") as full:
            r = subprocess.run([DEEPLAKE, "help"], stdout=full,
                               stderr=subprocess.PIPE, text=True, check=False)
        self.assertEqual(r.returncode, 1)
        self.assertIn("standard output", r.stderr)


class Options(Case):
    def option(self, text, words, status=USAGE):
        self.refused(status, words, "init", "--table", "t", "--path",
                     self.home + "/m", "-o", text)

    def test_bad_values(self):
        self.option("cache_size=5X", ["cache_size=5X", "512M"])
        self.option("cache_size=", ["cache_size", "missing", "size"][:1])
        self.option("umount_timeout=soon", ["umount_timeout=soon", "1.5"])
        self.option("fsync=maybe", ["fsync=maybe", "remote", "local"])
        self.option("umask=999", ["umask=999", "octal"])
        self.option("threads=1000", ["threads=1000", "64"])
        self.option("ro=1", ["ro=1", "no value"])
        self.option("nonsense", ["nonsense", "help mount"])
        self.option("token=secret", ["credentials="])
        self.option("strictatime", ["relatime"])

    def test_token_value_is_not_repeated(self):
        r = self.deeplake("init", "--table", "t", "--path", self.home + "/m",
                          "-o", "token=hunter2")
        self.assertNotIn("hunter2", r.stderr)

    def test_foreign_options_pass(self):
        """What mount(8) and fstab hand on gets as far as the credentials."""
        self.option("rw,noexec,nosuid,nodev,_netdev,nofail,user,"
                    "x-systemd.automount,comment=hello,defaults,relatime",
                    ["no credentials"], CREDENTIALS)

    def test_helper(self):
        r = self.run_as("mount.deeplakefs", "t", self.home, "-o", "bad_one")
        self.assertEqual(r.returncode, USAGE)
        self.assertIn("bad_one", r.stderr)
        r = self.run_as("mount.fuse.deeplakefs", "t", self.home, "-s", "-f",
                        "-o", "rw,bad_one")
        self.assertEqual(r.returncode, 0, r.stderr)
        r = self.run_as("mount.deeplakefs", "t")
        self.assertEqual(r.returncode, USAGE)
        r = self.run_as("umount.fuse.deeplakefs", self.home)
        self.assertEqual(r.returncode, 1)
        self.assertIn("no table is mounted", r.stderr)
        r = self.run_as("umount.deeplakefs", "-x", self.home)
        self.assertEqual(r.returncode, USAGE)


class Credentials(Case):
    def init(self, *more, env=None):
        return self.deeplake("init", "--table", "t", "--path",
                             self.home + "/m", *more, env=env)

    def test_none(self):
        r = self.init()
        self.assertEqual(r.returncode, CREDENTIALS)
        self.assertIn("credentials.json", r.stderr)

    def test_open_to_others(self):
        self.credentials(mode=0o644)
        r = self.init()
        self.assertEqual(r.returncode, CREDENTIALS)
        self.assertIn("chmod", r.stderr)
        self.assertNotIn("a.b.c", r.stderr)

    def test_not_json(self):
        path = self.credentials()
        with open(path, "w", encoding="utf-8") as f:
            f.write("{token: hunter2}")
        r = self.init()
        self.assertEqual(r.returncode, CREDENTIALS)
        self.assertNotIn("hunter2", r.stderr)

    def test_named_file_beats_variable(self):
        r = self.init("-o", "credentials=/nonexistent.json",
                      env={"DEEPLAKE_TOKEN": "x.y.z"})
        self.assertEqual(r.returncode, CREDENTIALS)

    @harness.waits
    def test_unreachable(self):
        """Nothing cached and nobody there: status 4, soon, nothing mounted."""
        self.credentials(apiUrl="http://127.0.0.1:1")
        start = time.monotonic()
        r = self.init("-o", f"cache_dir={self.home}/c")
        self.assertLess(time.monotonic() - start, 10)
        self.assertEqual(r.returncode, 4, r.stderr)
        self.assertIn("http://127.0.0.1:1 does not answer", r.stderr)
        with open("/proc/self/mountinfo", encoding="utf-8") as f:
            self.assertNotIn(self.home, f.read())

    def test_no_certificates(self):
        """What is wrong with the connection's set-up is said, and no more."""
        self.credentials(apiUrl="http://127.0.0.1:1")
        r = self.init(env={"SSL_CERT_FILE": self.home + "/none"})
        self.assertEqual(r.returncode, 1, r.stderr)
        self.assertIn("/none: No such file", r.stderr)
        self.assertNotIn("killed", r.stderr)

    @harness.waits
    def test_silent_server(self):
        """One that takes the connection and says nothing is no better."""
        with socket.create_server(("127.0.0.1", 0)) as s:
            self.credentials(apiUrl=f"http://127.0.0.1:{s.getsockname()[1]}")
            for command in (("init", "--table", "t", "--path",
                             self.home + "/m"),
                            ("destroy", "t", "--yes")):
                start = time.monotonic()
                r = self.refused(4, ["does not answer"], *command)
                self.assertLess(time.monotonic() - start, 10, r.stderr)


class Places(Case):
    def test_not_empty(self):
        self.credentials()
        os.mkdir(self.home + "/m")
        with open(self.home + "/m/file", "w", encoding="utf-8"):
            pass
        self.refused(1, ["not empty", "nonempty"], "init", "--table", "t",
                     "--path", self.home + "/m")

    def test_not_a_directory(self):
        self.credentials()
        with open(self.home + "/m", "w", encoding="utf-8"):
            pass
        self.refused(1, ["not a directory"], "init", "--table", "t", "--path",
                     self.home + "/m")

    def test_unknown_mount(self):
        self.refused(1, ["deeplake init", "deeplake list"], "mount",
                     self.home)
        self.refused(1, ["no table is mounted"], "umount", self.home)
        self.refused(1, ["no table is mounted"], "status", self.home)

    def test_registry_of_other_tools(self):
        """An entry written by hand is listed, and its fields are kept."""
        os.makedirs(self.home + "/.deeplake")
        path = self.home + "/.deeplake/mounts.json"
        with open(path, "w", encoding="utf-8") as f:
            json.dump({"mounts": [{"mountPath": self.home + "/m", "pid": None,
                                   "dbUrl": "deeplake://o/w/notes"}],
                       "version": 7}, f)
        doc = json.loads(self.deeplake("list", "--json").stdout)
        mine = [m for m in doc["mounts"] if m["path"] == self.home + "/m"]
        self.assertEqual(mine[0]["table"], "notes")
        self.assertEqual(mine[0]["workspace"], "w")
        self.assertEqual(mine[0]["state"], "not mounted")

    def test_broken_registry(self):
        os.makedirs(self.home + "/.deeplake")
        with open(self.home + "/.deeplake/mounts.json", "w",
                  encoding="utf-8") as f:
            f.write('{"mounts": [')
        self.refused(1, ["mounts.json", "line 1"], "list")


class Manuals(Case):
    def man(self, page):
        r = subprocess.run(["mandoc", "-T", "ascii", "packaging/man/" + page],
                           capture_output=True, text=True, check=True)
        return re.sub(r".\x08", "", r.stdout)

    def setUp(self):
        super().setUp()
        try:
            subprocess.run(["mandoc", "/dev/null"], capture_output=True,
                           check=False)
        except FileNotFoundError:
            self.skipTest("mandoc is not installed")

    def words(self, what):
        return self.deeplake("help", "--words=" + what).stdout.split()

    def test_options(self):
        """Every option of the table is in the man page, and none besides."""
        text = self.man("mount.deeplakefs.8")
        options = text[text.index("\n     credentials=file"):
                       text.index("\n     Options of ")]
        heads = set()
        for line in options.split("\n"):
            head = re.split(r"\s{2,}", line[5:])[0]
            if re.match(r"     [a-z_]", line):
                heads.update(re.findall(r"(?:^|, )([a-z_]+)", head))
        table = {o.rstrip("=") for o in self.words("options")}
        self.assertEqual(table - heads, set())
        self.assertEqual(heads - table, {"rw", "exec"} & heads)

    def test_help_lists_the_table(self):
        text = self.deeplake("help", "mount").stdout
        for option in self.words("options"):
            self.assertRegex(text, rf"\n  {re.escape(option)}")

    def test_commands(self):
        text = self.man("deeplake.1")
        help_text = self.deeplake("help").stdout
        for command in self.words("commands"):
            self.assertRegex(text, rf"\n     {command}\b")
            self.assertRegex(help_text, rf"\n  {command} ")

    def test_long_options(self):
        """What a command's help shows is in the man page."""
        text = self.man("deeplake.1").replace("\u2010", "-")
        for command in ["init", "mount", "umount", "status", "flush",
                        "destroy", "list"]:
            r = self.deeplake("help", command)
            for option in re.findall(r"--[a-z-]+", r.stdout):
                self.assertIn(option, text, command)

    def test_statuses(self):
        for page in ["deeplake.1", "mount.deeplakefs.8"]:
            text = self.man(page)
            section = text[text.index("EXIT STATUS"):]
            for status in range(6):
                self.assertRegex(section, rf"\n     {status}  ")


class Completion(Case):
    def complete(self, *words):
        script = (f"PATH={os.path.abspath(BUILD)}:$PATH\n"
                  ". packaging/completion/deeplake\n"
                  f"COMP_WORDS=({' '.join(repr(w) for w in words)})\n"
                  f"COMP_CWORD={len(words) - 1}\n"
                  "compopt() { :; }\n"
                  "_deeplake\nprintf '%s\\n' \"${COMPREPLY[@]}\"\n")
        r = subprocess.run(["bash", "-c", script], capture_output=True,
                           text=True, check=False,
                           env={"HOME": self.home, "PATH": os.environ["PATH"]})
        self.assertEqual(r.stderr, "")
        return r.stdout.split()

    def test_commands(self):
        self.assertEqual(self.complete("deeplake", "umo"), ["umount"])

    def test_options(self):
        self.assertEqual(self.complete("deeplake", "init", "-o", "ro,cache_s"),
                         ["ro,cache_size="])


if __name__ == "__main__":
    sys.exit(cases.main())
