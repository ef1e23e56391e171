"""A line that tells how far a transfer has come, once it takes long enough to make one wonder."""

from __future__ import annotations

import sys
import threading
import time

AFTER = 2.0
"""Seconds after which the line appears."""

_EVERY = 0.2


class Progress:
    """One transfer of a known size; whoever waits for it calls `show`, and any thread `add`.

    Parameters
    ----------
    doing : str
        As in "sending 1.2 GiB to s3://bucket".
    total : int
        Bytes.
    quiet : bool, default False
        Show nothing.
    """

    def __init__(self, doing: str, total: int, *, quiet: bool = False) -> None:
        self._doing = doing
        self._total = total
        self._quiet = quiet
        self._lock = threading.Lock()
        self._done = 0
        self._next = time.monotonic() + AFTER
        self._shown = False

    def add(self, count: int) -> None:
        """Take note of bytes that are there."""
        with self._lock:
            self._done += count

    def show(self) -> None:
        """Show the line anew, if it is time to."""
        now = time.monotonic()
        if self._quiet or now < self._next:
            return
        self._next = now + _EVERY
        self._shown = True
        self._write(f"{100 * self._done // max(1, self._total)} %")

    def close(self, word: str = "done") -> None:
        """End the line, if there is one."""
        if self._shown:
            self._write(f"{word}\n")

    def _write(self, text: str) -> None:
        print(f"\rkonduktor: {self._doing}: {text}", end="", file=sys.stderr, flush=True)
