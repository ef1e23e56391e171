"""The backends this process uses: submit to them, attach to their jobs, list what they hold."""

from __future__ import annotations

import atexit
import os
import sys
import threading
import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields
from html import escape
from pathlib import Path
from typing import Any, overload

from jupyter_konduktor import summary
from jupyter_konduktor.backends import get_backend
from jupyter_konduktor.config import Settings
from jupyter_konduktor.group import JobGroup
from jupyter_konduktor.job import Job
from jupyter_konduktor.payload import Limits, Payload
from jupyter_konduktor.state import JobRecord, QueueInfo
from jupyter_konduktor.task import Kind, Task
from jupyter_konduktor.tracker import Tracker

_trackers: dict[tuple[Any, ...], Tracker] = {}
_lock = threading.Lock()


def tracker(settings: Settings | None = None) -> Tracker:
    """Give the tracker of the backend that the settings name; one for each backend and process."""
    settings = settings or Settings.load()
    where = (settings.local_dir,) if settings.backend == "local" else (
        settings.kubeconfig,
        settings.context,
        settings.namespace,
    )  # fmt: skip
    key = (os.getpid(), settings.backend, *where)
    with _lock:
        if key not in _trackers:
            _trackers[key] = Tracker(get_backend(settings.backend, settings))
        return _trackers[key]


@atexit.register
def close() -> None:
    """Close every watch and backend of this process; jobs go on."""
    with _lock:
        mine = {key: t for key, t in _trackers.items() if key[0] == os.getpid()}
        _trackers.clear()
    for held in mine.values():
        held.close()
        held.backend.close()


def origin() -> dict[str, Any]:
    """Say where this process is: kernel, notebook and cell, as far as the client told them."""
    found: dict[str, Any] = {"pid": os.getpid(), "cwd": str(Path.cwd())}
    for name in ("JPY_SESSION_NAME", "JUPYTERHUB_USER"):
        if os.environ.get(name):
            found[name.lower()] = os.environ[name]
    # Without importing IPython: a script has none, and a kernel has it loaded.
    shell = sys.modules["IPython"].get_ipython() if "IPython" in sys.modules else None
    if shell is not None:
        parent = shell.get_parent() if hasattr(shell, "get_parent") else {}
        cell = parent.get("metadata", {}).get("cellId")
        if cell:
            found["cell_id"] = str(cell)
        found["cell_number"] = len(shell.user_ns.get("In", ())) - 1
    return found


def say(line: str) -> None:
    """Print a line beside the output of the user's code."""
    print(f"konduktor: {line}", file=sys.stderr, flush=True)


def say_once(note: str) -> None:
    """Print a line, once in this process."""
    if note not in _said:
        _said.add(note)
        say(note)


def capture_options(settings: Settings, task: Task) -> dict[str, Any]:
    """Give the rules of a capture that the settings and the task decide (`jupyter_konduktor.payload.Rules`)."""
    limits = Limits(**{limit.name: getattr(settings, limit.name) for limit in fields(Limits)})
    return {"limits": limits, "env": task.env, "allow_secrets": settings.allow_secrets}


_said: set[str] = set()


def submit(
    task: Task,
    payload: Payload | None = None,
    *,
    settings: Settings | None = None,
    origin: Mapping[str, Any] | None = None,
) -> Job:
    """Make a job and give its handle; if this raises, there is no job."""
    settings = settings or Settings.load()
    held = tracker(settings)
    record = held.backend.submit(task, payload, key=uuid.uuid4().hex, origin=origin)
    held.put(record)
    return Job(record.name, held, settings)


def make_task(kind: Kind, options: Mapping[str, Any], settings: Settings) -> Task:
    """Make a task from the options of a call, and from the settings where the call says nothing.

    The environment variables of both are merged, the call's winning.
    """
    asked = {key: getattr(settings, key) for key in _TASK_SETTINGS}
    asked.update({key: value for key, value in options.items() if value is not None})
    asked["env"] = {**settings.env, **Task.create(kind="function", env=options.get("env")).env}
    return Task.create(kind=kind, **asked)


