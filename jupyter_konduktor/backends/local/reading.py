"""Reading what a job has left in its directory."""

from __future__ import annotations

import mmap
import os
import re
import sqlite3

from jupyter_konduktor.backends.local.layout import Layout
from jupyter_konduktor.backends.local.records import LazyJson, nodes_of
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
    try:
        with open(layout.log(name, attempt, node), "rb") as file:
            size = file.seek(0, os.SEEK_END)
            start = max(0, size + offset) if offset < 0 else offset
            file.seek(start)
            data = file.read(limit)
    except FileNotFoundError:
        return LogChunk(b"", max(0, offset), over)
    end = start + len(data)
    return LogChunk(data, end, over and end >= size)


def envelope(layout: Layout, row: sqlite3.Row) -> bytes | None:
    """Read the envelope of a job that runs no more."""
    if row["state"] in ("Queued", *ACTIVE):
        return None
    return _read(layout.envelope(row["name"], row["attempt"]))


def items(layout: Layout, row: sqlite3.Row) -> list[tuple[int, bytes]]:
    """Read the index and envelope of each finished item."""
    data = _read(layout.items(row["name"], row["attempt"])) or b""
    lines = data.split(b"\n")[:-1]  # after the last newline is nothing, or half a line
    return [(int(index), envelope) for index, _, envelope in (line.partition(b" ") for line in lines)]


def artifact(layout: Layout, row: sqlite3.Row, sha256: str) -> memoryview:
    """Map an artifact, or a buffer that came with the payload, privately into memory."""
    name = row["name"]
    if re.fullmatch(r"[0-9a-f]{64}", sha256):
        for path in (layout.artifact(name, row["attempt"], sha256), layout.object(sha256)):
            try:
                return _map(path)
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


def _map(path: str) -> memoryview:
    with open(path, "rb") as file:
        if os.fstat(file.fileno()).st_size == 0:
            return memoryview(bytearray())  # nothing cannot be mapped
        return memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY))
