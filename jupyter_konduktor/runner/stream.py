r"""The one stream of a job's output, the same on every backend: how it is written, and how it is read.

What the user's processes write stands in it as it came, line by line. Beside that there are marked lines::

    \x1e NONCE p BYTES \n             bytes that no newline follows: a prompt, a `\r` update, the end of a log
    \x1e NONCE d ID I/N PIECE \n      a piece of a display record as JSON

without the blanks around the kind. The nonce is the job's own and stands in its spec, so nothing that is printed by
chance, or copied from another job's log, is taken for a marked line. Log readers hold a line back until its newline is
there; that is why an unfinished one is sent as a ``p`` line once it is `PARTIAL_DELAY` old.

`display` writes ``d`` lines into the pipe itself, each in one atomic write, so they keep their place among the output
of all processes. `Encoder` is the supervisor's part; `StreamDecoder` is for whoever reads.
"""

from __future__ import annotations

import time

TYPE_CHECKING = False
if TYPE_CHECKING:  # importing typing costs a job 3 ms
    from collections.abc import Iterator
    from typing import Any

MARK = b"\x1e"
PARTIAL_DELAY = 0.05
"""Seconds that the beginning of a line waits for its newline."""
PARTIAL_LIMIT = 64 * 1024
"""Bytes of an unfinished line that are not held back any longer."""
LINE_LIMIT = 4000
"""Bytes of a display line at most, so that one write of it is atomic (PIPE_BUF is 4,096 on Linux)."""
_RECORD_LIMIT = 64 << 20  # bytes of unfinished records that a reader keeps


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
            held = len(rest) - at if at >= 0 else _overlap(rest, 0, self._mark)
            rest, self._rest = rest[: len(rest) - held], rest[len(rest) - held :]
        return self._partial(rest)

    def _partial(self, data: bytes) -> bytes:
        return self._mark + b"p" + data + b"\n" if data else b""

    def _anchored(self, data: bytes) -> bytes:
        """Have every marked line begin at the beginning of a line; ``data`` ends with a newline."""
        first, *pieces = data.split(self._mark)
        out = [first]
        for piece in pieces:
            if out[-1] and not out[-1].endswith(b"\n"):
                head, newline, tail = out[-1].rpartition(b"\n")
                out[-1] = head + newline
                out.append(self._partial(tail))
            line, newline, after = piece.partition(b"\n")
            if newline:
                out += [self._mark, line, newline, after]
            else:
                out += [self._mark, line]  # a forged mark within a marked line stays part of it
        return b"".join(out)


def display_lines(nonce: str, identity: str, record: bytes, limit: int = LINE_LIMIT) -> Iterator[bytes]:
    """Cut a display record into marked lines.

    Parameters
    ----------
    nonce : str
    identity : str
        Tells this record from all others of the job; no blanks.
    record : bytes
        JSON in ASCII.
    limit : int, default 4000
        Bytes of a line at most.
    """
    head = MARK + (f"{nonce}d{identity} ").encode("ascii")
    room = limit - len(head) - 24  # "I/N " and the newline
    count = max(1, -(-len(record) // room))
    for number in range(count):
        yield b"%s%d/%d %s\n" % (head, number + 1, count, record[number * room : (number + 1) * room])


class Display:
    """A display record.

    Attributes
    ----------
    record : dict
        ``type`` is ``"display"``, ``"execute_result"``, ``"update_display"`` or ``"clear_output"``; ``data`` a mime
        bundle (binary types in base64, as in a notebook), ``metadata``, ``display_id`` or None, ``wait`` of a
        clear_output. A bundle that was too large for the stream has only its text, and ``artifact`` (``sha256``,
        ``size``) names the JSON of the whole record. ``"traceback"`` says that the next ``size`` bytes of text are the
        traceback of the error that the job fails with.
    """

    __slots__ = ("record",)

    def __init__(self, record: dict[str, Any]) -> None:
        self.record = record

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Display) and other.record == self.record

    def __hash__(self) -> int:
        return hash(self.record.get("display_id"))

    def __repr__(self) -> str:
        return f"Display({self.record!r})"


class StreamDecoder:
    """Reads a stream in pieces of any size: the user's bytes exactly as they were written, and display records.

    Parameters
    ----------
    nonce : str
        The job's.
    """

    def __init__(self, nonce: str) -> None:
        self._mark = MARK + nonce.encode("ascii")
        self._rest = b""
        self._pieces: dict[bytes, list[bytes | None]] = {}
        self._kept = 0

    def feed(self, data: bytes) -> list[bytes | Display]:
        """Take a piece of the stream; gives what is complete, text as bytes."""
        data = self._rest + data if self._rest else data
        out: list[bytes | Display] = []
        start = 0
        while True:
            mark = data.find(self._mark, start)
            if mark < 0:
                end = len(data) - _overlap(data, start, self._mark)
                _add(out, data[start:end])
                self._rest = data[end:]
                return out
            _add(out, data[start:mark])
            end = data.find(b"\n", mark)
            if end < 0:
                self._rest = data[mark:]
                return out
            self._marked(out, data[mark : end + 1])
            start = end + 1

    def flush(self) -> list[bytes | Display]:
        """Give what is left when nothing follows; a record that was cut off is dropped."""
        rest, self._rest = self._rest, b""
        if rest.startswith(self._mark):
            kind = rest[len(self._mark) : len(self._mark) + 1]
            rest = rest[len(self._mark) + 1 :] if kind == b"p" else b""
        self._pieces.clear()
        self._kept = 0
        return [rest] if rest else []

    def _marked(self, out: list[bytes | Display], line: bytes) -> None:
        kind, payload = line[len(self._mark) : len(self._mark) + 1], line[len(self._mark) + 1 : -1]
        if kind == b"p":
            _add(out, payload)
        elif kind == b"d":
            record = self._joined(payload)
            if record is not None:
                out.append(record)
        else:
            _add(out, line)  # not ours, whoever wrote it

    def _joined(self, payload: bytes) -> Display | None:
        """Add a piece to its record, and give the record when it is complete."""
        import json

        try:
            identity, position, piece = payload.split(b" ", 2)
            number, count = (int(part) for part in position.split(b"/"))
        except ValueError:
            return None
        if not 1 <= number <= count <= 1 << 20 or self._kept + len(piece) > _RECORD_LIMIT:
            return None
        pieces = self._pieces.setdefault(identity, [None] * count)
        if len(pieces) != count or pieces[number - 1] is not None:
            return None
        pieces[number - 1] = piece
        self._kept += len(piece)
        if number != count:
            return None
        del self._pieces[identity]
        known = [p for p in pieces if p is not None]
        self._kept -= sum(len(p) for p in known)
        if len(known) != count:
            return None
        try:
            record = json.loads(b"".join(known))
        except ValueError:
            return None
        return Display(record) if isinstance(record, dict) else None


def _add(out: list[bytes | Display], text: bytes) -> None:
    """Append text, joined to text that stands before it."""
    if not text:
        return
    if out and isinstance(out[-1], bytes):
        out[-1] += text
    else:
        out.append(text)


def _overlap(data: bytes, start: int, mark: bytes) -> int:
    """Count the bytes at the end of the data that may be the beginning of a mark."""
    at = data.rfind(MARK, max(start, len(data) - len(mark) + 1))
    return len(data) - at if at >= 0 and mark.startswith(data[at:]) else 0
