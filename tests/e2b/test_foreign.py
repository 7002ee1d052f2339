"""The driver's archive in guests of other systems: a Debian without FUSE's
programs and libraries, a newer glibc, and a musl guest, which is refused.

ROOTS: where tests/packaging/roots.sh made them.
"""
import os
import sys

import harness
from harness import Server, Tool, need
from test_guide import Table

ROOTS = os.environ["ROOTS"]


def works_in(t, system):
    """Upload, mount, write; another sandbox of it reads."""
    table = "foreign_" + system
    missing = t.text("run", "--template", system, "--", "sh", "-c",
                     "for p in fusermount3 deeplake curl python3; do "
                     "command -v $p; done; ls /lib/x86_64-linux-gnu | "
                     "grep -E 'libfuse3|libcurl|libzstd' | grep -v zstd; true")
    need(missing == "", "the guest is not bare: " + missing)
    t.run("run", "--template", system, "--mount", table + ":/mnt/data", "--",
          "sh", "-ec", "echo " + system + " > /mnt/data/f")
    need("uploading the driver" in t.err, t.err)
    need(t.text("run", "--template", system, "--mount", table + ":/mnt/data",
                "--", "cat", "/mnt/data/f") == system, "read back")
    need(t.ids() == [], "a sandbox is left")


def refused_in(t, system):
    t.run("create", "--template", system, "--mount", "x:/mnt/data", status=1)
    need("musl" in t.err and "glibc" in t.err and "uploading" not in t.err,
         t.err)
    need(t.ids() == [], "a sandbox is left")
    # without a mount it is a sandbox as any other
    need(t.text("run", "--template", system, "--", "echo", "hi") == "hi",
         "runs programs")


def main():
    with harness.folder() as d:
        systems = ["bookworm", "trixie", "musl"]
        table = Table(d)
        server = Server(d, *[a for s in systems for a in
                             ("--root", "%s=%s/%s" % (s, ROOTS, s))])
        t = table.tool(d + "/e", server.env())
        try:
            return harness.run_tests(
                [("foreign/" + s, lambda s=s: works_in(t, s))
                 for s in systems[:2]] +
                [("foreign/musl", lambda: refused_in(t, "musl"))])
        finally:
            t.run("kill", "--all", "--force", status=None)
            server.stop()
            table.stop()


if __name__ == "__main__":
    sys.exit(main())
