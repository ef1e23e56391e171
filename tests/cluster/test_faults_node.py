"""Nodes that are lost or drained, and pods that are gone before anybody has read what they left."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

import jupyter_konduktor as jk
from jupyter_konduktor import session
from jupyter_konduktor.backends.kubernetes.api import reflector as reflecting
from jupyter_konduktor.backends.kubernetes.api import transport
from jupyter_konduktor.errors import JobLostError
from jupyter_konduktor.state import JobState
from jupyter_konduktor.task import Task
from tests.cluster.proxy import Proxy
from tests.cluster.test_jobs import configured, until
from tests.cluster.work import slow
from tests.testbed.cluster import Cluster, Namespace, wait_jobset

pytestmark = pytest.mark.timeout(240)


@pytest.fixture(scope="module")
def place(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Namespace]:
    made = cluster.new_namespace()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("JUPYTER_DATA_DIR", str(tmp_path_factory.mktemp("data")))
        with configured(
            backend="kubernetes", kubeconfig=str(made.kubeconfig), image=cluster.image, cpus="100m", grace=1
        ):
            yield made
            session.close()
    made.remove()


@pytest.mark.alone
def test_a_node_that_is_lost_is_named_and_is_no_failure(place: Namespace, cluster: Cluster) -> None:
    """The cluster gives a node up after 20 s; the code on it goes on, and the node comes back."""
    job = jk.remote(slow).submit(60.0)
    until(lambda: job.logs() == "ready\n" and job.state is JobState.RUNNING)
    with cluster.stopped("kubelet"):
        until(lambda: job.reason == "NodeLost")
        assert "node unreachable" in job.message
        assert job.state is JobState.RUNNING
    until(lambda: job.reason != "NodeLost")
    assert job.result(120) == "done"
    assert job.record.attempt == 0
    assert [change.state for change in job.history if change.state is not JobState.RUNNING] == [
        *(JobState.QUEUED, JobState.STARTING, JobState.SUCCEEDED)
    ]


def test_a_drain_of_one_node_of_two_starts_both_anew_and_costs_no_restart(place: Namespace) -> None:
    script = "echo $RESTART_ATTEMPT; sleep 12; echo 5 > $KONDUKTOR_OUTPUT_DIR/result.json"
    job = jk.launch(Task.create(command=["sh", "-c", script], nodes=2, cpus="50m", max_restarts=0))
    until(lambda: job.logs(node=0) == job.logs(node=1) == "0\n")
    name = place.pods(job)[1]["metadata"]["name"]
    eviction = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": name, "namespace": place.name}}
    place.api.create(f"{place.core}/pods/{name}/eviction", eviction)
    assert job.result(120) == 5
    assert job.record.attempt == 1
    assert [job.logs(node=node) for node in (0, 1)] == ["1\n"] * 2
    status = wait_jobset(place.api, f"{place.jobsets}/{job}")["status"]
    assert (status["restarts"], status.get("restartsCountTowardsMax", 0)) == (1, 0)


def test_a_pod_that_is_gone_before_its_result_was_read(
    place: Namespace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the cluster still tells of that time has its message, or the job is lost; nothing is made up."""
    for module, name, seconds in (
        (reflecting, "HURRIED", 4.0),
        (reflecting, "PATIENT", 4.0),
        (reflecting, "_MARGIN", 1.0),
        (reflecting, "_ANSWER", 4.0),
        (transport, "CONNECT", 4.0),
    ):
        monkeypatch.setattr(module, name, seconds)
    monkeypatch.setenv("JUPYTER_DATA_DIR", str(tmp_path / "data"))
    session.close()
    with Proxy.before(place.kubeconfig) as proxy:
        through = proxy.kubeconfig(place.kubeconfig, tmp_path / "kubeconfig")
        with configured(kubeconfig=str(through)):
            job = jk.remote(slow).submit(20.0)
            until(lambda: job.logs() == "ready\n" and job.state is JobState.RUNNING)
            proxy.hush()
            assert wait_jobset(place.api, f"{place.jobsets}/{job}", 120)["status"]["terminalState"] == "Completed"
            (pod,) = place.pods(job)
            place.api.delete(f"{place.core}/pods/{pod['metadata']['name']}", grace=0)
            until(lambda: not place.pods(job))
            proxy.speak()
            try:
                assert job.result(90) == "done"
            except JobLostError as error:
                assert job in str(error)  # noqa: PT017
            assert job.state is JobState.SUCCEEDED
            session.close()


def test_a_job_that_is_cleared_away_as_it_ends(place: Namespace) -> None:
    """With a TTL of nothing its pod and all it left go at once: it is the value, or the job is lost."""
    job = jk.remote(slow).submit(15.0)
    until(lambda: job.state is JobState.RUNNING)
    place.api.merge(f"{place.jobsets}/{job}", {"spec": {"ttlSecondsAfterFinished": 0}})
    try:
        assert job.result(90) == "done"
    except JobLostError as error:
        assert job in str(error)  # noqa: PT017
    until(lambda: place.cluster.admin.find(f"{place.jobsets}/{job}") is None)


@pytest.mark.alone
def test_a_log_that_says_nothing_for_longer_than_the_kubelet_waits(place: Namespace, cluster: Cluster) -> None:
    script = "for i in 1 2 3; do echo line $i; sleep 6; done; echo last"
    with cluster.kubelet_settings(streamingConnectionIdleTimeout="2s"):
        job = jk.launch(Task.create(command=["sh", "-c", script], cpus="50m"))
        assert "".join(job.logs(follow=True)) == "line 1\nline 2\nline 3\nlast\n"
        assert job.wait(60) == "succeeded"


@pytest.mark.alone
@pytest.mark.timeout(400)
def test_an_api_server_that_is_down_for_minutes(
    place: Namespace, cluster: Cluster, caplog: pytest.LogCaptureFixture
) -> None:
    """The job runs on and ends; nothing is said of it that is not so, and nothing is written again and again."""
    job = jk.remote(slow).submit(40.0)
    session.tracker().start()
    until(lambda: job.logs() == "ready\n" and job.state is JobState.RUNNING)
    before = [change.state for change in job.history]
    began = time.time()
    with caplog.at_level("INFO"), cluster.stopped("kube-apiserver"):
        until(lambda: job.unknown_since is not None)
        since = job.unknown_since
        time.sleep(95)
        assert (job.state, job.unknown_since) == (JobState.RUNNING, since)
        assert since is not None
        assert began - 5 < since < began + 30
        assert [change.state for change in job.history] == before
        ours = [record for record in caplog.records if record.name.startswith("jupyter_konduktor")]
        print(f"{len(ours)} lines were logged")
        assert len(ours) < 40
    assert job.result(120) == "done"
    until(lambda: job.unknown_since is None)
    assert [change.state for change in job.history] == [*before, JobState.SUCCEEDED]
