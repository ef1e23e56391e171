"""Looks at many things at once, so that a slow one holds up none of the others."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence

from jupyter_konduktor.backends.protocol import Finding
from jupyter_konduktor.errors import KonduktorError

Look = tuple[str, Callable[[], Iterable[Finding]]]
"""What is looked at, in a word or two, and how."""

SLOW = 0.5
"""Seconds after which the others no longer wait for their turn behind one that is slow."""

PATIENCE = 45.0
"""Seconds after which nobody waits for an answer: a dead mount may never give one."""


def gather(looks: Sequence[Look], *, slow: float = SLOW, patience: float = PATIENCE) -> Iterator[Finding]:
    """Look at everything at once; yield findings in order, but for those that are slow, which come when they come.

    Parameters
    ----------
    looks : sequence of (str, callable)
        Each runs in a thread of its own; what it raises is a finding too.
    slow : float
    patience : float
    """
    told: queue.SimpleQueue[tuple[int, list[Finding]]] = queue.SimpleQueue()

    def run(number: int, what: str, look: Callable[[], Iterable[Finding]]) -> None:
        told.put((number, _seen(what, look)))

    for number, (what, look) in enumerate(looks):
        # Daemons: one that never returns must not keep the process.
        threading.Thread(target=run, args=(number, what, look), name=f"konduktor-look-{number}", daemon=True).start()
    waiting = {number: what for number, (what, _) in enumerate(looks)}
    ready: dict[int, list[Finding]] = {}
    now = time.monotonic()
    in_order_until, end = now + slow, now + patience
    while waiting:
        now = time.monotonic()
        candidates = [number for number in waiting if number in ready]
        if candidates and (now >= in_order_until or candidates[0] == next(iter(waiting))):
            del waiting[candidates[0]]
            yield from ready.pop(candidates[0])
        elif now >= end:
            yield from (Finding(what, None, f"no answer within {patience:g} s") for what in waiting.values())
            return
        else:
            try:
                number, found = told.get(timeout=(in_order_until if now < in_order_until else end) - now)
            except queue.Empty:
                continue
            ready[number] = found


def _seen(what: str, look: Callable[[], Iterable[Finding]]) -> list[Finding]:
    """Run one look; whatever goes wrong in it is what it found."""
    try:
        return list(look())
    except KonduktorError as error:
        return [Finding(what, False, error.message, error.advice)]
    except Exception as error:  # noqa: BLE001  (the others are to be told all the same)
        return [Finding(what, None, f"could not be found out: {type(error).__name__}: {error}")]
