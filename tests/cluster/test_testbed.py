"""The testbed is a real cluster: queues, containers, names, limits, logs, users, and parts that come and go."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.testbed.api import Api, ApiError
from tests.testbed.cluster import Cluster, Namespace, wait_jobset
from tests.testbed.lifecycle import all_parts
from tests.testbed.node import ASSERTED
from tests.testbed.parts import wait_for

PARTS = list(all_parts(Path("/nonexistent")))
RESTRICTED = {
    "pod": {"runAsNonRoot": True, "runAsUser": 1000, "seccompProfile": {"type": "RuntimeDefault"}},
    "container": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
}


def jobset(name: str, image: str, command: list[str], *, nodes: int = 1, **limits: str) -> dict[str, Any]:
    """A JobSet as a client would send it, restricted as far as Pod Security can ask for."""
    limits = {("nvidia.com/gpu" if key == "gpu" else key): value for key, value in limits.items()}
    container = {
        "name": "main",
        "image": image,
        "imagePullPolicy": "IfNotPresent",
        "command": command,
        "resources": {"requests": {"cpu": "50m", "memory": "32Mi", **limits}, "limits": limits},
        "securityContext": RESTRICTED["container"],
    }
    pod = {
        "restartPolicy": "Never",
        "terminationGracePeriodSeconds": 1,
        "securityContext": RESTRICTED["pod"],
        "containers": [container],
    }
    job = {"parallelism": nodes, "completions": nodes, "backoffLimit": 0, "template": {"spec": pod}}
    return {
        "apiVersion": "jobset.x-k8s.io/v1alpha2",
        "kind": "JobSet",
        "metadata": {"name": name, "labels": {"kueue.x-k8s.io/queue-name": "user-queue"}},
        "spec": {"replicatedJobs": [{"name": "workers", "replicas": 1, "template": {"spec": job}}]},
    }


def run(namespace: Namespace, command: list[str], *, name: str = "job", **settings: Any) -> dict[str, Any]:
    """Run a JobSet to its end."""
    namespace.api.create(namespace.jobsets, jobset(name, namespace.cluster.image, command, **settings))
    return wait_jobset(namespace.api, f"{namespace.jobsets}/{name}")


def log(namespace: Namespace, pod: dict[str, Any]) -> str:
    """The log of a pod, as the user of the namespace reads it."""
    return namespace.api.text(f"{namespace.core}/pods/{pod['metadata']['name']}/log")


def terminated(pod: dict[str, Any]) -> dict[str, Any]:
    """How the container of a pod ended."""
    return pod["status"]["containerStatuses"][0]["state"]["terminated"]


def test_a_job_with_a_gpu_goes_through_the_queue_and_completes(namespace: Namespace) -> None:
    script = "print('hello'); open('/dev/termination-log', 'w').write('{\"exit\": 0}')"
    ended = run(namespace, ["python3", "-c", script], gpu="2")
    assert ended["status"]["terminalState"] == "Completed"

    def conditions() -> set[str]:
        (workload,) = namespace.api.get(f"{namespace.kueue}/workloads")["items"]
        return {each["type"] for each in workload["status"]["conditions"]}

    wait_for(lambda: conditions() >= {"QuotaReserved", "Admitted", "Finished"}, "the queue to know of its end", 60)
    (pod,) = namespace.pods("job")
    assert terminated(pod)["message"] == '{"exit": 0}'
    assert log(namespace, pod) == "hello\n"


def test_pods_of_one_job_find_each_other_by_name(namespace: Namespace) -> None:
    script = """
import socket, time
for name in ("job-workers-0-0.job", "job-workers-0-1.job"):
    while True:
        try:
            print(socket.gethostbyname(name))
            break
        except OSError:
            time.sleep(0.1)
