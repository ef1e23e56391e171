"""A job as a widget: one line that says where it stands, and below it what a person asks next."""

from __future__ import annotations

from collections.abc import Callable
from html import escape
from typing import Any, ClassVar

import ipywidgets

from jupyter_konduktor import summary
from jupyter_konduktor.errors import KonduktorError
from jupyter_konduktor.job import Job
from jupyter_konduktor.state import JobRecord, JobState
from jupyter_konduktor.widgets import front_end
from jupyter_konduktor.widgets.last_lines import LastLines
from jupyter_konduktor.widgets.look import JOB, SHEET


class JobView:
    """The widget of one job; nothing in it is ever made anew, only its values change, so no focus is lost.

    Parameters
    ----------
    job : Job
    waited : bool
        A cell waits for the job, and shows its output itself.
    wake : callable
        Called after a click, from whatever thread heard it; `refresh` is to be called soon.
    """

    DOING: ClassVar[dict[str, str]] = {"cancel": "Cancelling…", "stop": "Stopping…", "resume": "Resuming…"}

    def __init__(self, job: Job, *, waited: bool, wake: Callable[[], object]) -> None:
        self.job = job
        self._waited = waited
        self._wake = wake
        self._asked: tuple[str, JobState] | None = None
        self._trouble = ""
        self._layout = ipywidgets.Layout()
        self._status, self._time, self._body = self._html("status"), self._html("time"), self._html("more")
        self._cancel, self._hold = self._button("Cancel"), self._button("Stop")
        self._cancel.on_click(lambda _: self._ask("cancel"))
        self._hold.on_click(lambda _: self._ask("resume" if self._hold.description == "Resume" else "stop"))
        line = self._row(self._status, self._row(self._time, self._cancel, self._hold))
        parts = [line, *self._middle(), self._details(), self._body]
        self._lines = None if waited else (LastLines(job, wake), self._html("more"))
        if self._lines is not None:
            parts.append(self._lines[1])
        self.widget = ipywidgets.VBox(parts, layout=self._layout)
        self.widget.add_class(JOB)
        self._all = _family(self.widget).values()
        for each in self._all:
            front_end.answer_where_asked(each)

    def _middle(self) -> list[Any]:
        """Make what stands between the line and the details."""
        return []

    def _html(self, name: str) -> Any:
        made = ipywidgets.HTML(layout=self._layout)
        made.add_class(f"jp-KonduktorJob-{name}")
        return made

    def _button(self, label: str) -> Any:
        return ipywidgets.Button(description=label, layout=self._layout)

    def _row(self, *parts: Any) -> Any:
        made = ipywidgets.HBox(parts, layout=self._layout)
        made.add_class("jp-KonduktorJob-line")
        return made

    def _details(self) -> Any:
        """Make what opens and closes the rest, which is the browser's part, so that it works while the kernel is busy.

        Keys that are pressed in it are no shortcuts of JupyterLab: two d would delete the cell.
        """
        code, own = escape(summary.attach_code(self.job.name)), 'data-lm-suppress-shortcuts="true"'
        return ipywidgets.HTML(
            f"{SHEET}<details><summary {own}>Details</summary><label>"
            f'<span class="jp-KonduktorJob-quiet">Attach to it with</span><input readonly value="{code}" {own}>'
            "</label></details>",
            layout=self._layout,
        )

    # --- what it shows

    def refresh(self, record: JobRecord, now: float) -> int:
        """Show a job's latest record; one thread at a time.

        Returns
        -------
        int
            How many messages that took.
        """
        asked = self._asked  # a click is heard by another thread
        if asked is not None and record.state is not asked[1]:
            asked = self._asked = None
        deaf = self._waited and not record.ends_wait and not front_end.hears_clicks()
        busy = record.state.final or deaf or asked is not None
        stopped = record.state is JobState.STOPPED
        return sum(
            (
                put(self._status, value=self._status_html(record, asked[0] if asked else "", deaf=deaf)),
                put(self._time, value=escape(summary.took(record, now))),
                put(self._body, value=summary.details(record)),
                put(self._cancel, disabled=busy, tooltip=f"End {self.job} for good"),
                put(
                    self._hold,
                    disabled=busy,
                    description="Resume" if stopped else "Stop",
                    tooltip=(_RESUME if stopped else _STOP).format(self.job),
                ),
                put(self._lines[1], value=self._lines[0].html(record)) if self._lines is not None else 0,
            )
        )

    def _status_html(self, record: JobRecord, asked: str, *, deaf: bool) -> str:
        parts = [summary.heading(record), f'<span class="jp-KonduktorJob-quiet">{escape(summary.place(record))}</span>']
        if unseen := summary.unseen(self.job.unknown_since):
            parts.append(f'<span class="jp-KonduktorJob-error">{escape(unseen)}</span>')
        if deaf:  # in words, as few find the tooltip of a button that cannot be pressed
            parts.append(f'<span class="jp-KonduktorJob-quiet">{_DEAF}</span>')
        if asked:
            parts.append(f"<b>{self.DOING[asked]}</b>")
        if self._trouble:
            parts.append(f'<span class="jp-KonduktorJob-error">{escape(self._trouble)}</span>')
        return f'<div role="status">{" ".join(parts)}</div>'

    def outcome(self, record: JobRecord) -> str | None:
        """Say what is to be said of the job's end beyond its record; None while that is being read."""
        return ""

    # --- what it does

    def _ask(self, verb: str) -> None:
        """Do what a button says, in the thread that heard the click, which must not print: that would land anywhere."""
        self._trouble = ""
        try:
            self._asked = (verb, self.job.state)
            self._wake()
            getattr(self.job, verb)()
        except KonduktorError as error:
            self._trouble, self._asked = " ".join(error.message.split()), None
        self._wake()

    def close(self) -> None:
        """Take it away, here and in the front end."""
        for each in self._all:
            each.close()


_DEAF = "(no click is heard while the cell runs: to cancel or stop the job, interrupt the kernel first)"
_STOP = "Hold {}: what runs is ended, and it keeps its place in the list until it is resumed"
_RESUME = "Queue {} again; it starts anew"


def put(widget: Any, **values: Any) -> int:
    """Change what differs; each change is a message."""
    changed = {name: value for name, value in values.items() if getattr(widget, name) != value}
    for name, value in changed.items():
        setattr(widget, name, value)
    return len(changed)


def _family(widget: Any) -> dict[str, Any]:
    """Find a widget and all that it is made of, by model."""
    found = {each.model_id: each for each in (widget, widget.layout, getattr(widget, "style", None)) if each}
    for child in getattr(widget, "children", ()):
        found.update(_family(child))
    return found
