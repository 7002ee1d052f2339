"""Our mount helpers in /usr/sbin of this mount namespace.

mount(8) and umount(8) look for helpers in /sbin only.  To be used in a
namespace of one's own (harness.own_namespace); needs root.
"""
import contextlib
import os
import subprocess
import tempfile

NAMES = ("mount.deeplakefs", "mount.fuse.deeplakefs", "umount.deeplakefs",
         "umount.fuse.deeplakefs")


@contextlib.contextmanager
def helpers(deeplake):
    """`deeplake` under the names of the helpers, by an overlay."""
    with tempfile.TemporaryDirectory(prefix="df-sbin-") as top:
        subprocess.run(["mount", "-t", "tmpfs", "tmpfs", top], check=True)
        for d in ("up", "work"):
            os.mkdir(f"{top}/{d}")
        subprocess.run(
            ["mount", "-t", "overlay", "overlay", "/usr/sbin", "-o",
             f"lowerdir=/usr/sbin,upperdir={top}/up,workdir={top}/work"],
            check=True)
        for name in NAMES:
            if os.path.lexists("/usr/sbin/" + name):
                os.unlink("/usr/sbin/" + name)
            os.symlink(deeplake, "/usr/sbin/" + name)
        try:
            yield
        finally:
            subprocess.run(["umount", "/usr/sbin"], check=True)
            subprocess.run(["umount", top], check=True)
