"""What waits for the network, done a few at a time off the engine's thread."""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections.abc import Callable

from jupyter_konduktor.errors import KonduktorError

WIDTH = 4
"""Errands at a time."""

_log = logging.getLogger(__name__)


class Errands:
    """Does errands in the order in which they are added.

    Its threads are daemons, as those of an executor are not: a process that ends waits for no cluster.
    """

    def __init__(self) -> None:
        self._calls: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._closing = False
        self._threads = [
            threading.Thread(target=self._run, name="konduktor-kubernetes-errand", daemon=True) for _ in range(WIDTH)
        ]
        for thread in self._threads:
            thread.start()

    def add(self, call: Callable[[], None]) -> None:
        """Have an errand done; what it raises is logged."""
        if not self._closing:
            self._calls.put(call)

    def close(self) -> None:
        """Begin no other one; returns at once."""
        self._closing = True
        for _ in range(WIDTH):
            self._calls.put(None)

    def wait(self, patience: float) -> None:
        """Wait until those that were under way when it was closed are done, but no longer than some seconds."""
        end = time.monotonic() + patience
        for thread in self._threads:
            if thread is not threading.current_thread():
                thread.join(max(0.0, end - time.monotonic()))

    def _run(self) -> None:
        while (call := self._calls.get()) is not None and not self._closing:
            try:
                call()
            except KonduktorError as error:
                _log.info("konduktor: %s", error)
            except Exception:  # noqa: BLE001
                _log.exception("konduktor: an errand failed")
