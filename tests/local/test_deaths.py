"""Kernels, supervisors and users' processes that are killed, machines that restart, pids that are used again."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

import psutil
import pytest

from jupyter_konduktor.backends.local.process import birth
from jupyter_konduktor.backends.protocol import Event
from jupyter_konduktor.errors import BackendError
from jupyter_konduktor.runner.envelope import parse
from jupyter_konduktor.state import JobRecord, JobState

if TYPE_CHECKING:
    from tests.local.conftest import Local

TREE = "sleep 601 & setsid sleep 602 & echo ready; wait"


def test_killed_supervisor_is_seen_by_a_watch_that_does_nothing_else(local: Local) -> None:
    ended, seen = threading.Event(), []

    def callback(event: Event) -> None:
        if isinstance(event, JobRecord) and event.state.final:
            seen.append(event)
            ended.set()

    record = local.wait(local.submit("exec sleep 600"), JobState.RUNNING)
    watch = local.backend.watch(callback)
    time.sleep(0.3)
    killed = time.time()
    local.kill_supervisor(record)
    assert ended.wait(10)
    watch.close()
    assert (seen[0].state, seen[0].reason) == (JobState.FAILED, "RunnerKilled")
    assert seen[0].history[-1].time - killed < 2


def test_killed_supervisor_takes_everything_it_had_started_along(local: Local) -> None:
    record = local.submit(TREE)
    local.until(lambda: b"ready" in local.backend.read_log(record.name).data)
    tree = local.until(lambda: local.processes(record), lambda found: len(found) >= 3)
    local.kill_supervisor(record)
    assert local.wait(record).reason == "RunnerKilled"
    assert psutil.wait_procs(tree, timeout=5)[1] == []


def test_killed_supervisor_makes_room_for_the_next(local: Local) -> None:
    filler = local.fill()
    waiting = local.submit("true")
    local.kill_supervisor(filler)
    assert local.wait(waiting).state is JobState.SUCCEEDED
    assert local.backend.get(filler.name).reason == "RunnerKilled"


def test_supervisor_that_ends_settles_one_that_was_killed(local: Local) -> None:
    """No kernel looks: the killed job's room is given on by the job beside it."""
    half = local.backend.queues()[0].resources["cpu"][1] / 2
    killed = local.wait(local.submit("exec sleep 600", cpus=half), JobState.RUNNING)
    beside = local.wait(local.submit("sleep 1", cpus=half), JobState.RUNNING)
    large = local.submit("true", cpus=2 * half)
    local.kill_supervisor(killed)
    local.until(lambda: local.row(large)["state"] == "Succeeded")
    assert local.row(killed)["reason"] == "RunnerKilled"
    assert local.row(beside)["state"] == "Succeeded"


def test_killed_user_process_is_told_from_an_exit(local: Local) -> None:
    record = local.submit("echo ready; exec sleep 600")
    (process,) = local.until(lambda: local.processes(record), lambda found: [p.name() for p in found] == ["sleep"])
    process.kill()
    ended = local.wait(record)
    assert (ended.state, ended.exit_code) == (JobState.FAILED, 137)
    assert "SIGKILL" in ended.message


@pytest.fixture
def written(local: Local) -> JobRecord:
    """Kill a supervisor when the envelope is written and the database does not know it yet."""
    record = local.wait(local.submit("sleep 0.3; echo 42 > $KONDUKTOR_OUTPUT_DIR/result.json"), JobState.RUNNING)
    with closing(sqlite3.connect(local.root / "jobs.sqlite", isolation_level=None)) as connection:
        connection.execute("BEGIN IMMEDIATE")
        local.until((local.folder(record) / "envelope.json").exists)
        local.kill_supervisor(record)
        connection.execute("ROLLBACK")
    assert local.row(record)["state"] == "Running"
    return record


