"""The database of jobs: one row a job, one row a change of its state.

Every change is one transaction under SQLite's write lock and gives the row a greater version than any row has, so that
``version > the last one seen`` is all a watcher has to ask.
"""

from __future__ import annotations

import os
import time
from contextlib import contextmanager

from jupyter_konduktor.backends.local import process
from jupyter_konduktor.backends.local.layout import Layout

TYPE_CHECKING = False
if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterator
    from typing import Any
else:
    import _sqlite3 as sqlite3  # the C part: what `sqlite3` adds costs a job 4 ms, and none of it is used

SCHEMA_VERSION = 1
BUSY_SECONDS = 30.0
FINAL = ("Succeeded", "Failed", "Cancelled")
ACTIVE = ("Starting", "Running")

_SCHEMA = """
CREATE TABLE jobs (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,  -- the order of submission
    name TEXT NOT NULL UNIQUE,
    uid TEXT NOT NULL UNIQUE,
    key TEXT NOT NULL UNIQUE,               -- of idempotency
    kind TEXT NOT NULL,
    user TEXT NOT NULL,
    created REAL NOT NULL,
    spec TEXT NOT NULL,                     -- JSON
    origin TEXT NOT NULL,                   -- JSON
    objects TEXT NOT NULL,                  -- SHA-256 of each buffer of the payload, with spaces between
    priority INTEGER NOT NULL,
    cpus REAL NOT NULL,                     -- what all its nodes need together
    memory INTEGER NOT NULL,
    gpus INTEGER NOT NULL,
    state TEXT NOT NULL,
    reason TEXT NOT NULL,
    message TEXT NOT NULL,
    attempt INTEGER NOT NULL DEFAULT 0,
    exit_code INTEGER,
    failed_node INTEGER,
    want TEXT NOT NULL DEFAULT '',          -- 'cancel' or 'stop' while it runs
    devices TEXT NOT NULL DEFAULT '',       -- the GPUs it was given, with commas between
    host TEXT, boot TEXT,                   -- where pid means something
    pid INTEGER, birth TEXT,                -- who is responsible for it while it is Starting or Running:
    supervised INTEGER NOT NULL DEFAULT 0,  -- its supervisor, or (0) who admitted it and is to start that
    version INTEGER NOT NULL
);
CREATE INDEX jobs_state ON jobs (state, priority DESC, seq);
CREATE UNIQUE INDEX jobs_version ON jobs (version);
CREATE TABLE history (
    job INTEGER NOT NULL REFERENCES jobs (seq) ON DELETE CASCADE,
    time REAL NOT NULL,
    state TEXT NOT NULL,
    reason TEXT NOT NULL,
    message TEXT NOT NULL,
    attempt INTEGER NOT NULL
);
CREATE INDEX history_job ON history (job);
CREATE TABLE facts (key TEXT PRIMARY KEY, value) WITHOUT ROWID;
INSERT INTO facts VALUES ('version', 0);
"""


