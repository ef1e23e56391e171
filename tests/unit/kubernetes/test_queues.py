"""Queues and positions, from recorded objects."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from jupyter_konduktor.backends.kubernetes import queues
from jupyter_konduktor.errors import ApiError, UnreachableError
from jupyter_konduktor.state import QueueInfo
from tests.unit.kubernetes.lives import read


class Site:
    """A namespace that answers what it is told to, and keeps what it was asked."""

    kueue = "v1beta2"
    namespace = "team"

    def __init__(
        self, answers: dict[str, Any], *, sees_quota: bool = True, versions: tuple[str, ...] = ("v1beta2",)
    ) -> None:
        self.answers = answers
        self.asked: list[tuple[str, Any]] = []
        self.client = SimpleNamespace(get=self._get, pages=self._pages, served=lambda group: list(versions))
        self.rights = SimpleNamespace(allows=lambda verb, group, resource: sees_quota)

    def _get(self, path: str, query: Any = None) -> Any:
        self.asked.append((path, query))
        answer = self.answers[path.rpartition("/")[2]]
        if isinstance(answer, Exception):
            raise answer
        return answer(query) if callable(answer) else answer

    def _pages(self, path: str) -> Any:
        yield {"items": self._get(path)}


def test_use_and_quota() -> None:
    queue, cluster_queue = read("localqueue"), read("clusterqueue")
    site: Any = Site({"localqueues": [queue], cluster_queue["metadata"]["name"]: cluster_queue})
    assert queues.queues(site) == [
        QueueInfo(
            "user-queue",
            running=1,
            pending=1,
            resources={"cpu": (1.0, 1.0), "memory": (32 * 2**20, 2 * 2**30), "gpu": (0.0, 8.0)},
            flavors={"default": {"cpu": (1.0, 1.0), "memory": (32 * 2**20, 2 * 2**30), "gpu": (0.0, 8.0)}},
        )
    ]


def test_without_the_right_to_see_the_quota_only_use_is_known() -> None:
    site: Any = Site({"localqueues": [read("localqueue")]}, sees_quota=False)
    (info,) = queues.queues(site)
    assert info.resources == {"cpu": (1.0, None), "memory": (32 * 2**20, None), "gpu": (0.0, None)}
    assert info.flavors == {"default": info.resources}


@pytest.mark.parametrize("status", [403, 404])
def test_cluster_queue_that_cannot_be_read_costs_only_the_quota(status: int) -> None:
    queue = read("localqueue")
    refused = ApiError("no", status=status)
    site: Any = Site({"localqueues": [queue], queue["spec"]["clusterQueue"]: refused})
    assert queues.queues(site)[0].resources["cpu"] == (1.0, None)


def test_stopped_queue_says_so() -> None:
    assert queues.info(read("localqueue-stopped"), None).message == "is stopped: jobs wait until it is started again"


def test_gpus_of_all_makers_and_flavors_are_added_up() -> None:
    resources = [{"name": "nvidia.com/gpu", "nominalQuota": "8"}, {"name": "example.com/other", "nominalQuota": "3"}]
    amd = [{"name": "amd.com/gpu", "nominalQuota": "4"}, {"name": "cpu", "nominalQuota": "1500m"}]
    flavors = [{"name": "a", "resources": resources}, {"name": "b", "resources": amd}]
    info = queues.info(read("localqueue"), {"spec": {"resourceGroups": [{"flavors": flavors}]}, "status": {}})
    assert info.resources == {"gpu": (0.0, 12.0), "cpu": (0.0, 1.5)}
    assert info.flavors == {"a": {"gpu": (0.0, 8.0)}, "b": {"gpu": (0.0, 4.0), "cpu": (0.0, 1.5)}}


def test_positions_by_workload() -> None:
    site: Any = Site({"pendingworkloads": read("pending")})
    assert queues.positions(site, "user-queue") == {"jobset-stop-queued-34cfc": 0}
    path = "/apis/visibility.kueue.x-k8s.io/v1beta2/namespaces/team/localqueues/user-queue/pendingworkloads"
    assert [asked for asked, _ in site.asked] == [path]


def test_positions_of_a_long_queue_are_read_in_pages() -> None:
    def page(query: dict[str, str]) -> dict[str, Any]:
        start = int(query["offset"])
        end = min(start + int(query["limit"]), 5000)
        return {"items": [{"metadata": {"name": f"w{i}"}, "positionInLocalQueue": i} for i in range(start, end)]}

    site: Any = Site({"pendingworkloads": page}, versions=("v1beta1",))
    assert queues.positions(site, "q") == {f"w{i}": i for i in range(5000)}
    assert len(site.asked) == 3
    assert "/v1beta1/" in site.asked[0][0]


def test_those_that_are_equal_keep_their_order() -> None:
    """Kueue tells those of one second and one priority in another order each time."""

    def item(name: str, second: int, position: int, priority: int = 0) -> dict[str, Any]:
        made = {"name": name, "creationTimestamp": f"2026-01-01T00:00:0{second}Z"}
        return {"metadata": made, "priority": priority, "positionInLocalQueue": position}

    for names in (["a", "b", "c"], ["c", "a", "b"]):
        tied = [item(name, 1, 2 + place) for place, name in enumerate(names)]
        said = [item("z", 5, 0, priority=9), item("y", 0, 1), *tied, item("x", 2, 5)]
        site: Any = Site({"pendingworkloads": {"items": said}})
        assert queues.positions(site, "q") == {"z": 0, "y": 1, "a": 2, "b": 3, "c": 4, "x": 5}


@pytest.mark.parametrize("status", [403, 404, 503])
def test_positions_that_cannot_be_seen_are_none(status: int, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    site: Any = Site({"pendingworkloads": ApiError("no", status=status)})
    for _ in range(2):
        assert queues.positions(site, f"queue-{status}") == {}
    assert caplog.text.count(f"queue-{status}") == 1
    assert queues.positions(Site({}, versions=()), "unserved") == {}  # type: ignore[arg-type]


def test_cluster_that_does_not_answer_is_an_error() -> None:
    site: Any = Site({"pendingworkloads": UnreachableError("timed out")})
    with pytest.raises(UnreachableError):
        queues.positions(site, "q")
