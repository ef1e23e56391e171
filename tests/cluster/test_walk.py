"""A random walk of faults of the cluster and of the way to it, over some jobs that write and end meanwhile."""

from __future__ import annotations

import os
import random
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path

import pytest

from jupyter_konduktor.backends.kubernetes import outlook
from jupyter_konduktor.backends.kubernetes.api import reflector as reflecting
from jupyter_konduktor.backends.kubernetes.api import transport
from jupyter_konduktor.backends.kubernetes.backend import KubernetesBackend
from jupyter_konduktor.backends.kubernetes.logs import follower as logs
from jupyter_konduktor.backends.protocol import Event
from jupyter_konduktor.config import Settings
from jupyter_konduktor.errors import SubmitError, UnreachableError
from jupyter_konduktor.state import JobRecord, JobState
from tests.cluster.proxy import Proxy, wait_until
from tests.cluster.test_faults_network import User
from tests.faults.conftest import descriptors
from tests.testbed.cluster import Cluster, Namespace

SEED = int(os.environ.get("FAULTS_SEED", "0")) or random.randrange(10**6)
JOBS = 12
SECONDS = 45.0  # in which faults happen


@pytest.fixture
def place(cluster: Cluster) -> Iterator[Namespace]:
    with cluster.new_namespace() as made:
        yield made


class Walk:
    """The faults; each is over when its method ends, or soon after."""

    def __init__(self, user: User, cluster: Cluster, dice: random.Random) -> None:
        self.user = user
        self.cluster = cluster
        self.dice = dice
        self.done: Counter[str] = Counter()

    def fault(self) -> None:
        name = self.dice.choice(["cut", "cut", "silence", "lost reply", "part", "part", "API server"])
        if name == "API server" and self.done[name]:
            name = "cut"  # the others take their time to find it again
        if name == "part":
            name = self.dice.choice(["kubelet", "coredns", "kueue", "jobset", "kube-controller-manager"])
        self.done[name] += 1
        proxy = self.user.proxy
        if name == "cut":
            proxy.cut()
        elif name == "silence":
            proxy.hush()
            time.sleep(self.dice.uniform(0.2, 3))
            proxy.speak()
        elif name == "lost reply":
            proxy.lose_reply()
        else:
            part = "kube-apiserver" if name == "API server" else name
            with self.cluster.stopped(part, how=self.dice.choice(["stop", "kill"])):
                time.sleep(self.dice.uniform(0, 2))


def submit(user: User, number: int, lines: int) -> JobRecord:
    """Submit one job, again with the same key while the cluster, or Kueue's webhook, cannot be reached."""
    script = f"for i in $(seq {lines}); do echo line $i of {number}; sleep 0.1; done"
    end = time.monotonic() + 90
    while True:
        try:
            return user.submit(script, key=f"walk-{number}")
        except (UnreachableError, SubmitError) as error:
            if time.monotonic() > end or (isinstance(error, SubmitError) and "webhook" not in error.message):
                raise
            time.sleep(0.5)


@pytest.mark.alone
@pytest.mark.timeout(400)
def test_a_random_walk_of_faults(
    place: Namespace, cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    print(f"FAULTS_SEED={SEED}")
    cluster.part("etcd")
    dice = random.Random(SEED)
    monkeypatch.setenv("JUPYTER_DATA_DIR", str(tmp_path / "data"))
    for module, name, seconds in (
        (reflecting, "HURRIED", 5.0),
        (reflecting, "PATIENT", 10.0),
        (reflecting, "_MARGIN", 1.0),
        (transport, "CONNECT", 3.0),
        (logs, "READ_TIMEOUT", 5.0),
        (outlook, "AFTER", 2.0),
    ):
        monkeypatch.setattr(module, name, seconds)
    ends: dict[str, set[tuple[JobState, str]]] = defaultdict(set)

    def hear(event: Event) -> None:
        if isinstance(event, JobRecord) and event.state.final:
            ends[event.uid].add((event.state, event.reason))

    before = threading.active_count(), descriptors()
    with Proxy.before(place.kubeconfig) as proxy:
        path = proxy.kubeconfig(place.kubeconfig, tmp_path / "kubeconfig")
        settings = Settings.load({"backend": "kubernetes", "kubeconfig": str(path), "grace": 1})
        user = User(place, proxy, KubernetesBackend(settings))
        watch = user.backend.watch(hear)
        walk = Walk(user, cluster, dice)
        wrote = [dice.choice([1, 20, 60]) for _ in range(JOBS)]
        jobs: list[JobRecord] = []
        end = time.monotonic() + SECONDS
        while len(jobs) < JOBS or time.monotonic() < end:
            if len(jobs) < JOBS:
                jobs.append(submit(user, len(jobs), wrote[len(jobs)]))
            if time.monotonic() < end:
                walk.fault()
                time.sleep(dice.uniform(0, 2))
        print(dict(walk.done))
        wait_until(lambda: all(len(ends[job.uid]) for job in jobs), 150)
        for number, (job, lines) in enumerate(zip(jobs, wrote, strict=True)):
            found = user.backend.get(job.name)
            assert ends[job.uid] == {(found.state, found.reason)}, "no end has changed"
            assert found.state is JobState.SUCCEEDED, found
            wrote_it = b"".join(b"line %d of %d\n" % (each, number) for each in range(1, lines + 1))
            end = time.monotonic() + 90
            while (output := user.output(job)) != wrote_it:
                assert time.monotonic() < end, output
        assert sorted(user.jobsets()) == sorted(job.name for job in jobs), "one JobSet for each call"
        watch.close()
        user.backend.close()
    end = time.monotonic() + 60
    while threading.active_count() > before[0] or descriptors() > before[1]:
        assert time.monotonic() < end, (before, descriptors(), threading.enumerate())
        time.sleep(0.1)
