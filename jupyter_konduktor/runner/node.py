"""One node of a job as its supervisor sees it: a process, what it writes, and how it ended."""

from __future__ import annotations

import os

from .encoder import Encoder

READ_SIZE = 1 << 20


class Node:
    """The user's process of one node and the pipes to it.

    Attributes
    ----------
    rank : int
    pid : int
        It leads a session and a process group of its own.
    log, control : int
        Read ends of its pipes; -1 once they are at their end.
    encoder : Encoder
        Makes its stream.
    lost : int
        Bytes of output that could not be written.
    value : bytes or None
        The value it sent, as it stands in an envelope.
    status : int or None
        Its exit code once it has ended; 128 + n if signal n ended it.
    signal : int or None
        The signal that ended it.
    group_deadline : float or None
        When what outlives it in its group is killed.
    """

    __slots__ = (
        *("_unread", "control", "encoder", "group_deadline", "log", "lost"),
        *("value", "pid", "rank", "signal", "status"),
    )

    def __init__(self, rank: int, pid: int, log: int, control: int, nonce: str) -> None:
        self.rank = rank
        self.pid = pid
        self.log = log
        self.control = control
        self.encoder = Encoder(nonce)
        self.lost = 0
        self.value: bytes | None = None
        self.status: int | None = None
        self.signal: int | None = None
        self.group_deadline: float | None = None
        self._unread = b""  # the beginning of a message
        for fd in (log, control):
            os.set_blocking(fd, False)

    def read_log(self) -> bytes | None:
        """Read output: empty if there is none now, None at the end."""
        data, self.log = _read(self.log)
        return data

    def read_messages(self) -> list[bytes] | None:
        """Read what our code in the process sends, complete lines only; None at the end."""
        data, self.control = _read(self.control)
        if data is None:
            return None
        *messages, self._unread = (self._unread + data).split(b"\n")
        return messages

    def close(self) -> None:
        """Close the pipes; whoever still writes to them is nobody's business any more."""
        for fd in (self.log, self.control):
            if fd >= 0:
                os.close(fd)
        self.log = self.control = -1

    def ended(self, status: int) -> None:
        """Take note of what ``waitpid`` said."""
        if os.WIFSIGNALED(status):
            self.signal = os.WTERMSIG(status)
            self.status = 128 + self.signal
        else:
            self.status = os.WEXITSTATUS(status)


def _read(fd: int) -> tuple[bytes | None, int]:
    """Read from a pipe; gives what was read (None at the end, when it is closed) and the pipe (-1 then)."""
    if fd < 0:
        return None, -1
    try:
        data = os.read(fd, READ_SIZE)
    except BlockingIOError:
        return b"", fd
    if data:
        return data, fd
    os.close(fd)
    return None, -1
