"""The JobSet of a job: one Job whose pods are its nodes."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

from jupyter_konduktor.backends.kubernetes import words
from jupyter_konduktor.backends.kubernetes.sending.manifest import pod, topology
from jupyter_konduktor.backends.kubernetes.sending.manifest.environment import check_length
from jupyter_konduktor.backends.kubernetes.sending.manifest.identity import (
    check_annotations,
    check_label,
    check_name,
    job_labels,
)
from jupyter_konduktor.backends.kubernetes.sending.manifest.order import Order

KEEP = 86_400
"""Seconds that a finished JobSet stays, and with it its log and its result for whoever has not read them yet."""


LOSSES = 3
"""How often the pod of a map's worker is made again if it was killed, as for want of memory."""

KILLED = (128 + 9, 128 + 15)


def build(order: Order) -> dict[str, Any]:
    """Make the JobSet of a job, as the API takes it.

    Raises
    ------
    InvalidTaskError
        Names the field that Kubernetes would not take, and its limit.
    ConfigError
        For ``pod_config`` or ``accelerators``.
    """
    check_name(order.name, order.task.resources.nodes)
    for word in order.command:
        check_length("command", f"a word that begins with {word[:20]!r}", word)
    return {
        "apiVersion": f"{words.JOBSET_GROUP}/{words.JOBSET_VERSION}",
        "kind": "JobSet",
        "metadata": {
            "name": order.name,
            "namespace": order.namespace,
            "labels": _labels(order),
            "annotations": _annotations(order),
        },
        "spec": _spec(order),
    }


def template_of(jobset: Mapping[str, Any]) -> dict[str, Any]:
    """Give the pod template of a JobSet that `build` has made."""
    (replicated,) = jobset["spec"]["replicatedJobs"]
    template: dict[str, Any] = replicated["template"]["spec"]["template"]
    return template


def _labels(order: Order) -> dict[str, str]:
    task = order.task
    labels = job_labels(order.name, order.user, task.resources.gpus)
    if words.ACCELERATOR in labels:
        check_label("gpus", labels[words.ACCELERATOR])
    if order.queue is not None:
        labels[words.QUEUE_NAME] = check_label("queue", order.queue)
        if task.priority is not None:
            labels[words.PRIORITY_CLASS] = check_label("priority", task.priority)
        if task.timeout is not None:
            labels[words.MAX_EXEC_TIME] = str(math.ceil(task.timeout))
    return labels


def _annotations(order: Order) -> dict[str, str]:
    annotations = {
        words.TASK: _json({**order.task.to_json(), "nonce": order.nonce, **_store(order)}),
        words.ORIGIN: _json(order.origin),
        words.KEY: order.key,
        words.SUBMITTED: str(order.submitted_ns),
        **topology.of_jobset(order.task),
    }
    largest = max(("env", order.task.env), ("command", order.task.command or ()), key=lambda pair: len(str(pair[1])))
    check_annotations(annotations, {words.TASK: largest[0], words.ORIGIN: "origin"})
    return annotations


def _store(order: Order) -> dict[str, str]:
    return {"store": order.store} if order.store else {}


def _spec(order: Order) -> dict[str, Any]:
    nodes = order.task.resources.nodes
    spec: dict[str, Any] = {
        # Kueue's webhook suspends what it queues; where it is not there, nothing may run past the queue.
        "suspend": order.queue is not None,
        "ttlSecondsAfterFinished": KEEP,
        # JobSet's controller crashes without these two where its own webhook, which fills them in, is not there.
        "network": {
            "enableDNSHostnames": nodes > 1,
            "subdomain": order.name,
            "publishNotReadyAddresses": True,
        },
        "successPolicy": {"operator": "All"},
        "replicatedJobs": [
            {"name": words.REPLICATED_JOB_NAME, "replicas": 1, "template": {"spec": _job(order)}},
        ],
    }
    if failures := _failure_policy(order):
        spec["failurePolicy"] = failures
    return spec


def _job(order: Order) -> dict[str, Any]:
    nodes = order.task.resources.nodes
    if order.task.kind == "map":
        return _map(order)
    # One pod that was evicted with its node is made again by itself. Of several, the others would wait for it without
    # end: they all start anew.
    action = "Ignore" if nodes == 1 else "FailJob"
    job: dict[str, Any] = {
        "parallelism": nodes,
        "completions": nodes,
        "completionMode": "Indexed",
        "backoffLimit": 0,
        "podFailurePolicy": {
            "rules": [{"action": action, "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]}]
        },
        "template": pod.template(order),
    }
    return {**job, **_deadline(order)}


def _map(order: Order) -> dict[str, Any]:
    """Make the Job of a map: workers that can do without each other, but for the first, which gives out the items.

    A worker ends well if its items fail, so what fails is a pod. It is made again, a few times if it was not evicted.
    The Job has succeeded when the first worker has, and ends the others: one that comes late finds nothing to do.
    """
    disrupted = {"onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]}
    # What the runner itself ends with is the same for all workers, and the next time: a payload that cannot be loaded,
    # a setup command that fails. A killed one may be an item's fault.
    by_itself = {"containerName": words.CONTAINER, "operator": "NotIn", "values": [*KILLED]}
    return {
        "parallelism": order.task.resources.nodes,
        "completions": order.task.resources.nodes,
        "completionMode": "Indexed",
        "backoffLimitPerIndex": LOSSES,
        "podFailurePolicy": {
            "rules": [{"action": "Ignore", **disrupted}, {"action": "FailJob", "onExitCodes": by_itself}]
        },
        "successPolicy": {"rules": [{"succeededIndexes": "0"}]},
        "template": pod.template(order),
        **_deadline(order),
    }


def _deadline(order: Order) -> dict[str, Any]:
    """Limit the time of a job that no queue limits."""
    if order.queue is not None or order.task.timeout is None:
        return {}
    return {"activeDeadlineSeconds": math.ceil(order.task.timeout)}


def _failure_policy(order: Order) -> dict[str, Any]:
    """Say what follows on a failure; nothing where the first one is the end, which is then named as such."""
    rules: list[dict[str, Any]] = []
    if order.queue is None and order.task.timeout is not None:
        rules.append({"name": "outOfTime", "action": "FailJobSet", "onJobFailureReasons": ["DeadlineExceeded"]})
    if order.task.resources.nodes > 1 and order.task.kind != "map":
        rules.append(
            {
                "name": "nodeDisrupted",
                "action": "RestartJobSetAndIgnoreMaxRestarts",
                "onJobFailureReasons": ["PodFailurePolicy"],
            }
        )
    if not rules and not order.task.max_restarts:
        return {}
    policy: dict[str, Any] = {"maxRestarts": order.task.max_restarts}
    return {**policy, "rules": rules} if rules else policy


def _json(value: Mapping[str, Any]) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))
