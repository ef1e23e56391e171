"""Where a job stands, from what the cluster shows of it; pure, and the same whenever one looks for the first time.

What is shown may be old in part: a JobSet, its Workload and its pods arrive one by one. So nothing is taken for granted
that only one of them says of another; times tell which is newer, and a state once reached is left only for a reason
that came after it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from jupyter_konduktor.backends.kubernetes.judging import about, eviction
from jupyter_konduktor.backends.kubernetes.judging.ends import (
    End,
    disruption,
    early,
    is_terminal,
    limits,
    of_attempt,
    told,
)
from jupyter_konduktor.backends.kubernetes.judging.history import Life
from jupyter_konduktor.backends.kubernetes.judging.items import by_items
from jupyter_konduktor.backends.kubernetes.judging.nodes import Node
from jupyter_konduktor.backends.kubernetes.judging.objects import (
    Object,
    changed,
    condition,
    earliest,
    latest,
    number,
    version,
)
from jupyter_konduktor.backends.kubernetes.judging.saying import said
from jupyter_konduktor.backends.kubernetes.judging.scene import Scene, Sight
from jupyter_konduktor.state import JobRecord, JobState
from jupyter_konduktor.task import Task

__all__ = ["Sight", "deleted", "judge", "noted"]


def judge(sight: Sight, held: JobRecord | None, *, submitted: bool = False) -> JobRecord | None:
    """Say where a job stands; None if it was deleted by someone else before it had ended.

    Parameters
    ----------
    sight : Sight
    held : JobRecord or None
        The job as it was known before. Its history is continued, and a final state stays.
    submitted : bool
        Whether this user submitted it from this machine.
    """
    if sight.jobset is None:
        return held if held is not None and held.state.final else None
    known = held if held is not None else about.first_record(sight.jobset, sight.workload)
    known = replace(known, recorded=known.recorded or submitted)
    if known.state.final:
        return _completed(known, sight)
    if known.history and sight.jobset["metadata"].get("uid") != known.uid:
        return None  # another job has its name now
    return _Judgement(sight, sight.jobset, held, known).record()


def deleted(record: JobRecord, *, cancelled: bool = False) -> JobRecord:
    """Give the last record of a job that was deleted before it had ended.

    Parameters
    ----------
    record : JobRecord
    cancelled : bool, default False
        Whether it was cancelled from this machine; else it was someone else.
    """
    life = Life(record, record.created)
    reason, message = ("CancelledByUser", "cancelled by you") if cancelled else ("Deleted", _DELETED)
    life.enter(JobState.CANCELLED, None, reason, message)
    return _with(record, life, version=record.version + 1)


def noted(record: JobRecord, text: str) -> JobRecord:
    """Give the record of a job that has ended with something more to say of its end."""
    life = Life(record, record.created)
    life.say(record.reason, f"{record.message}; {text}" if record.message else text)
    return _with(record, life, version=record.version + 1)


_DELETED = "deleted by someone else before it had ended"


class _Judgement:
    """One look at one job, and what follows from it."""

    def __init__(self, sight: Sight, jobset: Object, held: JobRecord | None, known: JobRecord) -> None:
        self.held = held
        self.known = known
        self.life = Life(held, known.created)
        self.scene = Scene(sight, jobset, self.life)
        self.end: End | None = None

    def record(self) -> JobRecord | None:
        """Bring the history up to date, and make the record of it."""
        self._restarts()
        if self.held is None:
            self._catch_up()
        self._evictions()
        self._replacement()
        self._progress()
        if self.scene.sight.gone and not self.life.state.final:
            if not self.scene.cancelled_by():
                return None
            self.life.enter(JobState.CANCELLED, self.scene.deletion(), "CancelledByUser", self.scene.cancelled_text())
        if not self.life.state.final:
            self.life.say(*said(self.scene))
        return self._made()

    # --- what has happened

    def _catch_up(self) -> None:
        """Fill in the attempts that had lost their place before anyone looked."""
        for found in eviction.past(self.scene.workload):
            self.life.run(None)
            self.life.queue(found.time, found.reason, found.text)
        if eviction.has_stopped_a_run(self.scene.workload):
            self.life.run(_started(self.scene.current()), admitted=self.scene.resumed_at())

    def _restarts(self) -> None:
        """Take note of every restart, whether or not anything of the attempts before was seen."""
        if self.life.state is JobState.STOPPED or (self.life.attempt and not self.life.begun):
            return  # they belong to the attempt before: a job that waits is not let in by that
        while self.life.restarts < self.scene.restarted():
            before = [node for node in self.scene.pods if node.restart == self.life.restarts]
            after = [node for node in self.scene.pods if node.restart == self.life.restarts + 1]
            self.life.run(_started(before), admitted=self.scene.admitted_at())
            begun = earliest(node.created for node in after) or latest(node.ended for node in before)
            cause = of_attempt(before)
            self.life.restart(begun, f"attempt {self.life.attempt + 1} failed: {cause}" if cause else "")

    def _queue(self, time: float | None, reason: str, message: str = "") -> None:
        """Have the job queued again; restarts of the attempt that is over count as attempts too."""
        missed = self.scene.restarted() - self.life.restarts if self.life.begun else 0
        self.life.queue(time, reason, message, missed=max(0, missed))

    def _evictions(self) -> None:
        """Take note of a place that was lost, or given back to a job that had been stopped."""
        found = eviction.present(self.scene.workload)
        if self.life.state is JobState.STOPPED:
            self._resumed()
        elif self.scene.readmitted():
            lost = eviction.last(self.scene.workload)
            self.life.run(_started(self.scene.current()))
            self._queue(lost.time, lost.reason, lost.text)
        elif found is not None and not self.scene.is_old(found):
            self._evicted(found)
        elif self.scene.is_held_unseen():
            self.life.enter(JobState.STOPPED, self.scene.suspended_at(), "StoppedByUser", self.scene.stopped_text())

    def _evicted(self, found: eviction.Eviction) -> None:
        """Follow an eviction; it is over when the quota is given back and nothing runs any more."""
        if self.life.begun:
            if found.holds or self.scene.alive():
                return
            if started := _started(self.scene.current()):
                self.life.run(started)
        if found.stops:
            by_user = found.reason == "Deactivated" and self.scene.stopped_by()
            reason = "StoppedByUser" if by_user else found.reason
            self.life.enter(JobState.STOPPED, found.time, reason, self.scene.stop_text(found))
        elif self.life.begun:
            self._queue(found.time, found.reason, found.text)

    def _resumed(self) -> None:
        """See whether a stopped job was queued again."""
        workload, stopped = self.scene.workload, self.life.last.time
        if workload is not None:
            active = (workload.get("spec") or {}).get("active") is not False
            requeued = condition(workload, "Requeued")
            reactivated = changed(requeued) if requeued.get("reason") == "Reactivated" else None
            newer = self.held is not None and version(workload) > self.held.version
            if active and (newer or (reactivated or 0) >= int(stopped) or (self.scene.admitted_at() or 0) > stopped):
                self._queue(reactivated or self.scene.admitted_at() or self.scene.sight.now, "Resumed")
                return
        elif not self.scene.stopped_by() and not self.scene.suspended():
            self._queue(self.scene.resumed_at() or self.scene.sight.now, "Resumed")
            return
        if any(node.created > stopped and not node.disrupted for node in self.scene.pods):
            self._queue(None, "Resumed")

    def _replacement(self) -> None:
        """Take note that worker 0 runs anew though nothing else was heard: its pod was lost with its node."""
        running = self.life.since(JobState.RUNNING)
        if running is None or self.life.state is not JobState.RUNNING:
            return
        anew = [node for node in self.scene.latest() if node.speaks and node.created > running and not node.disrupted]
        if anew:
            old = [node for node in self.scene.pods if node.speaks and node.created <= running]
            time = latest(node.ended for node in old) or anew[0].created
            text = next((disruption(node) for node in old if node.disrupted), "its pod was lost")
            self._queue(min(time, anew[0].created), "Disrupted", f"{text}; it is made again")

    def _progress(self) -> None:
        """Let the present attempt come as far as it is seen to have come."""
        if self.life.state is JobState.STOPPED:
            if end := self._told():
                self._finish(end)
            return
        pods = self.scene.current()
        if self.scene.is_admitted():
            self.life.start(self.scene.admitted_at())
        elif pods or (self.scene.workload is None and not self.scene.suspended() and not self.life.attempt):
            first = earliest(node.created for node in pods)
            resumed = self.scene.resumed_at()
            newer = resumed is not None and resumed >= int(self.life.last.time)
            self.life.start(resumed if newer else first)
        started = _started(pods)
        if started is not None or self.scene.runs_elsewhere():
            self.life.run(started)
        end = self._told() or self._early()
        if end is not None:
            self._finish(end)

    def _finish(self, end: End) -> None:
        self.end = end
        if end.ran:
            self.life.run(_started(self.scene.latest()), admitted=self.scene.resumed_at())
        elif end.reason != "FailedToStart":
            self.life.start(self.scene.resumed_at())
        state = JobState.SUCCEEDED if end.succeeded else JobState.FAILED
        self.life.enter(state, end.time, end.reason, end.message)

    def _told(self) -> End | None:
        return _end(self.known, self.scene, self.life)

    def _early(self) -> End | None:
        if self.scene.sight.gone or self.scene.sight.cancelled or self.scene.is_losing_its_place():
            return None
        pods, most = limits(self.scene.jobset)
        if pods is None:
            sets = ((self.scene.workload or {}).get("spec") or {}).get("podSets") or ()
            pods = sum(number(item.get("count"), 1) for item in sets) or None
            if about.is_ours(self.scene.jobset):  # a table tells nothing of its spec, but the task does
                task = Task.from_json(self.known.spec)
                pods, most = pods or task.resources.nodes, task.max_restarts
        current = [node for node in self.scene.current() if not node.disrupted]
        found = early(self.scene.jobset, pods, most, current, self.life.restarts)
        return by_items(found, current) if self.known.kind == "map" else found

    # --- the record

    def _made(self) -> JobRecord:
        seen = version(self.scene.jobset, self.scene.workload, *self.scene.sight.pods)
        made = _with(self.known, self.life, version=max(seen, self.known.version))
        made = replace(made, position=self.scene.sight.position if self.life.state is JobState.QUEUED else None)
        if self.end is not None:
            made = replace(made, exit_code=self.end.exit_code, failed_node=self.end.failed_node)
        if self.held is not None and made.version <= self.held.version and _told(made) != _told(self.held):
            made = replace(made, version=self.held.version + 1)
        return made


def _completed(held: JobRecord, sight: Sight) -> JobRecord:
    """Give a job that has ended, with what was not known of its end before; its state stays."""
    if again := _run_again(held, sight):
        return noted(held, again)
    if held.exit_code is not None or held.state not in (JobState.SUCCEEDED, JobState.FAILED) or sight.jobset is None:
        return held
    life = Life(held, held.created)
    scene = Scene(sight, sight.jobset, life)
    end = _end(held, scene, life)
    if end is None or end.exit_code is None or end.succeeded is not (held.state is JobState.SUCCEEDED):
        return held
    life.say(end.reason, end.message)
    return replace(
        _with(held, life, version=max(version(sight.jobset), held.version + 1)),
        exit_code=end.exit_code,
        failed_node=end.failed_node,
    )


def _run_again(held: JobRecord, sight: Sight) -> str:
    """Say so if a job lost its place just as it ended, before its JobSet could say that: its code runs once more."""
    if held.state is JobState.CANCELLED or sight.jobset is None or sight.gone or _ONCE_MORE in held.message:
        return ""
    scene = Scene(sight, sight.jobset, Life(held, held.created))
    found = eviction.present(sight.workload)
    news = version(sight.workload) > held.version
    if not news or found is None or found.stops or scene.is_old(found) or is_terminal(sight.jobset):
        return ""
    return f"{found.text} {_ONCE_MORE}"


_ONCE_MORE = "just as it ended: the cluster runs it once more, and what it gave first stands"


def _end(record: JobRecord, scene: Scene, life: Life) -> End | None:
    """Say how a job ended, once the cluster says that it has."""
    nodes = scene.latest()
    found = told(scene.jobset, scene.workload, nodes, life.restarts, life.since(JobState.STARTING))
    return by_items(found, nodes) if record.kind == "map" else found


def _with(record: JobRecord, life: Life, **changes: Any) -> JobRecord:
    """Give a record with another history, and what follows from that."""
    last = life.last
    return replace(
        record,
        state=last.state,
        reason=last.reason,
        message=last.message,
        attempt=last.attempt,
        history=life.history,
        **changes,
    )


def _told(record: JobRecord) -> JobRecord:
    """Give what makes a record another one than before; whether it is stuck is for others to say."""
    return replace(record, version=0, stuck=False)


def _started(pods: Sequence[Node]) -> float | None:
    """Give when worker 0 began to run; None if it did not, as far as is known."""
    return earliest(node.started for node in pods if node.speaks)
