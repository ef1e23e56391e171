"""A wait ends, whenever the job ended and whenever the watch began."""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from jupyter_konduktor.backends.local.backend import LocalBackend
from jupyter_konduktor.state import JobRecord, JobState
from jupyter_konduktor.task import Task
from jupyter_konduktor.tracker import Tracker


@pytest.fixture
def tracker(tmp_path: Path) -> Iterator[Tracker]:
    made = Tracker(LocalBackend(tmp_path / "jobs"))
    yield made
    made.close()
    made.backend.close()


def submit(tracker: Tracker) -> JobRecord:
    task = Task.create(kind="command", name="t", command=["true"])
    return tracker.put(tracker.backend.submit(task, None, key=uuid.uuid4().hex))


def ended(tracker: Tracker, record: JobRecord) -> bool:
    return tracker.backend.get(record.name).state.final


def cancelled(events: list[object]) -> bool:
    return any(isinstance(event, JobRecord) and event.state is JobState.CANCELLED for event in events)


def test_jobs_that_ended_before_the_watch_began_end_their_waits(tracker: Tracker) -> None:
    jobs = [submit(tracker) for _ in range(3)]
    while not all(ended(tracker, job) for job in jobs):
        time.sleep(0.01)
    for job in jobs:
        found = tracker.wait(job.name, lambda record: record.state.final, timeout=5)
        assert found is not None
        assert found.state is JobState.SUCCEEDED


def test_jobs_that_end_while_the_watch_begins_end_their_waits(tracker: Tracker) -> None:
    for pause in range(15):
        job = submit(tracker)
        time.sleep(pause * 0.005)
        assert tracker.wait(job.name, lambda record: record.state.final, timeout=5) is not None
        tracker.close()


def test_a_change_right_after_the_watch_is_made_is_told(tmp_path: Path) -> None:
    backend = LocalBackend(tmp_path / "jobs")
    blocker = backend.submit(Task.create(kind="command", name="b", command=["sleep", "60"], cpus=1000), None, key="b")
    waiting = backend.submit(Task.create(kind="command", name="w", command=["true"]), None, key="w")
    for _ in range(10):
        events: list[object] = []
        watch = backend.watch(events.append)
        backend.cancel(waiting.name)  # it is queued, so this is all it takes
        until = time.monotonic() + 5
        while not cancelled(events) and time.monotonic() < until:
            time.sleep(0.01)
        watch.close()
        assert cancelled(events)
        waiting = backend.submit(Task.create(kind="command", name="w", command=["true"]), None, key=uuid.uuid4().hex)
    for job in (waiting, blocker):
        backend.cancel(job.name)
    backend.close()
