"""A map as a widget: its job, and a field of cells, one for each item."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

from jupyter_konduktor.group import JobGroup
from jupyter_konduktor.state import JobRecord
from jupyter_konduktor.widgets.job_view import JobView, put

CELLS = 1000
"""Cells at most; of a larger map each stands for several items."""
EVERY = 0.5
"""Seconds between two looks at the items: a field of 1,000 cells is 14 KB."""
NAMED = 10
"""Failed items that are named."""


class GroupView(JobView):
    """The widget of one map.

    Parameters
    ----------
    group : JobGroup
    waited : bool
    wake : callable
        See `JobView`.
    """

    def __init__(self, group: JobGroup, *, waited: bool, wake: Callable[[], object]) -> None:
        self._group = JobGroup(group.job)  # its own: one that a cell waits with is read by another thread
        self._seen: tuple[int, int] | None = None
        self._at = 0.0
        super().__init__(group.job, waited=waited, wake=wake)

    def _middle(self) -> list[Any]:
        self._counts, self._grid = self._html("counts"), self._html("cells")
        return [self._counts, self._grid]

    def refresh(self, record: JobRecord, now: float) -> int:
        """Show the job's latest record and what has become of its items."""
        sent, monotonic = super().refresh(record, now), time.monotonic()
        grown = (self.job._tracker.growth(self.job.name), record.version)
        if grown != self._seen and (monotonic - self._at >= EVERY or record.ends_wait):
            self._seen, self._at = grown, monotonic
            items = self._group.outcomes()
            sent += put(self._counts, value=legend(items)) + put(self._grid, value=grid(items))
        return sent

    def outcome(self) -> str:
        """Say what has become of the items."""
        return ", ".join(words for _, words in tally(self._group.outcomes()))


def tally(items: Sequence[bool | None]) -> list[tuple[str, str]]:
    """Say in words how many items are of each kind, and which failed; kind and words."""
    failed = [index for index, item in enumerate(items) if item is False]
    which = f" ({', '.join(map(str, failed[:NAMED]))}{' …' if len(failed) > NAMED else ''})" if failed else ""
    done, coming = items.count(True), items.count(None)
    return [("d", f"{done} done"), ("f", f"{len(failed)} failed{which}"), ("", f"{coming} to come")]


def legend(items: Sequence[bool | None]) -> str:
    """Give the tally as the legend of the field."""
    return " ".join(f"<span>{_key(kind)}{words}</span>" for kind, words in tally(items))


def _key(kind: str) -> str:
    return f'<i class="jp-KonduktorJob-key {kind}" aria-hidden="true"></i>'


def grid(items: Sequence[bool | None]) -> str:
    """Give the field: green done, red and round failed, empty to come."""
    step = -(-len(items) // CELLS) or 1
    cells = "".join(_cell(items[first : first + step]) for first in range(0, len(items), step))
    return f'<div class="jp-KonduktorJob-grid" aria-hidden="true">{cells}</div>'


def _cell(items: Sequence[bool | None]) -> str:
    if False in items:
        return "<i class=f></i>"
    return "<i></i>" if None in items else "<i class=d></i>"
