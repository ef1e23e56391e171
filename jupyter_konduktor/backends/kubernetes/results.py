"""What a job left: where its envelope is read, which pod it may come from, and when it can change no more.

An envelope is taken from the JobSet's own condition, if a controller has written one, else from the termination message
of worker 0. Labels only find candidates: whoever may create pods can write any label. A pod counts if its controller is
a Job of the name that JobSet gives it, and that Job our JobSet's, as the Job itself says where it may be read (see
`jupyter_konduktor.backends.kubernetes.owners`).
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from jupyter_konduktor.backends.kubernetes import words
from jupyter_konduktor.runner.envelope import build, parse

Object = Mapping[str, Any]

Known = Mapping[str, str | None]
"""By the uid of a Job that of its JobSet, as `Owners.known`; names are believed of a Job that is not there, or None."""

MESSAGE_LIMIT = 4096
"""Bytes of a termination message that a kubelet keeps."""


_NONE: Known = {}


@dataclass(frozen=True, slots=True)
class Outcome:
    """What was found of a job's envelope.

    Attributes
    ----------
    data : bytes or None
        None if the job left none.
    source : str
        ``"condition"``, ``"pod"``, or empty.
    note : str
        Why there is none, if that is known.
    """

    data: bytes | None = None
    source: str = ""
    note: str = ""


def envelope(jobset: Object, pods: Sequence[Object], owners: Known = _NONE) -> bytes | None:
    """Give the envelope of a JobSet's last attempt; None if it left none."""
    return outcome(jobset, pods, owners).data


def outcome(jobset: Object, pods: Sequence[Object], owners: Known = _NONE) -> Outcome:
    """Find the envelope of a JobSet's last attempt.

    Parameters
    ----------
    jobset : mapping
    pods : sequence of mapping
        Maybe others' too.
    owners : mapping of str to str or None, optional
        Whose the pods' Jobs are.
    """
    told = _condition(jobset)
    said = _converted(told) if told is not None else None
    if said is not None and told is not None and told.get("reason") != "Failed":
        return Outcome(said, "condition")
    left = _left(jobset, pods, owners)
    if left.data is not None or said is None:
        return left
    return Outcome(said, "condition")  # of a failure it says less than the pod, which is there no more


def worker(jobset: Object, pods: Sequence[Object], owners: Known = _NONE) -> Object | None:
    """Give the pod that speaks for the job: worker 0 of the last attempt; None if it is not there."""
    attempt = str(int((jobset.get("status") or {}).get("restarts") or 0))
    found = [
        pod
        for pod in pods
        if is_own(jobset, pod, owners)
        and _label(pod, words.COMPLETION_INDEX, "0") == "0"
        and _label(pod, words.JOB_INDEX, "0") == "0"
        and _label(pod, words.REPLICATED_JOB, "") == _first(jobset)
        and _label(pod, words.RESTART_ATTEMPT, attempt) == attempt
    ]
    # One that was disrupted has been or will be replaced; of the others the last one speaks.
    return max(found, key=lambda pod: (not is_disrupted(pod), _created(pod)), default=None)


def is_own(jobset: Object, pod: Object, owners: Known = _NONE) -> bool:
    """Whether a pod belongs to a JobSet by what owns it, not only by its labels."""
    name, uid = jobset["metadata"]["name"], jobset["metadata"]["uid"]
    owner = controller(pod)
    if owner is None or owner.get("kind") != "Job" or owners.get(str(owner.get("uid"))) not in (None, uid):
        return False
    expected = f"{name}-{_label(pod, words.REPLICATED_JOB, '')}-{_label(pod, words.JOB_INDEX, '0')}"
    return _label(pod, words.JOBSET_UID, "") == uid and owner.get("name") == expected


def terminated(pod: Object) -> Object | None:
    """Give how a pod's own container has ended, by its name; None if it has not."""
    for status in (pod.get("status") or {}).get("containerStatuses") or ():
        if status.get("name") == words.CONTAINER:
            found: Object | None = (status.get("state") or {}).get("terminated")
            return found
    return None


