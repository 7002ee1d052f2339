"""What the mount tests stand on: private directories, servers, mounts.

A test file defines functions named test_*, each taking one Box, and ends with
`harness.main(globals())`.  It is a script of its own:

    tests/mount/test_x.py [--target deeplake|pass|plain] [--keep] [NAME...]

Exit status 0: all passed; 1: one failed; 77: nothing could be run.  The build
directory is taken from DF_BUILD (default: build/ beside tests/).

A Box is one test's world: a temporary directory with a HOME, a table server
when one is asked for, and mounts.  Leaving it unmounts, and then fails the
test if a daemon ended with another status than expected, wrote a suspicious
line into its log, or left a mount, a process or a process in D state behind.
Everything started here carries DF_TEST_BOX in its environment, so that only
that is ever killed; daemons come back to us as children (subreaper), so that
their exit status is known.
"""
import contextlib
import ctypes
import errno
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import traceback
import urllib.request

TOP = os.path.dirname(os.path.dirname(os.path.dirname(
    os.path.abspath(__file__))))
BUILD = os.path.abspath(os.environ.get("DF_BUILD", os.path.join(TOP, "build")))
REPORTS = os.path.join(BUILD, "reports")
SUSPICIOUS = re.compile(
    r"(?i)\b(errors?|abort\w*|(seg)?fault(s|ed|ing)?|uninit\w*|"
    r"assert\w*|\w+Sanitizer)\b")
PR_SET_CHILD_SUBREAPER = 36
CLONE_NEWNS = 0x20000


class Skip(Exception):
    """This test cannot run here; the text says why."""


def need(condition, reason):
    if not condition:
        raise Skip(reason)


def need_program(*names):
    for name in names:
        need(shutil.which(name), f"the program {name} is not installed")


def built(name):
    """The path of something in the build directory."""
    path = os.path.join(BUILD, name)
    need(os.path.exists(path), f"{path} is not built")
    return path


def wait_for(what, check, timeout=10.0, step=0.05):
    """Ask until check() is true; its value. AssertionError after timeout."""
    end = time.monotonic() + timeout
    while True:
        value = check()
        if value:
            return value
        if time.monotonic() > end:
            raise AssertionError(f"after {timeout} s still not: {what}")
        time.sleep(step)


def mounts_under(path):
    """(mount point, type, source) of every mount at or below path."""
    found = []
    with open("/proc/self/mountinfo", "rb") as f:
        for line in f:
            left, right = line.split(b" - ", 1)
            point = re.sub(rb"\\(\d{3})", lambda m: bytes([int(m[1], 8)]),
                           left.split()[4]).decode(errors="surrogateescape")
            if point == path or point.startswith(path + "/"):
                kind, source = right.split()[:2]
                found.append((point, kind.decode(), source.decode()))
    return found


def process_state(pid):
    """The letter of /proc/PID/stat, or '' when there is no such process."""
    try:
        with open(f"/proc/{pid}/stat") as f:
            return f.read().rsplit(")", 1)[1].split()[0]
    except (OSError, IndexError):
        return ""


def parent_of(pid):
    try:
        with open(f"/proc/{pid}/stat") as f:
            return int(f.read().rsplit(")", 1)[1].split()[1])
    except (OSError, IndexError):
        return 0


def drop_caches(which=3):
    """Forget the kernel's clean pages (1), names and inodes (2) or both."""
    os.sync()
    with open("/proc/sys/vm/drop_caches", "w") as f:
        f.write(str(which))


