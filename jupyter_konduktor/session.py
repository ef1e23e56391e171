"""The backends this process uses: submit to them, attach to their jobs, list what they hold."""

from __future__ import annotations

import atexit
import os
import sys
import threading
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import Any, overload

import jupyter_konduktor
from jupyter_konduktor import requirements, summary
from jupyter_konduktor.backends import get_backend
from jupyter_konduktor.backends.protocol import Finding
from jupyter_konduktor.config import Settings
from jupyter_konduktor.errors import KonduktorError
from jupyter_konduktor.group import JobGroup
from jupyter_konduktor.job import Job
from jupyter_konduktor.payload import Limits, Payload
from jupyter_konduktor.state import JobRecord, JobState, QueueInfo
from jupyter_konduktor.task import Kind, Task
from jupyter_konduktor.tracker import Tracker

_trackers: dict[tuple[Any, ...], Tracker] = {}
_lock = threading.Lock()


def tracker(settings: Settings | None = None) -> Tracker:
    """Give the tracker of the backend that the settings name; one for each backend and process."""
    settings = settings or Settings.load()
    key = (os.getpid(), settings.backend, *(repr(getattr(settings, name)) for name in _BACKEND_SETTINGS))
    with _lock:
        if key not in _trackers:
            _trackers[key] = Tracker(get_backend(settings.backend, settings))
        return _trackers[key]


_BACKEND_SETTINGS = [
    *("local_dir", "local_gpus", "grace", "keep_days", "keep_bytes"),
    *("kubeconfig", "context", "namespace", "store", "accelerators", "credentials", "pod_config"),
    *("stuck_after", "on_stuck"),
    *("package_index", "package_wheels", "package_cache", "max_workdir", "allow_secrets"),
]
"""What a backend is made with; another value of one of them is another backend."""


@atexit.register
def close() -> None:
    """Close every watch and backend of this process; jobs go on."""
    with _lock:
        mine = {key: t for key, t in _trackers.items() if key[0] == os.getpid()}
        _trackers.clear()
    for held in mine.values():
        held.close()
        held.backend.close()


def warm() -> None:
    """Begin to load what the first job on a cluster needs, in a thread; once in a process, and nothing for local jobs.

    The client of a cluster takes 0.3 to 0.5 s to import, and the runner 0.2 s to pack.
    """
    if not _warming:
        _warming.append(threading.Thread(target=_load_cluster_client, name="konduktor-warm", daemon=True))
        _warming[0].start()


_warming: list[threading.Thread] = []


def _load_cluster_client() -> None:
    try:
        if Settings.load().backend != "kubernetes":
            _warming.clear()
            return
        from jupyter_konduktor.backends.kubernetes import backend  # noqa: F401
        from jupyter_konduktor.backends.kubernetes.api import kubeconfig
        from jupyter_konduktor.backends.kubernetes.sending import runtime

        kubeconfig.preload()
        runtime.runner_name()
    except Exception:  # noqa: BLE001, S110 - whoever needs it meets the same error, and says so
        pass


def origin() -> dict[str, Any]:
    """Say where this process is: kernel, notebook and cell, as far as the client told them.

    Returns
    -------
    dict
        ``pid``, ``cwd`` and ``version``, that of this package. ``jpy_session_name`` is the notebook's absolute path on
        the disk of a Jupyter server that keeps files there, else its path below the server's root; it stays the name
        of the notebook when its kernel was started first, also after a rename and a restart, so ``cell_id`` (the id of
        the cell in the notebook's file) is what finds a notebook again. Only JupyterLab and Notebook give both.
    """
    found: dict[str, Any] = {"pid": os.getpid(), "cwd": str(Path.cwd()), "version": jupyter_konduktor.__version__}
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
    sync = requirements.SYNC in task.packages
    return {"limits": limits, "env": task.env, "allow_secrets": settings.allow_secrets, "sync": sync}


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
    if payload is not None and requirements.SYNC in task.packages:
        named = [name for name in task.packages if name != requirements.SYNC]
        task = replace(task, packages=tuple(dict.fromkeys([*named, *payload.packages])))
    for note in held.backend.review(task, payload) if payload is not None else ():
        say_once(note)
    record = held.backend.submit(task, payload, key=uuid.uuid4().hex, origin=origin)
    held.put(record)
    return Job(record.name, held, settings)


