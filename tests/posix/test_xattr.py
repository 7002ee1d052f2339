#!/usr/bin/env python3
"""Extended attributes, POSIX ACLs and file capabilities."""
import errno
import os

import calls  # noqa: F401  (sets the path of harness)
import harness
from calls import as_user, fails, get, put


def test_namespaces(box):
    m = box.mount()
    f = m.path + "/f"
    put(f, b"")
    names = ("user.a", "trusted.b", "security.c", "user." + "n" * 250)
    for i, name in enumerate(names):
        os.setxattr(f, name, b"v%d" % i)
    fails(errno.EOPNOTSUPP, os.setxattr, f, "unknown.a", b"")
    fails((errno.EOPNOTSUPP, errno.EINVAL), os.setxattr, f, "user", b"")
    fails(errno.ERANGE, os.setxattr, f, "user." + "n" * 251, b"")
    os.mkdir(m.path + "/d")
    os.setxattr(m.path + "/d", "user.on-dir", b"")
    os.symlink("f", m.path + "/s")
    fails(errno.EPERM, os.setxattr, m.path + "/s", "user.a", b"",
          follow_symlinks=False)
    os.setxattr(m.path + "/s", "trusted.a", b"link", follow_symlinks=False)
    os.chmod(f, 0o666)

    def user():
        assert os.getxattr(f, "user.a") == b"v0"
        if m.kind != "pass":       # which asks the disk as root
            assert "trusted.b" not in os.listxattr(f)
        fails((errno.ENODATA, errno.EPERM), os.getxattr, f, "trusted.b")
        fails(errno.EPERM, os.setxattr, f, "trusted.q", b"")
        os.setxattr(f, "user.mine", b"1")
    as_user(40001, 40001, user)
    m.remount(empty_cache=True)
    for i, name in enumerate(names):
        assert os.getxattr(f, name) == b"v%d" % i
    assert set(names) <= set(os.listxattr(f))
    assert os.getxattr(m.path + "/s", "trusted.a", follow_symlinks=False) \
        == b"link"
    os.chmod(f, 0o644)
    as_user(40001, 40001, lambda: fails(
        errno.EACCES, os.setxattr, f, "user.mine", b"2"))


def test_values(box):
    m = box.mount()
    f = m.path + "/f"
    put(f, b"")
    os.setxattr(f, "user.empty", b"")
    assert os.getxattr(f, "user.empty") == b""
    for size in (1, 100, 1000, 3000):
        os.setxattr(f, "user.v", bytes(i % 251 for i in range(size)))
        assert os.getxattr(f, "user.v") == bytes(i % 251 for i in
                                                 range(size))
    fails((errno.E2BIG, errno.ENOSPC), os.setxattr, f, "user.big",
          bytes(65537))
    os.setxattr(f, "user.v", b"replaced", os.XATTR_REPLACE)
    assert os.getxattr(f, "user.v") == b"replaced"
    before = sorted(os.listxattr(f))
    os.rename(f, f + "2")
    os.link(f + "2", f)
    assert sorted(os.listxattr(f)) == before
    os.unlink(f)
    put(f, b"")
    assert os.listxattr(f) == []


def test_large_value(box):
    """deeplakefs documents 64 KiB a value; ext4 has a block for all."""
    m = box.mount()
    harness.need(m.kind == "deeplake", "ext4 keeps them in one block")
    f = m.path + "/f"
    put(f, b"")
    value = os.urandom(65536)
    os.setxattr(f, "user.large", value)
    assert os.getxattr(f, "user.large") == value
    m.remount(empty_cache=True)
    assert os.getxattr(f, "user.large") == value


def test_many(box):
    m = box.mount()
    f = m.path + "/f"
    put(f, b"")
    for i in range(60):
        os.setxattr(f, f"user.k{i}", b"%d" % i)
    for i in range(0, 60, 2):
        os.removexattr(f, f"user.k{i}")
    want = sorted(f"user.k{i}" for i in range(1, 60, 2))
    assert sorted(os.listxattr(f)) == want
    m.remount(empty_cache=True)
    assert sorted(os.listxattr(f)) == want


def test_acl_access(box):
    harness.need_program("setfacl", "getfacl")
    m = box.mount()
    harness.need(m.kind != "pass", "the passthrough leaves ACLs out")
    f = m.path + "/f"
    put(f, b"secret")
    os.chmod(f, 0o600)
    box.run(["setfacl", "-m", "u:40001:r,g:40002:rw,m::rw", f])
    as_user(40001, 40001, lambda: get(f))
    as_user(40001, 40001, lambda: fails(errno.EACCES, put, f, b"x", "r+b"))
    as_user(40003, 40002, lambda: put(f, b"S", "r+b"))
    as_user(40003, 40003, lambda: fails(errno.EACCES, get, f))
    assert os.stat(f).st_mode & 0o777 == 0o660
    os.chmod(f, 0o600)      # the group bits are the mask now
    as_user(40001, 40001, lambda: fails(errno.EACCES, get, f))
    os.chmod(f, 0o640)
    text = box.run(["getfacl", "-cpnE", f]).stdout
    assert "user:40001:r--" in text and "mask::r--" in text, text
    m.remount(empty_cache=True)
    assert box.run(["getfacl", "-cpnE", f]).stdout == text
    box.run(["setfacl", "-b", f])
    as_user(40001, 40001, lambda: fails(errno.EACCES, get, f))


def test_acl_default(box):
    harness.need_program("setfacl", "getfacl")
    m = box.mount()
    harness.need(m.kind != "pass", "the passthrough leaves ACLs out")
    d = m.path + "/d"
    os.mkdir(d)
    box.run(["setfacl", "-d", "-m", "u::rwx,g::r-x,o::---,u:40001:rwx", d])
    m.remount(empty_cache=True)
    os.umask(0o077)         # has no say where a default ACL is
    try:
        put(d + "/f", b"")
        os.mkdir(d + "/sub")
    finally:
        os.umask(0o022)
    text = box.run(["getfacl", "-cpnE", d + "/f"]).stdout
    assert "user:40001:rwx" in text and "mask::rw-" in text, text
    assert "other::---" in text, text
    text = box.run(["getfacl", "-cpnE", d + "/sub"]).stdout
    assert "default:user:40001:rwx" in text and "user:40001:rwx" in text
    as_user(40001, 40001, lambda: put(d + "/f", b"x", "r+b"))


def test_capabilities(box):
    harness.need_program("setcap", "getcap")
    m = box.mount()
    exe = m.path + "/prog"
    box.run(["cp", "/usr/bin/true", exe])
    box.run(["setcap", "cap_net_raw=ep", exe])
    m.remount(empty_cache=True)
    out = box.run(["getcap", exe]).stdout
    assert "cap_net_raw=ep" in out, out
    os.chmod(exe, 0o777)
    as_user(40001, 40001, lambda: put(exe, b"\x7f", "r+b"))
    out = box.run(["getcap", exe]).stdout
    assert "cap_net_raw" not in out, "a write kept the capability: " + out


if __name__ == "__main__":
    harness.main(globals())
