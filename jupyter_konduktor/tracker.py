"""Follows every job of one backend through one watch, and wakes whoever waits for a change."""

from __future__ import annotations

import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

from jupyter_konduktor.backends.protocol import Backend, Event, JobGone, LogGrew, Reach, Watch
from jupyter_konduktor.errors import JobLostError, JobNotFoundError
from jupyter_konduktor.state import JobRecord

TICK = 0.2
"""Longest slice of a wait in seconds, so that an interrupt is seen on every platform."""


class Tracker:
    """The latest record of each job of a backend, kept up to date by one watch that starts when it is first needed.

    Attributes
    ----------
    backend : Backend
    reach : Reach
        Whether the backend can be seen at present.
    """

    def __init__(self, backend: Backend) -> None:
        self.backend = backend
        self.reach = Reach(None)
        self._changed = threading.Condition()
        self._starting = threading.Lock()
        self._records: dict[str, JobRecord] = {}
        # Held, and maybe older than the watch, which does not tell of what was final when it began: read once more.
        self._unsure: set[str] = set()
        self._gone: set[str] = set()
        self._grown: dict[str, int] = defaultdict(int)
        self._listeners: dict[int, Callable[[], object]] = {}
        self._watch: Watch | None = None

    def start(self) -> None:
        """Start the watch if it does not run."""
        with self._starting:
            if self._watch is None:
                self._watch = self.backend.watch(self._on_event)

    def close(self) -> None:
        """Stop the watch; the next use starts it again."""
        with self._starting:
            watch, self._watch = self._watch, None
        if watch is not None:
            watch.close()
        with self._changed:
            self._records.clear()
            self._unsure.clear()

    def _on_event(self, event: Event) -> None:
        with self._changed:
            if isinstance(event, JobRecord):
                self._store(event)
                self._unsure.discard(event.name)
            elif isinstance(event, JobGone):
                self._forget(event)
            elif isinstance(event, LogGrew):
                self._grown[event.name] += 1
            else:
                self.reach = event
            self._changed.notify_all()
            listeners = list(self._listeners.values())
        for listener in listeners:
            listener()

    def _store(self, record: JobRecord) -> JobRecord:
        """Keep the newer of two records; of two jobs with one name the one made later."""
        held = self._records.get(record.name)
        newer = held is None or (
            record.version >= held.version if record.uid == held.uid else record.created >= held.created
        )
        if newer:
            self._records[record.name] = record
            self._gone.discard(record.name)
        return self._records[record.name]

    def _forget(self, gone: JobGone) -> None:
        """Drop what is held of a job that was deleted, and let those who wait for it know."""
        held = self._records.get(gone.name)
        if held is not None and held.uid == gone.uid:
            del self._records[gone.name]
            self._unsure.discard(gone.name)
            self._gone.add(gone.name)

    def _latest(self, name: str, known: JobRecord) -> JobRecord:
        self._check_gone(name)
        return self._records.get(name, known)

    def _check_gone(self, name: str) -> None:
        if name in self._gone:
            raise JobLostError(f"{name} was deleted before it had ended", advice="Run it again.", job=name)

    def put_all(self, records: Iterable[JobRecord]) -> list[JobRecord]:
        """Add the records of a listing, and give the newest that is known of each."""
        with self._changed:
            return [self._store(record) for record in records]

    def put(self, record: JobRecord) -> JobRecord:
        """Add a record that was read or made elsewhere."""
        with self._changed:
            held = self._records.get(record.name)
            if self._watch is None or held is None or held.uid != record.uid:
                self._unsure.add(record.name)
            return self._store(record)

    def get(self, name: str) -> JobRecord:
        """Give the latest record of a job; raises `JobNotFoundError`, or `JobLostError` if it was deleted meanwhile."""
        with self._changed:
            self._check_gone(name)
            held = self._records.get(name)
            watched = self._watch is not None
            if held is not None and (held.state.final or (watched and name not in self._unsure)):
                return held
        record = self.backend.get(name)
        with self._changed:
            if watched:
                self._unsure.discard(name)
            else:
                self._unsure.add(name)
            return self._store(record)

    def current(self, name: str) -> JobRecord:
        """Give the latest record with the watch running, so that no later change is missed."""
        with self._changed:
            held = self._records.get(name)
        if held is not None and held.state.final:
            return held
        self.start()
        return self.get(name)

    def growth(self, name: str) -> int:
        """Count how often the log of a job has grown since the watch began."""
        with self._changed:
            return self._grown[name]

    def wait(self, name: str, done: Callable[[JobRecord], bool], timeout: float | None = None) -> JobRecord | None:
        """Wait until a job's record satisfies a condition; None when the time is up.

        The calling thread sees a KeyboardInterrupt within `TICK` seconds.
        """
        end = None if timeout is None else time.monotonic() + timeout
        record = self.current(name)
        while not done(record):
            left = TICK if end is None else min(TICK, end - time.monotonic())
            if left <= 0:
                return None
            with self._changed:
                if self._records.get(name) is record:
                    self._changed.wait(left)
                record = self._latest(name, record)
        return record

    def wait_change(self, name: str, record: JobRecord, growth: int, tick: float = TICK) -> JobRecord:
        """Wait for a new record or more log than ``growth``, at most ``tick`` seconds; give the latest record."""
        with self._changed:
            if self._records.get(name) is record and self._grown[name] == growth:
                self._changed.wait(tick)
            return self._latest(name, record)

    @contextmanager
    def listening(self, listener: Callable[[], object]) -> Iterator[None]:
        """Call a function, from the watch's thread, after each event."""
        with self._changed:
            self._listeners[id(listener)] = listener
        try:
            yield
        finally:
            with self._changed:
                del self._listeners[id(listener)]

    def exists(self, name: str) -> bool:
        """Whether the backend knows a job of this name."""
        try:
            self.get(name)
        except JobNotFoundError:
            return False
        return True
