#!/usr/bin/env python3
"""flock, fcntl and open-file-description locks within one mount."""
import errno
import fcntl
import os
import signal
import time

import calls
import harness
from calls import fails, put


class Child:
    """A process that runs func(say) and talks through a pipe."""

    def __init__(self, func):
        self.r, w = os.pipe()
        self.pid = os.fork()
        if self.pid == 0:
            os.close(self.r)
            try:
                func(lambda text: os.write(w, text.encode() + b"\n"))
            except BaseException as e:
                os.write(w, f"{type(e).__name__}: {e}\n".encode())
            os._exit(0)
        os.close(w)
        self.f = os.fdopen(self.r)

    def says(self, want):
        got = self.f.readline().strip()
        assert got == want, f"the child said {got!r}, not {want!r}"

    def end(self, sig=signal.SIGKILL):
        try:
            os.kill(self.pid, sig)
        except ProcessLookupError:
            pass
        os.waitpid(self.pid, 0)
        self.f.close()


def holder(path, lock):
    def run(say):
        fd = os.open(path, os.O_RDWR)
        lock(fd, False)
        say("locked")
        time.sleep(60)
    child = Child(run)
    child.says("locked")
    return child


def flock(fd, wait):
    fcntl.flock(fd, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))


def posix(fd, wait):
    fcntl.lockf(fd, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB), 10, 100)


def ofd(fd, wait):
    calls.ofd_lock(fd, fcntl.F_WRLCK, wait, 100, 10)


KINDS = (flock, posix, ofd)


def test_exclusive_and_released_at_death(box):
    p = box.mount().path
    for lock in KINDS:
        f = f"{p}/{lock.__name__}"
        put(f, bytes(200))
        child = holder(f, lock)
        fd = os.open(f, os.O_RDWR)
        fails((errno.EAGAIN, errno.EACCES), lock, fd, False)
        child.end()
        lock(fd, False)
        os.close(fd)


def test_wait_is_interruptible(box):
    p = box.mount().path
    for lock in KINDS:
        f = f"{p}/{lock.__name__}"
        put(f, bytes(200))
        child = holder(f, lock)

        def waits(say, lock=lock, f=f):
            class Alarm(Exception):
                pass

            def ring(*_):
                raise Alarm
            signal.signal(signal.SIGALRM, ring)
            fd = os.open(f, os.O_RDWR)
            signal.setitimer(signal.ITIMER_REAL, 0.2)
            try:
                lock(fd, True)
                say("got it")
            except Alarm:
                say("interrupted")
        other = Child(waits)
        other.says("interrupted")
        other.end()
        child.end()


def test_wait_ends_with_release(box):
    p = box.mount().path
    for lock in KINDS:
        f = f"{p}/{lock.__name__}"
        put(f, bytes(200))
        child = holder(f, lock)

        def waits(say, lock=lock, f=f):
            fd = os.open(f, os.O_RDWR)
            say("waiting")
            lock(fd, True)
            say("mine")
        other = Child(waits)
        other.says("waiting")
        time.sleep(0.1)
        child.end()
        other.says("mine")
        other.end()


def test_ranges_and_sharing(box):
    p = box.mount().path
    f = p + "/f"
    put(f, bytes(1000))
    a, b = os.open(f, os.O_RDWR), os.open(f, os.O_RDWR)
    calls.ofd_lock(a, fcntl.F_RDLCK, False, 0, 100)
    calls.ofd_lock(b, fcntl.F_RDLCK, False, 50, 100)
    fails((errno.EAGAIN, errno.EACCES), calls.ofd_lock, b, fcntl.F_WRLCK,
          False, 0, 10)
    calls.ofd_lock(b, fcntl.F_WRLCK, False, 500, 10)
    calls.ofd_lock(a, fcntl.F_UNLCK, False, 0, 0)
    calls.ofd_lock(b, fcntl.F_WRLCK, False, 0, 10)
    os.close(b)                 # an OFD lock goes with its last descriptor
    calls.ofd_lock(a, fcntl.F_WRLCK, False, 0, 0)
    os.close(a)
    a, b = os.open(f, os.O_RDWR), os.open(f, os.O_RDWR)
    fcntl.flock(a, fcntl.LOCK_SH)
    fcntl.flock(b, fcntl.LOCK_SH)
    fails(errno.EAGAIN, fcntl.flock, b, fcntl.LOCK_EX | fcntl.LOCK_NB)
    os.close(a)
    fcntl.flock(b, fcntl.LOCK_EX | fcntl.LOCK_NB)
    os.close(b)


def test_many_waiters_starve_nobody_else(box):
    """Twenty waiting lockers: other requests of the mount go on."""
    p = box.mount().path
    put(p + "/f", b"")
    child = holder(p + "/f", flock)
    waiting = []
    for _ in range(20):
        def waits(say):
            fd = os.open(p + "/f", os.O_RDWR)
            say("waiting")
            fcntl.flock(fd, fcntl.LOCK_EX)
        c = Child(waits)
        c.says("waiting")
        waiting.append(c)
    start = time.monotonic()
    for i in range(50):
        put(f"{p}/g{i}", b"x")
    assert time.monotonic() - start < 5
    for c in waiting + [child]:
        c.end()


if __name__ == "__main__":
    harness.main(globals())