class Server:
    """A table server; counts() reads what it counted."""

    def __init__(self, box, name="server", args=(), port=0):
        self.box = box
        self.name = name
        self.args = list(args)
        self.log = os.path.join(box.dir, name + ".log")
        self.store = os.path.join(box.dir, name + ".store")
        self.creds = os.path.join(box.home, ".deeplake", "credentials.json")
        self.start(port)

    def start(self, port=0):
        os.makedirs(os.path.dirname(self.creds), mode=0o700, exist_ok=True)
        out = open(self.log, "ab")
        self.proc = subprocess.Popen(
            [built("deeplake-serve"), "--listen", f"127.0.0.1:{port}",
             "--store", "sqlite:" + self.store,
             "--write-credentials", self.creds] + self.args,
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=out,
            env=self.box.env(), text=True)
        out.close()
        line = self.proc.stdout.readline().strip()
        if not line.startswith("ready http://"):
            self.proc.kill()
            raise AssertionError(f"the server did not say ready but {line!r}: "
                                 + tail(self.log))
        self.url = line.split()[1]
        self.port = int(self.url.rsplit(":", 1)[1].rstrip("/"))

    def metrics(self):
        """{'name{labels}': value} of GET /metrics."""
        with urllib.request.urlopen(self.url + "/metrics", timeout=10) as r:
            text = r.read().decode()
        found = {}
        for line in text.splitlines():
            if line and not line.startswith("#"):
                key, value = line.rsplit(None, 1)
                found[key] = float(value)
        return found

    def requests(self):
        """API requests so far (GET /metrics and health not counted)."""
        total = 0
        for key, value in self.metrics().items():
            if re.match(r"\w*requests_total(\{|$)", key) and \
               not re.search(r"metrics|health", key):
                total += value
        return int(total)

    def stop(self, sig=signal.SIGTERM):
        if self.proc.poll() is not None:
            return self.proc.returncode
        self.proc.send_signal(sig)
        try:
            code = self.proc.wait(20)
        except subprocess.TimeoutExpired:
            self.proc.kill()
            self.proc.wait()
            raise AssertionError("the server did not end within 20 s of "
                                 f"signal {sig}: " + tail(self.log))
        finally:
            self.proc.stdout.close()
        return code


class Link:
    """The delaying proxy in front of a server; count() reads and clears."""

    def __init__(self, box, server, rtt_s=0.02, mbit=0):
        self.box, self.server = box, server
        self.proc = subprocess.Popen(
            [built("tests/bench/delay"), "--to",
             f"127.0.0.1:{server.port}", "--rtt-ms", str(rtt_s * 1000),
             "--mbit", str(mbit)], stdin=subprocess.PIPE,
            stdout=subprocess.PIPE, text=True, env=box.env())
        self.url = self.proc.stdout.readline().split()[1]

    def ask(self, line):
        self.proc.stdin.write(line + "\n")
        self.proc.stdin.flush()
        return json.loads(self.proc.stdout.readline())

    def count(self):
        return self.ask("reset")

    def set_rtt(self, seconds):
        self.ask(f"rtt {seconds * 1000}")

    def home(self, name):
        """A HOME whose credentials name the link instead of the server."""
        return self.box.home_at(name, self.server, self.url)

    def stop(self):
        if self.proc.stdin.closed:
            return
        self.proc.stdin.close()
        self.proc.wait(10)
        self.proc.stdout.close()


