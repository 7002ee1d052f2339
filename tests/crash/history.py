"""An oracle that knows what was done: workers with a history each.

A worker owns one directory and does one operation at a time, each of which is
one request of the kernel that changes something.  The Model knows what the
directory holds after every one of them; `found()` reads what it really holds.
After a crash the two must meet: at the last answered operation or the one that
was under way (local disk kept), or anywhere between the last successful fsync
and there (disk thrown away).
"""
import ctypes
import hashlib
import os
import random
import stat
import threading

# The models' files grow all the time: from the heap, which is never given back
# where a small piece lies behind, they would take ten times their size.
ctypes.CDLL(None).mallopt(-3, 65536)    # M_MMAP_THRESHOLD

NAMES = [c + d for c in "abcde" for d in "01"]
SIZES = [1, 100, 100, 4096, 5000, 70000, 200000]
DEAD = (107, 103, 5, 4, 19)     # ENOTCONN ECONNABORTED EIO EINTR ENODEV


class Noise:
    """Random bytes that take no room: made again whenever they are asked for.
    A history has tens of thousands of them."""
    __slots__ = ("seed", "size", "most")

    def __init__(self, seed, size, most=None):
        self.seed, self.size = seed, size
        self.most = size if most is None else most

    def __len__(self):
        return self.most

    def first(self, n):
        return Noise(self.seed, self.size, n)

    def bytes(self):
        return random.Random(self.seed).randbytes(self.size)[:self.most]

    def __repr__(self):
        return f"<{self.most} bytes>"


class Gone(Exception):
    """The daemon is not there any more."""


class Node:
    def __init__(self, kind, mode, data=b""):
        self.kind, self.mode, self.xattr = kind, mode, b""
        self.set(data)

    def set(self, data):
        self.data = data
        self.sum = hashlib.sha256(data).hexdigest()[:16]


class Model:
    """Paths to nodes; hard links are one node with several paths."""

    def __init__(self):
        self.at = {}

    def copy(self):
        new, memo = Model(), {}
        for path, node in self.at.items():
            if id(node) not in memo:
                twin = Node(node.kind, node.mode, b"")
                twin.data, twin.sum, twin.xattr = (node.data, node.sum,
                                                   node.xattr)
                memo[id(node)] = twin
            new.at[path] = memo[id(node)]
        return new

    def apply(self, op):
        getattr(self, "do_" + op[0])(*op[1:])

    def do_create(self, path, mode):
        self.at[path] = Node("f", mode)

    def do_mkdir(self, path, mode):
        self.at[path] = Node("d", mode)

    def do_symlink(self, path, target):
        self.at[path] = Node("l", 0o777, target.encode())

    def do_link(self, path, new):
        self.at[new] = self.at[path]

    def do_unlink(self, path):
        del self.at[path]

    do_rmdir = do_unlink

    def do_write(self, path, off, data):
        old = self.at[path].data.ljust(off, b"\0")
        self.at[path].set(old[:off] + data.bytes() + old[off + len(data):])

    def do_append(self, path, data):
        self.at[path].set(self.at[path].data + data.bytes())

    def do_truncate(self, path, size):
        self.at[path].set(self.at[path].data[:size].ljust(size, b"\0"))

    def do_chmod(self, path, mode):
        self.at[path].mode = mode

    def do_setxattr(self, path, value):
        self.at[path].xattr = value

    def do_fsync(self, path):
        pass

    def do_rename(self, path, new):
        moved = {new + p[len(path):]: n for p, n in self.at.items()
                 if p == path or p.startswith(path + "/")}
        self.at = {p: n for p, n in self.at.items()
                   if p != path and not p.startswith(path + "/")}
        self.at.update(moved)

    def picture(self):
        first = {}
        for path in sorted(self.at):
            first.setdefault(id(self.at[path]), path)
        return {p: (n.kind, n.mode, n.sum, len(n.data), n.xattr,
                    first[id(n)]) for p, n in self.at.items()}


