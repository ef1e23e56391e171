"""How whoever changes something wakes those who watch: a FIFO each, and a byte to all of them.

A byte carries no news. It says that there is some, and where to look: in the database or in the logs.
"""

from __future__ import annotations

import errno
import os
from _thread import allocate_lock

STATE = b"s"
LOG = b"l"

_SUFFIX = ".fifo"


class Bell:
    """The FIFO of one watcher.

    Parameters
    ----------
    folder : str
        Where all watchers of a root have theirs.
    """

    def __init__(self, folder: str) -> None:
        self.path = os.path.join(folder, f"{os.getpid()}-{os.urandom(4).hex()}{_SUFFIX}")
        self._closed = False
        self._closing = allocate_lock()
        self.fd, self._writer = self._make()

    def _make(self) -> tuple[int, int]:
        hidden = self.path + ".new"
        os.mkfifo(hidden, 0o600)
        try:
            fd = os.open(hidden, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
            # A writer of our own: without one the end of each ring would look like the end of the file.
            writer = os.open(hidden, os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC)
            # Only now can it be rung: before it is open for reading it would be taken for one left behind.
            os.rename(hidden, self.path)
        except BaseException:
            os.unlink(hidden)
            raise
        return fd, writer

    def restore(self) -> None:
        """Make the FIFO again after someone has deleted it; ``fd`` stays the same number."""
        os.makedirs(os.path.dirname(self.path), mode=0o700, exist_ok=True)
        fd, writer = self._make()
        os.dup2(fd, self.fd, inheritable=False)
        os.dup2(writer, self._writer, inheritable=False)
        os.close(fd)
        os.close(writer)

    def drain(self) -> bytes:
        """Read what was rung since the last time."""
        rung = b""
        while True:
            try:
                data = os.read(self.fd, 65536)
            except BlockingIOError:
                return rung
            rung += data

    def wake(self) -> None:
        """Wake the watcher itself, with no news; from any thread, also when it was taken away meanwhile."""
        with self._closing:
            if not self._closed:
                _write(self._writer, b"w")

    def exists(self) -> bool:
        """Whether others can still ring it."""
        return os.path.exists(self.path)

    def close(self) -> None:
        """Take it away."""
        try:
            os.unlink(self.path)
        except FileNotFoundError:
            pass  # the folder was cleared
        with self._closing:
            self._closed = True
            os.close(self.fd)
            os.close(self._writer)


def ring(folder: str, news: bytes) -> None:
    """Wake all watchers; those that have died are forgotten.

    It never fails: what is to be told stands in the database already, and watchers look there now and then anyhow.
    """
    try:
        names = os.listdir(folder)
    except OSError:
        return
    for name in names:
        if name.endswith(_SUFFIX):
            _ring(os.path.join(folder, name), news)


def _ring(path: str, news: bytes) -> None:
    try:
        fd = os.open(path, os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        if error.errno == errno.ENXIO:  # nobody reads it
            _unlink(path)
        return
    try:
        _write(fd, news)
    finally:
        os.close(fd)


def _write(fd: int, news: bytes) -> None:
    try:
        os.write(fd, news)
    except (BlockingIOError, BrokenPipeError):
        pass  # it is full, so it has been rung; or its watcher has just gone


def _unlink(path: str) -> None:
    try:
        os.unlink(path)
    except OSError:
        pass  # someone else saw it too
