"""The end of the user's process: waits for its threads, and says so when that takes long."""

from __future__ import annotations

import threading
import time

from .context import warn

PATIENCE = 5.0
"""Seconds after which the user is told what the job waits for."""


def join_threads() -> None:
    """Wait for all threads that are no daemons, as Python does when a script ends."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        left = _threads()
        if not left:
            break
        left[0].join(max(0.0, deadline - time.monotonic()))
    left = _threads()
    if left:
        names = ", ".join(thread.name for thread in left[:5])
        warn(f"the code has ended, and the job waits for its threads: {names}")
    threading._shutdown()  # type: ignore[attr-defined]


def _threads() -> list[threading.Thread]:
    main = threading.main_thread()
    return [thread for thread in threading.enumerate() if thread is not main and not thread.daemon]
