"""What a user asks for: a task and its resources, validated and free of any backend."""

from __future__ import annotations

import difflib
import math
import re
import secrets as _random
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any, Literal

from jupyter_konduktor import requirements
from jupyter_konduktor.errors import InvalidTaskError

Kind = Literal["cell", "function", "map", "command"]

ACCELERATORS = (
    *("A100", "A100-80GB", "B200", "B300", "GB200", "GB300", "H100", "H100-MEGA-80GB", "H200"),
    *("L40", "L40S", "T4", "RTX-PRO-6000", "MI300X", "MI355X"),
)
"""Accelerators that Konduktor knows; others may be named too."""

MAX_NAME = 36
"""Longest name of a task. A pod is named ``<name>-<5>-workers-0-<index>-<5>`` and JobSet allows 63 characters."""

LAUNCHERS = ("torchrun",)

TOPOLOGIES = ("required", "preferred", "unconstrained", "exclusive")
"""How the nodes of a job may be asked to lie; all but ``unconstrained`` name a label of the cluster's nodes."""

MAX_NODES = 9_999
MAX_PATH = 4_096
MAX_GPUS = 999_999_999

_NAME = re.compile(r"[a-z]([-a-z0-9]*[a-z0-9])?")
_ENV_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_SECRET_KEY = re.compile(r"[-._a-zA-Z0-9]{1,253}")
_KUBERNETES_NAME = re.compile(r"[a-z0-9]([-a-z0-9.]*[a-z0-9])?")
# docker.io/distribution/reference: host[:port]/path[:tag][@digest], lower-case path.
_IMAGE = re.compile(
    r"([A-Za-z0-9][A-Za-z0-9.-]*(:[0-9]+)?/)?[a-z0-9]+([._-]+[a-z0-9]+)*(/[a-z0-9]+([._-]+[a-z0-9]+)*)*"
    r"(:[A-Za-z0-9_][A-Za-z0-9_.-]{0,127})?(@sha256:[0-9a-f]{64})?"
)
# A label's key: name, or prefix/name with a DNS name as prefix.
_LABEL_KEY = re.compile(
    r"([a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*/)?[A-Za-z0-9]([-_.A-Za-z0-9]{0,61}[A-Za-z0-9])?"
)
_SUFFIXES = "bcdfghjklmnpqrstvwxz2456789"  # no vowels: five random characters should spell nothing
_MEMORY = {"Ki": 2**10, "Mi": 2**20, "Gi": 2**30, "Ti": 2**40}
_TIMES = {"s": 1, "m": 60, "h": 3600, "d": 86400}


@dataclass(frozen=True, slots=True)
class Gpus:
    """A number of GPUs, perhaps of one kind.

    Attributes
    ----------
    kind : str or None
        ``"H100"``; None for any.
    count : int
        Per node, at least 1.
    """

    kind: str | None
    count: int

    def __str__(self) -> str:
        return f"{self.kind}:{self.count}" if self.kind else str(self.count)


