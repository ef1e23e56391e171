"""Cells, functions and scripts on a real cluster, as their users run them."""

from __future__ import annotations

import contextlib
import os
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import jupyter_konduktor as jk
from jupyter_konduktor import config, session
from jupyter_konduktor.backends.kubernetes.backend import KubernetesBackend
from jupyter_konduktor.errors import (
    InputTooLargeError,
    InvalidTaskError,
    JobFailedError,
    JobLostError,
    JobStuckError,
    RemoteError,
    VersionMismatchError,
)
from jupyter_konduktor.state import JobState
from jupyter_konduktor.task import Task
from tests.cluster.work import add, eats, fails, large, slow
from tests.testbed.cluster import Cluster, Namespace, wait_jobset

_set: dict[str, Any] = {}


@contextlib.contextmanager
def configured(**values: Any) -> Iterator[None]:
    """Settings as `%config` would set them."""
    before = {key: _set.get(key) for key in values}
    for key, value in values.items():
        _set[key] = value
        config.set_session(key, value)
    try:
        yield
    finally:
        for key, value in before.items():
            _set[key] = value
            config.set_session(key, value)


@pytest.fixture(scope="module")
def place(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Namespace]:
    """One namespace for all tests of this file, configured as a user would."""
    made = cluster.new_namespace({"cpu": "1900m", "memory": "4Gi", "gpu": 8})
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("JUPYTER_DATA_DIR", str(tmp_path_factory.mktemp("data")))
        with configured(
            backend="kubernetes", kubeconfig=str(made.kubeconfig), image=cluster.image, cpus="100m", grace=2
        ):
            yield made
            session.close()
    made.remove()


def backend() -> KubernetesBackend:
    found = session.tracker().backend
    assert isinstance(found, KubernetesBackend)
    return found


def until(holds: Callable[[], Any], timeout: float = 90.0) -> Any:
    end = time.monotonic() + timeout
    while not (found := holds()):
        assert time.monotonic() < end, f"not true after {timeout:g} s"
        time.sleep(0.05)
    return found


def test_functions_give_their_values_and_their_output(place: Namespace) -> None:
    """Small values stand in the envelope, larger ones and buffers come with the log, inputs by Secret if they must."""
    small = jk.remote(add).submit(1)
    middle = jk.remote(large).submit(256)
    sent = jk.remote(len).submit(large(2000)[:500_000])
    error = jk.remote(fails).submit("on purpose")
    group = jk.remote(add).map([1, 2, 3])
    assert small.result(60) == 2
    assert small.logs() == "adding 1 1\n"
    assert middle.result(60) == large(256)
    assert sent.result(60) == 500_000
    with pytest.raises(RemoteError, match="ValueError: on purpose") as caught:
        error.result(60)
    assert isinstance(caught.value.__cause__, ValueError)
    assert "fails" in caught.value.traceback
    assert group.result(60) == [2, 3, 4]


def test_payload_lies_where_its_size_allows(place: Namespace) -> None:
    small, large_one = jk.remote(len).submit(b"x"), jk.remote(len).submit(os.urandom(300_000))
    assert (small.result(60), large_one.result(60)) == (1, 300_000)
    jobset = place.api.get(f"{place.jobsets}/{small}")
    (container,) = jobset["spec"]["replicatedJobs"][0]["template"]["spec"]["template"]["spec"]["containers"]
    assert any(variable["name"] == "KONDUKTOR_PAYLOAD" for variable in container["env"])
    secret = place.api.get(f"{place.core}/secrets/{large_one}-payload")
    assert secret["immutable"]
    (owner,) = secret["metadata"]["ownerReferences"]
    assert owner["name"] == large_one
    with pytest.raises(InputTooLargeError, match="MiB"):
        jk.remote(len).submit(os.urandom(3 << 20))
    assert len(place.api.get(place.jobsets)["items"]) >= 2


