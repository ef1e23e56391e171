"""What is seen while the server cannot be reached, and once it can again."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from playwright.sync_api import expect

from tests.browser.lab import GATE, LOAD, Lab
from tests.browser.server import Server

QUICK = f"%%konduktor --name {{name}} --detach\n{GATE}"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server below a base URL, as JupyterHub has them."""
    with Server(tmp_path_factory.mktemp("lab"), base_url="/user/ada/") as made:
        yield made


def test_a_network_that_goes_and_comes_back(lab: Lab) -> None:
    """The list says in one line that it is old, opens no dialog, and is right again by itself."""
    lab.open(LOAD, QUICK.format(name="quick"))
    lab.open_sidebar()
    lab.run(0)
    lab.run(1)
    expect(lab.row("quick")).to_contain_text("Running")
    lab.page.context.set_offline(True)
    lab.command("konduktor:refresh")
    notice = lab.sidebar.get_by_text("The Jupyter server does not answer")
    expect(notice).to_be_visible()
    expect(lab.row("quick")).to_contain_text("Running")
    lab.let_go("quick")
    lab.page.context.set_offline(False)
    expect(lab.row("quick")).to_contain_text("Succeeded")
    expect(notice).to_have_count(0)


def test_a_server_that_is_started_anew_lists_the_same_jobs(lab: Lab) -> None:
    lab.open(LOAD, "%%konduktor --name before --detach\n1 + 1")
    lab.open_sidebar()
    lab.run(0)
    lab.run(1)
    expect(lab.row("before")).to_contain_text("Succeeded")
    # While JupyterLab's own dialog is open, nothing asks the server.
    close = lab.page.get_by_role("dialog").get_by_role("button", name="Close")
    lab.page.add_locator_handler(close, lambda button: button.click())
    lab.server.stop()
    lab.command("konduktor:refresh")
    retry = lab.sidebar.get_by_role("button", name="Retry")
    expect(retry).to_be_visible()
    expect(lab.row("before")).to_be_visible()
    lab.server.start()
    expect(retry).to_have_count(0)
    expect(lab.row("before")).to_contain_text("Succeeded")


def test_a_server_that_answers_late_is_caught_up_with(lab: Lab) -> None:
    lab.open(LOAD, QUICK.format(name="patient"))
    lab.open_sidebar()
    lab.run(0)
    lab.run(1)
    expect(lab.row("patient")).to_contain_text("Running")
    with lab.server.paused():
        lab.let_go("patient")
        lab.page.wait_for_timeout(6000)
        expect(lab.row("patient")).to_be_visible()
        expect(lab.page.get_by_role("dialog")).to_have_count(0)
    expect(lab.row("patient")).to_contain_text("Succeeded")
