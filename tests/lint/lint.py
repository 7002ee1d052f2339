#!/usr/bin/env python3
"""What can be said of the sources without running them.

Each check is one function; it yields a line for each finding.  Run from the
top of the tree; arguments name the checks to run (default: all).
"""

import ast
import glob
import os
import re
import shutil
import subprocess
import sys

# Product and test code in C.
ROOMS = ["base", "backend", "cache", "fs", "tools"]
C_FILES = sorted(
    f for room in ROOMS + ["tests"]
    for f in glob.glob(room + "/**/*.[ch]", recursive=True))
PRODUCT = [f for f in C_FILES if not f.startswith("tests/")]

FILE_MAX, FUNCTION_MAX, MCCABE_MAX = 900, 80, 20

BANNED = {
    "strcpy": "snprintf or df_buf", "strcat": "df_buf",
    "strncpy": "memcpy or snprintf", "strncat": "df_buf",
    "sprintf": "snprintf", "vsprintf": "vsnprintf", "gets": "fgets",
    "strtok": "strsep", "atoi": "strtol with a range",
    "atol": "strtol with a range", "atoll": "strtoll with a range",
    "atof": "strtod with a range", "alloca": "malloc",
    "system": "posix_spawn", "popen": "posix_spawn", "mktemp": "mkstemp",
    "tmpnam": "mkstemp", "rand": "df_random", "srand": "df_random",
    "asctime": "strftime", "ctime": "strftime", "gmtime": "gmtime_r",
    "localtime": "localtime_r", "strerror": "df_strerror",
}

# Who may include whom: a room and the prefixes that it may name.
ALLOWED = {
    "base": ["base/"],
    "backend": ["backend/", "base/"],
    "cache/bytes": ["cache/bytes/", "backend/", "base/"],
    "cache/registers": ["cache/registers/", "cache/bytes/", "backend/",
                        "base/"],
    "cache/fold": ["cache/fold/", "cache/registers/", "cache/bytes/",
                   "backend/", "base/"],
    "cache": ["cache/", "backend/", "base/"],
    "fs": ["fs/", "cache/volume.h", "base/"],
    "tools/serve": ["tools/serve/", "base/"],
    "tools/sandbox": ["tools/sandbox/", "base/"],
    # fsck and gc read the formats themselves
    "tools": ["tools/", "fs/mount.h", "cache/volume.h",
              "cache/view_fsck.h", "cache/registers/commit.h", "backend/", "base/"],
}


class Skip(Exception):
    """This machine lacks a program."""


def run(*argv):
    if not shutil.which(argv[0]):
        raise Skip(argv[0] + " is not installed (tests/deps.sh)")
    return subprocess.run(argv, capture_output=True, text=True, check=False)


def text_of(path):
    with open(path, encoding="utf-8") as f:
        return f.read()


def without_comments(text):
    """Comments and strings blanked, so that words in them do not count."""
    def blank(m):
        return re.sub(r"[^\n]", " ", m.group(0))
    return re.sub(r'/\*.*?\*/|//[^\n]*|"(?:\\.|[^"\\\n])*"'
                  r"|'(?:\\.|[^'\\\n])*'", blank, text, flags=re.S)


def check_format():
    for f in C_FILES:
        want = run("clang-format", "--style=file", f).stdout
        have = text_of(f)
        if want == have:
            continue
        for n, (a, b) in enumerate(zip(have.split("\n"), want.split("\n")), 1):
            if a != b:
                yield f"{f}:{n}: not as clang-format has it; make format"
                break


def check_banned():
    pattern = re.compile(r"(?<![\w.>])(" + "|".join(BANNED) + r")\s*\(")
    for f in PRODUCT:
        for n, line in enumerate(without_comments(text_of(f)).split("\n"), 1):
            for m in pattern.finditer(line):
                yield f"{f}:{n}: {m.group(1)}(): use {BANNED[m.group(1)]}"


def check_size():
    for f in C_FILES:
        lines = text_of(f).count("\n")
        if lines > FILE_MAX:
            yield f"{f}: {lines} lines, at most {FILE_MAX}"
    out = run("pmccabe", *[f for f in C_FILES if f.endswith(".c")]).stdout
    for line in out.split("\n"):
        field = line.split("\t")
        if len(field) < 6:
            continue
        complexity, length = int(field[0]), int(field[4])
        if length > FUNCTION_MAX:
            yield f"{field[5]}: {length} lines, at most {FUNCTION_MAX}"
        if complexity > MCCABE_MAX:
            yield f"{field[5]}: McCabe {complexity}, at most {MCCABE_MAX}"


def flags():
    """The include paths that the Makefile uses."""
    pkgs = ["fuse3", "libcurl", "sqlite3", "libzstd", "libcrypto", "jansson",
            "libmicrohttpd", "libpq"]
    out = run("pkg-config", "--cflags", *pkgs)
    return ["-std=c11", "-D_GNU_SOURCE", "-D_FILE_OFFSET_BITS=64",
            "-DFUSE_USE_VERSION=314", '-DDF_VERSION="0"',
            "-I."] + out.stdout.split()


