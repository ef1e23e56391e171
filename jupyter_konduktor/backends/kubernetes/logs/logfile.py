"""A log on this machine's disk: the bytes that readers see, and beside them how far the container's log was read.

One process at a time writes it, the one that holds its lock; the others read what is there. How far was read is written
down for a point of the file that may lie before its end. Whoever goes on from there gets the same bytes again, and does
not write those that are there already: a writer that was killed has neither doubled nor lost any.
"""

from __future__ import annotations

import base64
import errno
import fcntl
import json
import logging
import os
import weakref
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from jupyter_konduktor.backends.files import PRIVATE_FILE, make_private_folders, read_piece, write_private
from jupyter_konduktor.backends.protocol import LogChunk
from jupyter_konduktor.runner.stream import MARK, Artifact, Item

_LAST_LINE = 128 * 1024  # bytes at the end of a log in which its last line is looked for
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Point:
    """How far a container's log was read.

    Attributes
    ----------
    size : int
        Bytes of the file that were written by then.
    tail : bytes
        The end of what was read, as it came.
    at : int
        The timestamp of its last line, in nanoseconds since the epoch.
    ended : bool
        Nothing will ever follow.
    problem : str
        Why something may be missing.
    """

    size: int = 0
    tail: bytes = b""
    at: int = 0
    ended: bool = False
    problem: str = ""


class LogFile:
    """The log of one node's attempt.

    Parameters
    ----------
    path : Path
    keep : callable
        Keeps what comes with the log but is none of it; gives whether nothing of that is in memory only.
    """

    def __init__(self, path: Path, keep: Callable[[Artifact | Item], bool]) -> None:
        self.path = path
        self.keep = keep
        self._state = path.with_suffix(".state")

    @property
    def size(self) -> int:
        """Bytes that are there."""
        try:
            return self.path.stat().st_size
        except FileNotFoundError:
            return 0

    @property
    def ended(self) -> bool:
        """Whether nothing will ever follow."""
        return self.point().ended

    @property
    def problem(self) -> str:
        """Why something may be missing, or nothing comes; empty if all is well."""
        return self.point().problem

    def read(self, offset: int, limit: int) -> LogChunk:
        """Read a piece from an offset, which counts from the end if it is negative."""
        over = self.ended  # looked at before the file, so that the end is its last byte
        data, end, at_end = read_piece(self.path, offset, limit)
        return LogChunk(data, end, over and at_end)

    def stamp(self) -> tuple[int, int]:
        """Give something that changes whenever there is more to read."""
        try:
            return self.size, self._state.stat().st_mtime_ns
        except FileNotFoundError:
            return self.size, 0

    def point(self) -> Point:
        """Read how far it was read; from the beginning if that is not known."""
        try:
            found = json.loads(self._state.read_bytes())
            tail = base64.b64decode(found["tail"], validate=True)
            return Point(int(found["size"]), tail, int(found["at"]), bool(found["ended"]), str(found["problem"]))
        except (OSError, KeyError, TypeError, ValueError):
            return Point()

    def claim(self) -> LogWriter | None:
        """Become the one who writes; None if another one does."""
        make_private_folders(self.path.parent)
        fd = os.open(self.path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, PRIVATE_FILE)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(fd)
            return None
        except BaseException:
            os.close(fd)
            raise
        return LogWriter(fd, self, self._state)


class LogWriter:
    """Writes a log; made by `LogFile.claim`, used by one thread at a time.

    Attributes
    ----------
    point : Point
        From where to read on.
    """

    def __init__(self, fd: int, file: LogFile, state: Path) -> None:
        self._fd = fd
        self._path = file.path
        self._state = state
        self._end = os.fstat(fd).st_size
        found = file.point()
        self.point = found if found.size <= self._end else Point()
        self._saved = self.point
        self._written = self.point.size  # beyond it lies what a writer before left without saying how far it had read
        self._problem = ""
        self._unkept = 0  # bytes for which there was no room
        _writers.add(self)

    @property
    def size(self) -> int:
        """Bytes that were written."""
        return self._written

    def append(self, data: bytes) -> None:
        """Add what readers are to see. On a full disk it is left out, and the log says so once there is room."""
        if self._written < self._end and data:
            there = os.pread(self._fd, min(len(data), self._end - self._written), self._written)
            if data.startswith(there):
                self._written += len(there)
                data = data[len(there) :]
            else:
                self._written = (
                    self._end
                )  # it is not the same any more: a gap, or the log of before the file was damaged
        if not data:
            return
        if self._unkept:
            note = f"[konduktor: {self._unkept:,} bytes could not be kept: no space was left here]\n".encode()
            if self._write(note):
                self._unkept += len(data)
                return
            self._unkept = 0
        self._unkept = self._write(data)

    def note(self, text: str, nonce: str) -> None:
        """Add a line of ours."""
        start = max(self._end - _LAST_LINE, 0)
        last = os.pread(self._fd, _LAST_LINE, start)
        begins = last[last.rfind(b"\n", 0, -1) + 1 :]
        # The newline of a line that is marked as unfinished is not shown.
        within = last and (not last.endswith(b"\n") or (nonce and begins.startswith(MARK + f"{nonce}p".encode())))
        self.append(b"\n" * bool(within) + f"[konduktor: {text}]\n".encode())

    def reach(self, tail: bytes, at: int) -> None:
        """Note how far the container's log was read when everything of it had been appended."""
        self.point = Point(self._written, tail, at, problem=self._problem)

    def save(self) -> None:
        """Write down how far it was read."""
        if self.point is self._saved:
            return
        self._saved = point = self.point
        found = {
            "v": 1,
            "size": point.size,
            "tail": base64.b64encode(point.tail).decode("ascii"),
            "at": point.at,
            "ended": point.ended,
            "problem": point.problem,
        }
        try:
            write_private(str(self._state), json.dumps(found).encode("ascii"))
        except OSError as error:
            _log.info("konduktor: %s cannot be written: %s", self._state, error)

    def end(self, problem: str = "") -> None:
        """Note that nothing will follow."""
        self._problem = problem or self._problem
        self.point = Point(self._written, self.point.tail, self.point.at, ended=True, problem=self._problem)
        self.save()

    def release(self) -> None:
        """Let another one write."""
        if self in _writers:
            self.save()
            self.forget()

    def forget(self) -> None:
        """Close the file and write nothing more."""
        _writers.discard(self)
        os.close(self._fd)

    def _write(self, data: bytes) -> int:
        """Write as much as there is room for; gives how many bytes there was none for."""
        left = memoryview(data)
        try:
            while left:
                count = os.write(self._fd, left)
                self._end += count
                left = left[count:]
        except OSError as error:
            if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
                raise
            if not self._problem:
                _log.warning("konduktor: no space left for %s; the job goes on without it", self._path)
            self._problem = f"no space is left for {self._path}"
        self._written = self._end
        return len(left)


_writers: weakref.WeakSet[LogWriter] = weakref.WeakSet()


def _forget_all() -> None:
    for writer in list(_writers):
        writer.forget()


# A fork shares the lock: it would hold it for as long as it lives, though it writes nothing.
os.register_at_fork(after_in_child=_forget_all)
