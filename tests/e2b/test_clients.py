"""The official clients against the loopback server, which they keep honest.

	test_clients.py PYTHON   (of the environment that has them)
"""
import os
import shutil
import subprocess
import sys

import harness
from harness import Server, need

HERE = harness.HERE


def run(server, folder, *argv, **env):
    full = {"PATH": os.environ["PATH"], "HOME": folder, "NO_COLOR": "1"}
    full.update(server.env())
    full.update(env)
    p = subprocess.run(argv, env=full, capture_output=True, text=True,
                       timeout=180, stdin=subprocess.DEVNULL)
    need(p.returncode == 0, "%s: status %d\n%s%s" % (
        " ".join(argv), p.returncode, p.stdout, p.stderr))
    return p.stdout


def main():
    python = sys.argv.pop(1)
    modules = os.environ["E2B_NODE_MODULES"]
    node = shutil.which("node")
    need(node, "node is not installed")
    cli = [node, modules + "/@e2b/cli/dist/index.js"]
    with harness.folder() as d:
        server = Server(d)

        def sdk_python():
            run(server, d, python, HERE + "/clients/sdk.py")

        def sdk_javascript():
            run(server, d, node, HERE + "/clients/sdk.mjs",
                E2B_NODE_MODULES=modules)

        def command_line():
            run(server, d, python, "-c", "from e2b import Sandbox; "
                "Sandbox.create('base', timeout=100)")
            need("Running" in run(server, d, *cli, "sandbox", "list"),
                 "listed")
            os.makedirs(d + "/tpl", exist_ok=True)
            with open(d + "/tpl/e2b.Dockerfile", "w", encoding="ascii") as f:
                f.write("FROM e2b/base\nCOPY e2b.Dockerfile /opt/df\n"
                        "RUN test -s /opt/df\n")
            run(server, d, *cli, "template", "create", "cli-made", "-p",
                d + "/tpl")
            need("cli-made" in run(server, d, *cli, "template", "list"),
                 "template listed")
            run(server, d, *cli, "sandbox", "kill", "--all")
            need("Running" not in run(server, d, *cli, "sandbox", "list"),
                 "killed")

        try:
            return harness.run_tests([("clients/python", sdk_python),
                                      ("clients/javascript", sdk_javascript),
                                      ("clients/cli", command_line)])
        finally:
            server.stop()


if __name__ == "__main__":
    sys.exit(main())
