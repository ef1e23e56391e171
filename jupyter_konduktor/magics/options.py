"""The options of ``%%konduktor`` and the commands of ``%konduktor``, each declared once.

Help, errors and completion come from the same tables. A line that cannot be read is a UsageError of one line.
"""

from __future__ import annotations

import difflib
import os
import re
import shlex
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from numbers import Number
from typing import Any

from IPython.core.error import UsageError


@dataclass(frozen=True, slots=True)
class Option:
    """One option.

    Attributes
    ----------
    flag : str
        As it is written: ``--max-restarts``.
    metavar : str
        What its value looks like; empty if it takes none.
    text : str
        Help.
    repeat : bool
        Whether it may stand more than once.
    several : bool
        Whether all words up to the next option are its values.
    """

    flag: str
    metavar: str
    text: str
    repeat: bool = False
    several: bool = False

    @property
    def key(self) -> str:
        """Its name in Python."""
        return self.flag.removeprefix("--").replace("-", "_")


@dataclass(frozen=True, slots=True)
class Command:
    """One command of ``%konduktor``.

    Attributes
    ----------
    name : str
    text : str
        Help.
    argument : str
        What it takes besides options: ``NAME``, ``NAME...``, ``[NAME]`` or nothing.
    options : tuple of Option
    """

    name: str
    text: str
    argument: str = ""
    options: tuple[Option, ...] = ()


HELP = Option("--help", "", "show this and run nothing")

CELL_OPTIONS = (
    Option("--gpus", "KIND:COUNT", "GPUs for each node: H100:8, or 8"),
    Option("--nodes", "N", "nodes; the cell runs on each, node 0's values return"),
    Option("--launcher", "torchrun", "run it under torchrun on each node, one process for each GPU"),
    Option("--cpus", "N", "CPU cores for each node"),
    Option("--memory", "SIZE", "memory for each node: 16Gi; a plain number is in GiB"),
    Option("--image", "IMAGE", "container image; it needs only Python"),
    Option("--queue", "QUEUE", "queue the job waits in"),
    Option("--priority", "CLASS", "priority class"),
    Option("--topology", "RULE", "required:LABEL, preferred:LABEL, unconstrained; exclusive:LABEL", repeat=True),
    Option("--env", "NAME=VALUE", "environment variable of the job", repeat=True),
    Option("--secret", "NAME[=SECRET/KEY]", "secret as a variable, or /PATH=SECRET/KEY as a file", repeat=True),
    Option("--in", "NAMES", "variables to send: a,b are all; +a adds, -a leaves out", repeat=True),
    Option("--out", "NAMES", "variables to bring back, all or none: x,y; +x adds, -x leaves out", repeat=True),
    Option("--name", "NAME", "name of the job; five characters are added"),
    Option("--timeout", "TIME", "longest time it may run: 90, 90s, 2h"),
    Option("--max-restarts", "N", "how often it starts again after it failed"),
    Option("--packages", "REQUIREMENT...", "packages to install in the job; sync: what it imports", True, True),
    Option("--requirements", "FILE", "file of packages to install in the job"),
    Option("--setup", "COMMAND", "shell command to run in the job before that", repeat=True),
    Option("--workdir", "PATH", "folder the cell runs in; its files are sent"),
    Option("--volume", "CLAIM:/PATH", "volume to mount", repeat=True),
    Option("--backend", "BACKEND", "local or kubernetes"),
    Option("--config", "FILE", "settings file for this cell"),
    Option("--allow-secret", "NAME", "send the cell although the value of this variable is in it", repeat=True),
    Option("--detach", "", "do not wait; the cell's value is the Job"),
    Option("--quiet", "", "no line of ours under the cell"),
    Option("--dry-run", "", "show what would be sent, and send nothing"),
    HELP,
)

_NODE = Option("--node", "N", "node, from 0")
_TAIL = Option("--tail", "N", "only the last N lines")
_SAVE = Option("--save", "FILE", "write it to a file and show nothing")
_TRUST = Option("--trust", "", "load pickles of a job that was not submitted from here")
_WHERE = (
    Option("--backend", "BACKEND", "local or kubernetes"),
    Option("--context", "CONTEXT", "context of the kubeconfig"),
    Option("--namespace", "NAMESPACE", "namespace on the cluster"),
)
_NO_JOB = Option("--no-job", "", "look only, and send no job")

