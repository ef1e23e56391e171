"""The backends that the contract suite runs over, and what its tests share.

A backend joins by one more entry in `BACKENDS`: what prepares a place for one test, on resources of its own.
"""

from __future__ import annotations

import functools
import itertools
import threading
import time
import uuid
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import pytest

from jupyter_konduktor.backends import get_backend
from jupyter_konduktor.backends.local.backend import LocalBackend
from jupyter_konduktor.backends.protocol import Backend, Event, LogGrew
from jupyter_konduktor.config import Settings
from jupyter_konduktor.payload import capture_call, capture_map
from jupyter_konduktor.result import Decoder
from jupyter_konduktor.runner.envelope import Envelope, parse
from jupyter_konduktor.runner.stream import StreamDecoder
from jupyter_konduktor.state import JobRecord, JobState
from jupyter_konduktor.task import Task
from tests.testbed import environment, places

T = TypeVar("T")
GRACE = 1.0
PATIENCE = 100.0  # a store that is silent is asked again after 60


@contextmanager
def _local(request: pytest.FixtureRequest) -> Iterator[Harness]:
    place = request.getfixturevalue("tmp_path")

    def make(**more: Any) -> Backend:
        return LocalBackend.from_settings(Settings.load({"local_dir": str(place / "jobs"), "grace": GRACE, **more}))

    yield Harness(make, {})


@contextmanager
def _kubernetes(request: pytest.FixtureRequest) -> Iterator[Harness]:
    cluster = request.getfixturevalue("cluster")
    monkeypatch = request.getfixturevalue("monkeypatch")
    monkeypatch.setenv("JUPYTER_DATA_DIR", str(request.getfixturevalue("tmp_path")))
    with cluster.new_namespace({"cpu": "200m"}) as namespace:
        where = {"backend": "kubernetes", "kubeconfig": str(namespace.kubeconfig)}

        def make(**more: Any) -> Backend:
            return get_backend("kubernetes", Settings.load({**where, "grace": GRACE, **more}))

        yield Harness(make, {"image": cluster.image, "cpus": "100m"}, apart=1.0)


BACKENDS = {"local": _local, "kubernetes": _kubernetes}


