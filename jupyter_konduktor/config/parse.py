"""What the value of a setting may look like.

Each parser takes what a person may write, in TOML, YAML, an environment variable or an option, and gives the value in
the one form the program uses. Its ValueError says what the value must be.
"""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from jupyter_konduktor.naming import nearest
from jupyter_konduktor.task import Task

_DECIMAL = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "t": 10**12}
_BINARY = {"ki": 2**10, "mi": 2**20, "gi": 2**30, "ti": 2**40}
_UNITS = _DECIMAL | _BINARY


def text(value: object) -> str:
    """Accept a text that is not empty."""
    if not isinstance(value, str) or not value.strip():
        raise ValueError("must be a text")
    return value.strip()


def choice(*allowed: str) -> Callable[[object], str]:
    """Accept one of a few words."""

    def parse(value: object) -> str:
        if value not in allowed:
            raise ValueError(f"must be {' or '.join(allowed)}{suggest(str(value), allowed)}")
        return str(value)

    return parse


def flag(value: object) -> bool:
    """Accept true or false, also as the words that environments use."""
    words = {"true": True, "1": True, "yes": True, "on": True, "false": False, "0": False, "no": False, "off": False}
    word = str(value).strip().lower()
    if word not in words:
        raise ValueError("must be true or false")
    return words[word]


def positive(value: object) -> float:
    """Accept a number above zero."""
    if isinstance(value, bool) or not re.fullmatch(r"\d+(\.\d+)?", str(value).strip()) or float(str(value)) == 0:
        raise ValueError("must be a number above 0")
    return float(str(value))


def size(value: object) -> int:
    """Accept bytes as a number, or with a unit as in ``100Mi``, ``1.5G``, ``64 KiB``."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*((?:[kmgt]i?)?)b?", str(value).strip().lower())
    if match is None:
        raise ValueError("must be a size such as 1048576, 100Mi or 2G")
    return int(float(match[1]) * _UNITS[match[2]])


def names(value: object) -> tuple[str, ...]:
    """Accept a list of texts, or one text with commas."""
    items = value.split(",") if isinstance(value, str) else value
    if not isinstance(items, list | tuple) or not all(isinstance(item, str) for item in items):
        raise ValueError('must be a list such as ["a", "b"] or "a,b"')
    return tuple(item.strip() for item in items if item.strip())


def mapping(value: object) -> dict[str, Any]:
    """Accept a table, or a text that is a JSON object."""
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except ValueError:
            raise ValueError("must be a table; as a text, a JSON object") from None
    if not isinstance(value, dict) or not all(isinstance(key, str) for key in value):
        raise ValueError("must be a table with texts as keys")
    return value


def path(value: object) -> str:
    """Accept a path; ``~`` is expanded, and in a file a relative path starts at the file's folder."""
    return str(Path(text(value)).expanduser())


def of_task(option: str) -> Callable[[Any], Any]:
    """Accept what `Task.create` accepts for the option, and keep it as it is written."""

    def parse(value: Any) -> Any:
        Task.create(kind="cell", **{option: value})
        return value

    return parse


def environment(value: object) -> dict[str, str]:
    """Accept a table of texts, or a text as in ``A=1 B="two words"``."""
    return dict(Task.create(kind="cell", env=shlex.split(value) if isinstance(value, str) else value).env)


def volumes(value: object) -> dict[str, str]:
    """Accept a table of claims and paths, a list of ``CLAIM:/path``, or a text as in ``data:/data models:/models``."""
    return dict(Task.create(kind="cell", volumes=shlex.split(value) if isinstance(value, str) else value).volumes)


def suggest(word: str, allowed: Iterable[str]) -> str:
    """Give ``"; did you mean X?"`` for the nearest of the allowed words, nothing when none is near."""
    meant = nearest(word, list(allowed))
    return f"; did you mean {meant}?" if meant else ""


def size_text(value: int) -> str:
    """Write a size in the largest unit that divides it, so that `size` reads the same number."""
    for unit, suffix in ((2**30, "Gi"), (10**9, "G"), (2**20, "Mi"), (10**6, "M"), (2**10, "Ki")):
        if value >= unit and value % unit == 0:
            return f"{value // unit}{suffix}"
    return str(value)
