"""What a kernel that does nothing costs while a thousand of its jobs wait on a cluster."""

from __future__ import annotations

import collections
import os
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import psutil
from harness import row
from on_cluster import namespace, until

from jupyter_konduktor.backends.kubernetes import words
from jupyter_konduktor.backends.kubernetes.api.transport import Transport
from jupyter_konduktor.backends.kubernetes.backend import KubernetesBackend
from jupyter_konduktor.config import Settings
from jupyter_konduktor.state import JobRecord
from tests.cluster import crowd
from tests.testbed.cluster import Namespace

JOBS = int(os.environ.get("JOBS_IDLE", "1000"))
SECONDS = float(os.environ.get("SECONDS_IDLE", "120"))

requests: collections.Counter[str] = collections.Counter()


def counted(name: str) -> None:
    send = getattr(Transport, name)

    def sent(self: Transport, *args: Any) -> Any:
        url = args[0] if name == "begin" else args[1]
        requests[url.partition("?")[0].rpartition("/")[2]] += 1
        return send(self, *args)

    setattr(Transport, name, sent)


def submit(place: Namespace, number: int, user: str) -> None:
    """Make a JobSet that Kueue queues and never lets in."""
    body = crowd.jobset(place.name, f"idle-{number:05d}", user)
    body["metadata"] = {key: body["metadata"][key] for key in ("name", "labels", "annotations")}
    body["metadata"]["labels"][words.QUEUE_NAME] = place.queue
    del body["spec"]["managedBy"]
    pod = body["spec"]["replicatedJobs"][0]["template"]["spec"]["template"]["spec"]
    pod["containers"][0]["resources"] = {"requests": {"cpu": "200m"}}
    place.api.create(place.jobsets, body)


counted("exchange")
counted("begin")
process = psutil.Process()
with namespace(quota={"cpu": "100m"}) as place:
    backend = KubernetesBackend(Settings.load())
    known: dict[str, JobRecord] = {}

    def hear(event: Any) -> None:
        if isinstance(event, JobRecord):
            known[event.name] = event

    watch = backend.watch(hear)
    try:
        started = time.monotonic()
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(lambda number: submit(place, number, backend.site.user), range(JOBS)))
        print(f"{JOBS} jobs made after {time.monotonic() - started:.0f} s", file=sys.stderr)
        until(lambda: len(known) == JOBS and all(each.position is not None for each in list(known.values())), 900)
        print(f"all in their queue after {time.monotonic() - started:.0f} s", file=sys.stderr)
        time.sleep(35)  # what has been new of late is over
        requests.clear()
        before = process.cpu_times()
        connections = []
        for _ in range(10):
            time.sleep(SECONDS / 10)
            connections.append(len([c for c in process.net_connections("tcp") if c.status == "ESTABLISHED"]))
        after = process.cpu_times()
        share = (after.user + after.system - before.user - before.system) / SECONDS
        rate = requests.total() / SECONDS
        place_of = sorted(each.position for each in known.values() if each.position is not None)
        row(
            f"cluster: {JOBS:,} jobs tracked, idle",
            "1 % of a core, 0.1 requests/s",
            f"{100 * share:.2f} %, {rate:.2f} requests/s ({dict(requests)}) in {SECONDS:.0f} s",
            "0: asleep",
            kept=share <= 0.01 and rate <= 0.1 and place_of == list(range(JOBS)),
        )
        row(
            f"cluster: connections of {JOBS:,} jobs tracked",
            "3 watches and 1 connection",
            f"{max(connections)} connections",
            "",
            kept=max(connections) <= 4,
        )
    finally:
        watch.close()
        backend.close()
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(lambda name: place.api.delete(f"{place.jobsets}/{name}"), list(known)))
