"""Texts and rich outputs on their way under a cell, within what Jupyter takes.

Jupyter drops what exceeds 1,000 messages or 1 MB a second and keeps every byte in the notebook's file. So output is
merged into few messages, the rate is limited, and of very long output the head and a live tail are shown; all of it is
in the job's log.
"""

from __future__ import annotations

import codecs
import json
import sys
import time
import uuid
from collections import deque
from collections.abc import Mapping
from typing import Any

from IPython.core.display_functions import clear_output

from jupyter_konduktor.widgets.front_end import in_place, publish

HEAD = 1_500_000
"""Bytes of text that are shown as they come."""
TAIL = 8_000
"""Bytes of the live tail after that."""
RICH = 1_500_000
"""Bytes that one rich output may have."""
LAST_DISPLAYS = 1000
"""Rich outputs that may still wait to be shown when the job ends."""
LAST_SECONDS = 20.0
"""Time that showing them may take, at the rate that Jupyter takes them; after that only their text is shown."""


class Screen:
    """Texts and rich outputs in their order, held back as long as the meter says.

    Attributes
    ----------
    shown : int
        How many messages were sent.
    cleared : bool
        Set when what was shown, whoever showed it, was cleared away.
    drawing : bool
        Whether the last line is one that is written over, such as a progress bar; what comes between would cut it off.
    """

    def __init__(self, name: str) -> None:
        self.shown = 0
        self.cleared = False
        self.drawing = False
        self._name = name
        self._queue: deque[str | Mapping[str, Any]] = deque()
        self._decode = codecs.getincrementaldecoder("utf-8")("replace").decode
        self._kept = 0
        self._clear_first = False
        self._tail = _Tail(name)

    def text(self, data: bytes) -> None:
        """Take bytes as the job wrote them."""
        if self._kept >= HEAD:
            self._tail.add(data)
            return
        text = self._decode(data)
        self._kept += _lasting(text)
        if self._queue and isinstance(self._queue[-1], str):
            self._queue[-1] += text
        else:
            self._queue.append(text)

    def display(self, record: Mapping[str, Any]) -> None:
        """Take a rich output, an update of one, or the order to clear."""
        if record.get("type") == "clear_output":
            # What waits would be cleared away at once.
            self._queue.clear()
            self._kept, self._tail = 0, _Tail(self._name)
        elif record.get("type") == "update_display":
            same = (record.get("type"), record.get("display_id"))
            waiting = [item for item in self._queue if isinstance(item, str) or _identity(item) != same]
            self._queue = deque(waiting)
        if "data" in record:
            data, metadata = _fitted(record["data"], record.get("metadata", {}))
            record = {**record, "data": data, "metadata": metadata}
        self._queue.append(record)

    def pump(self) -> None:
        """Show what may be shown now."""
        while self._queue and METER.ready():
            item = self._queue.popleft()
            if isinstance(item, str):
                item, rest = item[: METER.piece()], item[METER.piece() :]
                if rest:
                    self._queue.appendleft(rest)
            self._show(item)
        if not self._queue and in_place():
            self._tail.show(every=1.0)

    def flush(self) -> None:
        """Show all that waits; what would be too much at once goes to the tail."""
        if text := self._decode(b"", True):
            self._queue.append(text)
        displays = sum(not isinstance(item, str) for item in self._queue)
        skipped, deadline = 0, time.monotonic() + LAST_SECONDS
        while self._queue:
            item = self._queue.popleft()
            if isinstance(item, str):
                item, room = _collapsed(item), max(METER.LEAST, METER.left())
                self._show(item[:room])
                self._tail.add(item[room:].encode(), before=True)
            elif displays > LAST_DISPLAYS:
                displays -= 1
                skipped += 1
            else:
                self._show(self._in_time(item, deadline))
        if skipped:
            self._show(f"konduktor: {skipped} rich outputs came too fast to be shown\n")
        self._tail.show(every=0.0)

    def _in_time(self, record: Mapping[str, Any], deadline: float) -> Mapping[str, Any]:
        """Wait until a rich output may be shown; give its text alone if the time is up."""
        size = sum(map(_size, record.get("data", {}).values()))
        while "data" in record and size > METER.left():
            if time.monotonic() > deadline:
                return {**record, "data": text_alone(record["data"], "too much output at once to be shown")}
            time.sleep(0.05)
        return record

    def _show(self, item: str | Mapping[str, Any]) -> None:
        if isinstance(item, str):
            text = _collapsed(item)
            if text:
                self._clear_now()
                self._count(len(text))
                _, ended, last = text.rpartition("\n")
                self.drawing = "\r" in last or (self.drawing and not ended)
                sys.stdout.write(text)
                sys.stdout.flush()
        elif item.get("type") == "clear_output":
            # With wait, clearing waits for the next output, so that the two are one step for the eye.
            self._clear_first = bool(item.get("wait"))
            if not self._clear_first:
                self._clear(wait=False)
        else:
            self._clear_now()
            self._count(sum(map(_size, item["data"].values())))
            self.drawing = False
            update = item.get("type") == "update_display"
            publish(item["data"], item["metadata"], item.get("display_id"), update=update)

    def _count(self, size: int) -> None:
        self.shown += 1
        METER.spend(size)

    def _clear_now(self) -> None:
        if self._clear_first:
            self._clear_first = False
            self._clear(wait=True)

    def _clear(self, *, wait: bool) -> None:
        sys.stdout.flush()
        clear_output(wait=wait)  # type: ignore[no-untyped-call]
        self.cleared = True


