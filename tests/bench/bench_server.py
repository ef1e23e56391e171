"""What the server extension costs with ten thousand jobs, and with a log of two million lines."""

from __future__ import annotations

import http.client
import json
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import psutil
from harness import quantile, row, seconds

sys.path.insert(0, str(Path(__file__).parents[2]))

import jupyter_konduktor as jk
from jupyter_konduktor.backends.local.backend import LocalBackend
from tests.server.crowd import insert

JOBS = 10_000
QUEUED = 1_000
LINES = 2_000_000
CHANGES = 20
TOKEN = "bench"

with socket.socket() as probe:
    probe.bind(("127.0.0.1", 0))
    PORT = probe.getsockname()[1]


def get(path: str) -> bytes:
    connection = http.client.HTTPConnection("127.0.0.1", PORT)
    connection.request("GET", path, headers={"Authorization": f"token {TOKEN}"})
    response = connection.getresponse()
    data = response.read()
    connection.close()
    if response.status != 200:
        raise RuntimeError(f"{path}: {response.status} {data[:200]!r}")
    return data


def start_server() -> subprocess.Popen[bytes]:
    options = [
        *("--no-browser", "--allow-root", "--ServerApp.log_level=ERROR", f"--port={PORT}", "--port-retries=0"),
        f"--IdentityProvider.token={TOKEN}",
        "--ServerApp.jpserver_extensions={'jupyter_konduktor': True}",
    ]
    server = subprocess.Popen([sys.executable, "-m", "jupyter_server", *options])
    until = time.monotonic() + 60
    while True:
        try:
            get("/api/status")
        except OSError:
            if time.monotonic() > until:
                raise
            time.sleep(0.05)
        else:
            return server


def jobs(since: dict[str, Any] | None = None) -> dict[str, Any]:
    query = f"?epoch={since['epoch']}&seq={since['seq']}" if since else ""
    answer: dict[str, Any] = json.loads(get(f"/konduktor/jobs{query}"))
    return answer


def change_latency(known: dict[str, Any]) -> float:
    """Submit a job and give the seconds from its end to the answer that tells of it."""
    job = jk.remote(abs).submit(-1)
    while True:
        rows = [found for found in jobs(known)["jobs"] if found["name"] == job and found["finished"]]
        if rows:
            return time.time() - float(rows[0]["finished"])
        time.sleep(0.01)


def long_log() -> tuple[str, int]:
    """Write a job's log as if it had written two million lines; gives its route and its bytes."""
    job = jk.remote(abs).submit(-1)
    job.wait()
    path = Path(LocalBackend().root) / "jobs" / str(job) / "attempts" / "0" / "node-0.log"
    line = b"step %07d of the training: loss 0.123456, and so on until a line is as long as most are; one hundred b\n"
    with path.open("wb") as file:
        for start in range(0, LINES, 100_000):
            file.write(b"".join(line % number for number in range(start, start + 100_000)))
    return f"/konduktor/jobs/local/{job}/log", path.stat().st_size


insert(Path(LocalBackend().root), JOBS - QUEUED, queued=QUEUED)
log, size = long_log()
server = start_server()
try:
    process = psutil.Process(server.pid)
    before, idle = process.memory_info().rss, sum(process.cpu_times()[:2])
    first = seconds(jobs)
    worked = sum(process.cpu_times()[:2]) - idle
    listings = [seconds(lambda: get("/konduktor/jobs")) for _ in range(20)]
    known = jobs()
    Path("floor.json").write_bytes(get("/konduktor/jobs"))
    floor = [seconds(lambda: get("/files/floor.json")) for _ in range(20)]
    changes = [change_latency(known) for _ in range(CHANGES)]
    opened = [seconds(lambda: get(f"{log}?offset=-65536&limit=65536")) for _ in range(20)]
    searched = seconds(lambda: get(f"{log}/search?text=STEP%201999999"))
    after = process.memory_info().rss
finally:
    server.terminate()
    server.wait()

assert len(known["jobs"]) == JOBS + 1
row(
    "server: 10,000 jobs listed",
    "500 ms; first 1 s",
    f"p50 {quantile(listings, 0.5) * 1e3:.0f} ms, max {max(listings) * 1e3:.0f} ms; "
    f"first {first * 1e3:.0f} ms, of them {worked * 1e3:.0f} ms at work",
    f"the same bytes as a file: p50 {quantile(floor, 0.5) * 1e3:.0f} ms",
    kept=max(listings) <= 0.5 and first <= 1.0,
)
row(
    "server: change -> answer",
    "1 s",
    f"p50 {quantile(changes, 0.5) * 1e3:.0f} ms, max {max(changes) * 1e3:.0f} ms",
    "asked every 10 ms",
    kept=max(changes) <= 1.0,
)
row(
    "server: memory with 10,000 jobs",
    "300 MB",
    f"{after / 1e6:.0f} MB",
    f"before anyone asked {before / 1e6:.0f} MB",
    kept=after <= 300e6,
)
row(
    "server: log of 2,000,000 lines",
    "opens in 2 s",
    f"last page p50 {quantile(opened, 0.5) * 1e3:.0f} ms; search of all {searched:.1f} s",
    f"{size / 1e6:.0f} MB",
    kept=max(opened) <= 2.0 and searched <= 5.0,
)