COMMANDS = (
    Command("status", "this notebook's jobs; also what %konduktor alone shows"),
    Command("jobs", "all your jobs", "", (Option("--all-users", "", "jobs of all users"),)),
    Command("logs", "what a job wrote", "NAME", (_NODE, _TAIL, _SAVE)),
    Command("events", "what happened to a job, and when", "NAME"),
    Command("result", "bring a job's values into this notebook", "NAME", (_TRUST,)),
    Command("attach", "follow a job as if its cell ran here; then bring its values", "NAME", (_TRUST,)),
    Command("cancel", "end jobs", "NAME..."),
    Command("stop", "hold jobs", "NAME..."),
    Command("resume", "queue held jobs again", "NAME..."),
    Command("queues", "the queues and what they hold"),
    Command("config", "each setting, and where it came from", "[KEY]"),
    Command("doctor", "check that jobs can run from here, with a small one", "", (*_WHERE, _NO_JOB)),
    Command(
        *("gc", "remove finished jobs and what is old in the store, and name jobs that are stopped", ""),
        (Option("--dry-run", "", "remove nothing; count the jobs, and list what is old"),),
    ),
    Command("help", "this, or one command", "[COMMAND]"),
)


@dataclass(frozen=True, slots=True)
class Parsed:
    """A line, taken apart.

    Attributes
    ----------
    values : dict
        `Option.key` to the text that was given, to a list of texts (repeatable options), or to True.
    arguments : list of str
        What stood there besides options.
    """

    values: dict[str, Any] = field(default_factory=dict)
    arguments: list[str] = field(default_factory=list)


def parse_cell(line: str, namespace: Mapping[str, Any], hidden: Collection[str] = ()) -> Parsed:
    """Read the line of ``%%konduktor``."""
    return _parse("%%konduktor", _words(line, namespace, hidden), CELL_OPTIONS, "")


def parse_command(line: str, namespace: Mapping[str, Any], hidden: Collection[str] = ()) -> tuple[Command, Parsed]:
    """Read the line of ``%konduktor``; an empty one is ``status``."""
    words = _words(line, namespace, hidden)
    if not words:
        return command("status"), Parsed()
    if words[0] in ("-h", "--help"):
        return command("help"), Parsed()
    if words[0].startswith("-"):
        advice = "options without a command belong to %%konduktor, at the top of a cell"
        raise UsageError(f"{words[0]} is not a command of %konduktor; {advice}")
    found = command(words[0])
    return found, _parse(f"%konduktor {found.name}", words[1:], (*found.options, HELP), found.argument)


def command(name: str) -> Command:
    """Find a command by its name."""
    known = {item.name: item for item in COMMANDS}
    if name not in known:
        meant = _meant(name, known) or f"commands: {', '.join(known)}"
        raise UsageError(f"{name} is not a command of %konduktor; {meant}")
    return known[name]


def cell_help() -> str:
    """Describe ``%%konduktor``."""
    return "\n".join([
        "%%konduktor [options]",
        "",
        "Run the cell as a job. Its code and the variables it reads travel; its output appears here as it comes,",
        "and the variables it assigns or changes come back.",
        "",
        *_rows([(f"{option.flag} {option.metavar}".rstrip(), _described(option)) for option in CELL_OPTIONS]),
        "",
        "Values may be quoted. {name} and $name stand for variables that exist; expressions are not evaluated.",
        "What every cell needs is set once: %config KonduktorMagics.queue = 'user-queue', or in a file;",
        "%konduktor config shows all settings.",
    ])  # fmt: skip


