"""Where a task will run: its queue, and whether the cluster will take it; found out before anything is made."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from jupyter_konduktor.backends.kubernetes import words
from jupyter_konduktor.backends.kubernetes.rights import ROLE, user
from jupyter_konduktor.backends.kubernetes.sending.manifest import Order, build, template_of
from jupyter_konduktor.backends.kubernetes.sending.manifest.accelerators import accelerator
from jupyter_konduktor.backends.kubernetes.sending.manifest.environment import hosts
from jupyter_konduktor.backends.kubernetes.sending.quota import Quota
from jupyter_konduktor.backends.kubernetes.sending.rehearsal import Rehearsal
from jupyter_konduktor.errors import AccessDeniedError, ApiError, InvalidTaskError, SubmitError
from jupyter_konduktor.naming import nearest
from jupyter_konduktor.task import Task

if TYPE_CHECKING:
    from jupyter_konduktor.backends.kubernetes.api.client import Client
    from jupyter_konduktor.backends.kubernetes.rights import Rights
    from jupyter_konduktor.config import Settings

NO_QUEUE = "none"
DEFAULT_QUEUE = "default"
KEEP = 5.0
"""Seconds that what was seen of the cluster holds: a check and the submit that follows it look once."""

_JOBSET = "v0.10.1"
_KUEUE = "v0.15.2"
_RELEASES = "https://github.com/kubernetes-sigs"
_AT_MOST = 10  # names in one message
_WIDTH = 4  # requests at once
_NO_QUEUES = f'Whoever runs the cluster can make a LocalQueue there; queue = "{NO_QUEUE}" runs a job past any queue.'

Seen = Mapping[str, Any] | ApiError
"""An object or a list as it was read, or why it could not be."""


@dataclass(frozen=True, slots=True)
class Choice:
    """What was found for a task.

    Attributes
    ----------
    queue : str or None
        The LocalQueue; None where Kueue shall not queue it.
    cluster_queue : str
        The ClusterQueue behind it, empty if it is not known.
    cpus : float or None
        Cores to ask for where the task names none; None if the queue counts none.
    notes : tuple of str
        One line each.
    elsewhere : bool
        The queue gives its jobs to other clusters (MultiKueue), which nothing but the JobSet reaches.
    """

    queue: str | None
    cluster_queue: str
    cpus: float | None
    notes: tuple[str, ...]
    elsewhere: bool = False


class Chooser:
    """Looks at a cluster on behalf of tasks; any thread may ask.

    Parameters
    ----------
    client : Client
    rights : Rights
    settings : Settings
        ``accelerators``, ``grace``, ``pod_config`` and ``store`` are used.
    clock : callable, optional
        Seconds that only grow.
    """

    def __init__(
        self, client: Client, rights: Rights, settings: Settings, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._client = client
        self._rights = rights
        self._settings = settings
        self._clock = clock
        self._rehearsal = Rehearsal(client, rights, clock=clock)
        self._lock = threading.Lock()
        self._seen: dict[str, tuple[float, Seen]] = {}
        self._elsewhere: dict[str, bool] = {}
        self._store_is_news = settings.store is None

    def choose(self, task: Task) -> Choice:
        """Find the queue of a task and see whether it can run there.

        Raises
        ------
        InvalidTaskError
            Names the field of the task that the cluster cannot serve, and what it can.
        SubmitError
            If the cluster lacks something for any job, or would make no pod of this one.
        AccessDeniedError
            If this user may make no jobs in the namespace.
        """
        notes = _check_alone(task)
        with ThreadPoolExecutor(_WIDTH, thread_name_prefix="konduktor-choice") as pool:
            kueue = self._check_installed(task, pool)
            choice = self._choose(task, kueue, notes, pool)
        if self._store_is_news and task.kind != "command":
            self._store_is_news = False
            choice = replace(choice, notes=(*choice.notes, "store: none is set; results of up to 4 MiB come back"))
        return choice

    # --- what holds for every job

    def _check_installed(self, task: Task, pool: ThreadPoolExecutor) -> str:
        """Make sure that this user may make JobSets and something runs and queues them; gives Kueue's version."""
        may = pool.submit(self._rights.allows, "create", words.JOBSET_GROUP, "jobsets")
        pool.submit(user, self._client)  # the client keeps who we are; it will be needed
        jobset, served = pool.map(self._client.served, (words.JOBSET_GROUP, words.KUEUE_GROUP))
        if words.JOBSET_VERSION not in jobset:
            raise _not_installed("JobSet", words.JOBSET_GROUP, (words.JOBSET_VERSION,), jobset, _JOBSET)
        kueue = next((version for version in words.KUEUE_VERSIONS if version in served), "")
        if not kueue and task.queue != NO_QUEUE:
            raise _not_installed("Kueue", words.KUEUE_GROUP, words.KUEUE_VERSIONS, served, _KUEUE)
        if not may.result():
            self._check_namespace()
            who = f" as {self._client.identity}" if self._client.identity else ""
            raise AccessDeniedError(
                f"You may not create jobsets.{words.JOBSET_GROUP} in namespace {self._client.namespace}{who}",
                advice=f"Ask whoever runs the cluster for the Role {ROLE}, or set another namespace{self._others()}.",
                status=403,
                reason="Forbidden",
            )
        return kueue

    def _others(self) -> str:
        """Name the other namespaces as the end of a sentence, where this user may see which there are."""
        seen = self._see("/api/v1/namespaces")
        others = [] if isinstance(seen, ApiError) else [name for name in _names(seen) if name != self._client.namespace]
        return f": there is {_listed(others)}" if others else ""

    def _check_namespace(self) -> None:
        """Say so if there is no such namespace, as far as this user may know."""
        name = self._client.namespace
        seen = self._see(f"/api/v1/namespaces/{name}")
        if isinstance(seen, ApiError) and seen.status == 404:
            others = self._see("/api/v1/namespaces")
            there = [] if isinstance(others, ApiError) else _names(others)
            raise SubmitError(
                f"There is no namespace {name} on this cluster{_there(name, there)}",
                advice='Set namespace = "..." to one in which you have a queue.',
            )

    # --- what depends on the task

    def _choose(self, task: Task, kueue: str, notes: list[str], pool: ThreadPoolExecutor) -> Choice:
        jobset = self._jobset(task, 1.0)
        tried = pool.submit(self._rehearsal.notes, jobset)
        priorities = pool.submit(self._priorities, task, kueue)
        flavors = pool.submit(self._flavors, task, kueue)
        queue = self._queue(task, kueue, notes)
        _check_priority(task, priorities.result(), notes)
        _note_topology(task, notes)
        if queue is None:
            return Choice(None, "", 1.0, (*notes, *_kind_note(task, self._settings), *tried.result()))
        name, behind = queue["metadata"]["name"], str((queue.get("spec") or {}).get("clusterQueue", ""))
        _note_stop(queue, f"queue {name}", notes)
        cluster_queue = self._cluster_queue(behind, kueue)
        tried_notes = tried.result()
        cpus: float | None = 1.0
        if cluster_queue is None:
            notes += _kind_note(task, self._settings)
        else:
            _note_stop(cluster_queue, f"ClusterQueue {behind}", notes)
            quota = Quota(name, cluster_queue, flavors.result())
            if task.resources.cpus is None and "cpu" not in quota.covered:
                # It would never be let in for cores that nobody asked for.
                cpus = None
                jobset = self._jobset(task, cpus)
            notes += quota.check(task, template_of(jobset), self._settings.accelerators)
        elsewhere = self._is_elsewhere(name, cluster_queue, jobset)
        if elsewhere:
            notes.append(
                f"queue: jobs of {name} run on another cluster (MultiKueue): their output is not seen here, and their "
                f"result only where a controller writes the condition {words.RESULT_CONDITION}"
            )
        return Choice(name, behind, cpus, (*notes, *tried_notes), elsewhere)

    def _jobset(self, task: Task, cpus: float | None) -> dict[str, Any]:
        """Make the task's JobSet without what it runs."""
        settings = self._settings
        order = Order(
            task=task,
            name=f"{task.name}-00000",
            namespace=self._client.namespace,
            user=user(self._client),
            image=task.image or "",
            queue=None if task.queue == NO_QUEUE else task.queue or DEFAULT_QUEUE,
            key="",
            submitted_ns=0,
            nonce="",
            grace=settings.grace,
            command=["python3"],
            accelerators=settings.accelerators,
            credentials=settings.credentials,
            pod_config=settings.pod_config,
            cpus=cpus,
        )
        return build(order)

    def _queue(self, task: Task, kueue: str, notes: list[str]) -> Mapping[str, Any] | None:
        """Find the LocalQueue; None for a job that asks for none."""
        namespace = self._client.namespace
        seen = self._see(words.kueue(kueue, "localqueues", namespace)) if kueue else {}
        if isinstance(seen, ApiError) and seen.status != 403:
            raise seen
        if isinstance(seen, ApiError):
            if task.queue is None:
                raise InvalidTaskError(
                    f"queue: none is named, and you may not see the queues of namespace {namespace}",
                    advice="Name one: --queue NAME.",
                    field="queue",
                ) from seen
            if task.queue == NO_QUEUE:
                return None
            notes.append(f"queue: you may not see the queues of namespace {namespace}; {task.queue} is taken on trust")
            return {"metadata": {"name": task.queue}}
        queues: dict[str, Mapping[str, Any]] = {str(item["metadata"]["name"]): item for item in seen.get("items") or ()}
        if not queues:
            self._check_namespace()
        if task.queue == NO_QUEUE:
            if DEFAULT_QUEUE in queues:
                notes.append(f"queue: Kueue puts jobs without a queue into {DEFAULT_QUEUE}, which this namespace has")
            return None
        if task.queue is not None:
            if task.queue not in queues:
                raise InvalidTaskError(
                    f"queue: there is no queue {task.queue} in namespace {namespace}{_there(task.queue, queues)}",
                    advice="" if queues else _NO_QUEUES,
                    field="queue",
                    value=task.queue,
                )
            return queues[task.queue]
        if len(queues) == 1:
            return next(iter(queues.values()))
        if DEFAULT_QUEUE in queues:
            return queues[DEFAULT_QUEUE]
        if not queues:
            raise InvalidTaskError(f"queue: namespace {namespace} has no queue", advice=_NO_QUEUES, field="queue")
        raise InvalidTaskError(
            f"queue: none is named, and namespace {namespace} has {len(queues)}: {_listed(queues)}",
            advice=f'Name one: --queue {min(queues)}, or queue = "{min(queues)}" in [tool.konduktor].',
            field="queue",
        )

    def _priorities(self, task: Task, kueue: str) -> list[str] | None:
        """Give the names of the priority classes; None where they are not asked for or cannot be seen."""
        if task.priority is None or not self._may("list", "workloadpriorityclasses"):
            return None
        seen = self._see(words.kueue(kueue, "workloadpriorityclasses")) if kueue else {}
        return None if isinstance(seen, ApiError) else _names(seen)

    def _flavors(self, task: Task, kueue: str) -> dict[str, dict[str, str]] | None:
        """Give the node labels of the flavors; None where no GPUs are asked for or they cannot be seen."""
        if task.resources.gpus is None or not kueue or not self._may("list", "resourceflavors"):
            return None
        seen = self._see(words.kueue(kueue, "resourceflavors"))
        if isinstance(seen, ApiError):
            return None
        return {
            str(item["metadata"]["name"]): dict((item.get("spec") or {}).get("nodeLabels") or {})
            for item in seen.get("items") or ()
        }

    def _cluster_queue(self, name: str, kueue: str) -> Mapping[str, Any] | None:
        if not name or not self._may("get", "clusterqueues"):
            return None
        seen = self._see(words.kueue(kueue, "clusterqueues", name=name))
        return None if isinstance(seen, ApiError) else seen

    def _is_elsewhere(self, queue: str, cluster_queue: Mapping[str, Any] | None, jobset: Mapping[str, Any]) -> bool:
        """Say whether a queue leads to other clusters: Kueue writes so on each of its JobSets, a dry run's too."""
        spec = (cluster_queue or {}).get("spec") or {}
        checks = spec.get("admissionChecks") or (spec.get("admissionChecksStrategy") or {}).get("admissionChecks")
        if cluster_queue is not None and not checks:
            return False
        if queue not in self._elsewhere:
            wanted = {**jobset["metadata"]["labels"], words.QUEUE_NAME: queue}
            tried = {**jobset, "metadata": {**jobset["metadata"], "labels": wanted}}
            try:
                found = self._client.post(words.jobsets(self._client.namespace), tried, {"dryRun": "All"}).body
            except ApiError:
                return False  # what is wrong is said when the job is made
            self._elsewhere[queue] = (found.get("spec") or {}).get("managedBy") == words.MULTIKUEUE
        return self._elsewhere[queue]

    def _may(self, verb: str, resource: str) -> bool:
        return self._rights.allows(verb, words.KUEUE_GROUP, resource)

    def _see(self, path: str) -> Seen:
        """Read an object or a list, unless it was read a moment ago."""
        with self._lock:
            known = self._seen.get(path)
        if known is not None and self._clock() - known[0] <= KEEP:
            return known[1]
        try:
            seen: Seen = self._client.get(path)
        except ApiError as error:
            seen = error
        with self._lock:
            self._seen[path] = (self._clock(), seen)
        return seen


