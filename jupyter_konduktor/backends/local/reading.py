"""Reading what a job has left in its directory."""

from __future__ import annotations

import re
import sqlite3

from jupyter_konduktor.backends.files import map_private, read_piece
from jupyter_konduktor.backends.items import standing
from jupyter_konduktor.backends.lazy import LazyJson
from jupyter_konduktor.backends.local.layout import Layout
from jupyter_konduktor.backends.local.records import nodes_of
from jupyter_konduktor.backends.local.store import ACTIVE
from jupyter_konduktor.backends.protocol import LogChunk
from jupyter_konduktor.errors import BackendError, JobLostError


def log(layout: Layout, row: sqlite3.Row, node: int, attempt: int | None, offset: int, limit: int) -> LogChunk:
    """Read a piece of one node's stream; the row is read before the file, so that the end of a job is its last byte."""
    name = row["name"]
    nodes = nodes_of(LazyJson(row["spec"]))
    if not 0 <= node < nodes:
        raise BackendError(f"{name} has {nodes} node{'' if nodes == 1 else 's'}, from 0; there is no node {node}")
    attempt = row["attempt"] if attempt is None else attempt
    over = row["state"] not in ("Queued", *ACTIVE) or attempt < row["attempt"]
    data, end, at_end = read_piece(layout.log(name, attempt, node), offset, limit)
    return LogChunk(data, end, over and at_end)


def envelope(layout: Layout, row: sqlite3.Row) -> bytes | None:
    """Read the envelope of a job that runs no more."""
    if row["state"] in ("Queued", *ACTIVE):
        return None
    return _read(layout.envelope(row["name"], row["attempt"]))


def items(layout: Layout, row: sqlite3.Row) -> list[tuple[int, bytes]]:
    """Read the index and envelope of each finished item, of the attempts before too."""
    found = []
    for attempt in range(row["attempt"] + 1):
        data = _read(layout.items(row["name"], attempt)) or b""
        lines = data.split(b"\n")[:-1]  # after the last newline is nothing, or half a line
        found += [(int(index), envelope) for index, _, envelope in (line.partition(b" ") for line in lines)]
    return standing(found)


def artifact(layout: Layout, row: sqlite3.Row, sha256: str) -> memoryview:
    """Map an artifact, or a buffer that came with the payload, privately into memory."""
    name = row["name"]
    if re.fullmatch(r"[0-9a-f]{64}", sha256):
        attempts = range(row["attempt"], -1, -1)  # items of a map may have ended in one before the last
        for path in (*(layout.artifact(name, attempt, sha256) for attempt in attempts), layout.object(sha256)):
            try:
                return map_private(path)
            except FileNotFoundError:
                continue
    raise JobLostError(
        f"the result of {name} is gone: {sha256 or 'what has no digest'} is not in {layout.job(name)}",
        advice="Run it again.",
        job=name,
    )


def _read(path: str) -> bytes | None:
    try:
        with open(path, "rb") as file:
            return file.read()
    except FileNotFoundError:
        return None
