"""Tells an event loop that jobs have changed, at once and then at most a few times a second."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable

PAUSE = 0.1
"""Least seconds between two announcements; of what changes meanwhile the last is announced."""


class Announcer:
    """Brings changes from any thread to a loop.

    Parameters
    ----------
    loop : AbstractEventLoop
    announce : callable
        Called on the loop with the id of the job that changed last and the number of that change.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, announce: Callable[[str, int], object]) -> None:
        self._loop = loop
        self._announce = announce
        self._lock = threading.Lock()
        self._last = ("", 0)
        self._waiting = False  # whether the loop will look
        self._closed = False
        self._not_before = 0.0
        self._timer: asyncio.TimerHandle | None = None

    def note(self, identity: str, seq: int) -> None:
        """Take note of a change, from any thread."""
        with self._lock:
            if self._closed:
                return
            if seq > self._last[1]:
                self._last = (identity, seq)
            if not self._waiting:
                self._waiting = True
                self._loop.call_soon_threadsafe(self._plan)

    def close(self) -> None:
        """Announce nothing any more; called on the loop."""
        with self._lock:
            self._closed = True
        if self._timer is not None:
            self._timer.cancel()

    def _plan(self) -> None:
        if not self._closed:
            self._timer = self._loop.call_at(max(self._not_before, self._loop.time()), self._tell)

    def _tell(self) -> None:
        with self._lock:
            self._waiting = False
            last = self._last
        self._not_before = self._loop.time() + PAUSE
        self._announce(*last)
