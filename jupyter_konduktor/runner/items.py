"""The items of a map: which are to be run, which run on which worker, and which have ended."""

from __future__ import annotations

from collections import deque

TYPE_CHECKING = False
if TYPE_CHECKING:  # importing typing costs a job 3 ms
    from collections.abc import Callable

    from .context import Context

MOST_LOSSES = 2
"""Workers that an item may take down: with the last of them it has failed."""


class Board:
    """Gives out the items of a map and takes what became of them; one call at a time.

    Parameters
    ----------
    count : int
        How many there are.
    retries : int
        How often one that fails is run again.
    report : callable
        Told of each item that has ended, once: its index, whether it failed, its envelope.
    fail : callable
        Makes the envelope of an item that failed without leaving one, from its index and a sentence.
    say : callable
        Takes a line for the log.

    Attributes
    ----------
    ended : set of int
    """

    def __init__(
        self,
        count: int,
        retries: int,
        report: Callable[[int, bool, bytes], None],
        fail: Callable[[int, str], bytes],
        say: Callable[[str], None],
    ) -> None:
        self.ended: set[int] = set()
        self._count = count
        self._retries = retries
        self._report = report
        self._fail = fail
        self._say = say
        self._waiting = deque(range(count))
        self._running: dict[str, int] = {}  # by worker
        self._failures: dict[int, int] = {}
        self._losses: dict[int, int] = {}

    @property
    def over(self) -> bool:
        """Whether all items have ended."""
        return len(self.ended) == self._count

    def take(self, worker: str) -> int | None:
        """Give a worker an item to run; None if there is none now."""
        self.give_back(worker)  # it asks for one, so it never heard of the one that it was given
        while self._waiting:
            index = self._waiting.popleft()
            if index not in self.ended:
                self._running[worker] = index
                return index
        return None

    def finish(self, worker: str, index: int, failed: bool, envelope: bytes) -> None:
        """Take what became of an item; it is run again if it failed and may be."""
        if self._running.get(worker) == index:
            del self._running[worker]
        if index in self.ended:
            return
        failures = self._failures.get(index, 0)
        if failed and failures < self._retries:
            self._failures[index] = failures + 1
            self._say(f"item {index} has failed and is run again ({failures + 1} of {self._retries})")
            self._waiting.append(index)
            return
        self._end(index, failed, envelope)

    def give_back(self, worker: str) -> None:
        """Take an item back from a worker that was told to end, or never began it."""
        index = self._running.pop(worker, None)
        if index is not None:
            self._waiting.appendleft(index)

    def lose(self, worker: str) -> None:
        """Take an item back from a worker that is gone, and that it may have taken down."""
        index = self._running.pop(worker, None)
        if index is None or index in self.ended:
            return
        self._losses[index] = self._losses.get(index, 0) + 1
        if self._losses[index] < MOST_LOSSES:
            self._say(f"item {index} is run again: the worker that ran it is gone")
            self._waiting.appendleft(index)
            return
        said = f"item {index} has taken down {self._losses[index]} workers; it may need more memory than they have"
        self._end(index, True, self._fail(index, said))

    def resume(self, worker: str, index: int) -> None:
        """Take note that a worker is back, and has been running an item all the time."""
        if index in self._waiting:
            self._waiting.remove(index)
            self._losses[index] = max(0, self._losses.get(index, 0) - 1)
        self._running[worker] = index

    def _end(self, index: int, failed: bool, envelope: bytes) -> None:
        self.ended.add(index)
        self._report(index, failed, envelope)


def board_of(job: Context) -> Board:
    """Make the board of a job's items, which tells its supervisor of each that has ended."""
    from .context import warn

    def report(index: int, failed: bool, envelope: bytes) -> None:
        job.send(b"item %d %d %s" % (index, failed, envelope))

    def fail(index: int, said: str) -> bytes:
        from . import failure

        return failure.of_item(index, said, 1, job)

    return Board(int(job.spec["items"]), int(job.spec.get("retries") or 0), report, fail, warn)
