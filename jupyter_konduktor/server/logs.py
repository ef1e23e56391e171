"""Logs in pieces that a browser can take: pages from any offset, a tail that grows, a search, the whole.

Offsets count bytes of the raw log, whose lines may be marked (`jupyter_konduktor.runner.stream`). A page begins and
ends between two raw lines, so that it can be decoded alone, by whoever asks in whatever order. A rich output stands in
the page that its last piece is in.
"""

from __future__ import annotations

import codecs
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from jupyter_konduktor.backends.protocol import LogChunk
from jupyter_konduktor.runner.stream import MARK, Display, StreamDecoder
from jupyter_konduktor.server import terminal

Piece = dict[str, Any]

PIECE = 256 * 1024
"""Bytes of the raw log that a tail reads at a time."""

LONGEST = 1 << 20
"""Bytes of a line up to which its end is looked for; a longer one is cut."""

LOOK_BACK = 8 << 20
"""Bytes before a page in which the first pieces of a rich output are looked for."""

MATCHES = 1000
SEARCH_SECONDS = 10.0
"""What one search finds and takes at most; there may be more."""

_SCAN = 4 << 20
_MATCH_TEXT = 500
_LEAD = 100  # characters before a match that are shown of a long line


@dataclass(frozen=True, slots=True)
class Log:
    """The log of one attempt on one node.

    Parameters
    ----------
    read : callable
        Gives a piece from an offset (negative: from the end), of at most so many bytes.
    nonce : str
        The job's; empty for a job that another client has made, whose log has no marked lines.
    """

    read: Callable[[int, int], LogChunk]
    nonce: str

    @property
    def mark(self) -> bytes:
        """What a marked line begins with; empty if there are none."""
        return MARK + self.nonce.encode("ascii", "replace") if self.nonce else b""

    def size(self) -> int:
        """Bytes that are there now."""
        return self.read(-1, 1).offset

    # --- pages

    def page(self, offset: int, limit: int) -> Piece:
        """Give the text of about so many bytes from the first line that begins at an offset or after it.

        Parameters
        ----------
        offset : int
            Bytes of the raw log; a negative one counts from its end.
        limit : int
            Bytes of the raw log; more where one line is longer.
        """
        size = self.size()
        start = self.line_start(offset, size)
        data, ended = self._lines(start, limit)
        end = start + len(data)
        text = terminal.harmless(self._decoded(data, start, ended=ended).decode("utf-8", "replace"))
        return {"text": text, "start": start, "offset": end, "size": max(size, end), "ended": ended}

    def line_start(self, offset: int, size: int) -> int:
        """Give where the first line begins that begins at an offset or after it; the offset itself if none is near.

        Of an offset from the end at least the last line is left.
        """
        from_end = offset < 0
        offset = max(0, size + offset) if from_end else min(offset, size)
        if not offset or self.read(offset - 1, 1).data == b"\n":
            return offset
        if offset >= LONGEST and b"\n" not in self.read(offset - LONGEST, LONGEST).data:
            return offset  # the page before has cut the line here
        at = self.read(offset, LONGEST).data.find(b"\n")
        if from_end and (at < 0 or offset + at + 1 >= size):
            low = max(0, size - LONGEST)
            return low + self.read(low, size - low).data.rfind(b"\n", 0, size - low - 1) + 1
        return offset if at < 0 else offset + at + 1

    def _lines(self, start: int, limit: int) -> tuple[bytes, bool]:
        """Read whole lines, or an unfinished one that nothing follows; whether nothing will ever follow them."""
        chunk = self.read(start, limit)
        if chunk.ended:
            return chunk.data, True
        end = chunk.data.rfind(b"\n") + 1
        if end or len(chunk.data) < limit:
            return chunk.data[:end], False
        chunk = self.read(start, LONGEST)
        end = chunk.data.find(b"\n") + 1
        if end:
            return chunk.data[:end], chunk.ended and end == len(chunk.data)
        whole = chunk.ended or len(chunk.data) >= LONGEST
        return chunk.data if whole else b"", chunk.ended

    def _decoded(self, data: bytes, start: int, *, ended: bool) -> bytes:
        if self.mark not in data or not self.nonce:
            return data
        decoder = StreamDecoder(self.nonce)
        decoder.feed(self._missing_pieces(data, start))
        return _joined(decoder.feed(data) + (decoder.flush() if ended else []))

    def _missing_pieces(self, data: bytes, start: int) -> bytes:
        """Find the pieces before a page of the rich outputs that end in it."""
        within: dict[bytes, int] = {}
        missing: dict[bytes, int] = {}
        for line in _marked(data, self.mark + b"d"):
            identity, number, count = _piece(line, len(self.mark) + 1)
            within[identity] = within.get(identity, 0) + 1
            if number == count and within[identity] < count:
                missing[identity] = count - within[identity]
        found: list[bytes] = []
        low = max(0, start - LOOK_BACK)
        while missing and start > low:
            begin = max(low, start - PIECE)
            begin = self.line_start(begin, start) if begin else 0
            if begin >= start:
                break
            piece = self.read(begin, start - begin).data
            wanted = []
            for line in _marked(piece, self.mark + b"d"):
                identity = _piece(line, len(self.mark) + 1)[0]
                if identity in missing:
                    wanted.append(line)
                    missing[identity] -= 1
                    if not missing[identity]:
                        del missing[identity]
            found[:0] = wanted
            start = begin
        return b"".join(found)

    # --- the whole

    def pieces(self) -> Iterator[bytes]:
        """Give all that is there now as UTF-8."""
        tail = Tail(self, 0)
        tail.behind = True
        while tail.behind:
            yield tail.read(1 << 20)["text"].encode("utf-8")

    def search(self, text: str) -> dict[str, Any]:
        """Find the lines that hold a text, in whatever case (of ASCII letters); colours within a line do not matter."""
        needle = text.encode("utf-8", "replace").lower()
        until = time.monotonic() + SEARCH_SECONDS
        matches: list[dict[str, Any]] = []
        offset, number, more = 0, 1, False
        while not more:
            chunk = self.read(offset, _SCAN)
            data = chunk.data
            end = data.rfind(b"\n") + 1
            # What is unfinished is searched with the rest of it, if there will be any.
            if end and not chunk.ended:
                data = data[:end]
            if not data:
                break
            number = self._scan(data, needle, offset, number, matches)
            offset += len(data)
            more = len(matches) > MATCHES or time.monotonic() > until
            if chunk.ended:
                break
        return {"matches": matches[:MATCHES], "more": more}

    def _scan(self, data: bytes, needle: bytes, offset: int, number: int, matches: list[dict[str, Any]]) -> int:
        """Add the matches in some whole lines; gives the number of the line after them."""
        if not self.mark or self.mark not in data:
            # Colours go from all of it at once; what is left has the same lines.
            shown = terminal.without_colours(data) if b"\x1b" in data else data
            lowered = shown.lower()
            at = seen = there = 0
            while len(matches) <= MATCHES and (at := lowered.find(needle, at)) >= 0:
                begin = shown.rfind(b"\n", 0, at) + 1
                end = shown.find(b"\n", at)
                end = len(shown) if end < 0 else end
                passed = shown.count(b"\n", seen, begin)
                number += passed
                seen = begin
                there = _skip_lines(data, there, passed) if shown is not data else begin
                matches.append(_match(offset + there, number, shown[begin:end], at - begin))
                at = end
            return number + shown.count(b"\n", seen)
        line, begin = b"", offset
        for raw in _lines_of(data):
            if self.mark and raw.startswith(self.mark):
                kind = raw[len(self.mark) : len(self.mark) + 1]
                line += raw[len(self.mark) + 1 : -1] if kind in (b"p", b"r") else b""
            else:
                line += raw
            offset += len(raw)
            if line.endswith(b"\n"):
                _try(line, needle, begin, number, matches)
                number += 1
                line, begin = b"", offset
            elif not line:
                begin = offset
        if line:
            _try(line, needle, begin, number, matches)
        return number


