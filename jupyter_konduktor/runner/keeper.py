"""Keeps a job's directory for checkpoints in its store, from a thread of the supervisor.

The directory is looked at every few seconds. What is found twice the same is sent, so that a file is not taken while it
is written; what an attempt leaves as it ends is sent at once.
"""

from __future__ import annotations

import os
import stat
import threading
import time

from . import slots
from .digest import sha256

TYPE_CHECKING = False
if TYPE_CHECKING:  # importing typing costs a job 3 ms
    from collections.abc import Callable, Iterator
    from typing import Any

    from .transfer import Links

LOOK = 2.0
"""Seconds between two looks."""

PAUSE = 10.0
"""Seconds between two checkpoints that are sent while the job runs; twice what the last took, if that is longer."""

WIDTH = 8
"""Requests at the same time."""

_BLOCK = 1 << 20

_CROWDED = slots.SLOTS // 4
"""With fewer free places than this everything is sent anew: files that stay as they are would fill all of them."""


class Keeper:
    """Sends what changes in the directory.

    Parameters
    ----------
    spec : dict
    warn : callable
        Told in a sentence, once, if it cannot be kept.
    """

    def __init__(self, spec: dict[str, Any], warn: Callable[[str], None]) -> None:
        self._spec = spec
        self._folder = slots.place(spec)
        self._warn = warn
        self._warned = False
        self._kept: list[slots.Entry] | None = None  # what the store has; None if that is not known
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def finish(self, *, keep: bool) -> str:
        """End; nothing of the job runs any more.

        Parameters
        ----------
        keep : bool
            Whether to send what has changed last.

        Returns
        -------
        str
            What was sent, for a person; empty if that was nothing.
        """
        self._ending.set()
        self._thread.join()
        if not keep:
            return ""
        found = self._look()
        if found is None or not self._is_new(found) or not self._send(found):
            return ""
        count = len(found)
        size = sum(size for size, _ in found.values())
        return f"kept the checkpoint: {count} file{'' if count == 1 else 's'}, {size / 2**20:.1f} MiB"

    def _run(self) -> None:
        before: dict[str, tuple[int, int]] | None = None
        rest = 0.0
        while not self._ending.wait(LOOK):
            found = self._look()
            if found and found == before and time.monotonic() >= rest and self._is_new(found):
                began = time.monotonic()
                self._send(found)
                rest = time.monotonic() + max(PAUSE, 2 * (time.monotonic() - began))
            before = found

    def _look(self) -> dict[str, tuple[int, int]] | None:
        """List the files; None while there is no directory."""
        if not os.path.isdir(self._folder):
            return None
        found = {}
        for here, _, names in os.walk(self._folder):
            for name in names:
                path = os.path.join(here, name)
                try:
                    status = os.lstat(path)
                except OSError:
                    continue  # it has just been removed
                if stat.S_ISREG(status.st_mode):
                    inside = os.path.relpath(path, self._folder).replace(os.sep, "/")
                    found[inside] = status.st_size, status.st_mtime_ns
        return found

    def _is_new(self, found: dict[str, tuple[int, int]]) -> bool:
        known = {entry.path: (entry.size, entry.mtime) for entry in self._kept or ()}
        return found != known and bool(found or known)

    def _send(self, found: dict[str, tuple[int, int]]) -> bool:
        """Send a checkpoint; False if it could not be, or has changed meanwhile."""
        from .checkpoint import find  # with this comes all of urllib, and few jobs have a checkpoint
        from .transfer import Links, TransferError, put

        try:
            links = Links(self._spec["links"])
            if self._kept is None:
                self._kept = find(links)
                if not self._is_new(found):
                    return False  # it is as it was restored
            entries = self._sent(links, found)
            if self._look() != found:
                return False  # it is looked at again
            index = slots.write_index(entries)
            put(links, slots.INDEX, lambda: [index], len(index))
        except (OSError, TransferError, ValueError) as error:
            if not self._warned:
                self._warned = True
                self._warn(f"the checkpoint cannot be kept: {error}")
            return False
        self._kept, self._warned = entries, False
        return True

    def _sent(self, links: Links, found: dict[str, tuple[int, int]]) -> list[slots.Entry]:
        """Send the chunks that are not there yet, and give the entries of all files."""
        kept = self._kept or []
        free = sorted(set(range(slots.SLOTS)) - slots.used(kept))
        same = [entry for entry in kept if found.get(entry.path) == (entry.size, entry.mtime)]
        there = {entry.path: entry for entry in same} if len(free) >= _CROWDED else {}
        new = sorted(path for path in found if path not in there)
        plan = _plan({path: found[path][0] for path in new}, len(free))
        chunks = [_Chunk(self._folder, parts, slot) for parts, slot in zip(plan, free)]
        from concurrent.futures import ThreadPoolExecutor

        with ThreadPoolExecutor(WIDTH) as pool:
            for done in [pool.submit(chunk.send, links) for chunk in chunks]:
                done.result()
        pieces: dict[str, list[tuple[int, int, int, str]]] = {path: [] for path in new}
        for chunk in chunks:
            offset = 0
            for path, _, length in chunk.parts:
                pieces[path].append((chunk.slot, offset, length, chunk.digest))
                offset += length
        made = {path: slots.Entry(path, found[path][1], pieces[path]) for path in new}
        return [there.get(path) or made[path] for path in sorted(found)]


def _plan(sizes: dict[str, int], free: int) -> list[list[tuple[str, int, int]]]:
    """Part files into chunks: of each its parts, a path, where it begins in the file, and how long it is.

    Raises
    ------
    ValueError
        If they are too large for the places there are.
    """
    most = max(slots.CHUNK, -(-sum(sizes.values()) // max(1, free // 2)))
    if most > slots.CHUNK_MOST or (sizes and not free):
        raise ValueError(f"{sum(sizes.values()):,} bytes are new, and there is no place for so much")
    plan: list[list[tuple[str, int, int]]] = []
    room = 0
    for path, size in sizes.items():
        start = 0
        while start < size or not size:
            if not room:
                plan.append([])
                room = most
            length = min(room, size - start)
            plan[-1].append((path, start, length))
            room -= length
            start += length
            if not size:
                break
    return plan


class _Chunk:
    """What is sent to one slot: parts of files, one after the other."""

    def __init__(self, folder: str, parts: list[tuple[str, int, int]], slot: int) -> None:
        self.parts, self.slot = parts, slot
        self.digest = ""
        self._folder = folder

    def send(self, links: Links) -> None:
        from .transfer import put

        put(links, slots.slot_name(self.slot), self._blocks, sum(length for _, _, length in self.parts))

    def _blocks(self) -> Iterator[bytes]:
        digest = sha256()
        for path, start, length in self.parts:
            with open(os.path.join(self._folder, *path.split("/")), "rb") as file:
                file.seek(start)
                left = length
                while left:
                    block = file.read(min(_BLOCK, left))
                    if not block:
                        raise OSError(f"{path} has become shorter as it was sent")
                    digest.update(block)
                    left -= len(block)
                    yield block
        self.digest = digest.hexdigest()
