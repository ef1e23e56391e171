"""What is said of jobs while a real cluster runs them, looked at again and again."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from jupyter_konduktor.backends.kubernetes import queues, words
from jupyter_konduktor.backends.kubernetes.api.client import Client
from jupyter_konduktor.backends.kubernetes.judging.judge import judge
from jupyter_konduktor.backends.kubernetes.shelf.shelf import Shelf
from jupyter_konduktor.backends.kubernetes.site import Site
from jupyter_konduktor.state import JobRecord, JobState
from tests.testbed.cluster import Cluster, Namespace

PATIENCE = 90.0
USER = 1000


class Place:
    """A namespace, its jobs, and what is said of them."""

    def __init__(self, namespace: Namespace, folder: Path) -> None:
        self.namespace = namespace
        self.site = Site(Client.connect(kubeconfig=str(namespace.kubeconfig)), Shelf(folder))
        self.told: dict[str, list[JobRecord]] = {}

    def submit(self, name: str, script: str, *, restarts: int = 0, nodes: int = 1, **limits: str) -> None:
        resources = {"requests": {"cpu": "50m", "memory": "32Mi", **limits}, "limits": limits}
        container = {"name": words.CONTAINER, "image": self.namespace.cluster.image, "command": ["sh", "-c", script]}
        pod = {
            "restartPolicy": "Never",
            "terminationGracePeriodSeconds": 1,
            "securityContext": {"runAsUser": USER},
            "containers": [{**container, "imagePullPolicy": "IfNotPresent", "resources": resources}],
        }
        job = {"parallelism": nodes, "completions": nodes, "backoffLimit": 0, "template": {"spec": pod}}
        task = {"kind": "command", "command": ["sh", "-c", script], "resources": {"nodes": nodes}}
        body: dict[str, Any] = {
            "apiVersion": f"{words.JOBSET_GROUP}/{words.JOBSET_VERSION}",
            "kind": "JobSet",
            "metadata": {
                "name": name,
                "labels": {words.QUEUE_NAME: self.namespace.queue},
                "annotations": {words.TASK: json.dumps({**task, "max_restarts": restarts})},
            },
            "spec": {
                "suspend": True,
                "replicatedJobs": [{"name": words.REPLICATED_JOB_NAME, "template": {"spec": job}}],
                **({"failurePolicy": {"maxRestarts": restarts}} if restarts else {}),
            },
        }
        self.namespace.api.create(self.namespace.jobsets, body)

    def look(self, name: str) -> JobRecord:
        """Judge a job as it is now, with what was said of it before."""
        (sight,) = self.site.look([self.site.jobset(name)])
        told = self.told.setdefault(name, [])
        record = judge(sight, told[-1] if told else None)
        assert record is not None
        told.append(record)
        return record

    def until(self, name: str, *states: JobState) -> JobRecord:
        """Look until the job is in one of these states."""
        end = time.monotonic() + PATIENCE
        while (record := self.look(name)).state not in states:
            assert time.monotonic() < end, record
            time.sleep(0.1)
        return record

    def first(self, name: str) -> JobRecord:
        """Judge it as someone who has never seen it."""
        (sight,) = self.site.look([self.site.jobset(name)])
        record = judge(sight, None)
        assert record is not None
        return record

    def workload(self, name: str) -> str:
        (sight,) = self.site.look([self.site.jobset(name)])
        assert sight.workload is not None
        return str(sight.workload["metadata"]["name"])

    def set_active(self, name: str, active: bool) -> None:
        path = f"{self.namespace.kueue}/workloads/{self.workload(name)}"
        self.namespace.api.merge(path, {"spec": {"active": active}})


@pytest.fixture(scope="module")
def place(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    with cluster.new_namespace() as namespace:
        yield Place(namespace, tmp_path_factory.mktemp("shelf"))


def states(record: JobRecord) -> list[tuple[str, int]]:
    return [(str(change.state), change.attempt) for change in record.history]


def test_success_and_failure_are_the_same_watched_and_seen_once(place: Place) -> None:
    place.submit("good", "sleep 1")
    place.submit("bad", "exit 3")
    place.submit("again", "sleep 0.2; exit 4", restarts=1)
    expected = {"good": ("Succeeded", 0), "bad": ("Failed", 3), "again": ("Failed", 4)}
    for name, (state, code) in expected.items():
        record = place.until(name, JobState.SUCCEEDED, JobState.FAILED)
        assert (str(record.state), record.exit_code) == (state, code)
    for name in expected:
        end = time.monotonic() + PATIENCE
        while not (place.site.jobset(name).get("status") or {}).get("terminalState"):
            assert time.monotonic() < end
            time.sleep(0.1)
        assert states(place.first(name)) == states(place.told[name][-1])
        assert place.first(name).message == place.told[name][-1].message
    assert states(place.told["again"][-1]) == [
        *[("Queued", 0), ("Starting", 0), ("Running", 0), ("Starting", 1), ("Running", 1), ("Failed", 1)]
    ]


def test_stopped_job_runs_anew_when_it_is_resumed(place: Place) -> None:
    place.submit("held", "exec sleep 600")
    place.until("held", JobState.RUNNING)
    place.set_active("held", False)
    record = place.until("held", JobState.STOPPED)
    assert all(pod["status"]["phase"] != "Running" for pod in place.namespace.pods("held"))
    place.set_active("held", True)
    record = place.until("held", JobState.RUNNING)
    assert states(record) == [
        *[
            ("Queued", 0),
            ("Starting", 0),
            ("Running", 0),
            ("Stopped", 0),
            ("Queued", 1),
            ("Starting", 1),
            ("Running", 1),
        ]
    ]
    place.namespace.api.delete(f"{place.namespace.jobsets}/held")


def test_what_a_job_waits_for_and_where_it_stands(place: Place) -> None:
    gpu = "nvidia.com/gpu"
    place.submit("full", "exec sleep 600", **{gpu: "8"})
    place.until("full", JobState.RUNNING)
    place.submit("next", "true", **{gpu: "2"})
    end = time.monotonic() + PATIENCE
    while place.look("next").message != "waits for capacity: 2 more nvidia.com/gpu are needed in flavor default":
        assert time.monotonic() < end, place.told["next"][-1]
        time.sleep(0.1)
    assert queues.positions(place.site, place.namespace.queue) == {place.workload("next"): 0}
    while (queue := queues.queues(place.site)[0]).pending != 1:  # Kueue counts them a moment later
        assert time.monotonic() < end, queue
        time.sleep(0.1)
    assert (queue.name, queue.running) == (place.namespace.queue, 1)
    assert queue.resources["gpu"] == (8.0, 8.0)
    place.namespace.api.delete(f"{place.namespace.jobsets}/full")
    assert place.until("next", JobState.SUCCEEDED).exit_code == 0
