"""A map as a widget: its job, and a field of cells, one for each item."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from jupyter_konduktor.errors import KonduktorError
from jupyter_konduktor.group import JobGroup
from jupyter_konduktor.state import JobRecord
from jupyter_konduktor.widgets.job_view import JobView, put
from jupyter_konduktor.widgets.reading import Reading

CELLS = 1000
"""Cells at most; of a larger map each stands for several items."""
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
        self._items: Reading[tuple[str, str, str] | None] = Reading(None, wake)
        super().__init__(group.job, waited=waited, wake=wake)

    def _middle(self) -> list[Any]:
        self._counts, self._grid = self._html("counts"), self._html("cells")
        return [self._counts, self._grid]

    def refresh(self, record: JobRecord, now: float) -> int:
        """Show the job's latest record and what has become of its items."""
        sent = super().refresh(record, now)
        self._read(record)
        if self._items.value is not None:
            _, counts, field = self._items.value
            sent += put(self._counts, value=counts) + put(self._grid, value=field)
        return sent

    def outcome(self, record: JobRecord) -> str | None:
        """Say what has become of the items."""
        if not self._read(record):
            return None
        return self._items.value[0] if self._items.value is not None else ""

    def _read(self, record: JobRecord) -> bool:
        """Have the items read where they may have changed; whether they are known as they are."""
        grown = (self.job._tracker.growth(self.job.name), record.version)
        return self._items.follow(grown, self._outcomes, at_once=record.ends_wait)

    def _outcomes(self) -> tuple[str, str, str] | None:
        """Give the words, the legend and the field of the items; None if they cannot be read."""
        try:
            items = self._group.outcomes()
        except KonduktorError:
            return None
        return ", ".join(words for _, words in tally(items)), legend(items), grid(items)


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
