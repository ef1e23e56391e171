"""What this user may do on the cluster, what this package uses of it, and the roles that give it."""

from __future__ import annotations

import getpass
import os
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from jupyter_konduktor.backends.kubernetes import words
from jupyter_konduktor.backends.kubernetes.sending.manifest import User
from jupyter_konduktor.errors import ApiError

if TYPE_CHECKING:
    from jupyter_konduktor.backends.kubernetes.api.client import Client

ROLE = "jupyter-konduktor-user"
CLUSTER_ROLE = "jupyter-konduktor-quota-reader"

KEEP = 60.0
"""Seconds that an answer holds."""

_REVIEWS = "/apis/authorization.k8s.io/v1"
_RBAC = "rbac.authorization.k8s.io"


@dataclass(frozen=True, slots=True)
class Use:
    """One thing this package does with the cluster, and what it takes.

    Attributes
    ----------
    what : str
        For a person.
    group : str
        API group; empty for the core API.
    resource : str
        With its subresource, as in ``pods/log``.
    verbs : tuple of str
    needed : bool
        No job can be run without it.
    cluster : bool
        The resource belongs to no namespace.
    granted : bool
        The roles of this package give it.
    """

    what: str
    group: str
    resource: str
    verbs: tuple[str, ...]
    needed: bool = False
    cluster: bool = False
    granted: bool = True


USES = (
    Use(
        "make, follow and cancel jobs",
        words.JOBSET_GROUP,
        "jobsets",
        ("create", "get", "list", "watch", "patch", "delete"),
        needed=True,
    ),
    Use("see why a job waits", words.KUEUE_GROUP, "workloads", ("list", "watch")),
    Use("choose a queue", words.KUEUE_GROUP, "localqueues", ("list",)),
    Use("stop and resume jobs", words.KUEUE_GROUP, "workloads", ("patch",)),
    Use("see positions in the queue", words.VISIBILITY_GROUP, "localqueues/pendingworkloads", ("get",)),
    Use("see how jobs run and fetch results", "", "pods", ("get", "list", "watch")),
    Use(
        "see that a pod's Job is its JobSet's; else names and labels are believed", words.BATCH_GROUP, "jobs", ("get",)
    ),
    Use("read logs", "", "pods/log", ("get",)),
    Use("tell why pods are not made or do not start", "", "events", ("list",)),
    Use("send inputs beyond 32 KiB", "", "secrets", ("create",)),
    Use("renew the URLs of a store while a job waits", "", "secrets", ("patch",)),
    Use("send the runner once for all jobs", "", "configmaps", ("create",)),
    # Not given: whoever may make pods can pass one off as a node of someone's job, which a JobSet's pods cannot.
    Use("try a pod before a job is made", "", "pods", ("create",), granted=False),
    Use("compare a job with the quota", words.KUEUE_GROUP, "clusterqueues", ("get",), cluster=True),
    Use("tell kinds of GPUs apart", words.KUEUE_GROUP, "resourceflavors", ("list",), cluster=True),
    Use("check priorities", words.KUEUE_GROUP, "workloadpriorityclasses", ("list",), cluster=True),
)
"""Everything that this package asks a cluster for."""


