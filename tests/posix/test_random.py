#!/usr/bin/env python3
"""Random data (fsx) and random trees, with a plain directory as the oracle.

DF_SEEDS (default 3) seeds, starting at DF_SEED (default 1); DF_OPS operations
a seed (default 3000).  Half-way the mount is taken down and comes back, once
with its cache and once without.  A failure names the seed.
"""
import errno
import os
import random
import stat
import threading

import calls
import harness

SEEDS = int(os.environ.get("DF_SEEDS", "3"))
SEED = int(os.environ.get("DF_SEED", "1"))
OPS = int(os.environ.get("DF_OPS", "3000"))
KEPT = int(os.environ.get("DF_KEPT", "40"))    # operations in a report


def seeds():
    return range(SEED, SEED + SEEDS)


def fsx(box, m, threads):
    prog = harness.built("tests/posix/fsx")
    for seed in seeds():
        f = f"{m.path}/f{seed}"
        step = OPS // 3
        for i in range(3):
            box.run([prog, f, f"seed={seed}", f"from={i * step}",
                     f"ops={step}", f"threads={threads}"], timeout=600)
            m.remount(empty_cache=i % 2 == 1)


def test_data(box):
    fsx(box, box.mount(), 1)


def test_data_two_threads(box):
    fsx(box, box.mount(), 2)