class Harness:
    """A backend under test and the everyday steps with it."""

    def __init__(self, make: Callable[..., Backend], where: dict[str, str], apart: float = 0.0) -> None:
        self._make = make
        self._where = where  # what a task has to name here
        self._apart = apart  # seconds between two jobs that have an order in their queue
        self._made: list[Backend] = []
        self.backend = self.another()

    def another(self, **settings: Any) -> Backend:
        """Make a second client of the same jobs, with other settings."""
        self._made.append(self._make(**settings))
        return self._made[-1]

    def task(self, script: str, **options: Any) -> Task:
        """Make a task that runs a shell script."""
        where = {"name": "t", **self._where, **options}
        return Task.create(kind="command", command=["sh", "-c", script], **where)

    def submit(self, script: str, *, key: str | None = None, **options: Any) -> JobRecord:
        return self.backend.submit(self.task(script, **options), None, key=key or uuid.uuid4().hex)

    def map(self, function: Callable[..., Any], items: Iterable[Any], **options: Any) -> JobRecord:
        """Run a function over items to the end."""
        calls = [(item,) for item in items]
        where = {"name": "m", **self._where, **options}
        task = Task.create(kind="map", items=len(calls), **where)
        self.backend.check(task)
        payload = capture_map(function, calls, {}, environ={})
        return self.wait(self.backend.submit(task, payload, key=uuid.uuid4().hex))

    def call(self, function: Callable[..., Any], *arguments: Any, **options: Any) -> JobRecord:
        """Call a function to the end."""
        task = Task.create(kind="function", **{"name": "f", **self._where, **options})
        self.backend.check(task)
        payload = capture_call(function, arguments, {}, environ={})
        return self.wait(self.backend.submit(task, payload, key=uuid.uuid4().hex))

    def value(self, record: JobRecord) -> Any:
        """Decode what a job has given back."""
        read = functools.partial(self.backend.read_artifact, record.name)
        return Decoder(record.name, read, {}).decode(self.envelope(record)).value

    def with_store(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Have a store where a backend needs one: on this machine there is the disk."""
        if self.backend.name == "kubernetes":
            for name, value in environment.store().items():
                monkeypatch.setenv(name, value)
            self.backend = self.another(store=f"s3://{places.S3_BUCKET}/contract")

    def items(self, record: JobRecord) -> dict[int, Envelope]:
        """Read what became of the items of a map."""
        return {index: parse(envelope) for index, envelope in self.backend.read_items(record.name)}

    def fill(self) -> JobRecord:
        """Submit a job that takes all there is until it is cancelled, and wait until it runs."""
        record = self.submit("exec sleep 600", name="filler", cpus=self.cpus())
        return self.wait(record, JobState.RUNNING)

    def cpus(self) -> float:
        """Count the cores of the queue."""
        total = self.backend.queues()[0].resources["cpu"][1]
        assert total is not None
        return total

    def wait(self, record: JobRecord, *states: JobState) -> JobRecord:
        """Wait until a job is in one of the states, the final ones unless some are named."""
        wanted = states or (JobState.SUCCEEDED, JobState.FAILED, JobState.CANCELLED)
        return self.until(lambda: self.backend.get(record.name), lambda now: now.state in wanted)

    def until(self, look: Callable[[], T], holds: Callable[[T], bool]) -> T:
        """Look again and again until something holds."""
        end = time.monotonic() + PATIENCE
        while not holds(seen := look()):
            assert time.monotonic() < end, f"still {seen} after {PATIENCE:g} s"
            time.sleep(0.01)
        return seen

    def submit_after(self, script: str, **options: Any) -> JobRecord:
        """Submit a job that stands behind all others in its queue."""
        time.sleep(self._apart)
        return self.submit(script, **options)

    def run(self, script: str, **options: Any) -> JobRecord:
        """Run a script to its end."""
        return self.wait(self.submit(script, **options))

    def output(self, record: JobRecord, **where: Any) -> bytes:
        """Read all that a node of a job wrote, as it wrote it."""
        decoder = StreamDecoder(self.backend.get(record.name).spec["nonce"])
        parts, offset = [], 0
        while True:
            chunk = self.backend.read_log(record.name, offset=offset, limit=1000, **where)
            parts += decoder.feed(chunk.data)
            offset = chunk.offset
            if not chunk.data:
                parts += decoder.flush()
                return b"".join(part for part in parts if isinstance(part, bytes))

    def wait_output(self, record: JobRecord, text: bytes, **where: Any) -> None:
        """Wait until a job has written something."""
        self.until(lambda: self.output(record, **where), lambda written: text in written)

    def envelope(self, record: JobRecord) -> Envelope:
        found = self.backend.read_envelope(record.name)
        assert found is not None
        return parse(found)

    def follow(self, backend: Backend | None = None) -> Follower:
        return Follower(backend or self.backend)

    def end(self) -> None:
        """End what runs, then let go."""
        for record in self.backend.list():
            if not record.state.final:
                self.backend.cancel(record.name)
        self.until(self.backend.list, lambda records: all(record.state.final for record in records))
        for backend in self._made:
            backend.close()


class Follower:
    """Everything a watch tells, in order."""

    def __init__(self, backend: Backend) -> None:
        self.events: list[Event] = []
        self.threads: set[int] = set()
        self._changed = threading.Condition()
        self.watch = backend.watch(self._on_event)

    def _on_event(self, event: Event) -> None:
        with self._changed:
            self.events.append(event)
            self.threads.add(threading.get_ident())
            self._changed.notify_all()

    def records(self, job: JobRecord) -> list[JobRecord]:
        return [event for event in self.events if isinstance(event, JobRecord) and event.uid == job.uid]

    def states(self, job: JobRecord) -> list[JobState]:
        """List the states a job was reported in, each change once."""
        return [state for state, _ in itertools.groupby(record.state for record in self.records(job))]

    def growth(self, job: JobRecord) -> list[LogGrew]:
        return [event for event in self.events if isinstance(event, LogGrew) and event.name == job.name]

    def wait(self, holds: Callable[[], bool]) -> None:
        with self._changed:
            assert self._changed.wait_for(holds, PATIENCE), self.events

    def wait_final(self, *jobs: JobRecord) -> None:
        self.wait(lambda: all(any(r.state.final for r in self.records(job)) for job in jobs))


@pytest.fixture(params=["local", pytest.param("kubernetes", marks=pytest.mark.needs("cluster"))])
def jobs(request: pytest.FixtureRequest) -> Iterator[Harness]:
    with BACKENDS[request.param](request) as harness:
        yield harness
        harness.end()
