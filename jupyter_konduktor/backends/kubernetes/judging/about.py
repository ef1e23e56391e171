"""What a JobSet says of its job: whose it is, when and from where it was submitted, and what was asked for."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any, get_args

from jupyter_konduktor.backends.kubernetes import words
from jupyter_konduktor.backends.kubernetes.judging.objects import Object, label, moment, number
from jupyter_konduktor.state import JobRecord, JobState
from jupyter_konduktor.task import Kind, Task

_HASH = re.compile(r"-[0-9a-f]{8}$")
_SECOND = 1_000_000_000
_ON_THE_WAY = 5.0  # seconds between a client's note of the time and the API server's


def first_record(jobset: Object, workload: Object | None) -> JobRecord:
    """Make the record of a job that was never seen before."""
    metadata = jobset["metadata"]
    spec = _task(jobset) or _task_from_outside(jobset, workload)
    origin, user = _json(jobset, words.ORIGIN), label(jobset, words.USER_ID)
    kind = str(spec.get("kind"))
    return JobRecord(
        name=str(metadata["name"]),
        uid=str(metadata["uid"]),
        backend=words.BACKEND,
        state=JobState.QUEUED,
        kind=kind if kind in get_args(Kind) else "command",
        created=created(jobset),
        user=label(jobset, words.USERNAME),
        queue=label(jobset, words.QUEUE_NAME) or str(((workload or {}).get("spec") or {}).get("queueName") or ""),
        spec=spec,
        origin={**origin, "user_id": user} if user else origin,
    )


def created(jobset: Object) -> float:
    """Give when a JobSet was made; the client's clock tells the part of the second, which puts jobs in order.

    A request that crosses the turn of a second has the older time, unless that clock is another altogether.
    """
    whole = moment(jobset["metadata"].get("creationTimestamp")) or 0.0
    submitted = number(label(jobset, words.SUBMITTED))
    if -_ON_THE_WAY <= submitted / _SECOND - whole < 1:
        return submitted / _SECOND
    return whole + submitted % _SECOND / _SECOND


def person(jobset: Object, said: str) -> str:
    """Give the name of whom an annotation names by the label of users."""
    if said == label(jobset, words.USER_ID):
        return label(jobset, words.USERNAME) or said
    return _HASH.sub("", said)


def is_ours(jobset: Object) -> bool:
    """Whether the job was made by this package, of any version."""
    return bool((jobset["metadata"].get("annotations") or {}).get(words.TASK))


def _json(jobset: Object, key: str) -> dict[str, Any]:
    """Read an annotation; empty for what cannot be read, as anyone may write there."""
    try:
        found = json.loads((jobset["metadata"].get("annotations") or {}).get(key) or "{}")
    except (ValueError, TypeError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _task(jobset: Object) -> dict[str, Any]:
    """Read the task; empty if there is none, or none that can be worked with."""
    found = _json(jobset, words.TASK)
    try:
        return found if _is_sane(Task.from_json(found)) else {}
    except (TypeError, ValueError, AttributeError, KeyError):
        return {}


def _is_sane(task: Any) -> bool:
    """Whether a task that was read has the types that whatever shows or follows a job relies on."""
    asked, gpus = task.resources, task.resources.gpus
    numbers = [asked.nodes, task.max_restarts, asked.memory or 0, gpus.count if gpus else 0]
    cpus = asked.cpus is None or isinstance(asked.cpus, (int, float))
    kinds = gpus is None or gpus.kind is None or isinstance(gpus.kind, str)
    return all(type(item) is int for item in numbers) and asked.nodes > 0 and cpus and kinds


def _task_from_outside(jobset: Object, workload: Object | None) -> dict[str, Any]:
    """Describe a job that another client has made, in the words of a task."""
    count, kind = number(label(jobset, words.NUM_ACCELERATORS)), label(jobset, words.ACCELERATOR)
    resources: dict[str, Any] = {"nodes": 1}
    if count > 0:
        resources["gpus"] = {"kind": kind or None, "count": count}
    groups = (jobset.get("spec") or {}).get("replicatedJobs") or ()
    sets = ((workload or {}).get("spec") or {}).get("podSets") or ()
    template: Mapping[str, Any] = {}
    if groups:
        job = (groups[0].get("template") or {}).get("spec") or {}
        resources["nodes"] = max(1, number(job.get("parallelism"), 1))
        template = job.get("template") or {}
    elif sets:
        resources["nodes"] = max(1, number(sets[0].get("count"), 1))
        template = sets[0].get("template") or {}
    containers = (template.get("spec") or {}).get("containers") or ()
    container: Object = next((item for item in containers if item.get("name") == words.CONTAINER), {})
    command = [str(word) for word in (*(container.get("command") or ()), *(container.get("args") or ()))]
    found = {
        "kind": "command",
        "name": str(jobset["metadata"]["name"]),
        "resources": resources,
        "image": container.get("image"),
        "queue": label(jobset, words.QUEUE_NAME),
        "priority": label(jobset, words.PRIORITY_CLASS),
        "timeout": number(label(jobset, words.MAX_EXEC_TIME)),
        "command": command,
    }
    return {key: value for key, value in found.items() if value}
