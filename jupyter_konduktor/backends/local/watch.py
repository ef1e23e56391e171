"""One thread that tells a callback what changes, and sleeps until it is rung."""

from __future__ import annotations

import logging
import os
import selectors
import sqlite3
import threading
import time
from collections.abc import Callable
from dataclasses import replace

from jupyter_konduktor.backends.local import process
from jupyter_konduktor.backends.local.bell import STATE, Bell
from jupyter_konduktor.backends.local.layout import Layout
from jupyter_konduktor.backends.local.reconcile import reconcile
from jupyter_konduktor.backends.local.records import nodes_of, records, standing
from jupyter_konduktor.backends.local.spawn import reap
from jupyter_konduktor.backends.local.store import FINAL, Store
from jupyter_konduktor.backends.protocol import Event, JobGone, LogGrew
from jupyter_konduktor.errors import StoreError
from jupyter_konduktor.state import JobRecord, JobState

HEARTBEAT = 60.0
"""Seconds after which it looks though nobody rang: someone who tidied up may have deleted its FIFO."""

UNENDED = 5.0
"""Seconds instead while a job has not ended: nobody rings who deletes jobs by hand."""

POSITIONS = 0.5
"""Least seconds between two reports of where queued jobs stand: each start of a job moves all of them."""

_CHECK = 1.0  # seconds between two looks where the system cannot tell of the end of a process, or after an error
_ACTIVE = (JobState.STARTING, JobState.RUNNING)

_log = logging.getLogger(__name__)


