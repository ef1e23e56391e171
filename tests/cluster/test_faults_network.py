"""Jobs through a network that breaks: dead connections, lost answers, a server that is too busy, tokens that expire."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from jupyter_konduktor.backends.kubernetes import outlook
from jupyter_konduktor.backends.kubernetes.api import client as requests
from jupyter_konduktor.backends.kubernetes.api import reflector as reflecting
from jupyter_konduktor.backends.kubernetes.api import transport
from jupyter_konduktor.backends.kubernetes.api.client import Client
from jupyter_konduktor.backends.kubernetes.backend import KubernetesBackend
from jupyter_konduktor.backends.kubernetes.logs import follower as logs
from jupyter_konduktor.backends.protocol import Event, Reach
from jupyter_konduktor.config import Settings
from jupyter_konduktor.errors import ApiError
from jupyter_konduktor.state import JobRecord, JobState
from jupyter_konduktor.task import Task
from tests.cluster.busy import Busy
from tests.cluster.proxy import Proxy, wait_until
from tests.testbed import objects
from tests.testbed.cluster import Cluster, Namespace


@dataclass
class User:
    """One user behind a proxy."""

    namespace: Namespace
    proxy: Proxy
    backend: KubernetesBackend

    def submit(self, script: str, key: str = "") -> JobRecord:
        task = Task.create(
            kind="command", name="t", command=["sh", "-c", script], image=self.namespace.cluster.image, cpus="50m"
        )
        return self.backend.submit(task, None, key=key or script)

    def output(self, job: JobRecord) -> bytes:
        return self.backend.read_log(job.name).data

    def state(self, job: JobRecord) -> JobState:
        return self.backend.get(job.name).state

    def jobsets(self) -> list[str]:
        return [item["metadata"]["name"] for item in self.namespace.api.get(self.namespace.jobsets)["items"]]


@pytest.fixture(scope="module")
def place(cluster: Cluster) -> Iterator[Namespace]:
    with cluster.new_namespace() as made:
        yield made


@pytest.fixture
def user(place: Namespace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[User]:
    monkeypatch.setenv("JUPYTER_DATA_DIR", str(tmp_path / "data"))
    with Proxy.before(place.kubeconfig) as proxy:
        path = proxy.kubeconfig(place.kubeconfig, tmp_path / "kubeconfig")
        backend = KubernetesBackend(Settings.load({"backend": "kubernetes", "kubeconfig": str(path), "grace": 1}))
        yield User(place, proxy, backend)
        proxy.speak()
        backend.close()
    place.api.delete(place.jobsets)


def test_half_open_connections_are_found_out_and_nothing_is_told_twice(
    user: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The network forwards nothing any more, and closes nothing: only the time that passes tells."""
    monkeypatch.setattr(reflecting, "HURRIED", 1.5)
    monkeypatch.setattr(reflecting, "PATIENT", 1.5)
    monkeypatch.setattr(reflecting, "_ANSWER", 1.0)
    monkeypatch.setattr(reflecting, "_MARGIN", 0.0)
    monkeypatch.setattr(transport, "CONNECT", 1.0)
    monkeypatch.setattr(logs, "READ_TIMEOUT", 1.5)
    monkeypatch.setattr(outlook, "AFTER", 0.5)
    told: list[Event] = []
    with_watch = user.backend.watch(told.append)
    job = user.submit("for i in $(seq 40); do echo line $i; sleep 0.2; done")
    wait_until(lambda: b"line 5\n" in user.output(job))
    user.proxy.hush()
    wait_until(lambda: any(isinstance(event, Reach) and event.since for event in told))
    assert user.state(job) is JobState.RUNNING
    user.proxy.speak()
    wait_until(lambda: user.state(job).final)
    assert user.output(job) == b"".join(b"line %d\n" % number for number in range(1, 41))
    # Each kind of object has a watch of its own, and the one that told of the end need not be the last to be back.
    wait_until(lambda: [event.since is None for event in told if isinstance(event, Reach)][-1:] == [True])
    reached = [event.since is None for event in told if isinstance(event, Reach)]
    assert reached == [False, True] * (len(reached) // 2)  # on a busy machine an answer may take longer than 1.5 s
    states = [change.state for change in user.backend.get(job.name).history]
    assert states == [JobState.QUEUED, JobState.STARTING, JobState.RUNNING, JobState.SUCCEEDED]
    with_watch.close()


@pytest.mark.parametrize("haste", [logs.HASTE, 60.0])
def test_a_log_behind_a_dead_connection_is_whole_or_says_that_it_is_late(
    user: User, monkeypatch: pytest.MonkeyPatch, haste: float
) -> None:
    """The watches are back and tell that the job has ended, while what follows its log still waits for more."""
    for name, seconds in (("HURRIED", 4.0), ("PATIENT", 4.0), ("_MARGIN", 1.0), ("_ANSWER", 4.0)):
        monkeypatch.setattr(reflecting, name, seconds)
    monkeypatch.setattr(logs, "HASTE", haste)
    watch = user.backend.watch(lambda event: None)
    job = user.submit("for i in $(seq 20); do echo line $i; sleep 0.1; done; sleep 3")
    wait_until(lambda: b"line 2\n" in user.output(job))
    user.proxy.hush()
    time.sleep(0.5)
    user.proxy.speak()
    wait_until(lambda: user.state(job).final)
    whole = b"".join(b"line %d\n" % number for number in range(1, 21))
    here, _, note = user.output(job).partition(b"[konduktor: ")
    if haste < 60:
        assert (here, note) == (whole, b"")
    else:
        assert whole.startswith(here)
        assert note.startswith(b"the rest of the output is not here yet: ")
    watch.close()
    user.backend.close()
    other = KubernetesBackend(user.backend._settings)
    assert other.read_log(job.name).data == whole
    other.close()


def test_connections_that_are_cut_again_and_again_cost_no_line(user: User) -> None:
    job = user.submit("for i in $(seq 30); do echo line $i; sleep 0.1; done")
    wait_until(lambda: b"line 1\n" in user.output(job))
    for _ in range(6):
        user.proxy.cut()
        time.sleep(0.3)
    wait_until(lambda: user.state(job).final)
    assert user.output(job) == b"".join(b"line %d\n" % number for number in range(1, 31))


def test_a_lost_answer_makes_no_second_job(user: User, monkeypatch: pytest.MonkeyPatch) -> None:
    """The cluster has made the JobSet, and the connection broke before it could say so."""
    post, lost = Client.post, []

    def losing(self: Client, path: str, *args: Any) -> Any:
        if path.endswith("/jobsets") and not lost:
            lost.append(path)
            user.proxy.lose_reply()
        return post(self, path, *args)

    monkeypatch.setattr(Client, "post", losing)
    task = Task.create(kind="command", name="once", command=["true"], image=user.namespace.cluster.image, cpus="50m")
    jobset, made = user.backend._submission.submit(task, None, key="one", origin={})
    assert lost
    assert made
    again, made_again = user.backend._submission.submit(task, None, key="one", origin={})
    assert (again["metadata"]["uid"], made_again) == (jobset["metadata"]["uid"], False)
    assert user.jobsets() == [jobset["metadata"]["name"]]
    wait_until(lambda: user.state(user.backend.get(jobset["metadata"]["name"])) is JobState.SUCCEEDED)


def test_a_server_that_is_too_busy_is_asked_again_after_the_time_that_it_says(
    place: Namespace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever is asked of it is refused with 429 once: requests, watches and logs, and also what makes the job."""
    monkeypatch.setenv("JUPYTER_DATA_DIR", str(tmp_path / "data"))
    with Busy(place.kubeconfig) as gate:
        path = gate.kubeconfig(place.kubeconfig, tmp_path / "kubeconfig")
        backend = KubernetesBackend(Settings.load({"backend": "kubernetes", "kubeconfig": str(path), "grace": 1}))
        me = User(place, Proxy.before(place.kubeconfig), backend)
        try:
            before = me.jobsets()
            job = me.submit(
                "for i in 1 2 3; do echo line $i; sleep 0.2; done; echo 5 > $KONDUKTOR_OUTPUT_DIR/result.json"
            )
            wait_until(lambda: me.state(job) is JobState.SUCCEEDED)
            assert me.output(job) == b"line 1\nline 2\nline 3\n"
            assert json.loads(backend.read_envelope(job.name) or b"") == {"exit": 0, "value": 5}
            assert [name for name in me.jobsets() if name not in before] == [job.name]
            assert gate.passed[f"POST {place.jobsets}"] == 1
            refused = " ".join(gate.refused)
            assert all(part in refused for part in ("/jobsets", "/workloads", "/pods", "/log"))
        finally:
            backend.close()
            me.proxy.__exit__()
    place.api.delete(place.jobsets)


def test_a_token_that_expires_is_read_again_and_else_named(
    cluster: Cluster, place: Namespace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("JUPYTER_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setattr(requests, "PATIENCE", 2.0)
    account = {"kind": "ServiceAccount", "name": "default", "namespace": place.name}
    role = f"{place.user}-in-{place.name}"
    objects.bind(cluster.admin, place.name, f"{place.name}-sa", role, account)
    token = tmp_path / "token"
    content = json.loads(place.kubeconfig.read_text())
    content["users"][0]["user"] = {"tokenFile": str(token)}
    path = tmp_path / "kubeconfig"
    path.write_text(json.dumps(content))
    token.write_text(cluster.token(place.name, "default", 8))
    backend = KubernetesBackend(Settings.load({"backend": "kubernetes", "kubeconfig": str(path), "grace": 1}))
    me = User(place, Proxy.before(place.kubeconfig), backend)
    try:
        job = me.submit("for i in $(seq 120); do echo line $i; sleep 0.2; done")

        def expired() -> bool:
            try:
                backend.site.client.get(place.jobsets)
            except ApiError as error:
                assert error.status == 401  # noqa: PT017
                assert repr(content["current-context"]) in str(error)  # noqa: PT017
                assert "Log in" in error.advice  # noqa: PT017
                return True
            time.sleep(0.3)
            return False

        wait_until(expired)
        token.write_text(cluster.token(place.name, "default", 3600))
        wait_until(lambda: me.state(job) is JobState.SUCCEEDED)
        assert me.output(job) == b"".join(b"line %d\n" % number for number in range(1, 121))
    finally:
        token.write_text(cluster.token(place.name, "default", 3600))
        backend.close()
        place.api.delete(place.jobsets)
        me.proxy.__exit__()