@dataclass(frozen=True, slots=True)
class Resources:
    """What each node of a job needs.

    Attributes
    ----------
    gpus : Gpus or None
    nodes : int
    cpus : float or None
        Cores per node; None leaves it to the backend.
    memory : int or None
        Bytes per node.
    """

    gpus: Gpus | None = None
    nodes: int = 1
    cpus: float | None = None
    memory: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """One thing to run: what it is called, what it needs, and under which conditions.

    `Task.create` takes the spellings a person would use (``gpus="H100:8"``, ``memory="16Gi"`` or GiB as a number,
    ``timeout="2h"`` or seconds); the task holds the exact values.

    Attributes
    ----------
    kind : {"cell", "function", "map", "command"}
    name : str
        Prefix of the job's name: lower-case letters, digits and ``-``, at most 36, beginning with a letter.
    resources : Resources
        Per node; the nodes of a map are its workers.
    image, queue, priority : str, optional
    env : mapping of str to str
    secrets : mapping of str to str
        Environment name, or absolute path of a file (``~/`` is the job's home), to ``secret/key``; an empty string
        takes an environment name from where the backend keeps secrets.
    packages : sequence of str
        Requirements in pip's spelling, installed for the job; ``sync`` stands for what its code imports.
    setup : sequence of str
        Shell commands that each node runs before that.
    workdir : str, optional
        Folder of this machine that the job runs in; on a cluster its files are sent.
    volumes : mapping of str to str
        Claim to the path it is mounted at.
    timeout : float, optional
        Seconds of admitted run time.
    max_restarts : int, default 0
    command : sequence of str, optional
        What to run in place of a payload.
    items : int, default 0
        How many items a map has.
    launcher : str, optional
        ``"torchrun"`` runs it under torchrun on every node, one process for each GPU.
    topology : sequence of str
        How its nodes lie: ``required:LABEL`` (all where this label of their nodes has one value), ``preferred:LABEL``
        or ``unconstrained``; and ``exclusive:LABEL`` (no other such job there).
    retries : int, default 0
        How often an item of a map that fails is run again.
    """

    kind: Kind = "command"
    name: str = "job"
    resources: Resources = field(default_factory=Resources)
    image: str | None = None
    queue: str | None = None
    priority: str | None = None
    env: Mapping[str, str] = field(default_factory=dict)
    secrets: Mapping[str, str] = field(default_factory=dict)
    packages: tuple[str, ...] = ()
    setup: tuple[str, ...] = ()
    workdir: str | None = None
    volumes: Mapping[str, str] = field(default_factory=dict)
    timeout: float | None = None
    max_restarts: int = 0
    command: tuple[str, ...] | None = None
    items: int = 0
    launcher: str | None = None
    topology: tuple[str, ...] = ()
    retries: int = 0

    @classmethod
    def create(
        cls,
        *,
        gpus: Gpus | str | int | None = None,
        nodes: int | str | None = None,
        cpus: float | str | None = None,
        memory: int | float | str | None = None,
        max_parallel: int | str | None = None,
        **options: Any,
    ) -> Task:
        """Make a task from loosely spelled options; options that are None are left at their defaults.

        ``max_parallel`` and ``retries`` are of a map, and of no account elsewhere: a function has them for its map.
        ``max_restarts`` is of no account for a map, whose items are run again one by one.

        Raises
        ------
        InvalidTaskError
            Names the field, the value, what is allowed and the nearest valid spelling.
        """
        known = {f.name for f in fields(cls)} - {"resources"}
        for option in options:
            if option not in known:
                raise _unknown_option(option, known | {"gpus", "nodes", "cpus", "memory", "max_parallel"})
        given = {key: value for key, value in options.items() if value is not None}
        workers = _parse_int("max_parallel", max_parallel, 1, MAX_NODES) if max_parallel is not None else 1
        resources = Resources(
            gpus=parse_gpus(gpus),
            nodes=_parse_int("nodes", nodes, 1, MAX_NODES) if nodes is not None else 1,
            cpus=_parse_cpus(cpus),
            memory=parse_memory(memory),
        )
        parsers: dict[str, Any] = {
            "name": _parse_name,
            "image": _parse_image,
            "queue": lambda v: _parse_label("queue", v),
            "priority": lambda v: _parse_label("priority", str(v)),
            "env": _parse_env,
            "secrets": _parse_secrets,
            "packages": requirements.parse,
            "setup": _parse_setup,
            "workdir": lambda v: _parse_text("workdir", v),
            "volumes": _parse_volumes,
            "timeout": parse_timeout,
            "max_restarts": lambda v: _parse_int("max_restarts", v, 0, 1000),
            "command": _parse_command,
            "items": lambda v: _parse_int("items", v, 0, 10_000_000),
            "launcher": _parse_launcher,
            "topology": _parse_topology,
            "retries": lambda v: _parse_int("retries", v, 0, 1000),
        }
        values = {key: parsers[key](value) if key in parsers else value for key, value in given.items()}
        task = cls(resources=resources, **values)
        task = task._as_map(workers) if task.kind == "map" else replace(task, retries=0)
        if (task.kind == "command") != (task.command is not None):
            raise InvalidTaskError(
                f"command: a task of kind {task.kind!r} has {'no ' if task.command is None else 'a '}command",
                advice='Give command=["python", "train.py"], or a cell or function.',
                field="command",
                value=task.command,
            )
        if task.command is not None and requirements.SYNC in task.packages:
            raise InvalidTaskError(
                f"packages: {requirements.SYNC} looks at what a cell or function imports, and this is a command",
                advice="Name its packages, or a file of them with requirements.",
                field="packages",
                value=requirements.SYNC,
            )
        if task.launcher and task.kind == "map":
            raise InvalidTaskError(
                f"launcher: the items of a map are not run by {task.launcher}",
                advice="Call the function once for each item, or leave the launcher out.",
                field="launcher",
                value=task.launcher,
            )
        return task

    def _as_map(self, workers: int) -> Task:
        """Give the task with a worker for each node, no more of them than there are items."""
        if self.resources.nodes > 1:
            raise InvalidTaskError(
                f"nodes: an item of a map runs on one node, not on {self.resources.nodes}",
                advice="max_parallel says how many items run at the same time, each on a node of its own. A function "
                "that needs several nodes is called once for each item.",
                field="nodes",
                value=self.resources.nodes,
            )
        nodes = max(1, min(workers, self.items))
        return replace(self, resources=replace(self.resources, nodes=nodes), max_restarts=0)

    def options(self, **changes: Any) -> Task:
        """Make the same task with other options, spelled as in `create`."""
        mine: dict[str, Any] = {f.name: getattr(self, f.name) for f in fields(self) if f.name != "resources"}
        r = self.resources
        mine.update({"gpus": r.gpus, "max_parallel" if self.kind == "map" else "nodes": r.nodes, "cpus": r.cpus})
        exact = None if "memory" in changes else r.memory
        mine.update(changes)
        task = Task.create(**mine)
        return replace(task, resources=replace(task.resources, memory=exact)) if exact is not None else task

    def to_json(self) -> dict[str, Any]:
        """Give the task as plain JSON; None and empty values are left out."""
        found = asdict(self)
        found["resources"] = {k: v for k, v in found["resources"].items() if v is not None}
        return {k: v for k, v in found.items() if v not in (None, {}, (), 0)}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Task:
        """Read what `to_json` gave; keys of a newer version are ignored."""
        known = {f.name for f in fields(cls)}
        values = {k: v for k, v in data.items() if k in known}
        r = dict(values.get("resources", {}))
        if r.get("gpus"):
            r["gpus"] = Gpus(**r["gpus"])
        values["resources"] = Resources(**r)
        for key in ("packages", "setup", "command", "topology"):
            if values.get(key) is not None:
                values[key] = tuple(values[key])
        return cls(**values)


