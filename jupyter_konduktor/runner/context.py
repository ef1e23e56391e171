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
    """

    def __init__(self, spec: dict[str, Any], rank: int, log: int, control: int) -> None:
        self.spec = spec
        self.rank = rank
        self.pid = os.getpid()
        self.namespace: dict[str, Any] = {}
        self.meta: dict[str, Any] = {}
        self.modules: str | None = None
        self.notes: list[str] = []
        self._log = _Pipe(log)
        self._control = _Pipe(control)

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

    def send_value(self, value: bytes) -> None:
        """Make something the value of the job; raises OSError if that is not possible."""
        try:
            self.send(b"value " + value)
        except OSError:
            # The user's code has closed every file it found; the supervisor looks here when nothing was sent.
            path = value_path(self.spec, self.rank)
            with open(f"{path}.part", "wb") as file:
                file.write(value)
            os.rename(f"{path}.part", path)

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
        """Name the file of a buffer of the payload."""
        return os.path.join(self.spec["objects"], digest[:2], digest)

    def save(self, digest: str, data: Any) -> None:
        """Keep an artifact: complete under its name, or not there at all.

        Raises
        ------
        OSError
            If it cannot be written.
        """
        folder = self.spec.get("artifacts")
        if folder is None:
            raise OSError("there is no place for artifacts of this job")
        path = os.path.join(folder, digest)
        if os.path.exists(path):
            return
        os.makedirs(folder, mode=0o700, exist_ok=True)
        if self.spec.get("objects"):
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


class _Pipe:
    """The write end of a pipe, which is written to only for as long as it still is that pipe."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        status = os.fstat(fd)
        self._identity = (status.st_dev, status.st_ino)

    def write(self, data: bytes) -> None:
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
