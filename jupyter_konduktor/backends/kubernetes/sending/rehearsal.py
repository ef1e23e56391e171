"""A pod is tried before its job is made: a JobSet may be let in and get no pod, and hold its quota for nothing.

The pod is sent to the API server as a dry run, so that everything that judges pods judges this one: Pod Security,
ResourceQuotas, LimitRanges, admission webhooks. Nothing is made.
"""

from __future__ import annotations

import copy
import hashlib
import json
import re
import threading
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from jupyter_konduktor.backends.kubernetes import quantity, words
from jupyter_konduktor.backends.kubernetes.sending.manifest import template_of
from jupyter_konduktor.backends.kubernetes.sending.manifest.pod import container_of
from jupyter_konduktor.errors import ApiError, SubmitError

if TYPE_CHECKING:
    from jupyter_konduktor.backends.kubernetes.api.client import Client
    from jupyter_konduktor.backends.kubernetes.rights import Rights

KEEP = 300.0
"""Seconds that a pod which was let in counts for all of its shape."""

_DRY_RUN = {"dryRun": "All"}
_NO_NAME = "job-00000"
_NO_UID = "00000000-0000-0000-0000-000000000000"
_QUOTA = re.compile(
    r"exceeded quota: (?P<name>[^,]+), requested: (?P<requested>\S+), used: \S+, limited: (?P<limited>\S+)"
)


class Rehearsal:
    """Tries pods; one of each shape in five minutes.

    Parameters
    ----------
    client : Client
    rights : Rights
    clock : callable, optional
        Seconds that only grow.
    """

    def __init__(self, client: Client, rights: Rights, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._client = client
        self._rights = rights
        self._clock = clock
        self._lock = threading.Lock()
        self._passed: dict[str, tuple[float, list[str]]] = {}

    def notes(self, jobset: Mapping[str, Any]) -> list[str]:
        """Try the pod of a JobSet; gives the API server's warnings.

        Raises
        ------
        SubmitError
            If no such pod would be made, with the API server's own words.
        """
        shape = shape_of(jobset)
        with self._lock:
            known = self._passed.get(shape)
        if known is not None and self._clock() - known[0] <= KEEP:
            return known[1]
        notes = self._try(shape, jobset)
        with self._lock:
            self._passed[shape] = (self._clock(), notes)
        return notes

    def _try(self, shape: str, jobset: Mapping[str, Any]) -> list[str]:
        namespace = self._client.namespace
        if self._rights.allows("create", "", "pods"):
            found = self._post(words.core(namespace, "pods"), pod_of(jobset, shape))
        elif self._rights.allows("create", "batch", "jobs"):
            found = self._post(f"/apis/batch/v1/namespaces/{namespace}/jobs", job_of(jobset, shape))
        else:
            found = []
        return found

    def _post(self, path: str, body: Mapping[str, Any]) -> list[str]:
        try:
            reply = self._client.post(path, dict(body), _DRY_RUN)
        except ApiError as error:
            return _judged(error)
        return [f"The cluster says of the job's pods: {warning}" for warning in reply.warnings]


def shape_of(jobset: Mapping[str, Any]) -> str:
    """Give what is the same for all jobs whose pods are judged alike: not names, not values, not what they run."""
    pod = _blank(jobset, _NO_NAME)
    return hashlib.sha256(json.dumps(pod, sort_keys=True).encode()).hexdigest()


def pod_of(jobset: Mapping[str, Any], shape: str) -> dict[str, Any]:
    """Make the first pod of a JobSet, with all that JobSet and the Job controller would put on it."""
    name = _name(shape)
    job = f"{name}-{words.REPLICATED_JOB_NAME}-0"
    pod = _blank(jobset, name)
    jobset_words = {
        words.JOBSET_NAME: name,
        words.JOBSET_UID: _NO_UID,
        words.REPLICATED_JOB: words.REPLICATED_JOB_NAME,
        words.JOB_INDEX: "0",
        words.RESTART_ATTEMPT: "0",
        words.COMPLETION_INDEX: "0",
    }
    own = {
        "batch.kubernetes.io/job-name": job,
        "batch.kubernetes.io/controller-uid": _NO_UID,
        "job-name": job,
        "controller-uid": _NO_UID,
    }
    metadata = pod["metadata"]
    metadata["generateName"] = f"{job}-0-"
    metadata["namespace"] = jobset["metadata"]["namespace"]
    metadata["labels"] = {**metadata["labels"], **jobset_words, **own}
    metadata["annotations"] = {**metadata["annotations"], **jobset_words}
    return {"apiVersion": "v1", "kind": "Pod", **pod}


def job_of(jobset: Mapping[str, Any], shape: str) -> dict[str, Any]:
    """Make the Job of a JobSet: it is judged less strictly, yet the API server warns of what it would not let in."""
    name = _name(shape)
    (replicated,) = jobset["spec"]["replicatedJobs"]
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"generateName": f"{name}-", "namespace": jobset["metadata"]["namespace"]},
        "spec": {**replicated["template"]["spec"], "template": _blank(jobset, name)},
    }


def _name(shape: str) -> str:
    return f"job-{shape[:5]}"


def _blank(jobset: Mapping[str, Any], name: str) -> dict[str, Any]:
    """Copy the pod template without what differs between jobs of a kind, and nobody judges a pod by."""
    pod = copy.deepcopy(template_of(jobset))
    pod["metadata"]["labels"][words.JOB_NAME] = name
    container = container_of(pod)
    container["command"] = container["command"][:1]
    for variable in container["env"]:
        if "value" in variable:
            variable["value"] = ""
    for volume in pod["spec"]["volumes"]:
        if volume["name"] == words.PAYLOAD_VOLUME:
            volume["secret"]["secretName"] = name
    return pod


def _judged(error: ApiError) -> list[str]:
    """Say what a refused dry run means for the job."""
    text = error.message
    if error.status in (401, 404) or "cannot create resource" in text or "does not support dry run" in text:
        return []  # it could not be tried, which says nothing of the pod
    quota = _QUOTA.search(text)
    if quota is not None and not _beyond(quota["requested"], quota["limited"]):
        return [f"ResourceQuota {quota['name']} is used up at the moment: pods are made when it has room again"]
    raise SubmitError(f"The cluster would make no pod of this job: {text}", advice=_advice(text)) from error


def _beyond(requested: str, limited: str) -> bool:
    """Whether any amount of a list like ``cpu=1,memory=2Gi`` is more than its limit."""
    limits = dict(item.split("=", 1) for item in limited.split(",") if "=" in item)
    asked = dict(item.split("=", 1) for item in requested.split(",") if "=" in item)
    try:
        return any(quantity.parse(asked[key]) > quantity.parse(limits[key]) for key in asked.keys() & limits.keys())
    except ValueError:
        return False


def _advice(text: str) -> str:
    if "violates PodSecurity" in text:
        return "Take what it names out of the setting pod_config, or run in a namespace that allows it."
    if "failed quota" in text and "must specify" in text:
        return (
            "The namespace has a ResourceQuota that wants these to be said: set memory and cpus; limits by pod_config."
        )
    if "exceeded quota" in text or "LimitRange" in text or "usage per" in text:
        return "Ask for less, or have the namespace's limits raised."
    if "failed calling webhook" in text:
        return "A webhook of the cluster does not work: no pod is made before it does."
    if "priorityClassName" in text or "serviceaccount" in text.lower():
        return "The setting pod_config names something that the namespace does not have."
    return ""
