"""What the parts of the runner that live in the user's process share: the job, and the way to its supervisor."""

from __future__ import annotations

import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:  # importing typing costs a job 3 ms
    from typing import Any


class OutputError(Exception):
    """What is to be brought back cannot be."""


class Context:
    """The job as seen from within the user's process.

    Parameters
    ----------
    spec : dict
    rank : int
        The node this process is.
    log, control : int
        Write ends of the pipes to the supervisor.

    Attributes
    ----------
    namespace : dict
        The user's ``__main__``.
    meta : dict
        Of the payload.
    modules : str or None
        Where the modules of the user's project lie.
    notes : list of str
        One line each for what is not quite as it was in the kernel.
    pack : memoryview or None
        The payload's, once its bundle was taken apart.
    objects : dict of str to memoryview
        Buffers that came with it, by their SHA-256; the others are files.
    """

    def __init__(self, spec: dict[str, Any], rank: int, log: int, control: int) -> None:
        self.spec = spec
        self.rank = rank
        self.pid = os.getpid()
        self.namespace: dict[str, Any] = {}
        self.meta: dict[str, Any] = {}
        self.modules: str | None = None
        self.notes: list[str] = []
        self.pack: memoryview | None = None
        self.objects: dict[str, memoryview] = {}
        self._log = Pipe(log)
        self._control = Pipe(control)

    @property
    def sources(self) -> dict[str, dict[str, Any]]:
        """The notebook's source texts by the file name of their code: ``number`` of the cell (or None), ``source``."""
        sources = dict(self.meta.get("sources") or {})
        cell = self.meta.get("cell")
        if cell:
            sources[cell["filename"]] = {"number": cell["number"], "source": cell["source"]}
        return sources

    @property
    def original(self) -> bool:
        """Whether this is the process the supervisor forked, not a copy that user code made of it."""
        return os.getpid() == self.pid

    @property
    def reports(self) -> bool:
        """Whether this is the process whose value is the job's."""
        return self.original and not self.rank

    def send_value(self, value: bytes) -> None:
        """Make something the value of the job; raises OSError if that is not possible."""
        try:
            self.send(b"value " + value)
        except OSError:
            # The user's code has closed every file it found; the supervisor looks there when nothing was sent.
            self.leave_value(value)

    def send_failure(self, value: bytes) -> None:
        """Make a failure the value of the job; raises OSError if that is not possible."""
        self.send_value(value)

    def leave_value(self, value: bytes) -> None:
        """Write the value to a file; raises OSError if that is not possible."""
        path = value_path(self.spec, self.rank)
        with open(f"{path}.{os.getpid()}.part", "wb") as file:
            file.write(value)
        os.rename(f"{path}.{os.getpid()}.part", path)

    def send(self, message: bytes) -> None:
        """Send a message of one line to the supervisor, all of it or nothing.

        Raises
        ------
        OSError
            If the user's code has closed the pipe.
        """
        self._control.write(message + b"\n")

    def write_log(self, line: bytes) -> None:
        """Write a marked line into the output; raises OSError if the user's code has closed the pipe."""
        self._log.write(line)

    def object_path(self, digest: str) -> str:
        """Name the file of a buffer of the payload that did not come with it."""
        return os.path.join(self.spec["objects"], digest[:2], digest)

    def room(self) -> int | None:
        """Give the bytes of artifacts that there is room for; None if that is not limited."""
        folder, limit = self.spec.get("artifacts"), self.spec.get("artifact_limit")
        if folder is None:
            return 0
        if limit is None:
            return None
        try:
            return max(0, int(limit) - sum(entry.stat().st_size for entry in os.scandir(folder)))
        except FileNotFoundError:
            return int(limit)

    def saved(self, digest: str) -> bool:
        """Whether there is such an artifact already."""
        folder = self.spec.get("artifacts")
        return folder is not None and os.path.exists(os.path.join(folder, digest))

    def save(self, digest: str, data: Any, leave: float = 0.0) -> None:
        """Keep an artifact: complete under its name, or not there at all.

        Parameters
        ----------
        digest : str
            Its SHA-256.
        data : bytes-like
        leave : float, default 0.0
            The part of the room for artifacts that is left to others.

        Raises
        ------
        OSError
            If it cannot be written, or there is no room for it.
        """
        if self.saved(digest):
            return
        folder, room = self.spec.get("artifacts"), self.room()
        if folder is None:
            raise OSError("there is no place for artifacts of this job")
        if room is not None and memoryview(data).nbytes > room - leave * int(self.spec["artifact_limit"]):
            raise OSError("there is no room left for artifacts of this job")
        path = os.path.join(folder, digest)
        os.makedirs(folder, mode=0o700, exist_ok=True)
        if self.spec.get("objects") and not os.path.islink(self.object_path(digest)):
            try:
                os.link(self.object_path(digest), path)  # an input that comes back as it went
            except OSError:
                pass  # it is new, or lies on another file system
            else:
                return
        temporary = f"{path}.{os.getpid()}.part"
        fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        try:
            try:
                left = memoryview(data).cast("B")
                while left.nbytes:
                    left = left[os.write(fd, left[: 1 << 30]) :]
            finally:
                os.close(fd)
            os.rename(temporary, path)
        except BaseException:
            os.unlink(temporary)
            raise


def value_path(spec: dict[str, Any], rank: int) -> str:
    """Name the file in which a process leaves its value when it cannot send it."""
    return os.path.join(spec["job_dir"], f"value-{rank}.json")


class Pipe:
    """The write end of a pipe, which is written to only for as long as it still is that pipe."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        status = os.fstat(fd)
        self._identity = (status.st_dev, status.st_ino)

    def write(self, data: bytes) -> None:
        """Write all of it; raises OSError if it is that pipe no more."""
        status = os.fstat(self._fd)
        if (status.st_dev, status.st_ino) != self._identity:
            raise OSError("the pipe to the runner was closed, and its number is used by something else")
        left = memoryview(data)
        while left:
            try:
                left = left[os.write(self._fd, left) :]
            except BlockingIOError:
                # Something made the pipe non-blocking (Node.js does that to standard output); wait for room.
                import select

                poll = select.poll()
                poll.register(self._fd, select.POLLOUT)
                poll.poll()


current: Context | None = None
"""The job of this process; None outside of a job."""


def warn(text: str) -> None:
    """Tell the user something in the job's output."""
    print(f"konduktor: {text}", file=sys.stderr)
