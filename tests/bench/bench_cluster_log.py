"""A burst of output on a cluster: 200 MB in two million lines, followed live to this machine's disk."""

from __future__ import annotations

import os
import re
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


process = psutil.Process()
peak = [0]
over = threading.Event()


def sample() -> None:
    while not over.wait(0.05):
        peak[0] = max(peak[0], process.memory_info().rss)


with namespace() as place:
    tidy = Tidy(place)
    remote = jk.remote(burst)
    first = remote.submit(1000)
    first.result()
    tidy(first)
    base = peak[0] = process.memory_info().rss
    threading.Thread(target=sample, daemon=True).start()
    started = time.monotonic()
    job = remote.submit(LINES)
    job.result()
    took = time.monotonic() - started
    over.set()
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
row(
    "cluster: log burst of 200 MB",
    "all bytes on disk, else a gap with its times",
    f"{numbers:,} of {LINES:,} lines, in order and once: {in_order}, {took:.0f} s{told}",
    f"{LINES * WIDTH / MIB:.0f} MiB written",
    kept=in_order and (numbers == LINES or bool(gaps)),
)
extra = (peak[0] - base) / MIB
row(
    "cluster: memory in a log burst", "50 MB", f"{extra:.0f} MiB more", f"{base / MIB:.0f} MiB before", kept=extra <= 50
)