def test_dollars_arrive_as_they_are(place: Namespace) -> None:
    """Kubernetes expands $(NAME) and $$ in what it starts."""
    texts = ["$(HOME)", "$$", "$$(HOME)", "$HOME ${HOME} $"]
    task = Task.create(
        command=["python3", "-c", "import os,sys;print(sys.argv[1:], os.environ['A'])", *texts], env={"A": "$(HOME)$$"}
    )
    job = jk.launch(task)
    assert job.wait(60) == "succeeded"
    assert job.logs().strip() == f"{texts} $(HOME)$$"


def test_gpus_reach_the_scheduler(place: Namespace) -> None:
    with configured(gpus="2"):
        job = jk.remote(add).submit(1)
    assert job.result(60) == 2
    (pod,) = place.pods(job)
    (container,) = pod["spec"]["containers"]
    assert container["resources"]["limits"]["nvidia.com/gpu"] == "2"
    with configured(gpus="9"), pytest.raises(InvalidTaskError, match="9"):
        jk.remote(add).submit(1)


def test_out_of_memory_is_named_with_the_limit(place: Namespace) -> None:
    job = jk.remote(memory="128Mi")(eats).submit()
    with pytest.raises(JobFailedError, match="128") as caught:
        job.result(60)
    assert "memory" in str(caught.value).lower()


def test_other_python_is_refused_and_then_known(
    place: Namespace, cluster: Cluster, capfd: pytest.CaptureFixture
) -> None:
    exec(
        "def local(x):\n    return x + 1", sys.modules["__main__"].__dict__
    )  # as a notebook has it: it travels as code
    local = sys.modules["__main__"].local
    with configured(image=cluster.images["3.13"]):
        job = jk.remote(local).submit(1)
        with pytest.raises(VersionMismatchError, match=r"3\.11.*3\.13"):
            job.result(60)
        assert jk.remote(len).submit("plain").result(60) == 5
        capfd.readouterr()
        again = jk.remote(local).submit(1)
        assert "has Python 3.13" in capfd.readouterr().err
        again.cancel()


def test_image_without_python_says_so(place: Namespace, cluster: Cluster) -> None:
    with configured(image=cluster.images["none"]):
        job = jk.remote(add).submit(1)
    with pytest.raises(JobFailedError, match="python3"):
        job.result(60)


def test_what_cannot_start_ends_the_wait(place: Namespace) -> None:
    with configured(image="localhost/nobody/nothing:1", stuck_after="2s"):
        job = jk.remote(add).submit(1)
        with pytest.raises(JobStuckError, match="nothing:1"):
            job.result(60)
        assert job.state is JobState.STARTING
        job.cancel()
        assert job.wait(60) == "cancelled"
    with configured(image="localhost/nobody/nothing:1", stuck_after="2s", on_stuck="cancel"):
        job = jk.remote(add).submit(1)
        until(lambda: job.state is JobState.CANCELLED)


def test_stuck_job_is_waited_for_again_once_it_starts(place: Namespace) -> None:
    """What it lacks comes later: here the Secret that it names."""
    with configured(stuck_after="2s"):
        job = jk.remote(secrets={"WORD": "late/word"})(add).submit(1)
        with pytest.raises(JobStuckError, match="late"):
            job.result(60)
        data = {"metadata": {"name": "late"}, "stringData": {"word": "x"}}
        place.api.create(f"{place.core}/secrets", {"apiVersion": "v1", "kind": "Secret", **data})
        until(lambda: not job.record.ends_wait or job.done())
        assert job.result(60) == 2
        assert not job.record.stuck


def test_updates_of_a_line_come_as_they_were_written(place: Namespace) -> None:
    script = "for i in 1 2 3; do printf '%s0%%\\r' $i; sleep 0.2; done; echo done"
    job = jk.launch(Task.create(command=["sh", "-c", script], cpus="100m"))
    assert job.wait(60) == "succeeded"
    assert job.logs() == "10%\r20%\r30%\rdone\n"


