#!/usr/bin/env python3
"""What is installed, without a foreign system: the Debian package, the release
archive and its install.sh, completion, and that the sandbox tool's help, man
page, completion and template say the same.

BUILD names the build directory, VERSION and ARCHIVE the release.
"""
import os
import re
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.normpath(os.path.join(HERE, "../.."))
sys.path.insert(0, os.path.join(ROOT, "tests/e2b"))
from harness import Skipped, need, run_tests  # noqa: E402

BUILD = os.environ["BUILD"]
VERSION = os.environ["VERSION"]
ARCHIVE = os.environ["ARCHIVE"]
TOOL = os.path.join(BUILD, "deeplake-sandbox")
MAN = os.path.join(ROOT, "packaging/man/deeplake-sandbox.1")


def run(*argv, status=0, **kw):
    p = subprocess.run(argv, capture_output=True, text=True, timeout=300,
                       stdin=subprocess.DEVNULL, check=False, **kw)
    need(status is None or p.returncode == status, "%s: status %d\n%s%s" % (
        " ".join(argv), p.returncode, p.stdout[-2000:], p.stderr[-2000:]))
    return p


def files_below(d):
    return sorted(os.path.relpath(os.path.join(top, f), d)
                  for top, _, names in os.walk(d) for f in names)


# ---- the Debian package

def deb_path():
    arch = run("dpkg", "--print-architecture").stdout.strip()
    return os.path.join(BUILD, "deeplakefs_%s_%s.deb" % (VERSION, arch))


def test_deb_lintian():
    # the package is not made by debhelper from a source package, and says
    # nothing of a licence that has not been chosen
    p = run("lintian", "--fail-on", "error,warning", deb_path(), status=None)
    need(p.returncode == 0, p.stdout + p.stderr)


def test_deb_contents():
    names = {line.split(None, 5)[5].split(" -> ")[0] for line in
             run("dpkg-deb", "-c", deb_path()).stdout.splitlines()}
    for f in ("usr/bin/deeplake", "usr/bin/deeplake-serve",
              "usr/bin/deeplake-sandbox", "sbin/mount.deeplakefs",
              "sbin/umount.deeplakefs", "sbin/mount.fuse.deeplakefs",
              "usr/share/man/man1/deeplake-sandbox.1.gz",
              "usr/share/man/man1/deeplake-serve.1.gz",
              "usr/share/man/man8/mount.deeplakefs.8.gz",
              "usr/share/bash-completion/completions/deeplake",
              "usr/share/bash-completion/completions/deeplake-sandbox",
              "usr/share/deeplakefs/deeplake-bundle.tar.gz",
              "usr/share/doc/deeplakefs/examples/guide.py",
              "usr/share/doc/deeplakefs/examples/fstab.example",
              "usr/share/doc/deeplakefs/examples/mnt-data.automount",
              "lib/systemd/system/deeplake-serve.service"):
        need("./" + f in names, f + " is not in the package")
    depends = run("dpkg-deb", "-f", deb_path(), "Depends").stdout
    need(re.search(r"\bfuse3\b", depends), depends)


# ---- the release archive

class Release:
    def __init__(self, d):
        run("tar", "-xzf", ARCHIVE, "-C", d)
        self.script = os.path.join(d, "deeplakefs-" + VERSION, "install.sh")
        self.prefix, self.sbin = d + "/prefix", d + "/sbin"

    def run(self, *args, **kw):
        return run("sh", self.script, "--prefix", self.prefix, "--sbindir",
                   self.sbin, *args, **kw)


def test_release():
    with tempfile.TemporaryDirectory() as d:
        r = Release(d)
        need("nothing installed" in r.run("--uninstall", status=1).stderr,
             "says that nothing is there")
        r.run("--prefx", "x", status=2)
        run("sh", r.script, "--prefix", "relative", status=2)
        r.run()
        need(VERSION in run(r.prefix + "/bin/deeplake", "version").stdout,
             "the installed program runs")
        need("usage" in run(r.sbin + "/mount.deeplakefs", status=2).stderr,
             "the mount helper runs")
        # the tool finds the driver's archive where it was installed
        env = {"PATH": os.environ["PATH"], "HOME": d}
        run(r.prefix + "/bin/deeplake-sandbox", "template", "init", d + "/t",
            env=env)
        need("deeplake-bundle.tar.gz" in os.listdir(d + "/t"), "bundle")
        first = files_below(r.prefix)
        r.run()  # over itself
        need(files_below(r.prefix) == first, "a second time the same")
        r.run("--uninstall")
        left = files_below(r.prefix) + files_below(r.sbin)
        need(left == [] and not os.path.exists(
            r.prefix + "/share/doc/deeplakefs"), "left behind: %s" % left)


def test_release_not_here():
    """Run from where the release is not: a reason and no traces."""
    with tempfile.TemporaryDirectory() as d:
        script = os.path.join(ROOT, "packaging/install.sh")
        p = run("sh", script, "--prefix", d + "/p", "--sbindir", d + "/s",
                status=1)
        need("unpacked release" in p.stderr, p.stderr)
        need(os.listdir(d) == [], "made something")


