"""What a reader finds where a widget was: never an error, never a line that stands still as if it were live."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from typing import Any

import pytest
from playwright.sync_api import Locator, expect

from tests.browser.lab import LOAD, Lab

DETACHED = r"""%%konduktor --name later --detach
import time
print('\x1b[31mred\x1b[0m <b>x</b>', flush=True)
time.sleep(100)"""
WIDGET = "application/vnd.jupyter.widget-view+json"


@pytest.fixture
def running(lab: Lab) -> Lab:
    """A notebook whose second cell has sent a job that runs, saved while its widget was live."""
    lab.open(LOAD, DETACHED, "1 + 1")
    lab.run(0)
    lab.run(1)
    expect(lab.widget(1)).to_contain_text("Running")
    lab.wait_for_kernel()
    lab.save()
    return lab


def parts(lab: Lab) -> tuple[Locator, Locator]:
    """The summary and the widget's output below the second cell."""
    outputs = lab.output(1).locator(".jp-OutputArea-child")
    expect(outputs).to_have_count(2)
    return outputs.nth(0), outputs.nth(1)


def is_summary(lab: Lab) -> None:
    """Only the summary is seen, and it says name, time and how to attach."""
    saved, live = parts(lab)
    expect(saved).to_be_visible()
    expect(live).to_be_hidden()
    expect(saved).to_contain_text("later-")
    expect(saved).to_contain_text("as of 20")
    expect(saved).to_contain_text("submitted 20")
    expect(saved).to_contain_text("%konduktor attach later-")
    expect(lab.output(1).get_by_text("model not found").locator("visible=true")).to_have_count(0)


def test_while_it_is_live_the_widget_alone_is_seen(running: Lab) -> None:
    saved, live = parts(running)
    expect(saved).to_be_hidden()
    expect(live).to_be_visible()


def test_it_is_live_again_after_the_page_was_loaded_anew(running: Lab) -> None:
    running.reload()
    expect(running.widget(1)).to_contain_text("Running")
    saved, _ = parts(running)
    expect(saved).to_be_hidden()
    running.widget(1).get_by_role("button", name="Cancel").click()
    expect(running.widget(1)).to_have_count(0)


def test_after_a_restart_of_the_kernel_there_is_the_summary(running: Lab) -> None:
    running.page.evaluate("() => window.jupyterapp.shell.currentWidget.sessionContext.session.kernel.restart()")
    is_summary(running)


def test_a_notebook_that_was_closed_while_the_job_ran_has_the_summary(running: Lab) -> None:
    running.server.tidy()
    running.visit("lab/tree/work.ipynb?reset")
    is_summary(running)


def test_a_notebook_of_someone_else_has_the_summary(running: Lab) -> None:
    """It is not trusted, so JupyterLab takes styles and widgets away."""
    notebook = json.loads((running.server.work / "work.ipynb").read_text())
    notebook["cells"].append({**notebook["cells"][2], "id": "of-another"})
    (running.server.work / "other.ipynb").write_text(json.dumps(notebook))
    running.visit("lab/tree/other.ipynb?reset")
    saved, live = parts(running)
    expect(saved).to_contain_text("%konduktor attach later-")
    assert live.inner_text().strip() == ""


def test_as_a_web_page_it_has_the_summary(running: Lab) -> None:
    file = running.server.work / "work.ipynb"
    subprocess.run(
        [sys.executable, "-m", "nbconvert", "--to", "html", str(file)], check=True, env=running.server.environ
    )
    running.page.route(re.compile("https?:"), lambda route: route.abort())  # what the page would fetch of scripts
    running.page.goto(file.with_suffix(".html").as_uri())
    expect(running.page.get_by_text("as of 20")).to_be_visible()
    expect(running.page.get_by_text("%konduktor attach later-").first).to_be_visible()
    assert "model_id" not in file.with_suffix(".html").read_text()


def test_what_runs_a_notebook_to_its_end_keeps_no_widget(running: Lab) -> None:
    file = running.server.work / "work.ipynb"
    command = ["--to", "notebook", "--execute", "--output", "done.ipynb", str(file)]
    subprocess.run([sys.executable, "-m", "nbconvert", *command], check=True, env=running.server.environ)
    notebook: dict[str, Any] = json.loads(file.with_name("done.ipynb").read_text())
    assert "widgets" not in notebook["metadata"]
    assert WIDGET not in json.dumps(notebook)
    (output,) = notebook["cells"][1]["outputs"]
    assert "later-" in "".join(output["data"]["text/plain"])


def test_its_details_and_last_lines_by_keyboard(running: Lab) -> None:
    """The focus stays where it is while the widget changes, and keys pressed in it are no shortcuts."""
    widget, page = running.widget(1), running.page
    expect(widget.locator("pre")).to_be_hidden()
    widget.get_by_role("button", name="Stop").focus()
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    expect(widget.locator("pre")).to_contain_text("red <b>x</b>")
    page.keyboard.press("Tab")
    for key in "ddxyz":
        page.keyboard.press(key)
    page.wait_for_timeout(1500)
    assert page.evaluate("() => document.activeElement.value").startswith("%konduktor attach later-")
    expect(running.notebook.locator(".jp-Cell")).to_have_count(3)
    assert running.findings(widget) == []
