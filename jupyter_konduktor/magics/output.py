"""What a job writes and where it stands, shown under the cell as if the cell had run here.

Everything here runs in the main thread: what another thread prints lands in some other cell.
"""

from __future__ import annotations

import hashlib
import json
import sys
import time
import uuid
from collections.abc import Mapping
from typing import Any

from IPython.core.display_functions import display

from jupyter_konduktor import summary
from jupyter_konduktor.errors import KonduktorError
from jupyter_konduktor.group import JobGroup
from jupyter_konduktor.job import Job, follow, interrupted
from jupyter_konduktor.magics.screen import RICH, Screen, text_alone
from jupyter_konduktor.runner.stream import Display
from jupyter_konduktor.state import JobRecord, JobState
from jupyter_konduktor.widgets.front_end import in_place, publish, shows_widgets
from jupyter_konduktor.widgets.shown import Shown, prepare

WIDGET_AFTER = 1.0
"""Seconds after which a widget says where the job stands."""
STATUS_AFTER = 2.0
"""Seconds after which a line does, where there are no widgets."""


def present(job: Job) -> JobRecord:
    """Show a job's output here until it has ended; a status line only if that takes long."""
    output = Output(job)
    record = output.run()
    output.close(summary.ended(record) if output.status.shown else "")
    return record


def present_items(group: JobGroup) -> None:
    """Say how many items of a map have ended, until all have; only if that takes long."""
    status, total = Status(group, quiet=group.job._settings.quiet), len(group)
    record = group.job.record
    try:
        for _, record in group.job.stream():
            status.update(record, f", {group.finished} of {total} items{summary.unseen(group.job.unknown_since)}")
    except KeyboardInterrupt:
        print(interrupted(group.job), file=sys.stderr, flush=True)
        raise
    if status.shown:
        status.close(f"{summary.ended(record)}, {group.finished} of {total} items")


def show(value: Any) -> None:
    """Display a value of ours under the cell."""
    display(value)  # type: ignore[no-untyped-call]


class Output:
    """The output area of one job.

    Parameters
    ----------
    handle : Job or JobGroup
    quiet : bool, default False
        Show the job's output, and no line of our own.
    """

    def __init__(self, handle: Job | JobGroup, *, quiet: bool = False) -> None:
        self.job = handle.job if isinstance(handle, JobGroup) else handle
        self._traceback = _Traceback()
        self._attempt = self._shown_before_status = 0
        self.screen = Screen(self.job.name)
        self.status = Status(handle, quiet=quiet)

    def run(self) -> JobRecord:
        """Show what the job writes until it has ended; an interrupt stops that and says what becomes of the job."""
        try:
            record = follow(self.job, on_text=self._text, on_display=self._display, on_state=self._state)
        except KeyboardInterrupt:
            self.release()
            if self.status.shown:
                self.close(f"{self.job} was not waited for any longer")
            print(interrupted(self.job), file=sys.stderr, flush=True)
            raise
        self.screen.flush()
        return record

    def release(self) -> None:
        """Show the traceback that was kept back, for nobody raises it."""
        self.screen.text(self._traceback.take())
        self.screen.flush()

    def _text(self, data: bytes) -> None:
        self.screen.text(self._traceback.kept_back(data))

    def _display(self, part: Display) -> None:
        if part.record.get("type") == "traceback":
            self._traceback.expect(part.record["size"])
            return
        self.screen.display(self._whole(part.record) if "artifact" in part.record else part.record)

    def _whole(self, record: Mapping[str, Any]) -> Mapping[str, Any]:
        """Fetch a rich output that was too large for the stream; its text is what there is otherwise."""
        reference = record["artifact"]
        if reference["size"] > RICH:
            why = f"{reference['size'] / 1e6:.1f} MB are too large to be shown in a notebook"
        else:
            try:
                data = self.job._tracker.backend.read_artifact(self.job.name, reference)
                if hashlib.sha256(data).hexdigest() == reference["sha256"]:
                    return dict(json.loads(bytes(data)))
                why = "it is not what the job wrote: its SHA-256 differs"
            except KonduktorError as error:
                why = error.message
        return {**record, "data": text_alone(record.get("data", {}), why)}

    def _state(self, record: JobRecord) -> None:
        if record.attempt != self._attempt:
            self._attempt = record.attempt
            self.screen.text(self._traceback.take())
        self.screen.pump()
        self._note_cleared()
        if not self.status.shown:
            if self.screen.drawing and record.state is JobState.RUNNING:
                return
            self._shown_before_status = self.screen.shown
        self.status.update(record, summary.unseen(self.job.unknown_since))

    def _note_cleared(self) -> None:
        if self.screen.cleared:
            self.screen.cleared = False
            self.status.lost()

    def close(self, line: str) -> None:
        """Put the last line under all output, in the place of the status line where nothing came after that."""
        self._note_cleared()
        if self.screen.shown > self._shown_before_status:
            self.status.withdraw()
        self.status.close(line)


class _Traceback:
    """The traceback in a job's log: kept back, since the error that is raised here shows it."""

    def __init__(self) -> None:
        self._missing = 0
        self._bytes = b""

    def expect(self, size: int) -> None:
        """Keep the next bytes."""
        self._missing = size

    def kept_back(self, data: bytes) -> bytes:
        """Keep what is expected, and give the rest."""
        kept, rest = data[: self._missing], data[self._missing :]
        self._missing -= len(kept)
        self._bytes += kept
        return rest

    def take(self) -> bytes:
        """Give what was kept, and forget it."""
        kept, self._bytes = self._bytes, b""
        return kept


class Status:
    """Where a job stands: a widget where the front end has such, else one line of ours, updated in place.

    Parameters
    ----------
    handle : Job or JobGroup
    quiet : bool
        Show neither.
    """

    def __init__(self, handle: Job | JobGroup, *, quiet: bool) -> None:
        self.quiet = quiet
        self.shown = False
        self._handle = handle
        self._live: Shown | None = None
        self._widgets = shows_widgets()
        self._id = uuid.uuid4().hex
        self._since = self._last = time.monotonic()
        self._state: JobState | None = None

    def update(self, record: JobRecord, more: str = "") -> None:
        """Show where the job stands if that takes long; a line at most once a second if nothing has changed."""
        now = time.monotonic()
        if self.quiet or record.ends_wait or not in_place():
            return
        if self._widgets:
            if self._live is None and now - self._since >= WIDGET_AFTER:
                self._live = prepare(self._handle, waited=True)
                self.shown = self._live is not None
                if self._live is not None:
                    self._live.begin()
            return
        changed = record.state is not self._state
        if now - self._since < STATUS_AFTER or now - self._last < (0.1 if changed else 1.0):
            return
        self._last, self._state = now, record.state
        self._show(f"{record.name} {summary.status(record)}{more}")

    def lost(self) -> None:
        """Note that it was cleared away with the output; it is shown anew."""
        if self._live is not None:
            self._live.withdraw()
            self._live = None
        self.shown = False
        self._id = uuid.uuid4().hex

    def withdraw(self) -> None:
        """Take it away: an output cannot be removed alone, but empty HTML is shown as nothing."""
        if self.shown:
            if self._live is None:
                publish({"text/html": "", "text/plain": ""}, {}, self._id, update=True)
            self.lost()

    def close(self, line: str) -> None:
        """Show the last line in its place."""
        if self._live is not None:
            self._live.finish(line)
            self._live = None
        elif line and not self.quiet:
            self._show(line)

    def _show(self, line: str) -> None:
        publish({"text/plain": f"konduktor: {line}"}, {}, self._id, update=self.shown)
        self.shown = True