class LocalWatch:
    """A running watch; see `jupyter_konduktor.backends.protocol.Backend.watch`.

    Parameters
    ----------
    layout : Layout
    callback : callable
        Called from the watch's own thread, for one event at a time.
    """

    def __init__(self, layout: Layout, callback: Callable[[Event], None]) -> None:
        self._layout = layout
        self._callback = callback
        self._closing = False
        self._store = Store(layout)
        # It can be rung before it looks for the first time, so nothing falls between the two.
        self._bell = Bell(layout.watch)
        self._logs = _Logs(layout)
        self._guards = _Guards()
        # What changes from here on is told, though it be final before the first look.
        self._since = self._store.version()
        self._seen: int | None = None
        self._unended: dict[str, str] = {}  # uid: name
        self._queued: dict[str, JobRecord] = {}
        self._positions_at = 0.0
        self._positions_due = False
        self._trouble = ""
        self._thread = threading.Thread(target=self._run, name="konduktor-local-watch", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """End it; no callback runs after this returns, unless it is called from the callback."""
        self._closing = True
        if self._thread.is_alive():
            self._bell.wake()
        if self._thread is not threading.current_thread():
            self._thread.join()

    def _run(self) -> None:
        try:
            with selectors.DefaultSelector() as selector:
                selector.register(self._bell.fd, selectors.EVENT_READ)
                rung, check = STATE, True
                while not self._closing:
                    self._look(selector, rung, check)
                    ready = [key.fd for key, _ in selector.select(self._patience())]
                    rung = self._bell.drain()
                    check = not ready or self._guards.release(selector, ready)
        finally:
            self._guards.close()
            self._bell.close()
            self._store.close()

    def _patience(self) -> float:
        """Give the seconds it may sleep if nobody rings."""
        if self._trouble or self._guards.missing:
            return _CHECK
        if self._positions_due:
            return max(0.0, self._positions_at + POSITIONS - time.monotonic())
        return min(HEARTBEAT, UNENDED) if self._unended else HEARTBEAT

    def _look(self, selector: selectors.BaseSelector, rung: bytes, check: bool) -> None:
        try:
            if not self._bell.exists():
                selector.unregister(self._bell.fd)
                self._bell.restore()
                selector.register(self._bell.fd, selectors.EVENT_READ)
                check = True
            if check:
                self._reopen()
                reconcile(self._store)
            if check or STATE in rung:
                self._tell_states()
                if not self._guards.watch(selector, self._store):
                    reconcile(self._store)  # and ring, which brings this thread here again
            else:
                self._tell_logs(self._logs.grown())
            self._tell_positions()
            self._trouble = ""
        except (StoreError, OSError, sqlite3.Error) as error:
            # A full disk, a root that was deleted: it may pass, and the wait must not end with this thread.
            if str(error) != self._trouble:
                self._trouble = str(error)
                _log.warning("konduktor: changes of local jobs cannot be read at present: %s", error)

    def _reopen(self) -> None:
        """Go on with the database that is there now, if someone has deleted or replaced the one that was."""
        if not self._store.usable:
            self._store.close()
            self._store = Store(self._layout)
            self._since, self._seen = self._store.version(), None

    def _tell_states(self) -> None:
        connection = self._store.connection
        connection.execute("BEGIN")  # one snapshot for all that is read
        try:
            if self._seen is None:
                found = records(self._store, f"state NOT IN {FINAL} OR version > ?", self._since)
            else:
                found = records(self._store, "version > ?", self._seen)
            self._seen = self._store.version()
            kept = {uid for (uid,) in connection.execute("SELECT uid FROM jobs")} if self._unended else set()
        finally:
            connection.execute("COMMIT")
        self._tell_logs(self._logs.grown())
        for record in found:
            self._tell_logs(self._logs.follow(record))
            if record.state is JobState.QUEUED:
                self._queued[record.uid] = record
            else:
                self._queued.pop(record.uid, None)
            if record.state.final:
                self._unended.pop(record.uid, None)
            else:
                self._unended[record.uid] = record.name
            self._tell(record)
        for uid in self._unended.keys() - kept - {record.uid for record in found}:
            self._queued.pop(uid, None)
            self._tell(JobGone(self._unended.pop(uid), uid))
        if found and self._queued:
            self._positions_due = True

    def _tell_positions(self) -> None:
        if not self._positions_due or time.monotonic() < self._positions_at + POSITIONS:
            return
        self._positions_due = False
        self._positions_at = time.monotonic()
        for uid, (position, why) in standing(self._store).items():
            held = self._queued.get(uid)
            if held is not None and (held.position, held.message) != (position, why):
                self._queued[uid] = moved = replace(held, position=position, message=why)
                self._tell(moved)

    def _tell_logs(self, events: list[LogGrew]) -> None:
        for event in events:
            self._tell(event)

    def _tell(self, event: Event) -> None:
        if self._closing:
            return
        try:
            self._callback(event)
        except Exception:  # noqa: BLE001  (it is not ours, and one bad event must not end the watch)
            _log.exception("konduktor: a callback failed on %s", event)


class _Logs:
    """The sizes of the logs of the jobs that run."""

    def __init__(self, layout: Layout) -> None:
        self._layout = layout
        self._running: dict[str, tuple[int, int]] = {}  # name: attempt, nodes
        self._sizes: dict[str, dict[str, int]] = {}

    def follow(self, record: JobRecord) -> list[LogGrew]:
        """Take note of a job's new record; gives what has grown up to it."""
        nodes = nodes_of(record.spec)
        first = self._running.get(record.name, (record.attempt, 0))[0]
        attempts = range(first, record.attempt + 1)
        events = [event for attempt in attempts for event in self._grown(record.name, attempt, nodes)]
        if record.state in _ACTIVE:
            self._running[record.name] = (record.attempt, nodes)
        else:
            self._running.pop(record.name, None)
            self._sizes.pop(record.name, None)
        return events

    def grown(self) -> list[LogGrew]:
        """Give what has grown of all jobs that run."""
        running = self._running.items()
        return [event for name, (attempt, nodes) in running for event in self._grown(name, attempt, nodes)]

    def _grown(self, name: str, attempt: int, nodes: int) -> list[LogGrew]:
        files = [(node, self._layout.log(name, attempt, node)) for node in range(nodes)]
        grown = {node for node, path in files if self._has_grown(name, path)}
        if self._has_grown(name, self._layout.items(name, attempt)):
            grown.add(0)
        return [LogGrew(name, node, attempt) for node in sorted(grown)]

    def _has_grown(self, name: str, path: str) -> bool:
        try:
            size = os.stat(path).st_size
        except FileNotFoundError:
            return False
        sizes = self._sizes.setdefault(name, {})
        if size <= sizes.get(path, 0):
            return False
        sizes[path] = size
        return True


class _Guards:
    """A file descriptor for each process that is responsible for a job, readable once the process has ended."""

    def __init__(self) -> None:
        self._fds: dict[int, tuple[int, str]] = {}
        self.missing = False
        """Whether there is a process whose end nobody will tell of."""

    def watch(self, selector: selectors.BaseSelector, store: Store) -> bool:
        """Guard the processes of all jobs that run; False if one of them has ended already."""
        self.missing, alive, known = False, True, set(self._fds.values())
        query = "SELECT DISTINCT host, boot, pid, birth FROM jobs WHERE state IN ('Starting', 'Running')"
        for host, boot, pid, birth in store.rows(query):
            if (pid, birth) in known or pid == os.getpid():
                continue
            if not hasattr(os, "pidfd_open") or not process.is_here(host, boot):
                self.missing = True
                continue
            fd = process.open_pidfd(pid, birth)
            if fd is None:
                alive = False
                continue
            self._fds[fd] = (pid, birth)
            selector.register(fd, selectors.EVENT_READ)
        return alive

    def release(self, selector: selectors.BaseSelector, ready: list[int]) -> bool:
        """Let go of the processes that have ended; whether there are any."""
        ended = [fd for fd in ready if fd in self._fds]
        for fd in ended:
            selector.unregister(fd)
            os.close(fd)
            del self._fds[fd]
        if ended:
            reap()
        return bool(ended)

    def close(self) -> None:
        """Let go of all."""
        for fd in self._fds:
            os.close(fd)