def _check_alone(task: Task) -> list[str]:
    """Refuse what no cluster can do."""
    if not task.image:
        raise InvalidTaskError(
            "image: a job on a cluster needs a container image that has Python",
            advice='Give --image python:3.12, or set image = "..." in [tool.konduktor] of pyproject.toml.',
            field="image",
        )
    if hosts("x" * len(f"{task.name}-00000"), task.resources.nodes):
        return []
    other = f"NAME-{words.REPLICATED_JOB_NAME}-0-R.NAME"
    return [f"nodes: NODE_HOST_IPS would be too long for {task.resources.nodes} and is not set; node R is {other}"]


def _check_priority(task: Task, known: Sequence[str] | None, notes: list[str]) -> None:
    if task.priority is not None and task.queue == NO_QUEUE:
        notes.append("priority: not used without a queue")
    elif task.priority is not None and known is not None and task.priority not in known:
        raise InvalidTaskError(
            f"priority: this cluster has no WorkloadPriorityClass {task.priority}{_there(task.priority, known)}",
            field="priority",
            value=task.priority,
        )


def _note_topology(task: Task, notes: list[str]) -> None:
    """Note what only Kueue would see to; JobSet sees to what is exclusive."""
    unused = [rule for rule in task.topology if rule.partition(":")[0] != "exclusive"]
    if unused and task.queue == NO_QUEUE:
        notes.append(f"topology: {unused[0]} is not used without a queue")


