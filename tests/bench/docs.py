#!/usr/bin/env python3
"""Put the tables of saved runs into a page: docs.py PAGE JSON...

What is between the lines `<!-- tables -->` and `<!-- end of tables -->` is
replaced.  Of a group that several files have, the last one's table is shown and
the rows that another run judged otherwise are named below it.
"""
import os
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import table  # noqa: E402

BEGIN, END = "<!-- tables -->\n", "<!-- end of tables -->\n"


def tables(paths):
    runs = [(p, *table.load(p)) for p in paths]
    last, parts = {}, []
    for path, machine, settings, groups in runs:
        parts.append(
            f"- {os.path.basename(path)}: commit "
            f"{machine.get('commit', '?')}, {machine['time']}, "
            f"{machine['cpus']} CPUs ({machine['cpu']}), "
            f"{machine['memory_mib']} MiB, Linux {machine['kernel']}, load at the end {machine['load'][0]:.1f}, "
            f"{settings['rounds']} rounds")
        for title, rows in groups:
            last.setdefault(title, []).append((path, rows))
    for title, seen in last.items():
        parts.append(table.text(title, seen[-1][1]))
        for path, rows in seen[:-1]:
            now = {r.name: r.reached() for r in seen[-1][1]}
            other = [f"{r.name} ({'ok' if r.reached() else 'short'} there: "
                     f"{table.number(r.ours())} {r.unit})" for r in rows
                     if r.reached() is not now.get(r.name)]
            if other:
                parts.append(f"Otherwise in {os.path.basename(path)}: "
                             + "; ".join(other) + "\n")
    short = [f"{r.name}" for seen in last.values() for r in seen[-1][1]
             if r.reached() is False]
    parts.append(f"\nShort: {len(short)}"
                 + (": " + "; ".join(short) if short else "") + "\n")
    return "\n".join(parts)


def main():
    page, paths = sys.argv[1], sys.argv[2:]
    with open(page) as f:
        text = f.read()
    if BEGIN not in text or END not in text or not paths:
        sys.exit(f"docs.py: {page} has no line {BEGIN.strip()}, or no JSON "
                 "file was named; run 'make bench' first")
    head, rest = text.split(BEGIN, 1)
    tail = rest.split(END, 1)[1]
    with open(page, "w") as f:
        f.write(head + BEGIN + "\n" + tables(paths) + "\n" + END + tail)


main()
