"""What a task needs of this machine: cores, memory, GPUs, priorities, and what has no meaning here."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from jupyter_konduktor.backends.local import machine
from jupyter_konduktor.backends.local.admission import Capacity, choose
from jupyter_konduktor.backends.local.backend import LocalBackend
from jupyter_konduktor.backends.local.needs import needs_of
from jupyter_konduktor.errors import InvalidTaskError
from jupyter_konduktor.state import JobState
from jupyter_konduktor.task import Task

if TYPE_CHECKING:
    from tests.local.conftest import Local

MACHINE = Capacity(4, 8 * 2**30)


def _task(**options: Any) -> Task:
    return Task.create(kind="command", command=["true"], **options)


def _row(uid: str, cpus: float = 1, memory: int = 0, gpus: int = 0, devices: str = "") -> dict[str, Any]:
    return {"uid": uid, "cpus": cpus, "memory": memory, "gpus": gpus, "devices": devices}


@pytest.mark.parametrize(
    ("active", "queued", "started"),
    [
        pytest.param([], [("a", 2), ("b", 2), ("c", 1)], ["a", "b"], id="what fits, in order"),
        pytest.param([("x", 3)], [("a", 2), ("b", 1)], [], id="nobody passes one that waits for what he would take"),
        pytest.param([("x", 1)], [("a", 4), ("b", 0.5)], [], id="the whole machine is waited for"),
        pytest.param([("x", 2)], [("a", 9)], [], id="more than the machine has waits for all of it"),
        pytest.param([], [("a", 9), ("b", 1)], ["a"], id="more than the machine has gets all of it"),
        pytest.param([("x", 4)], [("a", 0.001)], [], id="nothing is left"),
        pytest.param([("x", 0.1)] * 9, [("a", 3.1)], ["a"], id="sums of fractions"),
    ],
)
def test_admission_by_cores(active: list[Any], queued: list[Any], started: list[str]) -> None:
    chosen = choose(MACHINE, [_row(*one) for one in active], [_row(*one) for one in queued])
    assert [uid for uid, _ in chosen] == started


def test_small_job_passes_a_large_one_only_where_it_takes_nothing_from_it() -> None:
    capacity = Capacity(4, 0, ["0", "1"])
    active = [_row("x", cpus=1, gpus=2, devices="0,1")]
    queued = [_row("needs-gpu", cpus=1, gpus=1), _row("small", cpus=1), _row("also-gpu", cpus=1, gpus=1)]
    assert choose(capacity, active, queued) == [("small", [])]


def test_gpus_are_never_shared() -> None:
    capacity = Capacity(16, 0, ["0", "1", "2", "3"])
    active = [_row("x", gpus=1, devices="1")]
    queued = [_row("a", gpus=2), _row("b", gpus=2), _row("c", gpus=1)]
    assert choose(capacity, active, queued) == [("a", ["0", "2"])]


def test_job_for_gpus_that_are_gone_blocks_nobody() -> None:
    assert choose(Capacity(2, 0), [], [_row("a", gpus=1), _row("b")]) == [("b", [])]


def test_memory_is_reserved() -> None:
    gib = 2**30
    queued = [_row("a", memory=5 * gib), _row("b", memory=4 * gib), _row("c", memory=3 * gib)]
    assert [uid for uid, _ in choose(MACHINE, [], queued)] == ["a"]


def test_nodes_share_cores() -> None:
    assert needs_of(_task(nodes=3), MACHINE).cpus == 3
    assert needs_of(_task(nodes=50), MACHINE).cpus == 4
    assert needs_of(_task(nodes=50), MACHINE).notes == ()


def test_more_than_the_machine_has_is_clipped_with_a_note() -> None:
    needs = needs_of(_task(cpus=8, memory=64), MACHINE)
    assert (needs.cpus, needs.memory) == (4, 8 * 2**30)
    assert [note.split(":")[0] for note in needs.notes] == ["cpus", "memory"]
    assert all("\n" not in note for note in needs.notes)


def test_too_many_nodes_are_refused() -> None:
    with pytest.raises(InvalidTaskError, match="at most 64") as caught:
        needs_of(_task(nodes=1000), MACHINE)
    assert caught.value.field == "nodes"


@pytest.mark.parametrize(
    ("priority", "value", "noted"),
    [(None, 0, 0), ("high-priority", 100, 0), ("low-priority", -100, 0), ("7", 7, 0), ("vip", 0, 1)],
)
def test_priorities(priority: str | None, value: int, noted: int) -> None:
    needs = needs_of(_task(priority=priority), MACHINE)
    assert (needs.priority, len(needs.notes)) == (value, noted)


def test_what_has_no_meaning_here_is_noted() -> None:
    places = {"queue": "user-queue", "topology": "unconstrained", "volumes": {"data": "/data"}}
    task = _task(image="python:3.12", **places, packages=["no-such-thing>=2"])
    notes = needs_of(task, MACHINE).notes
    assert [note.split(":")[0] for note in notes] == ["image", "queue", "topology", "volumes"]


def test_secret_that_is_not_set_is_refused_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SET_TOKEN", "a value")
    assert needs_of(_task(secrets={"SET_TOKEN": ""}), MACHINE).notes == ()
    with pytest.raises(InvalidTaskError, match="UNSET_TOKEN") as caught:
        needs_of(_task(secrets={"SET_TOKEN": "", "UNSET_TOKEN": ""}), MACHINE)
    assert "a value" not in str(caught.value)


def test_workdir_is_where_the_job_runs(local: Local, tmp_path: Path) -> None:
    record = local.run("pwd", workdir=str(tmp_path))
    assert local.backend.read_log(record.name).data.decode().strip() == str(tmp_path)
    with pytest.raises(InvalidTaskError, match="workdir"):
        local.submit("pwd", workdir=str(tmp_path / "missing"))


def test_job_inherits_environment_and_directory(local: Local, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("FROM_THE_KERNEL", "yes, \udcff")
    monkeypatch.chdir(tmp_path)
    record = local.run('printf %s "$FROM_THE_KERNEL:"; pwd')
    assert local.backend.read_log(record.name).data == b"yes, \xff:" + os.fsencode(tmp_path) + b"\n"


@pytest.fixture
def two_gpus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Put a driver's tool on the path that knows two GPUs."""
    program = tmp_path / "bin" / "nvidia-smi"
    program.parent.mkdir()
    program.write_text(
        "#!/bin/sh\nprintf '0, GPU-aa-0, NVIDIA A100-SXM4-80GB\\n1, GPU-bb-1, NVIDIA A100-SXM4-80GB\\n'\n"
    )
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)


