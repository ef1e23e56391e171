"""A backend in memory, so that a test says what happens to a job and when."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from jupyter_konduktor.backends.protocol import Event, LogChunk, LogGrew
from jupyter_konduktor.config import Settings
from jupyter_konduktor.errors import BackendError, JobNotFoundError
from jupyter_konduktor.job import Job
from jupyter_konduktor.state import JobRecord, JobState, Transition
from jupyter_konduktor.tracker import Tracker
from jupyter_konduktor.widgets import front_end, shown


@dataclass
class Memory:
    """As much of a backend as a widget asks for."""

    name: str = "memory"
    records: dict[str, JobRecord] = field(default_factory=dict)
    log: bytes = b""
    reads: int = 0
    items: list[tuple[int, bytes]] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)
    refusal: str = ""
    tell: Callable[[Event], None] = lambda event: None

    def get(self, name: str) -> JobRecord:
        if name not in self.records:
            raise JobNotFoundError(f"{name} is not known")
        return self.records[name]

    def watch(self, callback: Callable[[Event], None]) -> Memory:
        self.tell = callback
        return self

    def close(self) -> None:
        self.tell = lambda event: None

    def read_log(self, name: str, *, attempt: int | None = None, offset: int = 0) -> LogChunk:
        self.reads += 1
        return LogChunk(self.log[offset:], len(self.log), False)

    def read_items(self, name: str, start: int = 0) -> Sequence[tuple[int, bytes]]:
        return self.items[start:]

    def cancel(self, name: str) -> None:
        self.asked.append(f"cancel {name}")
        if self.refusal:
            raise BackendError(self.refusal)

    def stop(self, name: str) -> None:
        self.asked.append(f"stop {name}")

    def resume(self, name: str) -> None:
        self.asked.append(f"resume {name}")


class Scene:
    """One job, and what is done to it."""

    def __init__(self) -> None:
        self.backend = Memory()
        self.tracker = Tracker(self.backend)  # type: ignore[arg-type]
        self.job = Job("train-7fq2x", self.tracker, Settings())
        self.put(JobState.QUEUED, "Submitted")

    def put(self, state: JobState, message: str = "", **changes: Any) -> JobRecord:
        """Bring the job to a state, and tell the watch."""
        now = time.time()
        held = self.backend.records.get(self.job.name) or JobRecord(self.job.name, "1", "memory", state, created=now)
        history = (*held.history, Transition(now, state, "", message, changes.get("attempt", 0)))
        changes = {"state": state, "message": message, "history": history, "version": held.version + 1, **changes}
        record = replace(held, **changes)
        self.backend.records[self.job.name] = record
        self.backend.tell(record)
        return record

    def write(self, data: bytes) -> None:
        self.backend.log += data
        self.backend.tell(LogGrew(self.job.name, 0, 0))

    def spec(self, **spec: Any) -> None:
        held = self.backend.records[self.job.name]
        self.backend.records[self.job.name] = replace(held, spec=spec)


@pytest.fixture
def scene() -> Iterator[Scene]:
    made = Scene()
    yield made
    made.tracker.close()


@pytest.fixture
def published(monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, dict[str, Any]]]:
    """A front end with widgets that hears clicks: what stands below the cell now, by display id, in order."""
    outputs: dict[str, dict[str, Any]] = {}

    def publish(data: dict[str, Any], metadata: object, display_id: str, *, update: bool = False) -> None:
        assert update == (display_id in outputs)
        outputs[display_id] = data

    monkeypatch.setattr(front_end, "publish", publish)
    monkeypatch.setattr(front_end, "shows_widgets", lambda: True)
    monkeypatch.setattr(front_end, "hears_clicks", lambda: True)
    yield outputs
    shown.LOOP.close()
    until(lambda: not any(thread.name == "konduktor-widgets" for thread in threading.enumerate()))


def until(condition: Callable[[], bool], seconds: float = 20) -> None:
    """Wait for a condition."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it has not come to pass"
        time.sleep(0.01)
