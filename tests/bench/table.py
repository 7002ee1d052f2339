"""Rows, bars and the table that docs/performance.md shows."""
import json
import os
import platform
import statistics
import subprocess
import time


class Row:
    """One line: values of each target, and the bar for ours.

    kind "rate": more is better, the bar is n x pass or 0.75 x floor, the
    lower.  kind "time": less is better, n x pass or floor / 0.75, the longer.
    kind "limit": at most the number `limit` (in `unit`), whatever others do.
    kind "least": at least that number.
    kind "shown": no bar.
    """

    made = []                   # all rows since whoever asks cleared it

    def __init__(self, name, kind, n=None, limit=None, unit="", note=""):
        self.name, self.kind, self.n = name, kind, n
        self.limit, self.unit, self.note = limit, unit, note
        self.values = {}
        self.limits = []        # a limit measured in the same run
        self.failed = ""        # why there is no figure, or not all
        Row.made.append(self)

    def add(self, target, value):
        self.values.setdefault(target, []).append(value)

    def median(self, target):
        got = self.values.get(target)
        return statistics.median(got) if got else None

    def ours(self):
        return self.median("deep")

    def bar(self, strength=1.0):
        """The bar in the row's unit, or None when it cannot be computed.

        strength 0.5 is the half-strength bar of a quick run.
        """
        if self.kind == "shown":
            return None
        if self.kind in ("limit", "least"):
            limit = statistics.median(self.limits) if self.limits \
                else self.limit
            if limit is None:
                return None
            return limit / strength if self.kind == "limit" \
                else limit * strength
        found = []
        if self.n is not None and self.median("pass"):
            found.append(self.n * self.median("pass"))
        if self.median("floor"):
            found.append(self.median("floor") *
                         (0.75 if self.kind == "rate" else 1 / 0.75))
        if not found:
            return None
        return min(found) * strength if self.kind == "rate" \
            else max(found) / strength

    def reached(self, strength=1.0):
        """True, False, or None when it was not measured."""
        bar, ours = self.bar(strength), self.ours()
        if self.failed:
            return False
        if bar is None or ours is None:
            return None
        return ours >= bar if self.kind in ("rate", "least") else ours <= bar

    def json(self):
        return {"name": self.name, "kind": self.kind, "n": self.n,
                "unit": self.unit, "bar": self.bar(),
                "reached": self.reached(), "note": self.note,
                "failed": self.failed, "limit": self.limit,
                "limits": self.limits,
                "medians": {t: self.median(t) for t in self.values},
                "values": self.values}


def number(v):
    if v is None:
        return "-"
    if v >= 1000:
        return f"{v:,.0f}"
    return f"{v:.3g}" if v < 100 else f"{v:.0f}"


def ratio(row, other):
    a, b = row.ours(), row.median(other)
    return f"{a / b:.2f}" if a is not None and b else "-"


RATIOS = ("disk", "pass", "floor")


def text(title, rows, strength=lambda row: 1.0):
    """A Markdown table of the rows; strength(row) is that of its bar."""
    shown = [t for t in ("disk", "pass", "ll", "floor", "rclone", "sshfs")
             if any(t in r.values for r in rows)]
    head = ["work", "unit"] + shown + ["deeplakefs"] + \
        [f"/{t}" for t in shown if t in RATIOS] + ["bar", ""]
    lines = [head, ["---"] * len(head)]
    for r in rows:
        bar = strength(r)
        word = {True: "ok", False: "**short**", None: ""}[r.reached(bar)]
        lines.append([r.name, r.unit] + [number(r.median(t)) for t in shown]
                     + [number(r.ours())]
                     + [ratio(r, t) for t in shown if t in RATIOS]
                     + [number(r.bar(bar)), word])
    body = "\n".join("| " + " | ".join(line) + " |" for line in lines)
    notes = "\n".join(f"- {r.name}: {r.failed or r.note}" for r in rows
                      if r.failed or r.note)
    return f"\n### {title}\n\n{body}\n" + (f"\n{notes}\n" if notes else "")


def load(path):
    """(machine, settings, [(title, rows)]) of a saved run."""
    with open(path) as f:
        saved = json.load(f)
    groups = []
    for title, rows in saved["groups"].items():
        made = []
        for r in rows:
            row = Row(r["name"], r["kind"], r["n"], r["limit"], r["unit"],
                      r["note"])
            row.values, row.limits = r["values"], r["limits"]
            row.failed = r["failed"]
            made.append(row)
        groups.append((title, made))
    return saved["machine"], saved["settings"], groups


def commit():
    """What was measured; "?" outside a clone."""
    out = subprocess.run(["git", "-C", os.path.dirname(__file__) or ".",
                          "describe", "--always", "--dirty"],
                         capture_output=True, text=True, check=False)
    return out.stdout.strip() or "?"


def machine():
    with open("/proc/cpuinfo") as f:
        cpu = [line.split(":", 1)[1].strip() for line in f
               if line.startswith("model name")]
    with open("/proc/meminfo") as f:
        mem = int(f.readline().split()[1]) >> 10
    return {"time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
            "kernel": platform.release(), "cpus": os.cpu_count(),
            "cpu": cpu[0] if cpu else "?", "memory_mib": mem,
            "load": os.getloadavg(), "commit": commit()}


def save(path, groups, settings):
    with open(path + ".new", "w") as f:
        json.dump({"machine": machine(), "settings": settings,
                   "groups": {t: [r.json() for r in rows]
                              for t, rows in groups}}, f, indent=1)
        f.write("\n")
    os.replace(path + ".new", path)
