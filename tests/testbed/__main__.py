"""The command line: `python -m tests.testbed up`."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from tests.testbed import build, images, lifecycle, node, packages, places
from tests.testbed.environment import exports

PARTS = ("stop", "start", "kill", "pause", "resume")


def main() -> int:
    """Run one command."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.testbed", description="A real Kubernetes on this machine, for tests."
    )
    parser.add_argument(
        "--state", type=Path, default=places.default_state(), help="folder of the cluster (default: %(default)s)"
    )
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("build", help="build the programs, and do no more")
    commands.add_parser("up", help="bring the cluster up, or start what is missing of it")
    commands.add_parser("down", help="stop it and remove every trace")
    commands.add_parser("env", help="print shell exports for someone who submits to it")
    commands.add_parser("status", help="say which part runs")
    commands.add_parser("image", help="make an image, import it, and print its reference").add_argument("name")
    for name in PARTS:
        commands.add_parser(name, help=f"{name} one part").add_argument("name", metavar="part")
    arguments = parser.parse_args()
    try:
        return _run(arguments.command, arguments.state.absolute(), getattr(arguments, "name", ""))
    except (RuntimeError, TimeoutError) as error:
        print(error, file=sys.stderr)
        return 1


def _run(command: str, state: Path, name: str) -> int:
    parts = lifecycle.all_parts(state)
    if command == "build":
        if not places.able():
            print("No cluster can run here (it needs Linux and all of root's rights): none is built", file=sys.stderr)
            return 0
        packages.install()
        build.build()
        for image in images.IMAGES.values():
            images.archive(image)
    elif command == "up":
        lifecycle.up(state)
    elif command == "down":
        lifecycle.down(state)
    elif command == "env":
        if not lifecycle.is_up(state):
            print("no cluster is up: make cluster-up", file=sys.stderr)
            return 1
        print("\n".join(exports(state)))
    elif command == "status":
        for part in parts.values():
            status = "paused" if part.paused else "runs" if part.running else "stopped"
            process = part.process()
            print(f"{part.name:24}{status:9}{process.pid if process else '':>8}  {part.log}")
        return 0 if all(part.running for part in parts.values()) else 1
    elif command == "image":
        node.import_image(state, images.named(name))
        print(images.named(name).reference)
    elif name not in parts:
        print(f"no part is named {name}; there are {', '.join(parts)}", file=sys.stderr)
        return 2
    else:
        getattr(parts[name], command)()
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
