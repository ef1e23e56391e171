"""The objects of a fresh cluster: namespaces, a queue, priorities, users and their rights."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tests.testbed.api import Api

TEAM = "team"
QUEUE = "user-queue"
FLAVOR = "default"
PRIORITIES = {"low-priority": -100, "medium-priority": 10, "high-priority": 100}
TEAM_QUOTA = {"cpu": "1500m", "memory": "4Gi", "gpu": 8}
RESOURCES = {"gpu": "nvidia.com/gpu"}
RBAC = "/apis/rbac.authorization.k8s.io/v1"
KUEUE = "/apis/kueue.x-k8s.io/v1beta2"

Rules = list[dict[str, list[str]]]


def rule(group: str, resources: str, verbs: str) -> dict[str, list[str]]:
    """One rule of a role, its lists written with spaces."""
    return {"apiGroups": [group], "resources": resources.split(), "verbs": verbs.split()}


# What someone who submits from a notebook needs in a namespace, and may see of the cluster.
NOTEBOOK_RULES: Rules = [
    rule("jobset.x-k8s.io", "jobsets", "create get list watch patch delete"),
    rule("kueue.x-k8s.io", "workloads localqueues", "get list watch"),
    rule("kueue.x-k8s.io", "workloads", "patch"),
    rule("visibility.kueue.x-k8s.io", "localqueues/pendingworkloads", "get"),
    rule("", "pods pods/log events", "get list watch"),
    rule("batch", "jobs", "get list watch"),
    rule("", "configmaps secrets", "create get list patch delete"),
]
CLUSTER_READER_RULES: Rules = [
    rule("kueue.x-k8s.io", "clusterqueues resourceflavors workloadpriorityclasses", "get list watch"),
    rule("", "nodes", "get list watch"),
]
ADMIN_RULES: Rules = [rule("*", "*", "*")]


def install(admin: Api) -> None:
    """Make them all."""
    for name in ("notebook-user", "cluster-reader", "namespace-admin"):
        rules = {"notebook-user": NOTEBOOK_RULES, "cluster-reader": CLUSTER_READER_RULES}.get(name, ADMIN_RULES)
        admin.ensure(f"{RBAC}/clusterroles", {"metadata": {"name": name}, "rules": rules})
    install_queueing(admin)
    make_namespace(admin, TEAM, TEAM_QUOTA, preemption={"withinClusterQueue": "LowerPriority"})
    bind(admin, TEAM, "alice", "notebook-user", user("alice"))
    bind(admin, TEAM, "bob", "kueue-batch-user-role", user("bob"))
    bind(admin, None, "alice", "cluster-reader", user("alice"))


def install_queueing(admin: Api) -> None:
    """Make what the queues of tests refer to."""
    admin.ensure(f"{KUEUE}/resourceflavors", {**_kueue("ResourceFlavor", FLAVOR), "spec": {}})
    for name, value in PRIORITIES.items():
        admin.ensure(f"{KUEUE}/workloadpriorityclasses", {**_kueue("WorkloadPriorityClass", name), "value": value})


def make_namespace(
    admin: Api,
    name: str,
    quota: Mapping[str, str | int],
    *,
    strategy: str = "StrictFIFO",
    cohort: str | None = None,
    preemption: Mapping[str, Any] | None = None,
    labels: Mapping[str, str] | None = None,
    flavor: str = FLAVOR,
) -> None:
    """Make a namespace with a ClusterQueue of its name, for it alone, and the LocalQueue `user-queue`."""
    admin.ensure("/api/v1/namespaces", {"metadata": {"name": name, "labels": dict(labels or {})}})
    admin.ensure(f"{KUEUE}/clusterqueues", cluster_queue(name, quota, strategy, cohort, preemption, flavor))
    queue = {**_kueue("LocalQueue", QUEUE), "spec": {"clusterQueue": name}}
    admin.ensure(f"{KUEUE}/namespaces/{name}/localqueues", queue)


def cluster_queue(
    name: str,
    quota: Mapping[str, str | int],
    strategy: str,
    cohort: str | None,
    preemption: Mapping[str, Any] | None,
    flavor: str,
) -> dict[str, Any]:
    """A ClusterQueue for the namespace of its name, with one flavor."""
    resources = [{"name": RESOURCES.get(key, key), "nominalQuota": str(value)} for key, value in quota.items()]
    group = {
        "coveredResources": [each["name"] for each in resources],
        "flavors": [{"name": flavor, "resources": resources}],
    }
    spec = {
        "queueingStrategy": strategy,
        "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": name}},
        "resourceGroups": [group],
        **({"cohortName": cohort} if cohort else {}),
        **({"preemption": dict(preemption)} if preemption else {}),
    }
    return {**_kueue("ClusterQueue", name), "spec": spec}


def user(name: str) -> dict[str, str]:
    """A user, as a binding names it."""
    return {"kind": "User", "name": name, "apiGroup": "rbac.authorization.k8s.io"}


def bind(admin: Api, namespace: str | None, name: str, role: str, subject: dict[str, str]) -> None:
    """Bind a ClusterRole in one namespace, or without one everywhere."""
    kind, path = ("rolebindings", f"{RBAC}/namespaces/{namespace}") if namespace else ("clusterrolebindings", RBAC)
    reference = {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": role}
    body = {"metadata": {"name": f"{name}-{role}"}, "roleRef": reference, "subjects": [subject]}
    admin.ensure(f"{path}/{kind}", body)


def _kueue(kind: str, name: str) -> dict[str, Any]:
    return {"apiVersion": "kueue.x-k8s.io/v1beta2", "kind": kind, "metadata": {"name": name}}
