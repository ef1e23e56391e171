"""What breaks under a job, broken for real: the API server, the controllers, the node, the queue."""

from __future__ import annotations

import copy
import re
import time
from collections.abc import Iterator

import pytest

import jupyter_konduktor as jk
from jupyter_konduktor import session
from jupyter_konduktor.backends.kubernetes.judging import starting
from jupyter_konduktor.backends.kubernetes.roster import Roster
from jupyter_konduktor.errors import JobLostError, JobStuckError
from jupyter_konduktor.state import JobState
from jupyter_konduktor.task import Task
from tests.cluster.test_jobs import configured, until
from tests.cluster.work import add, slow
from tests.testbed.cluster import Cluster, Namespace

pytestmark = pytest.mark.timeout(180)


@pytest.fixture(scope="module")
def place(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Namespace]:
    """A namespace whose queue takes one job at a time and lets the more urgent ones go first."""
    made = cluster.new_namespace({"cpu": "200m"}, preemption={"withinClusterQueue": "LowerPriority"})
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("JUPYTER_DATA_DIR", str(tmp_path_factory.mktemp("data")))
        with configured(
            backend="kubernetes", kubeconfig=str(made.kubeconfig), image=cluster.image, cpus="200m", grace=1
        ):
            yield made
            session.close()
    made.remove()


@pytest.fixture(autouse=True)
def empty(place: Namespace) -> Iterator[None]:
    """Nothing of one test may hold the quota of the next."""
    until(lambda: not place.api.get(f"{place.kueue}/workloads")["items"])
    yield
    place.api.delete(place.jobsets)
    place.api.delete(f"{place.core}/pods", grace=0)


def states(job: jk.Job) -> list[JobState]:
    return [change.state for change in job.history]


def test_preempted_job_waits_again_and_runs_again(place: Namespace) -> None:
    job = jk.remote(priority="low-priority")(slow).submit(8.0)
    until(lambda: job.logs() == "ready\n")
    urgent = jk.remote(priority="high-priority")(add).submit(1)
    until(lambda: job.state is JobState.QUEUED)
    assert job.reason == "Preempted"
    assert "priority" in job.message
    assert urgent.result(60) == 2
    assert job.result(90) == "done"
    ran = [JobState.QUEUED, JobState.STARTING, JobState.RUNNING]
    assert states(job) == [*ran, *ran, JobState.SUCCEEDED]
    assert [change.attempt for change in job.history if change.state is JobState.RUNNING] == [0, 1]
    assert job.logs(attempt=0) == "ready\n"


def test_preempted_code_that_ends_well_on_sigterm_has_not_succeeded(place: Namespace) -> None:
    """It writes a result and exits 0 when it is told to end; the job is run again all the same."""
    script = (
        "trap 'echo 1 > \"$KONDUKTOR_OUTPUT_DIR/result.json\"; exit 0' TERM; echo ready; "
        "n=0; while [ $n -lt 60 ]; do sleep 0.1; n=$((n+1)); done; echo 2 > $KONDUKTOR_OUTPUT_DIR/result.json"
    )
    task = Task.create(command=["sh", "-c", script], priority="low-priority", cpus="200m")
    job = jk.launch(task)
    until(lambda: job.logs() == "ready\n")
    urgent = jk.remote(priority="high-priority")(add).submit(1)
    assert urgent.result(60) == 2
    assert job.result(90) == 2
    assert job.record.attempt == 1
    assert JobState.SUCCEEDED not in states(job)[:-1]


@pytest.mark.alone
def test_nothing_acts_while_the_controllers_are_down(place: Namespace, cluster: Cluster) -> None:
    with cluster.stopped("kueue"):
        # Its webhook is called for every JobSet that has a queue.
        with pytest.raises(jk.errors.SubmitError, match="webhook"):
            jk.remote(add).submit(1)
        assert not [job for job in jk.jobs() if job.state is JobState.QUEUED]
    with cluster.stopped("kube-controller-manager"):
        job = jk.remote(add).submit(1)
        time.sleep(1.5)
        assert job.state in (JobState.QUEUED, JobState.STARTING)
    assert job.result(90) == 2


