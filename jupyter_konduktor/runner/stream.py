r"""The one stream of a job's output, the same on every backend: how it is written, and how it is read.

What the user's processes write stands in it as it came, line by line. Beside that there are marked lines::

    \x1e NONCE p BYTES \n             bytes that no newline follows: a prompt, a `\r` update, the end of a log
    \x1e NONCE r BYTES \n             the same, and after them a `\r`: containerd drops one before a newline
    \x1e NONCE d ID I/N PIECE \n      a piece of a display record as JSON

without the blanks around the kind. The nonce is the job's own and stands in its spec, so nothing that is printed by
chance, or copied from another job's log, is taken for a marked line. Log readers hold a line back until its newline is
there; that is why an unfinished one is sent as a ``p`` line once it is `encoder.PARTIAL_DELAY` old.

Where a container's log is all that leaves a job, *carrier* lines stand in it as well. They are for whoever carries the
log to disk, who takes them out; each stands on a line of its own, and a piece is base64::

    \x1e NONCE c JSON \n               control: what the supervisor says of the attempt
    \x1e NONCE a SHA256 I/N PIECE \n   a piece of an artifact
    \x1e NONCE i INDEX I/N PIECE \n    a piece of the envelope of an item

`display` writes ``d`` lines into the pipe itself, each in one atomic write, so they keep their place among the output
of all processes. `encoder` is the supervisor's part; it lets no carrier line of the user's processes through but as
text. `StreamDecoder` is for whoever reads, `CarrierDecoder` for whoever carries.
"""

from __future__ import annotations

from .encoder import CARRIED, MARK, overlap

TYPE_CHECKING = False
if TYPE_CHECKING:  # importing typing costs a job 3 ms
    from collections.abc import Iterator
    from typing import Any

__all__ = [
    "LINE_LIMIT",
    "MARK",
    "Artifact",
    "CarrierDecoder",
    "Control",
    "Display",
    "Item",
    "StreamDecoder",
    "carrier_lines",
    "control_line",
    "display_lines",
]

LINE_LIMIT = 4000
"""Bytes of a display line at most, so that one write of it is atomic (PIPE_BUF is 4,096 on Linux)."""
_PARTIAL = {b"p": b"", b"r": b"\r"}  # kinds of lines of bytes that no newline follows, and what does
_RECORD_LIMIT = 64 << 20  # bytes of unfinished records that a reader keeps
_PIECE = 9000  # bytes of a carrier line before base64: container runtimes cut lines at 16 KiB
_LONGEST_KEPT = 16 * 1024


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


def control_line(nonce: str, record: dict[str, Any]) -> bytes:
    """Write a control record as a carrier line."""
    import json

    return MARK + nonce.encode("ascii") + b"c" + json.dumps(record, separators=(",", ":")).encode("ascii") + b"\n"


def carrier_lines(nonce: str, kind: str, identity: str, data: bytes | memoryview) -> Iterator[bytes]:
    """Cut an artifact (kind ``"a"``) or the envelope of an item (``"i"``) into carrier lines.

    Parameters
    ----------
    nonce : str
    kind : str
    identity : str
        The artifact's SHA-256, or the item's index.
    data : bytes or memoryview
    """
    import binascii

    head = MARK + f"{nonce}{kind}{identity} ".encode("ascii")
    count = max(1, -(-len(data) // _PIECE))
    for number in range(count):
        piece = binascii.b2a_base64(data[number * _PIECE : (number + 1) * _PIECE], newline=False)
        yield b"%s%d/%d %s\n" % (head, number + 1, count, piece)


class _Record:
    """JSON that stands in the stream."""

    __slots__ = ("record",)

    def __init__(self, record: dict[str, Any]) -> None:
        self.record = record

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self) and other.record == self.record

    def __hash__(self) -> int:
        return hash(tuple(self.record))

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.record!r})"


class Control(_Record):
    """What the supervisor says of the attempt.

    Attributes
    ----------
    record : dict
        ``t`` is ``"start"``, with ``python`` (a full version), ``time`` (seconds since the epoch) and ``attempt`` (or
        None), ``"lines"``, with ``n``, how many lines readers are to see of what was written so far, or ``"end"``:
        nothing follows in the log but the supervisor's own words.
    lines : int
        How many of them whoever decodes has seen before it.
    """

    __slots__ = ("lines",)

    def __init__(self, record: dict[str, Any]) -> None:
        super().__init__(record)
        self.lines = 0


