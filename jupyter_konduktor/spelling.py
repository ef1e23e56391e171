"""How a person may spell what a task is made of, and the exact values that it stands for.

Each function takes one option's value, and raises `InvalidTaskError`, which names the field, the value, what is allowed
and the nearest valid spelling.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from typing import Any

from jupyter_konduktor.errors import InvalidTaskError
from jupyter_konduktor.naming import MAX_NAME, name_from, nearest
from jupyter_konduktor.resources import ACCELERATORS, Gpus

_LAUNCHERS = ("torchrun",)

TOPOLOGIES = ("required", "preferred", "unconstrained", "exclusive")
"""How the nodes of a job may be asked to lie; all but ``unconstrained`` name a label of the cluster's nodes."""

MAX_NODES = 9_999
_MAX_PATH = 4_096
_MAX_GPUS = 999_999_999

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
_MEMORY = {"Ki": 2**10, "Mi": 2**20, "Gi": 2**30, "Ti": 2**40}
_TIMES = {"s": 1, "m": 60, "h": 3600, "d": 86400}


def parse_gpus(value: Gpus | str | int | None) -> Gpus | None:
    """Read ``"H100:8"``, ``"8"``, ``8`` or ``"H100"`` (which is one)."""
    if value is None or isinstance(value, Gpus):
        return value
    allowed = f'gpus is KIND:COUNT ("H100:8"), a kind, or a count from 1 to {_MAX_GPUS}'
    if isinstance(value, bool) or not isinstance(value, (str, int)):
        raise _invalid("gpus", value, allowed, 'for example gpus="H100:8"')
    text = str(value).strip()
    kind, colon, count_text = text.rpartition(":") if ":" in text else ("", "", text)
    if not colon and not re.fullmatch(r"[-+]?[\d.]+(e\d+)?", text):
        kind, count_text = text, "1"
    if not re.fullmatch(r"\d{1,9}", count_text) or not 1 <= int(count_text) <= _MAX_GPUS:
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


def parse_int(field: str, value: Any, low: int, high: int) -> int:
    """Read a whole number between two bounds."""
    text = str(value).strip()
    if isinstance(value, bool) or not re.fullmatch(r"[-+]?\d{1,12}", text) or not low <= int(text) <= high:
        raise _invalid(field, value, f"{field} is a whole number from {low} to {high}")
    return int(text)


def parse_cpus(value: float | str | None) -> float | None:
    """Read cores: ``"8"``, ``0.5`` or ``"500m"``."""
    if value is None:
        return None
    allowed = 'cpus is a number of cores above 0 ("8", 0.5, "500m")'
    text = str(value).strip()
    match = re.fullmatch(r"(\d+(?:\.\d+)?)(m?)", text)
    cores = float(match[1]) / (1000 if match[2] else 1) if match and not isinstance(value, bool) else math.nan
    if not 0.001 <= cores <= 100_000:
        raise _invalid("cpus", value, allowed)
    return cores


def parse_name(value: Any) -> str:
    """Take the name of a task: lower-case letters, digits and ``-``."""
    if not isinstance(value, str) or not _NAME.fullmatch(value) or len(value) > MAX_NAME:
        allowed = f"name is lower-case letters, digits and '-', begins with a letter, at most {MAX_NAME} characters"
        meant = name_from(str(value))
        raise _invalid("name", value, allowed, f'for example "{meant}"')
    return value


def parse_image(value: Any) -> str:
    """Take a reference to a container image."""
    if not isinstance(value, str) or len(value) > 500 or not _IMAGE.fullmatch(value):
        raise _invalid(
            "image", value, "image is a container image reference, such as python:3.12 or host/team/train:v1"
        )
    return value


def parse_label(field: str, value: Any) -> str:
    """Take the name of something on the cluster."""
    if not isinstance(value, str) or len(value) > 63 or not (_KUBERNETES_NAME.fullmatch(value) or _is_int(value)):
        allowed = f"{field} is lower-case letters, digits, '-' and '.', at most 63 characters"
        raise _invalid(field, value, allowed)
    return value


def _is_int(text: str) -> bool:
    return re.fullmatch(r"[-+]?\d{1,9}", text) is not None


def parse_text(field: str, value: Any) -> str:
    """Take a path on one line."""
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


def parse_env(value: Any) -> dict[str, str]:
    """Read a mapping, or strings of ``NAME=VALUE``, into environment variables."""
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


def parse_secrets(value: Any) -> dict[str, str]:
    """Read a mapping, or strings of ``NAME``, ``NAME=secret/key`` or ``/path=secret/key``."""
    allowed = "secret is NAME, NAME=secret/key or /path=secret/key"
    found = _parse_pairs("secrets", value, allowed)
    for key, target in found.items():
        secret, _, entry = target.partition("/")
        is_file = key.startswith(("/", "~/")) and len(key) <= _MAX_PATH and bool(target)
        sound = not target or (_KUBERNETES_NAME.fullmatch(secret) and _SECRET_KEY.fullmatch(entry))
        if not (is_file or _ENV_NAME.fullmatch(key)) or not sound:
            raise _invalid("secrets", f"{key}={target}" if target else key, allowed)
    return found


def parse_setup(value: Any) -> tuple[str, ...]:
    """Read one shell command or several."""
    commands = (value,) if isinstance(value, str) else tuple(value) if isinstance(value, Iterable) else (None,)
    for command in commands:
        if not isinstance(command, str) or not command.strip() or "\0" in command:
            raise _invalid("setup", command, "setup is a shell command, or a list of them")
    return commands


def parse_launcher(value: Any) -> str:
    """Take the name of a launcher."""
    if value not in _LAUNCHERS:
        raise _invalid("launcher", value, f"launcher is {' or '.join(_LAUNCHERS)}")
    return str(value)


def parse_topology(value: Any) -> tuple[str, ...]:
    """Read rules, or a string of them with commas between."""
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


def parse_volumes(value: Any) -> dict[str, str]:
    """Read a mapping, or strings of ``CLAIM:/path``."""
    allowed = "volume is CLAIM:/path, the path absolute"
    pairs: list[tuple[Any, Any]]
    if isinstance(value, Mapping):
        pairs = list(value.items())
    elif isinstance(value, Iterable):
        pairs = [_split(str(item), ":") for item in ([value] if isinstance(value, str) else value)]
    else:
        raise _invalid("volumes", value, allowed)
    for claim, path in pairs:
        if not _KUBERNETES_NAME.fullmatch(str(claim)) or not str(path).startswith("/") or ".." in str(path).split("/"):
            raise _invalid("volumes", f"{claim}:{path}", allowed)
    return {str(claim): str(path) for claim, path in pairs}


def parse_command(value: Any) -> tuple[str, ...]:
    """Take the words of a command."""
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


def unknown_option(option: str, known: Iterable[str]) -> InvalidTaskError:
    """Make the error that says which option was probably meant."""
    meant = nearest(option, sorted(known))
    hint = f"did you mean {meant}?" if meant else ""
    return InvalidTaskError(
        f"there is no option {option!r}; allowed are {', '.join(sorted(known))}", advice=hint, field=option
    )
