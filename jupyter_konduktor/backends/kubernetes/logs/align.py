"""Lines of a container's log with the node's timestamps: taking those off, and finding one's place in a log read again.

A log that is asked for from a time on comes in the order of its file, whole seconds at a time, and what is read anew is
told from what was read before by its bytes, timestamps included: these are nanoseconds and hardly ever the same twice.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

REPEAT = 2
"""Seconds that are asked for again."""

TAIL = 4096
"""Bytes that are kept at least, from the beginning of their first line."""

LINE_LIMIT = 1 << 20
"""Bytes of an unfinished line that are held back, and of one line that are kept."""

_STAMP = rb"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?(?:Z|[+-]\d\d:\d\d) "
_FIRST = re.compile(_STAMP)
_OTHERS = re.compile(rb"\n" + _STAMP)
_STAMP_LIMIT = 36
_HEAD = 64  # bytes by which the beginning of an answer is looked for in what was read before
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def strip(lines: bytes) -> bytes | None:
    """Take the timestamps off.

    Parameters
    ----------
    lines : bytes
        From the beginning of a line; the last one may lack its newline.

    Returns
    -------
    bytes or None
        None if a line has no timestamp (`sort_out`).
    """
    if not lines:
        return b""
    bare, count = _OTHERS.subn(b"\n", b"\n" + lines)
    if count == lines.count(b"\n") + (not lines.endswith(b"\n")):
        return bare[1:]
    return None


def sort_out(lines: bytes) -> tuple[bytes, bytes]:
    """Part the container's lines from those that have no timestamp, which the kubelet writes when it fails."""
    own: list[bytes] = []
    foreign: list[bytes] = []
    for line, time in _lines(lines):
        (foreign if time is None else own).append(line)
    return b"".join(own), b"".join(foreign)


def stamp(line: bytes) -> int | None:
    """Read the time at which a line was written, in nanoseconds since the epoch; None if it has none."""
    found = _FIRST.match(line[:_STAMP_LIMIT])
    if found is None:
        return None
    text = found[0].rstrip().decode("ascii")
    try:
        zone = "+00:00" if text.endswith("Z") else text[-6:]
        whole = datetime.fromisoformat(text[:19] + zone)
    except ValueError:
        return None
    fraction = text[20:].rstrip("Z")[: None if text.endswith("Z") else -6]
    return (whole - _EPOCH) // timedelta(seconds=1) * 10**9 + int((fraction[:9] or "0").ljust(9, "0"))


def tail_of(tail: bytes, lines: bytes) -> bytes:
    """Give what is to be kept of the tail and of lines that were read after it."""
    kept = lines if len(lines) > TAIL + LINE_LIMIT else tail + lines
    start = kept.rfind(b"\n", 0, max(0, len(kept) - TAIL)) + 1
    return kept[max(start, len(kept) - LINE_LIMIT) :]


def last_stamp(lines: bytes) -> int | None:
    """Read the timestamp of the last line that has one."""
    end = len(lines)
    while end > 0:
        start = lines.rfind(b"\n", 0, end - 1) + 1
        found = stamp(lines[start : start + _STAMP_LIMIT])
        if found is not None:
            return found
        end = start
    return None


def clock(nanoseconds: int) -> str:
    """Write a time of day for a person, in UTC."""
    return (_EPOCH + timedelta(microseconds=nanoseconds // 1000)).strftime("%H:%M:%S.%f")[:-3]


class Aligner:
    """Finds where what is new begins in a log that is read again.

    Parameters
    ----------
    tail : bytes
        The last that was read, with its timestamps (`tail_of`); empty if nothing was.
    at : int
        The timestamp of its last line.

    Attributes
    ----------
    since : str or None
        What to ask for (``sinceTime``); None for all there is.
    found : bool
        What is fed comes back as it is from now on.
    gap : (int, int) or None
        Nothing of what was read before is in the log any more: the times between which something may be missing.
    """

    def __init__(self, tail: bytes, at: int) -> None:
        self.since: str | None = None
        self.found = not tail
        self.gap: tuple[int, int] | None = None
        self._at = self._latest = at
        self._tail = b""
        self._held = b""
        self._beginning = True
        if tail:
            second = at // 10**9 - REPEAT
            self.since = (_EPOCH + timedelta(seconds=second)).strftime("%Y-%m-%dT%H:%M:%SZ")
            # The log leaves out what is older, wherever in its file it stands; so must what is looked for in it.
            times = list(_lines(tail))
            self._tail = b"".join(line for line, time in times if time is None or time >= second * 10**9)
            self._latest = max((time for _, time in times if time is not None), default=at)

    def feed(self, data: bytes) -> bytes:
        """Take a piece of the answer; gives what of it is new as far as that is known."""
        if self.found:
            return data
        self._held += data
        if self._beginning:
            place = self._beginning_at()
            if place is None:
                return b""
            if place >= 0:
                return self._after(place)
            self._beginning = False
        place = self._held.find(self._tail)
        if place >= 0:
            return self._after(place + len(self._tail))
        return self._beyond()

    def _after(self, place: int) -> bytes:
        self.found = True
        held, self._held = self._held, b""
        return held[place:]

    def _beginning_at(self) -> int | None:
        """Look whether the answer begins within the tail.

        Gives where the tail ends in it, -1 if it does not begin there, None if more is needed to tell.
        """
        head = self._held[: self._held.find(b"\n", 0, _HEAD) + 1 or _HEAD]
        at = self._tail.find(head)
        while at >= 0:
            rest = self._tail[at:]
            if self._held.startswith(rest):
                return len(rest)
            if rest.startswith(self._held):
                return None
            at = self._tail.find(head, at + 1)
        return -1

    def _beyond(self) -> bytes:
        """Give up once a line is later than the tail, which stands before it if it stands anywhere."""
        newest = last_stamp(self._held[: self._held.rfind(b"\n") + 1])
        if newest is None or newest <= self._latest:
            keep = max(len(self._tail), _STAMP_LIMIT)
            if len(self._held) > keep:
                self._held = self._held[self._held.rfind(b"\n", 0, len(self._held) - keep) + 1 :][-LINE_LIMIT - keep :]
            return b""
        place = 0
        for line, time in _lines(self._held):
            if time is not None and time > self._latest:
                self.gap = self._at, time
                return self._after(place)
            place += len(line)
        return b""


def _lines(data: bytes) -> Iterator[tuple[bytes, int | None]]:
    """Cut at the newlines; gives each line with its time."""
    start = 0
    while start < len(data):
        end = data.find(b"\n", start) + 1 or len(data)
        yield data[start:end], stamp(data[start:end])
        start = end