def command_help(name: str = "") -> str:
    """Describe ``%konduktor``, or one of its commands."""
    if name:
        found = command(name)
        rows = [(f"{option.flag} {option.metavar}".rstrip(), option.text) for option in (*found.options, HELP)]
        usage = f"%konduktor {found.name} {found.argument}".rstrip()
        return "\n".join([f"{usage}: {found.text}", "", *_rows(rows)])
    rows = [(f"{item.name} {item.argument}".rstrip(), item.text) for item in COMMANDS]
    lines = ["%konduktor [command]", "", *_rows(rows), "", "%konduktor COMMAND --help tells its options."]
    return "\n".join([*lines, "%%konduktor --help tells how to run a cell as a job."])


def _described(option: Option) -> str:
    return f"{option.text} (may be repeated)" if option.repeat else option.text


def _rows(rows: Sequence[tuple[str, str]]) -> list[str]:
    width = max(len(left) for left, _ in rows)
    return [f"  {left:<{width}}  {right}" for left, right in rows]


def _words(line: str, namespace: Mapping[str, Any], hidden: Collection[str]) -> list[str]:
    """Split a line as a shell would, quotes taken off, and put in the variables.

    A variable is put in after the split, so that its value stays one word whatever it holds.
    """
    if line.rstrip().endswith("\\"):
        raise UsageError(
            "a trailing \\ does not continue this line: all options stand on one line; set what repeats once with "
            "%config KonduktorMagics.KEY = VALUE"
        )
    lexer = shlex.shlex(line, posix=True, punctuation_chars=False)
    lexer.whitespace_split = True
    lexer.commenters = lexer.escape = ""
    try:
        words = list(lexer)
    except ValueError:
        raise UsageError(f"a quote is opened and not closed in: {line.strip()}") from None
    return [_expanded(word, namespace, hidden) for word in words]


def _expanded(word: str, namespace: Mapping[str, Any], hidden: Collection[str]) -> str:
    def value(match: re.Match[str]) -> str:
        name = match[1] or match[2]
        if name not in namespace or name in hidden:
            return match[0]
        found = namespace[name]
        if not isinstance(found, str | Number | os.PathLike):
            kind = type(found).__name__
            raise UsageError(f"{match[0]} is of type {kind}; only texts, numbers and paths can stand in an option")
        return os.fspath(found) if isinstance(found, os.PathLike) else str(found)

    return re.sub(r"\{([A-Za-z_]\w*)\}|\$([A-Za-z_]\w*)", value, word)


def _parse(magic: str, words: list[str], options: Sequence[Option], argument: str) -> Parsed:
    known = {option.flag: option for option in options}
    parsed = Parsed()
    rest = list(words)
    while rest:
        word = rest.pop(0)
        if not word.startswith("-") or word == "-":
            if not argument or (parsed.arguments and not argument.endswith("...")):
                raise UsageError(f"{word} is not an option of {magic}{_hint(word, known)}")
            parsed.arguments.append(word)
            continue
        flag, equals, value = word.partition("=")
        flag = HELP.flag if flag == "-h" else flag
        if flag not in known:
            raise UsageError(f"{flag} is not an option of {magic}{_hint(flag, known)}")
        option = known[flag]
        if not option.metavar:
            if equals:
                raise UsageError(f"{flag} takes no value")
        elif not equals:
            if not rest or rest[0].startswith("--"):
                raise UsageError(f"{flag} needs a value: {flag} {option.metavar}")
            value = rest.pop(0)
        if option.key in parsed.values and not option.repeat:
            raise UsageError(f"{flag} is given twice")
        if option.repeat:
            parsed.values.setdefault(option.key, []).append(value)
            while option.several and rest and not rest[0].startswith("-"):
                parsed.values[option.key].append(rest.pop(0))
        else:
            parsed.values[option.key] = value if option.metavar else True
    if argument and not argument.startswith("[") and not parsed.arguments and "help" not in parsed.values:
        raise UsageError(f"{magic} needs {argument.rstrip('.')}, the name of a job")
    return parsed


def _hint(word: str, known: Collection[str]) -> str:
    meant = _meant(word if word.startswith("--") else "--" + word.lstrip("-"), known)
    return f"; {meant}" if meant else "; --help lists them"


def _meant(word: str, known: Collection[str]) -> str:
    close = difflib.get_close_matches(word.lower(), known, n=1, cutoff=0.6)
    return f"did you mean {close[0]}?" if close else ""
