"""A cell's way from Queued to its value, as it is seen in the widget and in the sidebar, and what can be done on it."""

from __future__ import annotations

import re

from playwright.sync_api import expect

from tests.browser.lab import GATE, LOAD, Lab

HOLD = """
import os, time
import jupyter_konduktor as jk
holder = jk.launch(jk.Task.create(name="{name}", command=["sleep", "600"], cpus=len(os.sched_getaffinity(0))))
while holder.state != "Running":
    time.sleep(0.1)
""".strip()
"""A job that leaves no core to any other."""

WAIT = f"%%konduktor --name {{name}}\nprint('it runs', flush=True)\n{GATE}\nanswer = 42"
"""A cell that runs until it is let go."""


def test_a_cell_goes_from_queued_to_its_value(lab: Lab) -> None:
    lab.open(LOAD, HOLD.format(name="holder"), WAIT.format(name="turn"), "answer")
    lab.open_sidebar()
    lab.run(0)
    lab.run(1)
    expect(lab.row("holder")).to_contain_text("Running")
    lab.start(2)
    widget, row = lab.widget(2), lab.row("turn")
    expect(widget).to_contain_text("Queued")
    expect(widget).to_contain_text("next in")
    expect(row).to_contain_text("Queued")
    expect(row).to_contain_text("next in line")
    lab.cancel("holder")
    expect(lab.row("holder")).to_contain_text("Cancelled")
    expect(widget).to_contain_text("Running")
    expect(row).to_contain_text("Running")
    expect(lab.output(2)).to_contain_text("it runs")
    lab.let_go("turn")
    lab.wait_for_cell(2)
    expect(lab.output(2)).to_contain_text(re.compile(r"turn-\w{5} succeeded in .* -> answer"))
    expect(row).to_contain_text("Succeeded")
    expect(lab.run(3)).to_contain_text("42")


def test_a_job_is_cancelled_from_its_widget_while_the_cell_waits(lab: Lab) -> None:
    lab.open(LOAD, WAIT.format(name="long"))
    lab.run(0)
    lab.start(1)
    widget = lab.widget(1)
    expect(widget).to_contain_text("Running")
    widget.get_by_role("button", name="Cancel").click()
    lab.wait_for_cell(1)
    expect(lab.output(1)).to_contain_text("JobCancelledError")
    expect(lab.widget(1)).to_have_count(0)  # what is saved says it in words


def test_a_job_is_cancelled_from_the_sidebar_while_the_cell_waits(lab: Lab) -> None:
    """It asks first, and to keep the job is one of the answers."""
    lab.open(LOAD, WAIT.format(name="kept"))
    lab.open_sidebar()
    lab.run(0)
    lab.start(1)
    row = lab.row("kept")
    expect(row).to_contain_text("Running")
    row.hover()
    row.get_by_role("button", name="Cancel").click()
    lab.choose("Keep It")
    expect(row).to_contain_text("Running")
    lab.cancel("kept")
    lab.wait_for_cell(1)
    expect(lab.output(1)).to_contain_text("JobCancelledError")
    expect(row).to_contain_text("Cancelled")


def test_a_job_is_stopped_and_resumed_from_the_sidebar(lab: Lab) -> None:
    lab.open(LOAD, "%%konduktor --name held --detach\nimport time\ntime.sleep(600)")
    lab.open_sidebar()
    lab.run(0)
    lab.run(1)
    row = lab.row("held")
    expect(row).to_contain_text("Running")
    row.hover()
    row.get_by_role("button", name="Stop").click()
    expect(row).to_contain_text("Stopped")
    row.get_by_role("button", name="Resume").click()
    expect(row).to_contain_text("Running")
    lab.cancel("held")
    expect(row).to_contain_text("Cancelled")


def test_a_page_that_is_loaded_again_shows_the_job_as_it_stands(lab: Lab) -> None:
    lab.open(LOAD, WAIT.format(name="seen"), "answer")
    lab.open_sidebar()
    lab.run(0)
    lab.start(1)
    expect(lab.widget(1)).to_contain_text("Running")
    lab.command("docmanager:save")
    lab.reload()
    lab.open_sidebar()
    expect(lab.row("seen")).to_contain_text("Running")
    expect(lab.output(1)).to_contain_text("seen-")
    expect(lab.output(1)).not_to_contain_text("model not found")
    lab.let_go("seen")
    expect(lab.row("seen")).to_contain_text("Succeeded")
    lab.wait_for_kernel()
    expect(lab.run(2)).to_contain_text("42")


def test_a_job_outlives_its_kernel_and_is_attached_to_by_the_sidebar(lab: Lab) -> None:
    lab.open(LOAD, WAIT.format(name="tough"), "answer")
    lab.open_sidebar()
    lab.run(0)
    lab.start(1)
    row = lab.row("tough")
    expect(row).to_contain_text("Running")
    lab.command("notebook:interrupt-kernel")
    lab.wait_for_cell(1)
    lab.page.evaluate("() => window.jupyterapp.shell.currentWidget.sessionContext.restartKernel()")
    lab.wait_for_kernel()
    lab.run(0)
    lab.cell(1).locator(".cm-content").click()
    row.click(button="right")
    lab.page.get_by_role("menuitem", name="Insert Attach Cell").click()
    inserted = lab.notebook.locator(".jp-Cell", has=lab.page.locator(".cm-line", has_text="%konduktor attach tough-"))
    expect(inserted).to_have_count(1)
    inserted.locator(".cm-content").click()
    lab.page.keyboard.press("Control+Enter")
    expect(inserted).to_contain_text("it runs")
    lab.let_go("tough")
    expect(inserted).to_contain_text("-> answer")
    expect(row).to_contain_text("Succeeded")
    expect(lab.run(3)).to_contain_text("42")


def test_the_sidebar_opens_the_notebook_at_the_cell_that_submitted(lab: Lab) -> None:
    lab.open(LOAD, "%%konduktor --name origin\nanswer = 42", "'a cell after it'")
    lab.run(0)
    lab.run(1)
    lab.cell(2).locator(".cm-content").click()
    lab.save()
    lab.command("application:close-all")
    lab.open_sidebar()
    lab.row("origin").click(button="right")
    lab.page.get_by_role("menuitem", name=re.compile("Notebook")).click()
    expect(lab.cell(1)).to_have_class(re.compile("jp-mod-active"))
    expect(lab.cell(1)).to_be_in_viewport()