class Tree:
    """The same random operations in two directories; all must agree."""

    NAMES = ["a", "b", "c", "d", "e", "f", "long-" + "n" * 200, "\udcff\udc81"]
    XATTRS = ["user.one", "user.two"]

    def __init__(self, tops, seed):
        self.tops = tops
        self.rng = random.Random(seed)
        self.open = []          # pairs of descriptors, maybe unlinked
        self.count = 0
        self.done = {}
        self.opened = {}        # descriptor: what it was when opened
        self.last = []          # what was done, for the failure's report

    def path(self):
        """A random relative path, mostly of directories that exist."""
        parts, top = [], self.tops[1]
        for _ in range(self.rng.choice((0, 1, 1, 2, 2, 3))):
            here = os.path.join(top, *parts)
            try:
                dirs = sorted(e.name for e in os.scandir(here)
                              if e.is_dir(follow_symlinks=False))
            except OSError:
                dirs = []
            if not dirs or self.rng.random() < 0.05:
                break
            parts.append(self.rng.choice(dirs))
        parts.append(self.rng.choice(self.NAMES))
        return "/".join(parts)

    def both(self, what, func, *paths):
        """Run func on each side; value or errno must be the same."""
        got = []
        for top in self.tops:
            try:
                got.append(("value", func(*[f"{top}/{p}" for p in paths])))
            except OSError as e:
                got.append(("errno", errno.errorcode.get(e.errno, e.errno)))
        assert got[0] == got[1], \
            f"operation {self.count}: {what} {paths}: {got[0]}, but on a " \
            f"plain directory {got[1]}"
        self.last.append(f"{self.count} {what} {' '.join(paths)}: "
                         f"{got[0][1] if got[0][0] == 'errno' else 'done'}")
        del self.last[:-KEPT]
        key = (what, got[0][0])
        self.done[key] = self.done.get(key, 0) + 1

    # -- one method for each operation; its weight is how often it is listed
    def op_write(self):
        data = self.rng.randbytes(self.rng.choice((0, 1, 100, 5000, 70000)))
        self.both("write", lambda p: calls.put(p, data), self.path())

    def op_create_new(self):
        self.both("create", lambda p: os.close(os.open(
            p, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o640)), self.path())

    def op_append(self):
        data = self.rng.randbytes(self.rng.randrange(3000))
        self.both("append", lambda p: calls.put(p, data, "ab"), self.path())

    def op_patch(self):
        at = self.rng.randrange(100000)
        data = self.rng.randbytes(self.rng.randrange(1, 3000))

        def patch(p):
            fd = os.open(p, os.O_WRONLY)
            try:
                return os.pwrite(fd, data, at)
            finally:
                os.close(fd)
        self.both("patch", patch, self.path())

    def op_truncate(self):
        n = self.rng.choice((0, 1, 4096, self.rng.randrange(100000)))
        self.both("truncate", lambda p: os.truncate(p, n), self.path())

    def op_read(self):
        self.both("read", calls.get, self.path())

    def op_mkdir(self):
        self.both("mkdir", os.mkdir, self.path())

    def op_rmdir(self):
        self.both("rmdir", os.rmdir, self.path())

    def op_unlink(self):
        self.both("unlink", os.unlink, self.path())

    def op_rename(self):
        self.both("rename", os.rename, self.path(), self.path())

    def op_rename_flags(self):
        flag = self.rng.choice((calls.RENAME_NOREPLACE,
                                calls.RENAME_EXCHANGE))
        self.both(f"rename2-{flag}", lambda a, b: calls.renameat2(a, b, flag),
                  self.path(), self.path())

    def op_symlink(self):
        target = self.rng.choice(self.NAMES[:4])
        self.both("symlink", lambda p: os.symlink(target, p), self.path())

    def op_link(self):
        self.both("link", lambda a, b: os.link(a, b, follow_symlinks=False),
                  self.path(), self.path())

    def op_mknod(self):
        # a socket: opening it fails, where a fifo would wait
        self.both("mknod", lambda p: os.mknod(p, 0o600 | stat.S_IFSOCK),
                  self.path())

    def op_chmod(self):
        mode = self.rng.randrange(0o10000)
        self.both("chmod", lambda p: os.chmod(p, mode), self.path())

    def op_chown(self):
        uid, gid = self.rng.randrange(1000), self.rng.randrange(1000)
        self.both("chown", lambda p: os.lchown(p, uid, gid), self.path())

    def op_utime(self):
        ns = self.rng.randrange(2**60)
        self.both("utime", lambda p: os.utime(p, ns=(ns, ns),
                                              follow_symlinks=False),
                  self.path())

    def op_setxattr(self):
        name = self.rng.choice(self.XATTRS)
        value = self.rng.randbytes(self.rng.randrange(200))
        flag = self.rng.choice((0, os.XATTR_CREATE, os.XATTR_REPLACE))
        self.both("setxattr", lambda p: os.setxattr(p, name, value, flag),
                  self.path())

    def op_removexattr(self):
        name = self.rng.choice(self.XATTRS)
        self.both("removexattr", lambda p: os.removexattr(p, name),
                  self.path())

    def op_list(self):
        path = self.path()
        self.both("list", lambda p: sorted(os.listdir(p)),
                  os.path.dirname(path) or ".")

    def op_stat(self):
        def look(p):
            st = os.lstat(p)
            size = 0 if stat.S_ISDIR(st.st_mode) else st.st_size
            return (st.st_mode, st.st_nlink, st.st_uid, st.st_gid, size)
        self.both("stat", look, self.path())

    def op_open_keep(self):
        path = self.path()
        if len(self.open) < 8:
            fds = []
            try:
                for top in self.tops:
                    fds.append(os.open(f"{top}/{path}", os.O_RDWR
                                       | os.O_NONBLOCK | os.O_NOFOLLOW))
            except OSError:
                for fd in fds:
                    os.close(fd)
                return
            if not stat.S_ISREG(os.fstat(fds[0]).st_mode):
                for fd in fds:
                    os.close(fd)
                return
            self.open.append(fds)
            self.opened[fds[0]] = f"{path}, opened at {self.count},"
            self.last.append(f"{self.count} open {path}")

    def op_open_use(self):
        if not self.open:
            return
        fds = self.rng.choice(self.open)
        at, data = self.rng.randrange(50000), self.rng.randbytes(500)
        out = []
        for fd in fds:
            os.pwrite(fd, data, at)
            st = os.fstat(fd)
            out.append((os.pread(fd, 200000, 0), st.st_size, st.st_nlink,
                        st.st_mode))
        assert out[0] == out[1], f"operation {self.count}: " \
            f"{self.opened[fds[0]]} differs: {out[0][1:]} != {out[1][1:]}"
        if self.rng.random() < 0.2:
            self.close_one(self.open.index(fds))

    def close_one(self, i):
        for fd in self.open.pop(i):
            os.close(fd)

    def run(self, ops):
        kinds = sorted(n for n in dir(self) if n.startswith("op_"))
        kinds += ["op_write"] * 4 + ["op_mkdir", "op_rename", "op_rename",
                                     "op_unlink", "op_open_use", "op_patch"]
        for _ in range(ops):
            self.count += 1
            getattr(self, self.rng.choice(kinds))()

    def settle(self):
        """Close everything and compare the two trees, xattrs too."""
        while self.open:
            self.close_one(0)
        a, b = self.tops
        diffs = harness.same_tree(a, b, times=False)
        assert not diffs, f"after operation {self.count}:\n" + \
            "\n".join(diffs)
        for path, dirs, files in os.walk(a):
            for name in dirs + files:
                one = os.path.join(path, name)
                two = b + one[len(a):]
                x, y = ({k: os.getxattr(f, k, follow_symlinks=False)
                         for k in os.listxattr(f, follow_symlinks=False)
                         if k.startswith("user.")} for f in (one, two))
                assert x == y, f"xattrs of {one}: {x} != {y}"
                assert os.lstat(one).st_nlink == os.lstat(two).st_nlink, \
                    f"st_nlink of {one}"

    def check_mix(self):
        """The run is worth something: most operations also succeeded."""
        worked = {k for k, how in self.done if how == "value"}
        assert len(worked) >= 15, f"only {sorted(worked)} ever succeeded"


def tree_test(box, threads):
    m = box.mount()
    plain = box.plain()
    for seed in seeds():
        trees = []
        for t in range(threads):
            tops = []
            for top in (m.path, plain):
                tops.append(f"{top}/s{seed}t{t}")
                os.mkdir(tops[-1])
            trees.append(Tree(tops, seed * 100 + t))
        try:
            for part in range(3):
                run_threads(trees, OPS // 3)
                for t in trees:
                    t.settle()
                m.remount(empty_cache=part % 2 == 1)
                for t in trees:
                    t.settle()
            if OPS >= 1000:
                for t in trees:
                    t.check_mix()
        except AssertionError as e:
            raise AssertionError(f"seed {seed}: {e}") from None


def run_threads(trees, ops):
    errors = []

    def work(tree):
        try:
            tree.run(ops)
        except AssertionError as e:
            errors.append(AssertionError(
                f"{e}; before that:\n  " + "\n  ".join(tree.last)))
        except BaseException as e:
            errors.append(e)
    threads = [threading.Thread(target=work, args=(t,)) for t in trees]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    if errors:
        raise errors[0]


def test_tree(box):
    tree_test(box, 1)


def test_tree_two_threads(box):
    tree_test(box, 2)


if __name__ == "__main__":
    harness.main(globals())