"""
    assert run(namespace, ["python3", "-c", script], nodes=2)["status"]["terminalState"] == "Completed"
    pods = namespace.pods("job")
    addresses = [pod["status"]["podIP"] for pod in pods]
    assert [log(namespace, pod).split() for pod in pods] == [addresses, addresses]


def test_a_container_over_its_memory_is_killed(namespace: Namespace) -> None:
    ended = run(namespace, ["python3", "-c", "len(bytearray(200 << 20))"], memory="64Mi")
    assert ended["status"]["terminalState"] == "Failed"
    (pod,) = namespace.pods("job")
    assert terminated(pod)["reason"] == "OOMKilled"
    assert terminated(pod)["exitCode"] == 137


def test_pod_security_is_enforced(cluster: Cluster) -> None:
    with cluster.new_namespace(labels={"pod-security.kubernetes.io/enforce": "restricted"}) as namespace:
        assert run(namespace, ["id", "-u"])["status"]["terminalState"] == "Completed"
        root = jobset("root", cluster.image, ["id"])["spec"]["replicatedJobs"][0]["template"]["spec"]["template"][
            "spec"
        ]
        root["securityContext"] = {}
        with pytest.raises(ApiError, match="violates PodSecurity") as refused:
            namespace.api.create(f"{namespace.core}/pods", {"metadata": {"name": "root"}, "spec": root})
        assert refused.value.status == 403


def test_users_have_rights_in_their_own_namespace_only(cluster: Cluster, namespace: Namespace) -> None:
    with cluster.new_namespace() as other:
        for user, mine, theirs in ((namespace, namespace, other), (other, other, namespace)):
            assert user.api.get(mine.jobsets)["items"] == []
            with pytest.raises(ApiError) as refused:
                user.api.get(theirs.jobsets)
            assert refused.value.status == 403


@pytest.mark.alone
def test_bob_may_submit_and_not_read_logs(cluster: Cluster) -> None:
    cluster.part("etcd")
    alice, bob = (Api(cluster.kubeconfig(name)) for name in ("alice", "bob"))
    for user in (alice, bob):
        user.get("/apis/jobset.x-k8s.io/v1alpha2/namespaces/team/jobsets")
    alice.get("/api/v1/namespaces/team/pods")
    with pytest.raises(ApiError, match="pods is forbidden"):
        bob.get("/api/v1/namespaces/team/pods")


def test_a_job_over_quota_waits_and_has_a_position(cluster: Cluster) -> None:
    with cluster.new_namespace({"cpu": 1, "memory": "1Gi", "gpu": 1}) as namespace:
        for name in ("first", "second", "third"):
            body = jobset(name, cluster.image, ["sleep", "60"], gpu="1")
            namespace.api.create(namespace.jobsets, body)
            time.sleep(1)  # jobs of the same second have no order
        queue = "apis/visibility.kueue.x-k8s.io/v1beta2/namespaces"
        path = f"/{queue}/{namespace.name}/localqueues/user-queue/pendingworkloads"
        wait_for(lambda: len(namespace.api.get(path)["items"]) == 2, "two jobs to wait", 60)
        waiting = namespace.api.get(path)["items"]
        assert [each["positionInLocalQueue"] for each in waiting] == [0, 1]
        assert [each["metadata"]["name"].split("-")[1] for each in waiting] == ["second", "third"]


@pytest.mark.alone
def test_a_token_can_live_for_seconds(cluster: Cluster, namespace: Namespace) -> None:
    cluster.part("kube-apiserver")
    kubeconfig = namespace.api
    kubeconfig.user = {"token": cluster.token(namespace.name, "default", 2)}
    kubeconfig.context = kubeconfig.tls()
    review = {"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"}
    who = kubeconfig.create("/apis/authentication.k8s.io/v1/selfsubjectreviews", review)["status"]["userInfo"]
    assert who["username"] == f"system:serviceaccount:{namespace.name}:default"

    def refused() -> bool:
        try:
            kubeconfig.create("/apis/authentication.k8s.io/v1/selfsubjectreviews", review)
        except ApiError as error:
            return error.status == 401
        return False

    wait_for(refused, "the token to end", 60)


@pytest.mark.alone
def test_the_cluster_came_up_fast_enough_to_be_brought_up_for_a_session(cluster: Cluster) -> None:
    cluster.part("etcd")
    print(f"up in {cluster.start_time} s")
    assert cluster.start_time < 180  # ten on two idle cores, and a minute beside much else


@pytest.mark.alone
@pytest.mark.parametrize("name", PARTS)
def test_a_part_stops_and_starts(cluster: Cluster, name: str) -> None:
    part = cluster.part(name)
    before = part.process()
    assert before is not None
    with cluster.stopped(name):
        assert not part.running
        assert not psutil.pid_exists(before.pid) or before.status() == psutil.STATUS_ZOMBIE
    assert part.running
    assert part.process() != before


def test_jobs_run_after_every_part_was_away(namespace: Namespace) -> None:
    assert run(namespace, ["true"], name="after", gpu="1")["status"]["terminalState"] == "Completed"


@pytest.mark.alone
def test_a_paused_part_answers_when_it_goes_on(cluster: Cluster) -> None:
    part = cluster.part("kube-apiserver")
    with cluster.stopped("kube-apiserver", how="pause"):
        assert part.paused
        with pytest.raises(TimeoutError):
            cluster.admin.api("GET", "/version", timeout=1)
    assert cluster.admin.get("/version")["gitVersion"] == "v1.34.3"


@pytest.mark.alone
def test_the_kubelet_takes_other_settings_and_the_node_keeps_its_cores_and_gpus(cluster: Cluster) -> None:
    cluster.part("kubelet")
    path = "/api/v1/nodes/konduktor"
    with cluster.kubelet_settings(containerLogMaxSize="1Mi"):
        config = cluster.admin.get(f"{path}/proxy/configz")["kubeletconfig"]
        assert config["containerLogMaxSize"] == "1Mi"
        assert ASSERTED.items() <= cluster.admin.get(path)["status"]["allocatable"].items()
    assert cluster.admin.get(f"{path}/proxy/configz")["kubeletconfig"]["containerLogMaxSize"] == "10Mi"
    assert ASSERTED.items() <= cluster.admin.get(path)["status"]["allocatable"].items()


@pytest.mark.alone
def test_etcd_is_compacted(cluster: Cluster) -> None:
    old = cluster.admin.get("/api/v1/namespaces")["metadata"]["resourceVersion"]
    assert cluster.compact() >= int(old)
