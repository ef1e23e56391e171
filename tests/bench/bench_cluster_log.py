"""A burst of output on a cluster: 200 MB in two million lines, followed live to this machine's disk."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import threading
import time

import psutil
from harness import row
from on_cluster import Tidy, namespace

import jupyter_konduktor as jk
from jupyter_konduktor.config import Settings
from jupyter_konduktor.session import tracker

LINES = int(os.environ.get("LINES_OF_LOG", "2000000"))
WIDTH = 100
MIB = 1 << 20


def burst(lines: int) -> int:
    """Write numbered lines of a hundred bytes."""
    import sys

    for start in range(0, lines, 1000):
        sys.stdout.write("".join(f"{number:08d} {'.' * 90}\n" for number in range(start, start + 1000)))
    return lines


TICKS = """
import select, sys, time
worst = 0.0
while not select.select([sys.stdin], [], [], 0)[0]:
    due = time.perf_counter() + 0.01
    time.sleep(0.01)
    worst = max(worst, time.perf_counter() - due)
print(worst)
"""
"""How late the machine itself lets a process come that does nothing else."""


process = psutil.Process()
peak = [0]
late = [0.0]
over = threading.Event()


def sample() -> None:
    while not over.wait(0.05):
        peak[0] = max(peak[0], process.memory_info().rss)


def tick() -> None:
    """Come every hundredth of a second, as a kernel's own thread would, and note how much too late that was."""
    while not over.is_set():
        due = time.perf_counter() + 0.01
        time.sleep(0.01)
        late[0] = max(late[0], time.perf_counter() - due)


with namespace() as place:
    tidy = Tidy(place)
    remote = jk.remote(burst)
    first = remote.submit(1000)
    first.result()
    tidy(first)
    base = peak[0] = process.memory_info().rss
    threading.Thread(target=sample, daemon=True).start()
    threading.Thread(target=tick, daemon=True).start()
    machine = subprocess.Popen([sys.executable, "-c", TICKS], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    started = time.monotonic()
    job = remote.submit(LINES)
    job.result()
    took = time.monotonic() - started
    over.set()
    floor = float(machine.communicate("over\n")[0])
    backend = tracker(Settings.load()).backend
    offset, numbers, gaps, rest = 0, 0, [], b""
    in_order, last = True, -1
    while True:
        chunk = backend.read_log(str(job), offset=offset)
        if not chunk.data:
            if chunk.ended:
                break
            time.sleep(0.1)
            continue
        offset = chunk.offset
        lines = (rest + chunk.data).split(b"\n")
        rest = lines.pop()
        for line in lines:
            found = re.match(rb"(\d{8}) \.{90}$", line)
            if found:
                in_order, last = in_order and int(found[1]) > last, int(found[1])
                numbers += 1
            elif line.startswith(b"[konduktor: "):
                gaps.append(line[:120].decode("utf-8", "replace"))
    tidy(job)
told = f", {len(gaps)} gaps told: {gaps[0]}" if gaps else ""
timed = all(re.search(r"between \d\d:\d\d:\d\d\S* and \d\d:\d\d:\d\d|shortly before this", gap) for gap in gaps)
row(
    "cluster: log burst of 200 MB",
    "all bytes on disk, else a gap with its times",
    f"{numbers:,} of {LINES:,} lines, in order and once: {in_order}, {took:.0f} s{told}",
    f"{LINES * WIDTH / MIB:.0f} MiB written",
    kept=in_order and timed and (numbers == LINES or bool(gaps)),
)
row(
    "cluster: longest stall of the kernel in a log burst",
    "100 ms",
    f"{1000 * late[0]:.0f} ms",
    f"{1000 * floor:.0f} ms in a process that does nothing",
    kept=late[0] <= max(0.1, 2 * floor),
)
extra = (peak[0] - base) / MIB
row(
    "cluster: memory in a log burst", "50 MB", f"{extra:.0f} MiB more", f"{base / MIB:.0f} MiB before", kept=extra <= 50
)
