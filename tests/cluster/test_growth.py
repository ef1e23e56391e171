"""A namespace with ten thousand jobs: what a person pays for it, in requests, bytes and memory."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import psutil
import pytest

from jupyter_konduktor.backends.kubernetes import upkeep
from jupyter_konduktor.backends.kubernetes.api.reflector import LIMIT
from jupyter_konduktor.backends.kubernetes.api.transport import Transport
from jupyter_konduktor.backends.kubernetes.backend import KubernetesBackend
from jupyter_konduktor.backends.kubernetes.site import CHUNK
from jupyter_konduktor.backends.protocol import Event
from jupyter_konduktor.config import Settings
from jupyter_konduktor.state import JobRecord, JobState
from tests.cluster.crowd import crowd
from tests.testbed.cluster import Cluster, Namespace

OTHERS, MINE = 10_000, 20
MEMORY = 100 << 20
"""Bytes that a list of all of them may take at its peak."""
A_JOB = 2000
"""Bytes that one job may take of a list: a small JobSet alone has 1,000, and a large one a hundred thousand."""


class Traffic:
    """What went over the wire: each request that was answered, and the streams that were begun."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.requests: list[tuple[str, int]] = []
        self.streams: list[str] = []
        exchange, begin = Transport.exchange, Transport.begin

        def exchanged(transport: Transport, method: str, url: str, *rest: Any) -> Any:
            answer = exchange(transport, method, url, *rest)
            self.requests.append((url, len(answer.data)))
            return answer

        def begun(transport: Transport, url: str, *rest: Any) -> Any:
            self.streams.append(url)
            return begin(transport, url, *rest)

        patch.setattr(Transport, "exchange", exchanged)
        patch.setattr(Transport, "begin", begun)

    def clear(self) -> None:
        """Begin to count anew."""
        self.requests.clear()
        self.streams.clear()

    def of(self, kind: str) -> list[int]:
        """The sizes of the answers about one kind of object."""
        return [size for url, size in self.requests if f"/{kind}?" in url or url.endswith(f"/{kind}")]


@pytest.fixture(scope="module")
def place(cluster: Cluster) -> Iterator[tuple[Namespace, list[str]]]:
    """A namespace with the jobs of someone else, and with some of its own user."""
    with cluster.new_namespace() as made, pytest.MonkeyPatch.context() as patch:
        patch.setenv("JUPYTERHUB_USER", "me")
        with crowd(cluster, made, OTHERS, "someone-else"), crowd(cluster, made, MINE, _user(made)) as names:
            made.api.api("GET", f"{made.jobsets}?limit=1", timeout=100)  # until the API server knows them all
            yield made, names


@pytest.fixture
def traffic(monkeypatch: pytest.MonkeyPatch) -> Traffic:
    """What this process sends and gets from now on."""
    return Traffic(monkeypatch)