def test_result_that_was_written_is_kept_when_the_supervisor_is_killed(local: Local, written: JobRecord) -> None:
    ended = local.wait(written)
    assert (ended.state, ended.exit_code) == (JobState.SUCCEEDED, 0)
    envelope = local.backend.read_envelope(written.name)
    assert envelope is not None
    assert parse(envelope).value == 42


def test_truncated_envelope_is_no_result(local: Local, written: JobRecord) -> None:
    path = local.folder(written) / "envelope.json"
    path.write_bytes(path.read_bytes()[:7])
    assert local.wait(written).reason == "RunnerKilled"


def test_cancelled_job_whose_supervisor_is_killed_is_cancelled(local: Local) -> None:
    record = local.submit("trap '' TERM; echo ready; while :; do sleep 0.1; done")
    local.until(lambda: b"ready" in local.backend.read_log(record.name).data)
    local.backend.cancel(record.name)
    local.kill_supervisor(record)
    assert local.wait(record).state is JobState.CANCELLED


def test_signal_from_someone_else_is_not_a_cancel(local: Local) -> None:
    record = local.wait(local.submit("exec sleep 600", max_restarts=3), JobState.RUNNING)
    os.kill(local.row(record)["pid"], signal.SIGTERM)
    ended = local.wait(record)
    assert (ended.state, ended.reason, ended.attempt) == (JobState.FAILED, "Terminated", 0)


def test_restart_of_the_machine_fails_what_ran_and_starts_what_waited(local: Local) -> None:
    filler = local.fill()
    waiting = local.submit("true")
    local.kill_supervisor(filler)
    local.change("UPDATE jobs SET boot = 'another' WHERE uid = ?", filler.uid)
    assert local.wait(waiting).state is JobState.SUCCEEDED
    assert local.backend.get(filler.name).reason == "MachineRestarted"


def test_pid_that_is_used_again_is_left_alone(local: Local) -> None:
    stranger = subprocess.Popen(["sleep", "603"])
    time.sleep(0.05)  # one process cannot get another's pid within a clock tick of its birth, and neither may this one
    try:
        record = local.wait(local.submit("exec sleep 600"), JobState.RUNNING)
        row = local.row(record)
        local.kill_supervisor(record)
        psutil.wait_procs([psutil.Process(row["pid"])] if psutil.pid_exists(row["pid"]) else [], timeout=1)
        local.change("UPDATE jobs SET pid = ? WHERE uid = ?", stranger.pid, record.uid)
        local.backend.cancel(record.name)
        # Whether the cancel or the death was seen first is a race that does not matter here.
        assert local.wait(record).reason in ("CancelledByUser", "RunnerKilled")
        assert stranger.poll() is None
    finally:
        stranger.kill()
        stranger.wait()


def test_job_of_another_host_is_neither_signalled_nor_settled_while_it_lives(local: Local) -> None:
    record = local.wait(local.submit("exec sleep 600"), JobState.RUNNING)
    here = local.row(record)["host"]
    local.change("UPDATE jobs SET host = 'elsewhere' WHERE uid = ?", record.uid)
    assert local.backend.get(record.name).state is JobState.RUNNING
    with pytest.raises(BackendError, match="elsewhere"):
        local.backend.cancel(record.name)
    assert birth(local.row(record)["pid"]) is not None
    local.kill_supervisor(record)
    assert "elsewhere" in local.wait(record).message
    assert here != "elsewhere"


SUBMIT = """
import os
from jupyter_konduktor.backends.local.backend import LocalBackend
from jupyter_konduktor.task import Task
backend = LocalBackend(root)
def submit(script):
    return backend.submit(Task.create(kind="command", command=["sh", "-c", script], name="t"), None, key=script)
"""


def test_kernel_killed_before_it_could_start_what_it_admitted(local: Local) -> None:
    died = local.python(SUBMIT + "os.posix_spawn = lambda *a, **k: os.kill(os.getpid(), 9)\nsubmit('echo once')")
    assert died.returncode == -signal.SIGKILL
    (record,) = local.backend.list()
    ended = local.wait(record)
    assert ended.state is JobState.SUCCEEDED
    assert local.backend.read_log(record.name).data == b"once\n"
    assert [change.reason for change in ended.history][:4] == ["Submitted", "Admitted", "Requeued", "Admitted"]


