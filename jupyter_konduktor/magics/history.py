"""Which cell a name or a function comes from, as far as the kernel can know."""

from __future__ import annotations

import ast
import linecache
from functools import lru_cache
from typing import Any, NamedTuple


class _Run(NamedTuple):
    """One execution of a cell of the notebook."""

    number: int
    cell_id: str
    source: str


class History:
    """The cells that ran since the extension was loaded, in order, where the client tells their ids.

    Attributes
    ----------
    imported : set of str
        What cells that were sent as jobs have imported.
    """

    def __init__(self, shell: Any) -> None:
        self.imported: set[str] = set()
        self._shell = shell
        self._runs: list[_Run] = []
        shell.events.register("post_run_cell", self._ran)

    def close(self) -> None:
        """Listen no longer."""
        self._shell.events.unregister("post_run_cell", self._ran)

    def _ran(self, result: Any) -> None:
        cell_id = getattr(result.info, "cell_id", None)
        if cell_id and result.execution_count:
            self._runs.append(_Run(result.execution_count, str(cell_id), str(result.info.raw_cell)))

    def sent(self, code: str) -> None:
        """Note a cell that was sent as a job, by its Python."""
        imports = [node for node in ast.parse(code).body if isinstance(node, ast.Import | ast.ImportFrom)]
        self.imported |= {item.asname or item.name.partition(".")[0] for node in imports for item in node.names}

    def changed(self) -> dict[str, str]:
        """Note each name whose last assignment ran in a cell that has been changed and run again since."""
        newest = {run.cell_id: run for run in self._runs}
        defined = {name: run for run in self._runs for name in _assigned(run.source)}
        return {
            name: f"defined by an earlier version of the cell that is In[{newest[run.cell_id].number}] now"
            for name, run in defined.items()
            if newest[run.cell_id].source != run.source
        }


@lru_cache(maxsize=4096)
def _assigned(source: str) -> frozenset[str]:
    """Find the names that a cell assigns at top level; none for a cell that is not plain Python."""
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError):
        return frozenset()
    found = set()
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            found.add(node.name)
        else:
            found |= {
                part.id for part in ast.walk(node) if isinstance(part, ast.Name) and isinstance(part.ctx, ast.Store)
            }
    return frozenset(found)


def cell_numbers(shell: Any) -> dict[str, int | None]:
    """Map the file names of compiled cells to their ``In[number]``; empty if IPython keeps that elsewhere."""
    return dict(getattr(shell.compile, "_filename_map", {}))


def remember(shell: Any, filename: str, source: str, number: int) -> None:
    """Let a traceback through a function that a job's cell defined show ``Cell In[number]`` and its line."""
    linecache.cache[filename] = (len(source), None, source.splitlines(keepends=True), filename)
    known = getattr(shell.compile, "_filename_map", None)
    if known is not None:
        known[filename] = number
