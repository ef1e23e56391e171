"""Pods that a namespace does not let in: said before a job is made where it can be tried, and else as it starts."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from jupyter_konduktor.backends.kubernetes import rights
from jupyter_konduktor.backends.kubernetes.backend import KubernetesBackend
from jupyter_konduktor.config import Settings
from jupyter_konduktor.errors import AccessDeniedError, InvalidTaskError, SubmitError
from jupyter_konduktor.state import JobRecord, JobState
from jupyter_konduktor.task import Task
from tests.cluster.proxy import wait_until
from tests.testbed.cluster import Cluster, Namespace

PRIVILEGED = {"spec": {"containers": [{"securityContext": {"privileged": True, "allowPrivilegeEscalation": True}}]}}


@pytest.fixture(scope="module")
def place(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Namespace]:
    """A namespace with a strict Pod Security and little room for memory."""
    made = cluster.new_namespace(
        {"cpu": "1", "memory": "4Gi"}, labels={"pod-security.kubernetes.io/enforce": "restricted"}
    )
    quota = {"metadata": {"name": "small"}, "spec": {"hard": {"requests.memory": "1Gi"}}}
    cluster.admin.create(f"{made.core}/resourcequotas", quota)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("JUPYTER_DATA_DIR", str(tmp_path_factory.mktemp("data")))
        yield made
    made.remove()


def backend(kubeconfig: Path, place: Namespace, **settings: Any) -> KubernetesBackend:
    values = {"backend": "kubernetes", "kubeconfig": str(kubeconfig), "namespace": place.name, "grace": 1}
    return KubernetesBackend(Settings.load({**values, **settings}))


def task(place: Namespace, **options: Any) -> Task:
    where = {"name": "t", "image": place.cluster.image, "cpus": "50m", "memory": "64Mi"}
    return Task.create(kind="command", command=["true"], **{**where, **options})


def test_pods_that_would_be_refused_are_refused_before_anything_is_made(place: Namespace) -> None:
    """This user may create pods, so the cluster can be asked what it would say."""
    locked = backend(place.kubeconfig, place, pod_config=PRIVILEGED)
    roomy = backend(place.kubeconfig, place)
    try:
        with pytest.raises(SubmitError, match="violates PodSecurity") as caught:
            locked.submit(task(place), None, key="1")
        assert "pod_config" in caught.value.advice
        with pytest.raises(SubmitError, match="exceeded quota: small") as caught:
            roomy.submit(task(place, memory="2Gi"), None, key="2")
        assert "less" in caught.value.advice
        with pytest.raises(InvalidTaskError, match=r"no queue other in namespace .*user-queue"):
            roomy.submit(task(place, queue="other"), None, key="3")
        with pytest.raises(InvalidTaskError, match=r"no WorkloadPriorityClass urgent.*high-priority"):
            roomy.submit(task(place, priority="urgent"), None, key="4")
        assert place.api.get(place.jobsets)["items"] == []
    finally:
        locked.close()
        roomy.close()


def test_a_namespace_of_others_is_refused(place: Namespace) -> None:
    other = KubernetesBackend(
        Settings.load({"backend": "kubernetes", "kubeconfig": str(place.kubeconfig), "namespace": "team"})
    )
    try:
        with pytest.raises(AccessDeniedError, match=r"may not create jobsets.* in namespace team"):
            other.submit(task(place), None, key="5")
    finally:
        other.close()


def test_pods_that_are_refused_later_are_told_of_while_the_job_starts(place: Namespace, cluster: Cluster) -> None:
    """With our Role nobody may create pods, so nothing can be tried; the jobs get in, and their pods do not."""
    roles = rights.role(place.name)["rules"], rights.cluster_role()["rules"]
    mine = cluster.new_user(f"{place.name}-role", place.name, *roles)
    backends = [
        backend(mine, place, pod_config=PRIVILEGED, stuck_after="3s"),
        backend(mine, place, stuck_after="3s", on_stuck="cancel"),
    ]
    wait_until(lambda: not rights.Rights(backends[0].site.client).missing())  # a role is not in force at once
    try:
        tasks = task(place), task(place, memory="2Gi")
        jobs = [each.submit(one, None, key=uuid.uuid4().hex) for each, one in zip(backends, tasks, strict=True)]

        def now(number: int) -> JobRecord:
            return backends[number].get(jobs[number].name)

        wait_until(lambda: now(0).stuck)
        assert (now(0).state, now(0).reason) == (JobState.STARTING, "FailedCreate")
        assert "Pod Security (restricted:latest) refuses its pods" in now(0).message
        assert "pod_config" in now(0).message
        wait_until(lambda: now(1).state is JobState.CANCELLED)
        assert "cancelled as it could not start: the namespace's ResourceQuota small refuses" in now(1).message
        assert now(0).state is JobState.STARTING, "one backend's on_stuck is nothing to the other's jobs"
        backends[0].cancel(jobs[0].name)
    finally:
        for each in backends:
            each.close()
        place.api.delete(place.jobsets)
