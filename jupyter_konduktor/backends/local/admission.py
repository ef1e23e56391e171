"""Which queued jobs may start now."""

from __future__ import annotations

import json

from jupyter_konduktor.backends.local.spawn import starting
from jupyter_konduktor.backends.local.store import Store, owner

TYPE_CHECKING = False
if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterable, Mapping
    from typing import Any

    Row = Mapping[str, Any] | sqlite3.Row

ORDER = "priority DESC, seq"
_LEAST = 1e-3  # of a core: the least that a task may ask for
_GRAIN = 1e-9  # sums of floats
_GIB = 2**30


class Capacity:
    """What this machine has for jobs.

    Parameters
    ----------
    cpus : float
        Cores.
    memory : int
        Bytes.
    gpus : sequence of str
        Their indices or UUIDs, as ``CUDA_VISIBLE_DEVICES`` takes them.
    """

    __slots__ = ("cpus", "gpus", "memory")

    def __init__(self, cpus: float, memory: int, gpus: Iterable[str] = ()) -> None:
        self.cpus = cpus
        self.memory = memory
        self.gpus = tuple(gpus)


def choose(capacity: Capacity, active: Iterable[Row], queued: Iterable[Row]) -> list[tuple[str, list[str]]]:
    """Choose the jobs to start, in their order.

    A job that does not fit keeps what it needs reserved, so that those behind it pass only where they take nothing from
    it: a large job is never starved by small ones.

    Parameters
    ----------
    capacity : Capacity
    active : iterable of rows
        Jobs that hold resources.
    queued : iterable of rows
        In the order of admission.

    Returns
    -------
    list of (uid, GPUs)
    """
    active = list(active)
    cpus = capacity.cpus - sum(min(row["cpus"], capacity.cpus) for row in active)
    memory = capacity.memory - sum(min(row["memory"], capacity.memory) for row in active)
    taken = {device for row in active for device in row["devices"].split(",")}
    devices = [device for device in capacity.gpus if device not in taken]
    gpus = len(devices)
    chosen = []
    for row in queued:
        if cpus < _LEAST - _GRAIN:
            break
        if row["gpus"] > len(capacity.gpus):
            continue  # the machine has lost GPUs since: it waits for them, and nobody for it
        # The machine may be smaller than it was: what asks for all of it still gets all of it.
        need = min(row["cpus"], capacity.cpus), min(row["memory"], capacity.memory), row["gpus"]
        # What is reserved for those before it may exceed what is free, and is no matter to who needs none of it.
        if need[0] <= cpus + _GRAIN and need[1] <= max(memory, 0) and need[2] <= max(gpus, 0):
            chosen.append((row["uid"], devices[: need[2]]))
            devices = devices[need[2] :]
        cpus, memory, gpus = cpus - need[0], memory - need[1], gpus - need[2]
    return chosen


def waits_for(capacity: Capacity, active: Iterable[Row], row: Row) -> str:
    """Say what the next job of the queue waits for, as a sentence; empty if it does not wait."""
    active = list(active)
    taken = [device for held in active for device in held["devices"].split(",") if device]
    free = {
        "CPU": (capacity.cpus - sum(min(held["cpus"], capacity.cpus) for held in active), capacity.cpus),
        "GPU": (sum(device not in taken for device in capacity.gpus), len(capacity.gpus)),
        "GiB": ((capacity.memory - sum(held["memory"] for held in active)) / _GIB, capacity.memory / _GIB),
    }
    asked = {
        "CPU": min(row["cpus"], capacity.cpus),
        "GPU": row["gpus"],
        "GiB": min(row["memory"] / _GIB, free["GiB"][1]),
    }
    said = []
    for unit, (left, total) in free.items():
        if asked[unit] > max(left, 0) + _GRAIN:
            name = {"GiB": "GiB of memory"}.get(unit, f"{unit}s")
            said.append(f"it asks for {asked[unit]:.3g} {name}, and {max(left, 0):.3g} of {total:.3g} are free")
    return f"waits for capacity: {'; '.join(said)}" if said else ""


def admit(store: Store) -> list[str]:
    """Admit what fits; within a transaction.

    Returns
    -------
    list of str
        The uids of the jobs whose supervisors the caller is to start, once it has committed.
    """
    queued = store.rows(f"SELECT uid, cpus, memory, gpus FROM jobs WHERE state = 'Queued' ORDER BY {ORDER}")  # noqa: S608
    if not queued:
        return []
    chosen = choose(capacity_of(store), store.active(), queued)
    if chosen:
        mine = owner()
        starting.update(uid for uid, _ in chosen)
        for uid, devices in chosen:
            store.move(uid, "Starting", "Admitted", "", devices=",".join(devices), supervised=0, **mine)
    return [uid for uid, _ in chosen]


def capacity_of(store: Store) -> Capacity:
    """Give what the last process that looked found this machine to have."""
    row = store.row("SELECT value FROM facts WHERE key = 'capacity'")
    return Capacity(**json.loads(row[0])) if row else Capacity(1, 0)


def set_capacity(store: Store, capacity: Capacity) -> None:
    """Write down what this machine has; within a transaction."""
    value = json.dumps({"cpus": capacity.cpus, "memory": capacity.memory, "gpus": capacity.gpus})
    store.connection.execute("INSERT OR REPLACE INTO facts VALUES ('capacity', ?)", (value,))
