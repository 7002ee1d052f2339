"""Local work: many small files, one large file, a million files."""
import os
import shutil
import time

import harness
from remote import Remote
from table import Row

SMALL = (  # name, loop, n
    ("create + write + close", "create", 3),
    ("stat, cached", "stat", 0.9),
    ("stat, caches dropped", "stat-cold", 1.0),
    ("readdir + stat, caches dropped", "list-cold", 1.5),
    ("read all, caches dropped", "read-cold", 2),
    ("read all, second time", "read", 3),
    ("append 100 B to each", "append", 2),
    ("chmod", "chmod", 0.9),
    ("rename", "rename", 1.1),
    ("link", "link", 1.2),
    ("unlink", "unlink", 1.1),
    ("mkdir", "mkdir", 3),
    ("symlink", "symlink", 3),
    ("create, fsync=local, one thread", "create-sync", 3),
)


def small(targets, rounds, files):
    """The table of small files; targets is {kind: Target}."""
    rows = {key: Row(name, "rate", n, unit="files/s")
            for name, key, n in SMALL}
    for i in range(rounds):
        for kind, target in targets.items():
            if kind == "deep-local" or (kind == "ll" and i):
                continue        # ll is only there to judge pass by
            small_round(rows, kind, target, files)
        if "deep-local" in targets:
            small_sync(rows, targets, max(100, files // 20))
    return [r for r in rows.values() if r.values]


def small_round(rows, kind, target, files):
    path = target.fresh()
    settings = {"files": files}

    def timed(key, op=None):
        seconds, n = target.work(op or key, path, **settings)
        rows[key].add(kind, n / seconds)

    def quiet(op):
        target.work(op, path, **settings)

    quiet("mkdirs")
    timed("create")
    target.settle()
    quiet("stat")
    timed("stat")
    harness.drop_caches()
    timed("stat-cold", "stat")
    harness.drop_caches()
    timed("list-cold", "list")
    harness.drop_caches()
    timed("read-cold", "read")
    timed("read")
    timed("append")
    timed("chmod")
    timed("rename")
    quiet("rename-back")
    timed("link")
    quiet("unlink-link")
    timed("unlink")
    target.settle()
    harness.drop_caches(2)      # pass holds a descriptor for each inode
    timed("mkdir")
    quiet("rmdir")
    timed("symlink")
    quiet("unlink-symlink")
    target.clear(path)


def small_sync(rows, targets, files):
    for kind, target in targets.items():
        if kind == "deep":
            continue
        path = target.fresh()
        target.work("mkdirs", path, files=files)
        seconds, n = target.work("create-sync", path, files=files)
        rows["create-sync"].add(kind.replace("-local", ""), n / seconds)
        target.clear(path)


LARGE = (  # name, key, n, unit
    ("sequential write to close", "seqwrite", 0.8, "MiB/s"),
    ("sequential read, local cache", "seqread-cold", 0.9, "MiB/s"),
    ("sequential read, second time", "seqread", 1.0, "MiB/s"),
    ("random 4 KiB reads", "randread", 0.8, "reads/s"),
    ("random 4 KiB writes", "randwrite", 0.8, "writes/s"),
    ("8 threads: sequential write", "seqwrite-8", 0.8, "MiB/s"),
    ("8 threads: sequential read", "seqread-cold-8", 0.8, "MiB/s"),
    ("8 threads: random reads", "randread-8", 0.8, "reads/s"),
    ("8 threads: random writes", "randwrite-8", 0.8, "writes/s"),
)


def large(targets, rounds, mib, count):
    rows = {key: Row(name, "rate", n, unit=unit)
            for name, key, n, unit in LARGE}
    rows["copy"] = Row("cp inside the volume (copy_file_range)", "limit",
                       limit=0.1 * max(mib / 1024, 0.5), unit="s")
    for i in range(rounds):
        for kind, target in targets.items():
            if kind != "ll" or not i:
                large_round(rows, kind, target, mib, count)
    return list(rows.values())


def large_round(rows, kind, target, mib, count):
    path = target.fresh()

    def timed(key, op, threads=1):
        seconds, n = target.work(op, path, mib=mib, count=count,
                                 threads=threads)
        rows[key].add(kind, n / seconds)

    for threads, end in ((1, ""), (8, "-8")):
        timed("seqwrite" + end, "seqwrite", threads)
        target.settle()
        harness.drop_caches()
        timed("seqread-cold" + end, "seqread", threads)
        if threads == 1:
            timed("seqread", "seqread")
        harness.drop_caches()
        timed("randread" + end, "randread", threads)
        timed("randwrite" + end, "randwrite", threads)
        target.settle()
    if kind not in ("floor",):
        seconds, _ = target.work("copy", path, mib=mib, name="copy",
                                 **{"from": "big"})
        rows["copy"].add(kind, seconds)
    target.clear(path)


def busy(targets, rounds, files, mib):
    """The foreground while the uploader sends a large file."""
    deep = targets.get("deep")
    if not deep:
        return []
    row = Row("create while 1 file uploads, of its quiet rate", "least",
              limit=0.6, unit="x")
    wrote = Row("write while 1 file uploads, of its quiet rate", "least",
                limit=0.6, unit="x")
    for _ in range(rounds):
        rate = {}
        for load in (False, True):
            path = deep.fresh()
            deep.work("mkdirs", path, files=files)
            if load:
                deep.work("seqwrite", path, mib=mib, name="load")
            s, n = deep.work("create", path, files=files)
            w, m = deep.work("seqwrite", path, mib=max(mib // 8, 8))
            rate[load] = (n / s, m / w)
            if load:
                left = deep.mount.status()["dirty_bytes"]
                row.note = f"{left >> 20} MiB still dirty at the end"
            deep.clear(path)
        row.add("deep", rate[True][0] / rate[False][0])
        wrote.add("deep", rate[True][1] / rate[False][1])
    return [row, wrote]


def memory_kib(pid, field="RssAnon"):
    with open(f"/proc/{pid}/status") as f:
        for line in f:
            if line.startswith(field + ":"):
                return int(line.split()[1])
    return 0


def million(target, files, total):
    """The same work on a volume that holds `total` files already."""
    rows = {key: Row(name, "least", unit="files/s",
                     note="" if key != "create" else
                     f"in a volume of {total:,} files; bar: 0.7 of an empty "
                     "one")
            for name, key, _ in SMALL if key != "create-sync"}
    small_round(rows, "deep-empty", target, files)
    start = time.monotonic()
    path = target.fresh()
    target.work("mkdirs", path, files=total, dirs=1000)
    target.work("create", path, files=total, dirs=1000, size=100)
    target.settle()
    took = time.monotonic() - start
    peak = Row("daemon's memory", "limit", limit=128 * 1024, unit="KiB",
               note=f"{total:,} files made and flushed in {took:.0f} s")
    small_round(rows, "deep", target, files)
    for r in rows.values():
        r.limits = [0.7 * r.median("deep-empty")]
    peak.add("deep", memory_kib(target.mount.pid))
    cold = Row(f"mount to first ls -l / with {total:,} files, 20 ms", "limit",
               limit=1, unit="s")
    try:
        cold_listing(target, cold)
    except (AssertionError, OSError) as e:
        cold.failed = " ".join(str(e).split())[:400]
    return list(rows.values()) + [peak, cold]


def cold_listing(target, row, patience_s=330):
    """First ls of a mount that knows nothing, 20 ms away from the server.

    Behind a checkpoint that covers the files: one is written within six
    minutes of the one before it.
    """
    m = target.mount
    epoch = m.status()["epoch"]
    try:
        harness.wait_for("a checkpoint of all files",
                         lambda: m.status()["epoch"] > epoch, patience_s, 2)
    except AssertionError as e:
        row.note = f"{e}; "
    m.down()
    r = Remote(target.box, target.server, m.table, "cold-million")
    r.m.down()
    shutil.rmtree(r.m.cache)
    os.makedirs(r.m.cache)
    took, n = r.timed(lambda: (r.m.up(), target.box.run(["ls", "-l",
                                                         r.path])))
    row.add("deep", took)
    row.note += f"{n['requests']} requests, {n['down_bytes'] >> 10} KiB"
    r.stop()


def cpu_ns(pid):
    """Time that the threads of a process have run."""
    total = 0
    for task in os.listdir(f"/proc/{pid}/task"):
        with open(f"/proc/{pid}/task/{task}/schedstat") as f:
            total += int(f.read().split()[0])
    return total


def idle(box, target, seconds=30):
    """The daemon at rest, and the commands' own start-up."""
    pid = target.mount.pid
    target.settle()
    time.sleep(2)               # what the work before left to do
    before = cpu_ns(pid)
    time.sleep(seconds)
    used = (cpu_ns(pid) - before) / 1e9 / seconds
    mem = Row("daemon idle: RssAnon", "limit", limit=12 * 1024, unit="KiB")
    mem.add("deep", memory_kib(pid))
    cpu = Row("daemon idle: of a core", "limit", limit=0.1, unit="%")
    cpu.add("deep", used * 100)
    ours = Row("deeplake version", "limit", unit="s",
               note="bar: 1.3 x curl --version")
    for _ in range(9):
        ours.limits.append(1.3 * once(box, ["curl", "--version"]))
        ours.add("deep", once(box, [harness.built("deeplake"), "version"]))
    init = Row("deeplake init, no round trip", "limit", limit=0.15, unit="s")
    for i in range(5):
        m = harness.Mount(box, f"init-{i}", "deeplake", None, None,
                          f"init_{i}", target.server)
        box.mounts.append(m)
        init.add("deep", once(box, [
            harness.built("deeplake"), "init", "--table", m.table, "--path",
            m.path, "-o", m.option_text()]))
        m.pid = m.status()["pid"]
        m.down()
    return [mem, cpu, ours, init]


def once(box, cmd):
    start = time.perf_counter()
    box.run(cmd)
    return time.perf_counter() - start