def digest(picture):
    return hashlib.sha256(repr(sorted(picture.items())).encode()).hexdigest()


def found(top):
    """The same picture, of a real directory."""
    out, first = {}, {}
    for base, dirs, files in os.walk(top, onerror=raise_it):
        for name in dirs + files:
            full = os.path.join(base, name)
            st = os.lstat(full)
            data, xattr = b"", b""
            if stat.S_ISREG(st.st_mode):
                kind = "f"
                with open(full, "rb") as f:
                    data = f.read()
            elif stat.S_ISLNK(st.st_mode):
                kind, data = "l", os.readlink(full).encode()
            else:
                kind = "d"
            if kind != "l" and "user.x" in os.listxattr(full):
                xattr = os.getxattr(full, "user.x")
            rel = os.path.relpath(full, top)
            out[rel] = [kind, st.st_mode & 0o7777,
                        hashlib.sha256(data).hexdigest()[:16], len(data),
                        xattr, st.st_ino if kind == "f" else rel]
    for rel in sorted(out):
        first.setdefault(out[rel][5], rel)
    return {rel: tuple(x[:5]) + (first[x[5]],) for rel, x in out.items()}


def raise_it(e):
    raise e


def differences(want, got, most=6):
    return [f"{p}: {want.get(p)} | {got.get(p)}"
            for p in sorted(want.keys() | got.keys())
            if want.get(p) != got.get(p)][:most]


