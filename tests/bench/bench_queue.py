"""How fast a thousand jobs that do nothing drain, and whether `jobs()` stays quick meanwhile."""

from __future__ import annotations

import json
import sqlite3
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from harness import cores, in_new_python, quantile, row, seconds

import jupyter_konduktor as jk

COUNT = 1000


def nothing() -> None:
    return None


def rows_of_sqlite(place: Path) -> None:
    """Read as many rows of 1 KB of JSON as there are jobs: the floor of a listing."""
    with sqlite3.connect(place) as database:
        for (text,) in database.execute("select record from jobs"):
            json.loads(text)


place = Path.home() / "floor.sqlite"
with sqlite3.connect(place) as database:
    database.execute("create table jobs (record text)")
    record = json.dumps({f"key {i}": "x" * 30 for i in range(25)})
    database.executemany("insert into jobs values (?)", [(record,)] * COUNT)


def spawn_rate(count: int = 60) -> float:
    """Count the interpreters a second that run the function with all cores at it, as the queue has them."""
    with ThreadPoolExecutor(cores()) as pool:
        return count / seconds(lambda: list(pool.map(in_new_python, [nothing] * count)))


rates = [spawn_rate()]
remote = jk.remote(nothing)
remote.submit().result()

started = time.monotonic()
handles = [remote.submit() for _ in range(COUNT)]
submitted = time.monotonic() - started
listings, floors = [], []
while True:
    before = time.perf_counter()
    listed = jk.jobs()
    listings.append(time.perf_counter() - before)
    floors.append(seconds(lambda: rows_of_sqlite(place)))
    if all(job.done() for job in listed):
        break
    time.sleep(0.5)
drained = time.monotonic() - started
rates.append(spawn_rate())

assert len(listed) == COUNT + 1
assert {job.state for job in handles} == {jk.JobState.SUCCEEDED}
rate, best = COUNT / drained, sum(rates) / len(rates)
row(
    "local: 1,000 no-op jobs",
    "0.5 x floor",
    f"{rate / best:.2f} x ({rate:.1f} jobs/s; submitted at {COUNT / submitted:.0f}/s)",
    f"python + cloudpickle + run on {cores()} cores: {rates[0]:.1f} a second before, {rates[1]:.1f} after",
    kept=rate >= 0.5 * best,
)
row(
    "jobs() meanwhile",
    "50 ms",
    f"p50 {quantile(listings, 0.5) * 1e3:.1f} ms, max {max(listings) * 1e3:.1f} ms ({len(listings)} calls)",
    f"1,000 rows of SQLite and JSON p50 {quantile(floors, 0.5) * 1e3:.1f} ms, max {max(floors) * 1e3:.1f} ms",
    kept=max(listings) <= 0.05,
)
