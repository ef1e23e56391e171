"""Where a worker of a map gets its items: from a list of its own if it is the only one, else from the coordinator."""

from __future__ import annotations

import os
import stat
import time

from .context import warn
from .items import board_of

TYPE_CHECKING = False
if TYPE_CHECKING:  # importing typing costs a job 3 ms
    from collections.abc import Callable
    from typing import Any, BinaryIO

    from .context import Context

PATIENCE = 600.0
"""Seconds for which the coordinator may be out of reach: the image of its node may take minutes to come, and so may a
node that takes the place of a lost one."""

TELL_AFTER = 20.0
"""Seconds after which the log says that it is."""

_PAUSES = (0.02, 1.0)  # seconds between two tries, at first and at most


class UnreachableError(Exception):
    """The coordinator cannot be reached."""


class Own:
    """The items of a map that has one worker."""

    fd = -1
    host = 0

    def __init__(self, job: Context) -> None:
        self._job = job
        self._board = board_of(job)

    def next(self) -> int | None:
        """Give the next item; None if all have ended."""
        return self._board.take("")

    def finish(self, index: int, failed: bool, envelope: bytes) -> None:
        """Take what became of an item."""
        self._board.finish("", index, failed, envelope)

    def is_over(self, index: int) -> bool:
        """Whether all items have ended while one was running."""
        return False

    def leave(self) -> None:
        """End though items are left."""

    def close(self) -> None:
        """End, for no item is left."""
        self._job.send(b"done")


class Shared:
    """The items of a map that has several workers; the coordinator has them.

    Parameters
    ----------
    job : Context
    fork : callable
        Forks this process for something of our own; gives the process's id, and 0 in it.

    Attributes
    ----------
    fd : int
        Can be read when there is something for `is_over` to see.
    host : int
        The process of the coordinator, on node 0.
    """

    def __init__(self, job: Context, fork: Callable[[], int]) -> None:
        self._job = job
        self._fork = fork
        self._me = os.urandom(8).hex()
        self.host = 0
        self._over = False
        self._socket: Any = None
        self._reader: BinaryIO
        self._ended: list[tuple[bytes, list[str]]] = []  # what became of items, and which artifacts came with each
        self._told = 0  # how many of these the coordinator has heard of
        self._artifacts: set[str] = set()
        # Every node on a machine of its own has its artifacts to itself, and node 0 is the one that brings them out.
        self._sends_artifacts = bool(job.spec.get("rank"))
        if self._sends_artifacts:
            job.spec["artifacts"] = os.path.join(job.spec["job_dir"], "artifacts")

    @property
    def fd(self) -> int:
        """Its socket; -1 while there is none."""
        return -1 if self._socket is None else int(self._socket.fileno())

    def next(self) -> int | None:
        """Wait for the next item; None if all have ended.

        Raises
        ------
        UnreachableError
        """
        while not self._over:
            try:
                if self._socket is None:
                    self._connect()
                self._tell()
                self._socket.sendall(b"next\n")
                word, _, index = self._reader.readline().rstrip(b"\n").partition(b" ")
                if word == b"over":
                    self._over = True
                    return None
                if word == b"run":
                    return int(index)
            except OSError:
                pass
            self._drop()
        return None

    def finish(self, index: int, failed: bool, envelope: bytes) -> None:
        """Take what became of an item; it is told with the next question."""
        new: list[str] = []
        folder = self._job.spec["artifacts"]
        if self._sends_artifacts and os.path.isdir(folder):
            new = [name for name in os.listdir(folder) if len(name) == 64 and name not in self._artifacts]
            self._artifacts.update(new)
        self._ended.append((b"ended %d %d %s\n" % (index, failed, envelope), new))

    def is_over(self, index: int) -> bool:
        """Whether all items have ended while one was running; a connection that has broken is made anew."""
        try:
            if self._reader.readline() == b"over\n":
                self._over = True
                return True
        except OSError:
            pass
        self._drop()
        self._connect(index)
        return False

    def leave(self) -> None:
        """Give back what runs, for someone has told this worker to end."""
        if self._socket is not None:
            try:
                self._socket.sendall(b"leaving\n")
            except OSError:
                pass  # it will find out
        self._drop()

    def close(self) -> None:
        """End, for no item is left; node 0 waits until all workers know."""
        self._drop()
        if self.host:
            try:
                os.waitpid(self.host, 0)
            except ChildProcessError:
                pass  # it was waited for already

    # --- the connection

    def _connect(self, running: int | None = None) -> None:
        """Connect to the coordinator, and tell it what it does not know; raises UnreachableError."""
        from . import link

        began, pause, told = time.monotonic(), _PAUSES[0], False
        while True:
            try:
                self._see_to_host()
                made = link.connect(self._address())
                try:
                    self._reader, self._told = link.greet(made, self._job.spec["nonce"], self._me, self._job.rank)
                    self._socket = made
                    self._tell()
                    if running is not None:
                        made.sendall(b"running %d\n" % running)
                    return
                except BaseException:
                    made.close()
                    self._socket = None
                    raise
            except OSError as error:
                passed = time.monotonic() - began
                if passed > PATIENCE:
                    raise UnreachableError(
                        f"worker {self._job.rank} could not reach worker 0, which gives out the items, for "
                        f"{PATIENCE:g} s: {error}"
                    ) from error
                if passed > TELL_AFTER and not told:
                    told = True
                    warn(f"worker 0, which gives out the items, cannot be reached, and is tried again: {error}")
            time.sleep(pause)
            pause = min(2 * pause, _PAUSES[1])

    def _tell(self) -> None:
        """Tell what has ended."""
        while self._told < len(self._ended):
            line, artifacts = self._ended[self._told]
            for digest in artifacts:
                self._send_artifact(digest)
            self._socket.sendall(line)
            self._told += 1

    def _send_artifact(self, digest: str) -> None:
        path = os.path.join(self._job.spec["artifacts"], digest)
        try:
            fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC)
        except OSError:
            return  # the folder is open to the user's code
        with open(fd, "rb") as file:
            status = os.fstat(fd)
            if stat.S_ISREG(status.st_mode):
                self._socket.sendall(b"artifact %s %d\n" % (digest.encode(), status.st_size))
                if self._socket.sendfile(file, 0, status.st_size) != status.st_size:
                    raise OSError("an artifact has become shorter while it was sent")

    def _drop(self) -> None:
        if self._socket is not None:
            self._reader.close()
            self._socket.close()
            self._socket = None

    def _address(self) -> Any:
        """Give where the coordinator is: in containers a host and a port, else a socket that all workers see."""
        given = self._job.spec.get("coordinator")
        if given is None:
            return os.path.join(self._job.spec["job_dir"], "coordinator")
        return given if self._job.rank else ["localhost", given[1]]

    def _see_to_host(self) -> None:
        """Have the coordinator run on node 0, also if it was killed."""
        if self._job.rank or (self.host and _runs(self.host)):
            return
        from . import link

        with link.listen(self._address()) as listener:
            self.host = self._fork()
            if self.host:
                return
            from .coordinator import Coordinator

            try:
                Coordinator(self._job, listener).run()
            finally:
                os._exit(0)


def _runs(pid: int) -> bool:
    """Whether a child of this process has not ended."""
    try:
        return os.waitpid(pid, os.WNOHANG) == (0, 0)
    except ChildProcessError:
        return False