class Tail:
    """Reads a log on from an offset as it grows; what is decoded hangs together from piece to piece.

    Parameters
    ----------
    log : Log
    offset : int
        As for `Log.page`.

    Attributes
    ----------
    behind : bool
        Whether there was more to read.
    """

    def __init__(self, log: Log, offset: int) -> None:
        self._log = log
        self._decoder = StreamDecoder(log.nonce) if log.nonce else None
        self._text = codecs.getincrementaldecoder("utf-8")("replace")
        self._offset = offset
        self._begun = False
        self.behind = False

    def read(self, limit: int = PIECE) -> Piece:
        """Give what is new, perhaps nothing."""
        if not self._begun:
            self._offset = self._log.line_start(self._offset, self._log.size())
            self._begun = True
        start = self._offset
        chunk = self._log.read(start, limit)
        self.behind = len(chunk.data) >= limit
        # A sequence for the terminal that is cut in two would not be known for what it is.
        end = len(chunk.data) if chunk.ended else chunk.data.rfind(b"\n") + 1
        if not end and self.behind:
            end = len(chunk.data)
        self._offset = start + end
        data = chunk.data[:end]
        if self._decoder is not None:
            data = _joined(self._decoder.feed(data) + (self._decoder.flush() if chunk.ended else []))
        text = terminal.harmless(self._text.decode(data, final=chunk.ended))
        size = self._log.size() if self.behind else start + len(chunk.data)
        return {"text": text, "start": start, "offset": self._offset, "size": size, "ended": chunk.ended}


