"""Nothing is lost when a process is killed: a submit made a whole job or none, a result is readable or failed."""

from __future__ import annotations

import hashlib
import os
import random
import shutil
import signal
import sys
import time
from collections import Counter
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

import jupyter_konduktor as jk
from jupyter_konduktor.backends.local import process, retention
from jupyter_konduktor.backends.local.backend import LocalBackend
from jupyter_konduktor.errors import JobFailedError
from jupyter_konduktor.runner import tree
from jupyter_konduktor.runner.envelope import parse
from jupyter_konduktor.state import JobState

if TYPE_CHECKING:
    from tests.faults.conftest import Home
    from tests.local.conftest import Local

SEED = int(os.environ.get("FAULTS_SEED", "0")) or random.randrange(10**6)


def _payload() -> Any:
    """Make what a submit reads of a payload, with a buffer that nobody else has."""
    buffer = os.urandom(50_000)
    objects = {hashlib.sha256(buffer).hexdigest(): memoryview(buffer)}
    return SimpleNamespace(data=b"pack", sha256=hashlib.sha256(b"pack").hexdigest(), objects=objects)


def _killed_submit(local: Local, number: int, after: float) -> str:
    """Submit from another process that is killed some seconds after it began; gives the name it was told, or ''."""
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            backend = LocalBackend(local.root, grace=1.0)
            os.write(write, b"!")
            record = backend.submit(local.task(f"echo {number}"), _payload(), key=str(number))
            os.write(write, record.name.encode())
            time.sleep(60)
        finally:
            os._exit(1)
    os.close(write)
    assert os.read(read, 1) == b"!"
    time.sleep(after)
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    told = os.read(read, 100).decode()
    os.close(read)
    return told


@pytest.mark.needs("linux")
def test_submits_killed_at_any_moment_made_whole_jobs_or_none(local: Local, monkeypatch: pytest.MonkeyPatch) -> None:
    print(f"FAULTS_SEED={SEED}")
    moments = random.Random(SEED)
    local.run("true")
    told = {number: _killed_submit(local, number, moments.random() * 0.03) for number in range(100)}
    local.until(local.backend.list, lambda records: all(record.state.final for record in records))
    records = {local.backend.read_log(record.name).data.strip(): record for record in local.backend.list()}
    made = {int(text): record.name for text, record in records.items() if text}
    assert len(records) == len(local.backend.list()), "each number ran once"
    assert {record.state for record in records.values()} == {JobState.SUCCEEDED}
    assert {number: made.get(number) for number, name in told.items() if name} == {n: s for n, s in told.items() if s}
    assert 0 < len(made) < 100, "the kills came too early or too late to mean anything"

    monkeypatch.setattr(retention, "GRACE", -1.0)
    local.backend.collect_garbage()
    names = {record.name for record in records.values()}
    assert {path.name for path in (local.root / "jobs").iterdir()} == names, "what was left of the others is gone"
    assert len(list((local.root / "objects").glob("*/*"))) == len(made)
    for number in set(range(100)) - set(made):
        local.backend.submit(local.task(f"echo {number}"), None, key=str(number))
    assert len(local.backend.list()) == 101


@jk.remote
def _bytes(byte: int, size: int) -> bytes:
    import time

    print("begun", flush=True)
    time.sleep(0.005)
    return bytes([byte]) * size


@pytest.mark.parametrize("victim", ["supervisor", "user's process"])
def test_a_kill_at_any_moment_of_the_end_loses_no_value(home: Home, victim: str) -> None:
    print(f"FAULTS_SEED={SEED}")
    moments = random.Random(SEED)
    ends: Counter[str] = Counter()
    for number in range(60 if victim == "supervisor" else 30):
        size = moments.choice([10, 5_000, 200_000, 3_000_000])
        job = _bytes.submit(number, size)
        home.reach(job, b"begun")
        pid = home.row(job.record)["pid"]
        pids = [pid] if victim == "supervisor" else tree.descendants(pid or 0)
        time.sleep(moments.random() * 0.02)
        for pid in filter(None, pids):
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass  # it was over before
        ends[job.wait(20)] += 1
        ended = home.backend.get(job.name)
        if ended.state is JobState.SUCCEEDED:
            assert job.result() == bytes([number]) * size
        else:
            assert ended.reason == ("RunnerKilled" if victim == "supervisor" else "Error"), ended
            assert ended.message
            with pytest.raises(JobFailedError, match=ended.message[:30].replace("(", r"\(")):
                job.result()
        assert home.backend.get(job.name) == ended
    assert set(ends) == {"succeeded", "failed"}, ends


def test_a_script_killed_while_it_writes_its_result_reports_its_end_and_nothing_else(home: Home) -> None:
    job = home.script("printf '{\"loss\": 0.' > $KONDUKTOR_OUTPUT_DIR/result.json; kill -9 $$")
    with pytest.raises(JobFailedError, match="SIGKILL") as caught:
        job.result(20)
    assert caught.value.exit_code == 137
    envelope = parse(home.backend.read_envelope(job.name) or b"")
    assert (envelope.exit, envelope.error) == (137, "MalformedResult")


@pytest.mark.needs("program:false")
def test_a_runner_that_ends_before_it_is_written_down_fails_its_job(
    local: Local, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its pid is that of no process by then, and must not be taken for one that runs."""
    for _ in range(8):
        with monkeypatch.context() as patch:
            patch.setattr(sys, "executable", shutil.which("false"))
            record = local.submit("true")
        assert local.wait(record).reason == "RunnerStartFailed"
    assert local.run("true").state is JobState.SUCCEEDED


def test_a_cancel_of_a_runner_that_ended_at_once_is_followed(local: Local, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(sys, "executable", shutil.which("false"))
        records = [local.submit("true") for _ in range(3)]
    for record in records:
        local.backend.cancel(record.name)
        assert local.wait(record).state in (JobState.CANCELLED, JobState.FAILED)


def test_a_look_at_the_lock_does_not_keep_a_supervisor_from_its_job(local: Local) -> None:
    filler = local.fill()
    record = local.submit("true")
    path = local.root / "jobs" / record.name / "lock"
    held = process.take_lock(str(path))
    assert held is not None
    try:
        local.backend.cancel(filler.name)
        local.until(lambda: local.row(record)["supervised"])
        time.sleep(0.05)
        assert local.row(record)["state"] == "Starting"
    finally:
        os.close(held)
    assert local.wait(record).state is JobState.SUCCEEDED


def test_supervisors_started_twice_run_a_job_once(local: Local) -> None:
    """Whoever admitted a job may be killed with its supervisor started, and somebody else starts another."""
    code = f"""
import sys; sys.path.insert(0, {str(Path.cwd())!r})
from jupyter_konduktor.backends.local import supervisor
supervisor.main(*sys.argv[1:])
"""
    marker = local.root.parent / "ran"
    record = local.wait(local.submit(f"echo once >> {marker}; sleep 0.5"), JobState.RUNNING)
    done = local.python(f"import subprocess\nsubprocess.run([sys.executable, '-c', {code!r}, "
                        f"{str(local.root)!r}, {record.name!r}, {record.uid!r}, '0', ''], check=True)")  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert local.wait(record).state is JobState.SUCCEEDED
    assert marker.read_text() == "once\n"
