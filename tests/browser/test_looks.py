"""Readable in light and dark, with the keyboard, and to those who do not see it."""

from __future__ import annotations

import pytest
from playwright.sync_api import expect

from tests.browser.lab import LOAD, Lab
from tests.browser.test_journey import HOLD, WAIT


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_axe_finds_nothing_serious(lab: Lab, theme: str) -> None:
    holder, turn = f"{theme}-holder", f"{theme}-turn"
    lab.open(LOAD, HOLD.format(name=holder), WAIT.format(name=turn))
    lab.theme(theme)
    lab.open_sidebar()
    lab.run(0)
    lab.run(1)
    lab.start(2)
    widget = lab.widget(2)
    expect(widget).to_contain_text("Queued")
    widget.get_by_text("Details").click()
    expect(lab.row(turn)).to_contain_text("Queued")
    assert lab.findings(widget) == []
    assert lab.findings(lab.sidebar) == []
    lab.cancel(holder)
    lab.let_go(turn)
    expect(lab.row(turn)).to_contain_text("Succeeded")
    lab.wait_for_cell(2)
    assert lab.findings(lab.output(2)) == []
    lab.show("job", turn)
    expect(lab.detail).to_contain_text("Succeeded")
    assert lab.findings(lab.detail) == []
    lab.show("log", turn)
    expect(lab.log).to_contain_text("it runs")
    assert lab.findings(lab.log) == []
    lab.command("konduktor:open-queues")
    expect(lab.queues).to_contain_text("CPUs")
    assert lab.findings(lab.queues) == []
    # What is hidden by filters, and what teaches, is read too.
    lab.sidebar.get_by_role("searchbox").fill("no job is called that")
    assert lab.findings(lab.sidebar) == []
