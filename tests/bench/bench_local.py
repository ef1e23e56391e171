"""What a small job on this machine costs over its floor, and how soon a change of state reaches the kernel."""

from __future__ import annotations

import statistics
import subprocess
import sys
import time

from harness import in_new_python, in_turn, quantile, row

import jupyter_konduktor as jk
from jupyter_konduktor.session import tracker
from jupyter_konduktor.state import JobRecord, JobState

WRITER = """
import sys, time
for _ in range(120):
    time.sleep(0.01)
    print(time.time(), flush=True)
"""


def work(x: int) -> int:
    return x + 1


def pause() -> None:
    import time

    time.sleep(0.05)


def job(x: int) -> int:
    return jk.remote(work).submit(x).result()  # type: ignore[no-any-return]


assert job(1) == in_new_python(work, 1) == 2  # warm both
floors, own = in_turn(lambda: in_new_python(work, 1), lambda: job(1), 40)
floor, ours = statistics.median(floors), statistics.median(own)
row(
    "local: submit -> value",
    "1.5 x floor",
    f"{ours / floor:.2f} x ({ours * 1e3:.0f} ms, p95 {quantile(own, 0.95) * 1e3:.0f} ms)",
    f"python + cloudpickle + run {floor * 1e3:.0f} ms",
    kept=ours <= 1.5 * floor,
)

delays: list[float] = []


def on_event(event: object) -> None:
    now = time.time()
    if isinstance(event, JobRecord) and event.history and event.state in (JobState.RUNNING, JobState.SUCCEEDED):
        delays.append(now - event.history[-1].time)


watch = tracker().backend.watch(on_event)
waiting = jk.remote(pause)
for _ in range(60):
    waiting.submit().result()
time.sleep(0.1)
watch.close()

with subprocess.Popen([sys.executable, "-c", WRITER], stdout=subprocess.PIPE, text=True) as writer:
    assert writer.stdout is not None
    pipe = [time.time() - float(line) for line in writer.stdout]
p50, p99 = quantile(delays, 0.5) * 1e3, quantile(delays, 0.99) * 1e3
row(
    "local: change of state -> kernel",
    "p50 5 ms, p99 20 ms",
    f"p50 {p50:.1f} ms, p99 {p99:.1f} ms ({len(delays)} changes)",
    f"a line through a pipe p50 {quantile(pipe, 0.5) * 1e3:.2f} ms, p99 {quantile(pipe, 0.99) * 1e3:.1f} ms",
    kept=len(delays) >= 120 and p50 <= 5 and p99 <= 20,
)
