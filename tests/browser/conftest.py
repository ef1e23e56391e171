"""A real Chromium on a real JupyterLab: Debian's browser, driven by Playwright, one server for each module.

The server and the browser end with the module: Playwright's loop would be in the way of tests that have their own.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Generator, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

from tests.browser.lab import Lab
from tests.browser.server import ROOT, Server

PICTURES = ROOT / "build/browser"
ARGUMENTS = ["--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu"]
TIMEOUT = 120_000  # ms; two cores, and other tests beside


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """All of this needs a browser, and time: expectations have a minute each."""
    for item in items:
        if item.path.is_relative_to(Path(__file__).parent):
            item.add_marker(pytest.mark.needs("program:chromium"))
            item.add_marker(pytest.mark.timeout(600))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Keep a picture of the page of a test that fails, and report what the page and the server say."""
    report = yield
    known = getattr(item, "funcargs", {})
    page = known.get("page")
    if report.when == "call" and report.failed and page is not None:
        PICTURES.mkdir(parents=True, exist_ok=True)
        name = re.sub(r"\W+", "-", item.nodeid.rpartition("/")[2]).strip("-")
        page.screenshot(path=PICTURES / f"{name}.png")
        report.sections.append(("the page", page.locator("body").inner_text()[-3000:]))
        if "server" in known:
            report.sections.append(("JupyterLab's log", known["server"].log.read_text(errors="replace")[-6000:]))
    return report


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    if not (ROOT / "jupyter_konduktor/labextension/package.json").exists():
        pytest.fail("the JupyterLab extension is not built: make test does that first", pytrace=False)
    expect.set_options(timeout=TIMEOUT)
    with sync_playwright() as playwright:
        made = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=ARGUMENTS)
        yield made
        made.close()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server with the local backend; a module that needs another makes its own fixture of this name."""
    with Server(tmp_path_factory.mktemp("lab")) as made:
        yield made


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    context = browser.new_context(viewport={"width": 1280, "height": 800})
    context.set_default_timeout(TIMEOUT)
    context.grant_permissions(["clipboard-read", "clipboard-write"])
    made = context.new_page()
    yield made
    context.close()


@pytest.fixture
def lab(page: Page, server: Server) -> Iterator[Lab]:
    """JupyterLab in a new page; the kernels and jobs of a test end with it."""
    yield Lab(page, server)
    server.tidy()
