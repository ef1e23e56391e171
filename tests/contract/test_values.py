"""Values of any size, in and out."""

from __future__ import annotations

import base64
import json
import random
from typing import TYPE_CHECKING

import pytest

from jupyter_konduktor.runner.envelope import KEY
from jupyter_konduktor.state import JobState
from tests.contract import work

if TYPE_CHECKING:
    from tests.contract.conftest import Harness

DATA = random.Random(0).randbytes(8 << 20)


def test_a_small_value_takes_no_store(jobs: Harness) -> None:
    record = jobs.call(work.reversed_twice, b"abc")
    assert jobs.value(record) == (b"cba", b"abc")


@pytest.mark.parametrize("size", [100_000, 2_000_000])
def test_a_value_of_some_size_comes_back_without_one(jobs: Harness, size: int) -> None:
    record = jobs.call(work.reversed_twice, DATA[: size // 10])
    assert jobs.value(record) == (DATA[: size // 10][::-1], DATA[: size // 10])
    record = jobs.call(work.repeated, DATA[:10], size // 10)
    assert jobs.value(record) == DATA[:10] * (size // 10)


def test_a_large_one_goes_both_ways_with_one(jobs: Harness, monkeypatch: pytest.MonkeyPatch) -> None:
    jobs.with_store(monkeypatch)
    record = jobs.call(work.reversed_twice, DATA)
    assert jobs.value(record) == (DATA[::-1], DATA)


def test_without_one_too_much_is_told_with_its_size_and_what_to_do(jobs: Harness) -> None:
    """On this machine there is nothing that is too much."""
    record = jobs.call(work.repeated, DATA[:10], 800_000)
    if jobs.backend.name == "local":
        assert jobs.value(record) == DATA[:10] * 800_000
        return
    assert record.state is JobState.FAILED
    error = json.loads(base64.b64decode(jobs.envelope(record).value[KEY]["data"]))
    assert "value has 7.6 MiB" in error["evalue"]
    assert "set one (store = " in error["evalue"]
