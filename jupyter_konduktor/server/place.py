"""One backend as the server sees it: opened when it is first asked for, listed once, then followed by one watch."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections import defaultdict
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

from jupyter_konduktor.backends import get_backend
from jupyter_konduktor.backends.protocol import Event, JobGone, LogGrew, Reach
from jupyter_konduktor.errors import KonduktorError, UnreachableError
from jupyter_konduktor.server import problems, rows
from jupyter_konduktor.server.feed import Feed
from jupyter_konduktor.state import JobRecord, JobState, QueueInfo

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from jupyter_konduktor.backends.protocol import Backend
    from jupyter_konduktor.config import Settings

P = ParamSpec("P")
R = TypeVar("R")

LIST_AGAIN = 60.0
"""Seconds after which jobs are listed anew when someone asks: a watch does not tell what became of ended jobs."""

TRY_AGAIN = 5.0
"""Seconds after which a backend that could not be opened is tried again when someone asks."""

OTHERS_KEPT = 5.0
"""Seconds for which a list of everybody's jobs stands."""

EXACT = 100
"""Position in a queue up to which each step is told; beyond it a step of one part in a hundred. Each job that starts
moves all others, and ten thousand rows several times a second are more than a browser can take."""

THREADS = 8

_STOPPED = "The server is being stopped, or was given other settings"

_log = logging.getLogger(__name__)


@dataclass(slots=True)
class _Held:
    """What is known of a job beside its record."""

    record: JobRecord
    mine: bool
    items: int | None = None
    told: int | None = None  # the position that was told


