"""How a job loses its place: what Kueue's conditions say of evictions, now and before.

The conditions of an eviction stay when the job is let in again, with the status False.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime

from jupyter_konduktor.backends.kubernetes import words
from jupyter_konduktor.backends.kubernetes.judging.objects import (
    Object,
    changed,
    condition,
    is_true,
    label,
    latest,
    moment,
    number,
    status,
)
from jupyter_konduktor.backends.wording import one_line

_DEACTIVATED = "Deactivated"
_DUE_TO = f"{_DEACTIVATED}DueTo"
_CHECK = "AdmissionCheck"
_PREVIOUSLY = "Previously: "
_REJECTED = re.compile(r"^The workload is deactivated due to Admission check\(s\): (.*), were rejected$")
_PREEMPTED = {
    "InClusterQueue": "preempted by a job of higher priority in its queue",
    "InCohortReclamation": "preempted: another queue of the cohort has taken its own quota back",
    "InCohortFairSharing": "preempted: its queue had more than its fair share of the cohort",
    "InCohortReclaimWhileBorrowing": "preempted by a job of higher priority, for which another queue borrows",
}
_TEXTS = {
    "Preempted": "preempted by another job",
    "PodsReadyTimeout": "evicted: its pods were not ready in time",
    _CHECK: "evicted: an admission check has taken its consent back",
    "ClusterQueueStopped": "evicted: its ClusterQueue was stopped",
    "LocalQueueStopped": "evicted: its queue was stopped",
    "NodeFailures": "evicted: a node of it has failed",
    _DEACTIVATED: "its Workload was made inactive (kueuectl stop workload does that)",
    "RequeuingLimitExceeded": "its pods were not ready in time, and it was queued again as often as the cluster allows",
}


@dataclass(frozen=True, slots=True)
class Eviction:
    """One eviction.

    Attributes
    ----------
    reason : str
        Kueue's word; of a deactivation its cause.
    text : str
        A sentence.
    began : float
        When it was decided, in seconds since the epoch.
    time : float
        When the quota was given back, else when it was decided.
    holds : bool
        The quota is not given back yet.
    stops : bool
        The job is not queued again by itself.
    again : str
        When it is queued again, if that takes a while.
    """

    reason: str
    text: str
    began: float
    time: float
    holds: bool = False
    stops: bool = False
    again: str = ""


def present(workload: Object | None) -> Eviction | None:
    """Give the eviction that a Workload is in; None if it is in none."""
    if workload is None:
        return None
    found, began = condition(workload, "Evicted"), changed(condition(workload, "Evicted"))
    if found.get("status") != "True" or began is None:
        return None
    inactive = (workload.get("spec") or {}).get("active") is False
    reason = str(found.get("reason") or "Evicted")
    stops = inactive and reason.startswith(_DEACTIVATED)
    if reason.startswith(_DEACTIVATED) and not inactive:
        return None  # it was made active again, and waits as any other
    reason = reason.removeprefix(_DUE_TO)
    released = [condition(workload, kind) for kind in ("QuotaReserved", "Requeued")]
    given_back = latest(changed(item) for item in released if item.get("status") == "False")
    at = (status(workload).get("requeueState") or {}).get("requeueAt")
    return Eviction(
        reason=reason,
        text=_text(workload, reason, str(found.get("message") or "")),
        began=began,
        time=max(began, given_back or began),
        holds=is_true(workload, "QuotaReserved"),
        stops=stops,
        again=_clock(at),
    )


def last(workload: Object | None) -> Eviction:
    """Give the eviction that a Workload was in before it was admitted again."""
    evicted, requeued = condition(workload, "Evicted"), condition(workload, "Requeued")
    counts = _counts(workload)
    reason = counts[-1][0] if counts else "Evicted"
    if requeued.get("reason") in _TEXTS:
        reason = str(requeued["reason"])
    elif requeued.get("reason") == "Reactivated":
        reason = "Resumed"
    message = str(evicted.get("message") or "").removeprefix(_PREVIOUSLY)
    time = changed(requeued) or changed(evicted) or 0.0
    text = _text(workload, reason, message) if workload is not None and reason != "Resumed" else ""
    return Eviction(reason, text, time, time)


def past(workload: Object | None) -> Iterator[Eviction]:
    """Give the evictions that have ended attempts, and are over, oldest first as far as that can be known.

    How often it was evicted is counted; when, only the last one tells. One of a Workload that never had its quota has
    ended no attempt: such a Workload lacks the condition Requeued.
    """
    if workload is None or not condition(workload, "Admitted") or not condition(workload, "Requeued"):
        return
    counts = _counts(workload)
    total = sum(count for _, count in counts)
    current = present(workload)
    if current is not None and (current.stops or current.holds):
        total -= 1
    reasons = [reason for reason, count in counts for _ in range(count)][:total]
    for index, reason in enumerate(reasons, 1):
        if index == total:
            found = current if current is not None and not current.stops and not current.holds else last(workload)
            yield found
        else:
            yield Eviction("Resumed" if reason == _DEACTIVATED else reason, _TEXTS.get(reason, ""), 0.0, 0.0)


def has_stopped_a_run(workload: Object | None) -> bool:
    """Whether a Workload is held by an eviction that has taken its quota from it."""
    found = present(workload)
    # Both come with quota that was given back.
    return (
        found is not None and found.stops and bool(condition(workload, "Admitted") and condition(workload, "Requeued"))
    )


def _counts(workload: Object | None) -> list[tuple[str, int]]:
    """Give how often it was evicted, by reason, without the times it had not been let in yet."""
    stats = (status(workload).get("schedulingStats") or {}).get("evictions") or () if workload is not None else ()
    return [
        (str(item.get("reason")), number(item.get("count")))
        for item in stats
        if _CHECK not in (item.get("reason"), item.get("underlyingCause"))
    ]


def _text(workload: Object, reason: str, message: str) -> str:
    """Put an eviction into a sentence."""
    if reason == "Preempted":
        return _PREEMPTED.get(str(condition(workload, "Preempted").get("reason")), "") or _why_preempted(message)
    if reason == "MaximumExecutionTimeExceeded":
        limit = (workload.get("spec") or {}).get("maximumExecutionTimeSeconds") or label(workload, words.MAX_EXEC_TIME)
        return f"ran longer than its limit of {limit} s" if limit else "ran longer than its limit"
    rejected = _REJECTED.match(message)
    if rejected:
        return f"rejected by the admission check {rejected[1]}"
    return _TEXTS.get(reason) or one_line(message) or "evicted"


def _why_preempted(message: str) -> str:
    """Say why it was preempted, of a message that outlives the condition's reason."""
    for words_of, kind in (
        ("prioritization in the ClusterQueue", "InClusterQueue"),
        ("reclamation within the cohort while borrowing", "InCohortReclaimWhileBorrowing"),
        ("reclamation within the cohort", "InCohortReclamation"),
        ("Fair Sharing within the cohort", "InCohortFairSharing"),
    ):
        if words_of.lower() in message.lower():
            return _PREEMPTED[kind]
    return _TEXTS["Preempted"]


def _clock(text: object) -> str:
    when = moment(text) if text else None
    return datetime.fromtimestamp(when, UTC).strftime("%H:%M:%S UTC") if when is not None else ""