class Rights:
    """What this user may do in the client's namespace; asked for once a minute at most.

    A right that turns out not to be there, because a role has just been taken away, is met where it is used.

    Parameters
    ----------
    client : Client
    clock : callable, optional
        Seconds that only grow.
    """

    def __init__(self, client: Client, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._client = client
        self._clock = clock
        self._lock = threading.Lock()
        self._read_at: float | None = None
        self._rules: list[Mapping[str, Any]] = []
        self._complete = True
        self._answers: dict[tuple[str, str, str, str], tuple[float, bool]] = {}

    def allows(self, verb: str, group: str, resource: str, sub: str = "") -> bool:
        """Say whether this user may do something, to any object of that resource.

        Raises
        ------
        BackendError
            If the cluster does not answer.
        """
        with self._lock:  # several may ask at once, and one answer does for all
            if self._read_at is None or self._clock() - self._read_at > KEEP:
                self._read()
            if any(_grants(rule, verb, group, resource, sub) for rule in self._rules):
                return True
            return not self._complete and self._ask(verb, group, resource, sub)

    def missing(self, *, of_cluster: bool = True) -> list[str]:
        """List what this user cannot do here, a line each, what no job can do without first.

        Parameters
        ----------
        of_cluster : bool, default True
            Also what belongs to no namespace.
        """
        found = []
        for use in sorted(USES, key=lambda use: not use.needed):
            if use.cluster and not of_cluster:
                continue
            name, _, sub = use.resource.partition("/")
            verbs = [verb for verb in use.verbs if not self.allows(verb, use.group, name, sub)]
            if verbs and use.granted:
                kind = use.resource + (f".{use.group}" if use.group else "")
                found.append(f"{use.what}: {', '.join(verbs)} on {kind}")
        return found

    def _read(self) -> None:
        body = {
            "apiVersion": "authorization.k8s.io/v1",
            "kind": "SelfSubjectRulesReview",
            "spec": {"namespace": self._client.namespace},
        }
        try:
            status = self._client.post(f"{_REVIEWS}/selfsubjectrulesreviews", body).body.get("status") or {}
        except ApiError:
            status = {"incomplete": True}
        self._rules = status.get("resourceRules") or []
        self._complete = not status.get("incomplete")
        self._read_at = self._clock()

    def _ask(self, verb: str, group: str, resource: str, sub: str) -> bool:
        """Ask about one right: an authorizer that cannot list its rules (a webhook, a cloud's own) can answer this."""
        key = (verb, group, resource, sub)
        known = self._answers.get(key)
        if known is not None and self._clock() - known[0] <= KEEP:
            return known[1]
        full = f"{resource}/{sub}" if sub else resource
        cluster = any(use.cluster and use.group == group and use.resource == full for use in USES)
        attributes = {"verb": verb, "group": group, "resource": resource, "subresource": sub}
        attributes["namespace"] = "" if cluster else self._client.namespace
        body = {
            "apiVersion": "authorization.k8s.io/v1",
            "kind": "SelfSubjectAccessReview",
            "spec": {"resourceAttributes": attributes},
        }
        try:
            status = self._client.post(f"{_REVIEWS}/selfsubjectaccessreviews", body).body.get("status") or {}
            allowed = bool(status.get("allowed"))
        except ApiError:
            allowed = True  # it cannot be found out: what is used will tell
        self._answers[key] = (self._clock(), allowed)
        return allowed


def role(namespace: str) -> dict[str, Any]:
    """Give the Role that a user of this package needs in a namespace."""
    return {
        "apiVersion": f"{_RBAC}/v1",
        "kind": "Role",
        "metadata": {"name": ROLE, "namespace": namespace},
        "rules": _rules(use for use in USES if use.granted and not use.cluster),
    }


def cluster_role() -> dict[str, Any]:
    """Give the ClusterRole with which quotas, kinds of GPUs and priorities can be seen; nothing depends on it."""
    return {
        "apiVersion": f"{_RBAC}/v1",
        "kind": "ClusterRole",
        "metadata": {"name": CLUSTER_ROLE},
        "rules": _rules(use for use in USES if use.granted and use.cluster),
    }


def bindings(namespace: str, subject: Mapping[str, str]) -> list[dict[str, Any]]:
    """Give the bindings of both roles to someone.

    Parameters
    ----------
    namespace : str
    subject : mapping
        As RBAC spells it: ``{"kind": "Group", "name": "team"}``; a ServiceAccount with its ``namespace``.
    """
    group = {} if subject["kind"] == "ServiceAccount" else {"apiGroup": _RBAC}
    found = []
    for kind, name in (("Role", ROLE), ("ClusterRole", CLUSTER_ROLE)):
        metadata = {"name": name, "namespace": namespace} if kind == "Role" else {"name": name}
        binding = {
            "apiVersion": f"{_RBAC}/v1",
            "kind": f"{kind}Binding",
            "metadata": metadata,
            "roleRef": {"apiGroup": _RBAC, "kind": kind, "name": name},
            "subjects": [{**group, **subject}],
        }
        found.append(binding)
    return found


def user(client: Client) -> User:
    """Say who submits: the user of a JupyterHub, else who the cluster says it is, else who is logged in here."""
    return User.of(os.environ.get("JUPYTERHUB_USER") or client.identity or _local_user())


def user_id(client: Client) -> str:
    """Give the label by which this user's jobs are found."""
    return user(client).id


def _local_user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a number without a name, as in many containers
        return str(os.getuid())


def _rules(uses: Iterable[Use]) -> list[dict[str, Any]]:
    """Write uses as rules, one for each resource."""
    verbs: dict[tuple[str, str], list[str]] = {}
    for use in uses:
        held = verbs.setdefault((use.group, use.resource), [])
        held += [verb for verb in use.verbs if verb not in held]
    return [
        {"apiGroups": [group], "resources": [resource], "verbs": found} for (group, resource), found in verbs.items()
    ]


def _grants(rule: Mapping[str, Any], verb: str, group: str, resource: str, sub: str) -> bool:
    """Say whether one rule, by RBAC's own reading, allows something to any object."""
    resources = rule.get("resources") or ()
    return (
        not rule.get("resourceNames")
        and _among(verb, rule.get("verbs") or ())
        and _among(group, rule.get("apiGroups") or ())
        and (_among(f"{resource}/{sub}" if sub else resource, resources) or (bool(sub) and f"*/{sub}" in resources))
    )


def _among(word: str, allowed: Iterable[str]) -> bool:
    return any(item in (word, "*") for item in allowed)
