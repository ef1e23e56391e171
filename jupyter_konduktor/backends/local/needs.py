"""What a task needs of this machine, and what of it has no meaning here."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path

from jupyter_konduktor.backends.local import machine
from jupyter_konduktor.backends.local.admission import Capacity
from jupyter_konduktor.errors import InvalidTaskError
from jupyter_konduktor.task import Task

PRIORITIES = {"high-priority": 100, "low-priority": -100}
"""Names of priorities that have a meaning without a cluster; whole numbers are priorities themselves."""

_LEAST_MAX_NODES = 64


@dataclass(frozen=True, slots=True)
class Needs:
    """What all nodes of a job need together.

    Attributes
    ----------
    cpus : float
        Cores; nodes may share them.
    memory : int
        Bytes.
    gpus : int
        Devices, none of them shared.
    priority : int
    notes : tuple of str
        What the task asks for and does not get, one line each.
    """

    cpus: float
    memory: int
    gpus: int
    priority: int
    notes: tuple[str, ...] = ()


def needs_of(task: Task, capacity: Capacity, *, ignore_gpus: bool = False) -> Needs:
    """Work out what a task needs here.

    Raises
    ------
    InvalidTaskError
        If it can never run here.
    """
    notes: list[str] = []
    resources, nodes = task.resources, task.resources.nodes
    limit = max(_LEAST_MAX_NODES, int(8 * capacity.cpus))
    if nodes > limit:
        field, each = ("max_parallel", "worker") if task.kind == "map" else ("nodes", "node")
        raise InvalidTaskError(
            f"{field}={nodes}: on this machine each {each} is a process, and at most {limit} are started",
            advice=f'Use fewer {each}s, or a cluster with backend = "kubernetes".',
            field=field,
            value=nodes,
        )
    cpus = nodes * (resources.cpus or 1)
    if resources.cpus and cpus > capacity.cpus:
        notes.append(f"cpus: {cpus:g} cores asked for, this machine has {capacity.cpus:g}; the job gets these")
    memory = nodes * (resources.memory or 0)
    if memory > capacity.memory:
        notes.append(f"memory: {_gib(memory)} asked for, this machine has {_gib(capacity.memory)}; the job gets these")
    _check_workdir(task)
    _check_secrets(task)
    return Needs(
        cpus=min(cpus, capacity.cpus),
        memory=min(memory, capacity.memory),
        gpus=_gpus(task, capacity, notes, ignore=ignore_gpus),
        priority=_priority(task, notes),
        notes=(*notes, *_unused(task)),
    )


def _gpus(task: Task, capacity: Capacity, notes: list[str], *, ignore: bool) -> int:
    asked = task.resources.gpus
    if asked is None:
        return 0
    need, have = asked.count * task.resources.nodes, len(capacity.gpus)
    if need > have and ignore:
        notes.append(f"gpus: {asked} ignored (local_gpus = ignore); this machine has {have or 'none'}")
        return 0
    if need > have:
        each = "workers (max_parallel)" if task.kind == "map" else "nodes"
        over = f" on {task.resources.nodes} {each}, {need} in all" if task.resources.nodes > 1 else ""
        raise InvalidTaskError(
            f"gpus={asked}{over}: this machine has {have or 'no'} GPU{'' if have == 1 else 's'}",
            advice='Set local_gpus = "ignore" to run without them here, or use a cluster with backend = "kubernetes".',
            field="gpus",
            value=str(asked),
        )
    names = sorted({gpu.name for gpu in machine.gpus()})
    if asked.kind and not any(asked.kind.split("-")[0].lower() in name.lower() for name in names):
        notes.append(f"gpus: {asked.kind} asked for, this machine has {', '.join(names)}; the job gets these")
    return need


def _priority(task: Task, notes: list[str]) -> int:
    name = task.priority
    if name is None:
        return 0
    if re.fullmatch(r"[-+]?\d+", name):
        return int(name)
    if name not in PRIORITIES:
        known = ", ".join(PRIORITIES)
        notes.append(f"priority: {name} is not known on this machine and counts as 0; known: {known}, whole numbers")
    return PRIORITIES.get(name, 0)


def _check_workdir(task: Task) -> None:
    if task.workdir and not Path(task.workdir).expanduser().is_dir():
        raise InvalidTaskError(
            f"workdir={task.workdir!r}: there is no such directory on this machine",
            field="workdir",
            value=task.workdir,
        )


def _check_secrets(task: Task) -> None:
    files = [name for name in task.secrets if not name.isidentifier()]
    if files:
        raise InvalidTaskError(
            f"secrets: {files[0]} is a file of a cluster's Secret, and this machine has none",
            advice="On this machine a secret is read from the environment: --secret NAME. Its files are there already.",
            field="secrets",
            value=files[0],
        )
    missing = [name for name in task.secrets if name not in os.environ]
    if missing:
        raise InvalidTaskError(
            f"secrets: {', '.join(missing)} {'is' if len(missing) == 1 else 'are'} not in this process's environment",
            advice="On this machine a secret is read from the environment variable of its name.",
            field="secrets",
            value=missing[0],
        )


def _unused(task: Task) -> list[str]:
    fields = ("image", "queue", "topology", "volumes")
    return [f"{field}: not used on this machine" for field in fields if getattr(task, field)]


def _gib(size: int) -> str:
    return f"{round(size / 2**30, 1):,g} GiB"
