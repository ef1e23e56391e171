"""Why a job that was let in does not run yet: a word and a sentence, from its pods and from events about them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from jupyter_konduktor.backends.kubernetes import words
from jupyter_konduktor.backends.kubernetes.judging.nodes import Node
from jupyter_konduktor.backends.kubernetes.judging.objects import Object, condition, moment
from jupyter_konduktor.backends.wording import one_line

Said = tuple[str, str]

PASSING = frozenset({"", "Admitted", "Restarted", "Pending", "Scheduled", "ContainerCreating", "PodInitializing"})
"""Reasons of a start that goes well."""

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


def why(nodes: Sequence[Node], events: Iterable[Object], jobset: Object, since: float) -> Said:
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
    """
    recent = sorted((event for event in events if _time(event) >= int(since)), key=_time)
    if not nodes:
        return _of_jobs(recent, str(jobset["metadata"]["name"]))
    stuck = [(node, said) for node in nodes if not node.running and (said := of_node(node, recent))[0] not in PASSING]
    if stuck:
        node, (reason, message) = stuck[0]
        return reason, f"node {node.index}: {message}" if len(nodes) > 1 else message
    slowest = max(nodes, key=lambda node: (node.speaks, -len(node.waiting)))
    return of_node(slowest, recent)


def of_node(node: Node, events: Sequence[Object] = ()) -> Said:
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
    if not reason:
        reason = "Scheduled" if scheduled.get("status") == "True" else "Pending"
    return reason, ""


def _of_jobs(events: Sequence[Object], name: str) -> Said:
    """Say why there are no pods at all."""
    for event in reversed(events):
        about: Mapping[str, Any] = event.get("involvedObject") or {}
        if event.get("reason") == "FailedCreate" and str(about.get("name", "")).startswith(f"{name}-"):
            return "FailedCreate", _refused(str(event.get("message") or ""))
    return "Admitted", ""


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
