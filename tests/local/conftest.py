"""A local backend of its own for each test, with ways to reach under it."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, TypeVar

import psutil
import pytest

from jupyter_konduktor.backends.local.backend import LocalBackend
from jupyter_konduktor.state import JobRecord, JobState
from jupyter_konduktor.task import Task

T = TypeVar("T")
PATIENCE = 30.0
PROJECT = Path(__file__).resolve().parents[2]


class Local:
    """A root, a backend on it, and the everyday steps with them."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.backend = LocalBackend(root, grace=1.0)

    def task(self, script: str, **options: Any) -> Task:
        return Task.create(kind="command", command=["sh", "-c", script], **{"name": "t", **options})

    def submit(self, script: str, *, key: str | None = None, **options: Any) -> JobRecord:
        return self.backend.submit(self.task(script, **options), None, key=key or uuid.uuid4().hex)

    def run(self, script: str, **options: Any) -> JobRecord:
        return self.wait(self.submit(script, **options))

    def fill(self) -> JobRecord:
        """Submit a job that takes the whole machine, and wait until it runs."""
        return self.wait(self.submit("exec sleep 600", name="filler", cpus=1000), JobState.RUNNING)

    def wait(self, record: JobRecord, *states: JobState) -> JobRecord:
        wanted = states or (JobState.SUCCEEDED, JobState.FAILED, JobState.CANCELLED)
        return self.until(lambda: self.backend.get(record.name), lambda now: now.state in wanted)

    def until(self, look: Callable[[], T], holds: Callable[[T], bool] = bool) -> T:
        end = time.monotonic() + PATIENCE
        while not holds(seen := look()):
            assert time.monotonic() < end, f"still {seen} after {PATIENCE:g} s"
            time.sleep(0.01)
        return seen

    def row(self, record: JobRecord) -> dict[str, Any]:
        """Read the row of a job behind the backend's back, which would mend what it finds."""
        with closing(sqlite3.connect(self.root / "jobs.sqlite")) as connection:
            connection.row_factory = sqlite3.Row
            return dict(connection.execute("SELECT * FROM jobs WHERE uid = ?", (record.uid,)).fetchone())

    def change(self, statement: str, *values: Any) -> None:
        """Change the database behind the backend's back."""
        with closing(sqlite3.connect(self.root / "jobs.sqlite")) as connection, connection:
            connection.execute(statement, values)

    def folder(self, record: JobRecord, attempt: int = 0) -> Path:
        return self.root / "jobs" / record.name / "attempts" / str(attempt)

    def processes(self, record: JobRecord) -> list[psutil.Process]:
        """Find every process of a job but its supervisor."""
        found, supervisor = [], self.row(record)["pid"]
        for process in psutil.process_iter():
            try:
                if process.pid != supervisor and process.environ().get("KONDUKTOR_JOB_UID") == record.uid:
                    found.append(process)
            except (psutil.NoSuchProcess, psutil.AccessDenied, psutil.ZombieProcess):
                continue
        return found

    def holders(self) -> list[int]:
        """Find the other processes that have the database open: a supervisor still does when its job is over."""
        found = []
        for process in psutil.process_iter():
            try:
                if process.pid != os.getpid() and any(f.path.startswith(str(self.root)) for f in process.open_files()):
                    found.append(process.pid)
            except (psutil.NoSuchProcess, psutil.AccessDenied, psutil.ZombieProcess):
                continue
        return found

    def kill_supervisor(self, record: JobRecord) -> None:
        os.kill(self.row(record)["pid"], signal.SIGKILL)

    def python(self, code: str, **variables: str) -> subprocess.CompletedProcess[str]:
        """Run code in another process that knows the root as ``root``."""
        preamble = (
            f"import sys, pathlib\nsys.path.insert(0, {str(PROJECT)!r})\nroot = pathlib.Path({str(self.root)!r})\n"
        )
        return subprocess.run(
            [sys.executable, "-c", preamble + code],
            capture_output=True,
            text=True,
            env={**os.environ, **variables},
            timeout=PATIENCE,
        )

    def end(self) -> None:
        for record in self.backend.list():
            if not record.state.final:
                self.backend.cancel(record.name)
        self.until(self.backend.list, lambda records: all(record.state.final for record in records))
        self.backend.close()


@pytest.fixture
def local(tmp_path: Path) -> Iterator[Local]:
    found = Local(tmp_path / "jobs")
    yield found
    found.end()


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """Mount a file system of 1 MiB."""
    place = tmp_path / "disk"
    place.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m,mode=0700", "none", str(place)], check=True)
    yield place
    subprocess.run(["umount", "--lazy", str(place)], check=True)
