#!/usr/bin/env python3
"""What does not work, and is said so in mount.deeplakefs(8), CAVEATS.

On a plain directory each works (what its disk cannot do either is named by a
skip); on the passthrough what FUSE has no way for fails too.  When a kernel
learns one of these, the test says so: then it is the man page that is wrong.
"""
import errno
import fcntl
import os
import struct
import subprocess

import calls
import harness
from calls import LIBC, checked, fails, put

NO = errno.EOPNOTSUPP
MAN = os.path.join(harness.TOP, "packaging", "man", "mount.deeplakefs.8")


def ioctl(path, number, arg=b"", flags=os.O_RDONLY):
    fd = os.open(path, flags)
    try:
        fcntl.ioctl(fd, number, arg)
    finally:
        os.close(fd)


def no_name(p):
    os.close(os.open(p, os.O_TMPFILE | os.O_RDWR, 0o600))


def shift(mode):
    def run(p):
        fd = os.open(p + "/f", os.O_RDWR)
        try:
            calls.fallocate(fd, mode, 0, 4096)
        finally:
            os.close(fd)
    return run


def whiteout(p):
    put(p + "/w", b"")
    calls.renameat2(p + "/w", p + "/w2", calls.RENAME_WHITEOUT)


def extent_list(p):
    ioctl(p + "/f", 0xc020660b, struct.pack("QQIIII", 0, 1 << 40, 0, 0, 1, 0)
          + bytes(56))


def freeze(p):
    ioctl(p, 0xc0045877)
    ioctl(p, 0xc0045878)        # thaw


def swap(p):
    put(p + "/swap", bytes(1 << 20))
    os.chmod(p + "/swap", 0o600)
    subprocess.run(["mkswap", p + "/swap"], check=True, capture_output=True)
    checked(LIBC.swapon(os.fsencode(p + "/swap"), 0))
    checked(LIBC.swapoff(os.fsencode(p + "/swap")))


def no_wait(p):
    fd = os.open(p + "/f", os.O_RDONLY)
    try:
        os.preadv(fd, [bytearray(10)], 0, os.RWF_NOWAIT)
    except BlockingIOError:
        pass                    # it has to wait: that is an answer
    finally:
        os.close(fd)


def born(p):
    said = subprocess.run(["stat", "-c", "%W", p + "/f"], check=True,
                          capture_output=True).stdout
    if int(said) <= 0:
        raise OSError(NO, "no time of birth")


# name in the man page: (what to try, errno here and on the passthrough; the
# latter None where the passthrough can and we refuse)
LIMITS = {
    "O_TMPFILE": (no_name, NO, NO),
    "FALLOC_FL_COLLAPSE_RANGE": (shift(calls.COLLAPSE_RANGE), NO, NO),
    "FALLOC_FL_INSERT_RANGE": (shift(calls.INSERT_RANGE), NO, NO),
    "RENAME_WHITEOUT": (whiteout, errno.EINVAL, None),
    "FIEMAP": (extent_list, NO, NO),
    "chattr": (lambda p: ioctl(p + "/f", 0x80086601, bytes(8)), errno.ENOTTY,
               errno.ENOTTY),
    "fsfreeze": (freeze, NO, NO),
    "swapon": (swap, errno.EINVAL, errno.EINVAL),
    "RWF_NOWAIT": (no_wait, NO, NO),
    "time of birth": (born, NO, NO),
}
CANNOT = (errno.EOPNOTSUPP, errno.ENOTTY, errno.EINVAL, errno.EPERM)


def test_limits(box):
    m = box.mount()
    harness.need(os.geteuid() == 0, "swapon and fsfreeze want root")
    harness.need_program("mkswap", "stat")
    put(m.path + "/f", bytes(100000))
    fd = os.open(m.path + "/f", os.O_RDONLY)
    os.fsync(fd)
    os.close(fd)
    not_here = []
    for name, (attempt, ours, passed) in LIMITS.items():
        want = ours if m.kind == "deeplake" else \
            passed if m.kind == "pass" else None
        if want:
            try:
                fails(want, attempt, m.path)
            except AssertionError as e:
                raise AssertionError(f"{name}: {e}") from None
            continue
        try:
            attempt(m.path)
        except OSError as e:
            assert e.errno in CANNOT, f"{name}: {e}"
            not_here.append(name)
    harness.need(not not_here, "this disk cannot either: "
                 + ", ".join(not_here))


def test_limits_are_documented(box):
    with open(MAN, encoding="utf-8") as f:
        text = " ".join(f.read().split("\n.Sh CAVEATS")[1].split("\n.Sh ")[0]
                        .split())
    for name in list(LIMITS) + ["syncfs", "strictatime", "FICLONE",
                                "inotify", "65,000", "64 KiB", "16 TiB"]:
        assert name in text, f"CAVEATS of {MAN} does not name {name}"


if __name__ == "__main__":
    harness.main(globals())
