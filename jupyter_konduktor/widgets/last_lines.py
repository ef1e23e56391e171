"""The end of what node 0 writes, read again only when it has grown."""

from __future__ import annotations

import time

from jupyter_konduktor.errors import KonduktorError
from jupyter_konduktor.job import Job
from jupyter_konduktor.runner.stream import StreamDecoder
from jupyter_konduktor.state import JobRecord, JobState
from jupyter_konduktor.widgets.ansi import to_html

LINES = 10
PIECE = 16 * 1024
"""Bytes that are read of a log."""
EVERY = 0.5
"""Seconds between two looks at it."""


class LastLines:
    """The last lines of a job's node 0, as HTML.

    Parameters
    ----------
    job : Job
    """

    def __init__(self, job: Job) -> None:
        self._job = job
        self._seen: tuple[int, int] | None = None
        self._at = 0.0
        self._html = ""

    def html(self, record: JobRecord) -> str:
        """Give the lines as they are now, or as they were a moment ago; empty while there are none."""
        now = time.monotonic()
        grown = (self._job._tracker.growth(self._job.name), record.attempt)
        if grown != self._seen and record.state is JobState.RUNNING and now - self._at >= EVERY:
            self._at, self._seen = now, grown
            text = self._read(record)
            label = 'tabindex="0" role="log" aria-live="off" aria-label="Last lines of node 0"'
            self._html = f"<pre {label}><span>{to_html(text)}</span></pre>" if text else ""
        return self._html

    def _read(self, record: JobRecord) -> str:
        try:
            chunk = self._job._tracker.backend.read_log(record.name, attempt=record.attempt, offset=-PIECE)
        except KonduktorError as error:
            return error.message
        data = chunk.data if chunk.offset <= PIECE else chunk.data.partition(b"\n")[2]
        decoder = StreamDecoder(str(record.spec.get("nonce", "")))
        parts = [*decoder.feed(data), *decoder.flush()]
        text = b"".join(part for part in parts if isinstance(part, bytes)).decode("utf-8", "replace")
        return "\n".join(text.rstrip().split("\n")[-LINES:])
