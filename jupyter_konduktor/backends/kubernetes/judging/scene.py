"""What can be seen of a job at one moment, and which of it is of the present attempt."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field

from jupyter_konduktor.backends.kubernetes import words
from jupyter_konduktor.backends.kubernetes.judging import about
from jupyter_konduktor.backends.kubernetes.judging.eviction import Eviction, present
from jupyter_konduktor.backends.kubernetes.judging.history import Life
from jupyter_konduktor.backends.kubernetes.judging.nodes import Node, nodes
from jupyter_konduktor.backends.kubernetes.judging.objects import (
    Object,
    changed,
    condition,
    label,
    latest,
    number,
    status,
)
from jupyter_konduktor.backends.kubernetes.results import Known
from jupyter_konduktor.state import JobState

_REJECTED = re.compile(r"(\S+) \(Rejected\): ([^;]+)")


@dataclass(frozen=True, slots=True)
class Sight:
    """What was seen of one job at one moment.

    Attributes
    ----------
    jobset : mapping or None
        As a whole, or the part of it that a table tells; None if nothing of it was ever seen.
    workload : mapping or None
    pods : sequence of mapping
        Candidates: only those count that are the JobSet's own.
    events : sequence of mapping
        Warnings about its Jobs and pods.
    position : int or None
        Jobs ahead of it in its queue.
    closed : str
        Why its queue takes no jobs, empty if it does.
    missing_workload : float or None
        Seconds in which no Workload has appeared, if those are too many.
    gone : bool
        The JobSet was deleted; ``jobset`` is the last that was seen of it.
    cancelled : bool
        It was cancelled from this machine.
    sees_pods : bool
        There are no other pods than these: this user may see them, and nothing is in the way.
    owners : mapping of str to str or None
        Whose the pods' Jobs are.
    now : float or None
        The cluster's time, in seconds since the epoch, where it is known.
    """

    jobset: Object | None
    workload: Object | None
    pods: Sequence[Object]
    events: Sequence[Object] = ()
    position: int | None = None
    closed: str = ""
    missing_workload: float | None = None
    gone: bool = False
    cancelled: bool = False
    sees_pods: bool = True
    owners: Known = field(default_factory=dict)
    now: float | None = None


class Scene:
    """A sight, looked at from where the job's life had come to.

    Parameters
    ----------
    sight : Sight
    jobset : mapping
        The sight's own.
    life : Life
        Is continued by others meanwhile.
    """

    def __init__(self, sight: Sight, jobset: Object, life: Life) -> None:
        self.sight = sight
        self.jobset = jobset
        self.workload = sight.workload
        self.life = life
        self.pods = nodes(jobset, sight.pods, sight.owners)

    def restarted(self) -> int:
        """Count JobSet's restarts, as far as anything seen tells of them."""
        return max([number(status(self.jobset).get("restarts")), *(node.restart for node in self.pods)])

    # --- which pods are of the present attempt

    def latest(self) -> list[Node]:
        """Give the pods since the last restart."""
        return [node for node in self.pods if node.restart >= self.life.restarts]

    def current(self) -> list[Node]:
        """Give the pods of the present attempt; those of one that has lost its place are of the past."""
        pods, queued = self.latest(), self.life.since(JobState.QUEUED)
        if not self.life.attempt or queued is None:
            return pods
        admitted = self.admitted_at()
        if admitted is not None and admitted >= int(queued):
            return [node for node in pods if node.created >= int(admitted)]
        return [node for node in pods if node.created > queued]

    def alive(self) -> bool:
        """Whether anything may still run; what is on a lost node is beyond knowing."""
        return any(node.live and not node.unreachable for node in self.pods)

    # --- what its Workload and JobSet say

    def is_admitted(self) -> bool:
        """Whether the Workload is admitted now, and not only was before the job lost its place."""
        admitted, queued = self.admitted_at(), self.life.since(JobState.QUEUED)
        return admitted is not None and (queued is None or admitted >= int(queued))

    def admitted_at(self) -> float | None:
        """Give when its Workload was admitted; None if it is not admitted now."""
        found = condition(self.workload, "Admitted")
        return changed(found) if found.get("status") == "True" else None

    def readmitted(self) -> bool:
        """Whether the job has lost its place and got one again since the present attempt was let in."""
        since, admitted = self.life.since(JobState.STARTING), self.admitted_at()
        evicted = condition(self.workload, "Evicted")
        if since is None or admitted is None or evicted.get("status") != "False":
            return False
        return admitted > int(since) and (changed(evicted) or 0) >= int(since)

    def is_old(self, found: Eviction) -> bool:
        """Whether an eviction is one before the present attempt was let in, or queued."""
        since = self.life.since(JobState.STARTING) or self.life.since(JobState.QUEUED)
        return since is not None and found.began < int(since)

    def suspended(self) -> bool:
        """Whether the JobSet is suspended, as it is while it waits."""
        return bool((self.jobset.get("spec") or {}).get("suspend"))

    def suspended_at(self) -> float | None:
        """Give when the JobSet was suspended, as near as that is known."""
        found = condition(self.jobset, "Suspended")
        return changed(found) if found.get("status") == "True" else self.sight.now

    def resumed_at(self) -> float | None:
        """Give when the JobSet was last told to run; None if it is not to."""
        found = condition(self.jobset, "Suspended")
        return changed(found) if found.get("status") == "False" else None

    def is_losing_its_place(self) -> bool:
        """Whether Kueue has decided to end what runs: the JobSet and its pods hear of it later."""
        if self.workload is None:
            return False
        found = present(self.workload)
        inactive = (self.workload.get("spec") or {}).get("active") is False
        return inactive or (found is not None and not self.is_old(found))

    def is_held_unseen(self) -> bool:
        """Whether someone holds it, where its Workload cannot be seen to say so."""
        return self.workload is None and bool(self.stopped_by()) and self.suspended() and not self.alive()

    def runs_elsewhere(self) -> bool:
        """Whether it runs on another cluster, which shows its JobSet's counts and nothing else."""
        if (self.jobset.get("spec") or {}).get("managedBy") != words.MULTIKUEUE:
            return False
        counts = status(self.jobset).get("replicatedJobsStatus") or ()
        return any(number(item.get("ready")) or number(item.get("active")) for item in counts)

    # --- who has ended it

    def cancelled_by(self) -> str:
        """Give the label of who has cancelled it; empty if nobody has."""
        by = label(self.jobset, words.CANCELLED_BY)
        return by or (label(self.jobset, words.USER_ID) if self.sight.cancelled else "")

    def cancelled_text(self) -> str:
        """Say who has cancelled it, or why that was if no person did."""
        because = label(self.jobset, words.CANCELLED_BECAUSE)
        if because:
            return f"cancelled as {because}"
        return f"cancelled by {about.person(self.jobset, self.cancelled_by()) or 'you'}"

    def deletion(self) -> float | None:
        """Give when it was deleted: no object tells the time in which a JobSet went."""
        return latest((self.sight.now, *(node.ended for node in self.pods)))

    def stopped_by(self) -> str:
        """Give the name of who has stopped it; empty if nobody has."""
        by = label(self.jobset, words.STOPPED_BY)
        return about.person(self.jobset, by) if by else label(self.jobset, words.STOP_USERNAME)

    def stopped_text(self) -> str:
        """Say who has stopped it."""
        return f"stopped by {self.stopped_by()}"

    def stop_text(self, found: Eviction) -> str:
        """Say why a job was stopped."""
        rejected = _REJECTED.search(self.life.last.message)
        if found.reason == "AdmissionCheck" and rejected:  # the check itself says nothing any more
            return f"rejected by the admission check {rejected[1]}: {rejected[2]}"
        return self.stopped_text() if found.reason == "Deactivated" and self.stopped_by() else found.text
