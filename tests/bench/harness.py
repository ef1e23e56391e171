"""What the benches share: pairs measured in turn, the floor of a job, rows for the table."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator

import cloudpickle
import psutil

# What any way of running a function in another process pays: an interpreter, cloudpickle, the pickles there and back.
FLOOR = """
import sys, cloudpickle
function, args = cloudpickle.loads(sys.stdin.buffer.read())
sys.stdout.buffer.write(cloudpickle.dumps(function(*args)))
"""


def row(what: str, budget: str, figure: str, floor: str, *, kept: bool) -> None:
    """Report one line of the table."""
    verdict = "kept" if kept else "MISSED"
    line = {"what": what, "budget": budget, "figure": figure, "floor": floor, "verdict": verdict}
    print(json.dumps(line), flush=True)


def seconds(call: Callable[[], object]) -> float:
    """Time one call."""
    started = time.perf_counter()
    call()
    return time.perf_counter() - started


def in_turn(floor: Callable[[], object], ours: Callable[[], object], pairs: int) -> tuple[list[float], list[float]]:
    """Time two calls in turn, each first in every other pair, so that what else the machine does hits both alike."""
    floors: list[float] = []
    own: list[float] = []
    for pair in range(pairs):
        both = [(floor, floors), (ours, own)]
        for call, times in both if pair % 2 else reversed(both):
            time.sleep(0.1)  # what the call before left to be tidied up is over
            times.append(seconds(call))
    return floors, own


def in_new_python(function: Callable[..., object], *args: object) -> object:
    """Run a function in a new interpreter the shortest way: the floor of a job."""
    sent = cloudpickle.dumps((function, args))
    run = subprocess.run([sys.executable, "-c", FLOOR], input=sent, stdout=subprocess.PIPE, check=True)
    return cloudpickle.loads(run.stdout)


def quantile(values: list[float], share: float) -> float:
    """Give the value below which a share of the values lies."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def cores() -> int:
    """Count the cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def own_processes(known: dict[int, bool]) -> Iterator[int]:
    """Give the ids of all processes of this bench, however detached: they have its home.

    ``known`` remembers between calls which ids are ours, so that a call costs little.
    """
    pids = set(psutil.pids())
    for pid in known.keys() - pids:
        del known[pid]
    for pid in pids - known.keys():
        try:
            known[pid] = psutil.Process(pid).environ().get("HOME") == os.environ["HOME"]
        except psutil.Error:
            continue  # gone already, or another user's
    return (pid for pid, ours in known.items() if ours)
