"""Brings the checkpoint of the attempt before into the job's directory for checkpoints.

It happens when the code asks for the directory, since only then is it known that there is any use for it, and before a
command begins, which cannot ask.

spec keys read here    links
"""

from __future__ import annotations

import fcntl
import os
import shutil
import sys
import time
from concurrent.futures import ThreadPoolExecutor

from . import slots
from .digest import sha256
from .transfer import Links, TransferError, fetch_file, read

TYPE_CHECKING = False
if TYPE_CHECKING:  # importing typing costs a job 3 ms
    from collections.abc import Mapping
    from typing import Any

WIDTH = 8
"""Requests at the same time."""

_BLOCK = 1 << 20


class CheckpointError(OSError):
    """There is a checkpoint, and it cannot be had."""


def restore(spec: Mapping[str, Any]) -> None:
    """Fill the directory, unless that was done in this attempt; several processes may ask at once.

    Raises
    ------
    CheckpointError
        If there is a checkpoint that is damaged or cannot be written here, or the store does not answer.
    """
    folder = slots.place(spec)
    with open(f"{folder}.lock", "w", encoding="ascii") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if os.path.isdir(folder):
            return
        began = time.monotonic()
        try:
            entries = find(Links(spec["links"]))
        except (TransferError, ValueError) as error:
            raise CheckpointError(f"the checkpoint of the attempt before cannot be read: {error}") from None
        if not entries:
            os.makedirs(folder, mode=0o700, exist_ok=True)
            return
        temporary = f"{folder}.part"
        shutil.rmtree(temporary, ignore_errors=True)  # of a process that was ended as it did this
        try:
            _fill(Links(spec["links"]), temporary, entries)
            os.rename(temporary, folder)
        except (OSError, TransferError, ValueError) as error:
            shutil.rmtree(temporary, ignore_errors=True)
            raise CheckpointError(f"the checkpoint of the attempt before cannot be restored: {error}") from None
        size, count = sum(entry.size for entry in entries), len(entries)
        said = f"{count} file{'' if count == 1 else 's'}, {size / 2**20:.1f} MiB"
        print(f"konduktor: restored the checkpoint: {said}, in {time.monotonic() - began:.1f} s", file=sys.stderr)


def find(links: Links) -> list[slots.Entry]:
    """Read the index of the last checkpoint; empty if there is none."""
    try:
        data = read(links, slots.INDEX, slots.INDEX_MOST)
    except TransferError as error:
        # A store does not tell whoever may not list it that something is not there.
        hidden = error.status == 403 and "AccessDenied" in str(error) and "expired" not in str(error)
        if error.status == 404 or hidden:
            return []
        raise
    return slots.read_index(data)


def _fill(links: Links, folder: str, entries: list[slots.Entry]) -> None:
    """Fetch the slots, each once, and write the files out of them."""
    os.makedirs(folder, mode=0o700)
    chunks: dict[int, list[tuple[slots.Entry, int, int, int, str]]] = {}
    for entry in entries:
        start = 0
        for slot, offset, length, digest in entry.pieces:
            chunks.setdefault(slot, []).append((entry, start, offset, length, digest))
            start += length
        path = _path(folder, entry)
        os.makedirs(os.path.dirname(path), mode=0o700, exist_ok=True)
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))

    def bring(slot: int) -> None:
        scratch = os.path.join(folder, f".{slot}.chunk")
        fetch_file(links, slots.slot_name(slot), scratch)
        try:
            _spread(scratch, folder, chunks[slot])
        finally:
            os.unlink(scratch)

    with ThreadPoolExecutor(WIDTH) as pool:
        for done in [pool.submit(bring, slot) for slot in chunks]:
            done.result()
    for entry in entries:
        os.utime(_path(folder, entry), ns=(entry.mtime, entry.mtime))


def _spread(scratch: str, folder: str, pieces: list[tuple[slots.Entry, int, int, int, str]]) -> None:
    """Write what a slot holds to the files it belongs to, once it is known to be what it was."""
    digest = sha256()
    with open(scratch, "rb") as source:
        for block in iter(lambda: source.read(_BLOCK), b""):
            digest.update(block)
        if any(expected != digest.hexdigest() for _, _, _, _, expected in pieces):
            raise ValueError("a part of it does not have the SHA-256 that its index names")
        for entry, start, offset, length, _ in pieces:
            source.seek(offset)
            with open(_path(folder, entry), "r+b") as target:
                target.seek(start)
                left = length
                while left:
                    block = source.read(min(_BLOCK, left))
                    if not block:
                        raise ValueError(f"{entry.path} is longer than what there is of it")
                    target.write(block)
                    left -= len(block)


def _path(folder: str, entry: slots.Entry) -> str:
    return os.path.join(folder, *entry.path.split("/"))
