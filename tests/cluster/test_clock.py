"""A machine whose clock is an hour off the cluster's: no age is negative, and nothing comes early or late."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.testbed.cluster import Namespace

ROOT = Path(__file__).parents[2]
OTHER_CLOCK = """
import json, sys, time
real = time.time
time.time = lambda: real() + float(sys.argv[1])
import jupyter_konduktor as jk
from jupyter_konduktor import summary
from tests.cluster.work import slow
seen = []
job = jk.remote(slow).submit(3.0)
while not job.done():
    seen.append(summary.elapsed(job.record))
    time.sleep(0.05)
value = job.result(60)
now = real()
history = [(str(change.state), change.time - now) for change in job.history]
listed = [record.name for record in jk.jobs()]
print(json.dumps({"value": value, "log": job.logs(), "history": history, "seen": seen, "listed": listed, "name": job}))
"""


@pytest.mark.timeout(300)
@pytest.mark.parametrize("hours", [-1, 1])
def test_a_clock_that_is_off(namespace: Namespace, tmp_path: Path, hours: int) -> None:
    environment = {
        **os.environ,
        "JUPYTER_DATA_DIR": str(tmp_path),
        "JUPYTER_KONDUKTOR_BACKEND": "kubernetes",
        "JUPYTER_KONDUKTOR_KUBECONFIG": str(namespace.kubeconfig),
        "JUPYTER_KONDUKTOR_IMAGE": namespace.cluster.image,
        "JUPYTER_KONDUKTOR_CPUS": "100m",
        "PYTHONPATH": str(ROOT),
    }
    command = [sys.executable, "-c", OTHER_CLOCK, str(hours * 3600)]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert (found["value"], found["log"], found["listed"]) == ("done", "ready\n", [found["name"]])
    assert [state for state, _ in found["history"]] == ["Queued", "Starting", "Running", "Succeeded"]
    times = [time for _, time in found["history"]]
    assert times == sorted(times)
    assert times[-1] - times[0] < 90, "durations are the cluster's"
    assert min(found["seen"]) >= 0, "no age is negative"
    jobset = namespace.api.get(f"{namespace.jobsets}/{found['name']}")
    assert jobset["spec"]["ttlSecondsAfterFinished"] == 86_400
