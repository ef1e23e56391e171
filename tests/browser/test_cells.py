"""Between jobs and cells: the form that writes the magic line, the attach cell, and the way back to a notebook."""

from __future__ import annotations

import json

from playwright.sync_api import Locator, expect

from tests.browser.lab import LOAD, Lab


def form(lab: Lab, index: int) -> Locator:
    """Open the form from the context menu of a cell."""
    lab.cell(index).locator(".cm-content").click(button="right")
    lab.page.get_by_role("menuitem", name="Run Selected Cell as a Job…").click()
    dialog = lab.page.get_by_role("dialog")
    expect(dialog.get_by_label("Kind of GPU")).to_be_focused()  # else what is typed next may land there
    return dialog


def job(lab: Lab, name: str) -> str:
    """The job with this name, as commands name it."""
    rows = json.loads(lab.server.ask("konduktor/jobs"))["jobs"]
    return next(str(row["id"]) for row in rows if row["name"].startswith(f"{name}-"))


def active(lab: Lab) -> Locator:
    return lab.notebook.locator(".jp-Cell.jp-mod-active")


def test_the_form_writes_the_line_and_runs_the_cell(lab: Lab) -> None:
    lab.open("x = 20", "x = 2\ny = 40 + x", name="form.ipynb")
    dialog = form(lab, 1)  # the active cell is the other one
    dialog.get_by_label("Nodes").fill("none")
    expect(dialog.get_by_text("The number of nodes is a whole number")).to_be_visible()
    expect(dialog.get_by_role("button", name="Write and run")).to_be_disabled()
    assert lab.findings(dialog) == []
    dialog.get_by_label("Nodes").fill("")
    dialog.get_by_label("Name", exact=True).fill("sum")
    dialog.get_by_label("Variables to bring back").fill("y")
    expect(dialog.get_by_role("status")).to_have_text("%%konduktor --out y --name sum")
    dialog.get_by_label("Name", exact=True).press("Enter")
    lab.wait_for_cell(2)
    expect(lab.cell(1).locator(".cm-content")).to_have_text(LOAD)
    expect(lab.cell(2).locator(".cm-line").first).to_have_text("%%konduktor --out y --name sum")
    expect(lab.output(2)).to_contain_text("-> y")
    dialog = form(lab, 2)
    expect(dialog.get_by_label("Variables to bring back")).to_have_value("y")
    dialog.get_by_label("Variables to bring back").fill("")
    dialog.get_by_role("button", name="Write", exact=True).click()
    expect(lab.cell(2).locator(".cm-line").first).to_have_text("%%konduktor --name sum")


def test_from_a_job_back_to_its_cell_though_the_notebook_was_closed_or_renamed(lab: Lab) -> None:
    filler = [f"a{n} = {n}\n" * 8 for n in range(60)]
    lab.open(LOAD, *filler, "%%konduktor\nz = 1", name="long.ipynb")
    lab.run(0)
    lab.page.evaluate("() => { window.jupyterapp.shell.currentWidget.content.activeCellIndex = 61; }")
    lab.command("notebook:run-cell")
    expect(lab.notebook.get_by_text("-> z")).to_be_visible()
    lab.save()
    lab.command("application:close")
    expect(lab.notebook).to_have_count(0)
    lab.command("konduktor:open-notebook", id=job(lab, "long"))
    expect(active(lab)).to_be_in_viewport()
    expect(active(lab)).to_contain_text("%%konduktor")
    lab.page.evaluate("() => window.jupyterapp.shell.currentWidget.context.rename('renamed.ipynb')")
    lab.page.evaluate("() => { window.jupyterapp.shell.currentWidget.content.activeCellIndex = 0; }")
    lab.command("konduktor:open-notebook", id=job(lab, "long"))
    expect(active(lab)).to_contain_text("%%konduktor")
    lab.command("docmanager:save")
    lab.command("application:close")
    lab.command("konduktor:open-notebook", id=job(lab, "long"))
    expect(lab.page.get_by_text("long.ipynb is not there any more")).to_be_visible()


def test_another_notebook_attaches_to_a_job(lab: Lab) -> None:
    lab.open(LOAD, "%%konduktor\nz = 6 * 7", name="first.ipynb")
    lab.run(0)
    lab.run(1)
    lab.open("q = 1", name="second.ipynb")
    lab.command("konduktor:insert-attach-cell", id=job(lab, "first"))
    expect(lab.cell(1).locator(".cm-content")).to_have_text(LOAD)
    expect(active(lab)).to_contain_text("%konduktor attach first-")
    lab.run(1)
    expect(lab.run(2)).to_contain_text("-> z")
