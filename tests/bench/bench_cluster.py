"""What a small job on a cluster costs over its floor: the smallest JobSet, made and watched with nothing in between.

Both run in one namespace, in turn and each from a random phase: the kubelet looks at its containers once a second.
"""

from __future__ import annotations

import json
import os
import random
import statistics
import sys
import time
from collections.abc import Callable
from typing import Any

from harness import quantile, row
from on_cluster import Floor, Hops, Tidy, namespace

import jupyter_konduktor as jk
from jupyter_konduktor.backends.kubernetes.api.client import Client

PAIRS = int(os.environ.get("PAIRS", "40"))
HOPS = min(PAIRS, 16)
SIZES = min(PAIRS, 16)
PAYLOADS = (1 << 10, 24 << 10)
"""Characters that a payload of random bytes has in the pod's environment, about."""


def add(x: Any) -> int:
    """Return what the value is for, as late as it can be."""
    return 2


def began(x: Any) -> tuple[float, float]:
    """Give when this line ran, and how long after the start of the pod's first process."""
    import os
    import time

    now, up = time.time(), time.clock_gettime(time.CLOCK_BOOTTIME)
    with open("/proc/1/stat") as file:  # noqa: PTH123 - pathlib takes as long to import as all else
        start = int(file.read().rpartition(")")[2].split()[19]) / os.sysconf("SC_CLK_TCK")
    return now, up - start


BARE = """import json,os,time
u=time.clock_gettime(time.CLOCK_BOOTTIME)
s=int(open("/proc/1/stat").read().rpartition(")")[2].split()[19])/os.sysconf("SC_CLK_TCK")
open("/dev/termination-log","w").write(json.dumps(u-s))"""

posts: list[float] = []
"""When each JobSet's POST was begun."""


def noted(self: Client, path: str, *args: Any, _post: Callable[..., Any] = Client.post) -> Any:
    if path.endswith("/jobsets"):
        posts.append(time.time())
    return _post(self, path, *args)


def milliseconds(seconds: float) -> str:
    return f"{seconds * 1e3:.0f} ms"


Client.post = noted  # type: ignore[method-assign]
with namespace() as place:
    tidy = Tidy(place)
    remote, timed = jk.remote(add), jk.remote(began)
    first, warm = remote.submit(1), timed.submit(1)
    assert first.result() == 2
    warm.result()
    floor = Floor(place, first)
    tidy(first, warm, floor.run()[0])

    # --- from the call to its value

    times: dict[str, list[float]] = {"floor": [], "ours": []}
    bare, before = [], []
    for pair in range(PAIRS):
        for which in ("floor", "ours")[:: 1 if pair % 2 else -1]:
            time.sleep(random.random())
            begun = time.perf_counter()
            if which == "floor":
                name, _ = floor.run()
            else:
                called = time.time()
                job = remote.submit(1)
                assert job.result() == 2
                name = str(job)
                before.append(posts[-1] - called)
            times[which].append(time.perf_counter() - begun)
            tidy(name)
    mean, own = statistics.mean(times["floor"]), statistics.mean(times["ours"])
    error = (statistics.variance(times["floor"]) / PAIRS + statistics.variance(times["ours"]) / PAIRS) ** 0.5
    slow = quantile(times["ours"], 0.95)
    row(
        "cluster: submit -> value",
        "1.15 x",
        f"{own / mean:.2f} x (+-{error / mean:.2f}; {milliseconds(own)}, p95 {milliseconds(slow)})",
        f"smallest JobSet, raw watch: {milliseconds(mean)}",
        kept=own <= 1.15 * mean,
    )
    row(
        "cluster: before the create call",
        "40 ms",
        f"p50 {milliseconds(quantile(before, 0.5))}, p95 {milliseconds(quantile(before, 0.95))}",
        "0 ms: a raw POST",
        kept=quantile(before, 0.5) <= 0.040,
    )

    # --- hop by hop

    delays: list[float] = []
    starts: list[float] = []
    table: dict[str, list[float]] = {}
    for _ in range(HOPS):
        time.sleep(random.random())
        hops = Hops(place)
        time.sleep(0.1)
        called = time.time()
        job = timed.submit(1)
        submitted = time.time()
        ran, start = job.result()
        value = time.time()
        starts.append(start)
        delays.append(value - hops.wait("terminated"))
        seen = {**hops.times, "POST": posts[-1], "answered": submitted, "user code": ran, "value": value}
        for name, when in seen.items():
            table.setdefault(name, []).append((when - called) * 1e3)
        bare_name, said = floor.run(BARE)
        bare.append(json.loads(said))
        tidy(job, bare_name)
    medians = sorted((statistics.median(values), name) for name, values in table.items())
    row(
        "cluster: pod's start -> user code",
        "70 ms over bare python",
        f"{milliseconds(statistics.median(starts))}",
        f"python3 -c: {milliseconds(statistics.median(bare))}",
        kept=statistics.median(starts) - statistics.median(bare) <= 0.070,
    )
    row(
        "cluster: event -> value in the kernel",
        "p50 30 ms, p99 250 ms",
        f"p50 {milliseconds(quantile(delays, 0.5))}, p99 {milliseconds(quantile(delays, 0.99))}",
        "0 ms: a raw watch beside it",
        kept=quantile(delays, 0.5) <= 0.030 and quantile(delays, 0.99) <= 0.250,
    )
    print("hops, ms: " + ", ".join(f"{name} {when:.0f}" for when, name in medians), file=sys.stderr)

    # --- what a payload in the pod's environment costs on the way to user code

    arrivals: dict[int, list[float]] = {size: [] for size in PAYLOADS}
    for turn in range(SIZES):
        for size in PAYLOADS[:: 1 if turn % 2 else -1]:
            time.sleep(random.random())
            called = time.time()
            job = timed.submit(os.urandom(max(1, size * 3 // 4 - 700)))
            arrivals[size].append(job.result()[0] - called)
            tidy(job)
    small, large = (statistics.median(arrivals[size]) for size in PAYLOADS)
    row(
        "cluster: payload of 24 KiB -> user code",
        "50 ms over 1 KiB",
        f"{milliseconds(large)}",
        f"payload of 1 KiB: {milliseconds(small)}",
        kept=large - small <= 0.050,
    )