def new_name(prefix: str) -> str:
    """Make a job's name: the prefix and five random characters (``train-7fq2x``)."""
    return f"{prefix}-{''.join(_random.choice(_SUFFIXES) for _ in range(5))}"


def name_from(text: str, default: str = "job") -> str:
    """Make the nearest valid task name from any text (``Train_Model`` becomes ``train-model``)."""
    name = re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")
    name = re.sub(r"^[^a-z]+", "", name)[:MAX_NAME].strip("-")
    return name or default


def nearest(word: str, known: Iterable[str]) -> str | None:
    """Find the known word that was probably meant."""
    found = difflib.get_close_matches(word.lower(), [k.lower() for k in known], n=1, cutoff=0.6)
    return next((k for k in known if k.lower() == found[0]), None) if found else None


def parse_gpus(value: Gpus | str | int | None) -> Gpus | None:
    """Read ``"H100:8"``, ``"8"``, ``8`` or ``"H100"`` (which is one)."""
    if value is None or isinstance(value, Gpus):
        return value
    allowed = f'gpus is KIND:COUNT ("H100:8"), a kind, or a count from 1 to {MAX_GPUS}'
    if isinstance(value, bool) or not isinstance(value, (str, int)):
        raise _invalid("gpus", value, allowed, 'for example gpus="H100:8"')
    text = str(value).strip()
    kind, colon, count_text = text.rpartition(":") if ":" in text else ("", "", text)
    if not colon and not re.fullmatch(r"[-+]?[\d.]+(e\d+)?", text):
        kind, count_text = text, "1"
    if not re.fullmatch(r"\d{1,9}", count_text) or not 1 <= int(count_text) <= MAX_GPUS:
        raise _invalid("gpus", value, allowed, "leave gpus out to run without" if count_text == "0" else "")
    if not kind and not colon:
        return Gpus(None, int(count_text))
    known = {a.lower(): a for a in ACCELERATORS}
    if kind.lower() in known:
        return Gpus(known[kind.lower()], int(count_text))
    # A cluster may have kinds of its own, which are written like the known ones: letters, a digit, perhaps dashes.
    if not re.fullmatch(r"[A-Za-z][A-Za-z0-9]*(-[A-Za-z0-9]+)*", kind) or not any(c.isdigit() for c in kind):
        meant = nearest(kind, ACCELERATORS)
        hint = f'did you mean "{meant}:{count_text}"?' if meant else "known kinds: " + ", ".join(ACCELERATORS)
        raise _invalid("gpus", value, allowed, hint)
    return Gpus(kind, int(count_text))


