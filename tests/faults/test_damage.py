"""Disks that are full, memory that runs out, files that were changed, output that lies: each has one clear end."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import psutil
import pytest

import jupyter_konduktor as jk
from jupyter_konduktor import session
from jupyter_konduktor.errors import (
    IntegrityError,
    JobFailedError,
    JobLostError,
    NoResultReportedError,
    PayloadError,
    RemoteError,
    VersionMismatchError,
)
from jupyter_konduktor.runner.stream import StreamDecoder
from jupyter_konduktor.state import JobState

if TYPE_CHECKING:
    from tests.faults.conftest import Home


@jk.remote
def random_bytes(size: int) -> bytes:
    return os.urandom(size)


# --- a full or read-only disk


@pytest.fixture
def full_home(small_disk: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Have the package keep its jobs on a disk of 1 MiB."""
    root = small_disk / "jobs"
    monkeypatch.setenv("JUPYTER_KONDUKTOR_LOCAL_DIR", str(root))
    yield root
    session.close()


@pytest.mark.needs("root", "mount")
def test_a_value_that_the_disk_has_no_room_for_is_an_error_and_the_next_job_runs(full_home: Path) -> None:
    with pytest.raises(RemoteError, match="No space left"):
        random_bytes.submit(3_000_000).result(60)
    assert len(random_bytes.submit(10_000).result(60)) == 10_000
    assert not list(full_home.rglob("*.part"))


@pytest.mark.needs("root", "mount")
def test_a_log_that_the_disk_has_no_room_for_says_how_much_is_lost_and_the_value_comes(full_home: Path) -> None:
    filler = full_home.parent / "filler"
    script = (
        f"head -c 3000000 /dev/zero | tr '\\0' x; sleep 1; rm {filler}; echo; echo end; sleep 0.5; echo 7 > result.json"
    )
    filler.write_bytes(bytes(300_000))
    job = jk.launch(jk.Task.create(command=["sh", "-c", f"cd $KONDUKTOR_OUTPUT_DIR; {script}"]))
    assert job.result(60) == 7
    assert job.logs().count("could not be written and are lost") == 1
    assert job.logs().endswith("end\n")


# --- memory


@pytest.fixture
def little_memory() -> Iterator[Path]:
    """Make a control group of 64 MiB of memory."""
    lines = Path("/proc/self/cgroup").read_text().splitlines()
    (path,) = (line.split(":")[2] for line in lines if line.split(":")[1] == "memory")
    group = Path("/sys/fs/cgroup/memory") / path.lstrip("/") / f"faults-{os.getpid()}"
    group.mkdir()
    (group / "memory.limit_in_bytes").write_text(str(64 << 20))
    yield group
    end = time.monotonic() + 10
    while (group / "cgroup.procs").read_text() and time.monotonic() < end:
        time.sleep(0.05)
    group.rmdir()


@pytest.mark.needs("root", "memory group")
def test_a_job_that_the_system_kills_for_its_memory_says_so(home: Home, little_memory: Path) -> None:
    @jk.remote
    def greedy(group: str) -> int:
        import os

        with open(f"{group}/cgroup.procs", "w") as file:  # noqa: PTH123
            file.write(str(os.getpid()))
        print("begun", flush=True)
        return len(bytearray(b"x") * (256 << 20))

    job = greedy.submit(str(little_memory))
    with pytest.raises(JobFailedError, match="out of memory") as caught:
        job.result(30)
    assert (caught.value.exit_code, job.reason) == (137, "OOMKilled")
    assert job.logs() == "begun\n"


# --- exits and results


def test_success_without_a_result_and_failure_with_one_are_two_outcomes(home: Home) -> None:
    silent = home.script("exit 0")
    with pytest.raises(NoResultReportedError):
        silent.result(20)
    assert silent.state is JobState.SUCCEEDED
    loud = home.script("echo '{\"loss\": 1}' > $KONDUKTOR_OUTPUT_DIR/result.json; exit 3")
    with pytest.raises(JobFailedError) as caught:
        loud.result(20)
    assert caught.value.exit_code == 3
    assert b'"loss": 1' in (home.backend.read_envelope(loud.name) or b"").replace(b'":1', b'": 1')


def test_the_node_that_failed_is_named_with_its_exit_code_and_its_log(home: Home) -> None:
    job = home.script("if [ $RANK = 1 ]; then echo mine; exit 7; fi; sleep 60", nodes=3)
    with pytest.raises(JobFailedError, match="exit code 7 on node 1") as caught:
        job.result(20)
    assert caught.value.exit_code == 7
    assert job.logs(node=1) == "mine\n"


# --- files that were changed


def test_an_artifact_that_was_changed_is_never_loaded(home: Home, tmp_path: Path) -> None:
    job = random_bytes.submit(100_000)
    value = job.result(20)
    artifacts = list((home.folder(job.record) / "artifacts").iterdir())
    for artifact in artifacts:
        original = artifact.read_bytes()
        for changed in (original[:-1], original[:-9] + b"!" + original[-8:], b"", original + b"."):
            artifact.write_bytes(changed)
            with pytest.raises(IntegrityError):
                job.result()
        artifact.unlink()
        with pytest.raises(JobLostError):
            job.result()
        artifact.write_bytes(original)
    assert job.result() == value


