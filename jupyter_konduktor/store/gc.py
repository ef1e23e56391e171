"""Finds what is old in a store, and removes it."""

from __future__ import annotations

import json
from collections.abc import Collection
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from jupyter_konduktor.store import keys
from jupyter_konduktor.store.store import LIFE, Kept, Store


@dataclass(slots=True)
class Group:
    """What goes together: all that one job has left, one input, or all lists of inputs.

    Attributes
    ----------
    prefix : str
        Where in the store it lies: ``objects``, ``leases`` or ``results``, which stands for checkpoints too.
    name : str
        The job's uid or the input's SHA-256.
    modified : datetime
        When the newest of it was written.
    count : int
        Objects.
    bytes : int
    """

    prefix: str
    name: str
    modified: datetime
    count: int = 0
    bytes: int = 0


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
    groups : dict of (str, str) to Group
        The same by prefix and name.
    """

    jobs: set[str] = field(default_factory=set)
    objects: int = 0
    bytes: int = 0
    names: list[str] = field(default_factory=list)
    groups: dict[tuple[str, str], Group] = field(default_factory=dict)

    def add(self, kept: Kept, prefix: str, name: str = "") -> None:
        """Count one more, in the group of a name."""
        self.names.append(kept.key)
        self.bytes += kept.size
        group = self.groups.setdefault((prefix, name), Group(prefix, name, kept.modified))
        group.modified = max(group.modified, kept.modified)
        group.count += 1
        group.bytes += kept.size


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
            old.add(lease, keys.LEASES)
        else:
            needed |= _named(store, lease.key)
    for kept in store.scan(keys.OBJECTS):
        sha256 = kept.key.rpartition("/")[2]
        if now - kept.modified > keep and sha256 not in needed:
            old.add(kept, keys.OBJECTS, sha256)
            old.objects += 1
    for prefix in (keys.RESULTS, keys.CHECKPOINTS):
        for kept in store.scan(prefix):
            uid = kept.key.removeprefix(f"{prefix}/").partition("/")[0]
            if now - kept.modified > keep and uid not in alive:
                old.add(kept, keys.RESULTS, uid)
                old.jobs.add(uid)
    return old


def _named(store: Store, lease: str) -> set[str]:
    data = store.get(lease)
    try:
        return {str(name) for name in json.loads(bytes(data))["objects"]} if data is not None else set()
    except (KeyError, TypeError, ValueError):
        return set()
