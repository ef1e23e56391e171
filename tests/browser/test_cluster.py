"""The same journey on a real cluster, where a job says which quota it waits for."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
from playwright.sync_api import expect

from jupyter_konduktor.backends.kubernetes import words
from tests.browser.lab import LOAD, Lab
from tests.browser.server import Server
from tests.testbed.cluster import Cluster, Namespace

CORES = 0.5
MOUNT = """
[tool.konduktor.pod_config.spec]
volumes = [{{name = "work", hostPath = {{path = "{work}"}}}}]
containers = [{{name = "{container}", volumeMounts = [{{name = "work", mountPath = "{work}", readOnly = true}}]}}]
"""
HOLD = f"""
import time
import jupyter_konduktor as jk
holder = jk.launch(jk.Task.create(name="holder", command=["sleep", "600"], cpus={CORES}))
while holder.state != "Running":
    time.sleep(0.1)
""".strip()


@pytest.fixture(scope="module")
def place(cluster: Cluster) -> Iterator[Namespace]:
    with cluster.new_namespace({"cpu": str(CORES), "memory": "2Gi", "gpu": 1}) as made:
        yield made


@pytest.fixture(scope="module")
def server(place: Namespace, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    environ = {
        "KUBECONFIG": str(place.kubeconfig),
        "JUPYTER_KONDUKTOR_BACKEND": "kubernetes",
        "JUPYTER_KONDUKTOR_IMAGE": place.cluster.image,
        "JUPYTER_KONDUKTOR_CPUS": "100m",
        "JUPYTER_KONDUKTOR_GRACE": "1",
    }
    with Server(tmp_path_factory.mktemp("lab"), environ=environ) as made:
        for folder in (made.work, *made.work.parents[:3]):
            folder.chmod(folder.stat().st_mode | 0o055)
        # What lets a job go on is a file of the node's, which is this machine.
        (made.work / "pyproject.toml").write_text(MOUNT.format(work=made.work, container=words.CONTAINER))
        yield made


def wait(lab: Lab, name: str) -> str:
    """Write a cell that runs until it is let go."""
    gate = f"while not pathlib.Path('{lab.server.work}/{name}.go').exists():\n    time.sleep(0.1)"
    return f"%%konduktor --name {name}\nimport pathlib, time\nprint('it runs', flush=True)\n{gate}\nanswer = 42"


def test_a_cell_waits_for_quota_runs_and_brings_its_value(lab: Lab) -> None:
    lab.open(LOAD, HOLD, "%%konduktor --name turn\nimport time\ntime.sleep(20)\nanswer = 42", "answer")
    lab.open_sidebar()
    lab.run(0)
    lab.run(1, timeout=60)
    expect(lab.row("holder")).to_contain_text("Running")
    lab.start(2)
    widget, row = lab.widget(2), lab.row("turn")
    why = re.compile(r"waits for capacity: 0\.1 more cpu are needed in flavor default")
    expect(widget).to_contain_text("Queued")
    expect(widget).to_contain_text(why)
    expect(row).to_contain_text("Queued")
    expect(row).to_contain_text(why)
    lab.cancel("holder")
    expect(lab.row("holder")).to_contain_text("Cancelled")
    expect(widget).to_contain_text("Running")
    expect(row).to_contain_text("Running")
    lab.wait_for_cell(2, timeout=90)
    expect(lab.output(2)).to_contain_text(re.compile(r"turn-\w{5} succeeded in .* -> answer"))
    expect(row).to_contain_text("Succeeded")
    expect(lab.run(3)).to_contain_text("42")


def test_a_job_is_cancelled_while_its_cell_waits(lab: Lab) -> None:
    lab.open(LOAD, "%%konduktor --name long\nimport time\ntime.sleep(600)")
    lab.run(0)
    lab.start(1)
    expect(lab.widget(1)).to_contain_text("Running")
    lab.widget(1).get_by_role("button", name="Cancel").click()
    lab.wait_for_cell(1)
    expect(lab.output(1)).to_contain_text("JobCancelledError")


def test_a_job_is_cancelled_from_the_sidebar_while_its_cell_waits(lab: Lab) -> None:
    lab.open(LOAD, wait(lab, "ended"))
    lab.open_sidebar()
    lab.run(0)
    lab.start(1)
    expect(lab.row("ended")).to_contain_text("Running")
    lab.cancel("ended")
    lab.wait_for_cell(1, timeout=60)
    expect(lab.output(1)).to_contain_text("JobCancelledError")
    expect(lab.row("ended")).to_contain_text("Cancelled")


def test_a_page_is_loaded_again_and_a_kernel_started_anew_while_a_job_runs(lab: Lab) -> None:
    """The job goes on, shows where it stands, and gives its value to the new kernel."""
    lab.open(LOAD, wait(lab, "tough"), "answer")
    lab.open_sidebar()
    lab.run(0)
    lab.start(1)
    expect(lab.widget(1)).to_contain_text("Running")
    lab.command("docmanager:save")
    lab.reload()
    lab.open_sidebar()
    expect(lab.row("tough")).to_contain_text("Running")
    expect(lab.output(1)).to_contain_text("tough-")
    lab.page.evaluate("() => window.jupyterapp.shell.currentWidget.sessionContext.restartKernel()")
    lab.wait_for_kernel()
    lab.run(0)
    lab.cell(1).locator(".cm-content").click()
    lab.row("tough").click(button="right")
    lab.page.get_by_role("menuitem", name="Insert Attach Cell").click()
    inserted = lab.notebook.locator(".jp-Cell", has=lab.page.locator(".cm-line", has_text="%konduktor attach tough-"))
    inserted.locator(".cm-content").click()
    lab.page.keyboard.press("Control+Enter")
    expect(inserted).to_contain_text("it runs")
    lab.let_go("tough")
    expect(inserted).to_contain_text("-> answer")
    expect(lab.row("tough")).to_contain_text("Succeeded")
    expect(lab.run(3)).to_contain_text("42")


def test_the_queues_view_has_quota_and_use(lab: Lab, place: Namespace) -> None:
    lab.visit()
    lab.command("konduktor:open-queues")
    expect(lab.queues).to_contain_text(place.queue)
    expect(lab.queues).to_contain_text("CPUs")
