"""One container's log, from the answers that it comes in to what readers see and what was carried with it."""

from __future__ import annotations

from jupyter_konduktor.backends.kubernetes.logs.align import (
    LINE_LIMIT,
    Aligner,
    clock,
    last_stamp,
    sort_out,
    strip,
    tail_of,
)
from jupyter_konduktor.backends.kubernetes.logs.logfile import LogFile, LogWriter
from jupyter_konduktor.runner.stream import Artifact, CarrierDecoder, Control, Item

BEGINNING = 16 * 1024
"""Bytes that may come before the runner says that it has started, or if Python cannot start it."""

Record = Control | Artifact | Item


class Intake:
    """Takes a log in, over any number of answers.

    Parameters
    ----------
    file : LogFile
    writer : LogWriter
        Of that file.
    nonce : str
        The job's; empty if nothing of ours runs in it.

    Attributes
    ----------
    fresh : bool
        The answer has brought something new.
    foreign : bytes
        What the kubelet has written into the answer because something went wrong.
    over : bool
        The runner has said that nothing follows.
    """

    def __init__(self, file: LogFile, writer: LogWriter, nonce: str) -> None:
        self.fresh = False
        self.foreign = b""
        self.over = False
        self._file = file
        self._writer = writer
        self._nonce = nonce
        self._decoder = CarrierDecoder(nonce) if nonce else None
        self._unsure = (
            bool(nonce) and not writer.point.tail
        )  # whether what was read first is what the runner wrote first
        self._tail = writer.point.tail
        self._at = writer.point.at
        self._aligner = Aligner(b"", 0)
        self._told_gap = False
        self._seen = 0  # lines that readers were given
        self._lost: int | None = None  # lines that the runner has written and were not seen; None: not known
        self._held = b""  # an unfinished line

    @property
    def empty(self) -> bool:
        """Whether nothing was ever read."""
        return not self._tail

    def lost_beginning(self, what: str) -> None:
        """Write down that the log was there in part only when it was first read."""
        self._unsure = False
        self._lost = None
        self._writer.note(f"{what} could not be read", self._nonce)

    def begin(self) -> str | None:
        """Prepare for an answer; gives the time from which the log is to be asked for, None for all of it."""
        self._aligner = Aligner(self._tail, self._at)
        self._told_gap = False
        self._held = b""
        self.fresh, self.foreign = False, b""
        return self._aligner.since

    def feed(self, data: bytes) -> list[Record]:
        """Take a piece of the answer; gives what came with the log."""
        data = self._aligner.feed(data)
        if not data:
            return []
        if self._aligner.gap is not None and not self._told_gap:
            self._told_gap = True
            self._lost = None
            start, end = self._aligner.gap
            self._writer.note(f"output between {clock(start)} and {clock(end)} could not be read", self._nonce)
            self._tail = b""  # whatever of a line was read before, it does not go on
        end_of_lines = data.rfind(b"\n") + 1
        if not end_of_lines and len(self._held) + len(data) < LINE_LIMIT:
            self._held += data
            return []
        data = self._held + data
        end_of_lines = data.rfind(b"\n") + 1 or len(data)
        self._held = data[end_of_lines:]
        return self._lines(data[:end_of_lines])

    def finish(self, *, last: bool) -> list[Record]:
        """Take note that the answer has come to its end.

        Parameters
        ----------
        last : bool
            Nothing will be added to an unfinished line.
        """
        held, self._held = self._held, b""
        if last and held:
            return self._lines(held)
        self.foreign += sort_out(held)[1] if held and not self._within else b""
        return []

    @property
    def _within(self) -> bool:
        """Whether what comes goes on with a line of which a part was taken."""
        return bool(self._tail) and not self._tail.endswith(b"\n")

    def _lines(self, lines: bytes) -> list[Record]:
        rest = b""
        if self._within:
            end = lines.find(b"\n") + 1 or len(lines)
            rest, lines = lines[:end], lines[end:]
        content = strip(lines)
        if content is None:
            lines, foreign = sort_out(lines)
            self.foreign += foreign
            content = strip(lines) or b""
        if not rest and not lines:
            return []
        self.fresh = True
        records: list[Record] = []
        visible = rest + content
        if self._decoder is not None:
            visible, records = self._decoder.feed(visible)
        self._append(visible, records)
        if self._unsure and not any(isinstance(r, Control) and r.record.get("t") == "start" for r in records):
            if self._writer.size >= BEGINNING:
                self.lost_beginning("the beginning of the output")
        else:
            self._unsure = False
        whole = True
        for record in records:
            if isinstance(record, Control):
                self.over = self.over or record.record.get("t") == "end"
            else:
                whole = self._file.keep(record)
        self._tail = tail_of(self._tail, rest + lines)
        self._at = last_stamp(self._tail) or self._at
        if whole:
            self._writer.reach(self._tail, self._at)
        return records

    def _append(self, visible: bytes, records: list[Record]) -> None:
        """Write what readers are to see, with a note where the runner has written lines that did not come.

        A kubelet that is two rotations behind leaves a file out, unsaid.
        """
        before, done = self._seen, 0
        self._seen += visible.count(b"\n")
        for record in records:
            lost = self._newly_lost(record) if isinstance(record, Control) else 0
            if lost and isinstance(record, Control):
                end = _after_lines(visible, record.lines - before)
                self._writer.append(visible[done:end])
                said = "1 line" if lost == 1 else f"{lost:,} lines"
                self._writer.note(f"{said} shortly before this could not be read", self._nonce)
                done = end
        self._writer.append(visible[done:])

    def _newly_lost(self, control: Control) -> int:
        """Count the lines that are missing since the lines were counted last."""
        written = 0 if control.record.get("t") == "start" else control.record.get("n")
        if not isinstance(written, int):
            return 0
        before, self._lost = self._lost, written - control.lines
        return max(0, self._lost - before) if before is not None else 0


def _after_lines(data: bytes, count: int) -> int:
    """Give the place behind so many lines."""
    end = 0
    for _ in range(count):
        end = data.find(b"\n", end) + 1
    return end
