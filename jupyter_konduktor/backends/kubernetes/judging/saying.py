"""Why a job is where it is, and where it goes: a word and a sentence."""

from __future__ import annotations

from jupyter_konduktor.backends.kubernetes import words
from jupyter_konduktor.backends.kubernetes.judging import about, starting
from jupyter_konduktor.backends.kubernetes.judging.eviction import Eviction, present
from jupyter_konduktor.backends.kubernetes.judging.objects import condition, is_true, label, status
from jupyter_konduktor.backends.kubernetes.judging.scene import Scene
from jupyter_konduktor.backends.kubernetes.judging.waiting import why
from jupyter_konduktor.state import JobState


def said(scene: Scene) -> tuple[str, str]:
    """Say why the job is where it is, and where it goes."""
    state, metadata = scene.life.state, scene.jobset["metadata"]
    if state is JobState.STOPPED:
        return scene.life.last.reason, scene.life.last.message
    if metadata.get("deletionTimestamp") or scene.cancelled_by():
        by = scene.cancelled_by()
        who = f" by {about.person(scene.jobset, by)}" if by else ""
        return "Deleting", f"is being deleted{who}"
    found = present(scene.workload)
    if state is JobState.QUEUED:
        return _why_queued(scene, found)
    if found is not None and not scene.is_old(found):
        reason, text = (found.reason, found.text)
        if found.stops:
            reason = "Stopping" if reason == "Deactivated" else reason
            text = f"is being stopped: {scene.stop_text(found)}"
        return reason, text
    if state is JobState.STARTING:
        return _why_starting(scene)
    return _how_running(scene)


def _why_queued(scene: Scene, found: Eviction | None) -> tuple[str, str]:
    workload, last = scene.workload, scene.life.last
    if workload is None:
        return _no_workload(scene)
    reason = why(workload)
    if scene.sight.closed and reason.kind != "queue":
        # Kueue says it on the queue, and not always on the Workloads that wait in it.
        return "QueueClosed", f"queue {label(scene.jobset, words.QUEUE_NAME)} {scene.sight.closed}"
    reserved = condition(workload, "QuotaReserved")
    if found is not None and not found.stops:
        again = f"; is queued again at {found.again}" if found.again else ""
        return found.reason, f"{found.text}{again}" + (f"; {reason.text}" if reason.text else "")
    word = str(reserved.get("reason") or last.reason)
    return (last.reason if last.reason == "Resumed" and not reason.text else word), reason.text


def _no_workload(scene: Scene) -> tuple[str, str]:
    missing = scene.sight.missing_workload
    if missing is None or not label(scene.jobset, words.QUEUE_NAME):
        return scene.life.last.reason, ""
    priority = label(scene.jobset, words.PRIORITY_CLASS)
    other = f", or there is no priority class {priority}" if priority else ""
    why_not = f"Kueue does not run, or does not manage JobSets in this namespace{other}"
    return "NoWorkload", f"no controller has acted for {starting.lasting(missing)}: {why_not}"


def _why_starting(scene: Scene) -> tuple[str, str]:
    where = status(scene.workload).get("clusterName") if scene.workload is not None else None
    if where:
        return "Dispatched", f"on cluster {where}"  # which shows nothing of its pods here
    since = scene.life.since(JobState.STARTING) or 0.0
    now = scene.sight.now if scene.sight.sees_pods else None
    reason, message = starting.why(scene.current(), scene.sight.events, scene.jobset, since, now)
    last = scene.life.last
    if last.reason == "Restarted" and reason in starting.PASSING:
        return last.reason, last.message  # why it was restarted is more than that it starts
    return reason, message


def _how_running(scene: Scene) -> tuple[str, str]:
    pods = scene.current() or scene.latest()
    lost = next((node for node in pods if node.unreachable), None)
    if lost is not None:
        machine = (lost.pod.get("spec") or {}).get("nodeName") or ""
        return "NodeLost", f"node unreachable: nothing is heard of {machine}, where {lost.name} runs"
    ended = next((node for node in pods if node.disrupted and is_true(node.pod, "DisruptionTarget")), None)
    if ended is not None:
        found = condition(ended.pod, "DisruptionTarget")
        return str(found.get("reason") or "Disrupted"), f"its pod is being evicted: {found.get('message') or ''}"
    where = status(scene.workload).get("clusterName") if scene.workload is not None else None
    if where:
        return "Started", f"on cluster {where}"
    behind = [node for node in pods if not node.running and not node.terminated]
    if behind:
        reason, message = starting.of_node(behind[0])
        return "Started", f"node {behind[0].index} does not run yet: {message or reason}"
    return "Started", ""
