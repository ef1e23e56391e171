"""What a widget has to read before it can show it, beside the thread of all widgets: a network may take its time."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from typing import Generic, TypeVar

EVERY = 0.5
"""Least seconds between the beginnings of two reads."""

T = TypeVar("T")

_log = logging.getLogger(__name__)


class Reading(Generic[T]):
    """What was read last, and is read anew when what it depends on has changed; asked by one thread at a time.

    Parameters
    ----------
    first : object
        What stands before anything was read.
    done : callable
        Called after each read, in the thread that has read.

    Attributes
    ----------
    value : object
        What was read last.
    """

    def __init__(self, first: T, done: Callable[[], object]) -> None:
        self.value = first
        self._done = done
        self._key: object = None
        self._busy = False
        self._at = float("-inf")

    def follow(self, key: object, read: Callable[[], T], *, at_once: bool = False) -> bool:
        """Have it read anew unless it was read for this key.

        Parameters
        ----------
        key : object
            What the value depends on.
        read : callable
            Gives the value; called in a thread of its own, never twice at once.
        at_once : bool, default False
            Whether to begin though the last read began a moment ago.

        Returns
        -------
        bool
            Whether the value is the one for this key.
        """
        if key == self._key:
            return True
        now = time.monotonic()
        if not self._busy and (at_once or now - self._at >= EVERY):
            self._busy, self._at = True, now
            threading.Thread(target=self._read, args=(key, read), name="konduktor-widget-read", daemon=True).start()
        return False

    def _read(self, key: object, read: Callable[[], T]) -> None:
        try:
            self.value = read()
        except Exception:  # noqa: BLE001 - a thread that dies would say so in whatever cell runs
            _log.exception("konduktor: what a widget shows could not be read")
        self._key, self._busy = key, False
        self._done()
