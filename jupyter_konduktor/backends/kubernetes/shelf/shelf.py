"""What is kept on this machine's disk of each job: its record, what it left, and that it was submitted from here.

A record can be had from the cluster again, and is kept because the cluster forgets jobs; what a job left, and whether
this user submitted it from here, can be had from nowhere else.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import re
import shutil
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jupyter_konduktor.backends.files import PRIVATE_FILE, make_private_folders, map_private, write_all, write_private
from jupyter_konduktor.backends.items import standing
from jupyter_konduktor.backends.kubernetes.logs.logfile import LogFile
from jupyter_konduktor.backends.kubernetes.shelf.images import Images
from jupyter_konduktor.backends.kubernetes.shelf.ledger import Ledger
from jupyter_konduktor.backends.kubernetes.shelf.rows import COLUMNS, dumped, plain, record_of
from jupyter_konduktor.backends.root import default_root, make_private, open_directory
from jupyter_konduktor.errors import StoreError
from jupyter_konduktor.runner.stream import Artifact, Item
from jupyter_konduktor.state import JobRecord

ROOM = 512 * 1024
"""Bytes that must be free for a job to be submitted."""

GRACE = 3600.0
"""Seconds for which a folder without a row is left alone: its job may be about to get it."""

_ADVICE = "Set JUPYTER_DATA_DIR to a directory of yours on this machine."
_log = logging.getLogger(__name__)


class Shelf:
    """What is kept of the jobs of one namespace; any number of threads and processes may use it.

    Parameters
    ----------
    root : Path
        A private directory that is there.
    notes : list of str, optional
        See below.

    Attributes
    ----------
    notes : list of str
        One line for the person, if the jobs are kept somewhere else than they would be.

    Raises
    ------
    StoreError
        If what lies there is damaged, or was made by a later version of this package.
    """

    def __init__(self, root: Path, notes: list[str] | None = None) -> None:
        self.root = root
        self.notes = notes or []
        self.ledger = Ledger(root / "jobs.sqlite")
        self.unkept: dict[str, bytes] = {}
        """Envelopes for which the disk had no room, by the uid of their job."""

    @classmethod
    def open(cls, cluster: str, namespace: str, *, base: Path | None = None) -> Shelf:
        """Open the shelf of a cluster's namespace, and make it if there is none.

        Parameters
        ----------
        cluster : str
            Tells the cluster from all others.
        namespace : str
        base : Path, optional
            Where all that this package keeps is kept.
        """
        base, notes = open_directory(default_root() if base is None else base, advice=_ADVICE)
        root = base / "kubernetes" / _file_name(cluster) / _file_name(namespace)
        for folder in (root.parent.parent, root.parent, root, root / "jobs"):
            make_private(folder, advice=_ADVICE)
        return cls(root, notes)

    def close(self) -> None:
        """Release what this process holds."""
        self.ledger.close()

    # --- jobs

    def reserve(self, key: str, name: str) -> str:
        """Give the name of the job of an idempotency key: the first one that was asked for, over all processes.

        Raises
        ------
        StoreError
            If there is no room for the job's record.
        """
        place = os.statvfs(self.root)
        if place.f_bavail * place.f_frsize < ROOM:
            raise StoreError(f"no space left for jobs in {self.root}", advice="Free some, or run %konduktor gc.")
        with self.ledger.writing() as connection:
            connection.execute("INSERT OR IGNORE INTO names VALUES (?, ?)", (key, name))
            found: str = connection.execute("SELECT name FROM names WHERE key = ?", (key,)).fetchone()[0]
        return found

    def awaits(self, key: str, name: str) -> bool:
        """Whether the job of a key was to have this name, and none was noted as submitted yet.

        Its process has then ended between the request and the note of it. A reservation vouches for one job only.
        """
        asked = self.ledger.row("SELECT 1 FROM names WHERE key = ? AND name = ?", key, name)
        return bool(asked) and not self.ledger.row("SELECT 1 FROM jobs WHERE name = ? AND submitted", name)

    def keep(self, uid: str, name: str) -> JobShelf:
        """Give the place of a job; it takes none until something is put there."""
        return JobShelf(self, uid, name)

    def find(self, name: str) -> JobShelf | None:
        """Give the place of the newest job of a name; None if nothing is kept of one."""
        row = self.ledger.row("SELECT uid FROM jobs WHERE name = ? ORDER BY seq DESC LIMIT 1", name)
        return JobShelf(self, row[0], name) if row else None

    def jobs(self) -> list[JobShelf]:
        """Give the places of all jobs of which something is kept, the newest first."""
        return [
            JobShelf(self, uid, name) for uid, name in self.ledger.rows("SELECT uid, name FROM jobs ORDER BY seq DESC")
        ]

    def finals(self) -> list[JobRecord]:
        """Give the records of all jobs that have ended, oldest first."""
        rows = self.ledger.rows(f"SELECT {COLUMNS} FROM jobs WHERE final ORDER BY seq")  # noqa: S608
        return [record for record in map(record_of, rows) if record is not None]

    def final_uids(self) -> set[str]:
        """Give the uids of all jobs that have ended."""
        return {uid for (uid,) in self.ledger.rows("SELECT uid FROM jobs WHERE final")}

    def remove(self, job: JobShelf) -> int:
        """Remove all that is kept of a job; gives how many bytes that frees."""
        size = job.size()
        aside = self.root / "jobs" / f".trash-{os.getpid()}-{job.folder.name}"
        with self.ledger.writing() as connection:
            connection.execute("DELETE FROM jobs WHERE uid = ?", (job.uid,))
            connection.execute("DELETE FROM names WHERE name = ?", (job.name,))
            try:
                job.folder.rename(aside)  # a large one takes long to delete
            except FileNotFoundError:
                return size
        shutil.rmtree(aside, ignore_errors=True)
        return size

    def collect(self, *, keep_days: float, keep_bytes: int, dry_run: bool = False) -> tuple[int, int]:
        """Remove jobs that have ended beyond the retention, and what belongs to none.

        Parameters
        ----------
        keep_days : float
            Days after its end for which a job is kept.
        keep_bytes : int
            Bytes that all of them may take together; the oldest go first.
        dry_run : bool, default False

        Returns
        -------
        jobs, bytes : int
            What was removed, or would be.
        """
        before = time.time() - keep_days * 86400
        records = sorted(self.finals(), key=lambda record: record.finished or 0.0)
        places = [(record, JobShelf(self, record.uid, record.name)) for record in records]
        sizes = {record.uid: place.size() for record, place in places}
        total, jobs, freed = sum(sizes.values()), 0, 0
        for record, place in places:
            if (record.finished or 0.0) >= before and total - freed <= keep_bytes:
                break
            jobs, freed = jobs + 1, freed + sizes[record.uid]
            if not dry_run:
                self.remove(place)
        known = {job.folder.name for job in self.jobs()}
        for path in (self.root / "jobs").iterdir():
            if path.name not in known and path.stat().st_mtime < time.time() - GRACE:
                freed += _size(path)
                if not dry_run:
                    shutil.rmtree(path, ignore_errors=True)
        return jobs, freed

    def images(self) -> Images:
        """Give what is remembered of images, which is the same in every namespace of the cluster."""
        return Images(self.root.parent / "images.json")


class JobShelf:
    """What is kept of one job.

    Parameters
    ----------
    shelf : Shelf
    uid, name : str
        The job's.
    """

    def __init__(self, shelf: Shelf, uid: str, name: str) -> None:
        self.uid = uid
        self.name = name
        self.folder = shelf.root / "jobs" / _file_name(uid)
        self._shelf = shelf
        self._ledger = shelf.ledger
        self._pieces: dict[tuple[int, int], list[bytes]] = {}  # of envelopes of items that come in several

    # --- the record

    def load(self) -> JobRecord | None:
        """Read the record; None if there is none, or none that can be read."""
        row = self._ledger.row(f"SELECT {COLUMNS} FROM jobs WHERE uid = ?", self.uid)  # noqa: S608
        return record_of(row) if row else None

    def save(self, record: JobRecord) -> None:
        """Write the record, unless a newer or a final one stands there."""
        final = int(record.state.final)
        texts = (dumped(plain(record)), dumped(dict(record.spec)), dumped(dict(record.origin)))
        self._write(
            "UPDATE jobs SET final = ?, attempt = ?, version = ?, record = ?, spec = ?, origin = ? "
            "WHERE uid = ? AND version <= ? AND final <= ?",
            *(final, record.attempt, record.version, *texts, self.uid, record.version, final),
        )

    @property
    def submitted(self) -> bool:
        """Whether this user submitted it from this machine."""
        return self._flag("submitted")

    def mark_submitted(self) -> None:
        """Note that this user submitted it from this machine."""
        self._write("UPDATE jobs SET submitted = 1 WHERE uid = ?", self.uid)

    @property
    def cancelled(self) -> bool:
        """Whether it was cancelled from this machine."""
        return self._flag("cancelled")

    def note_cancelled(self) -> None:
        """Note that it is cancelled from this machine."""
        self._write("UPDATE jobs SET cancelled = 1 WHERE uid = ?", self.uid)

    @property
    def stopping(self) -> bool:
        """Whether it was told from this machine to stop, and did not come to that yet."""
        return self._flag("stopping")

    def note_stopping(self, on: bool) -> None:
        """Note that it was told to stop, or is not any more."""
        self._write("UPDATE jobs SET stopping = ? WHERE uid = ?", int(on), self.uid)

    def attempt_of(self, pod: str, node: int, least: int) -> int:
        """Give the attempt that a pod belongs to; a pod that is new is a new attempt of its node.

        Parameters
        ----------
        pod : str
            Its uid.
        node : int
        least : int
            What the attempt is at least.
        """
        known = self._ledger.row("SELECT attempt FROM pods WHERE uid = ?", pod)
        if known:
            return int(known[0])
        self._write(
            "INSERT OR IGNORE INTO pods "
            "SELECT ?, ?, ?, max(?, coalesce(max(attempt) + 1, 0)) FROM pods WHERE job = ? AND node = ?",
            *(pod, self.uid, node, least, self.uid, node),
        )
        row = self._ledger.row("SELECT attempt FROM pods WHERE uid = ?", pod)
        return int(row[0]) if row else least

    def links(self) -> tuple[dict[str, Any], float] | None:
        """Read what it takes to sign the URLs of its store anew, and when that was done; None if it has none."""
        path = self.folder / "links.json"
        try:
            return json.loads(path.read_bytes()), path.stat().st_mtime
        except FileNotFoundError:
            return None

    def save_links(self, told: Mapping[str, Any]) -> None:
        """Note that the URLs of its store were signed just now, and what it takes to do so again."""
        make_private_folders(self.folder)
        write_private(str(self.folder / "links.json"), json.dumps(dict(told)).encode("ascii"))

    # --- what it left

    def log(self, attempt: int, node: int) -> LogFile:
        """Give the log of a node's attempt."""
        path = self.folder / "attempts" / str(attempt) / f"node-{node}.log"
        return LogFile(path, lambda record: self.carried(record, attempt=attempt))

    def envelope(self) -> bytes | None:
        """Read the envelope; None if none was kept."""
        held = self._shelf.unkept.get(self.uid)
        if held is not None:
            return held
        row = self._ledger.row("SELECT data FROM envelopes WHERE job = ? ORDER BY attempt DESC LIMIT 1", self.uid)
        return row[0] if row else None

    def save_envelope(self, data: bytes, *, attempt: int) -> None:
        """Keep the envelope of an attempt; the first one stands. A disk without room for it keeps it in memory."""
        try:
            self._write("INSERT OR IGNORE INTO envelopes VALUES (?, ?, ?)", self.uid, attempt, data)
        except StoreError as error:
            if self.uid not in self._shelf.unkept:
                self._shelf.unkept[self.uid] = data
                _log.warning("konduktor: the result of %s is kept in memory only: %s", self.name, error.message)

    def items(self, start: int = 0) -> list[tuple[int, bytes]]:
        """Read the index and envelope of each finished item, of the attempts before too, from the start-th on."""
        query = "SELECT item, data FROM items WHERE job = ? ORDER BY seq LIMIT -1 OFFSET ?"
        several = self._ledger.row("SELECT min(attempt) < max(attempt) FROM items WHERE job = ?", self.uid)
        if several and several[0]:
            return standing((item, data) for item, data in self._ledger.rows(query, self.uid, 0))[start:]
        return [(item, data) for item, data in self._ledger.rows(query, self.uid, start)]

    def artifact(self, sha256: str) -> memoryview | None:
        """Map an artifact privately into memory; None if it is not here."""
        if not re.fullmatch(r"[0-9a-f]{64}", sha256):
            return None
        try:
            return map_private(self.folder / "artifacts" / sha256)
        except FileNotFoundError:
            return None

    def carried(self, piece: Artifact | Item, *, attempt: int) -> bool:
        """Keep a piece of what came with a log; a piece that comes again does no harm.

        Returns
        -------
        bool
            Whether nothing is held in memory of what has not come as a whole.
        """
        if isinstance(piece, Item):
            self._item(piece, attempt)
        else:
            self._artifact(piece)
        return not self._pieces

    def size(self) -> int:
        """Count the bytes of the files that are kept of it."""
        return _size(self.folder)

    def _item(self, piece: Item, attempt: int) -> None:
        index = int(piece.identity)
        pieces = self._pieces.setdefault((attempt, index), [])
        if piece.number == 1:
            pieces.clear()
        pieces.append(piece.data)
        if piece.number == piece.count:
            del self._pieces[attempt, index]
            if len(pieces) == piece.count:
                statement = "INSERT OR IGNORE INTO items (job, attempt, item, data) VALUES (?, ?, ?, ?)"
                self._write(statement, self.uid, attempt, index, b"".join(pieces))

    def _artifact(self, piece: Artifact) -> None:
        folder = self.folder / "artifacts"
        path = folder / str(piece.identity)
        if path.exists():
            return
        make_private_folders(folder)
        part = path.with_suffix(".part")
        if piece.number < piece.count:
            fd = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, PRIVATE_FILE)
            try:
                os.lseek(fd, (piece.number - 1) * len(piece.data), os.SEEK_SET)  # all but the last are of one size
                write_all(fd, piece.data)
            finally:
                os.close(fd)
            return
        before = part.read_bytes() if piece.count > 1 and part.exists() else b""
        # Without a piece that was lost with some of the log it is not what it says it is.
        if hashlib.sha256(before + piece.data).hexdigest() == piece.identity:
            write_private(str(path), before, piece.data)
        part.unlink(missing_ok=True)

    def _flag(self, column: str) -> bool:
        row = self._ledger.row(f"SELECT {column} FROM jobs WHERE uid = ?", self.uid)  # noqa: S608
        return bool(row and row[0])

    def _write(self, statement: str, *values: Any) -> None:
        with self._ledger.writing() as connection:
            connection.execute("INSERT OR IGNORE INTO jobs (uid, name) VALUES (?, ?)", (self.uid, self.name))
            connection.execute(statement, values)


def _file_name(text: str) -> str:
    """Give what a name from elsewhere is called as a file."""
    if re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,99}", text):
        return text
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:32]


def _size(path: Path) -> int:
    """Count the bytes of all files under a directory."""
    total = 0
    for folder, _, files in os.walk(path):
        for file in files:
            try:
                total += (Path(folder) / file).lstat().st_size
            except FileNotFoundError:
                continue  # someone else removed it
    return total