def parse_memory(value: int | float | str | None, field: str = "memory") -> int | None:
    """Read ``"16Gi"`` (Ki, Mi, Gi, Ti) or a number of GiB into bytes."""
    if value is None:
        return None
    allowed = f'{field} is a number of GiB or a size in Ki, Mi, Gi or Ti ("16Gi")'
    text = str(value).strip()
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([A-Za-z]*)", text)
    if isinstance(value, bool) or not match:
        raise _invalid(field, value, allowed)
    number, unit = match.groups()
    if unit and unit not in _MEMORY:
        meant = next((u for u in _MEMORY if u[0].lower() == unit[0].lower()), None)
        raise _invalid(field, value, allowed, f'did you mean "{number}{meant}"?' if meant else "")
    size = int(float(number) * _MEMORY[unit or "Gi"])
    if not 2**20 <= size <= 2**50:
        raise _invalid(field, value, f"{field} lies between 1Mi and 1024Ti")
    return size


def parse_timeout(value: float | str, field: str = "timeout") -> float:
    """Read seconds, or a number with s, m, h or d, into finite seconds above 0."""
    allowed = f'{field} is a number of seconds above 0, or "30s", "10m", "2h", "1d"'
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([smhd]?)", str(value).strip())
    if isinstance(value, bool) or not match:
        raise _invalid(field, value, allowed)
    seconds = float(match[1]) * _TIMES[match[2] or "s"]
    if not 0 < seconds < 10 * 365 * 86400:
        raise _invalid(field, value, allowed)
    return seconds


def _parse_int(field: str, value: Any, low: int, high: int) -> int:
    text = str(value).strip()
    if isinstance(value, bool) or not re.fullmatch(r"[-+]?\d{1,12}", text) or not low <= int(text) <= high:
        raise _invalid(field, value, f"{field} is a whole number from {low} to {high}")
    return int(text)


def _parse_cpus(value: float | str | None) -> float | None:
    if value is None:
        return None
    allowed = 'cpus is a number of cores above 0 ("8", 0.5, "500m")'
    text = str(value).strip()
    match = re.fullmatch(r"(\d+(?:\.\d+)?)(m?)", text)
    cores = float(match[1]) / (1000 if match[2] else 1) if match and not isinstance(value, bool) else math.nan
    if not 0.001 <= cores <= 100_000:
        raise _invalid("cpus", value, allowed)
    return cores


def _parse_name(value: Any) -> str:
    if not isinstance(value, str) or not _NAME.fullmatch(value) or len(value) > MAX_NAME:
        allowed = f"name is lower-case letters, digits and '-', begins with a letter, at most {MAX_NAME} characters"
        meant = name_from(str(value))
        raise _invalid("name", value, allowed, f'for example "{meant}"')
    return value


def _parse_image(value: Any) -> str:
    if not isinstance(value, str) or len(value) > 500 or not _IMAGE.fullmatch(value):
        raise _invalid(
            "image", value, "image is a container image reference, such as python:3.12 or host/team/train:v1"
        )
    return value


def _parse_label(field: str, value: Any) -> str:
    if not isinstance(value, str) or len(value) > 63 or not (_KUBERNETES_NAME.fullmatch(value) or _is_int(value)):
        allowed = f"{field} is lower-case letters, digits, '-' and '.', at most 63 characters"
        raise _invalid(field, value, allowed)
    return value


def _is_int(text: str) -> bool:
    return re.fullmatch(r"[-+]?\d{1,9}", text) is not None


def _parse_text(field: str, value: Any) -> str:
    if not isinstance(value, str) or not value or "\0" in value or "\n" in value:
        raise _invalid(field, value, f"{field} is a path on one line")
    return value


def _parse_pairs(field: str, value: Any, allowed: str) -> dict[str, str]:
    """Read a mapping, or strings of KEY=VALUE."""
    if isinstance(value, str):
        value = [value]
    pairs: list[tuple[Any, Any]]
    if isinstance(value, Mapping):
        pairs = list(value.items())
    elif isinstance(value, Iterable):
        pairs = [_split(str(item), "=") for item in value]
    else:
        raise _invalid(field, value, allowed)
    found: dict[str, str] = {}
    for key, text in pairs:
        if not isinstance(key, str) or not isinstance(text, (str, int, float)) or "\0" in str(text):
            raise _invalid(field, f"{key}={text}", allowed)
        if key in found:
            raise _invalid(field, f"{key}={text}", f"{field}: {key} is given twice")
        found[key] = str(text)
    return found


def _split(text: str, sign: str) -> tuple[str, str]:
    before, _, after = text.partition(sign)
    return before, after


