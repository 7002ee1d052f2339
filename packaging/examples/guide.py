#!/usr/bin/env python3
"""The guide with the official Python SDK of E2B.

	pip install e2b
	E2B_API_KEY=... python3 guide.py TEMPLATE

TEMPLATE has the driver inside:  deeplake sandbox template build DIR --name T
Credentials are those of this machine, ~/.deeplake/credentials.json.
"""
import json
import os
import sys
import time

from e2b import CommandExitException, Sandbox

MOUNT = "/mnt/data"


def mount(sandbox, table):
    """Credentials, then the mount.

    The file exists, private, before the first secret byte is in it, and the
    bytes travel in the file API: what a command or its input holds is logged.
    """
    with open(os.path.expanduser("~/.deeplake/credentials.json"),
              encoding="utf-8") as f:
        credentials = f.read()
    sandbox.commands.run(
        "install -d -m 700 ~/.deeplake && "
        "install -m 600 /dev/null ~/.deeplake/credentials.json")
    sandbox.files.write("/home/user/.deeplake/credentials.json", credentials)
    # root makes the place; allow_other lets the platform's file API in
    sandbox.commands.run(
        f"chmod 666 /dev/fuse; mkdir -p {MOUNT} && chown user {MOUNT}; "
        "grep -qsx user_allow_other /etc/fuse.conf || "
        "echo user_allow_other >> /etc/fuse.conf", user="root")
    sandbox.commands.run(
        f"deeplake init --table {table} --path {MOUNT} -o allow_other "
        "</dev/null")


def unmount_and_kill(sandbox):
    """Kill is sudden: what is not in the table by then is lost."""
    sandbox.commands.run(f"deeplake umount {MOUNT}", timeout=120)
    sandbox.kill()


def two_sandboxes(template):
    """One table, two sandboxes: the second reads what the first wrote."""
    a = Sandbox.create(template, timeout=300)
    b = Sandbox.create(template, timeout=300)
    mount(a, "shared_workspace")
    mount(b, "shared_workspace")
    a.commands.run(f"echo 'written from sandbox A' > {MOUNT}/hello.txt")
    end = time.time() + 10
    while not b.files.exists(f"{MOUNT}/hello.txt"):
        assert time.time() < end, "B does not see the file of A"
        time.sleep(0.1)
    print("B reads:", b.files.read(f"{MOUNT}/hello.txt").strip())
    unmount_and_kill(a)
    unmount_and_kill(b)


def agent_run(template, task_id, script):
    """An agent's script; its output and how it went stay in the table.

    One table a task here; one for all works as well, with a folder each.
    """
    sandbox = Sandbox.create(template, timeout=300)
    mount(sandbox, f"task_{task_id}")
    sandbox.files.write("/tmp/task.py", script)
    began = time.time()
    try:
        result = sandbox.commands.run("python3 /tmp/task.py", timeout=120)
    except CommandExitException as e:
        result = e
    sandbox.files.write(f"{MOUNT}/output.txt", result.stdout)
    sandbox.files.write(f"{MOUNT}/meta.json", json.dumps(
        {"exit_code": result.exit_code, "seconds": time.time() - began}))
    unmount_and_kill(sandbox)

    # the files survive the sandbox
    later = Sandbox.create(template, timeout=300)
    mount(later, f"task_{task_id}")
    print("later:", later.files.read(f"{MOUNT}/output.txt").strip(),
          later.files.read(f"{MOUNT}/meta.json"))
    unmount_and_kill(later)


def main():
    template = sys.argv[1] if len(sys.argv) > 1 else "my-data-sandbox"
    two_sandboxes(template)
    agent_run(template, "42", "print(6 * 7)\n")


if __name__ == "__main__":
    main()
