"""A widget below a cell, and beside it what a reader sees where there is no widget.

They are two outputs. The first is a summary in HTML and text, which stays true when the notebook is saved, closed and
read without a kernel; the second is the widget. Where both can be seen, `look.SWITCH` shows one of them.
"""

from __future__ import annotations

import contextvars
import threading
import time
import uuid
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from jupyter_konduktor import summary
from jupyter_konduktor.errors import BackendError, JobLostError, JobNotFoundError, KonduktorError
from jupyter_konduktor.group import JobGroup
from jupyter_konduktor.job import Job
from jupyter_konduktor.state import JobRecord
from jupyter_konduktor.widgets import front_end
from jupyter_konduktor.widgets.live import LOOP
from jupyter_konduktor.widgets.look import NOTE, SAVED, SWITCH

if TYPE_CHECKING:
    from jupyter_konduktor.widgets.job_view import JobView

_NOTHING = {"text/html": "", "text/plain": ""}
"""An output cannot be removed alone, but this is shown as nothing."""

_NO_WIDGETS = (
    f'<small class="{NOTE}" style="display: none">'
    "Its live view needs jupyterlab_widgets in the environment that runs JupyterLab.</small>"
)
"""What a front end that cannot show widgets shows in place of one."""


def show(handle: Job | JobGroup) -> Shown | None:
    """Show a job or a map below the cell, live until it ends; None where that cannot be or has no use."""
    found = prepare(handle)
    if found is not None:
        found.begin()
    return found


def prepare(handle: Job | JobGroup, *, waited: bool = False) -> Shown | None:
    """Do as `show` and show nothing yet: whoever waits holds it before an interrupt can leave it behind.

    Parameters
    ----------
    handle : Job or JobGroup
    waited : bool, default False
        A cell waits for it, shows its output, and says how it ended.
    """
    if not front_end.shows_widgets():
        return None
    job = handle.job if isinstance(handle, JobGroup) else handle
    record = job._tracker.current(job.name)
    return None if record.state.final else Shown(handle, job, record, waited=waited)


class Shown:
    """One job that is shown."""

    def __init__(self, handle: Job | JobGroup, job: Job, record: JobRecord, *, waited: bool) -> None:
        self.job = job
        self.context = contextvars.copy_context()
        self._waited = waited
        self._open = True
        self._lock = threading.RLock()  # the cell and the thread of all widgets both change it
        self._saved_id, self._live_id = uuid.uuid4().hex, uuid.uuid4().hex
        self._saved: tuple[object, ...] = ()
        self._record = record
        self._view = _view(handle, waited, lambda: LOOP.wake(self))

    def begin(self) -> None:
        """Show it."""
        self._save(self._record)
        self._view.refresh(self._record, time.time())
        bundle = {**self._view.widget._repr_mimebundle_(), "text/plain": "", "text/html": _NO_WIDGETS}
        front_end.publish(bundle, {}, self._live_id)
        LOOP.add(self)

    def refresh(self) -> int:
        """Show what is known now.

        Returns
        -------
        int
            How many messages that took.
        """
        with self._lock:
            if not self._open:
                return 0
            try:
                self._record = self.job.record
            except (JobLostError, JobNotFoundError) as error:
                self.finish(error.message)
                return 0
            except BackendError:
                pass  # the line says since when nothing is known
            if self._record.state.final and not self._waited:
                items = self._view.outcome(self._record)
                if items is not None:
                    self.finish(f"{summary.ended(self._record)}: {items}" if items else "")
                    return 0
            return self._save(self._record) + self._view.refresh(self._record, time.time())

    def _save(self, record: JobRecord) -> int:
        """Keep the summary that will be saved up to date; where the job stands in its queue is no news for that."""
        news = (record.state, record.attempt, record.message)
        if news == self._saved:
            return 0
        html = f'{SWITCH}<div class="{SAVED}">{summary.html(record)}</div>'
        bundle = {"text/plain": summary.stamped(record), "text/html": html}
        front_end.publish(bundle, {}, self._saved_id, update=bool(self._saved))
        self._saved = news
        return 1

    def finish(self, line: str = "") -> None:
        """Put text and HTML in its place.

        Parameters
        ----------
        line : str, optional
            What to say of the job; how it stands now if that is empty.
        """
        with self._lock:
            try:
                self._record = self.job.record
            except KonduktorError:
                pass  # what was known last is said
            text = f"konduktor: {line}" if line else summary.stamped(self._record)
            self._replace({"text/plain": text, "text/html": summary.html(self._record, line)})

    def withdraw(self) -> None:
        """Take it away and leave nothing."""
        self._replace(_NOTHING)

    def _replace(self, bundle: Mapping[str, Any]) -> None:
        LOOP.remove(self)
        with self._lock:
            if self._open:
                self._open = False
                front_end.publish(dict(bundle), {}, self._saved_id, update=bool(self._saved))
                front_end.publish(_NOTHING, {}, self._live_id, update=True)
                self._view.close()


def _view(handle: Job | JobGroup, waited: bool, wake: Callable[[], object]) -> JobView:
    """Make the widget; ipywidgets is imported only here, when one is needed."""
    if isinstance(handle, JobGroup):
        from jupyter_konduktor.widgets.group_view import GroupView

        return GroupView(handle, waited=waited, wake=wake)
    from jupyter_konduktor.widgets.job_view import JobView

    return JobView(handle, waited=waited, wake=wake)