def _parse_env(value: Any) -> dict[str, str]:
    allowed = "env is NAME=VALUE, the name made of letters, digits and '_'"
    if isinstance(value, str) or (isinstance(value, Iterable) and not isinstance(value, Mapping)):
        for item in [value] if isinstance(value, str) else value:
            if "=" not in str(item):
                raise _invalid("env", item, allowed, f"for example {item}=1")
    found = _parse_pairs("env", value, allowed)
    for key in found:
        if not _ENV_NAME.fullmatch(key):
            raise _invalid("env", key, allowed)
        if key.startswith("KONDUKTOR_"):
            raise _invalid("env", key, "names that begin with KONDUKTOR_ are the job's own", "choose another name")
    return found


def _parse_secrets(value: Any) -> dict[str, str]:
    allowed = "secret is NAME, NAME=secret/key or /path=secret/key"
    found = _parse_pairs("secrets", value, allowed)
    for key, target in found.items():
        secret, _, entry = target.partition("/")
        is_file = key.startswith(("/", "~/")) and len(key) <= MAX_PATH and bool(target)
        sound = not target or (_KUBERNETES_NAME.fullmatch(secret) and _SECRET_KEY.fullmatch(entry))
        if not (is_file or _ENV_NAME.fullmatch(key)) or not sound:
            raise _invalid("secrets", f"{key}={target}" if target else key, allowed)
    return found


def _parse_setup(value: Any) -> tuple[str, ...]:
    commands = (value,) if isinstance(value, str) else tuple(value) if isinstance(value, Iterable) else (None,)
    for command in commands:
        if not isinstance(command, str) or not command.strip() or "\0" in command:
            raise _invalid("setup", command, "setup is a shell command, or a list of them")
    return commands


def _parse_launcher(value: Any) -> str:
    if value not in LAUNCHERS:
        raise _invalid("launcher", value, f"launcher is {' or '.join(LAUNCHERS)}")
    return str(value)


def _parse_topology(value: Any) -> tuple[str, ...]:
    allowed = "topology is required:LABEL, preferred:LABEL or unconstrained, and exclusive:LABEL"
    if not isinstance(value, str | Iterable):
        raise _invalid("topology", value, allowed)
    rules = tuple(value.split(",") if isinstance(value, str) else map(str, value))
    kinds = []
    for rule in rules:
        kind, colon, label = rule.partition(":")
        if kind not in TOPOLOGIES or bool(colon) != (kind != "unconstrained"):
            meant = nearest(kind, TOPOLOGIES)
            label = f":{label}" if label else ":LABEL"
            hint = f'did you mean "{meant}{"" if meant == "unconstrained" else label}"?' if meant else ""
            raise _invalid("topology", rule, allowed, hint)
        if colon and (not _LABEL_KEY.fullmatch(label) or len(label.rpartition("/")[0]) > 253):
            raise _invalid(
                *("topology", rule, "LABEL is the key of a label of the cluster's nodes"),
                'for example "required:topology.kubernetes.io/zone"',
            )
        kinds.append("exclusive" if kind == "exclusive" else "required, preferred or unconstrained")
    twice = next((kind for kind in kinds if kinds.count(kind) > 1), None)
    if twice:
        raise _invalid("topology", ",".join(rules), f"{twice} is given once")
    return rules


def _parse_volumes(value: Any) -> dict[str, str]:
    allowed = "volume is CLAIM:/path, the path absolute"
    pairs: list[tuple[Any, Any]]
    if isinstance(value, Mapping):
        pairs = list(value.items())
    else:
        pairs = [_split(str(item), ":") for item in ([value] if isinstance(value, str) else value)]
    for claim, path in pairs:
        if not _KUBERNETES_NAME.fullmatch(str(claim)) or not str(path).startswith("/") or ".." in str(path).split("/"):
            raise _invalid("volumes", f"{claim}:{path}", allowed)
    return {str(claim): str(path) for claim, path in pairs}


def _parse_command(value: Any) -> tuple[str, ...]:
    if isinstance(value, str) or not isinstance(value, Iterable):
        raise _invalid("command", value, 'command is a list of words, such as ["python", "train.py"]')
    words = tuple(str(word) for word in value)
    if not words or any("\0" in word for word in words):
        raise _invalid("command", value, "command has at least one word and no NUL")
    return words


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else text[:77] + "..."


def _invalid(field: str, value: Any, allowed: str, hint: str = "") -> InvalidTaskError:
    return InvalidTaskError(
        f"{field}: {_shown(value)} is not allowed; {allowed}", advice=hint, field=field, value=value
    )


def _unknown_option(option: str, known: Iterable[str]) -> InvalidTaskError:
    meant = nearest(option, sorted(known))
    hint = f"did you mean {meant}?" if meant else ""
    return InvalidTaskError(
        f"there is no option {option!r}; allowed are {', '.join(sorted(known))}", advice=hint, field=option
    )
