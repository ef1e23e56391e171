"""How soon a real browser shows the end of a log of two million lines, and whether the page freezes while it grows."""

from __future__ import annotations

import json
import shutil
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import mkdtemp

from harness import row

sys.path.insert(0, str(Path(__file__).parents[2]))

from playwright.sync_api import Browser, Page, sync_playwright

import jupyter_konduktor as jk
from jupyter_konduktor.backends.local.backend import LocalBackend
from tests.browser.conftest import ARGUMENTS
from tests.browser.lab import Lab
from tests.browser.server import Server

LINES = 2_000_000
SECONDS = 10
A_SECOND = 5_000
LINE = "step %07d of the training: loss 0.123456, and so on until a line is as long as most are; one hundred b"

# Writes a long log, waits for a file, goes on at a pace, and waits for its end.
WRITER = """
import os, sys, time
line, lines, seconds, pace, gate = sys.argv[1], *map(int, sys.argv[2:5]), sys.argv[5]
write = lambda start, end: print("\\n".join(line % number for number in range(start, end)), flush=True)
for start in range(0, lines, 10_000):
    write(start, min(lines, start + 10_000))
while not os.path.exists(gate):
    time.sleep(0.1)
begun = time.monotonic()
for tenth in range(10 * seconds):
    write(lines + tenth * pace // 10, lines + (tenth + 1) * pace // 10)
    time.sleep(max(0, begun + (tenth + 1) / 10 - time.monotonic()))
time.sleep(600)
"""
# Notes each task of the page that takes longer than 50 ms.
WATCH = """
window.tasks = [];
new PerformanceObserver(list => {
  window.tasks.push(...list.getEntries().map(entry => entry.duration));
}).observe({ type: 'longtask' });
"""
# Opens a log, and gives the milliseconds until the page has drawn a line of it.
OPEN = """
([id, line]) => new Promise(resolve => {
  const begun = performance.now();
  const look = () => {
    const rows = document.querySelector('.jp-KonduktorLog .xterm-rows');
    rows?.textContent.includes(line) ? resolve(performance.now() - begun) : requestAnimationFrame(look);
  };
  void window.jupyterapp.commands.execute('konduktor:open-log', { id });
  look();
})
"""
SHOWS = "line => document.querySelector('.jp-KonduktorLog .xterm-rows').textContent.includes(line)"


def write(lines: int, gate: Path) -> jk.Job:
    """Start a job that has written so many lines when this returns."""
    numbers = (str(number) for number in (lines, SECONDS, A_SECOND))
    command = [sys.executable, "-c", WRITER, LINE, *numbers, str(gate)]
    job = jk.launch(jk.Task.create(name="log", command=command, cpus=0.1))
    backend, length = LocalBackend(), len(LINE % 0) + 1
    while job.state != "Running" or backend.read_log(job, offset=-1, limit=1).offset < lines * length:
        time.sleep(0.1)
    return job


def first(line: int) -> str:
    """What a line begins with."""
    return (LINE % line)[:12]


@dataclass
class Tasks:
    """Milliseconds of the longest of a page's tasks, and of the longest at work: the rest is other programs'."""

    longest: float = 0
    at_work: float = 0

    def __str__(self) -> str:
        return f"{self.longest:.0f} ms, at work {self.at_work:.0f} ms"


@contextmanager
def tasks(browser: Browser, page: Page) -> Iterator[Tasks]:
    """Watch the tasks of a page."""
    found = Tasks()
    browser.start_tracing(categories=["toplevel", "__metadata"])
    page.evaluate("() => { window.tasks = []; }")
    yield found
    found.longest = max(page.evaluate("() => window.tasks"), default=0)
    events = json.loads(browser.stop_tracing())["traceEvents"]
    main = {(event["pid"], event["tid"]) for event in events if event.get("args") == {"name": "CrRendererMain"}}
    found.at_work = max(event.get("tdur", 0) for event in events if (event["pid"], event["tid"]) in main) / 1e3


def measure(browser: Browser, server: Server, lines: int) -> tuple[float, Tasks, Tasks, Tasks]:
    """Give the seconds until a log's end is seen, and the tasks while it opened, stood still, and grew."""
    gate = server.work / f"{lines}.go"
    job = write(lines, gate)
    page = browser.new_page()
    page.add_init_script(WATCH)
    lab = Lab(page, server)
    lab.visit()
    page.wait_for_timeout(3000)  # JupyterLab has done what it does when it begins
    with tasks(browser, page) as opening:
        opened = float(page.evaluate(OPEN, [f"local/{job}", first(lines - 1)])) / 1e3
    with tasks(browser, page) as still:
        page.wait_for_timeout(SECONDS * 1e3)
    with tasks(browser, page) as growing:
        gate.touch()
        page.wait_for_function(SHOWS, arg=first(lines + SECONDS * A_SECOND - 1), timeout=60_000)
    page.close()
    job.cancel()
    job.wait()
    return opened, opening, still, growing


environ = {"JUPYTER_KONDUKTOR_LOCAL_DIR": str(LocalBackend().root)}
with Server(Path(mkdtemp(dir=Path.home())), environ=environ) as server, sync_playwright() as playwright:
    browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=ARGUMENTS)
    floor = measure(browser, server, 1)
    opened, opening, still, growing = measure(browser, server, LINES)
    browser.close()

row(
    "log view: 2,000,000 lines, click -> last line",
    "2 s",
    f"{opened:.2f} s; longest task {opening}",
    f"one line: {floor[0]:.2f} s; {floor[1]}",
    kept=opened <= 2,
)
row(
    f"log view: {A_SECOND:,} lines a second followed for {SECONDS} s",
    "no task over 100 ms",
    f"longest task {growing}",
    f"while it stands still {still}; after one line {floor[3]}",
    kept=growing.at_work <= 100,
)
