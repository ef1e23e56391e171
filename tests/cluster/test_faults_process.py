"""What becomes of jobs when the process that submitted them is killed, or stands still."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from jupyter_konduktor.backends.kubernetes import words
from jupyter_konduktor.backends.kubernetes.backend import KubernetesBackend
from jupyter_konduktor.config import Settings
from jupyter_konduktor.state import JobState
from jupyter_konduktor.task import Task
from tests.cluster.proxy import Proxy, wait_until
from tests.testbed.cluster import Cluster, Namespace

KILLED = """
import os, signal, sys
from jupyter_konduktor.backends.kubernetes.backend import KubernetesBackend
from jupyter_konduktor.backends.kubernetes.shelf.shelf import JobShelf
from jupyter_konduktor.config import Settings
from jupyter_konduktor.task import Task

kubeconfig, image = sys.argv[1:]
JobShelf.mark_submitted = lambda self: os.kill(os.getpid(), signal.SIGKILL)  # the JobSet is there, nothing is noted
backend = KubernetesBackend(Settings.load({"backend": "kubernetes", "kubeconfig": kubeconfig}))
task = Task.create(kind="command", name="t", command=["sleep", "60"], image=image, cpus="50m")
backend.submit(task, None, key="the key")
"""

FOLLOWED = """
import sys
import jupyter_konduktor as jk
from jupyter_konduktor import config
from jupyter_konduktor.task import Task

kubeconfig, image = sys.argv[1:]
for name, value in {"backend": "kubernetes", "kubeconfig": kubeconfig, "image": image, "cpus": "50m"}.items():
    config.set_session(name, value)
script = "for i in $(seq 100); do echo line $i; sleep 0.1; done; echo 5 > $KONDUKTOR_OUTPUT_DIR/result.json"
job = jk.launch(Task.create(command=["sh", "-c", script], image=image, cpus="50m"))
for text in job.logs(follow=True):
    print(text, end="", flush=True)
print("value", job.result(60), [str(change.state) for change in job.history], flush=True)
"""


@pytest.fixture(scope="module")
def place(cluster: Cluster) -> Iterator[Namespace]:
    with cluster.new_namespace() as made:
        yield made


def run(code: str, kubeconfig: Path, image: str, data: Path) -> subprocess.Popen[str]:
    environment = {**os.environ, "JUPYTER_DATA_DIR": str(data)}
    arguments = [sys.executable, "-c", code, str(kubeconfig), image]
    return subprocess.Popen(arguments, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def test_killed_between_the_request_and_its_note(
    place: Namespace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The job is there, is known as this user's own, and is not submitted twice."""
    process = run(KILLED, place.kubeconfig, place.cluster.image, tmp_path)
    assert process.wait(60) == -signal.SIGKILL, process.communicate()
    monkeypatch.setenv("JUPYTER_DATA_DIR", str(tmp_path))
    backend = KubernetesBackend(Settings.load({"backend": "kubernetes", "kubeconfig": str(place.kubeconfig)}))
    try:
        (found,) = backend.list()
        assert found.recorded
        task = Task.create(kind="command", name="t", command=["sleep", "60"], image=place.cluster.image, cpus="50m")
        again = backend.submit(task, None, key="the key")
        assert (again.name, again.uid) == (found.name, found.uid)
        assert len(place.api.get(place.jobsets)["items"]) == 1
        backend.cancel(found.name)
        wait_until(lambda: backend.get(found.name).state is JobState.CANCELLED)
        # Who makes another job of that name and key, after ours is gone, is not believed.
        wait_until(lambda: not place.api.get(place.jobsets)["items"])
        forged = place.api.create(place.jobsets, _forged(place, found.name, backend))
        assert not backend.site.keep(forged).submitted
    finally:
        backend.close()
        place.api.delete(place.jobsets)


def _forged(place: Namespace, name: str, backend: KubernetesBackend) -> dict[str, Any]:
    digest = backend.site.shelf.ledger.row("SELECT key FROM names WHERE name = ?", name)[0]
    container = {"name": "konduktor-container", "image": place.cluster.image, "command": ["true"]}
    pod = {"spec": {"restartPolicy": "Never", "containers": [container]}}
    job = {"name": "workers", "template": {"spec": {"template": pod}}}
    return {
        "apiVersion": "jobset.x-k8s.io/v1alpha2",
        "kind": "JobSet",
        "metadata": {"name": name, "annotations": {words.KEY: digest}},
        "spec": {"suspend": True, "replicatedJobs": [job]},
    }


def test_stood_still_while_its_connections_were_dropped(place: Namespace, tmp_path: Path) -> None:
    """A laptop that sleeps for 25 s: the job goes on, and every line is shown once."""
    with Proxy.before(place.kubeconfig) as proxy:
        kubeconfig = proxy.kubeconfig(place.kubeconfig, tmp_path / "kubeconfig")
        process = run(FOLLOWED, kubeconfig, place.cluster.image, tmp_path / "data")
        assert process.stdout is not None
        try:
            first = process.stdout.readline()
            os.kill(process.pid, signal.SIGSTOP)
            proxy.hush()
            time.sleep(26)
            proxy.speak()
            os.kill(process.pid, signal.SIGCONT)
            rest = process.stdout.read()
            errors = process.communicate(timeout=60)[1]
        finally:
            process.kill()
    *lines, last = (first + rest).splitlines()
    assert lines == [f"line {number}" for number in range(1, 101)], errors
    assert last == "value 5 ['Queued', 'Starting', 'Running', 'Succeeded']", errors
    place.api.delete(place.jobsets)
