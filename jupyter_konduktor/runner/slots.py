r"""Checkpoints of a job in its store, as they are written and as they are read.

There are `SLOTS` places for chunks, and an index, which is a line of JSON::

    {"v":1,"files":[["epoch/3.pt",1700000000000000000,[[4,0,67108864,"9f86..."],[5,0,1187,"e3b0..."]]],...]}

A file has a path, the time it was changed in nanoseconds, and its bytes in pieces: slot, where they begin in it, how
many they are, and the SHA-256 of what the slot holds. An attempt writes new chunks to slots that the last index does
not name, and then the index over it. So whenever an attempt is ended there is one checkpoint that is whole, and what
has not changed is not sent again.

spec keys read here    links, job_dir, checkpoint_dir
"""

from __future__ import annotations

import json
import os

TYPE_CHECKING = False
if TYPE_CHECKING:  # importing typing costs a job 3 ms
    from collections.abc import Mapping
    from typing import Any

SLOTS = 32
"""Half of them hold a checkpoint while the other half takes the next one."""

CHUNK = 64 << 20
"""Bytes of a chunk, unless a checkpoint needs larger ones; smaller files share one."""

CHUNK_MOST = 5 << 30
"""Bytes that stores take in one request."""

INDEX_MOST = 16 << 20
"""Bytes that an index may have."""

INDEX = "checkpoint/index"


def place(spec: Mapping[str, Any]) -> str:
    """Name a job's directory for checkpoints, unless its environment names another."""
    return str(spec.get("checkpoint_dir") or os.path.join(spec["job_dir"], "checkpoints"))


def is_kept(spec: Mapping[str, Any]) -> bool:
    """Whether that is kept in a store: the job has one, and the directory is on no volume."""
    return bool(spec.get("links")) and os.environ.get("KONDUKTOR_CHECKPOINT_DIR", place(spec)) == place(spec)


def slot_name(number: int) -> str:
    """Name a slot."""
    return f"checkpoint/{number}"


NAMES = [INDEX, *(slot_name(number) for number in range(SLOTS))]
"""All places for the checkpoints of a job."""


class Entry:
    """A file of a checkpoint.

    Parameters
    ----------
    path : str
        Below the directory, with slashes.
    mtime : int
        Nanoseconds since the epoch.
    pieces : list of (int, int, int, str)
        Slot, offset in it, length, and the SHA-256 of all that the slot holds.
    """

    __slots__ = ("mtime", "path", "pieces")

    def __init__(self, path: str, mtime: int, pieces: list[tuple[int, int, int, str]]) -> None:
        self.path, self.mtime, self.pieces = path, mtime, pieces

    @property
    def size(self) -> int:
        """Its bytes."""
        return sum(length for _, _, length, _ in self.pieces)


def write_index(entries: list[Entry]) -> bytes:
    """Write an index."""
    files = [[entry.path, entry.mtime, entry.pieces] for entry in entries]
    return json.dumps({"v": 1, "files": files}, separators=(",", ":")).encode("ascii")


def read_index(data: bytes) -> list[Entry]:
    """Read an index; raises `ValueError` if it is none, or has a file outside of the directory or two at one place."""
    try:
        found: dict[str, Any] = json.loads(data.decode("ascii"))
        entries = []
        kinds: dict[str, bool] = {}  # path -> whether it is a folder
        for path, mtime, pieces in found["files"]:
            parts = path.split("/")
            if any(part in ("", ".", "..") for part in parts) or "\0" in path:
                raise ValueError(f"unsafe name {path!r}")
            folders = ["/".join(parts[:end]) for end in range(1, len(parts))]
            if path in kinds or not all(kinds.setdefault(folder, True) for folder in folders):
                raise ValueError(f"{path!r} lies where something else does")
            kinds[path] = False
            held = [(int(slot), int(offset), int(length), str(digest)) for slot, offset, length, digest in pieces]
            if any(not 0 <= slot < SLOTS or offset < 0 or length < 0 for slot, offset, length, _ in held):
                raise ValueError(f"{path!r} lies nowhere")
            entries.append(Entry(path, int(mtime), held))
        return entries
    except (AttributeError, KeyError, TypeError, RecursionError) as error:
        raise ValueError(f"no index of a checkpoint: {error}") from None


def used(entries: list[Entry]) -> set[int]:
    """Give the slots that a checkpoint stands in."""
    return {slot for entry in entries for slot, _, _, _ in entry.pieces}
