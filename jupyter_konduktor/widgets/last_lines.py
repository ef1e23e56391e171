"""The end of what node 0 writes, read again only when it has grown."""

from __future__ import annotations

from collections.abc import Callable

from jupyter_konduktor.errors import KonduktorError
from jupyter_konduktor.job import Job
from jupyter_konduktor.runner.stream import StreamDecoder
from jupyter_konduktor.state import JobRecord, JobState
from jupyter_konduktor.widgets.ansi import to_html
from jupyter_konduktor.widgets.reading import Reading

LINES = 10
PIECE = 16 * 1024
"""Bytes that are read of a log."""


class LastLines:
    """The last lines of a job's node 0, as HTML.

    Parameters
    ----------
    job : Job
    read : callable
        Called, in some thread, when there are new ones.
    """

    def __init__(self, job: Job, read: Callable[[], object]) -> None:
        self._job = job
        self._html = Reading("", read)

    def html(self, record: JobRecord) -> str:
        """Give the lines as they are now, or as they were a moment ago; empty while there are none."""
        if record.state is JobState.RUNNING:
            grown = (self._job._tracker.growth(self._job.name), record.attempt)
            self._html.follow(grown, lambda: self._read(record))
        return self._html.value

    def _read(self, record: JobRecord) -> str:
        text = self._text(record)
        label = 'tabindex="0" role="log" aria-live="off" aria-label="Last lines of node 0"'
        return f"<pre {label}><span>{to_html(text)}</span></pre>" if text else ""

    def _text(self, record: JobRecord) -> str:
        try:
            chunk = self._job._tracker.backend.read_log(record.name, attempt=record.attempt, offset=-PIECE)
        except KonduktorError as error:
            return error.message
        data = chunk.data if chunk.offset <= PIECE else chunk.data.partition(b"\n")[2]
        decoder = StreamDecoder(str(record.spec.get("nonce", "")))
        parts = [*decoder.feed(data), *decoder.flush()]
        text = b"".join(part for part in parts if isinstance(part, bytes)).decode("utf-8", "replace")
        return "\n".join(text.rstrip().split("\n")[-LINES:])