class Piece:
    """A piece of something that is carried.

    Attributes
    ----------
    number, count : int
        Which piece of how many, from 1.
    data : bytes
    """

    __slots__ = ("count", "data", "identity", "number")

    def __init__(self, identity: str | int, number: int, count: int, data: bytes) -> None:
        self.identity = identity
        self.number = number
        self.count = count
        self.data = data

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self) and all(getattr(other, s) == getattr(self, s) for s in Piece.__slots__)

    def __hash__(self) -> int:
        return hash((self.identity, self.number))

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.identity!r}, {self.number}/{self.count}, {len(self.data)} bytes)"


class Artifact(Piece):
    """A piece of an artifact; ``identity`` is the SHA-256 that the whole of it is said to have."""

    __slots__ = ()


class Item(Piece):
    """A piece of the envelope of an item of a map; ``identity`` is its index."""

    __slots__ = ()


class CarrierDecoder:
    """Takes the carrier lines out of a stream that comes in pieces of any size.

    Parameters
    ----------
    nonce : str
        The job's.
    """

    def __init__(self, nonce: str) -> None:
        self._mark = MARK + nonce.encode("ascii")
        self._rest = b""  # what may be a carrier line, from its beginning
        self._fresh = True  # whether the next byte begins a line
        self._lines = 0  # that readers are to see

    def feed(self, data: bytes) -> tuple[bytes, list[Control | Artifact | Item]]:
        """Take a piece of the stream; gives what readers are to see of it, and what was carried."""
        if self._rest:
            data, self._rest = self._rest + data, b""
        if data.find(MARK) < 0:
            self._fresh = data.endswith(b"\n") if data else self._fresh
            self._lines += data.count(b"\n")
            return data, []
        visible: list[bytes] = []
        records: list[Control | Artifact | Item] = []
        start = at = 0  # what is not given out yet begins at the first
        while True:
            at = self._next(data, at)
            if at < 0:
                break
            kind = data[at + len(self._mark) : at + len(self._mark) + 1]
            end = data.find(b"\n", at)
            if (kind and kind not in CARRIED) or (end < 0 and len(data) - at > _LONGEST_KEPT):
                at += 1
                continue
            visible.append(data[start:at])
            self._lines += data.count(b"\n", start, at)
            if end < 0:
                self._rest, start = data[at:], len(data)
                break
            record = _carried(kind, data[at + len(self._mark) + 1 : end])
            if record is not None:
                records.append(record)
            if isinstance(record, Control):
                record.lines = self._lines
            start = at = end + 1
        visible.append(data[start:])
        self._lines += data.count(b"\n", start)
        self._fresh = bool(self._rest) or data.endswith(b"\n")
        return b"".join(visible), records

    def flush(self) -> bytes:
        """Give what is left for readers when nothing follows; a carrier line that was cut off is dropped."""
        rest, self._rest = self._rest, b""
        self._fresh = True
        return b"" if rest.startswith(self._mark) and rest[len(self._mark) :] else rest

    def _next(self, data: bytes, at: int) -> int:
        """Find the next mark, or what may become one, at the beginning of a line; -1 if there is none."""
        while True:
            at = data.find(MARK, at)
            if at < 0:
                return -1
            begins = data[at - 1] == 0x0A if at else self._fresh
            if begins and self._mark.startswith(data[at : at + len(self._mark)]):
                return at
            at += 1


def _carried(kind: bytes, payload: bytes) -> Control | Artifact | Item | None:
    """Read a carrier line; None if it is none of ours."""
    import binascii
    import json

    try:
        if kind == b"c":
            record = json.loads(payload)
            return Control(record) if isinstance(record, dict) else None
        identity, position, piece = payload.split(b" ")
        number, count = (int(part) for part in position.split(b"/"))
        data = binascii.a2b_base64(piece)
        if not 1 <= number <= count <= 1 << 20:
            return None
        if kind == b"i":
            return Item(int(identity), number, count, data)
        if len(identity) != 64 or identity.strip(b"0123456789abcdef"):
            return None  # it is going to be the name of a file
        return Artifact(identity.decode("ascii"), number, count, data)
    except ValueError:  # binascii's own error is one
        return None


class Display(_Record):
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

    __slots__ = ()


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
                end = len(data) - overlap(data, start, self._mark)
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
            rest = rest[len(self._mark) + 1 :] if kind in _PARTIAL else b""
        self._pieces.clear()
        self._kept = 0
        return [rest] if rest else []

    def _marked(self, out: list[bytes | Display], line: bytes) -> None:
        kind, payload = line[len(self._mark) : len(self._mark) + 1], line[len(self._mark) + 1 : -1]
        if kind in _PARTIAL:
            _add(out, payload + _PARTIAL[kind])
        elif kind == b"d":
            record = self._joined(payload)
            if record is not None:
                out.append(record)
        elif kind in CARRIED:
            return  # nobody has taken it out before
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
