"""How soon the sidebar in a real browser shows ten thousand jobs, and a change among them."""

from __future__ import annotations

import json
import shutil
import sys
import time
from pathlib import Path
from tempfile import mkdtemp

from harness import quantile, row

sys.path.insert(0, str(Path(__file__).parents[2]))

from playwright.sync_api import Browser, Page, sync_playwright

import jupyter_konduktor as jk
from jupyter_konduktor.backends.local.backend import LocalBackend
from tests.browser.conftest import ARGUMENTS
from tests.browser.lab import Lab
from tests.browser.server import ROOT, Server
from tests.server.crowd import insert

JOBS = 10_000
QUEUED = 1_000
CHANGES = 20

# Notes when the first rows are there to be painted, and when each job is first seen to have ended.
WATCH = """
window.seen = { rows: 0, ended: {} };
const look = () => {
  const rows = document.querySelectorAll('.jp-Konduktor-jobsWidget [data-job]');
  if (rows.length && !window.seen.rows) {
    window.seen.rows = performance.now();
  }
  for (const row of rows) {
    if (!window.seen.ended[row.dataset.job] && row.dataset.state === 'Succeeded') {
      window.seen.ended[row.dataset.job] = Date.now() / 1000;
    }
  }
  requestAnimationFrame(look);
};
look();
"""
ASKED = """() => performance.getEntriesByType('resource')
  .find(entry => entry.name.includes('konduktor/jobs')).startTime"""


def new_server() -> Server:
    """A server that has not been asked yet, whose page begins with the sidebar and the jobs of all users."""
    place = Path(mkdtemp(dir=Path.home()))
    server = Server(place, environ={"JUPYTER_KONDUKTOR_LOCAL_DIR": str(LocalBackend().root)})
    settings = place / "config/lab/user-settings/jupyter-konduktor/plugin.jupyterlab-settings"
    workspace = place / "config/lab/workspaces/default-37a8.jupyterlab-workspace"
    for file, text in (
        (settings, json.dumps({"showAllUsers": True})),
        (workspace, (ROOT / "notebooks/workspace.json").read_text()),
    ):
        file.parent.mkdir(parents=True)
        file.write_text(text)
    return server


def first_paint(page: Page, server: Server) -> float:
    """Open the page, and give the seconds from the sidebar's first question to its first rows."""
    Lab(page, server).visit("lab")
    page.wait_for_function("() => window.seen.rows > 0")
    return float(page.evaluate("() => window.seen.rows") - page.evaluate(ASKED)) / 1e3


def change(page: Page) -> float:
    """Seconds from the end of a job to the frame that shows it."""
    job = jk.launch(jk.Task.create(name="change", command=["sleep", "0.3"]))
    job.wait()
    seen = page.wait_for_function("id => window.seen.ended[id]", arg=f"local/{job}").json_value()
    return float(seen - job.history[-1].time)


def measure(browser: Browser) -> tuple[list[float], list[float], int]:
    """Give two first paints, of a server that was never asked and of the same, the delays of changes, how many jobs."""
    with new_server() as server:
        page = browser.new_page()
        page.add_init_script(WATCH)
        paints = [first_paint(page, server), first_paint(page, server)]
        delays = []
        for _ in range(CHANGES):
            time.sleep(0.2)
            delays.append(change(page))
        listed = int(page.get_by_role("grid", name="Jobs").get_attribute("aria-rowcount") or 0)
        page.close()
        return paints, delays, listed


jk.launch(jk.Task.create(name="first", command=["true"])).wait()
with sync_playwright() as playwright:
    browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=ARGUMENTS)
    floor, alone, _ = measure(browser)
    insert(Path(LocalBackend().root), JOBS - QUEUED, queued=QUEUED)
    paints, delays, listed = measure(browser)
    browser.close()

assert listed >= JOBS, listed
row(
    "sidebar: first paint of 10,000 jobs",
    "1 s",
    f"{paints[0]:.2f} s after its first question, then {paints[1]:.2f} s: the server has read the store",
    f"one job: {floor[0]:.2f} s, {floor[1]:.2f} s",
    kept=max(paints) <= 1,
)
row(
    "sidebar: change -> frame that shows it",
    "1 s",
    f"p50 {quantile(delays, 0.5) * 1e3:.0f} ms, max {max(delays) * 1e3:.0f} ms",
    f"few jobs: p50 {quantile(alone, 0.5) * 1e3:.0f} ms, max {max(alone) * 1e3:.0f} ms",
    kept=max(delays) <= 1,
)
