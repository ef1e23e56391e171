"""What becomes of a map: its items, its state, and what its workers see of each other."""

from __future__ import annotations

import base64
import json
from typing import TYPE_CHECKING

import pytest

from jupyter_konduktor.errors import InvalidTaskError
from jupyter_konduktor.runner.envelope import KEY
from jupyter_konduktor.state import JobState
from tests.contract import work

if TYPE_CHECKING:
    from tests.contract.conftest import Harness

SMALL = {"cpus": "50m"}


@pytest.mark.parametrize("workers", [1, 3])
def test_every_item_gives_its_value(jobs: Harness, workers: int) -> None:
    record = jobs.map(work.square, range(20), max_parallel=workers, **SMALL)
    assert (record.state, record.exit_code, record.kind) == (JobState.SUCCEEDED, 0, "map")
    assert {index: item.value for index, item in jobs.items(record).items()} == {x: x * x for x in range(20)}
    assert len(jobs.backend.read_items(record.name)) == 20
    envelope = jobs.envelope(record)
    assert (envelope.exit, envelope.value) == (0, {"items": 20, "failed": 0})


@pytest.mark.parametrize("workers", [1, 3])
def test_a_failing_item_neither_stops_the_others_nor_hides(jobs: Harness, workers: int) -> None:
    record = jobs.map(work.behaves, range(12), max_parallel=workers, **SMALL)
    assert (record.state, record.exit_code) == (JobState.FAILED, 1)
    assert (record.reason, record.message) == ("ItemsFailed", "4 of 12 items failed")
    assert record.attempt == 0
    items = jobs.items(record)
    assert [items[index].exit for index in range(6)] == [0, 1, 0, 134, 0, 0]
    assert [items[index].value for index in (0, 2, 5, 6, 8, 11)] == [0, 2, 5, 6, 8, 11]
    error = json.loads(base64.b64decode(items[3].value[KEY]["data"]))
    assert error["evalue"] == "item 3 has ended the process that ran it: SIGABRT"
    for index in (4, 10):
        reference = items[index].value[KEY]
        assert bytes([index]) * 10_000 in bytes(jobs.backend.read_artifact(record.name, reference))
    envelope = jobs.envelope(record)
    assert (envelope.exit, envelope.value) == (1, {"items": 12, "failed": 4})


def test_failed_items_are_run_again(jobs: Harness) -> None:
    record = jobs.map(work.second_time, range(4), retries=1)
    assert record.state is JobState.SUCCEEDED
    assert b"konduktor: item 3 has failed and is run again (1 of 1)\n" in jobs.output(record)


def test_workers_are_no_group(jobs: Harness) -> None:
    record = jobs.map(work.who, range(12), max_parallel=3, **SMALL)
    seen = [item.value for item in jobs.items(record).values()]
    assert {worker for worker, *_ in seen} > {"0"}, "the others may come late, but not that late"
    assert {tuple(rest) for _, *rest in seen} == {("0", "1", "1", "0", None, "127.0.0.1", "127.0.0.1")}


def test_a_map_has_no_nodes(jobs: Harness) -> None:
    with pytest.raises(InvalidTaskError, match="max_parallel"):
        jobs.map(work.square, range(3), nodes=2)


def test_a_map_has_no_more_workers_than_items(jobs: Harness) -> None:
    record = jobs.map(work.square, [2], max_parallel=50)
    assert record.spec["resources"]["nodes"] == 1
    assert jobs.items(record)[0].value == 4