def test_jobs_are_found_again_by_another_process(place: Namespace) -> None:
    """Another kernel: another backend, the same shelf; another machine: another shelf."""
    job = jk.remote(slow).submit(3.0)
    until(lambda: job.state is JobState.RUNNING)
    settings = config.Settings.load()
    other = KubernetesBackend(settings)
    try:
        found = other.get(job)
        assert (found.uid, found.recorded) == (job.record.uid, True)
        assert [record.name for record in other.list() if record.name == job] == [job]
        until(lambda: other.read_log(job).data.endswith(b"ready\n"))
    finally:
        other.close()
    assert job.result(60) == "done"


def test_other_machine_reads_log_and_result(place: Namespace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    job = jk.remote(large).submit(256)
    assert job.wait(60) == "succeeded"
    monkeypatch.setenv("JUPYTER_DATA_DIR", str(tmp_path))
    other = KubernetesBackend(config.Settings.load())
    try:
        found = other.get(job)
        assert (found.state, found.recorded) == (JobState.SUCCEEDED, False)
        assert [change.state for change in found.history] == [
            *(JobState.QUEUED, JobState.STARTING, JobState.RUNNING, JobState.SUCCEEDED)
        ]
        envelope = other.read_envelope(job)
        assert envelope is not None
        until(lambda: b"$konduktor" in envelope)
        assert session.tracker().backend.read_envelope(job) == envelope
    finally:
        other.close()


def test_job_deleted_by_someone_else_is_lost_at_once(place: Namespace) -> None:
    job = jk.remote(slow).submit()
    until(lambda: job.state is JobState.RUNNING)
    place.api.delete(f"{place.jobsets}/{job}")
    with pytest.raises(JobLostError, match="deleted"):
        job.result(30)  # it would run for a minute


def test_forged_worker_is_not_believed(place: Namespace, cluster: Cluster) -> None:
    """A Job that anyone may make, with our labels on its pod, is not worker 0, though it was there first."""
    filler = jk.remote(cpus="1800m")(slow).submit()
    until(lambda: filler.state is JobState.RUNNING)
    job = jk.remote(cpus="200m")(slow).submit(1.0)
    code = "open('/dev/termination-log','w').write('{\"exit\":0,\"value\":\"forged\"}')"
    jobset = {"name": str(job), "uid": job.record.uid}
    labels = {f"jobset.sigs.k8s.io/jobset-{key}": value for key, value in jobset.items()}
    more = {"replicatedjob-name": "workers", "job-index": "0", "restart-attempt": "0"}
    labels |= {f"jobset.sigs.k8s.io/{key}": value for key, value in more.items()}
    labels["batch.kubernetes.io/job-completion-index"] = "0"
    container = {"name": "konduktor-container", "image": cluster.image, "command": ["python3", "-c", code]}
    spec = {"restartPolicy": "Never", "containers": [container]}
    forged = {
        "metadata": {"name": f"{job}-workers-1"},
        "spec": {"backoffLimit": 0, "template": {"metadata": {"labels": labels}, "spec": spec}},
    }
    jobs = f"/apis/batch/v1/namespaces/{place.name}/jobs"
    place.api.create(jobs, {"apiVersion": "batch/v1", "kind": "Job", **forged})
    until(lambda: (place.api.get(f"{jobs}/{job}-workers-1").get("status") or {}).get("succeeded"), 60)
    filler.cancel()
    until(lambda: job.state is not JobState.QUEUED)
    time.sleep(1)
    assert job.state in (JobState.STARTING, JobState.RUNNING)
    place.api.delete(f"{jobs}/{job}-workers-1")
    assert job.result(90) == "done"


def test_log_that_nobody_followed_is_said_to_be_lost(
    place: Namespace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = jk.remote(add).submit(1)
    assert job.result(60) == 2
    assert job.logs() == "adding 1 1\n"
    (pod,) = place.pods(job)
    place.api.delete(f"{place.core}/pods/{pod['metadata']['name']}")
    until(lambda: place.pods(job) == [])
    with monkeypatch.context() as patch:  # as on another machine
        patch.setenv("JUPYTER_DATA_DIR", str(tmp_path))
        session.close()
        other = jk.attach(job)
        assert isinstance(other, jk.Job)
        assert other.state is JobState.SUCCEEDED
        assert (
            other.logs() == "[konduktor: the log is lost: it went with its pod, and nobody had followed it from here]\n"
        )
        assert other.logs(tail=1) == other.logs()
        session.close()
    assert jk.attach(job).logs() == "adding 1 1\n"


def test_drained_node_does_not_fail_the_job(place: Namespace) -> None:
    """An eviction, as `kubectl drain` asks for it, brings the pod back, and the code runs again."""
    job = jk.remote(slow).submit(10.0)
    until(lambda: job.state is JobState.RUNNING and job.logs() == "ready\n")
    (pod,) = place.pods(job)
    name = pod["metadata"]["name"]
    eviction = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": name, "namespace": place.name}}
    place.api.create(f"{place.core}/pods/{name}/eviction", eviction)
    assert job.result(90) == "done"
    assert job.record.attempt == 1
    assert job.logs(attempt=0) == "ready\n"


def test_nodes_see_each_other_by_name(place: Namespace) -> None:
    code = (
        "import os,socket,time\n"
        "for _ in range(100):\n"
        "    try: print(len({socket.gethostbyname(h) for h in os.environ['NODE_HOST_IPS'].split(',')})); break\n"
        "    except OSError: time.sleep(0.1)\n"
        "print(socket.gethostbyname(os.environ['MASTER_ADDR']) != '127.0.0.1')\n"
    )
    job = jk.launch(Task.create(command=["python3", "-c", code], nodes=2, cpus="100m"))
    assert job.wait(60) == "succeeded"
    assert [job.logs(node=node) for node in (0, 1)] == ["2\nTrue\n"] * 2


def test_one_small_job_writes_little_to_etcd(place: Namespace, cluster: Cluster) -> None:
    """Inline bytes are written many times over: all that is written for a job stays below half a megabyte."""
    cluster.part("etcd")
    assert jk.remote(add).submit(1).result(90) == 2  # what all jobs share is there
    since = cluster.etcd_revision()
    job = jk.remote(add).submit(1)
    assert job.result(90) == 2
    wait_jobset(place.api, f"{place.jobsets}/{job}", 90)
    time.sleep(2)  # what is noted of its end
    sizes = {key: size for key, size in cluster.etcd_written(since).items() if job in key}
    kinds: Counter[str] = Counter()
    for key, size in sizes.items():
        kinds[key.partition(f"/{place.name}/")[0].rpartition("/")[2]] += size
    print(f"{sum(sizes.values()) / 1024:.0f} KiB written to etcd for one job: {dict(kinds)}")
    assert {"jobs", "pods"} <= kinds.keys()
    assert sum(sizes.values()) < 512 << 10


def test_konduktor_reads_the_result(place: Namespace) -> None:
    """What its client needs: the labels, worker 0's termination message, the condition of its controller."""
    job = jk.remote(add).submit(1)
    assert job.result(60) == 2
    (pod,) = place.pods(job)
    (status,) = [s for s in pod["status"]["containerStatuses"] if s["name"] == "konduktor-container"]
    assert status["state"]["terminated"]["message"] == '{"exit":0,"value":2}'
    labels = place.api.get(f"{place.jobsets}/{job}")["metadata"]["labels"]
    assert labels["trainy.ai/konduktor-managed"] == "true"
    assert labels["trainy.ai/job-name"] == job
    assert labels["parent"] == "trainy"