_TASK_SETTINGS = [
    "image",
    "queue",
    "priority",
    "gpus",
    "cpus",
    "memory",
    "nodes",
    "timeout",
    "max_restarts",
    "packages",
]


def launch(task: Task) -> Job:
    """Run a task, such as a script in any language, as a job.

    Parameters
    ----------
    task : Task
        ``Task.create(command=["python", "train.py"], gpus=1)``.

    Returns
    -------
    Job
        At once; its result is what the script writes to ``$KONDUKTOR_OUTPUT_DIR/result.json``.
    """
    settings = Settings.load()
    held = tracker(settings)
    held.backend.check(task)
    return submit(task, settings=settings)


def attach(name: str) -> Job | JobGroup:
    """Give the handle of a job by its name, whoever submitted it and whenever.

    Raises
    ------
    JobNotFoundError
    """
    settings = Settings.load()
    return _handle(tracker(settings).put(tracker(settings).backend.get(str(name))), settings)


def restore(name: str, backend: str) -> Job:
    """Make the handle of a job again from its name and backend."""
    settings = Settings.load({"backend": backend})
    return Job(name, tracker(settings), settings)


def _handle(record: JobRecord, settings: Settings) -> Job | JobGroup:
    job = Job(record.name, tracker(settings), settings)
    return JobGroup(job) if record.kind == "map" else job


class JobList(Sequence[Job]):
    """Jobs, oldest first; shown as a table."""

    def __init__(self, records: Sequence[JobRecord], settings: Settings) -> None:
        held = tracker(settings)
        self._records = held.put_all(records)
        self._jobs = [Job(record.name, held, settings) for record in records]

    @overload
    def __getitem__(self, index: int) -> Job: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Job]: ...
    def __getitem__(self, index: int | slice) -> Job | Sequence[Job]:
        return self._jobs[index]

    def __len__(self) -> int:
        return len(self._jobs)

    def __iter__(self) -> Iterator[Job]:
        return iter(self._jobs)

    def __repr__(self) -> str:
        return summary.table(self._records)[0]

    def _repr_html_(self) -> str:
        return summary.table(self._records)[1]


def jobs(all_users: bool = False) -> JobList:
    """List the jobs that are kept, oldest first.

    Parameters
    ----------
    all_users : bool, default False
        Also those of others, where the backend knows of them.
    """
    settings = Settings.load()
    return JobList(tracker(settings).backend.list(all_users=all_users), settings)


class QueueList(Sequence[QueueInfo]):
    """Queues with their use; shown as a table."""

    def __init__(self, queues: Sequence[QueueInfo]) -> None:
        self._queues = list(queues)

    @overload
    def __getitem__(self, index: int) -> QueueInfo: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[QueueInfo]: ...
    def __getitem__(self, index: int | slice) -> QueueInfo | Sequence[QueueInfo]:
        return self._queues[index]

    def __len__(self) -> int:
        return len(self._queues)

    def _rows(self) -> list[tuple[str, ...]]:
        rows: list[tuple[str, ...]] = [("queue", "running", "waiting", "in use", "note")]
        for queue in self._queues:
            use = ", ".join(_use(name, *amount) for name, amount in queue.resources.items())
            rows.append((queue.name, str(queue.running), str(queue.pending), use, queue.message))
        return rows

    def __repr__(self) -> str:
        rows = self._rows()
        widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
        return "\n".join("  ".join(cell.ljust(w) for cell, w in zip(row, widths)).rstrip() for row in rows)

    def _repr_html_(self) -> str:
        head, *body = self._rows()
        cells = "".join(f"<th>{escape(cell)}</th>" for cell in head)
        lines = "".join("<tr>" + "".join(f"<td>{escape(c)}</td>" for c in row) + "</tr>" for row in body)
        return f"<table><thead><tr>{cells}</tr></thead><tbody>{lines}</tbody></table>"


def _use(name: str, used: float, total: float | None) -> str:
    scale, unit = (2**30, " GiB") if name == "memory" else (1, "")
    of = f" of {total / scale:.4g}{unit}" if total is not None else unit
    return f"{name} {used / scale:.4g}{of}"


def queues() -> QueueList:
    """List the queues that a task may name, with their use."""
    return QueueList(tracker().backend.queues())