def test_interrupt_before_the_start_leaves_a_job_that_starts_later(
    local: Local, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(os, "posix_spawn", interrupted)
        with pytest.raises(KeyboardInterrupt):
            local.submit("true")
    (record,) = local.backend.list()
    assert local.wait(record).state is JobState.SUCCEEDED


def test_kernel_killed_before_the_row_has_made_no_job(local: Local) -> None:
    code = "LocalBackend._insert = lambda *a: os.kill(os.getpid(), 9)\nsubmit('true')"
    assert local.python(SUBMIT + code).returncode == -signal.SIGKILL
    assert local.backend.list() == []
    (left,) = (local.root / "jobs").iterdir()
    local.backend.collect_garbage()
    assert left.exists(), "its row could still come"
    os.utime(left, (time.time() - 7200,) * 2)
    local.backend.collect_garbage()
    assert not left.exists()


def test_kernel_killed_while_its_job_runs(local: Local) -> None:
    died = local.python(SUBMIT + "print(submit('sleep 0.5; echo done').name, flush=True)\nos.kill(os.getpid(), 9)")
    assert died.returncode == -signal.SIGKILL
    assert local.wait(local.backend.get(died.stdout.strip())).state is JobState.SUCCEEDED
    assert local.backend.read_log(died.stdout.strip()).data == b"done\n"


def test_runner_that_cannot_be_started_fails_its_job_and_no_other(local: Local) -> None:
    filler = local.fill()
    broken, sound = local.submit("true"), local.submit("true")
    launch = local.root / "jobs" / broken.name / "launch.json"
    launch.write_text(launch.read_text().replace('"python": "', '"python": "/nowhere'))
    local.backend.cancel(filler.name)
    ended = local.wait(broken)
    assert (ended.state, ended.reason) == (JobState.FAILED, "RunnerStartFailed")
    assert local.wait(sound).state is JobState.SUCCEEDED


def test_many_runners_that_cannot_be_started_fail_one_after_the_other(local: Local) -> None:
    filler = local.fill()
    jobs = [local.submit("true") for _ in range(400)]
    for job in jobs[:-1]:
        (local.root / "jobs" / job.name / "launch.json").unlink()
    local.backend.cancel(filler.name)
    assert local.wait(jobs[-1]).state is JobState.SUCCEEDED
    assert {local.backend.get(job.name).reason for job in jobs[:-1]} == {"RunnerStartFailed"}


def test_runner_that_dies_at_its_start_fails_its_job_with_the_reason(local: Local) -> None:
    filler = local.fill()
    broken = local.submit("true")
    (local.root / "jobs" / broken.name / "spec.json").write_text("{")
    local.backend.cancel(filler.name)
    ended = local.wait(broken)
    assert (ended.state, ended.reason) == (JobState.FAILED, "RunnerStartFailed")
    assert "JSONDecodeError" in ended.message


def test_job_that_a_job_submits_is_a_job_of_its_own(local: Local) -> None:
    code = f"""
import pathlib, sys, time
sys.path.insert(0, {str(Path.cwd())!r})
root = pathlib.Path({str(local.root)!r})
{SUBMIT}
inner = submit("echo $KONDUKTOR_JOB_UID")
while not backend.get(inner.name).state.final:
    time.sleep(0.01)
"""
    task = local.task("").options(command=[sys.executable, "-c", code])
    outer = local.wait(local.backend.submit(task, None, key="outer"))
    assert outer.state is JobState.SUCCEEDED, local.backend.read_log(outer.name).data
    (inner,) = [record for record in local.backend.list() if record.uid != outer.uid]
    assert inner.state is JobState.SUCCEEDED
    assert local.backend.read_log(inner.name).data.decode().strip() == inner.uid
