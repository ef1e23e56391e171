"""Maps on a real cluster: many items on a few workers, and what becomes of them when pods go."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

import jupyter_konduktor as jk
from jupyter_konduktor import config, session
from jupyter_konduktor.errors import InvalidTaskError, RemoteError
from jupyter_konduktor.state import JobState
from tests.cluster.work import add, pause, picky
from tests.testbed.cluster import Cluster, Namespace

ONE_POD_EACH = 85.0 / 200
"""Seconds that an item took as a pod of its own on this testbed."""


@pytest.fixture(scope="module")
def place(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Namespace]:
    """One namespace for all tests of this file."""
    made = cluster.new_namespace({"cpu": "1000m"})
    where = {"backend": "kubernetes", "kubeconfig": str(made.kubeconfig), "image": cluster.image, "cpus": "100m"}
    before = dict.fromkeys([*where, "grace"])
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("JUPYTER_DATA_DIR", str(tmp_path_factory.mktemp("data")))
        for key, value in {**where, "grace": 2}.items():
            config.set_session(key, value)
        yield made
        session.close()
        for key, value in before.items():
            config.set_session(key, value)
    made.remove()


def until(holds: Callable[[], Any], timeout: float = 60.0) -> Any:
    end = time.monotonic() + timeout
    while not (found := holds()):
        assert time.monotonic() < end, f"not true after {timeout:g} s"
        time.sleep(0.05)
    return found


def test_a_thousand_items_on_four_workers(place: Namespace, capsys: pytest.CaptureFixture) -> None:
    mapped = jk.remote(max_parallel=4)(add)
    began = time.monotonic()
    group = mapped.map(range(1000))
    assert group.result(80) == [x + 1 for x in range(1000)]
    took = time.monotonic() - began
    with capsys.disabled():
        print(f"\n1,000 items on 4 workers: {took:.1f} s, 200 items as a pod each: 85 s")
    assert took < 45
    assert took / 1000 < ONE_POD_EACH / 10
    jobset = place.api.get(f"{place.jobsets}/{group.name}")
    (replicated,) = jobset["spec"]["replicatedJobs"]
    job = replicated["template"]["spec"]
    assert (job["parallelism"], job["completions"], job["completionMode"]) == (4, 4, "Indexed")
    assert job["backoffLimitPerIndex"] == 3
    assert "backoffLimit" not in job
    assert not (jobset["spec"].get("failurePolicy") or {}).get("maxRestarts")


def test_failing_items_do_not_hide_behind_pods_that_end_well(place: Namespace) -> None:
    group = jk.remote(max_parallel=2, retries=1)(picky).map(range(8))
    assert group.wait(60) == "failed"
    record = group.job.record
    assert (record.reason, record.message, record.exit_code) == ("ItemsFailed", "2 of 8 items failed", 1)
    values = group.result(return_exceptions=True)
    assert [value for value in values if not isinstance(value, Exception)] == [0, 1, 2, 4, 6, 7]
    assert [str(values[index]) for index in (3, 5)] == [
        "ValueError: 3",
        "ItemError: item 5 has ended the process that ran it: SIGSEGV (segmentation fault)",
    ]
    assert all(isinstance(values[index], RemoteError) for index in (3, 5))
    jobset = until(lambda: (place.api.get(f"{place.jobsets}/{group.name}").get("status") or {}).get("terminalState"))
    assert jobset == "Completed"
    session.close()  # another kernel comes to the same
    assert jk.attach(group.name).job.record.message == "2 of 8 items failed"


@pytest.mark.parametrize("index", [0, 2])
def test_a_worker_whose_pod_goes_costs_no_item(place: Namespace, index: int) -> None:
    group = jk.remote(max_parallel=3)(pause).map(range(60), seconds=0.3)
    until(lambda: group.finished > 10)
    pod = place.pods(group.name)[index]["metadata"]["name"]
    place.api.delete(f"{place.core}/pods/{pod}?gracePeriodSeconds=0")
    assert group.result(120) == list(range(60))
    assert group.state is JobState.SUCCEEDED
    assert group.outcomes() == [True] * 60
    assert group.finished == 60


def test_more_workers_than_the_quota_has_are_refused(place: Namespace) -> None:
    with pytest.raises(InvalidTaskError, match=r"max_parallel=11: 11 workers x 0\.1 is more cpu") as refused:
        jk.remote(max_parallel=11)(add).map(range(20))
    assert "max_parallel=10 fits" in str(refused.value)
    assert refused.value.field == "max_parallel"