class Place:
    """A backend, its jobs, and the threads in which it is asked; what it is asked never holds up another place.

    Parameters
    ----------
    name : str
        Of the backend.
    settings : Settings
        What it is made with.
    feed : Feed
        Gets the rows.
    made : Rows
        Makes them.
    """

    def __init__(self, name: str, settings: Settings, feed: Feed, made: rows.Rows) -> None:
        self.name = name
        self._settings = settings
        self._feed = feed
        self._rows = made
        self._pool = ThreadPoolExecutor(THREADS, f"konduktor-server-{self.name}")
        self._lock = threading.RLock()
        self._backend: Backend | None = None
        self._opening = threading.Lock()
        self._watched = False
        self._work: Future[None] | None = None
        self._due = 0.0
        self._begun: float | None = None
        self._listed = False
        self._closed = False
        self._trouble = Reach(None)  # of the listing
        self._reach = Reach(None)  # of the watch
        self._held: dict[str, _Held] = {}
        self._others_at = float("-inf")
        self._others_trouble = ""
        self._ending: set[str] = set()  # uids of the jobs whose end was asked for here
        self._counting: set[str] = set()
        self._growth: dict[str, set[Callable[[], None]]] = defaultdict(set)

    # --- asked by the service, on its loop

    async def run(self, call: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        """Call something that may block in a thread of this place."""
        with self._lock:
            if self._closed:
                raise UnreachableError(_STOPPED)
            future = self._pool.submit(call, *args, **kwargs)
        try:
            return await asyncio.wrap_future(future)
        except asyncio.CancelledError:
            if self._closed:  # what still waited for a thread when this was closed has none to run in
                raise UnreachableError(_STOPPED) from None
            raise

    async def ready(self, patience: float) -> None:
        """See that the jobs are listed and followed; wait for it only the first time, and not for long."""
        work = self.refresh()
        if not self._listed:
            await asyncio.wait([asyncio.wrap_future(work)], timeout=patience)

    def refresh(self) -> Future[None]:
        """List the jobs in a thread if that is due."""
        with self._lock:
            if self._closed:
                raise UnreachableError(_STOPPED)
            if self._work is None or (self._work.done() and time.monotonic() >= self._due):
                self._begun = self._begun or time.time()
                self._work = self._pool.submit(self._refresh)
            return self._work

    def state(self, *, everyone: bool = False) -> dict[str, Any]:
        """Say whether the place can be seen, and if asked everybody's jobs, in the form of ``IBackend``."""
        with self._lock:
            trouble = self._trouble if self._trouble.since is not None else self._reach
            since, message = trouble.since, trouble.message
            if since is None and not self._listed:
                since, message = self._begun, "It has not answered yet"
            message = message or (self._others_trouble if everyone else "")
            place = self._backend.place if self._backend is not None else ""
        return {"name": self.name, "place": place, "unknown_since": since, "message": message}

    @contextmanager
    def growing(self, name: str, listener: Callable[[], None]) -> Iterator[None]:
        """Call a function, from some thread, when the log of a job may have grown or the job has changed."""
        with self._lock:
            self._growth[name].add(listener)
        try:
            yield
        finally:
            with self._lock:
                self._growth[name].discard(listener)
                if not self._growth[name]:
                    del self._growth[name]

    def close(self) -> None:
        """End the watch and let the backend go; jobs go on."""
        with self._lock:
            self._closed = True
        self._pool.shutdown(wait=False, cancel_futures=True)
        with self._opening:
            backend = self._backend
        if backend is not None:
            backend.close()

    # --- asked in a thread

    @property
    def backend(self) -> Backend:
        """The backend, opened and watched; raises what `get_backend` and the watch raise."""
        with self._opening:
            if self._closed:
                raise UnreachableError(_STOPPED)
            if self._backend is None:
                self._backend = get_backend(self.name, self._settings)
            if not self._watched:
                self._backend.watch(self._on_event)
                self._watched = True
            return self._backend

    def row(self, record: JobRecord) -> rows.Row:
        """Give the row of a job as it is told."""
        mine = self.backend.owns(record)
        with self._lock:
            held = self._held.get(record.name)
            return self._row(record, mine, held.items if held is not None else None)

    def count_items(self, record: JobRecord) -> None:
        """Count the items of a map that have ended, as far as they can be seen."""
        if record.kind != "map" or record.state is JobState.SUCCEEDED:
            return
        with self._lock:
            self._counting.discard(record.uid)
        try:
            found = len(dict(self.backend.read_items(record.name)))
        except KonduktorError as error:
            _log.info("konduktor: the items of %s cannot be counted: %s", record.name, error.message)
            return
        with self._lock:
            held = self._held.get(record.name)
            if held is not None and held.record.uid == record.uid and held.items != found:
                held.items = found
                self._tell(held)

    def act(self, verb: str, name: str) -> None:
        """Cancel, stop or resume a job; raises `ConflictError` where its state does not allow it."""
        backend = self.backend
        record = backend.get(name)
        if record.state.final:
            raise problems.ConflictError(f"{name} has ended: it is {record.state}")
        if verb == "stop" and record.state is JobState.STOPPED:
            raise problems.ConflictError(f"{name} is stopped already")
        try:
            {"cancel": backend.cancel, "stop": backend.stop, "resume": backend.resume}[verb](name)
        except KonduktorError as error:
            if problems.has_status(error):
                raise
            raise problems.ConflictError(error.message, advice=error.advice) from error
        if verb == "cancel":
            with self._lock:
                self._ending.add(record.uid)
                held = self._held.get(name)
                if held is not None:
                    self._tell(held)
        else:
            self._take(backend.get(name))

    def list_others(self) -> None:
        """List everybody's jobs, unless that was done just now."""
        with self._lock:
            if time.monotonic() < self._others_at + OTHERS_KEPT:
                return
            self._others_at = time.monotonic()
            before = {name for name, held in self._held.items() if not held.mine}
        try:
            self._take_all(self.backend.list(all_users=True), before)
            trouble = ""
        except KonduktorError as error:
            trouble = problems.line(error)
        with self._lock:
            self._others_trouble = trouble

    def queues(self) -> list[QueueInfo]:
        """The queues with their use."""
        return self.backend.queues()

    # --- what is known

    def _refresh(self) -> None:
        trouble = ""
        try:
            backend = self.backend
            with self._lock:
                before = {name for name, held in self._held.items() if held.mine}
            self._take_all(backend.list(), before)
        except KonduktorError as error:
            trouble = problems.line(error)
        except Exception as error:  # noqa: BLE001 - one place must not take the others with it
            _log.exception("konduktor: the jobs of %s cannot be listed", self.name)
            trouble = f"{type(error).__name__}: {error}; the server's log tells more"
        with self._lock:
            self._due = time.monotonic() + (TRY_AGAIN if trouble else LIST_AGAIN)
            first = not trouble and not self._listed
            changed = trouble != self._trouble.message
            self._trouble = Reach((self._trouble.since or time.time()) if trouble else None, trouble)
            self._listed = self._listed or first
        if first or changed:
            self._feed.stir(whole=first)  # thousands of jobs that were there already are no news of each

    def _take_all(self, records: Iterable[JobRecord], before: set[str]) -> None:
        """Take a list in; what was held before it was made and is not in it is gone."""
        listed = set()
        for record in records:
            listed.add(record.name)
            self._take(record)
        for name in before - listed:
            self._drop(name)

    def _on_event(self, event: Event) -> None:
        if self._closed:
            return
        if isinstance(event, JobRecord):
            self._take(event)
            self._grown(event.name)
        elif isinstance(event, LogGrew):
            with self._lock:
                held = self._held.get(event.name)
            if held is not None and held.record.kind == "map":
                self._count_soon(held.record)
            self._grown(event.name)
        elif isinstance(event, JobGone):
            with self._lock:
                held = self._held.get(event.name)
            if held is not None and held.record.uid == event.uid:
                self._drop(event.name)
            self._grown(event.name)
        else:
            with self._lock:
                self._reach = event
                if event.since is None:
                    self._due = 0.0
            self._feed.stir()

    def _grown(self, name: str) -> None:
        with self._lock:
            listeners = list(self._growth.get(name, ()))
        for listener in listeners:
            listener()

    def _take(self, record: JobRecord) -> None:
        """Keep the newer of two records; of two jobs with one name the one made later."""
        backend = self._backend
        mine = backend is not None and backend.owns(record)  # on a cluster this may have to ask who we are
        with self._lock:
            held = self._held.get(record.name)
            if held is not None and held.record.uid == record.uid:
                known = held.record
                if record.version < known.version:
                    return
                held.record = record
                same = record.version == known.version and record.stuck == known.stuck
                if same and not _noticeable(held.told, record.position):
                    return
            elif held is not None and record.created < held.record.created:
                return
            else:
                held = self._held[record.name] = _Held(record, mine)
            if record.state.final:
                self._ending.discard(record.uid)
            self._tell(held)
        if record.kind == "map" and record.state is JobState.RUNNING:
            self._count_soon(record)  # on a cluster this is also what makes its growth be told of

    def _drop(self, name: str) -> None:
        with self._lock:
            held = self._held.pop(name, None)
            if held is not None:
                self._ending.discard(held.record.uid)
                self._feed.drop(rows.identity(held.record))

    def _tell(self, held: _Held) -> None:
        held.told = held.record.position
        row = self._row(held.record, held.mine, held.items)
        self._feed.put(rows.identity(held.record), rows.encode(row), mine=held.mine)

    def _row(self, record: JobRecord, mine: bool, ended: int | None) -> rows.Row:
        total = record.spec.get("items") if record.kind == "map" else None
        items = None
        if isinstance(total, int):
            ended = total if record.state is JobState.SUCCEEDED else ended
            items = (total, ended) if ended is not None else None
        return self._rows.row(record, mine=mine, items=items, cancelling=record.uid in self._ending)

    def _count_soon(self, record: JobRecord) -> None:
        """Count the items of a map in a thread, once for all that comes until then."""
        with self._lock:
            if record.uid in self._counting or self._closed:
                return
            self._counting.add(record.uid)
            self._pool.submit(self.count_items, record)


def _noticeable(told: int | None, now: int | None) -> bool:
    """Whether a job's step in its queue is worth telling."""
    if told is None or now is None:
        return told != now
    return told != now and (now < EXACT or abs(told - now) * EXACT >= told)
