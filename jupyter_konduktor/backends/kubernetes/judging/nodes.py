"""The pods of a job as nodes of it: which attempt each belongs to, and what its own container does."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from jupyter_konduktor.backends.kubernetes import results, words
from jupyter_konduktor.backends.kubernetes.judging.objects import (
    Object,
    condition,
    is_true,
    label,
    moment,
    number,
    status,
)

_KILLED = (128 + 9, 128 + 15)  # by SIGKILL and SIGTERM, with which pods are ended


@dataclass(frozen=True, slots=True)
class Node:
    """One pod of a job.

    Attributes
    ----------
    pod : mapping
    restart : int
        How often JobSet had restarted the job when it was made.
    index : int
        The rank of the node.
    speaks : bool
        It is worker 0 of the first replicated job.
    created : float
        In seconds since the epoch, as all times here.
    waiting : mapping
        Why the container waits; empty if it does not.
    running : bool
    terminated : mapping
        How the container ended; empty if it has not.
    started, ended : float or None
        Of the container.
    """

    pod: Object
    restart: int
    index: int
    speaks: bool
    created: float
    waiting: Object
    running: bool
    terminated: Object
    started: float | None
    ended: float | None

    @property
    def name(self) -> str:
        """The name of the pod."""
        return str(self.pod["metadata"]["name"])

    @property
    def disrupted(self) -> bool:
        """Whether something other than the job itself ends the pod."""
        return results.is_disrupted(self.pod) or bool(status(self.pod).get("reason"))

    @property
    def live(self) -> bool:
        """Whether its processes may still run."""
        return not self.terminated and status(self.pod).get("phase") not in ("Succeeded", "Failed")

    @property
    def code(self) -> int | None:
        """The exit code of the container; None if it has not ended."""
        return number(self.terminated.get("exitCode")) if self.terminated else None

    @property
    def killed(self) -> bool:
        """Whether the container was killed from outside, as far as its end tells."""
        return self.code in _KILLED and self.terminated.get("reason") != "OOMKilled"

    @property
    def unreachable(self) -> bool:
        """Whether the node has gone silent: others have marked the pod, and its own kubelet knows nothing of it."""
        ready = condition(self.pod, "Ready")
        if ready.get("status") == "Unknown" or "NodeLost" in (ready.get("reason"), status(self.pod).get("reason")):
            return True
        lost = condition(self.pod, "DisruptionTarget").get("reason") == "DeletionByTaintManager"
        held = self.running and ready.get("status") == "False" and is_true(self.pod, "ContainersReady")
        return self.live and (held or (lost and is_true(self.pod, "DisruptionTarget")))


def nodes(jobset: Object, pods: Sequence[Object], owners: results.Known) -> list[Node]:
    """Give the pods that are a JobSet's own, as far as it is known whose their Jobs are, oldest first."""
    found = [_node(jobset, pod) for pod in pods if results.is_own(jobset, pod, owners)]
    return sorted(found, key=lambda node: (node.created, node.name))


def _node(jobset: Object, pod: Object) -> Node:
    own: dict[str, Any] = next(
        (item for item in status(pod).get("containerStatuses") or () if item.get("name") == words.CONTAINER), {}
    )
    state = own.get("state") or {}
    ended, running = state.get("terminated") or {}, state.get("running") or {}
    index = number(label(pod, words.COMPLETION_INDEX, "0"))
    groups = (jobset.get("spec") or {}).get("replicatedJobs") or ()
    first = str(groups[0].get("name")) if groups else words.REPLICATED_JOB_NAME
    return Node(
        pod=pod,
        restart=number(label(pod, words.RESTART_ATTEMPT, "0")),
        index=index,
        speaks=index == 0 and label(pod, words.JOB_INDEX, "0") == "0" and label(pod, words.REPLICATED_JOB) == first,
        created=moment(pod["metadata"].get("creationTimestamp")) or 0.0,
        waiting=state.get("waiting") or {},
        running=bool(running),
        terminated=ended,
        started=moment((running or ended).get("startedAt")),
        ended=moment(ended.get("finishedAt")),
    )