@pytest.mark.usefixtures("two_gpus")
@pytest.mark.parametrize(
    ("visible", "found"),
    [(None, ["0", "1"]), ("", []), ("1", ["1"]), ("GPU-bb,0", ["1", "0"]), ("7,0", []), ("-1", [])],
)
def test_gpus_are_those_this_process_may_see(
    visible: str | None, found: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    if visible is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert [gpu.index for gpu in machine.gpus()] == found


@pytest.mark.usefixtures("two_gpus")
def test_each_job_and_node_sees_its_own_gpus(local: Local) -> None:
    show = "echo $CUDA_VISIBLE_DEVICES; sleep 0.5"
    first, second = local.submit(show, gpus=1, cpus=0.5), local.submit(show, gpus="A100:1", cpus=0.5)
    none = local.submit("echo [$CUDA_VISIBLE_DEVICES]", cpus=0.5)
    records = [local.wait(record) for record in (first, second, none)]
    seen = [local.backend.read_log(record.name).data.decode().strip() for record in records]
    assert seen == ["0", "1", "[]"]
    both = local.run("echo $CUDA_VISIBLE_DEVICES $NUM_GPUS_PER_NODE", gpus=1, nodes=2)
    assert [local.backend.read_log(both.name, node=node).data for node in (0, 1)] == [b"0 1\n", b"1 1\n"]
    assert local.backend.queues()[0].resources["gpu"] == (0, 2)


@pytest.mark.usefixtures("two_gpus")
def test_other_kind_of_gpu_is_noted(local: Local) -> None:
    (note,) = local.backend.check(local.task("true", gpus="H100:1"))
    assert "H100" in note
    assert "A100" in note


def test_gpus_that_are_missing_are_refused_with_advice(local: Local, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    with pytest.raises(InvalidTaskError, match="no GPUs") as caught:
        local.submit("true", gpus="H100:8")
    assert 'local_gpus = "ignore"' in caught.value.advice
    assert local.backend.list() == []
    lenient = LocalBackend(local.root, ignore_gpus=True)
    task = local.task("true", gpus="H100:8")
    (note,) = lenient.check(task)
    assert "ignored" in note
    record = lenient.submit(task, None, key="k")
    assert local.wait(record).state is JobState.SUCCEEDED
    lenient.close()


def test_cores_and_memory_are_real(local: Local) -> None:
    assert 0 < machine.cores() <= (os.cpu_count() or 1)
    assert 2**28 < machine.memory() < 2**50
    assert local.backend.queues()[0].resources["cpu"] == (0, machine.cores())


def test_workers_of_a_map_are_counted_as_nodes_and_named_as_workers(two_gpus: None) -> None:
    def workers(count: int, **options: Any) -> Task:
        return Task.create(kind="map", items=1000, max_parallel=count, **options)

    assert needs_of(workers(4, cpus=1), MACHINE).cpus == 4
    with pytest.raises(InvalidTaskError, match="max_parallel=500: on this machine each worker is a process"):
        needs_of(workers(500), MACHINE)
    with pytest.raises(InvalidTaskError, match=r"gpus=1 on 3 workers \(max_parallel\), 3 in all"):
        needs_of(workers(3, gpus=1), machine.capacity())