def _joined(parts: list[bytes | Display]) -> bytes:
    return b"".join(part if isinstance(part, bytes) else _plain(part) for part in parts)


def _plain(display: Display) -> bytes:
    """Give the text of a rich output."""
    data = display.record.get("data")
    text = data.get("text/plain") if isinstance(data, dict) else None
    return f"{text}\n".encode("utf-8", "replace") if isinstance(text, str) and text else b""


def _marked(data: bytes, mark: bytes) -> Iterator[bytes]:
    at = data.find(mark)
    while at >= 0:
        end = data.find(b"\n", at) + 1 or len(data)
        if at == 0 or data[at - 1] == 0x0A:
            yield data[at:end]
        at = data.find(mark, end)


def _piece(line: bytes, head: int) -> tuple[bytes, int, int]:
    """Read which piece of what a line is; no piece of anything if it cannot be read."""
    try:
        identity, position, _ = line[head:].split(b" ", 2)
        number, count = position.split(b"/")
        return identity, int(number), int(count)
    except ValueError:
        return b"", 0, -1


def _skip_lines(data: bytes, at: int, count: int) -> int:
    for _ in range(count):
        at = data.find(b"\n", at) + 1
    return at


def _lines_of(data: bytes) -> Iterator[bytes]:
    """Cut at newlines only."""
    begin = 0
    while begin < len(data):
        end = data.find(b"\n", begin) + 1 or len(data)
        yield data[begin:end]
        begin = end


def _try(line: bytes, needle: bytes, offset: int, number: int, matches: list[dict[str, Any]]) -> None:
    if b"\x1b" in line:
        line = terminal.without_colours(line)
    at = line.lower().find(needle)
    if at >= 0 and len(matches) <= MATCHES:
        matches.append(_match(offset, number, line.rstrip(b"\n"), at))


def _match(offset: int, number: int, line: bytes, at: int) -> dict[str, Any]:
    begin = max(0, at - _LEAD) if len(line) > _MATCH_TEXT else 0
    text = line[begin : begin + _MATCH_TEXT].decode("utf-8", "replace")
    return {"offset": offset, "line": number, "text": terminal.plain(text)}
