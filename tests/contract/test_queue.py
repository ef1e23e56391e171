"""Waiting for capacity, order, and ending what waits or runs."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from jupyter_konduktor.errors import BackendError
from jupyter_konduktor.state import JobState

if TYPE_CHECKING:
    from tests.contract.conftest import Harness


def test_queues_show_what_is_used(jobs: Harness) -> None:
    (queue,) = jobs.backend.queues()
    assert (queue.running, queue.pending) == (0, 0)
    filler = jobs.fill()
    jobs.submit("true")
    (queue,) = jobs.until(jobs.backend.queues, lambda queues: queues[0].pending == 1)
    assert queue.running == 1
    used, total = queue.resources["cpu"]
    assert used == total
    jobs.backend.cancel(filler.name)


def test_never_more_runs_at_once_than_fits(jobs: Harness) -> None:
    half = jobs.cpus() / 2
    # Clusters tell times in whole seconds.
    records = [jobs.submit("sleep 2.5", cpus=half) for _ in range(5)]
    ended = [jobs.wait(record) for record in records]
    changes = sorted([(r.started or 0, 1) for r in ended] + [(r.finished or 0, -1) for r in ended])
    running = [sum(step for _, step in changes[: index + 1]) for index in range(len(changes))]
    assert max(running) == 2


def test_jobs_start_by_priority_then_in_order(jobs: Harness) -> None:
    filler = jobs.fill()
    whole = jobs.cpus()
    waiting = {
        name: jobs.submit_after("true", cpus=whole, priority=priority)
        for name, priority in (("a", None), ("low", "low-priority"), ("b", None), ("high", "high-priority"))
    }
    jobs.backend.cancel(filler.name)
    started = {name: jobs.wait(record).started or 0 for name, record in waiting.items()}
    assert sorted(started, key=started.__getitem__) == ["high", "a", "b", "low"]


def test_position_counts_those_ahead(jobs: Harness) -> None:
    filler = jobs.fill()
    assert filler.position is None
    waiting = [jobs.submit_after("true") for _ in range(3)]
    jobs.until(lambda: [jobs.backend.get(r.name).position for r in waiting], lambda positions: positions == [0, 1, 2])
    jobs.backend.cancel(waiting[1].name)
    jobs.until(lambda: jobs.backend.get(waiting[2].name), lambda now: now.position == 1)


def test_large_job_is_not_starved_by_small_ones(jobs: Harness) -> None:
    whole = jobs.cpus()
    running = jobs.wait(jobs.submit("sleep 3", cpus=whole / 2), JobState.RUNNING)
    large = jobs.submit("sleep 0.2", cpus=whole)
    small = [jobs.submit_after("true", cpus=whole / 2) for _ in range(3)]
    ended = jobs.wait(large)
    assert jobs.wait(running).finished <= ended.started
    assert all((jobs.wait(record).started or 0) >= (ended.finished or 0) for record in small)


def test_cancelled_while_queued_never_starts(jobs: Harness) -> None:
    filler = jobs.fill()
    record = jobs.submit("echo never")
    jobs.backend.cancel(record.name)
    assert jobs.wait(record).state is JobState.CANCELLED
    jobs.backend.cancel(filler.name)
    jobs.wait(filler)
    assert [change.state for change in jobs.backend.get(record.name).history] == [JobState.QUEUED, JobState.CANCELLED]
    assert jobs.output(record) == b""


def test_cancel_lets_the_code_clean_up(jobs: Harness) -> None:
    record = jobs.submit("trap 'echo cleaning; exit 0' TERM; echo ready; while :; do sleep 0.05; done")
    jobs.wait_output(record, b"ready")
    jobs.backend.cancel(record.name)
    assert jobs.wait(record).state is JobState.CANCELLED
    assert b"cleaning" in jobs.output(record)


def test_cancel_kills_what_ignores_it_with_all_it_started(jobs: Harness) -> None:
    record = jobs.submit("trap '' TERM; (while :; do echo child; sleep 0.05; done) & echo ready; wait")
    jobs.wait_output(record, b"ready")
    jobs.backend.cancel(record.name)
    assert jobs.wait(record).state is JobState.CANCELLED
    size = len(jobs.output(record))
    jobs.run("sleep 0.3")
    assert len(jobs.output(record)) == size


def test_cancel_is_no_reason_to_restart(jobs: Harness) -> None:
    record = jobs.submit("echo ready; exec sleep 600", max_restarts=5)
    jobs.wait_output(record, b"ready")
    jobs.backend.cancel(record.name)
    ended = jobs.wait(record)
    assert (ended.state, ended.attempt) == (JobState.CANCELLED, 0)


def test_cancel_at_once_after_submit(jobs: Harness) -> None:
    record = jobs.submit("exec sleep 600")
    jobs.backend.cancel(record.name)
    assert jobs.wait(record).state is JobState.CANCELLED


def test_ended_jobs_make_room(jobs: Harness) -> None:
    filler = jobs.fill()
    record = jobs.submit("true")
    jobs.backend.cancel(filler.name)
    assert jobs.wait(record).state is JobState.SUCCEEDED


def test_stopped_job_starts_anew_when_resumed(jobs: Harness) -> None:
    record = jobs.submit('echo "run $KONDUKTOR_OUTPUT_DIR"; [ -e "$FLAG" ] || { touch "$FLAG"; exec sleep 600; }')
    jobs.wait_output(record, b"run")
    jobs.backend.stop(record.name)
    stopped = jobs.wait(record, JobState.STOPPED)
    assert not stopped.state.final
    assert stopped.attempt == 0
    jobs.backend.resume(record.name)
    again = jobs.wait(record, JobState.RUNNING, JobState.SUCCEEDED, JobState.FAILED)
    assert again.attempt == 1
    assert jobs.output(record, attempt=0).startswith(b"run")
    states = [change.state for change in again.history]
    assert states[:6] == [
        *(JobState.QUEUED, JobState.STARTING, JobState.RUNNING, JobState.STOPPED),
        *(JobState.QUEUED, JobState.STARTING),
    ]


def test_stopped_job_holds_nothing(jobs: Harness) -> None:
    filler = jobs.fill()
    jobs.backend.stop(filler.name)
    assert jobs.run("true").state is JobState.SUCCEEDED
    jobs.wait(filler, JobState.STOPPED)  # on a cluster what it held is given back before its last process has ended
    jobs.backend.cancel(filler.name)
    assert jobs.wait(filler).state is JobState.CANCELLED


def test_stopped_while_queued_waits_for_resume(jobs: Harness) -> None:
    filler = jobs.fill()
    record = jobs.submit("true")
    jobs.backend.stop(record.name)
    assert jobs.wait(record, JobState.STOPPED).attempt == 0
    jobs.backend.cancel(filler.name)
    jobs.wait(filler)
    assert jobs.backend.get(record.name).state is JobState.STOPPED
    jobs.backend.resume(record.name)
    ended = jobs.wait(record)
    assert (ended.state, ended.attempt) == (JobState.SUCCEEDED, 0)


def test_resumed_while_it_still_stops(jobs: Harness) -> None:
    record = jobs.submit("trap 'sleep 0.3; exit 1' TERM; echo ready; while :; do sleep 0.05; done")
    jobs.wait_output(record, b"ready")
    jobs.backend.stop(record.name)
    jobs.backend.resume(record.name)
    jobs.until(lambda: jobs.backend.get(record.name), lambda now: now.attempt == 1 and now.state is JobState.RUNNING)
    assert JobState.STOPPED in [change.state for change in jobs.backend.get(record.name).history]


def test_resume_of_what_is_not_stopped_is_refused(jobs: Harness) -> None:
    record = jobs.wait(jobs.submit("exec sleep 600"), JobState.RUNNING)
    with pytest.raises(BackendError, match="Running"):
        jobs.backend.resume(record.name)
