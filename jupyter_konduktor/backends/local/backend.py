"""The local backend: what the rest of the package sees of it."""

from __future__ import annotations

import builtins
import getpass
import json
import logging
import os
import signal
import sqlite3
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jupyter_konduktor.backends.local import bell, machine, process, reading, retention
from jupyter_konduktor.backends.local.admission import Capacity, admit, set_capacity
from jupyter_konduktor.backends.local.examine import examine, kept
from jupyter_konduktor.backends.local.needs import Needs, needs_of
from jupyter_konduktor.backends.local.reconcile import reconcile
from jupyter_konduktor.backends.local.records import BACKEND, QUEUE, Listing, records
from jupyter_konduktor.backends.local.root import open_root
from jupyter_konduktor.backends.local.spawn import start_admitted
from jupyter_konduktor.backends.local.store import ACTIVE, FINAL, Store
from jupyter_konduktor.backends.local.submission import Terms, discard_job, new_nonce, write_job
from jupyter_konduktor.backends.local.verdict import REQUEUE, Verdict, resume, settle
from jupyter_konduktor.backends.local.watch import LocalWatch
from jupyter_konduktor.backends.protocol import Event, Finding, LogChunk
from jupyter_konduktor.backends.root import default_root
from jupyter_konduktor.errors import BackendError, JobNotFoundError, StoreError, SubmitError
from jupyter_konduktor.naming import new_name
from jupyter_konduktor.state import JobRecord, QueueInfo
from jupyter_konduktor.task import Task

if TYPE_CHECKING:
    from jupyter_konduktor.config import Settings
    from jupyter_konduktor.payload import Payload

_NAMES_TRIED = 20
_log = logging.getLogger(__name__)


