"""What a kernel that does nothing costs while a thousand of its jobs wait on a cluster."""

from __future__ import annotations

import collections
import os
import sys
import time
from typing import Any

import psutil
from harness import row
from on_cluster import namespace, until

from jupyter_konduktor.backends.kubernetes.api.transport import Transport
from jupyter_konduktor.backends.kubernetes.backend import KubernetesBackend
from jupyter_konduktor.config import Settings
from jupyter_konduktor.state import JobRecord
from tests.cluster.crowd import crowd

JOBS = 1000
SECONDS = float(os.environ.get("SECONDS_IDLE", "60"))

requests: collections.Counter[str] = collections.Counter()


def counted(name: str) -> None:
    send = getattr(Transport, name)

    def sent(self: Transport, *args: Any) -> Any:
        url = args[0] if name == "begin" else args[1]
        requests[url.partition("?")[0].rpartition("/")[2]] += 1
        return send(self, *args)

    setattr(Transport, name, sent)


counted("exchange")
counted("begin")
process = psutil.Process()
with namespace() as place:
    backend = KubernetesBackend(Settings.load())
    with crowd(place.cluster, place, JOBS, backend.site.user):
        known: set[str] = set()
        watch = backend.watch(lambda event: known.add(event.name) if isinstance(event, JobRecord) else None)
        started = time.monotonic()
        until(lambda: len(known) == JOBS, 60)
        print(f"{JOBS} jobs known after {time.monotonic() - started:.1f} s", file=sys.stderr)
        time.sleep(35)  # these have no Workloads, which is looked into and said once
        requests.clear()
        before = process.cpu_times()
        connections = []
        for _ in range(10):
            time.sleep(SECONDS / 10)
            connections.append(len([c for c in process.net_connections("tcp") if c.status == "ESTABLISHED"]))
        after = process.cpu_times()
        share = (after.user + after.system - before.user - before.system) / SECONDS
        rate = requests.total() / SECONDS
        watch.close()
        backend.close()
row(
    "cluster: 1,000 jobs tracked, idle",
    "1 % of a core, 0.1 requests/s",
    f"{100 * share:.2f} %, {rate:.2f} requests/s ({dict(requests)}) in {SECONDS:.0f} s",
    "0: asleep",
    kept=share <= 0.01 and rate <= 0.1,
)
row(
    "cluster: connections of 1,000 jobs tracked",
    "3 watches and 1 connection",
    f"{max(connections)} connections",
    "",
    kept=max(connections) <= 4,
)
