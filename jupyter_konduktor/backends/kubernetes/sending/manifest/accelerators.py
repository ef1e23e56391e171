"""What a kind of GPU is called on this cluster: the setting ``accelerators``.

A kind alone selects nothing: its resource key, and the labels and taints of its nodes, differ between clusters.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from jupyter_konduktor.backends.kubernetes import words
from jupyter_konduktor.errors import ConfigError
from jupyter_konduktor.naming import nearest
from jupyter_konduktor.resources import Gpus

NVIDIA = "nvidia.com/gpu"
AMD = "amd.com/gpu"
GPU_KEYS = (NVIDIA, AMD)

_AMD_KINDS = ("MI300X", "MI355X")
_FIELDS: Mapping[str, tuple[type, str]] = {
    "resource": (str, "text"),
    "nodeSelector": (dict, "table"),
    "tolerations": (list, "list"),
    "pod_config": (dict, "table"),
}


@dataclass(frozen=True, slots=True)
class Accelerator:
    """How GPUs are asked for.

    Attributes
    ----------
    kind : str
        Empty for any.
    resource : str
        The key they are counted under.
    node_selector : mapping of str to str
    tolerations : sequence of mapping
    pod_config : mapping
        What else pods with this kind get, as the setting ``pod_config`` is written (RDMA devices, say).
    mapped : bool
        The settings have an entry for this kind.
    """

    kind: str
    resource: str
    node_selector: Mapping[str, str] = field(default_factory=dict)
    tolerations: Sequence[Mapping[str, Any]] = ()
    pod_config: Mapping[str, Any] = field(default_factory=dict)
    mapped: bool = False


def accelerator(gpus: Gpus, settings: Mapping[str, Any]) -> Accelerator:
    """Find how these GPUs are asked for.

    Raises
    ------
    ConfigError
        For an entry that is not as it must be.
    """
    kind = gpus.kind or ""
    name = next((key for key in settings if key.lower() == kind.lower()), None) if kind else None
    entry = settings[name] if name is not None else {}
    where = f"accelerators.{name}"
    if not isinstance(entry, Mapping):
        raise ConfigError(f"{where} must be a table with {', '.join(_FIELDS)}")
    for key, value in entry.items():
        if key not in _FIELDS:
            meant = nearest(str(key), _FIELDS)
            hint = f"did you mean {meant}?" if meant else f"allowed are {', '.join(_FIELDS)}"
            raise ConfigError(f"{where}.{key} is not a setting; {hint}")
        kind_of_value, word = _FIELDS[key]
        if not isinstance(value, kind_of_value):
            raise ConfigError(f"{where}.{key} must be a {word}")
    selector = entry.get("nodeSelector", {})
    if not all(isinstance(value, str) for value in selector.values()):
        raise ConfigError(f"{where}.nodeSelector must have texts as values")
    if not all(isinstance(item, Mapping) for item in entry.get("tolerations", ())):
        raise ConfigError(f"{where}.tolerations must be a list of tables")
    resource = entry.get("resource", AMD if kind in _AMD_KINDS else NVIDIA)
    profile = f"{kind}-{gpus.count}"
    tolerations: list[Mapping[str, Any]] = [{"key": resource, "operator": "Exists"}]
    if kind:
        tolerations.append({"key": words.ACCELERATOR_PROFILE, "operator": "Equal", "value": profile})
    tolerations += [item for item in entry.get("tolerations", ()) if item not in tolerations]
    return Accelerator(kind, resource, dict(selector), tolerations, entry.get("pod_config", {}), name is not None)
