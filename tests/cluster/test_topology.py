"""How the nodes of a job lie, with a topology that Kueue knows and a label that JobSet goes by."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

import jupyter_konduktor as jk
from jupyter_konduktor import session
from jupyter_konduktor.state import JobState
from jupyter_konduktor.task import Task
from tests.cluster.test_jobs import configured, until
from tests.testbed.cluster import Cluster, Namespace
from tests.testbed.objects import KUEUE

RACK = "test.konduktor/rack"
LEVELS = [{"nodeLabel": RACK}, {"nodeLabel": "kubernetes.io/hostname"}]


@pytest.fixture(scope="module")
def place(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Namespace]:
    """A namespace whose queue lets jobs in only together with a place, on nodes that stand in racks."""
    admin = cluster.admin
    for node in admin.get("/api/v1/nodes")["items"]:
        admin.merge(f"/api/v1/nodes/{node['metadata']['name']}", {"metadata": {"labels": {RACK: "one"}}})
    for kind, spec in (
        ("Topology", {"levels": LEVELS}),
        ("ResourceFlavor", {"nodeLabels": {RACK: "one"}, "topologyName": "racks"}),
    ):
        path = f"{KUEUE}/{'topologies' if kind == 'Topology' else 'resourceflavors'}"
        admin.ensure(
            path, {"metadata": {"name": "racks"}, "kind": kind, "apiVersion": "kueue.x-k8s.io/v1beta2", "spec": spec}
        )
    made = cluster.new_namespace({"cpu": "1", "memory": "2Gi"}, flavor="racks")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("JUPYTER_DATA_DIR", str(tmp_path_factory.mktemp("data")))
        with configured(backend="kubernetes", kubeconfig=str(made.kubeconfig), image=cluster.image, grace=1):
            yield made
            session.close()
    made.remove()
    admin.delete(f"{KUEUE}/resourceflavors/racks")
    admin.delete(f"{KUEUE}/topologies/racks")


def launch(seconds: float = 0, *rules: str) -> jk.Job:
    return jk.launch(Task.create(command=["sleep", str(seconds)], nodes=2, cpus="50m", topology=rules))


def admission(place: Namespace, job: jk.Job) -> dict[str, Any]:
    uid = place.api.get(f"{place.jobsets}/{job}")["metadata"]["uid"]
    (workload,) = place.api.get(f"{place.kueue}/workloads?labelSelector=kueue.x-k8s.io/job-uid={uid}")["items"]
    (podset,) = workload["status"]["admission"]["podSetAssignments"]
    return podset


@pytest.mark.parametrize("rule", [f"required:{RACK}", f"preferred:{RACK}", "unconstrained"])
def test_nodes_are_given_a_place(place: Namespace, rule: str) -> None:
    job = launch(2, rule)
    until(lambda: job.state is JobState.RUNNING, 60)  # once it has ended, the place is given back
    assert admission(place, job)["topologyAssignment"]["levels"] == ["kubernetes.io/hostname"]
    assert job.wait(60) == "succeeded"


def test_a_level_that_is_not_there_can_never_fit(place: Namespace) -> None:
    job = launch(0, "required:test.konduktor/aisle")
    until(lambda: job.message)
    assert "can never fit: the topology of flavor racks has no level of that label" in job.message
    job.cancel()
    assert job.wait(60) == "cancelled"


def test_an_exclusive_place_holds_one_job(place: Namespace) -> None:
    first = launch(8, f"exclusive:{RACK}")
    until(lambda: first.state is JobState.RUNNING, 60)
    second = launch(0, f"exclusive:{RACK}")
    until(lambda: "anti-affinity" in second.message)
    assert second.state is JobState.STARTING
    assert first.wait(60) == second.wait(60) == "succeeded"
