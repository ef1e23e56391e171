"""What one watcher is told: the last state of whatever has changed, from a thread of its own."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

from jupyter_konduktor.backends.protocol import Event, LogGrew, Reach
from jupyter_konduktor.state import JobRecord

_log = logging.getLogger(__name__)


class KubernetesWatch:
    """A running watch; see `jupyter_konduktor.backends.protocol.Backend.watch`.

    Parameters
    ----------
    callback : callable
        Called from the watch's own thread, for one event at a time.
    on_close : callable
        Called once, when it is closed.
    """

    def __init__(self, callback: Callable[[Event], None], on_close: Callable[[KubernetesWatch], None]) -> None:
        self._callback = callback
        self._on_close = on_close
        self._changed = threading.Condition()
        # What is not told yet. News of a thing goes to the end, so that a log's growth comes before the end it led to.
        self._waiting: dict[object, Event] = {}
        self._closing = False
        self._thread = threading.Thread(target=self._run, name="konduktor-kubernetes-watch", daemon=True)
        self._thread.start()

    def tell(self, event: Event) -> None:
        """Have the callback called with an event; what it has not been told yet of the same thing is left out."""
        key = _key(event)
        with self._changed:
            self._waiting.pop(key, None)
            self._waiting[key] = event
            self._changed.notify()

    def close(self) -> None:
        """End it; no callback runs after this returns, unless it is called from the callback."""
        with self._changed:
            if self._closing:
                return
            self._closing = True
            self._changed.notify()
        self._on_close(self)
        if self._thread is not threading.current_thread():
            self._thread.join()

    def _run(self) -> None:
        while True:
            with self._changed:
                while not self._waiting and not self._closing:
                    self._changed.wait()
                if self._closing:
                    return
                event = self._waiting.pop(next(iter(self._waiting)))
            try:
                self._callback(event)
            except Exception:  # noqa: BLE001  (it is not ours, and one bad event must not end the watch)
                _log.exception("konduktor: a callback failed on %s", event)


def _key(event: Event) -> object:
    """Name what an event is about."""
    if isinstance(event, LogGrew):
        return event
    if isinstance(event, Reach):
        return Reach
    return (JobRecord, event.uid)
