"""Keeps all widgets up to date from one thread, which lives as long as there are any."""

from __future__ import annotations

import atexit
import contextvars
import logging
import threading
import time
from contextlib import ExitStack
from typing import Protocol

from jupyter_konduktor.job import Job
from jupyter_konduktor.tracker import Tracker

PER_MESSAGE = 0.1
"""Seconds that a widget rests for each message it has sent: 10 a second."""
TICK = 1.0
"""Seconds after which a widget shows the time anew."""

_log = logging.getLogger(__name__)


class Live(Protocol):
    """What is kept up to date.

    Attributes
    ----------
    job : Job
    context : contextvars.Context
        Of the cell that it stands below: what is sent belongs to that cell, whichever runs at present.
    """

    job: Job
    context: contextvars.Context

    def refresh(self) -> int:
        """Show what is known now, and give how many messages that took."""

    def withdraw(self) -> None:
        """End it."""


class _Turn:
    """When it is a widget's turn."""

    def __init__(self, now: float) -> None:
        self.news = True  # the front end has made what it hears clicks with once it has seen the widget
        self.rested = now + 3 * PER_MESSAGE
        self.tick = now + TICK

    @property
    def due(self) -> float:
        return self.rested if self.news else max(self.tick, self.rested)


class Loop:
    """The thread and what it looks after.

    The watch of a backend only notes that there is news; what a widget costs is paid here, but for what it has to read,
    which would hold up all others. Whatever happens while a widget rests is shown when it has, so the last state always
    arrives.
    """

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._turns: dict[Live, _Turn] = {}
        self._listening: dict[Tracker, ExitStack] = {}
        self._thread: threading.Thread | None = None

    def add(self, live: Live) -> None:
        """Keep one up to date from now on."""
        with self._changed:
            self._turns[live] = _Turn(time.monotonic())
            tracker = live.job._tracker
            if tracker not in self._listening:
                stack = self._listening[tracker] = ExitStack()
                stack.enter_context(tracker.listening(lambda: self._news(tracker)))
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="konduktor-widgets", daemon=True)
                self._thread.start()
            self._changed.notify_all()

    def remove(self, live: Live) -> None:
        """Look after one no longer; a second time does no harm."""
        with self._changed:
            self._turns.pop(live, None)
            tracker = live.job._tracker
            stack = None if self._watched(tracker) else self._listening.pop(tracker, None)
            self._changed.notify_all()
        if stack is not None:
            stack.close()

    def _watched(self, tracker: Tracker) -> bool:
        return any(live.job._tracker is tracker for live in self._turns)

    def wake(self, live: Live) -> None:
        """Have one shown anew as soon as it may be."""
        with self._changed:
            if live in self._turns:
                self._turns[live].news = True
                self._changed.notify_all()

    def _news(self, tracker: Tracker) -> None:
        with self._changed:
            for live, turn in self._turns.items():
                turn.news = turn.news or live.job._tracker is tracker
            self._changed.notify_all()

    def close(self) -> None:
        """End all that is shown."""
        with self._changed:
            found = list(self._turns)
        for live in found:
            live.withdraw()

    def forget(self) -> None:
        """Let the thread end; what is shown stays as it is."""
        with self._changed:
            self._turns.clear()
            self._changed.notify_all()

    def _run(self) -> None:
        while (live := self._next()) is not None:
            try:
                sent = live.context.run(live.refresh)
            except Exception:  # noqa: BLE001 - one that is broken must not stop the others
                _log.exception("konduktor: the widget of %s failed", live.job.name)
                self.remove(live)
                continue
            with self._changed:
                if (turn := self._turns.get(live)) is not None:
                    now = time.monotonic()
                    turn.rested, turn.tick = now + PER_MESSAGE * max(sent, 1), now + TICK

    def _next(self) -> Live | None:
        """Wait until it is one's turn; None when there is none left, and the thread ends."""
        with self._changed:
            while self._turns:
                live, turn = min(self._turns.items(), key=lambda item: item[1].due)
                left = turn.due - time.monotonic()
                if left <= 0:
                    turn.news = False
                    return live
                self._changed.wait(left)
            self._thread = None
            return None


LOOP = Loop()
"""The one of this process."""

# A thread that still asks a backend while the interpreter ends would open again what was closed.
atexit.register(LOOP.forget)