def make_task(kind: Kind, options: Mapping[str, Any], settings: Settings) -> Task:
    """Make a task from the options of a call, and from the settings where the call says nothing.

    The environment variables and the volumes of both are merged, the call's winning; a file of requirements adds to the
    packages.
    """
    asked = {key: getattr(settings, key) for key in _TASK_SETTINGS}
    asked.update({key: value for key, value in options.items() if value is not None})
    file = asked.pop("requirements")
    if file is not None:
        asked["packages"] = (*requirements.parse(asked["packages"] or ()), *requirements.read(file))
    own = Task.create(kind="function", env=options.get("env"), volumes=options.get("volumes"))
    asked["env"] = {**settings.env, **own.env}
    asked["volumes"] = _volumes(settings, own)
    return Task.create(kind=kind, **asked)


def _volumes(settings: Settings, task: Task) -> dict[str, str]:
    """Add the volumes of the settings to those of a task, which keep their claims and their places."""
    taken = {path.strip("/") for path in task.volumes.values()}
    set_here = {claim: path for claim, path in settings.volumes.items() if path.strip("/") not in taken}
    return {**set_here, **task.volumes}


_TASK_SETTINGS = [
    "image",
    "queue",
    "priority",
    "topology",
    "gpus",
    "cpus",
    "memory",
    "nodes",
    "timeout",
    "max_restarts",
    "packages",
    "requirements",
    "setup",
]


def launch(task: Task) -> Job:
    """Run a task, such as a script in any language, as a job.

    Parameters
    ----------
    task : Task
        ``Task.create(command=["python", "train.py"], gpus=1)``; where it names no image, queue, priority or topology,
        those of the settings hold, and their volumes are mounted as well.

    Returns
    -------
    Job
        At once; its result is what the script writes to ``$KONDUKTOR_OUTPUT_DIR/result.json``.
    """
    settings = Settings.load()
    mine = {key: getattr(settings, key) for key in ("image", "queue", "priority", "topology") if not getattr(task, key)}
    task = task.options(**mine, volumes=_volumes(settings, task))
    for note in tracker(settings).backend.check(task):
        say_once(note)
    return submit(task, settings=settings, origin=origin())


def attach(name: str) -> Job | JobGroup:
    """Give the handle of a job by its name, whoever submitted it and whenever.

    It is looked for where the settings say that jobs run, then where this process has sent others, then on this
    machine.

    Raises
    ------
    JobNotFoundError
    """
    settings = Settings.load()
    try:
        return _attached(str(name), settings)
    except KonduktorError:
        for backend in _elsewhere(settings):
            try:
                return _attached(str(name), Settings.load({"backend": backend}))
            except KonduktorError:
                continue  # what is told is of the place that the settings name
        raise


def _attached(name: str, settings: Settings) -> Job | JobGroup:
    return _handle(tracker(settings).put(tracker(settings).backend.get(name)), settings)


def _elsewhere(settings: Settings) -> list[str]:
    """List the other backends in which a job of this user may be."""
    used = [key[1] for key in _trackers if key[0] == os.getpid()]
    return [name for name in dict.fromkeys([*used, "local"]) if name != settings.backend]


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

    def _table(self) -> summary.Table:
        rows = []
        for queue in self._queues:
            use = ", ".join(_use(name, *amount) for name, amount in queue.resources.items())
            rows.append((queue.name, str(queue.running), str(queue.pending), use, queue.message))
        return summary.Table(("queue", "running", "waiting", "in use", "note"), rows)

    def __repr__(self) -> str:
        return repr(self._table())

    def _repr_html_(self) -> str:
        return self._table()._repr_html_()


