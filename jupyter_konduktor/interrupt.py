"""What an interrupt of a wait does to the job, and how a wait knows that it was interrupted."""

from __future__ import annotations

import asyncio
import signal
import threading
from collections.abc import Callable
from types import FrameType
from typing import Any


class Watched:
    """A wait during which an interrupt is told from every other end.

    Asyncio turns an interrupt into a CancelledError, which a timeout raises as well. So SIGINT is noticed on its way to
    whoever handles it; in other threads than the main one there is none.

    Parameters
    ----------
    on_interrupt : callable
        Called once, in the waiting thread, when the wait was interrupted; the exception goes on.
    """

    _waits = 0
    _seen = 0
    _outer: Callable[[int, FrameType | None], Any] | int | None = None

    def __init__(self, on_interrupt: Callable[[], None]) -> None:
        self._on_interrupt = on_interrupt
        self._main = threading.current_thread() is threading.main_thread()
        self._before = 0

    def __enter__(self) -> None:
        self._before = Watched._seen
        if self._main:
            if Watched._waits == 0:
                Watched._outer = signal.getsignal(signal.SIGINT)
                signal.signal(signal.SIGINT, _noticed)
            Watched._waits += 1

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: object) -> None:
        if self._main:
            Watched._waits -= 1
            if Watched._waits == 0 and signal.getsignal(signal.SIGINT) is _noticed:
                signal.signal(signal.SIGINT, Watched._outer)
        if kind is None:
            return
        cancelled = issubclass(kind, asyncio.CancelledError) and Watched._seen > self._before
        if cancelled or issubclass(kind, KeyboardInterrupt):
            self._on_interrupt()


def _noticed(number: int, frame: FrameType | None) -> None:
    Watched._seen += 1
    if callable(Watched._outer):
        Watched._outer(number, frame)
    elif Watched._outer == signal.SIG_DFL:
        raise KeyboardInterrupt
