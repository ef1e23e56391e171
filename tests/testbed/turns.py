"""Turns of the processes that use one cluster: many at once, or one alone that breaks something in it."""

from __future__ import annotations

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def turn(place: Path, *, alone: bool) -> Iterator[None]:
    """Use the cluster, together with others or alone.

    Whoever wants to be alone goes through the door first and holds it: others that come later wait behind, so that the
    turn comes however many there are.
    """
    place.mkdir(parents=True, exist_ok=True)
    with (place / "door.lock").open("a") as door, (place / "room.lock").open("a") as room:
        fcntl.flock(door, fcntl.LOCK_EX)
        try:
            fcntl.flock(room, fcntl.LOCK_EX if alone else fcntl.LOCK_SH)
        finally:
            if not alone:
                fcntl.flock(door, fcntl.LOCK_UN)
        yield
