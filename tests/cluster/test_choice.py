"""What is chosen, refused and built, against a real API server with Kueue and JobSet."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from jupyter_konduktor.backends.kubernetes import rights
from jupyter_konduktor.backends.kubernetes.api.client import Client
from jupyter_konduktor.backends.kubernetes.rights import Rights
from jupyter_konduktor.backends.kubernetes.sending.choice import Chooser
from jupyter_konduktor.backends.kubernetes.sending.manifest import Order, User, build
from jupyter_konduktor.backends.kubernetes.sending.rehearsal import pod_of, shape_of
from jupyter_konduktor.config import Settings
from jupyter_konduktor.errors import AccessDeniedError, InvalidTaskError, SubmitError
from jupyter_konduktor.task import Task
from tests.testbed import objects
from tests.testbed.cluster import Cluster, Namespace, wait_jobset

NEVER_PULLED = {"spec": {"containers": [{"imagePullPolicy": "Never"}]}}
PROBE = """
import json, os, socket, sys, tempfile, time

def resolves(host):
    for _ in range(100):  # a name is there soon after its pod
        try:
            return bool(socket.gethostbyname(host))
        except OSError:
            time.sleep(0.1)
    return False

open(os.path.join(os.environ["KONDUKTOR_OUTPUT_DIR"], "written"), "w").close()
tempfile.NamedTemporaryFile(dir=os.environ["HOME"]).close()
tempfile.NamedTemporaryFile(dir="/dev/shm").close()
found = {"user": os.getuid(), "argument": sys.argv[1], "temporary": tempfile.gettempdir()}
found["token"] = os.path.exists("/var/run/secrets/kubernetes.io")
found["hosts"] = [resolves(host) for host in os.environ["NODE_HOST_IPS"].split(",")]
with open("/dev/termination-log", "w") as file:
    json.dump({**found, **{name: os.environ.get(name) for name in %r}}, file)
