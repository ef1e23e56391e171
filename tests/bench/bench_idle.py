"""What a kernel that does nothing costs while a hundred of its jobs wait, with everything that serves them."""

from __future__ import annotations

import time

import psutil
from harness import cores, own_processes, row

import jupyter_konduktor as jk

SECONDS = 10.0


def asleep() -> None:
    import time

    time.sleep(600)


def processor_seconds() -> dict[int, float]:
    """Give the processor time of this process and of every process of ours, by id."""
    spent = {}
    for pid in own_processes({}):
        try:
            times = psutil.Process(pid).cpu_times()
        except psutil.Error:
            continue
        spent[pid] = times.user + times.system
    return spent


blocker = jk.remote(cpus=cores())(asleep).submit()
while blocker.state != jk.JobState.RUNNING:
    time.sleep(0.05)
waiting = [jk.remote(cpus=cores())(asleep).submit() for _ in range(100)]
time.sleep(2)
before = processor_seconds()
time.sleep(SECONDS)
after = processor_seconds()
states = {job.state for job in waiting}
for job in (*waiting, blocker):
    job.cancel()
blocker.wait(timeout=60)

assert states == {jk.JobState.QUEUED}
assert before.keys() == after.keys()
share = sum(after.values()) - sum(before.values())
row(
    "idle kernel, 100 jobs queued",
    "1 % of a core",
    f"{100 * share / SECONDS:.2f} % ({len(after)} processes, {SECONDS:.0f} s)",
    "0 %: asleep",
    kept=share / SECONDS <= 0.01,
)
