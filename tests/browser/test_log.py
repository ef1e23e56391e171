"""The view of a log: followed, searched, saved, and each node's and attempt's own."""

from __future__ import annotations

from pathlib import Path

import pytest
from playwright.sync_api import Locator, expect

from tests.browser.lab import Lab

GANG = r"""
import jupyter_konduktor as jk
script = '''
node=$JOB_COMPLETION_INDEX
seq -f "line %g of node $node" 1 5000
while [ ! -e gang.go ]; do sleep 0.1; done
if [ ! -e once.$node ]; then touch once.$node; sleep 1; echo "node $node gives up"; exit 1; fi
echo "node $node has done it"
'''
jk.launch(jk.Task.create(name="gang", command=["sh", "-c", script], cpus=0.1, nodes=2, max_restarts=1))
"""


@pytest.fixture
def log(lab: Lab) -> Lab:
    """The log of a job that runs, on two nodes, and will run twice."""
    lab.open(GANG)
    lab.open_sidebar()
    lab.run(0)
    expect(lab.row("gang")).to_contain_text("Running")
    lab.show("log", "gang")
    return lab


def press(lab: Lab, name: str) -> Locator:
    button = lab.log.get_by_role("button", name=name, exact=True)
    button.click()
    return button


def test_it_is_followed_searched_and_saved_by_node_and_attempt(log: Lab, tmp_path: Path) -> None:
    view, page = log.log, log.page
    follow = view.get_by_role("button", name="Follow", exact=True)
    expect(view).to_contain_text("line 5000 of node 0")
    expect(follow).to_have_attribute("aria-pressed", "true")
    press(log, "Start")
    expect(view).to_contain_text("line 1 of node 0")
    expect(follow).to_have_attribute("aria-pressed", "false")

    field = view.get_by_role("textbox", name="Search the whole log")
    field.fill("LINE 42")
    field.press("Enter")
    expect(view.get_by_role("status").get_by_text("1 of 111")).to_be_visible()  # 42, 420 to 429, 4200 to 4299
    expect(view).to_contain_text("line 42 of node 0")
    press(log, "Previous match")
    expect(view).to_contain_text("line 4299 of node 0")
    field.press("Escape")

    with page.expect_download() as saving:
        press(log, "Download the whole log")
    saving.value.save_as(tmp_path / "saved.log")
    assert (tmp_path / "saved.log").read_text().splitlines()[4999] == "line 5000 of node 0"

    view.get_by_label("Node").select_option("1")
    expect(view).to_contain_text("line 5000 of node 1")
    expect(follow).to_have_attribute("aria-pressed", "true")
    press(log, "Follow")
    expect(follow).to_have_attribute("aria-pressed", "false")
    press(log, "Follow")
    expect(follow).to_have_attribute("aria-pressed", "true")
    log.let_go("gang")
    expect(log.row("gang")).to_contain_text("Succeeded")
    expect(view).to_contain_text("has done it")
    view.get_by_label("Attempt").select_option(label="1")
    expect(view).not_to_contain_text("has done it")
    expect(view).to_contain_text("line 5000 of node 1")
    view.get_by_label("Attempt").select_option(label="2")
    view.get_by_label("Node").select_option("0")
    expect(view).to_contain_text("node 0 has done it")
    expect(follow).to_be_disabled()
