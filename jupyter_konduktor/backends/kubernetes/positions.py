"""When to look at which queue: the order of its jobs has no watch; one look does for all jobs of a queue."""

from __future__ import annotations

from collections.abc import Set

EVERY = 30.0
"""Seconds between two looks at a queue: with two requests each, and what watches need, one in ten seconds."""

SOON = 1.0
"""Seconds after which a queue is looked at in which a job of ours has moved."""

FIRST = 0.2
"""Seconds after which a queue is looked at in which a job of ours has begun to wait."""


class Positions:
    """The queues in which jobs of ours wait, and when each is looked at next, on the monotonic clock."""

    def __init__(self) -> None:
        self._next: dict[str, float] = {}

    @property
    def times(self) -> list[float]:
        """When something is due."""
        return list(self._next.values())

    def moved(self, queue: str, now: float) -> None:
        """Take note that something of ours has changed in a queue."""
        if queue in self._next:
            self._next[queue] = min(self._next[queue], now + SOON)

    def due(self, waiting: Set[str], now: float) -> list[str]:
        """Give the queues to look at now.

        Parameters
        ----------
        waiting : set of str
            The queues in which jobs of ours wait.
        now : float
        """
        for queue in self._next.keys() - waiting:
            del self._next[queue]
        for queue in waiting - self._next.keys():
            self._next[queue] = now + FIRST
        due = [queue for queue, when in self._next.items() if when <= now]
        self._next.update(dict.fromkeys(due, now + EVERY))
        return due
