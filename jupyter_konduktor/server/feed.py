"""The rows of all jobs with a number for each change, so that whoever has a list asks only for what is newer."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import TypeVar

T = TypeVar("T")

GONE_KEPT = 10_000
"""Ids of jobs that are there no more which are remembered; who knows less than that is given the whole list."""


@dataclass(frozen=True, slots=True)
class Changes:
    """What is newer than a number, or all there is.

    Attributes
    ----------
    seq : int
        The number of the last change.
    full : bool
        Whether ``rows`` is the whole list.
    rows : list of bytes
        JSON.
    gone : list of str
        Ids.
    """

    seq: int
    full: bool
    rows: list[bytes]
    gone: list[str]


class Feed:
    """The rows that are known, by id; usable from any thread.

    Parameters
    ----------
    on_change : callable
        Called after each change with the id of the job, ``""`` if it is about no job, and the number of the change.

    Attributes
    ----------
    epoch : str
        Numbers of another epoch mean nothing here.
    """

    def __init__(self, on_change: Callable[[str, int], None]) -> None:
        self.epoch = uuid.uuid4().hex
        self._on_change = on_change
        self._lock = threading.Lock()
        self._seq = 0
        self._whole_before = 0  # who knows no later change is given the whole list
        # Both in the order of the last change.
        self._rows: dict[str, tuple[int, bytes, bool]] = {}
        self._gone: dict[str, int] = {}

    def put(self, identity: str, row: bytes, *, mine: bool) -> None:
        """Add a row, or replace it if it differs."""
        with self._lock:
            held = self._rows.get(identity)
            if held is not None and held[1:] == (row, mine):
                return
            self._rows.pop(identity, None)
            self._gone.pop(identity, None)
            self._seq += 1
            self._rows[identity] = (self._seq, row, mine)
            seq = self._seq
        self._on_change(identity, seq)

    def drop(self, identity: str) -> None:
        """Take a row away."""
        with self._lock:
            if self._rows.pop(identity, None) is None:
                return
            self._seq += 1
            self._gone[identity] = seq = self._seq
            if len(self._gone) > GONE_KEPT:
                oldest = next(iter(self._gone))
                self._whole_before = max(self._whole_before, self._gone.pop(oldest))
        self._on_change(identity, seq)

    def stir(self, *, whole: bool = False) -> None:
        """Count a change that is about no single job: a backend was lost or found, or many jobs came at once.

        Parameters
        ----------
        whole : bool, default False
            Who does not know of this change yet is given the whole list.
        """
        with self._lock:
            self._seq += 1
            seq = self._seq
            if whole:
                self._whole_before = seq
        self._on_change("", seq)

    def since(self, epoch: str = "", seq: int = 0, *, everyone: bool = False) -> Changes:
        """Give what changed after a number, or all rows where that cannot be said.

        Parameters
        ----------
        epoch : str
            Of the number.
        seq : int
            The last change that is known; 0 for none.
        everyone : bool, default False
            Also the jobs of others.
        """
        with self._lock:
            full = epoch != self.epoch or not self._whole_before <= seq <= self._seq or seq == 0
            if full:
                rows = [row for _, row, mine in self._rows.values() if mine or everyone]
                return Changes(self._seq, True, rows, [])
            newer = _newer(((changed, (row, mine)) for changed, row, mine in reversed(self._rows.values())), seq)
            gone = _newer(((changed, identity) for identity, changed in reversed(self._gone.items())), seq)
            return Changes(self._seq, False, [row for row, mine in newer if mine or everyone], list(gone))


def _newer(newest_first: Iterable[tuple[int, T]], seq: int) -> Iterator[T]:
    for changed, item in newest_first:
        if changed <= seq:
            return
        yield item
