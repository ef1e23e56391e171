"""The environment of a job: Konduktor's contract, what pod_config adds, what the task adds."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from jupyter_konduktor.backends.kubernetes import words
from jupyter_konduktor.backends.kubernetes.sending.manifest import secret_files
from jupyter_konduktor.backends.kubernetes.sending.manifest.order import Order
from jupyter_konduktor.errors import InvalidTaskError

MASTER_PORT = 29500  # what torch takes by default
LOOPBACK = "127.0.0.1"
MAX_HOSTS = 64 * 1024
"""Bytes of all host names beyond which they are left out: Linux starts no program with a variable of 128 KiB."""

_MAX_WORD = 128 * 1024  # Linux, MAX_ARG_STRLEN: for a variable or an argument, with the final NUL
_RESERVED = ("JOB_COMPLETION_INDEX", "RANK", "RESTART_ATTEMPT")
_RESERVED_PREFIX = "KONDUKTOR_"
_CHECKPOINTS = "KONDUKTOR_CHECKPOINT_DIR"  # whoever runs the cluster may point it at a volume that all jobs have

Variable = dict[str, Any]
"""One entry of a container's ``env``."""


def host(name: str, node: int) -> str:
    """Give the name under which the nodes of a job find one of them."""
    return f"{name}-{words.REPLICATED_JOB_NAME}-0-{node}.{name}"


def hosts(name: str, nodes: int) -> list[str]:
    """Give the host names of all nodes by rank; none where they are too many for an environment variable."""
    if nodes == 1:
        return [LOOPBACK]
    if (len(host(name, nodes - 1)) + 1) * nodes > MAX_HOSTS:
        return []
    return [host(name, node) for node in range(nodes)]


def template(order: Order) -> list[Variable]:
    """Give the variables that every job has."""
    nodes, gpus = order.task.resources.nodes, order.task.resources.gpus
    if order.task.kind == "map":
        nodes = 1  # its workers are no group, as torch would take them for
    rank = f"metadata.annotations['{words.COMPLETION_INDEX}']"
    all_hosts = hosts(order.name, nodes)
    per_node = str(gpus.count if gpus else 0)
    plain = {
        "KONDUKTOR_JOB_NAME": order.name,
        "KONDUKTOR_NAMESPACE": order.namespace,
        "KONDUKTOR_OUTPUT_DIR": words.OUTPUT_DIR,
        "KONDUKTOR_ACCELERATOR_TYPE": (gpus.kind or "") if gpus else "",
        "MASTER_ADDR": LOOPBACK if nodes == 1 else host(order.name, 0),
        "MASTER_PORT": str(MASTER_PORT),
        "NUM_NODES": str(nodes),
        "NUM_GPUS_PER_NODE": per_node,
        "SKYPILOT_NUM_NODES": str(nodes),
        "SKYPILOT_NUM_GPUS_PER_NODE": per_node,
        "PET_NNODES": str(nodes),
        "PET_NPROC_PER_NODE": str(gpus.count if gpus else 1),
        "PET_MASTER_ADDR": LOOPBACK if nodes == 1 else host(order.name, 0),
        "PET_MASTER_PORT": str(MASTER_PORT),
        "PLUTO_RUN_ID": order.name,
        "PYTHONUNBUFFERED": "0",  # Konduktor's own spelling; any text at all means unbuffered
        # An image's own home may not be there for the user that the pod runs as, or be read-only.
        "HOME": words.WORK_DIR,
        "TMPDIR": words.WORK_DIR,
        "USER": order.user.name,
        "LOGNAME": order.user.name,
    }
    ranks = ("RANK", "PET_NODE_RANK", "SKYPILOT_NODE_RANK")
    if order.task.kind == "map":
        plain |= dict.fromkeys(ranks, "0")
    if nodes > 1:
        # With RANK it is what torch.distributed takes where one process runs on each node; alone, a job is no group.
        plain["WORLD_SIZE"] = str(nodes)
    if all_hosts:
        plain |= {"NODE_HOST_IPS": ",".join(all_hosts), "SKYPILOT_NODE_IPS": "\n".join(all_hosts)}
    fields = {
        "KONDUKTOR_NODENAME": "spec.nodeName",
        "LOCAL_ADDR": "status.podIP",
        **dict.fromkeys(() if order.task.kind == "map" else ranks, rank),
        "RESTART_ATTEMPT": f"metadata.labels['{words.RESTART_ATTEMPT}']",
    }
    of_pod = [{"name": name, "valueFrom": {"fieldRef": {"fieldPath": path}}} for name, path in fields.items()]
    return [*_literal(plain), *of_pod]


def of_task(order: Order) -> list[Variable]:
    """Give the variables that the task sets, its secrets, and those that carry runner and payload.

    Raises
    ------
    InvalidTaskError
        For a name that is the job's own, a secret without its place, a value that is too long.
    """
    task = order.task
    for name, value in task.env.items():
        check_reserved(name, "env")
        check_length("env", name, f"{name}={value}")
    secrets = []
    for name, target in secret_files.split(task.secrets)[0].items():
        check_reserved(name, "secrets")
        if name in task.env:
            raise InvalidTaskError(f"secrets: {name} is in env as well", field="secrets", value=name)
        if not target:
            raise InvalidTaskError(
                f"secrets: {name} needs the Secret it is read from",
                advice=f"On a cluster write {name}=secret/key: the name of the Secret and the key in it.",
                field="secrets",
                value=name,
            )
        secret, _, key = target.partition("/")
        secrets.append({"name": name, "valueFrom": {"secretKeyRef": {"name": secret, "key": key}}})
    return [*_literal(task.env), *secrets, *_literal(order.delivery.inline)]


def merge(*layers: Iterable[Variable]) -> list[Variable]:
    """Put layers over each other; of one name the last wins, at the place of the first."""
    found: dict[str, Variable] = {}
    for layer in layers:
        found.update((variable["name"], variable) for variable in layer)
    return list(found.values())


def is_reserved(name: str) -> bool:
    """Whether a job cannot work if someone else sets this variable."""
    return name in _RESERVED or (name.startswith(_RESERVED_PREFIX) and name != _CHECKPOINTS)


def check_reserved(name: str, field: str) -> None:
    """Refuse a variable of the job's own."""
    if is_reserved(name):
        raise InvalidTaskError(
            f"{field}: {name} is set by the job itself, and is another one on each node or attempt",
            advice="Choose another name.",
            field=field,
            value=name,
        )


def check_length(field: str, name: str, text: str) -> None:
    """Refuse a variable or an argument with which Linux would start no program."""
    size = len(text.encode()) + 1
    if size > _MAX_WORD:
        raise InvalidTaskError(
            f"{field}: {name} has {size:,} bytes; Linux allows {_MAX_WORD:,}",
            advice="Send it as data: in a variable of the cell, or in a file on a volume.",
            field=field,
            value=name,
        )


def literal(text: str) -> str:
    """Write a text so that Kubernetes, which expands ``$(NAME)`` and ``$$``, gives back this very text."""
    return text.replace("$", "$$")


def _literal(values: Mapping[str, str]) -> list[Variable]:
    return [{"name": name, "value": literal(value)} for name, value in values.items()]