class Store:
    """A connection to the database of a root.

    It may be handed from thread to thread, but is used by one at a time.

    Raises
    ------
    StoreError
        If the database cannot be opened, is damaged, or was made by a later version of this package.
    """

    def __init__(self, layout: Layout) -> None:
        self.layout = layout
        self._pid = os.getpid()
        self._file: tuple[int, int] | None = None
        with self.readable():
            self.connection = sqlite3.connect(
                layout.database, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False
            )
            self.connection.row_factory = sqlite3.Row
            try:
                self._prepare()
                self._file = _identity(layout.database)
            except BaseException:
                self.connection.close()
                raise

    def _prepare(self) -> None:
        self.connection.execute("PRAGMA synchronous = NORMAL")
        self.connection.execute("PRAGMA foreign_keys = ON")
        if self._schema_version() == 0:
            os.chmod(self.layout.database, 0o600)
            self.connection.execute("PRAGMA journal_mode = WAL")
            with self.transaction():
                if self._schema_version() == 0:  # nobody else was faster
                    for statement in _SCHEMA.split(";\n"):
                        self.connection.execute(statement)
                    self.connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
        if self._schema_version() > SCHEMA_VERSION:
            from jupyter_konduktor.errors import StoreError

            raise StoreError(
                f"{self.layout.database} was made by a later version of jupyter_konduktor "
                f"(schema {self._schema_version()}; this one knows {SCHEMA_VERSION})",
                advice="Upgrade jupyter_konduktor here, or set local_dir to another directory.",
            )

    def _schema_version(self) -> int:
        return int(self.connection.execute("PRAGMA user_version").fetchone()[0])

    @property
    def usable(self) -> bool:
        """Whether it still is the database: a connection must not cross a fork, and someone may delete the file."""
        return self._pid == os.getpid() and self._file == _identity(self.layout.database)

    def close(self) -> None:
        """Close the connection."""
        if self._pid == os.getpid():
            self.connection.close()

    @contextmanager
    def readable(self) -> Iterator[None]:
        """Turn what SQLite raises into a `StoreError` that says what to do."""
        try:
            yield
        except sqlite3.Error as error:
            from jupyter_konduktor.errors import StoreError

            code = getattr(error, "sqlite_errorname", "")
            path, text = self.layout.database, str(error)
            if code.startswith(("SQLITE_CORRUPT", "SQLITE_NOTADB")):
                raise StoreError(
                    f"the job database {path} is damaged: {text}",
                    advice=f"Move it away (mv '{path}' '{path}.damaged'); logs and results stay in {self.layout.jobs}.",
                ) from error
            if code.startswith("SQLITE_FULL"):
                raise StoreError(f"no space left for {path}", advice="Free some, or run %konduktor gc.") from error
            if code.startswith("SQLITE_BUSY"):
                raise StoreError(
                    f"the job database {path} was locked for {BUSY_SECONDS:g} s",
                    advice="A process that holds it is stuck or stopped; `fuser` on it names that process.",
                ) from error
            raise StoreError(f"the job database {path} cannot be used: {text}") from error

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """Hold the write lock; all of the changes are made, or none."""
        self.connection.execute("BEGIN IMMEDIATE")
        try:
            yield self.connection
            self.connection.execute("COMMIT")
        except BaseException:
            if self.connection.in_transaction:  # a full disk may have rolled it back already
                self.connection.execute("ROLLBACK")
            raise

    def rows(self, query: str, *values: Any) -> list[sqlite3.Row]:
        """Give all rows of a query."""
        return self.connection.execute(query, values).fetchall()

    def row(self, query: str, *values: Any) -> sqlite3.Row | None:
        """Give the first row of a query."""
        found: sqlite3.Row | None = self.connection.execute(query, values).fetchone()
        return found

    def by_uid(self, uid: str) -> sqlite3.Row | None:
        """Give the row of a job."""
        return self.row("SELECT * FROM jobs WHERE uid = ?", uid)

    def active(self) -> list[sqlite3.Row]:
        """Give the rows of the jobs that hold resources."""
        return self.rows("SELECT * FROM jobs WHERE state IN ('Starting', 'Running') ORDER BY seq")

    def next_version(self) -> int:
        """Count up the version; within a transaction."""
        self.connection.execute("UPDATE facts SET value = value + 1 WHERE key = 'version'")
        return self.version()

    def version(self) -> int:
        """Give the greatest version that was ever given."""
        return int(self.connection.execute("SELECT value FROM facts WHERE key = 'version'").fetchone()[0])

    def alter(self, uid: str, **columns: Any) -> None:
        """Change columns of a job that its record does not show; within a transaction."""
        names = ", ".join(f"{name} = ?" for name in columns)  # names are ours
        self.connection.execute(f"UPDATE jobs SET {names} WHERE uid = ?", (*columns.values(), uid))  # noqa: S608

    def move(self, uid: str, state: str, reason: str, message: str, **columns: Any) -> bool:
        """Change the state of a job and write it down in its history; within a transaction.

        Returns
        -------
        bool
            False if the job is gone or final, which is never changed.
        """
        row = self.by_uid(uid)
        if row is None or row["state"] in FINAL:
            return False
        if state not in ACTIVE:
            columns = {"want": "", "pid": None, "birth": None, "supervised": 0, "devices": "", **columns}
        self.alter(uid, state=state, reason=reason, message=message, version=self.next_version(), **columns)
        self.note(row["seq"], state, reason, message, columns.get("attempt", row["attempt"]))
        return True

    def note(self, seq: int, state: str, reason: str, message: str, attempt: int) -> None:
        """Add to the history of a job; its times never run backwards, whatever the clock does."""
        self.connection.execute(
            "INSERT INTO history SELECT ?, max(?, coalesce(max(time), 0)), ?, ?, ?, ? FROM history WHERE job = ?",
            (seq, time.time(), state, reason, message, attempt, seq),
        )


def _identity(path: str) -> tuple[int, int] | None:
    """Tell a file from every other that may have its path later; None if there is none."""
    try:
        status = os.stat(path)
    except FileNotFoundError:
        return None
    return status.st_dev, status.st_ino


def owner(pid: int | None = None) -> dict[str, Any]:
    """Give the columns that make a process responsible for a job; this process unless a pid is named."""
    pid = os.getpid() if pid is None else pid
    # The birth of one that has ended already is empty: that of no process, and not the None of one that is missing.
    return {"host": process.host(), "boot": process.boot(), "pid": pid, "birth": process.birth(pid) or ""}