@pytest.mark.alone
def test_job_that_was_let_in_and_on_which_nothing_acts_is_told_of(
    place: Namespace, cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(starting, "SILENCE", 3.0)
    filler = jk.remote(slow).submit()
    until(lambda: filler.state is JobState.RUNNING)
    with configured(stuck_after="12s", on_stuck="cancel"):
        job = jk.remote(add).submit(1)
        until(lambda: job.state is JobState.QUEUED)
        with cluster.stopped("jobset"):
            filler.cancel()
            until(lambda: job.reason == "NoPods", 60)
            assert job.state is JobState.STARTING
            assert re.search(r"no pods for \d+ s: no controller has acted", job.message)
            with pytest.raises(JobStuckError, match="no controller has acted"):
                job.result(60)
            assert job.state is JobState.STARTING, "it may go on once the controller is there again"
        until(lambda: job.state is JobState.SUCCEEDED, 60)
        assert job.result() == 2


@pytest.mark.alone
def test_cancel_works_without_kueue(place: Namespace, cluster: Cluster) -> None:
    filler, job = jk.remote(slow).submit(), jk.remote(add).submit(1)
    until(lambda: filler.state is JobState.RUNNING)
    with cluster.stopped("kueue"):
        job.cancel()
        assert job.wait(60) == "cancelled"
    filler.cancel()
    assert filler.wait(60) == "cancelled"


@pytest.mark.alone
def test_kubelet_that_says_nothing_is_no_failure(place: Namespace, cluster: Cluster) -> None:
    job = jk.remote(slow).submit(10.0)
    until(lambda: job.logs() == "ready\n")
    until(lambda: job.state is JobState.RUNNING)
    with cluster.stopped("kubelet"):
        time.sleep(3)
        assert job.state is JobState.RUNNING
    assert job.result(90) == "done"


def test_pod_deleted_by_force_takes_its_result_with_it(place: Namespace) -> None:
    """Its termination message goes with it; the Job makes another pod, and nothing is made up."""
    job = jk.remote(slow).submit(8.0)
    until(lambda: job.logs() == "ready\n")
    (pod,) = place.pods(job)
    place.api.delete(f"{place.core}/pods/{pod['metadata']['name']}", grace=0)
    try:
        assert job.result(60) == "done"
    except (JobLostError, jk.errors.JobFailedError) as error:
        assert job in str(error)  # noqa: PT017
        assert not place.pods(job)
    else:
        assert job.record.attempt == 1


def test_one_node_of_two_fails_and_is_named(cluster: Cluster, place: Namespace) -> None:
    code = "import os,time\nif os.environ['RANK']=='1': print('last words'); raise SystemExit(7)\ntime.sleep(600)"
    task = Task.create(command=["python3", "-c", code], nodes=2, cpus="100m")
    job = jk.launch(task)
    with pytest.raises(jk.errors.JobFailedError, match=r"(?s)exit code 7 on node 1.*last words") as caught:
        job.result(60)
    assert caught.value.exit_code == job.record.exit_code == 7
    assert job.record.failed_node == 1


def test_what_a_job_waits_for_is_told_apart(place: Namespace, cluster: Cluster) -> None:
    """For others to end; for a queue that is stopped; for more than there ever is, once its quota has been cut."""
    filler = jk.remote(slow).submit(600.0)
    until(lambda: filler.state is JobState.RUNNING)
    job = jk.remote(add).submit(1)
    until(lambda: "waits for capacity" in job.message)
    until(lambda: job.queue_position == 0)
    path = f"/apis/kueue.x-k8s.io/v1beta2/clusterqueues/{place.name}"
    queue = cluster.admin.get(path)["spec"]
    cut = copy.deepcopy(queue["resourceGroups"])
    cut[0]["flavors"][0]["resources"][0]["nominalQuota"] = "100m"
    try:
        cluster.admin.merge(path, {"spec": {"stopPolicy": "Hold"}})
        until(lambda: "stopped" in job.message)
        cluster.admin.merge(path, {"spec": {"stopPolicy": "None", "resourceGroups": cut}})
        until(lambda: "can never fit: it asks for 0.2 cpu" in job.message)
        assert job.state is JobState.QUEUED
    finally:
        cluster.admin.merge(path, {"spec": {"stopPolicy": "None", "resourceGroups": queue["resourceGroups"]}})
    until(lambda: "waits for capacity" in job.message)
    filler.cancel()
    assert job.result(90) == 2


@pytest.mark.alone
def test_api_server_down_and_its_past_gone_changes_no_state(
    place: Namespace, cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One job ends meanwhile, one after it; what the watches would go on from is compacted away, and they list anew.

    It comes last: after it all that watches the API server is started anew.
    """
    short, long = (jk.remote(cpus="100m")(slow).submit(seconds) for seconds in (5.0, 20.0))
    session.tracker().start()
    for job in (short, long):
        until(lambda job=job: job.logs() == "ready\n" and job.state is JobState.RUNNING)
    before = states(long)
    listed: list[str] = []
    take = Roster.replaced
    with cluster.stopped("kube-apiserver"):
        monkeypatch.setattr(
            Roster, "replaced", lambda self, kind, found: (listed.append(kind), take(self, kind, found))
        )
        until(lambda: long.unknown_since is not None)
        for job in (short, long):
            assert (job.state, states(job)) == (JobState.RUNNING, before)
        cluster.compact()
    assert (short.result(60), long.result(60)) == ("done", "done")
    until(lambda: long.unknown_since is None)
    until(lambda: listed)  # at least one of the watches stood at a past that is gone
    for job in (short, long):
        assert states(job) == [*before, JobState.SUCCEEDED]
        assert job.logs() == "ready\n"