def _use(name: str, used: float, total: float | None) -> str:
    scale, unit = (2**30, " GiB") if name == "memory" else (1, "")
    of = f" of {total / scale:.4g}{unit}" if total is not None else unit
    return f"{name} {used / scale:.4g}{of}"


def queues() -> QueueList:
    """List the queues that a task may name, with their use."""
    return QueueList(tracker().backend.queues())


def examine(settings: Settings, *, job: bool = True) -> Iterator[Finding]:
    """Look at everything that jobs need, each finding as it comes; then run a small job, which is the only proof.

    Parameters
    ----------
    settings : Settings
    job : bool, default True
        Whether to run it.
    """
    here = f"{sys.version.split()[0]} at {sys.executable}, jupyter_konduktor {jupyter_konduktor.__version__}"
    yield Finding("python", True, here)
    chosen = f"{settings.backend} ({settings.source('backend')})"
    try:
        backend = tracker(settings).backend
    except KonduktorError as error:
        yield Finding("backend", False, f"{chosen}: {error.message}", error.advice)
        return
    yield Finding("backend", True, chosen)
    sound = True
    for found in backend.examine():
        sound = sound and (found.ok is not False or found.what != _VITAL)
        yield found
    if job and sound:
        yield _small_job(settings)


_VITAL = "server"
"""What must be sound for a small job to prove more than is known already."""

PROOF_SECONDS = {"local": 30.0, "kubernetes": 120.0}
"""How long the doctor waits for its job; on a cluster an image may have to be brought to a node first."""


def _small_job(settings: Settings) -> Finding:
    what = "a small job"
    local = settings.backend == "local"
    if not local and not settings.image:
        return Finding(what, None, "not sent: no image is set", 'Set image, as in image = "python:3.12".')
    task = Task.create(
        name="doctor",
        command=[sys.executable if local else "python3", "-c", "import sys; print(sys.version.split()[0])"],
        **({} if local else {key: getattr(settings, key) for key in ("image", "queue", "priority", "volumes")}),
    )
    held, started = tracker(settings), time.monotonic()
    try:
        held.backend.check(task)
        job = submit(task, settings=settings)
    except KonduktorError as error:
        return Finding(what, False, error.message, error.advice)
    try:
        record = held.wait(job.name, lambda r: r.ends_wait, PROOF_SECONDS[settings.backend])
        if record is None:
            record = job.record
            late = f"{summary.status(record)}, and was cancelled ({job})"
            return Finding(what, None, late, _LATE.get(record.state, ""))
        took = summary.seconds(time.monotonic() - started)
        if record.state is JobState.SUCCEEDED:
            return Finding(what, True, f"succeeded in {took} ({job}){'' if local else _python_there(job)}")
        return Finding(what, False, f"{summary.status(record)} ({job})", f"Its output: %konduktor logs {job}")
    except KonduktorError as error:
        return Finding(what, False, error.message, error.advice)
    finally:
        _end(job)


def _python_there(job: Job) -> str:
    """Say which Python a job has shown of its image, and what follows if it is not the one here."""
    try:
        there, here = job.logs().strip(), sys.version.split()[0]
    except KonduktorError:
        return ""  # that logs cannot be read is a finding of its own
    if not there:
        return ""
    alike = there.split(".")[:2] == here.split(".")[:2]
    return f"; its image has Python {there}" + ("" if alike else f", and functions of Python {here} do not run there")


_LATE = {
    JobState.QUEUED: "Jobs can be sent, and wait for their turn: look at the queues.",
    JobState.STARTING: "A large image takes minutes to reach a node the first time.",
}


def _end(job: Job) -> None:
    """See that a job of the doctor's own does not stay in a queue."""
    try:
        if not job.done():
            job.cancel()
    except KonduktorError:
        pass  # the finding has said what is wrong
