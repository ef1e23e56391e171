"""How the nodes of a job lie, as annotations: Kueue reads them on the pod template, JobSet on the JobSet."""

from __future__ import annotations

from collections.abc import Mapping

from jupyter_konduktor.backends.kubernetes import words
from jupyter_konduktor.task import Task

KUEUE = {
    "required": words.REQUIRED_TOPOLOGY,
    "preferred": words.PREFERRED_TOPOLOGY,
    "unconstrained": words.UNCONSTRAINED_TOPOLOGY,
}
"""What a queue lets in only together with a place for it; Kueue takes one of them."""


def of_jobset(task: Task) -> dict[str, str]:
    """Give the annotation of the JobSet, from which JobSet's controller takes it to the pods."""
    rules = _rules(task)
    return {words.EXCLUSIVE_TOPOLOGY: rules["exclusive"]} if "exclusive" in rules else {}


def on_pods(annotations: Mapping[str, str], task: Task) -> dict[str, str]:
    """Give the annotations of the pod template with the task's own; what it says takes the place of another rule."""
    ours = {KUEUE[kind]: label or "true" for kind, label in _rules(task).items() if kind in KUEUE}
    kept = {key: text for key, text in annotations.items() if not ours or key not in KUEUE.values()}
    return {**kept, **ours}


def _rules(task: Task) -> dict[str, str]:
    pairs = (rule.partition(":") for rule in task.topology)
    return {kind: label for kind, _, label in pairs}