class LocalBackend:
    """Jobs as processes of this machine; see `jupyter_konduktor.backends.protocol.Backend`.

    Parameters
    ----------
    root : Path, optional
        Where the jobs are kept; under Jupyter's data directory by default.
    ignore_gpus : bool, default False
        Run tasks that ask for GPUs this machine lacks, without them.
    grace : float, default 10
        Seconds between telling a job to end and killing it.
    keep_days : float, default 7
    keep_bytes : int, default 10 GB
        How long finished jobs are kept, and how much of them.
    installer : mapping, optional
        Where packages come from (`Settings.installer`).

    Raises
    ------
    StoreError
        If the jobs cannot be kept there.
    """

    def __init__(
        self,
        root: Path | None = None,
        *,
        ignore_gpus: bool = False,
        grace: float = 10.0,
        keep_days: float = 7.0,
        keep_bytes: int = 10 * 10**9,
        installer: Mapping[str, Any] | None = None,
    ) -> None:
        self._layout, self._notes = open_root(default_root() if root is None else root)
        self._ignore_gpus = ignore_gpus
        self._grace = grace
        self._keep_days = keep_days
        self._keep_bytes = keep_bytes
        self._installer = dict(installer or {})
        self._lock = threading.RLock()
        self._store: Store | None = None
        self._listing = Listing()
        self._capacity: Capacity | None = None
        self._watches: list[LocalWatch] = []
        self._trouble = ""

    @classmethod
    def from_settings(cls, settings: Settings) -> LocalBackend:
        """Make it as the settings say."""
        return cls(
            Path(settings.local_dir) if settings.local_dir else None,
            ignore_gpus=settings.local_gpus == "ignore",
            grace=settings.grace,
            keep_days=settings.keep_days,
            keep_bytes=settings.keep_bytes,
            installer=settings.installer,
        )

    @property
    def name(self) -> str:
        """The name of the backend in settings and records."""
        return BACKEND

    @property
    def place(self) -> str:
        """Where its jobs run, for a person."""
        return "this machine"

    def owns(self, record: JobRecord) -> bool:
        """Whether the user of this process submitted the job, whose store it is: always."""
        return True

    @property
    def root(self) -> Path:
        """Where the jobs are kept."""
        return Path(self._layout.root)

    # --- making jobs

    def check(self, task: Task) -> list[str]:
        """Refuse a task that can never run here; gives notes on what has no effect here."""
        return [*self._notes, *self._needs(task).notes]

    def review(self, task: Task, payload: Payload) -> builtins.list[str]:
        """Nothing: the job runs in this very Python."""
        return []

    def submit(
        self, task: Task, payload: Payload | None, *, key: str, origin: Mapping[str, Any] | None = None
    ) -> JobRecord:
        """Queue the task, and start it if it fits; see the protocol."""
        needs = self._needs(task)
        with self._database() as store:
            reconcile(store)
            made = records(store, "key = ?", key)
        if made:
            return made[0]
        uid, nonce = uuid.uuid4().hex, new_nonce()
        try:
            name = self._write(task, payload, uid, nonce)
        except OSError as error:
            raise _not_made(error.strerror or str(error)) from error
        with self._database() as store:
            try:
                uids = self._insert(store, task, payload, needs, (name, uid, nonce, key), origin or {})
            except BaseException as error:
                discard_job(self._layout, name)
                if isinstance(error, sqlite3.IntegrityError):  # another thread or kernel has used the key meanwhile
                    made = records(store, "key = ?", key)
                    if made:
                        return made[0]
                if isinstance(error, (sqlite3.Error, OSError)):
                    raise _not_made(str(error)) from error
                raise
            self._start(store, uids)
            record = records(store, "uid = ?", uid)[0]
            due = retention.is_due(store)
        if due:
            threading.Thread(target=self._collect_quietly, name="konduktor-local-gc", daemon=True).start()
        return record

    def _needs(self, task: Task) -> Needs:
        return needs_of(task, self._machine(), ignore_gpus=self._ignore_gpus)

    def _machine(self) -> Capacity:
        if self._capacity is None:
            self._capacity = machine.capacity()
        return self._capacity

    def _write(self, task: Task, payload: Payload | None, uid: str, nonce: str) -> str:
        for _ in range(_NAMES_TRIED):
            name = new_name(task.name)
            try:
                terms = Terms(name, uid, nonce, self._grace, bool(self._machine().gpus), self._installer)
                write_job(self._layout, task, payload, terms)
            except FileExistsError:
                continue
            return name
        raise SubmitError(f"{_NAMES_TRIED} names like {task.name}-... are taken; nothing was made")

    def _insert(
        self,
        store: Store,
        task: Task,
        payload: Payload | None,
        needs: Needs,
        identity: tuple[str, str, str, str],
        origin: Mapping[str, Any],
    ) -> list[str]:
        """Make the row of a job and admit what fits; gives the uids to start."""
        name, uid, nonce, key = identity
        objects = list(payload.objects) if payload is not None else []
        with store.transaction() as connection:
            written = [self._layout.job(name), *map(self._layout.object, objects)]
            if not all(Path(path).exists() for path in written):
                # A collection takes them for left behind if this submit takes an hour, or the clock was set forward.
                raise OSError("its files were removed while they were written")
            set_capacity(store, self._machine())
            columns = {
                "name": name,
                "uid": uid,
                "key": key,
                "kind": task.kind,
                "user": os.environ.get("JUPYTERHUB_USER") or getpass.getuser(),
                "created": time.time(),
                "spec": json.dumps({**task.to_json(), "nonce": nonce}),
                "origin": json.dumps(dict(origin)),
                "objects": " ".join(objects),
                "priority": needs.priority,
                "cpus": needs.cpus,
                "memory": needs.memory,
                "gpus": needs.gpus,
                "state": "Queued",
                "reason": "Submitted",
                "message": "",
                "version": store.next_version(),
            }
            marks = ", ".join("?" * len(columns))
            query = f"INSERT INTO jobs ({', '.join(columns)}) VALUES ({marks})"  # noqa: S608
            seq = connection.execute(query, tuple(columns.values())).lastrowid
            store.note(seq or 0, "Queued", "Submitted", "", 0)
            return admit(store)

    def _start(self, store: Store, uids: list[str]) -> None:
        """Start what was admitted; the jobs exist by now, and no error here may look as if they did not."""
        try:
            start_admitted(store, uids)
        except (OSError, sqlite3.Error) as error:
            _log.warning("konduktor: a job was queued and could not be started yet: %s", error)
        bell.ring(self._layout.watch, bell.STATE)

    # --- looking

    def get(self, name: str) -> JobRecord:
        """Look one job up; raises `JobNotFoundError`."""
        with self._database() as store:
            found = records(store, "name = ?", name)
            if found and not found[0].ends_wait:
                self._mend(store)
                found = records(store, "name = ?", name)
        if not found:
            raise _not_found(name)
        return found[0]

    def list(self, *, all_users: bool = False) -> list[JobRecord]:
        """All jobs that are kept, oldest first; they are all of this user, whose store it is."""
        with self._database() as store:
            self._mend(store)
            return self._listing.read(store)

    def watch(self, callback: Callable[[Event], None]) -> LocalWatch:
        """Report every job's changes to one callback, from one thread."""
        with self._database():
            watch = LocalWatch(self._layout, callback)
            self._watches.append(watch)
            return watch

    def read_log(
        self, name: str, *, node: int = 0, attempt: int | None = None, offset: int = 0, limit: int = 1 << 20
    ) -> LogChunk:
        """Read one node's stream from an offset in bytes."""
        return reading.log(self._layout, self._row(name), node, attempt, offset, limit)

    def read_envelope(self, name: str) -> bytes | None:
        """The final envelope of the job's last attempt, None where it left none."""
        return reading.envelope(self._layout, self._row(name))

    def read_items(self, name: str, start: int = 0) -> Sequence[tuple[int, bytes]]:
        """The (index, envelope) pairs of a map's finished items."""
        return reading.items(self._layout, self._row(name))[start:]

    def read_artifact(self, name: str, reference: Mapping[str, Any]) -> memoryview:
        """Map the bytes of an artifact into memory; writing to them changes nobody's file."""
        return reading.artifact(self._layout, self._row(name), str(reference.get("sha256", "")))

    def queues(self) -> builtins.list[QueueInfo]:
        """The one queue of this machine."""
        with self._database() as store:
            self._mend(store)
            active = store.active()
            pending = store.row("SELECT count(*) FROM jobs WHERE state = 'Queued'")
        total = self._machine()
        used = {"cpu": sum(row["cpus"] for row in active), "memory": sum(row["memory"] for row in active)}
        resources: dict[str, tuple[float, float | None]] = {
            "cpu": (used["cpu"], total.cpus),
            "memory": (used["memory"], total.memory),
            "gpu": (sum(row["gpus"] for row in active), len(total.gpus)),
        }
        return [QueueInfo(QUEUE, running=len(active), pending=pending[0] if pending else 0, resources=resources)]

    # --- ending jobs

    def cancel(self, name: str) -> None:
        """End the job for good; returns at once, the state follows."""
        self._end(name, "cancel")

    def stop(self, name: str) -> None:
        """Hold the job, ending what runs; returns at once, the state follows."""
        self._end(name, "stop")

    def resume(self, name: str) -> None:
        """Queue a held job again; raises `BackendError` if it is not held."""
        with self._database() as store:
            reconcile(store)
            with store.transaction():
                row = self._known(store, name)
                if row["state"] == "Stopped":
                    resume(store, row)
                elif row["state"] in ACTIVE and row["want"] in ("stop", REQUEUE):
                    store.alter(row["uid"], want=REQUEUE)  # it is stopping
                elif row["state"] != "Queued":
                    raise BackendError(
                        f"{name} is {row['state']} and not stopped",
                        advice="It has ended: run it again." if row["state"] in FINAL else "",
                    )
                uids = admit(store)
            self._start(store, uids)

    def _end(self, name: str, want: str) -> None:
        with self._database() as store:
            reconcile(store)
            uids: list[str] = []
            with store.transaction():
                row = self._known(store, name)
                runs = row["state"] in ACTIVE
                if runs and not process.is_here(row["host"], row["boot"]):
                    raise BackendError(f"{name} runs on {row['host']} or in another container, and is ended from there")
                if runs and row["want"] != "cancel":
                    store.alter(row["uid"], want=want)
                elif row["state"] == "Queued" or (row["state"] == "Stopped" and want == "cancel"):
                    state = ("Cancelled", "CancelledByUser") if want == "cancel" else ("Stopped", "StoppedByUser")
                    settle(store, row, Verdict(*state))
                    uids = admit(store)  # what it had reserved is free
            self._start(store, uids)
            if runs and row["supervised"] and not process.send(row["pid"], row["birth"], signal.SIGTERM):
                reconcile(store)

    def examine(self) -> Iterator[Finding]:
        """Look at this machine and at what is kept here; never raises for what it finds."""
        return examine(self.root, self._notes, ("jobs", lambda: [kept(self.list())]))

    def collect_garbage(self, *, dry_run: bool = False) -> tuple[int, int]:
        """Remove finished jobs beyond the retention; returns (jobs, bytes) removed or, dry, removable."""
        with self._database() as store:
            return retention.collect(store, keep_days=self._keep_days, keep_bytes=self._keep_bytes, dry_run=dry_run)

    def collect_stored(self, *, dry_run: bool = False) -> None:
        """Remove nothing: local jobs use no store."""

    def _collect_quietly(self) -> None:
        """Collect in a thread of its own, with a connection of its own, so that nobody waits for it."""
        try:
            store = Store(self._layout)
            try:
                retention.collect(store, keep_days=self._keep_days, keep_bytes=self._keep_bytes)
            finally:
                store.close()
        except (StoreError, sqlite3.Error, OSError) as error:
            _log.warning("konduktor: old jobs could not be removed: %s", error)

    def close(self) -> None:
        """End watches and release what this process holds; jobs go on."""
        for watch in self._watches:
            watch.close()
        with self._lock:
            self._watches.clear()
            if self._store is not None:
                self._store.close()
                self._store = None

    # --- the database

    def _mend(self, store: Store) -> None:
        """Settle what lost its supervisor. Where that cannot be written down, what is there can still be read."""
        try:
            reconcile(store)
        except sqlite3.OperationalError as error:
            if str(error) != self._trouble:
                self._trouble = str(error)
                _log.warning("konduktor: %s cannot be written at present: %s", self._layout.database, error)

    @contextmanager
    def _database(self) -> Iterator[Store]:
        """Give the calling thread the connection, and errors of the database as our own."""
        with self._lock:
            if self._store is None or not self._store.usable:
                if self._store is not None:
                    self._store.close()
                    open_root(self.root)  # someone may have deleted it with all that lay in it
                self._store, self._listing = Store(self._layout), Listing()
            with self._store.readable():
                yield self._store

    def _row(self, name: str) -> sqlite3.Row:
        with self._database() as store:
            return self._known(store, name)

    def _known(self, store: Store, name: str) -> sqlite3.Row:
        row = store.row("SELECT * FROM jobs WHERE name = ?", name)
        if row is None:
            raise _not_found(name)
        return row


def _not_found(name: str) -> JobNotFoundError:
    return JobNotFoundError(f"there is no job {name!r} on this machine", advice="jk.jobs() lists those that are kept.")


def _not_made(why: str) -> SubmitError:
    return SubmitError(f"the job could not be written: {why}; nothing was made")