def test_uninstall():
    with tempfile.TemporaryDirectory() as d:
        make = ["make", "-s", "-C", ROOT, "O=" + BUILD, "PREFIX=/usr",
                "DESTDIR=" + d]
        run(*make, "install")
        need(len(files_below(d)) > 20, "installed")
        run(*make, "uninstall")
        need(files_below(d) == [], "left behind: %s" % files_below(d))


# ---- bash completion

def complete(words, extra_path=BUILD):
    """What bash offers for the last of the words."""
    line = " ".join("'%s'" % w for w in words)
    name = words[0]
    script = (
        "PATH='%s':$PATH; . '%s/packaging/completion/deeplake'; "
        ". '%s/packaging/completion/deeplake-sandbox'; "
        "compopt() { :; }; COMP_WORDS=(%s); COMP_CWORD=%d; "
        "$(complete -p %s | sed 's/.*-F \\([^ ]*\\).*/\\1/'); "
        "printf '%%s\\n' \"${COMPREPLY[@]}\"" % (
            extra_path, ROOT, ROOT, line, len(words) - 1, name))
    with tempfile.TemporaryDirectory() as home:
        return run("bash", "-c", script, env={
            "PATH": os.environ["PATH"], "HOME": home,
            "DEEPLAKE_SANDBOX_DIR": home}).stdout.split()


def table():
    """Commands with their options, from the tool itself."""
    out = {}
    for line in run(TOOL, "options").stdout.splitlines():
        command, option, _ = line.split("\t")
        out.setdefault(command, []).append(option)
    return out


def test_completion():
    commands = {c.split()[0] for c in table()}
    need(commands <= set(complete(["deeplake-sandbox", ""])), "commands")
    need(commands <= set(complete(["deeplake", "sandbox", ""])),
         "commands of deeplake sandbox")
    need(complete(["deeplake-sandbox", "template", "in"]) == ["init"],
         "second words")
    for command, options in table().items():
        words = ["deeplake-sandbox", *command.split(), "--"]
        need(set(complete(words)) == set(options), "options of " + command)
    need(complete(["deeplake-sandbox", "list", "--state", "p"]) == ["paused"],
         "values")
    need("sandbox" in complete(["deeplake", "s"]), "deeplake's commands")
    need("--table" in complete(["deeplake", "init", "--t"]), "its options")


# ---- help, man page and template say the same

def test_manual():
    with open(MAN, encoding="utf-8") as f:
        page = f.read()
    options = {o for os_ in table().values() for o in os_}
    named = {"--" + o for o in re.findall(r"^\.It .*?Fl -([a-z-]+)", page,
                                          re.M)}
    named |= {"--" + o for line in re.findall(r"^\.It (.*Fl .*)$", page, re.M)
              for o in re.findall(r"(?:Fl |, )-([a-z][a-z-]+)", line)}
    need(options - named - {"--help"} == set(),
         "not in the page: %s" % (options - named))
    need(named - options == set(), "only in the page: %s" %
         (named - options))
    text = run("mandoc", "-T", "utf8", MAN).stdout
    text = re.sub(r".\x08", "", text)
    for command in table():
        need(re.search(r"\b%s\b" % command, text), command + " is missing")
    for command, options in table().items():
        shown = run(TOOL, *command.split(), "--help").stdout
        for o in options:
            need(o in shown, "%s --help lacks %s" % (command, o))


def test_template_text():
    with tempfile.TemporaryDirectory() as d:
        run(TOOL, "template", "init", d, "--bundle",
            os.path.join(BUILD, "deeplake-bundle.tar.gz"))
        with open(d + "/Dockerfile", encoding="utf-8") as f, \
                open(os.path.join(ROOT, "packaging/template/Dockerfile"),
                     encoding="utf-8") as g:
            need(f.read() == g.read(), "template init writes another text")


def test_units():
    """systemd reads the units, and the examples."""
    if subprocess.run(["sh", "-c", "command -v systemd-analyze"], check=False,
                      capture_output=True).returncode:
        raise Skipped("systemd is not installed")
    with tempfile.TemporaryDirectory() as d:
        units = []
        for top in ("packaging", "packaging/systemd"):
            for n in os.listdir(os.path.join(ROOT, top)):
                if not re.search(r"\.(service|mount|automount)$", n):
                    continue
                with open(os.path.join(ROOT, top, n), encoding="utf-8") as f:
                    text = f.read()
                # the programs are where this build put them
                text = re.sub(r"(?m)^(Exec\w+=)(?:/usr/bin/)?deeplake\b",
                              r"\1" + BUILD + "/deeplake", text)
                units.append(os.path.join(d, n.replace("@.", "@root.")))
                with open(units[-1], "w", encoding="utf-8") as f:
                    f.write(text)
        p = run("systemd-analyze", "verify", "--man=no", *units, status=None)
        bad = [x for x in p.stderr.splitlines() if d in x]
        need(p.returncode == 0 and not bad, p.stderr)


TESTS = [test_deb_lintian, test_deb_contents, test_release,
         test_release_not_here, test_uninstall, test_completion, test_manual,
         test_template_text, test_units]

if __name__ == "__main__":
    sys.exit(run_tests([(f.__name__, f) for f in TESTS]))
