"""What someone meets who has never run a job: `make lab`, and a sidebar that teaches."""

from __future__ import annotations

import subprocess
import sys

from playwright.sync_api import expect

from tests.browser.lab import LOAD, Lab
from tests.browser.server import ROOT


def test_the_empty_list_teaches_and_offers_the_selected_cell(lab: Lab) -> None:
    lab.open(LOAD, "answer = 6 * 7")
    sidebar = lab.open_sidebar()
    expect(sidebar).to_contain_text("No jobs yet")
    expect(sidebar).to_contain_text(LOAD)
    expect(sidebar).to_contain_text("%%konduktor")
    lab.cell(1).locator(".cm-content").click()
    sidebar.get_by_role("button", name="Run selected cell").click()
    dialog = lab.page.get_by_role("dialog")
    expect(dialog.get_by_label("Kind of GPU")).to_be_focused()  # else what is typed next may land there
    dialog.get_by_label("CPU").fill("1")
    dialog.get_by_role("button", name="Run").click()
    expect(lab.cell(1).locator(".cm-line").first).to_have_text("%%konduktor --cpus 1")
    expect(lab.output(1)).to_contain_text("-> answer")


def test_the_workspace_of_make_lab_has_the_sidebar_in_place(lab: Lab) -> None:
    workspace = str(ROOT / "notebooks/workspace.json")
    imported = [sys.executable, "-m", "jupyterlab.labapp", "workspaces", "import", workspace]
    subprocess.run(imported, env=lab.server.environ, check=True, capture_output=True)
    (lab.server.work / "quickstart.ipynb").write_bytes((ROOT / "notebooks/01_quickstart.ipynb").read_bytes())
    lab.visit("lab/tree/quickstart.ipynb")
    expect(lab.sidebar).to_be_visible()
    expect(lab.notebook).to_contain_text("Quickstart")