class Mount:
    """A directory under test: deeplake, the passthrough, or a plain one."""

    def __init__(self, box, name, kind, options, home, table, server,
                 run_as=0):
        self.box, self.name, self.kind = box, name, kind
        self.run_as = run_as    # the user id that mounts
        self.options = dict(options or {})
        self.home = home or box.home
        self.table = table
        self.server = server
        self.path = os.path.join(box.dir, "mnt-" + name)
        self.cache = os.path.join(box.dir, "cache-" + name)
        self.log = os.path.join(box.dir, f"log-{name}")
        self.expected_status = 0
        self.allowed = []       # patterns of log lines that a test expects
        self.pid = 0
        os.makedirs(self.path, exist_ok=True)
        os.makedirs(self.cache, exist_ok=True)
        if run_as:
            for path in (self.path, self.cache, self.home):
                for top, _, files in os.walk(path):
                    for name in [""] + files:
                        os.chown(os.path.join(top, name), run_as, run_as)

    # -- the command line
    def deeplake(self, *args, **kw):
        return self.as_owner([built("deeplake"), *args], **kw)

    def as_owner(self, cmd, **kw):
        """Run cmd as the user that mounts."""
        if not self.run_as:
            return self.box.run(cmd, home=self.home, **kw)
        env = self.box.env(self.home, XDG_RUNTIME_DIR=self.home)
        return self.box.run(["setpriv", f"--reuid={self.run_as}",
                             f"--regid={self.run_as}", "--clear-groups", *cmd],
                            env=env, **kw)

    def option_text(self):
        opts = {"cache_dir": self.cache, "log_file": self.log}
        opts.update(self.options)
        return ",".join(k if v is True else f"{k}={v}"
                        for k, v in opts.items() if v is not None)

    def up(self, init=True):
        if self.kind == "plain":
            return self
        before = children()
        if self.kind == "pass":
            extra = "".join(f",{k}" for k, v in self.options.items()
                            if v is True)
            self.box.run([built("tests/bench/pass"), "-o",
                          f"source={self.cache},allow_other,suid,dev,"
                          f"default_permissions,xattr,fsname=pass{extra}",
                          self.path])
        elif init:
            self.deeplake("init", "--table", self.table, "--path", self.path,
                          "-o", self.option_text())
        else:
            self.deeplake("mount", self.path)
        found = mounts_under(self.path)
        assert found, f"{self.path} is not in the mount table"
        self.pid = self.find_daemon(before)
        return self

    def find_daemon(self, before):
        if self.kind == "deeplake":
            pid = self.status()["pid"]
            assert pid, "the daemon died as soon as it was mounted"
            return int(pid)
        fresh = [p for p in children() - before if process_state(p) != "Z"]
        assert fresh, "the mount's daemon is not among our children"
        return fresh[0]

    def status(self):
        out = self.deeplake("status", self.path, "--json").stdout
        return json.loads(out)["mounts"][0]

    def flush(self, timeout=120):
        """Everything remote (deeplake), or on disk (the others)."""
        if self.kind == "deeplake":
            self.deeplake("flush", self.path, "--timeout", str(timeout),
                          timeout=timeout + 10)

    def down(self, timeout=120):
        """umount, then the daemon's end and its status."""
        if self.kind == "plain" or not mounts_under(self.path):
            return self.reap()
        if self.kind == "pass":
            self.box.run(["umount", self.path])
        else:
            self.deeplake("umount", self.path, "--timeout", str(timeout),
                          timeout=timeout + 10)
        assert not mounts_under(self.path), f"{self.path} is still mounted"
        return self.reap()

    def reap(self, timeout=30):
        if not self.pid:
            return None
        pid, self.pid = self.pid, 0
        code = self.box.wait_child(pid, timeout)
        assert code is None or code == self.expected_status, \
            f"the daemon of {self.name} ended with status {code}: " + \
            tail(self.log)
        return code

    def kill(self, sig=signal.SIGKILL):
        """Kill the daemon; the dead mount point is cleared."""
        pid, self.pid = self.pid, 0
        os.kill(pid, sig)
        self.box.wait_child(pid, 30)
        subprocess.run(["umount", "-i", "-l", self.path], check=False,
                       stderr=subprocess.DEVNULL)

    def remount(self, empty_cache=False):
        """Unmount and mount again, maybe with nothing kept locally."""
        if self.kind == "plain":
            return self
        self.down()
        if empty_cache and self.kind == "deeplake":
            shutil.rmtree(self.cache)
            os.makedirs(self.cache)
        return self.up()

    def check_log(self):
        if not os.path.exists(self.log):
            return
        with open(self.log, errors="replace") as f:
            for line in f:
                if SUSPICIOUS.search(line) and \
                   not any(re.search(p, line) for p in self.allowed):
                    raise AssertionError(f"the log of {self.name} says: "
                                         + line.strip())


def stacks(pid):
    """What every thread of a process that hangs does, if gdb is there."""
    if not shutil.which("gdb"):
        return ""
    r = subprocess.run(["gdb", "-q", "-batch", "-p", str(pid), "-ex",
                        "thread apply all bt 14"], capture_output=True,
                       text=True, check=False, timeout=60)
    return "\n" + "\n".join(line for line in r.stdout.splitlines()
                            if line.startswith(("#", "Thread")))


def reports():
    """The sanitizers' reports so far (tests/sanitize.c)."""
    return set(os.listdir(REPORTS)) if os.path.isdir(REPORTS) else set()


def children():
    try:
        with open(f"/proc/self/task/{os.getpid()}/children") as f:
            return {int(p) for p in f.read().split()}
    except OSError:
        return {int(p) for p in os.listdir("/proc")
                if p.isdigit() and parent_of(int(p)) == os.getpid()}


def tail(path, size=2000):
    try:
        with open(path, errors="replace") as f:
            return f.read()[-size:].strip() or "(empty log)"
    except OSError as e:
        return f"({e})"


