"""Kernels that die, sleep or come back, two on one store, and jobs that someone deletes under them."""

from __future__ import annotations

import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING

import pytest

import jupyter_konduktor as jk
from jupyter_konduktor.backends.local import watch
from jupyter_konduktor.errors import JobLostError
from jupyter_konduktor.state import JobState
from tests.local.conftest import PROJECT

if TYPE_CHECKING:
    from pathlib import Path

    from tests.faults.conftest import Home
    from tests.local.conftest import Local

LINES = "for i in $(seq {count}); do echo line $i; sleep {pause}; done; echo 7 > $KONDUKTOR_OUTPUT_DIR/result.json"

FOLLOW = """
import sys; sys.path.insert(0, sys.argv[1])
import jupyter_konduktor as jk
job = jk.attach(sys.argv[2])
for text in job.logs(follow=True):
    print(text, end="", flush=True)
print("value", job.result(30))
"""


@contextmanager
def following(name: str) -> Iterator[subprocess.Popen[str]]:
    """Follow a job from another process, as a notebook does."""
    command = [sys.executable, "-c", FOLLOW, str(PROJECT), name]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


def lines(count: int) -> str:
    return "".join(f"line {number}\n" for number in range(1, count + 1))


def test_a_kernel_that_comes_back_sees_all_of_the_log_once_and_the_value(home: Home) -> None:
    job = home.script(LINES.format(count=60, pause=0.02))
    with following(job) as first:
        assert first.stdout is not None
        assert first.stdout.readline() == "line 1\n"
        first.send_signal(signal.SIGKILL)
    with following(job) as second:
        assert job in jk.jobs()
        assert second.communicate(timeout=30)[0] == lines(60) + "value 7\n"
    with following(job) as afterwards:
        assert afterwards.communicate(timeout=30)[0] == lines(60) + "value 7\n"


@pytest.mark.parametrize("woken", ["while it runs", "after its end"])
def test_a_kernel_that_slept_goes_on_without_a_gap_or_a_line_twice(home: Home, woken: str) -> None:
    count = 150 if woken == "while it runs" else 60
    job = home.script(LINES.format(count=count, pause=0.02))
    with following(job) as kernel:
        assert kernel.stdout is not None
        assert kernel.stdout.readline() == "line 1\n"
        kernel.send_signal(signal.SIGSTOP)
        time.sleep(1)
        if woken == "after its end":
            home.wait(job.record)
        began = time.monotonic()
        kernel.send_signal(signal.SIGCONT)
        assert kernel.stdout.read() == lines(count).partition("\n")[2] + "value 7\n"
        home.wait(job.record)
        assert time.monotonic() - began < 30


def test_a_supervisor_that_slept_loses_nothing(home: Home) -> None:
    job = home.script(LINES.format(count=40, pause=0.02), timeout=30)
    home.reach(job, b"line 3")
    pids = [home.row(job.record)["pid"], *(process.pid for process in home.processes(job.record))]
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    time.sleep(0.5)
    assert job.state is JobState.RUNNING, "what sleeps is not dead"
    for pid in reversed(pids):
        os.kill(pid, signal.SIGCONT)
    assert job.result(30) == 7
    assert job.logs() == lines(40)


# --- deleted by someone else


def _delete_row(root: Path) -> None:
    with closing(sqlite3.connect(root / "jobs.sqlite")) as connection, connection:
        connection.execute("DELETE FROM history")
        connection.execute("DELETE FROM jobs")


def _delete_database(root: Path) -> None:
    for path in root.glob("jobs.sqlite*"):
        path.unlink()


@pytest.mark.parametrize("delete", [_delete_row, _delete_database, shutil.rmtree])
def test_a_wait_for_a_job_that_someone_deletes_ends(
    home: Home, monkeypatch: pytest.MonkeyPatch, delete: object
) -> None:
    assert watch.UNENDED <= 5
    monkeypatch.setattr(watch, "UNENDED", 0.5)
    job = home.script("exec sleep 600")
    home.wait(job.record, JobState.RUNNING)
    supervisor = home.row(job.record)["pid"]
    threading.Timer(0.3, delete, [home.root]).start()  # type: ignore[arg-type]
    began = time.monotonic()
    with pytest.raises(JobLostError, match="deleted") as caught:
        job.wait(20)
    assert time.monotonic() - began < 10
    assert caught.value.job == job
    with pytest.raises(JobLostError):
        job.result()
    os.kill(supervisor, signal.SIGKILL)
    assert home.script("true").wait(20) == "succeeded", "what is submitted afterwards runs"
    assert len(jk.jobs()) == 1


def test_a_job_whose_directory_is_deleted_fails_and_says_so(home: Home) -> None:
    job = home.script("echo begun; sleep 0.5")
    home.reach(job, b"begun")
    shutil.rmtree(home.root / "jobs" / job)
    assert job.wait(20) == "failed"
    assert job.reason == "FilesDeleted"
    assert home.script("true").wait(20) == "succeeded"


# --- two on one store

SUBMIT_MANY = """
import json, sys
from jupyter_konduktor.backends.local.backend import LocalBackend
from jupyter_konduktor.task import Task
backend = LocalBackend(root)
task = Task.create(kind="command", command=["true"], name="t")
print("ready", flush=True)
sys.stdin.readline()
print(json.dumps([backend.submit(task, None, key=f"{sys.argv[1]}-{number}").name for number in range(500)]))
"""

# SQLite's own patience would sleep longer than the lock is held.
ASK_FOR_THE_LOCK = """
import json, sqlite3, time
connection = sqlite3.connect(root / "jobs.sqlite", isolation_level=None, timeout=0)
print("ready", flush=True)
waits, end = [], time.monotonic() + 1.5
while time.monotonic() < end:
    begun = time.monotonic()
    while True:
        try:
            connection.execute("BEGIN IMMEDIATE")
            break
        except sqlite3.OperationalError:
            time.sleep(0.0005)
    waits.append(time.monotonic() - begun)
    connection.execute("ROLLBACK")
    time.sleep(0.005)
print(json.dumps(sorted(waits)))
"""


def test_two_kernels_submit_500_jobs_each_and_nobody_waits_long_for_the_lock(local: Local) -> None:
    local.fill()
    preamble = f"import sys, pathlib\nsys.path.insert(0, {str(PROJECT)!r})\nroot = pathlib.Path({str(local.root)!r})\n"

    def start(code: str, *arguments: str) -> subprocess.Popen[str]:
        command = [sys.executable, "-c", preamble + code, *arguments]
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        return process

    kernels = [start(SUBMIT_MANY, str(number)) for number in range(2)]
    bystander = start(ASK_FOR_THE_LOCK)
    made: list[str] = []

    def submit(kernel: subprocess.Popen[str]) -> None:
        made.extend(json.loads(kernel.communicate("\n", timeout=60)[0]))

    threads = [threading.Thread(target=submit, args=(kernel,)) for kernel in kernels]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    waits = json.loads(bystander.communicate(timeout=60)[0])
    queued = [record for record in local.backend.list() if record.state is JobState.QUEUED]
    assert sorted(record.name for record in queued) == sorted(made)
    assert len(set(made)) == 1000
    assert [record.position for record in queued] == list(range(1000))
    assert len({record.version for record in queued}) == 1000
    assert waits[int(len(waits) * 0.99)] < 0.1
    local.backend.close()  # with the records it holds
    local.change("UPDATE jobs SET state = 'Cancelled' WHERE state = 'Queued'")
