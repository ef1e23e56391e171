"""The pod of each node of a job."""

from __future__ import annotations

import math
from typing import Any

from jupyter_konduktor.backends.kubernetes import quantity, words
from jupyter_konduktor.backends.kubernetes.sending.manifest import environment, pod_config, secret_files, topology
from jupyter_konduktor.backends.kubernetes.sending.manifest.accelerators import Accelerator, accelerator
from jupyter_konduktor.backends.kubernetes.sending.manifest.identity import job_labels
from jupyter_konduktor.backends.kubernetes.sending.manifest.order import Order
from jupyter_konduktor.errors import InvalidTaskError

USER_ID = 1000
GRACE_MARGIN = 3
"""Seconds the runner needs after the job's own grace: it kills what is left, and writes the envelope."""

SENDING_MARGIN = 30
"""Seconds it needs instead if the job has a store: it sends the last checkpoint, and what the job has left."""

SHM_DIR = "/dev/shm"  # noqa: S108 - a mount of the pod's own
_OWN_DIRS = ("/konduktor", SHM_DIR)


def template(order: Order) -> dict[str, Any]:
    """Make the pod template.

    What the task says comes before ``pod_config``, and that before what every pod has.
    """
    gpus = order.task.resources.gpus
    wanted = accelerator(gpus, order.accelerators) if gpus else None
    pod = pod_config.merged(_base(order, wanted), order.pod_config)
    if wanted is not None:
        pod = pod_config.merged(pod, wanted.pod_config, f"accelerators.{wanted.kind}.pod_config")
    return _with_task(pod, order, wanted)


def container_of(pod: dict[str, Any]) -> dict[str, Any]:
    """Give the job's own container of a pod or template."""
    return next(item for item in pod["spec"]["containers"] if item["name"] == words.CONTAINER)


def _base(order: Order, wanted: Accelerator | None) -> dict[str, Any]:
    labels = job_labels(order.name, order.user, order.task.resources.gpus)
    if wanted is not None and words.ACCELERATOR in labels:
        labels[words.ACCELERATOR_PROFILE] = f"{labels[words.ACCELERATOR]}-{labels[words.NUM_ACCELERATORS]}"
    volumes, mounts = _volumes(order)
    spec: dict[str, Any] = {
        "restartPolicy": "Never",
        "terminationGracePeriodSeconds": math.ceil(order.grace) + _margin(order),
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": USER_ID,
            "runAsGroup": USER_ID,
            "fsGroup": USER_ID,
            # Else every start changes the owner of each file of a mounted volume.
            "fsGroupChangePolicy": "OnRootMismatch",
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "containers": [
            {
                "name": words.CONTAINER,
                "image": order.image,
                "command": [environment.literal(word) for word in order.command],
                "env": environment.template(order),
                "resources": _default_resources(order),
                "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
                "terminationMessagePath": words.TERMINATION_LOG,
                "terminationMessagePolicy": "File",
                "volumeMounts": mounts,
            }
        ],
        "volumes": volumes,
    }
    if wanted is not None:
        spec["tolerations"] = [dict(item) for item in wanted.tolerations]
        if wanted.node_selector:
            spec["nodeSelector"] = dict(wanted.node_selector)
    return {
        # A mesh's sidecar would outlive the job, and hold its pod.
        "metadata": {"labels": labels, "annotations": {"sidecar.istio.io/inject": "false"}},
        "spec": spec,
    }


def _margin(order: Order) -> int:
    return GRACE_MARGIN if order.delivery.links is None else SENDING_MARGIN


