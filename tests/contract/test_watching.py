"""The one stream of events, and logs read by their offsets."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import pytest

from jupyter_konduktor.backends.protocol import LogGrew
from jupyter_konduktor.errors import BackendError
from jupyter_konduktor.state import JobRecord, JobState

if TYPE_CHECKING:
    from tests.contract.conftest import Harness

ORDER = [JobState.QUEUED, JobState.STARTING, JobState.RUNNING, JobState.SUCCEEDED]


def test_watch_tells_each_change_once_and_in_order(jobs: Harness) -> None:
    follower = jobs.follow()
    made = [jobs.submit("sleep 0.05") for _ in range(6)]
    follower.wait_final(*made)
    for record in made:
        told = follower.records(record)
        states = follower.states(record)
        assert states == [state for state in ORDER if state in states]
        assert [r.version for r in told] == sorted(r.version for r in told)
        # Told again without a new version is only where a job stands in the queue.
        assert len({(r.version, r.position) for r in told}) == len(told)
        assert sum(r.state.final for r in told) == 1
        assert [change.state for change in told[-1].history] == ORDER


def test_watch_begins_with_what_is_not_final(jobs: Harness) -> None:
    ended = jobs.run("true")
    running = jobs.wait(jobs.submit("exec sleep 600"), JobState.RUNNING)
    follower = jobs.follow(jobs.another())
    follower.wait(lambda: bool(follower.records(running)))
    jobs.run("true")
    assert follower.records(ended) == []
    assert follower.records(running)[0].state is JobState.RUNNING


def test_watch_hears_of_jobs_of_other_clients(jobs: Harness) -> None:
    follower = jobs.follow(jobs.another())
    record = jobs.submit("true")
    follower.wait_final(record)
    jobs.backend.cancel(jobs.submit("exec sleep 600").name)
    follower.wait(lambda: any(isinstance(e, JobRecord) and e.state is JobState.CANCELLED for e in follower.events))


def test_every_watch_hears_everything(jobs: Harness) -> None:
    followers = [jobs.follow(), jobs.follow(), jobs.follow(jobs.another())]
    record = jobs.submit("true")
    for follower in followers:
        follower.wait_final(record)


def test_callback_is_called_from_one_thread_that_is_not_ours(jobs: Harness) -> None:
    follower = jobs.follow()
    follower.wait_final(jobs.submit("true"), jobs.submit("true"))
    assert len(follower.threads) == 1
    assert threading.get_ident() not in follower.threads


def test_closed_watch_is_silent(jobs: Harness) -> None:
    follower = jobs.follow()
    follower.wait_final(jobs.submit("true"))
    follower.watch.close()
    follower.watch.close()
    count = len(follower.events)
    jobs.run("echo more")
    assert len(follower.events) == count


def test_watch_survives_a_callback_that_raises(jobs: Harness, caplog: pytest.LogCaptureFixture) -> None:
    told = threading.Event()

    def callback(event: JobRecord | LogGrew) -> None:
        if isinstance(event, JobRecord) and event.state.final:
            told.set()
        raise ZeroDivisionError("a mistake of the caller's")

    watch = jobs.backend.watch(callback)
    jobs.submit("true")
    assert told.wait(30)
    watch.close()
    assert "a mistake of the caller's" in caplog.text


def test_watch_tells_where_queued_jobs_stand(jobs: Harness) -> None:
    follower = jobs.follow()
    filler = jobs.fill()
    first, second = jobs.submit_after("true"), jobs.submit_after("true")
    follower.wait(lambda: any(r.position == 1 for r in follower.records(second)))
    jobs.backend.cancel(first.name)
    follower.wait(lambda: any(r.position == 0 for r in follower.records(second)))
    jobs.backend.cancel(filler.name)


def test_growth_of_a_log_is_told_before_the_end(jobs: Harness) -> None:
    follower = jobs.follow()
    record = jobs.submit("echo first; sleep 2.5; echo second")
    follower.wait(lambda: bool(follower.growth(record)))
    jobs.wait_output(record, b"first\n")
    assert jobs.output(record) == b"first\n"
    follower.wait_final(record)
    growth = follower.growth(record)
    assert all(event == LogGrew(record.name, 0, 0) for event in growth)
    assert len(growth) >= 2
    final = next(e for e in follower.events if isinstance(e, JobRecord) and e.uid == record.uid and e.state.final)
    assert follower.events.index(growth[-1]) < follower.events.index(final)


def test_flood_of_output_is_no_flood_of_events(jobs: Harness) -> None:
    follower = jobs.follow()
    script = "i=0; while [ $i -lt 20000 ]; do echo $i; i=$((i+1)); done"
    record = jobs.submit(script)
    follower.wait_final(record)
    ended = jobs.backend.get(record.name)
    seconds = (ended.finished or 0) - (ended.started or 0)
    assert len(follower.growth(record)) <= 20 * (seconds + 1) + 5
    assert jobs.output(record) == b"".join(b"%d\n" % number for number in range(20000))


def test_log_is_read_by_offset(jobs: Harness) -> None:
    record = jobs.run("echo one; echo two >&2; echo three")
    read = jobs.backend.read_log
    whole = read(record.name)
    assert whole.data == b"one\ntwo\nthree\n"
    assert (whole.offset, whole.ended) == (14, True)
    piece = read(record.name, offset=4, limit=3)
    assert (piece.data, piece.offset, piece.ended) == (b"two", 7, False)
    assert read(record.name, offset=-6).data == b"three\n"
    assert read(record.name, offset=-6).offset == 14
    assert read(record.name, offset=-1000).data == whole.data
    beyond = read(record.name, offset=14)
    assert (beyond.data, beyond.offset, beyond.ended) == (b"", 14, True)


def test_log_that_does_not_exist_yet_is_empty(jobs: Harness) -> None:
    jobs.fill()
    record = jobs.submit("true")
    chunk = jobs.backend.read_log(record.name)
    assert (chunk.data, chunk.offset, chunk.ended) == (b"", 0, False)


def test_log_of_a_running_job_has_not_ended(jobs: Harness) -> None:
    record = jobs.submit("echo ready; exec sleep 600")
    jobs.wait_output(record, b"ready")
    assert not jobs.backend.read_log(record.name).ended


def test_bytes_of_any_kind_are_kept(jobs: Harness) -> None:
    script = r"printf 'a\000b\377\376\302\205\342\200\250c\r\033[1md'"
    assert jobs.output(jobs.run(script)) == b"a\0b\xff\xfe\xc2\x85\xe2\x80\xa8c\r\x1b[1md"


def test_node_that_does_not_exist_has_no_log(jobs: Harness) -> None:
    record = jobs.run("true", nodes=2)
    for node in (2, -1):
        with pytest.raises(BackendError, match=f"node {node}"):
            jobs.backend.read_log(record.name, node=node)


def test_output_ends_with_the_job(jobs: Harness) -> None:
    """What a job leaves behind in the background writes no more when the job has ended."""
    record = jobs.run("(while :; do echo late; sleep 0.05; done) & sleep 0.2")
    size = len(jobs.output(record))
    jobs.run("sleep 0.3")
    assert len(jobs.output(record)) == size
