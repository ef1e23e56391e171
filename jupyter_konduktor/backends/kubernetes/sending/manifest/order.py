"""All that a JobSet is made from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from jupyter_konduktor.backends.kubernetes.sending.manifest.identity import User
from jupyter_konduktor.task import Task


@dataclass(frozen=True, slots=True)
class Delivery:
    """How runner and payload get into the pod.

    Attributes
    ----------
    inline : mapping of str to str
        Environment variables that carry them.
    secret : str or None
        The Secret that is mounted at ``words.PAYLOAD_DIR``.
    config_map : str or None
        The ConfigMap that is mounted at ``words.RUNNER_DIR``.
    links : str or None
        The Secret that is mounted at ``words.LINKS_DIR``.
    """

    inline: Mapping[str, str] = field(default_factory=dict)
    secret: str | None = None
    config_map: str | None = None
    links: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """One job to be made.

    Attributes
    ----------
    task : Task
    name, namespace : str
        Of the JobSet.
    user : User
    image : str
    queue : str or None
        The LocalQueue; None for a job that Kueue shall not queue.
    key : str
        SHA-256 of the idempotency key.
    submitted_ns : int
        The client's time, in nanoseconds since the epoch.
    nonce : str
        Marks our lines in the job's output.
    origin : mapping
        Where it was submitted from.
    grace : float
        Seconds between telling the job to end and killing it.
    command : sequence of str
        What the container runs, literally: no word of it is expanded.
    delivery : Delivery
    accelerators, credentials, pod_config : mapping
        The settings of these names.
    shm : int or None
        Bytes that /dev/shm may hold; None for as much as the pod may have.
    store : str
        Where the job's results are kept; empty if they come with its log.
    cpus : float or None, default 1
        Cores to ask for where the task names none; None to ask for none.
    """

    task: Task
    name: str
    namespace: str
    user: User
    image: str
    queue: str | None
    key: str
    submitted_ns: int
    nonce: str
    grace: float
    command: Sequence[str]
    origin: Mapping[str, Any] = field(default_factory=dict)
    delivery: Delivery = field(default_factory=Delivery)
    accelerators: Mapping[str, Any] = field(default_factory=dict)
    credentials: Mapping[str, Any] = field(default_factory=dict)
    pod_config: Mapping[str, Any] = field(default_factory=dict)
    shm: int | None = None
    store: str = ""
    cpus: float | None = 1.0