class Box:
    """One test's private world; a context manager."""

    def __init__(self, name, target="deeplake", keep=False):
        self.name, self.target, self.keep = name, target, keep
        base = os.environ.get("DF_TEST_TMP", tempfile.gettempdir())
        self.dir = tempfile.mkdtemp(prefix=f"df-{name}-"[:40], dir=base)
        os.chmod(self.dir, 0o755)
        self.home = os.path.join(self.dir, "home")
        os.makedirs(self.home)
        self.servers, self.mounts, self.links = [], [], []
        self.reports_before = reports()

    def env(self, home=None, **more):
        """A clean environment, marked as ours; no user's settings."""
        env = {"PATH": BUILD + ":/usr/local/sbin:/usr/local/bin:/usr/sbin:"
               "/usr/bin:/sbin:/bin", "HOME": home or self.home, "LANG": "C",
               "LC_ALL": "C.UTF-8", "TZ": "UTC", "DF_TEST_BOX": self.dir,
               "TMPDIR": self.dir, "GIT_CONFIG_NOSYSTEM": "1",
               "GIT_AUTHOR_NAME": "Test", "GIT_AUTHOR_EMAIL": "t@example.org",
               "GIT_COMMITTER_NAME": "Test",
               "GIT_COMMITTER_EMAIL": "t@example.org"}
        env.update(more)
        return env

    def run(self, cmd, check=True, timeout=120, home=None, cwd=None,
            stdin=None, env=None, status=None):
        """Run cmd; fail with its output when it fails or hangs.

        status: the exit status that is expected instead of 0.
        """
        with subprocess.Popen(
                cmd, text=True, errors="surrogateescape",
                stdin=subprocess.PIPE if stdin is not None
                else subprocess.DEVNULL,
                stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=cwd,
                env=env or self.env(home), start_new_session=True) as p:
            try:
                out, err = p.communicate(stdin, timeout)
            except subprocess.TimeoutExpired:
                os.killpg(p.pid, signal.SIGKILL)
                raise AssertionError(f"{words(cmd)}: no end within {timeout} "
                                     "s") from None
        want = 0 if status is None else status
        if check and p.returncode != want:
            raise AssertionError(
                f"{words(cmd)}: status {p.returncode}, not {want}\n"
                f"{out[-1500:]}\n{err[-1500:]}")
        return subprocess.CompletedProcess(cmd, p.returncode, out, err)

    def serve(self, name="server", args=(), port=0):
        server = Server(self, name, args, port)
        self.servers.append(server)
        return server

    def new_home(self, name):
        """Another user's HOME with the same credentials."""
        home = os.path.join(self.dir, "home-" + name)
        os.makedirs(os.path.join(home, ".deeplake"), mode=0o700)
        src = os.path.join(self.home, ".deeplake", "credentials.json")
        if os.path.exists(src):
            shutil.copy2(src, os.path.join(home, ".deeplake"))
        return home

    def home_at(self, name, server, url):
        """A HOME whose credentials name url instead of the server."""
        home = self.new_home(name)
        creds = os.path.join(home, ".deeplake", "credentials.json")
        text = get(creds).decode().replace(server.url.rstrip("/"), url)
        assert url in text, f"{creds} does not name {server.url}"
        put(creds, text.encode())
        return home

    def far(self, rtt_s, mbit=0, name="a", **kw):
        """A mount behind a link of its own (.link); kw as for mount()."""
        server = self.servers[0] if self.servers else self.serve()
        link = Link(self, server, rtt_s, mbit)
        self.links.append(link)
        m = self.mount(name, home=link.home("far-" + name), server=server,
                       **kw)
        m.link = link
        return m

    def mount(self, name="a", kind=None, options=None, home=None,
              table="data", server=None, run_as=0):
        """A mount that is up.  kind defaults to the run's --target."""
        kind = kind or self.target
        if kind == "deeplake" and not server:
            server = self.servers[0] if self.servers else self.serve()
        m = Mount(self, name, kind, options, home, table, server, run_as)
        self.mounts.append(m)
        return m.up()

    def plain(self, name="plain"):
        """A plain directory beside the mount, the oracle."""
        path = os.path.join(self.dir, name)
        os.makedirs(path, exist_ok=True)
        return path

    def wait_child(self, pid, timeout=30):
        """The exit status of a daemon; -N for a signal; None if foreign."""
        end = time.monotonic() + timeout
        while True:
            try:
                got, status = os.waitpid(pid, os.WNOHANG)
            except ChildProcessError:
                if not process_state(pid):
                    return None
                got = 0
            if got:
                return os.waitstatus_to_exitcode(status)
            if time.monotonic() > end:
                raise AssertionError(f"process {pid} did not end within "
                                     f"{timeout} s (state "
                                     f"{process_state(pid)})" + stacks(pid))
            time.sleep(0.02)

    def ours(self):
        """Living processes that this box started, however far away."""
        found = []
        mark = b"DF_TEST_BOX=" + os.fsencode(self.dir)
        for p in os.listdir("/proc"):
            if not p.isdigit() or int(p) == os.getpid():
                continue
            try:
                with open(f"/proc/{p}/environ", "rb") as f:
                    mine = mark in f.read().split(b"\0")
            except OSError:
                continue
            if mine and process_state(p) not in ("Z", ""):
                found.append(int(p))
        return found

    def stuck(self):
        """Our processes that stay in D state for two seconds."""
        waiting = set(self.ours())
        end = time.monotonic() + 2
        while waiting and time.monotonic() < end:
            waiting = {p for p in waiting if process_state(p) == "D"}
            time.sleep(0.05)
        return waiting

    def leftovers(self):
        """Complaints about what is still there; also ends it."""
        bad = []
        for point, kind, _ in mounts_under(self.dir):
            bad.append(f"still mounted: {point} ({kind})")
        stuck = self.stuck()
        if stuck:
            bad.append(f"in D state: {sorted(stuck)}")
        for pid in self.ours():
            try:
                with open(f"/proc/{pid}/cmdline", "rb") as f:
                    cmd = f.read().replace(b"\0", b" ").decode(
                        errors="replace")
                bad.append(f"still running: {pid} {cmd}")
                os.kill(pid, signal.SIGKILL)
            except OSError:
                pass
        for point, _, _ in reversed(mounts_under(self.dir)):
            subprocess.run(["umount", "-i", "-l", point], check=False)
        return bad

    def sanitizer_reports(self):
        """What programs of a sanitized build reported in our time."""
        return [tail(os.path.join(REPORTS, name), 4000)
                for name in sorted(reports() - self.reports_before)]

    def let_go(self):
        """Close what a failed test left open here: it would stay busy."""
        os.chdir("/")
        for fd in os.listdir("/proc/self/fd"):
            try:
                if os.readlink(f"/proc/self/fd/{fd}").startswith(self.dir):
                    os.close(int(fd))
            except OSError:
                pass

    def close(self):
        bad = []
        for m in reversed(self.mounts):
            for step in (m.down, m.check_log):
                try:
                    step()
                except AssertionError as e:
                    bad.append(str(e))
        for link in self.links:
            link.stop()
        for s in self.servers:
            try:
                code = s.stop()
                if code not in (0, -signal.SIGKILL):
                    bad.append(f"the server ended with status {code}: "
                               + tail(s.log))
            except AssertionError as e:
                bad.append(str(e))
        bad += self.leftovers()
        bad += self.sanitizer_reports()
        if self.keep:
            print(f"  kept: {self.dir}")
        elif not mounts_under(self.dir):
            shutil.rmtree(self.dir, ignore_errors=True)
        return bad

    def __enter__(self):
        return self

    def __exit__(self, kind, value, trace):
        if kind is not None:
            self.let_go()
        bad = self.close()
        if bad and (kind is None or issubclass(kind, Skip)):
            raise AssertionError("; ".join(bad))
        if bad:
            print("  also: " + "; ".join(bad))
        return False


