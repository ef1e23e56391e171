"""Reads what a job has left in a store; whoever asks compares it with the SHA-256 that an envelope vouches for."""

from __future__ import annotations

import mmap

from jupyter_konduktor.runner import parcel
from jupyter_konduktor.store import keys
from jupyter_konduktor.store.store import Store


class Results:
    """What one job has left.

    Parameters
    ----------
    store : Store
    uid : str
        Of its JobSet.
    """

    def __init__(self, store: Store, uid: str) -> None:
        self._store = store
        self._uid = uid
        self._indexes: dict[int, tuple[parcel.Index, memoryview]] = {}

    def read(self, sha256: str, size: int) -> memoryview | None:
        """Read an object into memory of its own, which can be written to; None if it is not there.

        Bytes that are missing in the store are zeros, and show in the digest.
        """
        found = self._read_any(sha256, size)
        if found is None and self._indexes:
            self._indexes.clear()  # a map that runs has added to one meanwhile
            found = self._read_any(sha256, size)
        return found

    def _read_any(self, sha256: str, size: int) -> memoryview | None:
        for attempt in range(parcel.ATTEMPTS):
            found = self._read(attempt, sha256, size)
            if found is not None:
                return found
        return None

    def _read(self, attempt: int, sha256: str, size: int) -> memoryview | None:
        held = self._index(attempt)
        offset = held[0].place(sha256, size) if held is not None else None
        if held is None or offset is None:
            return None
        if not size:
            return memoryview(bytearray())
        memory = memoryview(mmap.mmap(-1, size))
        index, data = held
        if not index.part:
            there = data[index.start + offset :][:size]
            memory[: there.nbytes] = there
            return memory
        at = 0
        for part, start, count in index.ranges(offset, size):
            key = keys.result_key(self._uid, parcel.part_name(attempt, part))
            if not self._store.read(key, start, memory[at : at + count]):
                return None
            at += count
        return memory

    def _index(self, attempt: int) -> tuple[parcel.Index, memoryview] | None:
        """Give the index of an attempt, to which things are only ever added; None if it is not there, or is none."""
        if attempt not in self._indexes:
            key = keys.result_key(self._uid, parcel.index_name(attempt))
            data = self._store.get(key, parcel.HEAD_MOST + parcel.INLINE)
            if data is None:
                return None
            try:
                self._indexes[attempt] = parcel.Index(data), data
            except (KeyError, TypeError, ValueError):
                return None
        return self._indexes[attempt]