def is_disrupted(pod: Object) -> bool:
    """Whether something other than the job itself ends a pod."""
    if pod["metadata"].get("deletionTimestamp"):
        return True
    conditions = (pod.get("status") or {}).get("conditions") or ()
    return any(item.get("type") == "DisruptionTarget" and item.get("status") == "True" for item in conditions)


def controller(obj: Object) -> Object | None:
    """Give the reference to what controls an object; None if nothing does."""
    for owner in obj["metadata"].get("ownerReferences") or ():
        if owner.get("controller"):
            found: Object = owner
            return found
    return None


def pods_of(jobset: Object) -> int:
    """Count the pods of a JobSet's attempt."""
    total = 0
    for group in (jobset.get("spec") or {}).get("replicatedJobs") or ():
        job = ((group.get("template") or {}).get("spec")) or {}
        total += int(group.get("replicas", 1)) * int(job.get("completions") or job.get("parallelism") or 1)
    return total


def _left(jobset: Object, pods: Sequence[Object], owners: Known) -> Outcome:
    """Read what worker 0 left in its termination message."""
    pod = worker(jobset, pods, owners)
    if pod is None:
        if (jobset.get("spec") or {}).get("managedBy") == words.MULTIKUEUE:
            return Outcome(note="it ran on another cluster, and nothing has brought its result here")
        return Outcome(note=f"pod {jobset['metadata']['name']}-{_first(jobset)}-0-0-* is not there any more")
    name, ended = pod["metadata"]["name"], terminated(pod)
    if ended is None:
        return Outcome(note=f"the container of pod {name} has not ended")
    code, data = int(ended.get("exitCode") or 0), str(ended.get("message") or "").encode()
    if data:
        try:
            parse(data)
            return Outcome(data, "pod")
        except ValueError as error:
            cut = "; it is as long as a kubelet lets one be" if len(data) >= MESSAGE_LIMIT else ""
            note = f"the termination message of pod {name} cannot be read: {error}{cut}"
        # A process that was killed as it wrote has left no result; one that ended well has reported something else.
        return Outcome(None if code else b'{"exit":0,"error":"MalformedResult"}', "" if code else "pod", note)
    why = ended.get("reason") or f"exit code {code}"
    return Outcome(None if code else build(0), "" if code else "pod", f"pod {name} left no result ({why}, {code})")


def _condition(jobset: Object) -> Object | None:
    """Give the condition in which a controller has written the result."""
    for condition in (jobset.get("status") or {}).get("conditions") or ():
        if condition.get("type") == words.RESULT_CONDITION and condition.get("status", "True") == "True":
            found: Object = condition
            return found
    return None


def _converted(condition: Object) -> bytes | None:
    """Turn the condition into an envelope; None if it says too little, or what cannot be read."""
    text, reason = str(condition.get("message", "")), condition.get("reason")
    try:
        said = json.loads(text)
    except (ValueError, RecursionError):
        return None
    if reason == "Succeeded":
        return build(0) if said == {"error": "NoResult"} else build(0, text.encode())
    if not isinstance(said, dict):
        return None
    if reason == "Failed" and type(said.get("exit")) is int:
        return build(said["exit"])
    if reason == "ResultTooLarge" and type(said.get("size")) is int:
        return b'{"exit":0,"error":"ResultTooLarge","size":%d}' % said["size"]
    return b'{"exit":0,"error":"MalformedResult"}' if reason == "MalformedResult" else None


def _first(jobset: Object) -> str:
    """Give the name of the first replicated job: only that one reports."""
    groups = (jobset.get("spec") or {}).get("replicatedJobs") or ()
    return str(groups[0].get("name")) if groups else words.REPLICATED_JOB_NAME


def _label(pod: Object, key: str, default: str) -> str:
    metadata = pod["metadata"]
    found = (metadata.get("labels") or {}).get(key) or (metadata.get("annotations") or {}).get(key)
    return default if found is None else str(found)


def _created(pod: Object) -> tuple[str, str]:
    return str(pod["metadata"].get("creationTimestamp", "")), str(pod["metadata"]["name"])