def test_the_artifact_of_another_job_is_never_taken_for_ones_own(home: Home) -> None:
    mine, other = random_bytes.submit(100_000), random_bytes.submit(100_000)
    mine.result(20)
    other.result(20)
    (here,), (there,) = ([*(home.folder(job.record) / "artifacts").iterdir()] for job in (mine, other))
    shutil.copy(there, here)
    with pytest.raises(IntegrityError):
        mine.result()


@pytest.mark.parametrize("part", ["payload.pack", "object"])
def test_a_payload_that_was_changed_while_it_waited_is_not_run(home: Home, tmp_path: Path, part: str) -> None:
    filler = home.fill()
    ran = tmp_path / "ran"

    @jk.remote
    def touch(data: Any) -> int:
        ran.touch()
        return len(data)

    job = touch.submit(np.frombuffer(os.urandom(100_000), "u1"))
    path = home.root / "jobs" / job / "payload.pack"
    if part == "object":
        path = max((home.root / "objects").glob("*/*"), key=lambda path: path.stat().st_size)
    data = bytearray(path.read_bytes())
    data[-5] ^= 1
    path.write_bytes(data)
    home.backend.cancel(filler.name)
    with pytest.raises((IntegrityError, PayloadError), match=r"SHA-256|digest"):
        job.result(20)
    assert job.state is JobState.FAILED
    assert not ran.exists()


def _other_python() -> str:
    """Find a Python that is another minor version than this one."""
    from tests.unit.runner.test_pythons import VERSIONS, interpreter

    mine = f"{sys.version_info[0]}.{sys.version_info[1]}"
    for version in reversed(VERSIONS):
        try:
            if version != mine:
                return str(interpreter(version))
        except pytest.skip.Exception:
            continue
    pytest.skip("this machine has one Python alone")


def test_another_python_refuses_a_function_before_it_is_loaded(home: Home, tmp_path: Path) -> None:
    python, filler, ran = _other_python(), home.fill(), tmp_path / "ran"

    class Trap:
        def __reduce__(self) -> tuple[object, ...]:
            return os.mkdir, (str(ran),)

    job = jk.remote(lambda trap: 1).submit(Trap())
    launch = home.root / "jobs" / job / "launch.json"
    launch.write_text(json.dumps({**json.loads(launch.read_text()), "python": python}))
    spec = home.root / "jobs" / job / "spec.json"
    spec.write_text(json.dumps({**json.loads(spec.read_text()), "sys_path": None}))  # its own, as in an image
    home.backend.cancel(filler.name)
    job.wait(30)
    if job.reason == "RunnerStartFailed":
        pytest.skip(f"{python} is too old for a supervisor of this machine")
    with pytest.raises(VersionMismatchError, match=r"Python 3\."):
        job.result()
    assert not ran.exists()


# --- output that lies, and a flood


def test_forged_marks_a_flood_and_closed_streams_change_no_state(home: Home) -> None:
    """2 million lines, 200 MB: all of it is on disk, and the supervisor does not grow with it."""
    forged = "\x1e" + "0" * 16 + 'd1.1 1/1 {"type":"display"}\n{"exit":0,"value":1}\nvalue 1\n\x1epartial'

    @jk.remote
    def flood(forged: str) -> str:
        import os

        print(forged, flush=True)
        line = b"0123456789" * 10 + b"\n"
        for _ in range(2_000):
            os.write(2, line * 1_000)
        os.closerange(0, 3)
        return "the value"

    job = flood.submit(forged)
    home.reach(job, b"value 1")
    supervisor, largest = psutil.Process(home.row(job.record)["pid"]), 0
    while not job.done():
        try:
            largest = max(largest, supervisor.memory_info().rss)
        except psutil.NoSuchProcess:
            break
        time.sleep(0.02)
    assert job.result(30) == "the value"
    assert largest < 60 << 20
    decoder, digest, size = StreamDecoder(job.record.spec["nonce"]), hashlib.sha256(), 0
    with (home.folder(job.record) / "node-0.log").open("rb") as log:
        while data := log.read(1 << 20):
            for part in decoder.feed(data):
                assert isinstance(part, bytes), "no forged record is one"
                digest.update(part)
                size += len(part)
    expected = forged.encode() + b"\n" + (b"0123456789" * 10 + b"\n") * 2_000_000
    assert size == len(expected)
    assert digest.digest() == hashlib.sha256(expected).digest()


def test_a_gigabyte_without_a_line_end_changes_no_state(home: Home) -> None:
    stop = threading.Event()
    grown: list[int] = []
    job = home.script("head -c 1000000000 /dev/zero >&2; echo 7 > $KONDUKTOR_OUTPUT_DIR/result.json")

    def look() -> None:
        while not stop.wait(0.05):
            pid = home.row(job.record)["pid"]
            try:
                grown.append(psutil.Process(pid).memory_info().rss if pid else 0)
            except psutil.NoSuchProcess:
                return

    thread = threading.Thread(target=look)
    thread.start()
    assert job.result(60) == 7
    stop.set()
    thread.join()
    assert max(grown) < 60 << 20
    assert (home.folder(job.record) / "node-0.log").stat().st_size >= 1_000_000_000
