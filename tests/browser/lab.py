"""JupyterLab in a browser, and what one does there: open a notebook, run a cell, look at the sidebar."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import nbformat
from nbformat import NotebookNode
from playwright.sync_api import Locator, Page, expect

from tests.browser.server import ROOT, Server

AXE = ROOT / "labextension/node_modules/axe-core/axe.min.js"
LOAD = "%load_ext jupyter_konduktor"
GATE = "import pathlib, time\nwhile not pathlib.Path('{name}.go').exists():\n    time.sleep(0.1)"
"""What keeps a job of this machine running until `Lab.let_go`, however slow the browser is."""
# JupyterLab's own script of the page, once its kernel is there and has nothing to do.
KERNEL_IS_IDLE = """
() => {
  const panel = window.jupyterapp?.shell.currentWidget;
  return panel?.sessionContext?.isReady && panel.sessionContext.session?.kernel?.status === 'idle';
}
"""
EXECUTE = "([name, args]) => window.jupyterapp.commands.execute(name, args).then(() => undefined)"
SERIOUS = """
async element => {
  // JupyterLab's body has no height and hides what flows over: axe would take all text for hidden, and not judge it.
  document.body.style.minHeight = '100vh';
  const found = await axe.run(element);
  if (!found.passes.some(rule => rule.id === 'color-contrast')) {
    throw new Error('axe has seen no text');
  }
  return found.violations
    .filter(finding => ['serious', 'critical'].includes(finding.impact))
    .map(finding => `${finding.id}: ${finding.help}\\n` + finding.nodes.map(node => node.html).join('\\n'));
}
"""


class Lab:
    """One page of JupyterLab.

    Attributes
    ----------
    page : Page
        Playwright's page, for what has no word here.
    server : Server
        The server that it talks to.
    """

    def __init__(self, page: Page, server: Server) -> None:
        self.page = page
        self.server = server

    def open(self, *cells: str, name: str = "work.ipynb") -> None:
        """Write a notebook of these code cells, open it alone, and wait for its kernel."""
        self.open_notebook(nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells]), name)

    def open_notebook(self, notebook: NotebookNode, name: str) -> None:
        """Open a notebook alone, without its outputs, and wait for its kernel."""
        for cell in notebook.cells:
            if cell.cell_type == "code":
                cell.update(outputs=[], execution_count=None)
        notebook.metadata.kernelspec = {"name": "python3", "display_name": "Python 3", "language": "python"}
        nbformat.write(notebook, self.server.work / name)
        self.visit(f"lab/tree/{name}?reset")
        self.wait_for_kernel()

    def visit(self, path: str = "lab?reset") -> None:
        """Go to a page of the server and wait until JupyterLab stands."""
        mark = "&" if "?" in path else "?"
        self.page.goto(f"{self.server.url}{path}{mark}token={self.server.token}")
        self.wait_for_lab()

    def reload(self) -> None:
        """Load the page again, as a person does."""
        self.page.reload()
        self.wait_for_lab()

    def wait_for_lab(self) -> None:
        """Wait until JupyterLab has been restored and its splash is gone."""
        themed = self.page.locator("body[data-jp-theme-name]")
        failed = self.page.get_by_role("dialog").get_by_text("Error Loading Theme")
        expect(themed.or_(failed).first).to_be_attached()
        if failed.count():  # on a busy machine the browser may give a first style sheet up, and JupyterLab asks once
            self.page.reload()
        self.page.wait_for_function("() => window.jupyterapp !== undefined")
        self.page.evaluate("() => window.jupyterapp.restored.then(() => undefined)")
        expect(self.page.locator("#jupyterlab-splash")).to_have_count(0)

    def wait_for_kernel(self) -> None:
        """Wait until the kernel of the notebook in front has nothing to do."""
        self.page.wait_for_function(KERNEL_IS_IDLE)

    def command(self, name: str, **arguments: Any) -> None:
        """Execute one of JupyterLab's commands and wait for its end."""
        script = (
            "([name, args]) => window.jupyterapp.commands.execute(name, args).then(v => v instanceof Object ? null : v)"
        )
        return self.page.evaluate(script, [name, arguments])

    @property
    def notebook(self) -> Locator:
        """The notebook in front."""
        return self.page.locator(".jp-NotebookPanel:not(.lm-mod-hidden)")

    def cell(self, index: int) -> Locator:
        """A cell, counted from 0."""
        return self.notebook.locator(f'.jp-Cell[data-windowed-list-index="{index}"]')

    def output(self, index: int) -> Locator:
        """What stands below a cell."""
        return self.cell(index).locator(".jp-Cell-outputArea")

    def start(self, index: int) -> None:
        """Run a cell and do not wait."""
        self.cell(index).locator(".cm-content").click()
        self.page.keyboard.press("Control+Enter")

    def run(self, index: int, timeout: float = 30) -> Locator:
        """Run a cell, wait for its end and give its output."""
        self.start(index)
        self.wait_for_cell(index, timeout)
        return self.output(index)

    def wait_for_cell(self, index: int, timeout: float = 30) -> None:
        """Wait until a cell has run: its prompt shows a number."""
        prompt = self.cell(index).locator(".jp-InputPrompt")
        expect(prompt).to_have_text(re.compile(r"\[\d+\]:"), timeout=timeout * 1e3)

    def write(self, index: int, source: str) -> None:
        """Replace a cell's source."""
        self.cell(index).locator(".cm-content").fill(source)

    def save(self) -> dict[str, Any]:
        """Save the notebook and give what is in the file."""
        self.command("docmanager:save")
        name = self.page.evaluate("() => window.jupyterapp.shell.currentWidget.context.path")
        return dict(json.loads((self.server.work / name).read_text()))

    def theme(self, name: str) -> None:
        """Change to JupyterLab's own `light` or `dark` theme."""
        self.command("apputils:change-theme", theme=f"JupyterLab {name.capitalize()}")
        light = str(name == "light").lower()
        expect(self.page.locator("body")).to_have_attribute("data-jp-theme-light", light)

    def open_sidebar(self) -> Locator:
        """Show our sidebar and give it."""
        self.command("konduktor:open-sidebar")
        expect(self.sidebar).to_be_visible()
        return self.sidebar

    @property
    def sidebar(self) -> Locator:
        """Our sidebar, with the list of jobs."""
        return self.page.locator(".jp-Konduktor-jobsWidget")

    @property
    def queues(self) -> Locator:
        """The sidebar's section of queues."""
        return self.page.locator(".jp-Konduktor-queues")

    @property
    def detail(self) -> Locator:
        """The view of one job in the main area."""
        return self.page.locator(".jp-KonduktorDetail-widget:not(.lm-mod-hidden)")

    @property
    def log(self) -> Locator:
        """The view of a job's log."""
        return self.page.locator(".jp-KonduktorLog")

    def show(self, what: str, name: str) -> None:
        """Open a job, by the beginning of its name: `what` is a command's last part, as `job` or `log`."""
        self.command(f"konduktor:open-{what}", id=self.row(name).get_attribute("data-job"))

    def row(self, name: str) -> Locator:
        """The row of a job in the sidebar, found by the beginning of the job's name."""
        return self.sidebar.locator(f'[role="row"][data-job*="/{name}"]')

    def widget(self, cell: int) -> Locator:
        """The live job widget below a cell."""
        return self.output(cell).locator(".jp-KonduktorJob")

    def cancel(self, name: str) -> None:
        """Cancel a job from the sidebar."""
        self.row(name).hover()
        self.row(name).get_by_role("button", name="Cancel").click()
        self.choose("Cancel Job")

    def let_go(self, name: str) -> None:
        """Let a job go on that waits at its `GATE`."""
        (self.server.work / f"{name}.go").touch()

    def choose(self, button: str) -> None:
        """Answer the dialog that is open."""
        self.page.get_by_role("dialog").get_by_role("button", name=button).click()

    def findings(self, part: Locator) -> Sequence[str]:
        """What axe calls serious or critical in a part of the page."""
        self.page.evaluate(AXE.read_text())
        return list(part.evaluate(SERIOUS))

    def picture(self, target: Path, part: Locator | None = None) -> None:
        """Write a picture of a part, or of all that is to be seen."""
        target.parent.mkdir(parents=True, exist_ok=True)
        (part or self.page).screenshot(path=target, animations="disabled")