class _Tail:
    """The end of output that is too long to be shown: one block, updated in place."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._id = uuid.uuid4().hex
        self._bytes = bytearray()
        self._total = 0
        self._shown_total = 0
        self._shown_at = 0.0

    def add(self, data: bytes, *, before: bool = False) -> None:
        """Take bytes that follow what is here, or that come before it."""
        self._total += len(data)
        self._bytes = bytearray(data[-TAIL:]) + self._bytes if before else self._bytes + data[-TAIL:]
        del self._bytes[:-TAIL]

    def show(self, *, every: float) -> None:
        """Show the end as it is now, unless that was done within so many seconds."""
        now = time.monotonic()
        if self._total == self._shown_total or now - self._shown_at < every:
            return
        end = _collapsed(self._bytes.decode("utf-8", "replace"))
        if self._total > len(self._bytes):
            end = end.partition("\n")[2] or end
        size = f"{self._total / 1e6:.1f} MB" if self._total >= 50_000 else f"{self._total:,} bytes"
        note = f"konduktor: {size} more, this is the end; all of it: %konduktor logs {self._name} --save FILE"
        publish({"text/plain": f"{note}\n{end}"}, {}, self._id, update=self._shown_total > 0)
        METER.spend(len(end))
        self._shown_total, self._shown_at = self._total, now


class Meter:
    """How much may be sent now.

    While a job runs that is 20 messages and 256 KiB a second, and 512 KiB at once after a pause; when it ends, whatever
    Jupyter takes, which counts the bytes of the last three seconds. One meter for the process, for so does Jupyter.
    """

    MESSAGES = 20.0
    BYTES = 256 * 1024.0
    BURST = 512 * 1024.0
    WINDOW = 3.0
    WINDOW_BYTES = 2_400_000
    LEAST = 64 * 1024

    def __init__(self) -> None:
        self._messages, self._bytes = self.MESSAGES, self.BURST
        self._at = time.monotonic()
        self._recent: deque[tuple[float, int]] = deque()

    def _refill(self) -> None:
        now = time.monotonic()
        passed, self._at = now - self._at, now
        self._messages = min(self.MESSAGES, self._messages + passed * self.MESSAGES)
        self._bytes = min(self.BURST, self._bytes + passed * self.BYTES)
        while self._recent and now - self._recent[0][0] > self.WINDOW:
            self._recent.popleft()

    def ready(self) -> bool:
        """Whether a message may be sent while the job runs."""
        self._refill()
        return self._messages >= 1 and self._bytes > 0

    def piece(self) -> int:
        """Bytes that the next message may have while the job runs."""
        return max(self.LEAST, int(self._bytes))

    def left(self) -> int:
        """Bytes that may be sent at once when the job has ended."""
        self._refill()
        return self.WINDOW_BYTES - sum(size for _, size in self._recent)

    def spend(self, size: int) -> None:
        """Count one message."""
        self._messages -= 1
        self._bytes = max(self._bytes - size, -self.BURST)
        self._recent.append((time.monotonic(), size))


METER = Meter()


def _identity(record: Mapping[str, Any]) -> tuple[Any, Any]:
    return record.get("type"), record.get("display_id")


def _lasting(text: str) -> int:
    """Count the characters that stay, leaving out what a carriage return lets the next write over."""
    if "\r" not in text:
        return len(text)
    return sum(len(line.rpartition("\r")[2]) + 1 for line in text.split("\n")[:-1])


def _collapsed(text: str) -> str:
    """Leave out what a later carriage return writes over anyway."""
    if "\r" not in text:
        return text
    return "\n".join(_collapsed_line(line) for line in text.split("\n"))


def _collapsed_line(line: str) -> str:
    first, *updates = line.split("\r")
    if len(updates) < 2 or "\x1b" in line:
        return line
    seen = ""
    for update in updates:
        seen = update + seen[len(update) :]
    return f"{first}\r{seen}" + ("\r" if not updates[-1] else "")


def _size(value: Any) -> int:
    return len(value) if isinstance(value, str) else len(json.dumps(value, default=str))


def _fitted(data: Mapping[str, Any], metadata: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Leave out the largest forms of a rich output until the rest is small enough, and say so in its text."""
    sizes = {mime: _size(value) for mime, value in data.items()}
    kept, dropped = dict(data), []
    while sum(sizes.values()) > RICH:
        largest = max(sizes, key=lambda mime: sizes[mime])
        dropped.append(f"{largest} of {sizes.pop(largest) / 1e6:.1f} MB")
        del kept[largest]
    if dropped:
        kept |= text_alone(kept, f"{', '.join(dropped)}: too large to be shown in a notebook")
    return kept, {key: value for key, value in metadata.items() if key not in data or key in kept}


def text_alone(data: Mapping[str, Any], note: str) -> dict[str, Any]:
    """Give the text of a rich output with a note below it."""
    plain = str(data.get("text/plain", ""))[:RICH]
    return {"text/plain": f"{plain}\n({note})".lstrip("\n")}
