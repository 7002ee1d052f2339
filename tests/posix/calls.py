"""System calls that Python has no name for, and small helpers."""
import ctypes
import fcntl
import os
import struct
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(
    os.path.abspath(__file__))), "mount"))
from harness import fails, get, put  # noqa: E402,F401

LIBC = ctypes.CDLL(None, use_errno=True)
AT_FDCWD = -100
AT_EMPTY_PATH = 0x1000
AT_SYMLINK_FOLLOW = 0x400
RENAME_NOREPLACE, RENAME_EXCHANGE, RENAME_WHITEOUT = 1, 2, 4
KEEP_SIZE, PUNCH_HOLE, COLLAPSE_RANGE, ZERO_RANGE, INSERT_RANGE = 1, 2, 8, 16, 32
F_OFD_GETLK, F_OFD_SETLK, F_OFD_SETLKW = 36, 37, 38


def checked(result):
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    return result


def path_bytes(path):
    return os.fsencode(path)


def renameat2(old, new, flags):
    checked(LIBC.renameat2(AT_FDCWD, path_bytes(old), AT_FDCWD,
                           path_bytes(new), ctypes.c_uint(flags)))


def fallocate(fd, mode, offset, length):
    checked(LIBC.fallocate(fd, mode, ctypes.c_int64(offset),
                           ctypes.c_int64(length)))


def linkat_fd(fd, new):
    """Give the open file another name (needs CAP_DAC_READ_SEARCH)."""
    checked(LIBC.linkat(fd, b"", AT_FDCWD, path_bytes(new), AT_EMPTY_PATH))


def link_following(old, new):
    """linkat(2) that follows old, which Python's os.link never does."""
    checked(LIBC.linkat(AT_FDCWD, path_bytes(old), AT_FDCWD, path_bytes(new),
                        AT_SYMLINK_FOLLOW))


def name_to_handle(path):
    """(type, bytes) of the file's handle."""
    raw = ctypes.create_string_buffer(8 + 128)
    struct.pack_into("Ii", raw, 0, 128, 0)
    mount = ctypes.c_int()
    checked(LIBC.name_to_handle_at(AT_FDCWD, path_bytes(path), raw,
                                   ctypes.byref(mount), 0))
    size, kind = struct.unpack_from("Ii", raw, 0)
    return kind, raw.raw[8:8 + size]


def open_by_handle(mount_fd, handle, flags):
    kind, data = handle
    raw = ctypes.create_string_buffer(struct.pack("Ii", len(data), kind)
                                      + data)
    return checked(LIBC.open_by_handle_at(mount_fd, raw, flags))


def ofd_lock(fd, kind, wait=False, start=0, length=0):
    """An open-file-description lock; kind is F_RDLCK, F_WRLCK or F_UNLCK."""
    lock = struct.pack("hhqqi4x", kind, os.SEEK_SET, start, length, 0)
    fcntl.fcntl(fd, F_OFD_SETLKW if wait else F_OFD_SETLK, lock)


class Dirent(ctypes.Structure):
    _fields_ = [("ino", ctypes.c_uint64), ("off", ctypes.c_int64),
                ("reclen", ctypes.c_ushort), ("type", ctypes.c_ubyte),
                ("name", ctypes.c_char * 256)]


LIBC.opendir.restype = ctypes.c_void_p
LIBC.opendir.argtypes = [ctypes.c_char_p]
LIBC.readdir64.restype = ctypes.POINTER(Dirent)
LIBC.readdir64.argtypes = [ctypes.c_void_p]
LIBC.telldir.restype = ctypes.c_long
LIBC.telldir.argtypes = [ctypes.c_void_p]
LIBC.seekdir.argtypes = [ctypes.c_void_p, ctypes.c_long]
LIBC.rewinddir.argtypes = [ctypes.c_void_p]
LIBC.closedir.argtypes = [ctypes.c_void_p]


class Dir:
    """opendir(3) with its offsets."""

    def __init__(self, path):
        self.d = LIBC.opendir(path_bytes(path))
        if not self.d:
            code = ctypes.get_errno()
            raise OSError(code, os.strerror(code), path)

    def read(self):
        """(name, type) or None at the end."""
        ctypes.set_errno(0)
        e = LIBC.readdir64(self.d)
        if not e:
            code = ctypes.get_errno()
            if code:
                raise OSError(code, os.strerror(code))
            return None
        return e.contents.name, e.contents.type

    def tell(self):
        return LIBC.telldir(self.d)

    def seek(self, at):
        LIBC.seekdir(self.d, at)

    def rewind(self):
        LIBC.rewinddir(self.d)

    def close(self):
        LIBC.closedir(self.d)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


def as_user(uid, gid, func, groups=()):
    """Run func() in a child that is this user; its exception comes back."""
    r, w = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(r)
        try:
            os.setgroups(groups)
            os.setresgid(gid, gid, gid)
            os.setresuid(uid, uid, uid)
            func()
            os.write(w, b"ok")
        except BaseException as e:
            os.write(w, f"{type(e).__name__}: {e}".encode()[:4000])
        os._exit(0)
    os.close(w)
    with os.fdopen(r, "rb") as f:
        said = f.read().decode(errors="replace")
    os.waitpid(pid, 0)
    assert said == "ok", f"as user {uid}: {said}"