@pytest.fixture
def backend(
    place: tuple[Namespace, list[str]], tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> Iterator[KubernetesBackend]:
    """A backend that knows nothing yet."""
    monkeypatch.setenv("JUPYTER_DATA_DIR", str(tmp_path))
    monkeypatch.setenv("JUPYTERHUB_USER", "me")
    made = _backend(place[0])
    yield made
    made.close()


def _backend(namespace: Namespace) -> KubernetesBackend:
    return KubernetesBackend(replace(Settings(), kubeconfig=str(namespace.kubeconfig)))


def _user(namespace: Namespace) -> str:
    """The label of this user's jobs."""
    from jupyter_konduktor.backends.kubernetes.api.client import Client
    from jupyter_konduktor.backends.kubernetes.rights import user_id

    client = Client.connect(kubeconfig=str(namespace.kubeconfig))
    try:
        return user_id(client)
    finally:
        client.close()


def test_a_list_of_my_jobs_does_not_pay_for_those_of_others(
    place: tuple[Namespace, list[str]], backend: KubernetesBackend, traffic: Traffic
) -> None:
    """Twenty jobs among ten thousand come in one page of their own."""
    found = backend.list()
    assert [record.name for record in found] == place[1]
    assert {record.state for record in found} == {JobState.QUEUED}
    assert len(traffic.of("jobsets")) == 1
    assert sum(traffic.of("jobsets")) < MINE * A_JOB
    assert sum(size for _, size in traffic.requests) < 2 * MINE * A_JOB


def test_a_list_of_all_jobs_comes_in_pages(backend: KubernetesBackend, traffic: Traffic) -> None:
    """All ten thousand are listed: page by page, as a table, and not all of it in memory at once."""
    process, over = psutil.Process(), threading.Event()
    before = process.memory_info().rss
    seen = [before]

    def look() -> None:
        while not over.wait(0.02):
            seen.append(process.memory_info().rss)

    looking = threading.Thread(target=look)
    looking.start()
    try:
        found = backend.list(all_users=True)
    finally:
        over.set()
        looking.join()
    count = OTHERS + MINE
    assert len(found) == count
    pages = traffic.of("jobsets")
    assert len(pages) == -(-count // LIMIT)
    assert max(pages) < LIMIT * A_JOB
    assert sum(size for _, size in traffic.requests) < count * A_JOB
    assert len(traffic.requests) < 2 * count / CHUNK + count / LIMIT + 10
    assert max(seen) - before < MEMORY


def test_a_list_beside_a_watch_that_has_just_begun_lacks_nothing(
    place: tuple[Namespace, list[str]], backend: KubernetesBackend
) -> None:
    """Jobs of which the watch has not seen enough to tell where they stand are listed all the same."""
    watch = backend.watch(lambda event: None)
    assert [record.name for record in backend.list()] == place[1]
    watch.close()


def test_a_change_among_ten_thousand_jobs_is_told(
    place: tuple[Namespace, list[str]],
    backend: KubernetesBackend,
    traffic: Traffic,
    cluster: Cluster,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """There is one watch for each kind, begun with one list; it hears of my job's end, and of nobody else's jobs."""
    monkeypatch.setattr(upkeep, "LOOK_AGAIN", 600.0)  # there are no Workloads, and a busy machine takes its time
    namespace, names = place
    told: list[Event] = []
    ended = threading.Event()

    def hear(event: Event) -> None:
        told.append(event)
        if isinstance(event, JobRecord) and event.state.final:
            ended.set()

    watch = backend.watch(hear)
    end = time.monotonic() + 60
    while len({event.name for event in told if isinstance(event, JobRecord)}) < MINE or len(traffic.streams) < 3:
        assert time.monotonic() < end
        time.sleep(0.01)
    kinds = [url.partition("?")[0].rpartition("/")[2] for url in traffic.streams]
    assert sorted(kinds) == ["jobsets", "pods", "workloads"]
    assert all(len(traffic.of(kind)) == 1 for kind in kinds)
    assert sum(size for _, size in traffic.requests) < 2 * MINE * A_JOB
    traffic.clear()
    assert [record.name for record in backend.list()] == names
    assert not traffic.requests

    admin = cluster.admin
    for name in ("someone-else-00007", names[3]):
        admin.merge(f"{namespace.jobsets}/{name}/status", {"status": _completed()})
    assert ended.wait(60)
    assert {event.name for event in told if isinstance(event, JobRecord) and event.state.final} == {names[3]}
    assert {event.name for event in told if isinstance(event, JobRecord)} <= set(names)
    assert len(traffic.requests) <= 4  # what has ended, as a whole
    assert sum(size for _, size in traffic.requests) < MINE * A_JOB
    watch.close()


def _completed() -> dict[str, Any]:
    now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    condition = {
        "type": "Completed",
        "status": "True",
        "reason": "AllJobsCompleted",
        "message": "jobset completed successfully",
        "lastTransitionTime": now,
    }
    return {"terminalState": "Completed", "conditions": [condition]}
