"""Jobs under torchrun: real containers' processes, with a real torch and gloo between them."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from jupyter_konduktor.errors import InvalidTaskError
from jupyter_konduktor.runner import codec
from jupyter_konduktor.task import Task
from tests.unit.kubernetes.pods import Pod
from tests.unit.kubernetes.test_runtime import cell_pack, function_pack
from tests.wheels import wheel

PYTHON = "/usr/bin/python3"
GROUP = """
def f():
    import os, time
    import torch, torch.distributed as dist
    dist.init_process_group("gloo")
    rank, total = dist.get_rank(), torch.ones(1) * dist.get_rank()
    dist.all_reduce(total)
    print("rank", rank, "local", os.environ["LOCAL_RANK"], flush=True)
    {then}
    return total.item(), dist.get_world_size()
"""
# Debian's torch 1.13 reads "no redirects" as none at all on Python 3.11; of a rank that is not there they do no harm.
DEBIAN = {"PET_REDIRECTS": "9:1", "PET_TEE": "9:1"}

Run = Callable[..., list[Pod]]


def _has_torch() -> bool:
    return Path(PYTHON).exists() and subprocess.run([PYTHON, "-c", "import torch"], capture_output=True).returncode == 0


@pytest.fixture
def run(tmp_path: Path) -> Iterator[Run]:
    """Run a payload on so many nodes at once, two workers on each."""
    made: list[Pod] = []

    def run(pack: codec.Pack | None, nodes: int = 1, *, wait: bool = True, **task: Any) -> list[Pod]:
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = str(free.getsockname()[1])
        for rank in range(nodes):
            env = {
                "PET_NNODES": str(nodes),
                "PET_NODE_RANK": str(rank),
                "PET_NPROC_PER_NODE": "2",
                "PET_MASTER_PORT": port,
            }
            place = tmp_path / f"node-{rank}"
            made.append(
                Pod(
                    *(place, pack),
                    python=PYTHON,
                    rank=rank,
                    nodes=nodes,
                    wait=False,
                    launcher="torchrun",
                    env={**env, **DEBIAN, "PET_MASTER_ADDR": "127.0.0.1"},
                    **task,
                )
            )
        for pod in made if wait else ():
            pod.process.wait(90)
        return made

    yield run
    for pod in made:
        if pod.process.poll() is None:
            pod.process.kill()
            pod.process.wait()


@pytest.fixture(autouse=True)
def torch() -> None:
    if not _has_torch():
        reason = "no torch here; as root on Debian, make test installs python3-torch"
        if os.environ.get("CI") == "true":
            pytest.fail(reason, pytrace=False)
        pytest.skip(reason)


def test_rank_0_of_all_nodes_gives_the_value(run: Run) -> None:
    first, second = run(function_pack(GROUP.format(then="pass"), "f()"), nodes=2)
    assert (first.code, second.code) == (0, 0), first.text + second.text
    assert first.load().values["value"] == (6.0, 4)
    assert second.termination.read_bytes() == b'{"exit":0}'
    assert {line for line in first.text.splitlines() if line.startswith("rank")} == {"rank 0 local 0", "rank 1 local 1"}


def test_workers_have_the_packages_of_the_job(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wheel(tmp_path / "wheels", "small", "2.0")
    programs = tmp_path / "programs"
    programs.mkdir()
    (programs / "uv").symlink_to(Path(sys.executable).parent / "uv")
    monkeypatch.setenv("PATH", f"{programs}:{os.environ['PATH']}")
    monkeypatch.setenv("UV_FIND_LINKS", str(tmp_path / "wheels"))
    monkeypatch.setenv("UV_OFFLINE", "1")
    (node,) = run(function_pack("def f():\n    import small\n    return small.VERSION", "f()"), packages=["small"])
    assert node.code == 0, node.text
    assert node.envelope.value == "2.0"
    assert node.text.count("konduktor: installing small") == 1


def test_a_cells_names_come_from_rank_0(run: Run) -> None:
    code = "import os\nmine = int(os.environ['RANK']) + 40\nworld = int(os.environ['WORLD_SIZE'])"
    (node,) = run(cell_pack(code, out=["mine", "world"]))
    assert node.outputs == {"mine": 40, "world": 2}


def test_the_rank_that_raised_first_is_the_error(run: Run) -> None:
    """The others fail too: they lose touch with it, in the middle of something."""
    then = "if rank == 3: raise ValueError('on purpose')\n    dist.barrier()"
    first, second = run(function_pack(GROUP.format(then=then), "f()"), nodes=2)
    assert (first.code, second.code) == (1, 1)
    assert (second.error["ename"], second.error["evalue"], second.error["node"]) == ("ValueError", "on purpose", 1)
    assert "konduktor: rank 3 failed: exit code 1" in second.text
    assert second.termination.stat().st_mtime < first.termination.stat().st_mtime - 1


def test_a_rank_that_dies_is_named_with_its_exit_code(run: Run) -> None:
    (node,) = run(function_pack(GROUP.format(then="if rank == 1: os._exit(7)\n    time.sleep(60)"), "f()"))
    assert node.code == 7
    assert "konduktor: rank 1 failed: exit code 7" in node.text
    assert node.envelope.exit == 7


def test_a_rank_that_crashes_is_named_with_its_signal(run: Run) -> None:
    then = "if rank == 1: os.kill(os.getpid(), 11)\n    time.sleep(60)"
    (node,) = run(function_pack(GROUP.format(then=then), "f()"))
    assert node.code == 128 + signal.SIGSEGV
    assert "rank 1 failed: ended by SIGSEGV" in node.text


def test_a_command_is_launched_too(run: Run) -> None:
    command = ["sh", "-c", 'echo "$RANK of $WORLD_SIZE"; echo "[$WORLD_SIZE]" > "$KONDUKTOR_OUTPUT_DIR/result.json"']
    (node,) = run(None, command=command)
    assert node.code == 0
    assert sorted(line for line in node.text.splitlines() if " of " in line) == ["0 of 2", "1 of 2"]
    assert node.envelope.value == [2]


def test_sigterm_ends_all_workers(run: Run) -> None:
    (node,) = run(function_pack(GROUP.format(then="time.sleep(60)"), "f()"), wait=False)
    while "rank 1" not in node.text:
        assert node.process.poll() is None, node.text
        time.sleep(0.05)
    node.process.send_signal(signal.SIGTERM)
    assert node.process.wait(30) == 143


def test_the_items_of_a_map_are_not_launched() -> None:
    with pytest.raises(InvalidTaskError, match="items of a map are not run by torchrun"):
        Task.create(kind="map", launcher="torchrun")
    with pytest.raises(InvalidTaskError, match="launcher is torchrun"):
        Task.create(command=["true"], launcher="mpirun")
