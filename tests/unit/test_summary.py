"""What is said of a job in one line."""

from __future__ import annotations

from typing import Any

import pytest

from jupyter_konduktor import summary
from jupyter_konduktor.state import JobRecord, JobState, Transition

Q, S, R = JobState.QUEUED, JobState.STARTING, JobState.RUNNING


def record(*steps: tuple[JobState, float], **changes: Any) -> JobRecord:
    history = tuple(Transition(time, state) for state, time in steps)
    return JobRecord("train-7fq2x", "1", "kubernetes", steps[-1][0], history=history, created=steps[0][1], **changes)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, "Queued 3.0 s"),
        ({"queue": "team"}, "Queued 3.0 s in team"),
        ({"queue": "team", "position": 0}, "Queued 3.0 s, next in team"),
        ({"queue": "team", "position": 2}, "Queued 3.0 s, 2 ahead in team"),
        ({"position": 0}, "Queued 3.0 s, next in its queue"),
        ({"queue": "team", "message": "waits for capacity"}, "Queued 3.0 s in team: waits for capacity"),
    ],
)
def test_a_queued_job_says_where_it_stands(changes: dict[str, Any], expected: str) -> None:
    assert summary.status(record((Q, 100.0), **changes), now=103.0) == expected


def test_each_state_before_running_has_its_own_time() -> None:
    """A job that was queued for an hour has not been starting for an hour; one that is queued again begins anew."""
    assert summary.status(record((Q, 100.0), (S, 3700.0)), now=3702.0) == "Starting 2.0 s"
    again = record((Q, 100.0), (S, 110.0), (R, 112.0), (Q, 200.0))
    assert summary.status(again, now=205.0) == "Queued 5.0 s"
    assert summary.status(record((Q, 100.0), (S, 101.0), (R, 150.0)), now=154.0) == "Running 4.0 s"


@pytest.mark.parametrize(
    ("started", "finished", "expected"),
    [
        (100.25, 100.28, "0.03 s"),  # this machine's clock
        (100.25, 102.5, "2.2 s"),
        (100.0, 100.0, "under 1 s"),  # a cluster's, in whole seconds
        (100.4, 100.4, "under 1 s"),
        (100.4, 101.0, "under 1 s"),
        (100.0, 102.0, "2 s"),
        (100.0, 112.0, "12 s"),
        (100.0, 3900.0, "1 h 3 min"),
        (100.0, 99.0, "under 1 s"),  # its clock was set back
    ],
)
def test_a_time_is_told_as_exactly_as_it_is_known(started: float, finished: float, expected: str) -> None:
    ended = record((Q, 90.0), (S, 95.0), (R, started), (JobState.SUCCEEDED, finished))
    assert summary.ended(ended) == f"train-7fq2x succeeded in {expected}"


def test_a_long_reason_is_cut_where_that_can_be_seen() -> None:
    text, html = summary.table([record((Q, 100.0), message="x" * 81), record((Q, 100.0), message="y" * 80)])
    assert "x" * 79 + "…" in text
    assert "x" * 80 not in text
    assert "y" * 80 in html
