"""Text that comes from a job, a notebook's name or a cluster is shown, and does nothing else."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from playwright.sync_api import Locator, expect

from tests.browser.lab import GATE, LOAD, Lab

IMAGE = "<img src=x onerror=window.broken=1>"
SCRIPT = "</pre></script><script>window.broken=1</script>"
LINK = "\\x1b]8;;javascript:window.broken=1\\x07press here\\x1b]8;;\\x07"
NOTEBOOK = "<img src=x onerror=window.broken=1>.ipynb"


@pytest.fixture
def hostile(lab: Lab) -> Iterator[Lab]:
    """A notebook with a hostile name; afterwards nothing of what it says has come to life."""
    dialogs: list[str] = []
    lab.page.on("dialog", lambda dialog: (dialogs.append(dialog.message), dialog.dismiss()))
    yield lab
    assert lab.page.evaluate("() => window.broken") is None
    assert lab.page.locator("img[src=x]").count() == 0
    assert lab.page.locator("a[href^=javascript]").count() == 0
    assert dialogs == []


def shows(part: Locator, text: str) -> None:
    expect(part).to_contain_text(text)


def test_in_the_output_the_error_and_the_widget(hostile: Lab) -> None:
    lab = hostile
    source = f"""%%konduktor --name evil --env X='{IMAGE}'
print("{IMAGE}{SCRIPT}", flush=True)
print("{LINK}", flush=True)
{GATE.format(name="evil")}
raise ValueError("{IMAGE}")"""
    lab.open(LOAD, source, "%konduktor jobs", name=NOTEBOOK)
    lab.run(0)
    lab.start(1)
    expect(lab.widget(1)).to_contain_text("Running")
    lab.let_go("evil")
    lab.wait_for_cell(1)
    shows(lab.output(1), f"{IMAGE}{SCRIPT}")
    shows(lab.output(1), f"ValueError: {IMAGE}")
    lab.run(2)
    lab.save()


def test_in_the_sidebar_the_details_and_the_log(hostile: Lab) -> None:
    lab = hostile
    source = f"""%%konduktor --name vile --detach
print("{IMAGE}{SCRIPT}\\n{LINK}")
"{IMAGE}{SCRIPT}\""""
    lab.open(LOAD, source, name=NOTEBOOK)
    lab.open_sidebar()
    lab.run(0)
    lab.run(1)
    row = lab.row("vile")
    expect(row).to_contain_text("Succeeded")
    lab.show("job", "vile")
    shows(lab.detail, NOTEBOOK)
    shows(lab.detail, IMAGE)
    lab.show("log", "vile")
    shows(lab.log, IMAGE)
