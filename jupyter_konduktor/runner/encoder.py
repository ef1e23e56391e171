"""The supervisor's part of the stream: from the bytes that processes write to lines (`stream` tells of its form)."""

from __future__ import annotations

import time

MARK = b"\x1e"
PARTIAL_DELAY = 0.05
"""Seconds that the beginning of a line waits for its newline."""
PARTIAL_LIMIT = 64 * 1024
"""Bytes of an unfinished line that are not held back any longer."""
CARRIED = frozenset((b"c", b"a", b"i"))
"""The kinds of carrier lines."""


class Encoder:
    """Turns the bytes of one node's pipe into its stream.

    Attributes
    ----------
    deadline : float or None
        When `flush` is to be called, on the monotonic clock; None if nothing waits.
    """

    def __init__(self, nonce: str) -> None:
        self._mark = MARK + nonce.encode("ascii")
        self._rest = b""  # an unfinished line
        self.deadline: float | None = None

    def feed(self, data: bytes) -> bytes:
        """Take bytes from the pipe, and give what is to be written now."""
        if self._rest:
            data = self._rest + data
        end = data.rfind(b"\n") + 1
        if data.find(self._mark, 0, end) >= 0:
            whole = self._anchored(data[:end])
        else:
            whole = data if end == len(data) else data[:end]
        self._rest = data[end:]
        if not self._rest:
            self.deadline = None
        elif len(self._rest) >= PARTIAL_LIMIT:
            whole += self.flush()
        elif end or self.deadline is None:
            self.deadline = time.monotonic() + PARTIAL_DELAY
        return whole

    def flush(self, *, end: bool = False) -> bytes:
        """Give the unfinished line as a marked one.

        Parameters
        ----------
        end : bool, default False
            Nothing follows.
        """
        self.deadline = None
        rest, self._rest = self._rest, b""
        if not rest:
            return b""
        if not end:
            # If the read ended within one of our own lines, its other half is in the pipe.
            at = rest.find(self._mark)
            held = len(rest) - at if at >= 0 else overlap(rest, 0, self._mark)
            rest, self._rest = rest[: len(rest) - held], rest[len(rest) - held :]
        return self._partial(rest)

    def _partial(self, data: bytes) -> bytes:
        """Give bytes that no newline follows as marked lines; none of them ends with a carriage return."""
        text = data.rstrip(b"\r")
        returns = len(data) - len(text)
        if not returns:
            return self._mark + b"p" + data + b"\n" if data else b""
        first = self._mark + b"r" + text + b"\n"
        return first + (self._mark + b"r\n") * (returns - 1)

    def _anchored(self, data: bytes) -> bytes:
        """Have every marked line begin at the beginning of a line; ``data`` ends with a newline."""
        first, *pieces = data.split(self._mark)
        out = [first]
        for piece in pieces:
            if out[-1] and not out[-1].endswith(b"\n"):
                head, newline, tail = out[-1].rpartition(b"\n")
                out[-1] = head + newline
                out.append(self._partial(tail))
            if piece[:1] in CARRIED:
                # Only the supervisor writes these, and not here: whoever reads gets the bytes back as text.
                out += [self._partial(MARK), self._mark[len(MARK) :], piece]
                continue
            line, newline, after = piece.partition(b"\n")
            if newline:
                out += [self._mark, line, newline, after]
            else:
                out += [self._mark, line]  # a forged mark within a marked line stays part of it
        return b"".join(out)


def overlap(data: bytes, start: int, mark: bytes) -> int:
    """Count the bytes at the end of the data that may be the beginning of a mark."""
    at = data.rfind(MARK, max(start, len(data) - len(mark) + 1))
    return len(data) - at if at >= 0 and mark.startswith(data[at:]) else 0
