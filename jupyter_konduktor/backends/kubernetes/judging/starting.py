"""Why a job that was let in does not run yet: a word and a sentence, from its pods and from events about them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from jupyter_konduktor.backends.kubernetes import words
from jupyter_konduktor.backends.kubernetes.judging.nodes import Node
from jupyter_konduktor.backends.kubernetes.judging.objects import Object, changed, condition, moment
from jupyter_konduktor.backends.wording import one_line

Said = tuple[str, str]

PASSING = frozenset({
    *("", "Admitted", "Restarted", "Pending", "Scheduled", "ContainerCreating", "PodInitializing"),
    "Dispatched",
})  # fmt: skip
"""Reasons of a start that goes well."""

SILENT = frozenset({"NoPods", "NotScheduled", "NotTakenUp"})
"""Reasons of a start on which nothing has acted for `SILENCE`."""

MISTAKEN = frozenset({
    *("ImagePullBackOff", "InvalidImageName", "ErrImageNeverPull"),
    *("CreateContainerConfigError", "FailedMount", "FailedCreate"),
})  # fmt: skip
"""Reasons that lie in what was asked for. Of any other the cluster may come out by itself, as by another machine."""

SILENCE = 30.0
"""Seconds after which it is worth a word that nothing has acted."""

_PULL = ("ErrImagePull", "ImagePullBackOff")
_PULL_ADVICE = "see that the name is right, and that the cluster may pull it (imagePullSecrets in pod_config)"
_BACK_OFF = re.compile(r"^Back-off pulling image .*?: (?:ErrImagePull: )?", re.DOTALL)
_PULL_STEPS = re.compile(
    r"^(?:rpc error: code = \w+ desc = |"
    r"failed to (?:pull and unpack image|resolve (?:reference|image)|copy|do request|fetch \w+)(?: \"[^\"]*\")?: )+"
)
_OF_PODS = ("FailedMount", "FailedAttachVolume", "FailedCreatePodSandBox")
_FORBIDDEN = re.compile(r"^Error creating: (?:pods \"[^\"]*\" is forbidden: )?", re.DOTALL)
_SECURITY = re.compile(r"^violates PodSecurity \"([^\"]+)\": (.*)", re.DOTALL)
_QUOTA = re.compile(r"^exceeded quota: ([^,]+), (.*)", re.DOTALL)
_PREEMPTION = re.compile(r",? (?:no new claims to deallocate, )?preemption: .*", re.DOTALL)


def why(
    nodes: Sequence[Node], events: Iterable[Object], jobset: Object, since: float, now: float | None = None
) -> Said:
    """Say why a job does not run yet.

    Parameters
    ----------
    nodes : sequence of Node
        Of the present attempt.
    events : iterable of mapping
        Warnings about its Jobs and pods.
    jobset : mapping
    since : float
        When the attempt was let in; what events tell of before is over.
    now : float or None
        The cluster's time, where it is known and nothing of the job is out of sight.
    """
    recent = sorted((event for event in events if _time(event) >= int(since)), key=_time)
    if not nodes:
        return _of_jobs(recent, str(jobset["metadata"]["name"]), since, now)
    said = [(node, of_node(node, recent, now)) for node in nodes if not node.running]
    stuck = [(node, found) for node, found in said if found[0] not in PASSING]
    if stuck:
        node, (reason, message) = stuck[0]
        return reason, f"node {node.index}: {message}" if len(nodes) > 1 else message
    slowest = max(nodes, key=lambda node: (node.speaks, -len(node.waiting)))
    return of_node(slowest, recent, now)


def of_node(node: Node, events: Sequence[Object] = (), now: float | None = None) -> Said:
    """Say why one pod does not run yet."""
    scheduled = condition(node.pod, "PodScheduled")
    if scheduled.get("status") == "False":
        said = _PREEMPTION.sub("", str(scheduled.get("message") or ""))
        return str(scheduled.get("reason") or "Unschedulable"), f"no node can take its pod: {one_line(said)}"
    reason, message = str(node.waiting.get("reason") or ""), str(node.waiting.get("message") or "")
    image = _image(node)
    if reason in _PULL:
        # Both come in turns, for one and the same trouble.
        said = one_line(_PULL_STEPS.sub("", _BACK_OFF.sub("", message))) or "the pull has failed"
        return "ImagePullBackOff", f"image {image} cannot be pulled: {said}; {_PULL_ADVICE}"
    if reason == "InvalidImageName":
        return reason, f"{image!r} is not the name of an image: {one_line(message)}"
    if reason == "ErrImageNeverPull":
        return reason, f"image {image} is not on the node, and its pull policy is Never"
    if reason == "CreateContainerConfigError":
        return reason, f"the container cannot be made: {one_line(message)}; it refers to what is not there"
    if reason not in PASSING:
        return (
            reason,
            f"the container does not start: {one_line(message)}" if message else "the container does not start",
        )
    uid = node.pod["metadata"]["uid"]
    for event in reversed(events):
        if event.get("reason") in _OF_PODS and (event.get("involvedObject") or {}).get("uid") == uid:
            return str(event["reason"]), one_line(str(event.get("message") or ""))
    return (reason, "") if reason else _in_turn(node, scheduled, now)


def _in_turn(node: Node, scheduled: Object, now: float | None) -> Said:
    """Say what is to act on a pod next: the scheduler, or its kubelet."""
    taken = scheduled.get("status") == "True"
    waited = (now or 0.0) - ((changed(scheduled) if taken else None) or node.created)
    if waited < SILENCE or not node.live:
        return "Scheduled" if taken else "Pending", ""
    if taken:
        machine = (node.pod.get("spec") or {}).get("nodeName") or "its node"
        return "NotTakenUp", f"the kubelet of {machine} has not acted on its pod for {lasting(waited)}"
    return "NotScheduled", f"no scheduler has acted on its pod for {lasting(waited)}"


def lasting(seconds: float) -> str:
    """Write how long something has lasted, so that it is news only now and then."""
    return f"{int(seconds // 60)} min" if seconds >= 60 else f"{int(seconds // 10 * 10)} s"


def _of_jobs(events: Sequence[Object], name: str, since: float, now: float | None) -> Said:
    """Say why there are no pods at all."""
    for event in reversed(events):
        about: Mapping[str, Any] = event.get("involvedObject") or {}
        if event.get("reason") == "FailedCreate" and str(about.get("name", "")).startswith(f"{name}-"):
            return "FailedCreate", _refused(str(event.get("message") or ""))
    waited = (now or 0.0) - since
    if waited < SILENCE:
        return "Admitted", ""
    return "NoPods", f"it was let in and has had no pods for {lasting(waited)}: no controller has acted"


def _refused(message: str) -> str:
    """Say why pods may not be made."""
    said = _FORBIDDEN.sub("", message)
    if match := _SECURITY.match(said):
        return f"the namespace's Pod Security ({match[1]}) refuses its pods: {one_line(match[2])}; see pod_config"
    if match := _QUOTA.match(said):
        return f"the namespace's ResourceQuota {match[1]} refuses its pods: {one_line(match[2])}"
    return f"its pods cannot be made: {one_line(said)}"


def _image(node: Node) -> str:
    containers = (node.pod.get("spec") or {}).get("containers") or ()
    return next((str(item.get("image")) for item in containers if item.get("name") == words.CONTAINER), "")


def _time(event: Object) -> float:
    times = (event.get("lastTimestamp"), (event.get("series") or {}).get("lastObservedTime"), event.get("eventTime"))
    return max(moment(time) or 0.0 for time in times)
