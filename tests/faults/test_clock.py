"""A clock that is wrong, or set while jobs run: nobody waits longer, no time is negative, nothing is removed early."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from jupyter_konduktor.state import JobState
from tests.local.conftest import PROJECT

if TYPE_CHECKING:
    from tests.local.conftest import Local

pytestmark = pytest.mark.needs("linux", "program:cc")

# A process that has this loaded reads the time of day from a file's number of seconds away, anew each time.
SHIFT = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

int clock_gettime(clockid_t id, struct timespec *now) {
    static int (*real)(clockid_t, struct timespec *);
    if (!real) real = dlsym(RTLD_NEXT, "clock_gettime");
    int result = real(id, now);
    const char *path = getenv("CLOCK_SHIFT");
    if (id == CLOCK_REALTIME && path) {
        FILE *file = fopen(path, "r");
        long seconds = 0;
        if (file) {
            if (fscanf(file, "%ld", &seconds) != 1) seconds = 0;
            fclose(file);
        }
        now->tv_sec += seconds;
    }
    return result;
}
"""


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("clock")
    (folder / "shift.c").write_text(SHIFT)
    made = folder / "shift.so"
    subprocess.run(["cc", "-shared", "-fPIC", "-o", made, folder / "shift.c", "-ldl"], check=True)
    return made


CLIENT = """
import json, pathlib, sys, time
sys.path.insert(0, sys.argv[1])
root, clock, hours, set_by = pathlib.Path(sys.argv[2]), pathlib.Path(sys.argv[3]), float(sys.argv[4]), sys.argv[5]
from dataclasses import asdict
from jupyter_konduktor import summary
from jupyter_konduktor.backends.local.backend import LocalBackend
from jupyter_konduktor.task import Task
from jupyter_konduktor.tracker import Tracker

backend = LocalBackend(root, grace=1.0)
tracker = Tracker(backend)
def submit(script, **options):
    task = Task.create(kind="command", command=["sh", "-c", script], name="t", **options)
    return tracker.put(backend.submit(task, None, key=script))
def wait(job, holds=lambda record: record.state.final):
    found = tracker.wait(job.name, holds, 20)
    assert found is not None, backend.get(job.name)
    return found

before = wait(submit("echo before"))
job = submit("sleep 0.6; echo 7 > $KONDUKTOR_OUTPUT_DIR/result.json", timeout=30)
wait(job, lambda record: record.state == "Running")
if set_by == "kernel":
    clock.write_text(str(int(3600 * hours)))
begun = time.monotonic()
assert tracker.wait(job.name, lambda record: False, 0.3) is None
assert 0.25 < time.monotonic() - begun < 5, "a timeout is not measured by the clock"
job = wait(job)
after = wait(submit("echo after"))
backend.collect_garbage()
records = backend.list()
tracker.close()
backend.close()
print(json.dumps({
    "now": time.time(), "names": [record.name for record in records],
    "expected": [before.name, job.name, after.name],
    "states": [record.state for record in records],
    "elapsed": [summary.elapsed(record) for record in records],
    "said": [summary.text(record) for record in records],
    "times": [[change.time for change in record.history] for record in records],
}))
"""


def _run(local: Local, library: Path, hours: float, set_by: str) -> dict[str, Any]:
    clock = local.root.parent / "clock"
    clock.write_text(str(int(3600 * hours)) if set_by == "start" else "0")
    environ = {**os.environ, "LD_PRELOAD": str(library), "CLOCK_SHIFT": str(clock)}
    command = [sys.executable, "-c", CLIENT, str(PROJECT), str(local.root), str(clock), str(hours), set_by]
    done = subprocess.run(command, env=environ, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


@pytest.mark.parametrize("hours", [1, -1])
def test_a_clock_that_is_set_while_jobs_run_changes_no_end_and_no_order(
    local: Local, library: Path, hours: float
) -> None:
    found = _run(local, library, hours, "kernel")
    assert found["names"] == found["expected"], "nothing was removed, and the order is that of the submits"
    assert set(found["states"]) == {JobState.SUCCEEDED}
    assert all(times == sorted(times) for times in found["times"])
    assert all(seconds >= 0 for seconds in found["elapsed"])
    assert not any(" -" in text.replace(" - ", "") for text in found["said"])


@pytest.mark.parametrize("hours", [1, -1])
def test_two_kernels_whose_clocks_differ_agree_on_their_jobs(local: Local, library: Path, hours: float) -> None:
    """One goes by this machine's clock and the other by one that is an hour off, and so do the jobs of each."""
    mine = local.run("true")
    found = _run(local, library, hours, "start")
    assert abs(found["now"] - mine.created - 3600 * hours) < 120, "the other's clock really is another"
    assert found["names"] == [mine.name, *found["expected"]]
    later = local.run("echo later")
    local.backend.collect_garbage()
    assert [record.name for record in local.backend.list()] == [*found["names"], later.name]
    for record in local.backend.list():
        times = [change.time for change in record.history]
        assert record.state is JobState.SUCCEEDED
        assert times == sorted(times)
        assert record.finished is not None
        assert record.started is not None
        assert 0 <= record.finished - record.started < 120