def fails(code, func, *args, **kw):
    """func must fail with one of these errnos."""
    codes = code if isinstance(code, tuple) else (code,)
    try:
        func(*args, **kw)
    except OSError as e:
        assert e.errno in codes, \
            f"{func.__name__}: {errno.errorcode.get(e.errno, e.errno)}, not " \
            + " or ".join(errno.errorcode[c] for c in codes)
        return
    raise AssertionError(f"{func.__name__}{args!r} did not fail with "
                         + errno.errorcode[codes[0]])


def put(path, data, mode="wb"):
    with open(path, mode) as f:
        f.write(data)


def get(path):
    with open(path, "rb") as f:
        return f.read()


def counted(word, group, counts):
    """Say what was done, for run.py's sums: word is rounds or faults.

    Of faults: every kind that was planned, also those that never came.
    """
    print(f"  {word} {group}: "
          + ", ".join(f"{n:.0f} {what}" for what, n in sorted(counts.items())),
          flush=True)


def words(cmd):
    return " ".join(str(c) for c in cmd)


def same_tree(a, b, times=True):
    """Differences of two trees in a few lines; [] when there are none.

    Type, mode, owner, size, content, link target, device, hard links and
    (with times) mtime to the nanosecond are compared, names as bytes.
    """
    diffs = []
    ta, tb = tree(a, times), tree(b, times)
    for name in sorted(ta.keys() | tb.keys()):
        if ta.get(name) != tb.get(name):
            diffs.append(f"{os.fsdecode(name)}: {ta.get(name)} != "
                         f"{tb.get(name)}")
    return diffs[:20]


