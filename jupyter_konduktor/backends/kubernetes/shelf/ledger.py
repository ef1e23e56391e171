"""The database of a shelf: one row a job, with the names that were given out and what the jobs left that is small."""

from __future__ import annotations

import os
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from jupyter_konduktor.backends.files import PRIVATE_FILE
from jupyter_konduktor.errors import StoreError

SCHEMA_VERSION = 1
BUSY_SECONDS = 30.0

_SCHEMA = """
CREATE TABLE jobs (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,   -- the order in which they became known here
    uid TEXT NOT NULL UNIQUE,
    name TEXT NOT NULL,
    submitted INTEGER NOT NULL DEFAULT 0,    -- by this user, from this machine
    cancelled INTEGER NOT NULL DEFAULT 0,    -- from this machine
    stopping INTEGER NOT NULL DEFAULT 0,     -- from this machine, and it has not come to hold yet
    final INTEGER NOT NULL DEFAULT 0,
    attempt INTEGER NOT NULL DEFAULT 0,
    version INTEGER NOT NULL DEFAULT -1,     -- of the record
    record TEXT NOT NULL DEFAULT '',         -- JSON without what stands in the next two
    spec TEXT NOT NULL DEFAULT '{}',         -- JSON
    origin TEXT NOT NULL DEFAULT '{}'        -- JSON
);
CREATE INDEX jobs_name ON jobs (name, seq);
CREATE INDEX jobs_final ON jobs (final);
CREATE TABLE names (key TEXT PRIMARY KEY, name TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE pods (
    uid TEXT PRIMARY KEY,
    job TEXT NOT NULL REFERENCES jobs (uid) ON DELETE CASCADE,
    node INTEGER NOT NULL,
    attempt INTEGER NOT NULL
) WITHOUT ROWID;
CREATE INDEX pods_job ON pods (job, node);
CREATE TABLE envelopes (
    job TEXT NOT NULL REFERENCES jobs (uid) ON DELETE CASCADE,
    attempt INTEGER NOT NULL,
    data BLOB NOT NULL,
    PRIMARY KEY (job, attempt)
) WITHOUT ROWID;
CREATE TABLE items (
    seq INTEGER PRIMARY KEY,                 -- the order in which they finished
    job TEXT NOT NULL REFERENCES jobs (uid) ON DELETE CASCADE,
    attempt INTEGER NOT NULL,
    item INTEGER NOT NULL,
    data BLOB NOT NULL,
    UNIQUE (job, attempt, item)
)
"""

_UPGRADES: dict[int, str] = {0: _SCHEMA}
"""What turns a database of one version into one of the next; an empty one has version 0."""


class Ledger:
    """A connection to the database, for all threads of this process.

    Parameters
    ----------
    path : Path

    Raises
    ------
    StoreError
        If the database cannot be opened, is damaged, or was made by a later version of this package.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = threading.RLock()
        self._connection: sqlite3.Connection | None = None
        self._identity: tuple[int, ...] = ()
        with self.reading():
            pass

    def close(self) -> None:
        """Close the connection; the next use opens another."""
        with self._lock:
            connection, self._connection = self._connection, None
            if connection is not None and self._identity[0] == os.getpid():
                connection.close()

    @contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """Give the connection; raises `StoreError` for whatever goes wrong with it."""
        with self._lock, self._explained():
            # A connection must not cross a fork, and someone may have deleted the file.
            if self._connection is None or self._identity != self._now():
                self.close()
                self._connection = self._open()
                self._identity = self._now()
            yield self._connection

    @contextmanager
    def writing(self) -> Iterator[sqlite3.Connection]:
        """Hold the write lock; all of the changes are made, or none."""
        with self.reading() as connection:
            connection.execute("BEGIN IMMEDIATE")
            try:
                yield connection
                connection.execute("COMMIT")
            except BaseException:
                if connection.in_transaction:  # a full disk may have rolled it back already
                    connection.execute("ROLLBACK")
                raise

    def rows(self, query: str, *values: Any) -> list[tuple[Any, ...]]:
        """Give all rows of a query."""
        with self.reading() as connection:
            return connection.execute(query, values).fetchall()

    def row(self, query: str, *values: Any) -> tuple[Any, ...] | None:
        """Give the first row of a query."""
        with self.reading() as connection:
            found: tuple[Any, ...] | None = connection.execute(query, values).fetchone()
            return found

    def _now(self) -> tuple[int, ...]:
        try:
            status = self.path.stat()
        except FileNotFoundError:
            return (os.getpid(),)
        return os.getpid(), status.st_dev, status.st_ino

    def _open(self) -> sqlite3.Connection:
        connection = sqlite3.connect(self.path, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False)
        try:
            connection.execute("PRAGMA synchronous = NORMAL")
            connection.execute("PRAGMA foreign_keys = ON")
            version = _version(connection)
            if version > SCHEMA_VERSION:
                raise StoreError(
                    f"{self.path} was made by a later version of jupyter_konduktor "
                    f"(schema {version}; this one knows {SCHEMA_VERSION})",
                    advice="Upgrade jupyter_konduktor here, or move that directory away.",
                )
            if version < SCHEMA_VERSION:
                self._upgrade(connection)
        except BaseException:
            connection.close()
            raise
        return connection

    def _upgrade(self, connection: sqlite3.Connection) -> None:
        self.path.chmod(PRIVATE_FILE)
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("BEGIN IMMEDIATE")
        try:
            while (version := _version(connection)) < SCHEMA_VERSION:  # unless somebody else was faster
                for statement in _UPGRADES[version].split(";\n"):
                    connection.execute(statement)
                connection.execute(f"PRAGMA user_version = {version + 1}")
            connection.execute("COMMIT")
        except BaseException:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise

    @contextmanager
    def _explained(self) -> Iterator[None]:
        """Turn what SQLite raises into a `StoreError` that says what to do."""
        try:
            yield
        except sqlite3.Error as error:
            code, text = getattr(error, "sqlite_errorname", ""), str(error)
            if code.startswith(("SQLITE_CORRUPT", "SQLITE_NOTADB")):
                raise StoreError(
                    f"what is kept of jobs in {self.path} is damaged: {text}",
                    advice=f"Move it away (mv '{self.path}' '{self.path}.damaged'): jobs on the cluster are found "
                    "again, results that were kept only here are not.",
                ) from error
            if code.startswith(("SQLITE_FULL", "SQLITE_IOERR")):
                raise StoreError(f"no space left for {self.path}", advice="Free some, or run %konduktor gc.") from error
            if code.startswith("SQLITE_BUSY"):
                raise StoreError(
                    f"{self.path} was locked for {BUSY_SECONDS:g} s",
                    advice="A process that holds it is stuck or stopped; `fuser` on it names that process.",
                ) from error
            raise StoreError(f"{self.path} cannot be used: {text}") from error


def _version(connection: sqlite3.Connection) -> int:
    return int(connection.execute("PRAGMA user_version").fetchone()[0])
