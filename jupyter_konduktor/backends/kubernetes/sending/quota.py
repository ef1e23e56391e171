"""Whether a queue can ever hold a job: its pods against what the ClusterQueue covers, as far as that can be seen."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from jupyter_konduktor.backends.kubernetes import quantity
from jupyter_konduktor.backends.kubernetes.sending.manifest.accelerators import GPU_KEYS, accelerator
from jupyter_konduktor.errors import InvalidTaskError
from jupyter_konduktor.task import Task

_FIELDS = {"cpu": "cpus", "memory": "memory"}


@dataclass(frozen=True, slots=True)
class Quota:
    """What can be seen of a queue's quota.

    Attributes
    ----------
    queue : str
        The LocalQueue.
    cluster_queue : mapping
        The object.
    flavors : mapping of str to mapping, or None
        ``nodeLabels`` of each ResourceFlavor; None where they cannot be seen.
    """

    queue: str
    cluster_queue: Mapping[str, Any]
    flavors: Mapping[str, Mapping[str, str]] | None

    @property
    def title(self) -> str:
        """The queue's name for a person."""
        return f"queue {self.queue} (ClusterQueue {self.cluster_queue['metadata']['name']})"

    @property
    def covered(self) -> list[str]:
        """The resources that the ClusterQueue counts."""
        return [str(resource) for group in self._groups() for resource in group.get("coveredResources") or ()]

    def check(self, task: Task, pod: Mapping[str, Any], accelerators: Mapping[str, Any]) -> list[str]:
        """Refuse a job that the queue can never hold; gives notes on what is doubtful.

        Parameters
        ----------
        task : Task
        pod : mapping
            The pod template made from it.
        accelerators : mapping
            The setting of that name.

        Raises
        ------
        InvalidTaskError
            Names the resource, the queue and its quota.
        """
        if not self._groups():
            return []  # it takes nothing at all, and its own condition says so
        notes: list[str] = []
        gpu = accelerator(task.resources.gpus, accelerators) if task.resources.gpus else None
        selector = pod["spec"].get("nodeSelector") or {}
        if gpu is not None:
            self._check_covered(task, gpu.resource)
            if gpu.kind and not gpu.mapped:
                notes += self._kind_notes(task, gpu.resource, selector)
        for resource, amount in needs(pod).items():
            if resource in self.covered:
                self._check_amount(task, resource, amount, selector)
            else:
                field = _FIELDS.get(resource, resource)
                notes.append(f"{field}: {self.title} counts no {resource}; unless Kueue ignores it here, the job waits")
        return notes

    def _check_covered(self, task: Task, resource: str) -> None:
        if resource in self.covered:
            return
        others = [key for key in GPU_KEYS if key in self.covered]
        raise InvalidTaskError(
            f"gpus={task.resources.gpus}: {self.title} has no {resource}; it has {', '.join(self.covered)}",
            advice=f"A kind of GPU that is counted as {others[0]} has to say so in the setting accelerators."
            if others
            else "Choose another queue, or leave gpus out.",
            field="gpus",
            value=str(task.resources.gpus),
        )

    def _check_amount(self, task: Task, resource: str, amount: Decimal, selector: Mapping[str, str]) -> None:
        nodes, flavors = task.resources.nodes, self._usable(resource, selector)
        if not flavors:
            chosen = ", ".join(f"{key}={value}" for key, value in selector.items())
            raise InvalidTaskError(
                f"{_field(resource, task)}: {self.title} has no nodes with {chosen} for {resource}",
                advice=f"It has {self._shown(self._quotas(resource))}; see accelerators and pod_config.",
                field=_field(resource, task),
            )
        limits = [self._limit(quotas, resource) for quotas in flavors.values()]
        known = [limit for limit in limits if limit is not None]
        if len(known) < len(limits) or nodes * amount <= max(known):
            return
        if task.kind == "map" and amount <= max(known):
            self._refuse_workers(task, resource, amount, max(known))
        over = f"{nodes} nodes x {_shown(resource, amount)} is" if nodes > 1 else f"{_shown(resource, amount)} is"
        raise InvalidTaskError(
            f"{_field(resource, task)}: {over} more {resource} than {self.title} can ever hold: its quota is "
            f"{_shown(resource, max(known))}",
            advice="Ask for less, or choose another queue; %konduktor queues lists them.",
            field=_field(resource, task),
            value=str(nodes * amount),
        )

    def _refuse_workers(self, task: Task, resource: str, amount: Decimal, limit: Decimal) -> None:
        nodes, fitting = task.resources.nodes, int(limit // amount)
        raise InvalidTaskError(
            f"max_parallel={nodes}: {nodes} workers x {_shown(resource, amount)} is more {resource} than {self.title} "
            f"can ever hold: its quota is {_shown(resource, limit)}",
            advice=f"max_parallel={fitting} fits; or choose another queue, %konduktor queues lists them.",
            field="max_parallel",
            value=nodes,
        )

    def _kind_notes(self, task: Task, resource: str, selector: Mapping[str, str]) -> list[str]:
        """Refuse a kind that may be any of several; note one that is taken on trust."""
        gpus = task.resources.gpus
        kind = str(gpus.kind) if gpus else ""
        usable = self._usable(resource, selector)
        if self.flavors is None:
            return [f"gpus: {kind} is not in the setting accelerators, and the kinds there are cannot be seen here"]
        kinds = {tuple(sorted(self.flavors.get(flavor, {}).items())) for flavor in usable}
        if len(kinds) > 1:
            known = self._shown(usable)
            raise InvalidTaskError(
                f"gpus={gpus}: {self.title} has several kinds of GPU, and which is {kind} is not known: {known}",
                advice=f'Say it in the settings, accelerators = {{"{kind}": {{"nodeSelector": {{...}}}}}}, or leave '
                "the kind out.",
                field="gpus",
                value=str(gpus),
            )
        flavor = next(iter(usable), "")
        words = [flavor, *self.flavors.get(flavor, {}).values()]
        if any(_plain(kind) in _plain(word) for word in words):
            return []
        return [f"gpus: {kind} is not in the setting accelerators; the job gets the GPUs of {self._shown(usable)}"]

    def _groups(self) -> list[Mapping[str, Any]]:
        return list((self.cluster_queue.get("spec") or {}).get("resourceGroups") or ())

    def _quotas(self, resource: str) -> dict[str, Mapping[str, Any]]:
        return {
            str(flavor["name"]): flavor
            for group in self._groups()
            if resource in (group.get("coveredResources") or ())
            for flavor in group.get("flavors") or ()
        }

    def _usable(self, resource: str, selector: Mapping[str, str]) -> dict[str, Mapping[str, Any]]:
        """Give the flavors that pods with a nodeSelector may have; a key that a flavor does not name rules none out."""
        quotas = self._quotas(resource)
        if self.flavors is None:
            return quotas
        labels = self.flavors
        return {
            name: quota
            for name, quota in quotas.items()
            if all(labels.get(name, {}).get(key, value) == value for key, value in selector.items())
        }

    def _limit(self, quotas: Mapping[str, Any], resource: str) -> Decimal | None:
        """Say how much of a resource a flavor can ever give; None where it may borrow without a limit."""
        entries: list[Mapping[str, Any]] = quotas.get("resources") or []
        entry = next((item for item in entries if item.get("name") == resource), {})
        nominal = quantity.parse(entry.get("nominalQuota", 0))
        spec = self.cluster_queue["spec"]
        if not (spec.get("cohortName") or spec.get("cohort")):
            return nominal
        borrowing = entry.get("borrowingLimit")
        return None if borrowing is None else nominal + quantity.parse(borrowing)

    def _shown(self, names: Iterable[str]) -> str:
        found = []
        for name in names:
            labels = (self.flavors or {}).get(name, {})
            text = ", ".join(f"{key}={value}" for key, value in labels.items())
            found.append(f"{name} ({text})" if text else name)
        return ", ".join(found)


def needs(pod: Mapping[str, Any]) -> dict[str, Decimal]:
    """Add up what the containers of a pod ask for, as Kueue counts it: requests, else limits."""
    total: dict[str, Decimal] = {}
    for container in pod["spec"]["containers"]:
        resources = container.get("resources") or {}
        asked = {**(resources.get("limits") or {}), **(resources.get("requests") or {})}
        for resource, amount in asked.items():
            total[resource] = total.get(resource, Decimal(0)) + quantity.parse(amount)
    return {resource: amount for resource, amount in total.items() if amount}


def _field(resource: str, task: Task) -> str:
    if resource in _FIELDS:
        return _FIELDS[resource]
    return "gpus" if task.resources.gpus else "pod_config"


def _shown(resource: str, amount: Decimal) -> str:
    if resource == "memory" and amount == int(amount):
        return quantity.size(int(amount))
    return f"{amount.normalize():f}"


def _plain(text: str) -> str:
    return "".join(letter for letter in text.lower() if letter.isalnum())
