"""The end of the user's process: waits for its threads, and says so when that takes long."""

from __future__ import annotations

import threading

from .context import warn

PATIENCE = 5.0
"""Seconds after which the user is told what the job waits for."""


def join_threads() -> None:
    """Wait for all threads that are no daemons, as Python does when a script ends."""
    watch = None
    if _threads():
        watch = threading.Timer(PATIENCE, _tell)
        watch.daemon = True
        watch.start()
    # It also tells executors that were not shut down to end, whose threads would wait for ever otherwise.
    threading._shutdown()  # type: ignore[attr-defined]
    if watch is not None:
        watch.cancel()


def _tell() -> None:
    names = ", ".join(thread.name for thread in _threads()[:5])
    if names:
        warn(f"the code has ended, and the job waits for its threads: {names}")


def _threads() -> list[threading.Thread]:
    main = threading.main_thread()
    return [thread for thread in threading.enumerate() if thread is not main and not thread.daemon]
