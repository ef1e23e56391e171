"""A click on Cancel while the cell waits, with each way in which ipykernel has handled widgets since it has subshells.

7.0 was the first with them, 7.3 the last that handled a widget's messages where the front end sends them, and what is
newest here handles them where the widget was last changed from, if it is not told otherwise. 6 has no subshells.
"""

from __future__ import annotations

import json
from collections.abc import Iterator

import ipykernel
import pytest
from playwright.sync_api import expect

from tests.browser.lab import LOAD, Lab
from tests.browser.server import ROOT, Server
from tests.environments import python_with

DEAF = "6.31.0"
VERSIONS = ["7.0.1", "7.3.0", ipykernel.__version__, DEAF]
LONG = "%%konduktor --name long\nimport time\ntime.sleep(100)"


@pytest.fixture(scope="module", params=VERSIONS)
def server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server whose `python3` kernel is one of another environment."""
    python, place = python_with(f"ipykernel=={request.param}"), tmp_path_factory.mktemp("lab")
    made = Server(place, environ={"JUPYTER_PREFER_ENV_PATH": "0", "PYTHONPATH": str(ROOT)})
    spec = place / "data/kernels/python3/kernel.json"
    spec.parent.mkdir(parents=True)
    argv = [str(python), "-m", "ipykernel_launcher", "-f", "{connection_file}"]
    spec.write_text(json.dumps({"argv": argv, "display_name": request.param, "language": "python"}))
    with made:
        yield made


@pytest.mark.parametrize("server", [version for version in VERSIONS if version != DEAF], indirect=True)
def test_a_click_ends_the_job_and_the_wait(lab: Lab, request: pytest.FixtureRequest) -> None:
    lab.open(LOAD, "import ipykernel\nipykernel.__version__", LONG)
    lab.run(0)
    expect(lab.run(1)).to_contain_text(request.node.callspec.params["server"])
    lab.start(2)
    widget = lab.widget(2)
    expect(widget).to_contain_text("Running")
    cancel = widget.get_by_role("button", name="Cancel")
    expect(cancel).to_be_enabled()
    cancel.click()
    lab.wait_for_cell(2, timeout=20)
    expect(widget).to_have_count(0)
    expect(lab.output(2)).to_contain_text("JobCancelledError")


@pytest.mark.parametrize("server", [DEAF], indirect=True)
def test_where_no_click_is_heard_the_button_says_so_and_an_interrupt_helps(lab: Lab) -> None:
    lab.open(LOAD, LONG)
    lab.run(0)
    lab.start(1)
    cancel = lab.widget(1).get_by_role("button", name="Cancel")
    expect(cancel).to_be_disabled()
    expect(lab.widget(1).get_by_role("status").get_by_text("interrupt the kernel first")).to_be_visible()
    lab.command("notebook:interrupt-kernel")
    lab.wait_for_cell(1, timeout=20)
    expect(lab.widget(1)).to_have_count(0)
    expect(lab.output(1)).to_contain_text("was not waited for any longer")
