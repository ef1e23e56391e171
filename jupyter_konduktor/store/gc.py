"""Finds what is old in a store, and removes it."""

from __future__ import annotations

import json
from collections.abc import Collection
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from jupyter_konduktor.store import keys
from jupyter_konduktor.store.store import LIFE, Kept, Store


@dataclass(slots=True)
class Old:
    """What is to go.

    Attributes
    ----------
    jobs : set of str
        Uids of the jobs whose results or checkpoints are among it.
    objects : int
        Objects that jobs were sent.
    bytes : int
    names : list of str
        The keys of all of it.
    """

    jobs: set[str] = field(default_factory=set)
    objects: int = 0
    bytes: int = 0
    names: list[str] = field(default_factory=list)

    def add(self, kept: Kept) -> None:
        """Count one more."""
        self.names.append(kept.key)
        self.bytes += kept.size


def find(store: Store, *, keep: timedelta, alive: Collection[str] = ()) -> Old:
    """Find what has not been used for some time: others may keep their objects below the same prefix.

    Parameters
    ----------
    store : Store
    keep : timedelta
        How long everything stays; what a job still has URLs for stays in any case.
    alive : collection of str
        Uids of jobs whose results and checkpoints stay.
    """
    now, old = datetime.now(UTC), Old()
    needed: set[str] = set()
    for lease in store.scan(keys.LEASES):
        if now - lease.modified > max(keep, LIFE):
            old.add(lease)
        else:
            needed |= _named(store, lease.key)
    for kept in store.scan(keys.OBJECTS):
        if now - kept.modified > keep and kept.key.rpartition("/")[2] not in needed:
            old.add(kept)
            old.objects += 1
    for prefix in (keys.RESULTS, keys.CHECKPOINTS):
        for kept in store.scan(prefix):
            uid = kept.key.removeprefix(f"{prefix}/").partition("/")[0]
            if now - kept.modified > keep and uid not in alive:
                old.add(kept)
                old.jobs.add(uid)
    return old


def _named(store: Store, lease: str) -> set[str]:
    data = store.get(lease)
    try:
        return {str(name) for name in json.loads(bytes(data))["objects"]} if data is not None else set()
    except (KeyError, TypeError, ValueError):
        return set()
