"""What the engine holds of one job that has not ended."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from jupyter_konduktor.backends.kubernetes.judging.judge import Sight
from jupyter_konduktor.backends.kubernetes.logs.carriage import Carriage, container_state
from jupyter_konduktor.backends.kubernetes.results import Known
from jupyter_konduktor.backends.kubernetes.shelf.shelf import JobShelf
from jupyter_konduktor.state import JobRecord

WORKLOADS, PODS = "workloads", "pods"


@dataclass(slots=True)
class Held:
    """One job that is followed.

    Attributes
    ----------
    uid, name : str
    jobset : dict
        As it was seen last, maybe only a table's part of it.
    shelf : JobShelf
    carriage : Carriage
    since : float
        When it was taken up, on the monotonic clock, as all times here.
    record : JobRecord or None
        The last one that was judged.
    told : JobRecord or None
        The last one that was told.
    workload, pods, events, position, closed
        What belongs to it, as far as it was seen; pods by their uid; why its queue takes no jobs.
    missing : set of str
        Kinds of objects that were not looked at yet; nothing is judged before.
    asked, whole : bool
        The whole JobSet was asked for after its end, and is there.
    gone : bool
        It was deleted.
    final_by : float or None
        Once it is final: when it is told though its log has not come to its end, and then when it is left.
    ended : bool
        Its end was told, and its JobSet is yet to say the same.
    starting_since, stuck_since : float or None
        Since when it starts, and since when it does so in vain.
    gave_up : bool
        It was cancelled because it does not start.
    events_read : bool
        Its events were read, or are being read.
    renew_at : float
        When the URLs of its store are looked at next.
    read_at : float
        When the JobSet was read by itself last, where JobSets cannot be listed.
    looked_again : set of str
        Kinds that were listed anew because nothing was heard of them.
    unmanaged : float or None
        For how many seconds it had no Workload, when that was worth a word last.
    """

    uid: str
    name: str
    jobset: dict[str, Any]
    shelf: JobShelf
    carriage: Carriage
    since: float
    record: JobRecord | None = None
    told: JobRecord | None = None
    workload: Mapping[str, Any] | None = None
    pods: dict[str, Mapping[str, Any]] = field(default_factory=dict)
    events: list[Mapping[str, Any]] = field(default_factory=list)
    position: int | None = None
    closed: str = ""
    missing: set[str] = field(default_factory=set)
    asked: bool = False
    whole: bool = False
    gone: bool = False
    final_by: float | None = None
    ended: bool = False
    starting_since: float | None = None
    stuck_since: float | None = None
    gave_up: bool = False
    events_read: bool = False
    renew_at: float = 0.0
    read_at: float = 0.0
    looked_again: set[str] = field(default_factory=set)
    unmanaged: float | None = None

    def sight(self, now: float, skew: float, owners: Known, *, sees_pods: bool) -> Sight:
        """Give what is known of it at a moment, with the seconds that the cluster's clock is ahead."""
        return Sight(
            jobset=self.jobset,
            gone=self.gone,
            workload=self.workload,
            pods=list(self.pods.values()),
            owners=owners,
            events=self.events,
            position=self.position,
            closed=self.closed,
            missing_workload=self.unmanaged if self.workload is None else None,
            cancelled=self.shelf.cancelled,
            sees_pods=sees_pods,
            now=time.time() + skew,
        )

    @property
    def terminal(self) -> bool:
        """Whether the JobSet says that it has ended."""
        return bool((self.jobset.get("status") or {}).get("terminalState"))

    def update(self, jobset: dict[str, Any]) -> None:
        """Take in what was seen of the JobSet; a table's row leaves out what was known of its spec."""
        spec = {**self.jobset.get("spec", {}), **jobset.get("spec", {})}
        self.jobset = {**jobset, "spec": spec}

    def lose(self, pod: Mapping[str, Any]) -> None:
        """Take note that a pod is there no more; one that has ended may still tell what it left."""
        self.carriage.removed(pod)
        if "terminated" in container_state(pod):
            self.pods[pod["metadata"]["uid"]] = pod
        else:
            self.pods.pop(pod["metadata"]["uid"], None)
