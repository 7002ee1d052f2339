"""The official Python SDKs against the loopback server: what they do in
daily use, checked.  Fails by AssertionError."""
import sys
import time

from e2b import (CommandExitException, Sandbox, SandboxQuery, Template,
                 TimeoutException)
from e2b.exceptions import NotFoundException, RateLimitException
from e2b_code_interpreter import Sandbox as CodeSandbox


def raises(kind, call, *args, **kw):
    try:
        call(*args, **kw)
    except kind as e:
        return e
    raise AssertionError("%s did not raise %s" % (call, kind))


def commands(sb):
    r = sb.commands.run("echo hi; echo err >&2")
    assert (r.stdout, r.stderr, r.exit_code) == ("hi\n", "err\n", 0), r
    e = raises(CommandExitException, sb.commands.run, "exit 7", user="root",
               cwd="/tmp", envs={"A": "1"})
    assert e.exit_code == 7
    assert sb.commands.run("id -un").stdout == "user\n"
    assert sb.commands.run("id -un", user="root").stdout == "root\n"
    assert sb.commands.run("echo $FOO").stdout == "bar\n"
    out = []
    sb.commands.run("for i in 1 2 3; do echo $i; done",
                    on_stdout=out.append)
    assert "".join(out) == "1\n2\n3\n", out
    h = sb.commands.run("cat", background=True, stdin=True)
    assert any(p.pid == h.pid for p in sb.commands.list())
    sb.commands.send_stdin(h.pid, "abc\n")
    sb.commands.close_stdin(h.pid)
    assert h.wait().stdout == "abc\n"
    h = sb.commands.run("sleep 100", background=True)
    assert sb.commands.kill(h.pid)
    assert not sb.commands.kill(999999)
    raises(TimeoutException, sb.commands.run, "sleep 20", timeout=1)
    big = sb.commands.run("head -c 3000000 /dev/zero | tr '\\0' x").stdout
    assert len(big) == 3000000


def files(sb):
    sb.files.write("/tmp/t/a.txt", "hello")
    assert sb.files.read("/tmp/t/a.txt") == "hello"
    sb.files.write("/home/user/b.bin", b"\0\xff")
    assert sb.files.read("b.bin", format="bytes") == b"\0\xff"
    sb.files.write_files([{"path": "/tmp/t/1", "data": "1"},
                          {"path": "/tmp/t/2", "data": "2"}])
    assert sorted(e.name for e in sb.files.list("/tmp/t")) == [
        "1", "2", "a.txt"]
    raises(NotFoundException, sb.files.read, "/nope")
    assert sb.files.make_dir("/tmp/new") and not sb.files.make_dir("/tmp/new")
    sb.files.rename("/tmp/t/1", "/tmp/new/one")
    assert sb.files.exists("/tmp/new/one") and not sb.files.exists("/tmp/t/1")
    assert sb.files.get_info("/tmp/new/one").size == 1
    sb.files.remove("/tmp/new")
    assert not sb.files.exists("/tmp/new")


def life(sb):
    sb.set_timeout(120)
    info = sb.get_info()
    assert info.sandbox_id == sb.sandbox_id and info.metadata["app"] == "t"
    assert sb.is_running()
    page = Sandbox.list(query=SandboxQuery(metadata={"app": "t",
                                                     "k&y": "v 1"}))
    assert [s.sandbox_id for s in page.next_items()] == [sb.sandbox_id]
    h = sb.commands.run("sleep 1000", background=True)
    sb.pause()
    assert not sb.is_running()
    again = Sandbox.connect(sb.sandbox_id)
    assert again.commands.run("kill -0 %d && echo alive" % h.pid,
                              user="root").stdout == "alive\n"
    snap = again.create_snapshot()
    again.files.write("/home/user/after", "x")
    copy = Sandbox.create(snap.snapshot_id)
    assert not copy.files.exists("/home/user/after")
    copy.kill()
    again.kill()
    assert not sb.kill()


def templates():
    t = (Template().from_template("base").run_cmd("echo built > /opt/built",
                                                  user="root")
         .set_envs({"T": "1"}))
    lines = []
    Template.build(t, alias="py-made", cpu_count=1, memory_mb=512,
                   on_build_logs=lambda e: lines.append(str(e)))
    assert lines
    sb = Sandbox.create("py-made")
    assert sb.files.read("/opt/built") == "built\n"
    sb.kill()


def code():
    sb = CodeSandbox.create()
    r = sb.run_code("hello")
    assert "".join(r.logs.stdout) == "hello\n", r
    ctx = sb.create_code_context()
    sb.run_code("x = 5", context=ctx)
    assert sb.run_code("x", context=ctx).text == "5"
    assert sb.run_code("raise").error.name == "ValueError"
    assert sb.run_code("plot").results[0].png
    sb.kill()


def main():
    sb = Sandbox.create("base", timeout=300, envs={"FOO": "bar"},
                        metadata={"app": "t", "k&y": "v 1"})
    commands(sb)
    files(sb)
    life(sb)
    raises(Exception, Sandbox.create, "missing")
    short = Sandbox.create("base", timeout=1)
    time.sleep(1.6)
    assert not short.is_running()
    templates()
    code()
    print("python SDK: all as expected")


if __name__ == "__main__":
    sys.exit(main())