def _volumes(order: Order) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    shm: dict[str, Any] = {"medium": "Memory"}
    if order.shm is not None:
        shm["sizeLimit"] = quantity.size(order.shm)
    volumes: list[dict[str, Any]] = [
        {"name": words.OUTPUT_VOLUME, "emptyDir": {}},
        {"name": words.WORK_VOLUME, "emptyDir": {}},
        {"name": words.SHM_VOLUME, "emptyDir": shm},
    ]
    mounts: list[dict[str, Any]] = [
        {"name": words.OUTPUT_VOLUME, "mountPath": words.OUTPUT_DIR},
        {"name": words.WORK_VOLUME, "mountPath": words.WORK_DIR},
        {"name": words.SHM_VOLUME, "mountPath": SHM_DIR},
    ]
    delivery = order.delivery
    if delivery.config_map is not None:
        volumes.append({"name": words.RUNNER_VOLUME, "configMap": {"name": delivery.config_map}})
        mounts.append({"name": words.RUNNER_VOLUME, "mountPath": words.RUNNER_DIR, "readOnly": True})
    if delivery.secret is not None:
        volumes.append({"name": words.PAYLOAD_VOLUME, "secret": {"secretName": delivery.secret}})
        mounts.append({"name": words.PAYLOAD_VOLUME, "mountPath": words.PAYLOAD_DIR, "readOnly": True})
    if delivery.links is not None:
        volumes.append({"name": words.LINKS_VOLUME, "secret": {"secretName": delivery.links}})
        mounts.append({"name": words.LINKS_VOLUME, "mountPath": words.LINKS_DIR, "readOnly": True})
    return volumes, mounts


def _default_resources(order: Order) -> dict[str, Any]:
    return {"requests": {"cpu": quantity.cores(order.cpus)}} if order.cpus is not None else {}


def _with_task(pod: dict[str, Any], order: Order, wanted: Accelerator | None) -> dict[str, Any]:
    """Put on top what the task itself says: its variables, its resources, its volumes, how its nodes lie."""
    container = dict(container_of(pod))
    container["env"] = environment.merge(container.get("env") or (), environment.of_task(order))
    container["resources"] = _resources(container.get("resources") or {}, order, wanted)
    claims, claimed = _claims(order)
    kept, shown = secret_files.volumes(secret_files.split(order.task.secrets)[1], order.credentials)
    claims, claimed = claims + kept, claimed + shown
    paths = {mount["mountPath"] for mount in claimed}
    mounts = [mount for mount in container.get("volumeMounts") or () if mount["mountPath"] not in paths]
    container["volumeMounts"] = mounts + claimed
    containers = [container if item["name"] == words.CONTAINER else item for item in pod["spec"]["containers"]]
    used = {mount["name"] for item in containers for mount in item.get("volumeMounts") or ()}
    volumes = [
        volume
        for volume in pod["spec"].get("volumes") or ()
        # A pod_config that mounts something else at /dev/shm leaves ours without a use.
        if volume["name"] != words.SHM_VOLUME or volume["name"] in used
    ]
    annotations = topology.on_pods(pod["metadata"].get("annotations") or {}, order.task)
    metadata = {**pod["metadata"], "annotations": annotations}
    return {"metadata": metadata, "spec": {**pod["spec"], "containers": containers, "volumes": volumes + claims}}


def _resources(given: dict[str, Any], order: Order, wanted: Accelerator | None) -> dict[str, Any]:
    asked = order.task.resources
    requests, limits = dict(given.get("requests") or {}), dict(given.get("limits") or {})
    if asked.cpus is not None:
        requests["cpu"] = quantity.cores(asked.cpus)
    if asked.memory is not None:
        requests["memory"] = limits["memory"] = quantity.size(asked.memory)
    if asked.gpus is not None and wanted is not None:
        requests[wanted.resource] = limits[wanted.resource] = str(asked.gpus.count)
    found = {**given, "requests": requests, "limits": limits}
    return {key: value for key, value in found.items() if value}


def _claims(order: Order) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    volumes: list[dict[str, Any]] = []
    mounts: list[dict[str, Any]] = []
    for index, (claim, path) in enumerate(order.task.volumes.items()):
        place = "/" + path.strip("/")
        if place == "/" or any(place == own or place.startswith(own + "/") for own in _OWN_DIRS):
            raise InvalidTaskError(
                f"volumes: {claim}:{path} is not allowed; {place} is the job's own",
                advice=f"Mount it elsewhere, as in {claim}:/data.",
                field="volumes",
                value=f"{claim}:{path}",
            )
        if any(mount["mountPath"] == place for mount in mounts):
            raise InvalidTaskError(
                f"volumes: two claims are mounted at {place}", field="volumes", value=f"{claim}:{path}"
            )
        name = f"volume-{index}"
        volumes.append({"name": name, "persistentVolumeClaim": {"claimName": claim}})
        mounts.append({"name": name, "mountPath": place})
    return volumes, mounts