"""
SHOWN = ("A", "RANK", "NUM_NODES", "RESTART_ATTEMPT", "KONDUKTOR_JOB_NAME", "KONDUKTOR_NODENAME")


@pytest.fixture(scope="module")
def shared(cluster: Cluster) -> Iterator[Namespace]:
    """One namespace for the tests that only look."""
    with cluster.new_namespace() as made:
        yield made


def task(**options: Any) -> Task:
    return Task.create(**{"kind": "command", "command": ["true"], "name": "probe", "image": "python:3.11", **options})


def chooser(kubeconfig: Any, namespace: str | None = None, **settings: Any) -> Chooser:
    client = Client.connect(kubeconfig=str(kubeconfig), namespace=namespace)
    return Chooser(client, Rights(client), replace(Settings(), **settings))


def order(namespace: Namespace, made: Task, name: str, command: list[str]) -> Order:
    return Order(
        task=made,
        name=name,
        namespace=namespace.name,
        user=User.of(namespace.user),
        image=namespace.cluster.image,
        queue=namespace.queue,
        key="0" * 64,
        submitted_ns=0,
        nonce="0" * 16,
        grace=1.0,
        command=command,
        pod_config=NEVER_PULLED,
        cpus=0.1,
    )


def test_the_namespaces_queue_is_found_and_a_task_fits(shared: Namespace) -> None:
    found = chooser(shared.kubeconfig).choose(task(gpus=8, priority="low-priority"))
    assert (found.queue, found.cluster_queue, found.notes) == (shared.queue, shared.name, ())


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"gpus": 9}, "can ever hold: its quota is 8"),
        ({"gpus": "MI300X:1"}, "has no amd.com/gpu"),
        ({"queue": "user-queu"}, "did you mean user-queue"),
        ({"priority": "hi-priority"}, "did you mean high-priority"),
    ],
)
def test_what_the_cluster_cannot_serve_is_refused(shared: Namespace, options: dict[str, Any], said: str) -> None:
    with pytest.raises(InvalidTaskError, match=said):
        chooser(shared.kubeconfig).choose(task(**options))


def test_namespaces_that_are_not_there_or_not_ours(cluster: Cluster, shared: Namespace) -> None:
    with pytest.raises(SubmitError, match=r"There is no namespace nowhere on this cluster; .*team"):
        chooser(cluster.kubeconfig("admin"), "nowhere").choose(task())
    with pytest.raises(
        AccessDeniedError, match=r"may not create jobsets\.jobset\.x-k8s\.io in namespace kube-system as"
    ):
        chooser(shared.kubeconfig, "kube-system").choose(task())


def test_with_the_roles_of_this_package_nothing_is_missing(cluster: Cluster, shared: Namespace) -> None:
    rules, of_cluster = rights.role(shared.name)["rules"], rights.cluster_role()["rules"]
    path = cluster.new_user(f"{shared.name}-role", shared.name, rules, of_cluster)
    client = Client.connect(kubeconfig=str(path), namespace=shared.name)
    held = Rights(client)
    assert held.missing() == []
    assert not held.allows("create", "", "pods")
    assert Chooser(client, held, Settings()).choose(task(gpus=1)).queue == shared.queue


def test_a_stopped_queue_is_noted(cluster: Cluster) -> None:
    with cluster.new_namespace() as namespace:
        cluster.admin.merge(f"{namespace.kueue}/localqueues/{namespace.queue}", {"spec": {"stopPolicy": "Hold"}})
        assert "is stopped (Hold)" in chooser(namespace.kubeconfig).choose(task()).notes[0]


def test_a_pod_is_judged_before_its_job_is_made(cluster: Cluster) -> None:
    restricted = {"pod-security.kubernetes.io/enforce": "restricted"}
    limits = {"metadata": {"name": "small"}, "spec": {"limits": [{"type": "Container", "max": {"memory": "1Gi"}}]}}
    job_maker = [*rights.role("")["rules"], objects.rule("batch", "jobs", "create")]
    with cluster.new_namespace(labels=restricted) as namespace:
        assert chooser(namespace.kubeconfig).choose(task()).notes == ()
        locking = {
            "spec": {"containers": [{"securityContext": {"privileged": True, "allowPrivilegeEscalation": True}}]}
        }
        with pytest.raises(SubmitError, match='violates PodSecurity "restricted:latest"'):
            chooser(namespace.kubeconfig, pod_config=locking).choose(task())
        path = cluster.new_user(f"{namespace.name}-jobs", namespace.name, job_maker, [])
        (note,) = chooser(path, namespace.name, pod_config=locking).choose(task()).notes
        assert "would violate PodSecurity" in note
        cluster.admin.create(f"{namespace.core}/limitranges", limits)
        with pytest.raises(SubmitError, match="maximum memory usage per Container is 1Gi"):
            chooser(namespace.kubeconfig).choose(task(memory="2Gi"))


def test_every_field_is_one_that_the_api_knows(shared: Namespace) -> None:
    made = task(
        gpus="H100:8",
        nodes=2,
        cpus=1.5,
        memory="1Gi",
        timeout="90.5",
        max_restarts=2,
        priority="low-priority",
        secrets={"TOKEN": "hub/token"},
        volumes={"data": "/data"},
    )
    strict = "?dryRun=All&fieldValidation=Strict"
    for name, queue in (("probe-00000", shared.queue), ("probe-00001", None)):
        jobset = build(replace(order(shared, made, name, ["true"]), queue=queue))
        shared.api.create(f"{shared.jobsets}{strict}", jobset)
        shared.api.create(f"{shared.core}/pods{strict}", pod_of(jobset, shape_of(jobset)))


def test_a_job_of_two_nodes_finds_what_it_was_promised(namespace: Namespace) -> None:
    made = task(nodes=2, env={"A": "$(HOME) $$ $x"})
    command = ["python3", "-c", PROBE % (SHOWN,), "$(PATH) $$"]
    namespace.api.create(namespace.jobsets, build(order(namespace, made, "probe-00000", command)))
    ended = wait_jobset(namespace.api, f"{namespace.jobsets}/probe-00000")
    assert ended["status"]["terminalState"] == "Completed", namespace.pods("probe-00000")
    for rank, pod in enumerate(namespace.pods("probe-00000")):
        (status,) = pod["status"]["containerStatuses"]
        found = json.loads(status["state"]["terminated"]["message"])
        assert found["A"] == "$(HOME) $$ $x"
        assert found["argument"] == "$(PATH) $$"
        assert (found["RANK"], found["NUM_NODES"], found["RESTART_ATTEMPT"]) == (str(rank), "2", "0")
        assert (found["user"], found["temporary"]) == (1000, "/konduktor/work")
        assert found["hosts"] == [True, True]
        assert found["KONDUKTOR_NODENAME"] == pod["spec"]["nodeName"]
        assert not found["token"]
