"""The commands of ``jupyter konduktor`` and their options; whatever is wrong with a line is said in one line."""

from __future__ import annotations

import argparse
import difflib
import sys
from collections.abc import Iterable, Sequence
from typing import NoReturn

import jupyter_konduktor

PROG = "jupyter konduktor"

_RUN = """\
Run a task file as a job, show what it writes as it comes, and end with the job's exit code.

The file is YAML or JSON. Its keys are the options of a cell without their dashes, with `command`:

    name: train
    command: [python, train.py, --lr, "1e-3"]
    gpus: H100:8
    nodes: 2
    image: ghcr.io/team/train:v1
    env: {SEED: 1}
    timeout: 2h

Konduktor's own task files run as well: run, num_nodes, envs, resources (accelerators, image_id, cpus, memory)."""

_GC = """\
Remove finished jobs beyond keep_days and keep_bytes. Where the setting `store` names a place, also remove what
was written there more than keep_days ago: inputs that no job can need, and the results and checkpoints of jobs
that the cluster no longer has. Stopped jobs are named and stay."""

_RBAC = """\
Print the roles that a user of this package needs on a cluster, as YAML. Nothing is sent to a cluster:

    jupyter konduktor rbac --namespace team --group ml-team | kubectl apply -f -

Without a user, group or service account the roles are printed and nobody is given them."""


class _Parser(argparse.ArgumentParser):
    """Says what is wrong in one line."""

    def error(self, message: str) -> NoReturn:
        print(f"{self.prog}: {message}; --help tells more", file=sys.stderr)
        sys.exit(2)


def parse(argv: Sequence[str]) -> argparse.Namespace:
    """Read the words of a command line; ends the process for ``--help``, ``--version`` and what cannot be read."""
    parser, commands = _parsers()
    if argv and not argv[0].startswith("-") and argv[0] not in commands:
        parser.error(f"{argv[0]} is not a command{_meant(argv[0], commands, 'commands: ' + ', '.join(commands))}")
    arguments, unknown = parser.parse_known_args(argv)
    if unknown:
        used = commands.get(arguments.command, parser)
        flags = [flag for action in used._actions for flag in action.option_strings if flag.startswith("--")]
        word = unknown[0].partition("=")[0]
        kind = "an option" if word.startswith("-") else "an argument"
        used.error(f"{word} is not {kind} of {used.prog}{_meant(word, flags)}")
    if arguments.command is None:
        parser.print_help()
        sys.exit(0)
    return arguments


def _meant(word: str, known: Iterable[str], otherwise: str = "") -> str:
    close = difflib.get_close_matches(word.lower(), list(known), n=1, cutoff=0.6)
    return f"; did you mean {close[0]}?" if close else otherwise and f"; {otherwise}"


def _parsers() -> tuple[_Parser, dict[str, _Parser]]:
    """Make the parser, and those of the commands by their names."""
    parser = _Parser(
        prog=PROG,
        description="Run jobs and look after them: on this machine, or on a shared GPU cluster.",
        epilog=f"{PROG} COMMAND --help tells the options of a command.",
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"jupyter_konduktor {jupyter_konduktor.__version__}")
    group = parser.add_subparsers(dest="command", metavar="COMMAND", title="commands", parser_class=_Parser)

    where = _Parser(add_help=False)
    place = where.add_argument_group("where jobs run; the settings say it otherwise")
    place.add_argument("--backend", metavar="BACKEND", help="local or kubernetes")
    place.add_argument("--context", metavar="CONTEXT", help="context of the kubeconfig")
    place.add_argument("--namespace", metavar="NAMESPACE", help="namespace on the cluster")

    commands: dict[str, _Parser] = {}

    def command(name: str, text: str, description: str = "", *, place: bool = True) -> _Parser:
        commands[name] = group.add_parser(
            name,
            help=text,
            description=description or f"{text[0].upper()}{text[1:]}.",
            formatter_class=argparse.RawDescriptionHelpFormatter,
            parents=[where] if place else [],
            allow_abbrev=False,
        )
        return commands[name]

    run = command("run", "run a task file as a job and wait for it", _RUN)
    run.add_argument("file", metavar="FILE", help="the task file; - reads it from standard input")
    run.add_argument("--detach", action="store_true", help="print the job's name and do not wait")

    jobs = command("jobs", "list your jobs")
    jobs.add_argument("--all-users", action="store_true", help="jobs of all users")
    jobs.add_argument("--json", action="store_true", help="as JSON, oldest first")

    logs = command("logs", "show what a job wrote")
    logs.add_argument("name", metavar="NAME")
    logs.add_argument("--follow", "-f", action="store_true", help="go on until the job ends")
    logs.add_argument("--node", type=_whole, default=0, metavar="N", help="node, from 0")
    logs.add_argument("--tail", type=_whole, metavar="N", help="only the last N lines")

    events = command("events", "show what happened to a job, and when")
    events.add_argument("name", metavar="NAME")

    result = command("result", "wait for a job and print its result as JSON")
    result.add_argument("name", metavar="NAME")

    attach = command("attach", "follow a job from its first line, and end with its exit code")
    attach.add_argument("name", metavar="NAME")

    for verb, text in (("cancel", "end jobs"), ("stop", "hold jobs"), ("resume", "queue held jobs again")):
        command(verb, text).add_argument("names", metavar="NAME", nargs="+")

    command("queues", "show the queues and what they hold")

    config = command("config", "show each setting, and where it came from")
    config.add_argument("key", metavar="KEY", nargs="?")

    gc = command("gc", "remove finished jobs and what is old in the store, and name jobs that are stopped", _GC)
    gc.add_argument("--dry-run", action="store_true", help="remove nothing; count the jobs, and list what is old")

    doctor = command("doctor", "check that jobs can run from here, with a small one; ends with 1 if something is wrong")
    doctor.add_argument("--no-job", action="store_true", help="look only, and send no job")

    rbac = command("rbac", "print the roles that a user needs on a cluster, for kubectl apply", _RBAC, place=False)
    rbac.add_argument("--namespace", metavar="NS", help="where the jobs are to run; otherwise as the settings say")
    subject = rbac.add_mutually_exclusive_group()
    subject.add_argument("--user", metavar="NAME", help="who is given the roles")
    subject.add_argument("--group", metavar="NAME", help="who is given the roles")
    subject.add_argument("--serviceaccount", metavar="NS:NAME", help="who is given the roles")
    rbac.add_argument("--name", metavar="NAME", help="name of the roles")
    return parser, commands


def _whole(text: str) -> int:
    """Read a whole number; its name is not for a person."""
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text} must be a whole number")
    return int(text)