def _kind_note(task: Task, settings: Settings) -> list[str]:
    gpus = task.resources.gpus
    if gpus is None or not gpus.kind or accelerator(gpus, settings.accelerators).mapped:
        return []
    return [f"gpus: {gpus.kind} is not in the setting accelerators, and the kinds of this cluster cannot be seen here"]


def _note_stop(queue: Mapping[str, Any], title: str, notes: list[str]) -> None:
    """Note why a queue takes nothing at the moment: what waits in it goes on when it is started again."""
    policy = (queue.get("spec") or {}).get("stopPolicy", "None")
    conditions = (queue.get("status") or {}).get("conditions") or ()
    inactive = [item for item in conditions if item.get("type") == "Active" and item.get("status") == "False"]
    if policy != "None":
        notes.append(f"queue: {title} is stopped ({policy}); the job waits until it is started again")
    elif inactive:
        why = f"({inactive[0].get('reason')}): {inactive[0].get('message')}"
        notes.append(f"queue: {title} takes no jobs at the moment {why}")


def _not_installed(
    product: str, group: str, understood: Sequence[str], served: Sequence[str], version: str
) -> SubmitError:
    where = f"{_RELEASES}/{product.lower()}/releases/download/{version}/manifests.yaml"
    if served:
        return SubmitError(
            f"This cluster serves {product} ({group}) as {', '.join(served)}; understood is {' or '.join(understood)}",
            advice=f"{product} {version} is known to work.",
        )
    return SubmitError(
        f"This cluster has no {product} ({group})",
        advice=f"Whoever runs it can install it: kubectl apply --server-side -f {where}",
    )


def _names(listed: Mapping[str, Any]) -> list[str]:
    return [str(item["metadata"]["name"]) for item in listed.get("items") or ()]


def _there(name: str, there: Iterable[str]) -> str:
    """Go on in a sentence about what is not there: the nearest that is, and what else there is."""
    known = sorted(there)
    if not known:
        return ""
    meant = nearest(name, known)
    return f"; did you mean {meant}? There is {_listed(known)}" if meant else f"; there is {_listed(known)}"


def _listed(names: Iterable[str]) -> str:
    known = sorted(names)
    more = f" and {len(known) - _AT_MOST} more" if len(known) > _AT_MOST else ""
    return ", ".join(known[:_AT_MOST]) + more
