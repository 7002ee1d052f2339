"""Real input for program tests and benchmarks, made or fetched once.

Everything is under DF_TEST_MATERIAL (default ~/.cache/deeplakefs-tests) and is
kept between runs.  Trees and repositories are made from files that a Debian
machine with Python and libc headers has; npm and pip packages are fetched by
name through the ordinary clients the first time, and a test that needs them is
skipped when that does not work.
"""
import base64
import os
import shutil
import subprocess
import sys

import harness

ROOT = os.environ.get("DF_TEST_MATERIAL", os.path.join(
    os.path.expanduser("~"), ".cache", "deeplakefs-tests"))
NPM_PACKAGES = ("express@4", "typescript@5")
PIP_PACKAGES = ("requests", "jinja2", "pyyaml")
SOURCES = ("/usr/lib/python3", "/usr/lib/python3.11", "/usr/include",
           os.path.dirname(os.__file__))


def once(name, make):
    """ROOT/name, made by make(path) in a temporary place the first time."""
    path = os.path.join(ROOT, name)
    if not os.path.exists(path):
        os.makedirs(ROOT, exist_ok=True)
        tmp = f"{path}.tmp-{os.getpid()}"
        shutil.rmtree(tmp, ignore_errors=True)
        os.makedirs(tmp)
        try:
            make(tmp)
            os.rename(tmp, path)
        finally:
            shutil.rmtree(tmp, ignore_errors=True)
    return path


def git(cwd, *args):
    env = dict(os.environ, GIT_CONFIG_NOSYSTEM="1", HOME=ROOT,
               GIT_AUTHOR_NAME="Test", GIT_AUTHOR_EMAIL="t@example.org",
               GIT_COMMITTER_NAME="Test", GIT_COMMITTER_EMAIL="t@example.org",
               GIT_AUTHOR_DATE="2026-01-02T03:04:05Z",
               GIT_COMMITTER_DATE="2026-01-02T03:04:05Z")
    subprocess.run(["git", "-c", "init.defaultBranch=main"] + list(args),
                   cwd=cwd, check=True, env=env, stdout=subprocess.DEVNULL,
                   stderr=subprocess.DEVNULL)


def source_files(limit):
    """Real text files of at most 256 KiB, the same ones every time."""
    found = []
    for top in SOURCES:
        for path, dirs, files in os.walk(top):
            dirs[:] = sorted(d for d in dirs if d != "__pycache__")
            for name in sorted(files):
                full = os.path.join(path, name)
                if name.endswith((".py", ".h", ".txt", ".c", ".hpp")) and \
                   os.path.isfile(full) and not os.path.islink(full) and \
                   0 < os.path.getsize(full) < 1 << 18:
                    found.append(full)
                    if len(found) == limit:
                        return found
    return found


def source_tree(files=1500):
    """A directory of real source files, with links and modes to keep."""
    def make(out):
        names = source_files(files)
        harness.need(len(names) >= 200, "too few source files here")
        for full in names:
            to = out + full
            os.makedirs(os.path.dirname(to), exist_ok=True)
            shutil.copy2(full, to)
        first = os.path.relpath(out + names[0], out)
        os.symlink(first, out + "/link")
        os.symlink("nowhere/at all", out + "/dangling")
        os.link(out + names[1], out + "/hardlink")
        os.chmod(out + names[2], 0o755)
        os.mkdir(out + "/empty")
    return once(f"tree-{files}", make)


def repository(files=1500):
    """A bare git repository with two branches over that tree."""
    def make(out):
        work = out + "/work"
        shutil.copytree(source_tree(files), work, symlinks=True)
        git(work, "init", "-q")
        git(work, "add", "-A")
        git(work, "commit", "-qm", "All")
        names = sorted(os.path.join(p, f) for p, d, fs in os.walk(work)
                       if ".git" not in p for f in fs if f.endswith(".py"))
        git(work, "checkout", "-qb", "other")
        for n in names[::3]:
            with open(n, "a") as f:
                f.write("# another branch\n")
        for n in names[1::30]:
            os.unlink(n)
        git(work, "commit", "-qam", "Change a third")
        git(work, "checkout", "-q", "main")
        git(out, "clone", "-q", "--bare", "--no-local", work, "repo.git")
        shutil.rmtree(work)
    return once(f"repository-{files}", make) + "/repo.git"


def tarball(files=1500):
    def make(out):
        subprocess.run(["tar", "cf", out + "/tree.tar", "-C",
                        source_tree(files), "."], check=True)
    return once(f"tarball-{files}", make) + "/tree.tar"


def c_project(units=60):
    """A C program of many units and a Makefile."""
    def make(out):
        calls = []
        for i in range(units):
            with open(f"{out}/unit{i:03d}.c", "w") as f:
                f.write("#include <stdio.h>\n#include <stdlib.h>\n"
                        "#include <string.h>\n#include <sys/stat.h>\n"
                        '#include "all.h"\n'
                        f"int unit{i:03d}(int x)\n{{\n\tchar b[64];\n"
                        f'\tsnprintf(b, sizeof(b), "%d", x + {i});\n'
                        "\treturn (int)strlen(b) + atoi(b);\n}\n")
            calls.append(f"unit{i:03d}")
        with open(out + "/all.h", "w") as f:
            f.write("".join(f"int {c}(int x);\n" for c in calls))
        with open(out + "/main.c", "w") as f:
            f.write('#include <stdio.h>\n#include "all.h"\n'
                    "int main(void)\n{\n\tint s = 0;\n"
                    + "".join(f"\ts += {c}(s);\n" for c in calls)
                    + '\tprintf("%d\\n", s);\n\treturn 0;\n}\n')
        with open(out + "/Makefile", "w") as f:
            f.write("OBJ := $(patsubst %.c,%.o,$(sort $(wildcard *.c)))\n"
                    "prog: $(OBJ)\n\t$(CC) -o $@ $^\n"
                    "%.o: %.c all.h\n\t$(CC) -O1 -c $< -o $@\n")
    return once(f"project-{units}", make)


def npm_cache():
    """An npm cache that holds NPM_PACKAGES."""
    harness.need_program("npm")

    def make(out):
        os.mkdir(out + "/try")
        r = subprocess.run(
            ["npm", "install", "--cache", out + "/cache", "--no-audit",
             "--no-fund", "--ignore-scripts"] + list(NPM_PACKAGES),
            cwd=out + "/try", capture_output=True, text=True, timeout=300)
        harness.need(r.returncode == 0, "npm cannot fetch "
                     f"{NPM_PACKAGES}: {r.stderr[-300:]}")
        shutil.rmtree(out + "/try")
    return once("npm", make) + "/cache"


def wheels():
    """A directory of wheels that installs PIP_PACKAGES."""
    def make(out):
        r = subprocess.run(
            [sys.executable, "-m", "pip", "download", "-q", "-d", out]
            + list(PIP_PACKAGES), capture_output=True, text=True, timeout=300)
        harness.need(r.returncode == 0, "pip cannot fetch "
                     f"{PIP_PACKAGES}: {r.stderr[-300:]}")
    return once("wheels", make)


def base64_noise(size):
    """Text of `size` random bytes in base64."""
    return base64.b64encode(os.urandom(size)).decode()
