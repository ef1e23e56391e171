"""The setting ``pod_config``: parts of a pod, in Kubernetes' own spelling, that are merged into every job's pod.

Tables merge key by key, and a value of null takes a key away. Lists whose entries have an identity (containers,
volumes, mounts, variables) merge entry by entry, tolerations and their like are added, other lists are replaced.
What a job would not work without is refused.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from jupyter_konduktor.backends.kubernetes import words
from jupyter_konduktor.backends.kubernetes.sending.manifest import environment
from jupyter_konduktor.errors import ConfigError
from jupyter_konduktor.naming import nearest

_TEXT, _NUMBER, _FLAG, _TABLE, _LIST, _TEXTS = "a text", "a number", "true or false", "a table", "a list", "texts"
_Shape = Mapping[str, str]

_METADATA: _Shape = {"labels": _TEXTS, "annotations": _TEXTS}
_SPEC: _Shape = {
    **dict.fromkeys(("volumes", "initContainers", "containers", "imagePullSecrets", "tolerations"), _LIST),
    **dict.fromkeys(("hostAliases", "readinessGates", "topologySpreadConstraints", "schedulingGates"), _LIST),
    "resourceClaims": _LIST,
    **dict.fromkeys(("securityContext", "affinity", "dnsConfig", "overhead", "os", "resources"), _TABLE),
    **dict.fromkeys(("dnsPolicy", "serviceAccountName", "serviceAccount", "nodeName", "schedulerName"), _TEXT),
    **dict.fromkeys(("priorityClassName", "runtimeClassName", "preemptionPolicy", "restartPolicy"), _TEXT),
    **dict.fromkeys(("hostname", "subdomain", "hostnameOverride"), _TEXT),
    **dict.fromkeys(("automountServiceAccountToken", "hostNetwork", "hostPID", "hostIPC", "hostUsers"), _FLAG),
    **dict.fromkeys(("shareProcessNamespace", "enableServiceLinks", "setHostnameAsFQDN"), _FLAG),
    **dict.fromkeys(("terminationGracePeriodSeconds", "activeDeadlineSeconds", "priority"), _NUMBER),
    "nodeSelector": _TEXTS,
}
_CONTAINER: _Shape = {
    **dict.fromkeys(("command", "args", "ports", "envFrom", "env", "resizePolicy", "restartPolicyRules"), _LIST),
    **dict.fromkeys(("volumeMounts", "volumeDevices"), _LIST),
    **dict.fromkeys(("resources", "livenessProbe", "readinessProbe", "startupProbe", "lifecycle"), _TABLE),
    **dict.fromkeys(("name", "image", "workingDir", "restartPolicy", "imagePullPolicy"), _TEXT),
    **dict.fromkeys(("terminationMessagePath", "terminationMessagePolicy"), _TEXT),
    **dict.fromkeys(("stdin", "stdinOnce", "tty"), _FLAG),
    "securityContext": _TABLE,
}
_FITS: Mapping[str, Callable[[Any], bool]] = {
    _TEXT: lambda value: isinstance(value, str),
    _NUMBER: lambda value: isinstance(value, int) and not isinstance(value, bool),
    _FLAG: lambda value: isinstance(value, bool),
    _TABLE: lambda value: isinstance(value, Mapping),
    _LIST: lambda value: isinstance(value, Sequence) and not isinstance(value, str),
    _TEXTS: lambda value: isinstance(value, Mapping) and all(isinstance(item, str | None) for item in value.values()),
}

_IDENTITY = {
    **dict.fromkeys(("containers", "initContainers", "volumes", "env", "imagePullSecrets", "resourceClaims"), "name"),
    "schedulingGates": "name",
    "volumeMounts": "mountPath",
    "volumeDevices": "devicePath",
    "hostAliases": "ip",
    "ports": "containerPort",
}
_WHOLE = ("env", "volumes", "volumeMounts")  # their entries say one thing in one of several ways: no mixture of two
_ADDED = ("tolerations", "envFrom", "topologySpreadConstraints", "readinessGates")

_FIXED_SPEC = {
    "restartPolicy": "max_restarts says how often a job starts again",
    "activeDeadlineSeconds": "timeout says how long a job may run",
    "hostname": "the nodes of a job find each other by it",
    "subdomain": "the nodes of a job find each other by it",
    "hostnameOverride": "the nodes of a job find each other by it",
    "setHostnameAsFQDN": "the nodes of a job find each other by their host names",
    "schedulingGates": "nobody would take them away",
}
_FIXED_CONTAINER = {
    "image": "image is a setting of its own",
    "command": "it starts the job's own code",
    "args": "it starts the job's own code",
    "terminationMessagePath": "the result comes back through it",
    "terminationMessagePolicy": "the result comes back through it",
    "restartPolicy": "max_restarts says how often a job starts again",
    "restartPolicyRules": "max_restarts says how often a job starts again",
    "stdin": "a job has no input",
    "stdinOnce": "a job has no input",
    "tty": "the output of a job is no terminal's",
}
_FIXED_LABELS = (
    *("jobset.sigs.k8s.io/", "batch.kubernetes.io/", "trainy.ai/", "kueue.x-k8s.io/queue-name", "job-name"),
    *("controller-uid", words.PARENT[0]),
)
_FIXED_MOUNTS = (words.OUTPUT_DIR, words.RUNNER_DIR, words.PAYLOAD_DIR)


def merged(pod: Mapping[str, Any], config: Mapping[str, Any], where: str = "pod_config") -> dict[str, Any]:
    """Merge a pod_config into a pod template; neither is changed.

    Parameters
    ----------
    pod : mapping
        ``{"metadata": ..., "spec": ...}`` with our container in it.
    config : mapping
        As a person wrote it: our container is the one that has its name, or no name.
    where : str
        The setting that it is, for messages.

    Raises
    ------
    ConfigError
        For what is no part of a pod, is of the wrong kind, or would break the job.
    """
    _check(config, {"metadata": _TABLE, "spec": _TABLE}, where, "a pod")
    metadata, spec = config.get("metadata") or {}, dict(config.get("spec") or {})
    _check(metadata, _METADATA, f"{where}.metadata", "a pod's metadata that can be set")
    _check(spec, _SPEC, f"{where}.spec", "a pod")
    _check_labels(metadata, f"{where}.metadata")
    _check_fixed(spec, _FIXED_SPEC, f"{where}.spec")
    _check_grace(pod, spec, f"{where}.spec")
    for key in ("containers", "initContainers"):
        if spec.get(key):
            spec[key] = _containers(spec[key], f"{where}.spec.{key}", ours=key == "containers")
    for index, secret in enumerate(spec.get("imagePullSecrets") or ()):
        _check_named(secret, "name", f"{where}.spec.imagePullSecrets[{index}]")
    for index, volume in enumerate(spec.get("volumes") or ()):
        _check_named(volume, "name", f"{where}.spec.volumes[{index}]")
        if volume["name"] in (words.RUNNER_VOLUME, words.PAYLOAD_VOLUME, words.OUTPUT_VOLUME):
            raise ConfigError(f"{where}.spec.volumes[{index}]: the volume {volume['name']} is the job's own")
    result = _tables(pod, {"metadata": metadata, "spec": spec}, where)
    if result["spec"].get("hostNetwork"):
        # The default policy would ask the node's name server, which knows nothing of the job's other nodes.
        result["spec"].setdefault("dnsPolicy", "ClusterFirstWithHostNet")
    return result


def _containers(items: Sequence[Any], where: str, *, ours: bool) -> list[dict[str, Any]]:
    """Check containers, and give ours its name where it has none."""
    found: list[dict[str, Any]] = []
    for index, item in enumerate(items):
        place = f"{where}[{index}]"
        if not isinstance(item, Mapping):
            raise ConfigError(f"{place} must be a table")
        container = {"name": words.CONTAINER, **item} if ours else dict(item)
        _check(container, _CONTAINER, place, "a container")
        _check_named(container, "name", place)
        if any(container["name"] == other["name"] for other in found):
            raise ConfigError(f"{place}: there are two containers {container['name']}; give each a name of its own")
        if container["name"] == words.CONTAINER:
            _check_fixed(container, _FIXED_CONTAINER, place)
            _check_ours(container, place)
        elif not container.get("image"):
            raise ConfigError(
                f"{place} is named {container['name']} and has no image",
                advice=f"The job's own container is {words.CONTAINER}; any other one is a container beside it.",
            )
        for number, variable in enumerate(container.get("env") or ()):
            _check_named(variable, "name", f"{place}.env[{number}]")
            if not isinstance(variable.get("value", ""), str):
                raise ConfigError(f"{place}.env[{number}].value must be a text: put {variable['value']} in quotes")
        found.append(container)
    return found


def _check_ours(container: Mapping[str, Any], place: str) -> None:
    for number, variable in enumerate(container.get("env") or ()):
        if isinstance(variable, Mapping) and environment.is_reserved(str(variable.get("name", ""))):
            raise ConfigError(f"{place}.env[{number}]: {variable['name']} is set by the job itself")
    for number, mount in enumerate(container.get("volumeMounts") or ()):
        _check_named(mount, "mountPath", f"{place}.volumeMounts[{number}]")
        if mount["mountPath"].rstrip("/") in _FIXED_MOUNTS:
            raise ConfigError(f"{place}.volumeMounts[{number}]: {mount['mountPath']} is the job's own")


def _check(config: Any, shape: _Shape, where: str, what: str) -> None:
    if not isinstance(config, Mapping):
        raise ConfigError(f"{where} must be a table")
    for key, value in config.items():
        if key not in shape:
            meant = nearest(str(key), shape)
            known = f"; {where} has {', '.join(shape)}" if len(shape) < 4 else ""
            hint = f"; did you mean {meant}?" if meant else known
            raise ConfigError(f"{where}.{key} is no field of {what}{hint}")
        if value is not None and not _FITS[shape[key]](value):
            must = "a table of texts" if shape[key] == _TEXTS else shape[key]
            raise ConfigError(f"{where}.{key} must be {must}")


def _check_named(item: Any, key: str, where: str) -> None:
    if not isinstance(item, Mapping) or not isinstance(item.get(key), str) or not item[key]:
        raise ConfigError(f"{where} must be a table with a {key}")


def _check_fixed(config: Mapping[str, Any], fixed: Mapping[str, str], where: str) -> None:
    for key in config:
        if key in fixed:
            raise ConfigError(f"{where}.{key} cannot be set: {fixed[key]}")


def _check_labels(metadata: Mapping[str, Any], where: str) -> None:
    for kind in ("labels", "annotations"):
        for key in metadata.get(kind) or ():
            if key.startswith(_FIXED_LABELS):
                raise ConfigError(f"{where}.{kind}: {key} is set by the job itself")


def _check_grace(pod: Mapping[str, Any], spec: Mapping[str, Any], where: str) -> None:
    key = "terminationGracePeriodSeconds"
    least = pod["spec"].get(key, 0)
    if key in spec and (spec[key] is None or spec[key] < least):
        raise ConfigError(
            f"{where}.{key} must be at least {least}: the job is given its grace before its container is killed",
            advice="The setting grace is how long a job has to end.",
        )


def _tables(base: Mapping[str, Any], over: Mapping[str, Any], where: str) -> dict[str, Any]:
    result = dict(base)
    for key, value in over.items():
        place = f"{where}.{key}"
        if value is None:
            result.pop(key, None)
        elif isinstance(value, Mapping) and isinstance(result.get(key), Mapping):
            result[key] = _tables(result[key], value, place)
        elif _FITS[_LIST](value) and isinstance(result.get(key), list):
            result[key] = _lists(key, result[key], value, place)
        else:
            result[key] = _pruned(value)
    return result


def _lists(key: str, base: list[Any], over: Sequence[Any], where: str) -> list[Any]:
    if key in _ADDED:
        return [*base, *(copy.deepcopy(item) for item in over if item not in base)]
    if key not in _IDENTITY:
        return copy.deepcopy(list(over))
    identity = _IDENTITY[key]
    result = list(base)
    places = {item.get(identity): index for index, item in enumerate(base)}
    for index, item in enumerate(over):
        if not isinstance(item, Mapping) or identity not in item:
            raise ConfigError(f"{where}[{index}] must be a table with a {identity}")
        at = places.get(item[identity])
        if at is None:
            places[item[identity]] = len(result)
            result.append(_pruned(item))
        elif key in _WHOLE:
            result[at] = _pruned(item)
        else:
            result[at] = _tables(result[at], item, f"{where}[{index}]")
    return result


def _pruned(value: Any) -> Any:
    """Copy a value without the keys that are null: there is nothing they could take away."""
    if isinstance(value, Mapping):
        return {key: _pruned(item) for key, item in value.items() if item is not None}
    if _FITS[_LIST](value):
        return [_pruned(item) for item in value]
    return value