def check_headers():
    """Each header compiles alone and is guarded."""
    options = flags()
    for f in C_FILES:
        if not f.endswith(".h"):
            continue
        r = run("gcc", "-fsyntax-only", "-Wall", "-Wextra", "-Werror",
                *options, "-x", "c", "-include", f, "/dev/null")
        if r.returncode:
            yield f"{f}: does not compile alone: {r.stderr.splitlines()[0]}"
        if f.startswith("tests/"):
            continue
        name = re.sub(r"[^A-Z0-9]", "_", os.path.basename(f).upper())
        if not re.search(rf"#ifndef DF_\w*{name}\n", text_of(f)):
            yield f"{f}: no include guard DF_..._{name}"


def room_of(path):
    return max((r for r in ALLOWED if path.startswith(r + "/")), key=len)


def check_rooms():
    for f in PRODUCT:
        allowed = ALLOWED[room_of(f)]
        for n, line in enumerate(text_of(f).split("\n"), 1):
            m = re.match(r'\s*#\s*include\s+"([^"]+)"', line)
            if m and not any(m.group(1).startswith(a) for a in allowed):
                yield f"{f}:{n}: {room_of(f)}/ may not include {m.group(1)}"


def check_names():
    """One noun, one pair of files: no two of a program have the same name."""
    rooms = {"deeplake": [r for r in ALLOWED if r not in
                          ("tools/serve", "tools/sandbox")],
             "serve": ["base", "tools/serve"],
             "sandbox": ["base", "tools/sandbox"]}
    for mine in rooms.values():
        seen = {}
        for f in PRODUCT:
            if os.path.dirname(f) not in mine:
                continue
            name = os.path.basename(f)
            if name in seen:
                yield f"{f}: {seen[name]} has the same name"
            seen[name] = f


def check_cppcheck():
    r = run("cppcheck", "-j2", "--std=c11", "--quiet", "--inline-suppr",
            "--enable=warning,portability,performance",
            "--suppress=missingIncludeSystem", "--suppress=checkersReport",
            # it knows no cleanup attributes; the sanitizers find leaks
            "--suppress=memleak",
            "--error-exitcode=0", "--max-configs=4", "-D_GNU_SOURCE",
            "--include=tests/lint/macros.h",
            '-DDF_VERSION="0"', "-I.", "--template={file}:{line}: {id}: {message}",
            *[f for f in PRODUCT if f.endswith(".c")])
    for line in r.stderr.split("\n"):
        if re.match(r"\S+:\d+: ", line):
            yield line


def shell_scripts():
    out = run("git", "ls-files").stdout.split("\n")
    for f in out:
        if not os.path.isfile(f) or f.startswith("tests/fuzz/corpus"):
            continue
        with open(f, "rb") as h:
            first = h.readline(80)
        if f.endswith(".sh") or re.match(rb"#!.*\b(ba|da)?sh\b", first):
            yield f


def check_shell():
    r = run("shellcheck", "-f", "gcc", *shell_scripts())
    yield from (line for line in r.stdout.split("\n") if line)


def check_python():
    for f in sorted(glob.glob("tests/**/*.py", recursive=True)):
        try:
            ast.parse(text_of(f), f)
        except SyntaxError as e:
            yield f"{f}:{e.lineno}: {e.msg}"


def check_spelling():
    tracked = [f for f in run("git", "ls-files").stdout.split("\n")
               if os.path.isfile(f) and "/corpus/" not in f
               and not f.endswith((".json", ".lock", ".png"))]
    r = run("codespell", "--builtin", "clear,rare", "--ignore-words",
            "tests/lint/words.txt", *tracked)
    yield from (line for line in r.stdout.split("\n") if line)


def check_man():
    pages = sorted(glob.glob("packaging/man/*.[1-8]"))
    if pages:
        r = run("mandoc", "-T", "lint", "-W", "warning", *pages)
        yield from (line for line in r.stdout.split("\n") if line)


def check_log_words():
    """No format ever prints a token."""
    pattern = re.compile(r"(df_log\w*|df_fail|printf)\s*\([^;]*"
                         r"(->|(?<!lexed)\.)token\b[^;]*;", re.S)
    for f in PRODUCT:
        text = text_of(f)
        for m in pattern.finditer(text):
            n = text.count("\n", 0, m.start()) + 1
            yield f"{f}:{n}: a token in a message"


CHECKS = {name[6:]: f for name, f in list(globals().items())
          if name.startswith("check_")}


def main(names):
    count = {"passed": 0, "failed": 0, "skipped": 0}
    for name in names or CHECKS:
        try:
            findings = list(CHECKS[name]())
        except Skip as e:
            print(f"skip {name}: {e}")
            count["skipped"] += 1
            continue
        for line in findings:
            print(line)
        print(f"{'FAIL' if findings else 'ok'} lint {name}"
              + (f": {len(findings)} findings" if findings else ""))
        count["failed" if findings else "passed"] += 1
    print(", ".join(f"{n} {word}" for word, n in count.items()))
    return 1 if count["failed"] else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