def tree(top, times=True):
    import hashlib
    import stat
    found, links = {}, {}
    top = os.fsencode(top)
    for path, dirs, files in os.walk(top):
        for name in dirs + files + ([b"."] if path == top else []):
            full = os.path.join(path, name)
            st = os.lstat(full)
            rel = os.path.relpath(full, top)
            item = [stat.filemode(st.st_mode), st.st_uid, st.st_gid]
            if times:
                item.append(st.st_mtime_ns)
            if stat.S_ISREG(st.st_mode):
                with open(full, "rb") as f:
                    item += [st.st_size,
                             hashlib.sha256(f.read()).hexdigest()[:16]]
            elif stat.S_ISLNK(st.st_mode):
                item.append(os.readlink(full))
            elif not stat.S_ISDIR(st.st_mode):
                item.append(st.st_rdev)
            if not stat.S_ISDIR(st.st_mode) and st.st_nlink > 1:
                links.setdefault(st.st_ino, []).append(rel)
            found[rel] = item
    for names in links.values():
        for rel in names:
            found[rel].append(min(names))
    return found


LONG = os.environ.get("LONG") == "1"


def takes_minutes(test):
    """Only LONG=1 runs it, or whoever names it."""
    test.takes_minutes = True
    return test


def waits(test):
    """It mostly waits: run.py has it beside others that do."""
    test.waits = True
    return test


def own_namespace():
    """A mount namespace for this script, as far as it may have one.

    Whoever unshares his namespace while a test runs takes a copy of its mounts
    with him, and a mount with a copy does not end at umount.  So our mounts
    stay here, and the copies that we got ourselves are let go.
    """
    if os.geteuid() != 0 or ctypes.CDLL(None).unshare(CLONE_NEWNS) != 0:
        return
    subprocess.run(["mount", "--make-rprivate", "/"], check=True)
    for point, kind, _ in reversed(mounts_under("")):
        if kind == "fuse.deeplakefs" or \
           (kind.startswith("fuse") and "/df-" in point):
            subprocess.run(["umount", "-i", "-l", point], check=False,
                           stderr=subprocess.DEVNULL)


def main(names, all_wait=False, inside=contextlib.nullcontext):
    """Run the test_* functions of a file; exits.

    all_wait: each test here is one that waits().  inside(): what surrounds the
    tests in their process.  --list says what would run, for run.py.
    """
    sys.stdout.reconfigure(errors="backslashreplace")
    args = sys.argv[1:]
    target = os.environ.get("DF_TARGET", "deeplake")
    keep = "--keep" in args
    if "--target" in args:
        at = args.index("--target")
        target = args[at + 1]
        del args[at:at + 2]
    wanted = [a for a in args if not a.startswith("--")]
    if target not in ("deeplake", "pass", "plain"):
        sys.exit(f"--target {target}: give deeplake, pass or plain")
    tests = [n for n, f in names.items() if n.startswith("test_")
             and callable(f) and (n in wanted if wanted else
                                  LONG or not hasattr(f, "takes_minutes"))]
    if not tests:
        sys.exit("no such test: " + " ".join(wanted))
    if "--list" in args:
        for n in tests:
            print("waits" if all_wait or hasattr(names[n], "waits")
                  else "alone", n)
        sys.exit(0)
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    own_namespace()
    with inside():
        words_said = [run_and_say(n, names[n], target, keep) for n in tests]
    sys.exit(1 if "FAIL" in words_said else 0 if "ok" in words_said else 77)


def run_and_say(name, func, target, keep):
    start = time.monotonic()
    word, why = run_one(name, func, target, keep)
    print(f"{word} {name} ({time.monotonic() - start:.1f} s)"
          + (f": {why}" if why else ""), flush=True)
    return word


def run_one(name, func, target, keep):
    try:
        with Box(name[5:], target, keep) as box:
            func(box)
        return "ok", ""
    except Skip as e:
        return "skip", str(e)
    except AssertionError as e:
        where = traceback.extract_tb(e.__traceback__)
        line = [f for f in where if f.filename != __file__]
        at = f"{os.path.basename(line[-1].filename)}:{line[-1].lineno}: " \
            if line else ""
        return "FAIL", at + (str(e) or line[-1].line if line else str(e))
    except Exception:
        return "FAIL", traceback.format_exc()