class Worker(threading.Thread):
    """Does operations below `top` until told to stop or the daemon dies."""

    def __init__(self, top, seed, fsyncs=True):
        super().__init__(daemon=True)
        self.top, self.rng, self.fsyncs = top, random.Random(seed), fsyncs
        self.base, self.ops = Model(), []   # history: base, then ops
        self.model = Model()
        self.digests = [digest({})]
        self.under_way = None
        self.floor = 0          # ops that are remote for sure
        self.before = 0         # ops of earlier threads
        self.failure = None
        self.halt = threading.Event()
        self.peers = [self]
        self.pace = 0.0

    def again(self):
        """A thread for the next round, with the same history."""
        new = Worker(self.top, self.rng.random(), self.fsyncs)
        new.base, new.ops, new.model = self.base, self.ops, self.model
        new.digests, new.floor = self.digests, self.floor
        new.before = len(self.ops)
        return new

    def run(self):
        try:
            while not self.halt.wait(self.pace):
                self.one()
        except Gone:
            pass
        except Exception as e:          # what the main thread reports
            self.failure = f"{type(e).__name__}: {e} (in {self.under_way})"

    def one(self):
        op = self.choose()
        self.under_way = op
        marks = [(w, len(w.ops)) for w in self.peers]
        try:
            self.real(op)
        except OSError as e:
            if e.errno in DEAD and not os.path.ismount(self.mount_point()):
                raise Gone from e
            if e.errno in DEAD and self.is_dead():
                raise Gone from e
            raise
        self.model.apply(op)
        self.ops.append(op)
        self.digests.append(digest(self.model.picture()))
        self.under_way = None
        if op[0] == "fsync":            # everything answered before it began
            for w, n in marks:
                w.floor = max(w.floor, n)
            self.floor = max(self.floor, len(self.ops))

    def mount_point(self):
        return os.path.dirname(self.top)

    def is_dead(self):
        try:
            os.statvfs(self.mount_point())  # stat may come from the kernel
            return False
        except OSError:
            return True

    # -- one operation: one change
    def full(self, rel):
        return os.path.join(self.top, rel)

    def real(self, op):
        name, path = op[0], self.full(op[1])
        if name == "create":
            os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY,
                             op[2]))
        elif name == "mkdir":
            os.mkdir(path, op[2])
        elif name == "symlink":
            os.symlink(op[2], path)
        elif name == "link":
            os.link(path, self.full(op[2]))
        elif name == "unlink":
            os.unlink(path)
        elif name == "rmdir":
            os.rmdir(path)
        elif name == "rename":
            os.rename(path, self.full(op[2]))
        elif name == "truncate":
            os.truncate(path, op[2])
        elif name == "chmod":
            os.chmod(path, op[2])
        elif name == "setxattr":
            os.setxattr(path, "user.x", op[2])
        else:
            self.through_fd(name, path, op)

    @staticmethod
    def through_fd(name, path, op):
        flags = {"write": os.O_WRONLY, "fsync": os.O_RDONLY,
                 "append": os.O_WRONLY | os.O_APPEND}[name]
        fd = os.open(path, flags)
        try:
            if name == "fsync":
                os.fsync(fd)
            else:
                data = op[-1].bytes()
                done = os.pwrite(fd, data, op[2]) if name == "write" else \
                    os.write(fd, data)
                if done != len(data):   # cut short: the daemon has died
                    raise OSError(DEAD[0], f"{done} bytes of {len(data)}")
        finally:
            try:
                os.close(fd)
            except OSError:
                pass            # FLUSH to a dead daemon: the write counts

    def choose(self):
        r, at = self.rng, self.model.at
        kinds = {k: [p for p, n in at.items() if n.kind == k] for k in "fdl"}
        dirs = [""] + kinds["d"]
        free = r.choice(dirs) + "/" + r.choice(NAMES)
        free = free.lstrip("/")
        what = r.choices(
            ["create", "write", "append", "truncate", "rename", "unlink",
             "mkdir", "rmdir", "symlink", "link", "chmod", "setxattr",
             "fsync"],
            [5, 6, 5, 1, 3, 2, 2, 1, 1, 1, 1, 1, 2 if self.fsyncs else 0])[0]
        if free.count("/") > 4:
            free = r.choice(NAMES)
        if what in ("create", "mkdir", "symlink") or not kinds["f"]:
            if free in at:
                if kinds["f"]:
                    return self.change(r, r.choice(kinds["f"]))
                if at[free].kind == "l":    # chmod would follow it
                    return ("unlink", free)
                return ("chmod", free, r.choice([0o700, 0o755]))
            return {"mkdir": ("mkdir", free, 0o755),
                    "symlink": ("symlink", free, r.choice(NAMES))}.get(
                        what, ("create", free, 0o644))
        some = r.choice(kinds["f"])
        if what == "unlink":
            return ("unlink", r.choice(kinds["f"] + kinds["l"]))
        if what == "rmdir":
            empty = [d for d in kinds["d"]
                     if not any(p.startswith(d + "/") for p in at)]
            return ("rmdir", r.choice(empty)) if empty else \
                self.change(r, some)
        if what == "rename":
            return self.rename(r, kinds, free) or self.change(r, some)
        if what == "link" and free not in at:
            return ("link", some, free)
        if what == "chmod":
            return ("chmod", r.choice(kinds["f"] + kinds["d"]),
                    r.choice([0o600, 0o644, 0o700, 0o755]))
        if what == "setxattr":
            return ("setxattr", some, r.randbytes(r.choice([1, 20, 2000])))
        if what == "truncate":
            return ("truncate", some, r.randrange(
                max(1, len(at[some].data) * 2)))
        if what == "fsync":
            return ("fsync", r.choice(dirs[1:] + [some]))
        if what == "append":
            return ("append", some, Noise(r.random(), r.choice(SIZES)))
        return self.change(r, some)

    def change(self, r, path):
        size = len(self.model.at[path].data)
        if size > 1 << 20:
            return ("truncate", path, 0)
        return ("write", path, r.randrange(size + 100),
                Noise(r.random(), r.choice(SIZES)))

    def rename(self, r, kinds, free):
        at = self.model.at
        if kinds["d"] and r.random() < 0.3:
            old = r.choice(kinds["d"])
            if free in at or free.startswith(old + "/"):
                return None
            return ("rename", old, free)
        old = r.choice(kinds["f"] + kinds["l"])
        if free not in at:
            return ("rename", old, free)
        if at[free].kind == "d" or at[free] is at[old]:
            return None
        return ("rename", old, free)

    # -- after the crash
    def meet(self, kept):
        """Find where in the history the directory is; how many operations
        were lost.  AssertionError when it is nowhere it may be."""
        picture = found(self.top) if os.path.isdir(self.top) else {}
        is_ = digest(picture)
        n = len(self.ops)
        states = list(self.digests)
        attempts = self.attempts(self.under_way)
        for op in attempts:
            trial = self.model.copy()
            trial.apply(op)
            states.append(digest(trial.picture()))
        low = n if kept else min(self.floor, n)
        at = [k for k in range(low, len(states)) if states[k] == is_]
        if not at:
            part = None if kept else self.within(picture, low)
            if part is None:
                raise AssertionError(self.explain(picture, states, is_, low))
            self.rewind(*part)
            return max(0, n - part[0])
        last = at[-1]
        part = None             # as far as the one under way came
        if last > n:
            part = attempts[last - n - 1]
        if kept:
            self.go_on(part)
        else:
            self.rewind(min(last, n), part)
        return max(0, n - last)

    def attempts(self, op):
        """What may be there of a call that was never answered.  The kernel may
        make several requests of one write, ending at pages of the file."""
        return self.attempts_on(self.model, op) if op else []

    @staticmethod
    def attempts_on(model, op):
        if op[0] not in ("write", "append"):
            return [op]
        at = op[2] if op[0] == "write" else len(model.at[op[1]].data)
        cuts = range(4096 - at % 4096, len(op[-1]), 4096)
        return [op[:-1] + (op[-1].first(n),) for n in cuts] + [op]

    def within(self, picture, low):
        """(k, part of operation k): between two requests of one write."""
        model, is_ = self.base.copy(), digest(picture)
        for k, op in enumerate(self.ops):
            for part in self.attempts_on(model, op) if k >= low else []:
                trial = model.copy()
                trial.apply(part)
                if digest(trial.picture()) == is_:
                    return k, part
            model.apply(op)
        return None

    def nearest(self, picture):
        """The moment that differs least, and how."""
        model, best = self.base.copy(), (-1, None)
        for k in range(len(self.ops) + 1):
            diff = differences(model.picture(), picture, 1 << 30)
            if best[1] is None or len(diff) <= len(best[1]):
                best = (k, diff)
            if k < len(self.ops):
                model.apply(self.ops[k])
        return best[0], best[1][:6]

    def explain(self, picture, states, is_, low):
        early = [k for k in range(low) if states[k] == is_]
        last = self.ops[-3:] + [self.under_way]
        if early:
            why = (f"is at operation {early[-1]}, {low} were "
                   f"promised of {len(self.ops)}")
        else:
            k, near = self.nearest(picture)
            why = (f"is at no moment of its history; nearest is {k} of "
                   f"{len(self.ops)} (promised {low}): " + "; ".join(near))
        return (f"{self.top} {why}; last operations: "
                + "; ".join(repr(op)[:120] for op in last))

    def go_on(self, part):
        """The disk was kept: not all of the history need be in the table, so
        it stays, with what is there of the operation that was under way."""
        if part:
            self.model.apply(part)
            self.ops.append(part)
            self.digests.append(digest(self.model.picture()))
        self.under_way = None

    def rewind(self, k, part=None):
        """The history starts anew behind operation k (and a part of one)."""
        model = self.base.copy()
        for op in self.ops[:k] + ([part] if part else []):
            model.apply(op)
        self.base, self.model = model, model.copy()
        self.ops, self.floor, self.under_way = [], 0, None
        self.digests = [digest(model.picture())]
