"""Whether the cluster can be seen, from what becomes of the watches."""

from __future__ import annotations

import time

from jupyter_konduktor.backends.protocol import Reach
from jupyter_konduktor.errors import BackendError

AFTER = 5.0
"""Seconds without an answer after which the cluster counts as unreachable: a restart of its API is no news."""


class Outlook:
    """Which watches are lost, and since when."""

    def __init__(self) -> None:
        self._lost: dict[str, Reach] = {}
        self._told = Reach(None)

    @property
    def told(self) -> Reach:
        """What was said last."""
        return self._told

    def note(self, kind: str, trouble: BackendError | None) -> None:
        """Take note that a watch was lost, or is there again."""
        if trouble is None:
            self._lost.pop(kind, None)
        else:
            self._lost.setdefault(kind, Reach(time.time(), trouble.message))

    def news(self) -> Reach | None:
        """Say what is new: it cannot be seen for a while now, or all of it can be seen again."""
        first = min(self._lost.values(), key=lambda reach: reach.since or 0.0, default=Reach(None))
        known = self._told.since is not None
        if first.since is not None and not known and time.time() - first.since < AFTER:
            return None
        if (first.since is not None) == known:
            return None
        self._told = first
        return first
