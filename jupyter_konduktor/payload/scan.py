"""Searches what would be sent for the values of secret environment variables."""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from pathlib import Path

from jupyter_konduktor.errors import SecretFoundError
from jupyter_konduktor.runner.pack import Pack

_NAMED_LIKE_A_SECRET = re.compile(r"KEY|TOKEN|SECRET|PASS", re.IGNORECASE)
_URL = re.compile(r"[A-Za-z][\w+.-]*://")
_NUMBER = re.compile(r"[-+]?[\d._,:\s]+([eE][-+]?\d+)?")
_SHORTEST = 12
_PIECE = 1 << 20  # bytes that are copied at a time: they stay in the processor's cache for all secrets

Part = tuple[str, Iterable[memoryview | bytes]]
"""Something that would be sent: what it is called, and its bytes in pieces."""


def secret_values(environ: Mapping[str, str], allowed: Collection[str] = ()) -> dict[str, bytes]:
    """Give the variables that look like secrets, by their names and their values."""
    found = {}
    for name, value in environ.items():
        if name in allowed or not _NAMED_LIKE_A_SECRET.search(name):
            continue
        data = os.fsencode(value.strip())
        if len(data) >= _SHORTEST and not (_URL.match(value) or _NUMBER.fullmatch(value) or _is_path(value)):
            found[name] = data
    return found


def _is_path(value: str) -> bool:
    """Tell a path from a token that happens to begin with a slash: the folder it begins in exists."""
    if value.startswith(("~/", "./", "../")) or re.match(r"[A-Za-z]:\\", value):
        return True
    top = value.split("/")[1] if value.startswith("/") else ""
    try:
        return bool(top) and Path("/", top).exists()
    except (OSError, ValueError):
        return False


def parts(pack: Pack) -> Iterator[Part]:
    """Give the bytes of a pack, variable by variable, its large buffers included."""
    stream = memoryview(pack.data)[pack.data.index(b"\n") + 1 :]
    digests = iter(pack.header["buffers"])
    start = 0
    for frame in pack.frames:
        pieces: list[memoryview | bytes] = [stream[start : frame.end]]
        missing = frame.size - (frame.end - start)  # the rest of a frame's size are its buffers, in order
        while missing > 0:
            entry = next(digests)
            missing -= entry["size"]
            pieces.append(pack.buffers[entry["sha256"]])
        yield f"`{frame.name}`", pieces
        start = frame.end


def check_secrets(sent: Iterable[Part], secrets: Mapping[str, bytes]) -> None:
    """Search everything for every secret.

    Raises
    ------
    SecretFoundError
        Names each variable that was found and where, never its value.
    """
    if not secrets:
        return
    found: dict[str, str] = {}
    for place, pieces in sent:
        for piece in pieces:
            for name in _search(memoryview(piece).cast("B"), secrets):
                found.setdefault(name, place)
    if found:
        where = ", ".join(f"${name} in {place}" for name, place in sorted(found.items()))
        name = min(found)
        raise SecretFoundError(
            f"What would be sent holds the value of a secret environment variable: {where}",
            advice=f"--secret {name} gives it to the job in a safe way; --allow-secret {name} sends it all the same.",
            variable=found[name].strip("`"),
        )


def _search(data: memoryview, secrets: Mapping[str, bytes]) -> set[str]:
    """Find which secrets stand in some bytes, in one pass over them."""
    found: set[str] = set()
    overlap = max(map(len, secrets.values())) - 1
    for start in range(0, data.nbytes, _PIECE):
        piece = bytes(data[start : start + _PIECE + overlap])
        found.update(name for name, value in secrets.items() if value in piece)
    return found
