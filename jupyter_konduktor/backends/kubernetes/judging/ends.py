"""How a job came to its end, as its pods and its JobSet tell it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from jupyter_konduktor.backends import wording
from jupyter_konduktor.backends.kubernetes import quantity, results, words
from jupyter_konduktor.backends.kubernetes.judging.nodes import Node
from jupyter_konduktor.backends.kubernetes.judging.objects import (
    Object,
    changed,
    condition,
    is_true,
    latest,
    number,
    status,
)
from jupyter_konduktor.payload.limits import size_text

_NOT_FOUND = re.compile(r'exec: "([^"]+)": (?:executable file not found|stat [^:]*: no such file)')
_STARTING = "unable to start container process: "
_RUNNER_FAILED = 70
"""With this exit code our bootstrap ends where it cannot start the runner."""


@dataclass(frozen=True, slots=True)
class End:
    """How a job ended.

    Attributes
    ----------
    succeeded : bool
    reason, message : str
    time : float or None
        Seconds since the epoch.
    exit_code, failed_node : int or None
        As a `JobRecord` has them.
    ran : bool
        Whether any of its code has run, as far as it is known.
    """

    succeeded: bool
    reason: str
    message: str = ""
    time: float | None = None
    exit_code: int | None = None
    failed_node: int | None = None
    ran: bool = True


def told(
    jobset: Object, workload: Object | None, nodes: Sequence[Node], restarts: int, since: float | None
) -> End | None:
    """Say how a job ended, once the cluster says that it has; None before.

    Parameters
    ----------
    jobset : mapping
    workload : mapping or None
    nodes : sequence of Node
        Of the last attempt.
    restarts : int
        How often JobSet restarted it.
    since : float or None
        When the last attempt was let in.
    """
    terminal = status(jobset).get("terminalState")
    completed, failed = condition(jobset, "Completed"), condition(jobset, "Failed")
    if terminal == "Completed" or completed.get("status") == "True":
        return End(True, "Completed", time=latest(node.ended for node in nodes) or changed(completed), exit_code=0)
    if terminal == "Failed" or failed.get("status") == "True":
        return _failed(jobset, nodes, restarts, since)
    finished = condition(workload, "Finished")
    if finished.get("status") == "True" and finished.get("reason") == "FailedToStart":
        message = f"Kueue could not start it: {wording.one_line(str(finished.get('message')))}"
        return End(False, "FailedToStart", message, changed(finished), ran=False)
    return None


def is_terminal(jobset: Object) -> bool:
    """Whether a JobSet says that it has ended."""
    return bool(status(jobset).get("terminalState")) or is_true(jobset, "Completed") or is_true(jobset, "Failed")


def early(jobset: Object, pods: int | None, most: int | None, nodes: Sequence[Node], restarts: int) -> End | None:
    """Say how a job ended, where its one pod has ended in a way that the cluster cannot take back.

    That is about two seconds before the JobSet says so.

    Parameters
    ----------
    jobset : mapping
    pods : int or None
        How many pods the job has; None if that is not known.
    most : int or None
        How often it may be restarted; None if what follows on a failure is not known.
    nodes : sequence of Node
        Of the present attempt.
    restarts : int
        How often JobSet restarted it.
    """
    metadata = jobset["metadata"]
    leaving = metadata.get("deletionTimestamp") or (metadata.get("annotations") or {}).get(words.CANCELLED_BY)
    if pods != 1 or len(nodes) != 1 or leaving or (jobset.get("spec") or {}).get("suspend"):
        return None
    (node,) = nodes
    if node.code is None or node.disrupted or node.killed or not node.speaks:
        return None
    if node.code == 0:
        return End(True, "Completed", time=node.ended, exit_code=0)
    if most is None or restarts < most:
        return None
    return _of_node(node, 1, node.ended, most)


def of_attempt(nodes: Sequence[Node]) -> str:
    """Say in a few words why an attempt failed; empty if its pods do not tell."""
    culprit = _culprit(nodes)
    return _of_node(culprit, len(nodes), None, 0).message if culprit is not None else ""


def disruption(node: Node) -> str:
    """Say what other than the job itself has ended a pod."""
    found = condition(node.pod, "DisruptionTarget")
    if is_true(node.pod, "DisruptionTarget"):
        return f"its pod was evicted ({found.get('reason')}): {wording.one_line(str(found.get('message') or ''))}"
    said = status(node.pod).get("message") or status(node.pod).get("reason")
    if said:
        return f"its pod was ended: {wording.one_line(str(said))}"
    return f"its pod was deleted as it ran ({wording.of_exit(node.code or 0)})"


def limits(jobset: Object) -> tuple[int | None, int | None]:
    """Say how many pods a JobSet has, and how often it may be restarted; None for what it does not tell.

    The second is None too where a failure may be treated in other ways than by counting restarts.
    """
    spec = jobset.get("spec") or {}
    if not spec.get("replicatedJobs"):
        return None, None
    policy = spec.get("failurePolicy") or {}
    most: int | None = number(policy.get("maxRestarts"))
    if any(rule.get("action") == "RestartJobSetAndIgnoreMaxRestarts" for rule in policy.get("rules") or ()):
        most = None
    for group in spec["replicatedJobs"]:
        job = (group.get("template") or {}).get("spec") or {}
        pod = (job.get("template") or {}).get("spec") or {}
        rules = (job.get("podFailurePolicy") or {}).get("rules") or ()
        spared = any(rule.get("action") == "Ignore" and rule.get("onExitCodes") for rule in rules)
        if number(job.get("backoffLimit"), 6) or pod.get("restartPolicy") != "Never" or spared:
            most = None
    return results.pods_of(jobset), most


def _failed(jobset: Object, nodes: Sequence[Node], restarts: int, since: float | None) -> End:
    found = condition(jobset, "Failed")
    time, reason = changed(found), str(found.get("reason") or "Failed")
    culprit, pods = _culprit(nodes), limits(jobset)[0] or len(nodes)
    deadline = _deadline(jobset)
    overdue = deadline is not None and time is not None and since is not None and time - since >= deadline - 1
    if overdue and (culprit is None or culprit.killed or culprit.disrupted):
        code = culprit.code if culprit is not None else None
        return End(False, "DeadlineExceeded", f"ran longer than its limit of {deadline} s", time, code)
    if culprit is not None:
        end = latest([culprit.ended]) if pods == 1 else time
        return _of_node(culprit, pods, end or time, restarts)
    said = wording.one_line(str(found.get("message") or "")) or "its JobSet has failed"
    return End(False, reason, f"{said}; its pods are gone, and with them what they said", time)


def _culprit(nodes: Sequence[Node]) -> Node | None:
    """Find the node that failed first, and was not ended because another had failed."""
    failed = [node for node in nodes if node.code]
    return min(
        failed, key=lambda node: (node.disrupted, node.killed, node.ended or float("inf"), node.index), default=None
    )


def _of_node(node: Node, pods: int, time: float | None, restarts: int) -> End:
    """Say how one node failed."""
    code, word = node.code or 0, str(node.terminated.get("reason") or "Error")
    where = f" on node {node.index}" if pods > 1 else ""
    failed, error = wording.remote_error(str(node.terminated.get("message") or "").encode())
    if word == "OOMKilled":
        message = _out_of_memory(node) + where
    elif word in ("StartError", "ContainerCannotRun"):
        message = _not_started(node) + where
    elif error:
        message = f"node {node.index}: {error}" if pods > 1 else error
        word = failed or word
    elif node.disrupted:
        message = disruption(node) + where
    elif code == _RUNNER_FAILED:
        message = f"exit code {code}{where}: the runner could not start what it was sent; the log says why"
    else:
        message = wording.of_exit(code) + where
    if restarts:
        message += f"; its {restarts} restarts are used up" if restarts > 1 else "; its restart is used up"
    ran = node.started is not None
    return End(False, word, message, time, exit_code=code, failed_node=node.index, ran=ran)


def _out_of_memory(node: Node) -> str:
    limit = (_container(node).get("resources") or {}).get("limits") or {}
    if "memory" in limit:
        amount = size_text(int(quantity.parse(limit["memory"])))
        return f"out of memory: it needed more than its limit of {amount}; ask for more with --memory"
    return "out of memory: its machine had no more; ask for what it needs with --memory"


def _not_started(node: Node) -> str:
    said = str(node.terminated.get("message") or "")
    image = _container(node).get("image", "")
    missing = _NOT_FOUND.search(said)
    if missing and missing[1].startswith("python"):
        return f"the image {image} has no {missing[1]}; jobs need Python 3.8 or later in it"
    if missing:
        return f"the image {image} has no {missing[1]}"
    return f"the container could not be started: {wording.one_line(said.rpartition(_STARTING)[2])}"


def _deadline(jobset: Object) -> int | None:
    """Give the limit that its Jobs have on their time, in seconds."""
    groups = (jobset.get("spec") or {}).get("replicatedJobs") or ()
    found = [((group.get("template") or {}).get("spec") or {}).get("activeDeadlineSeconds") for group in groups]
    return min((number(seconds) for seconds in found if seconds), default=None)


def _container(node: Node) -> Object:
    containers = (node.pod.get("spec") or {}).get("containers") or ()
    found: Object = next((item for item in containers if item.get("name") == words.CONTAINER), {})
    return found
