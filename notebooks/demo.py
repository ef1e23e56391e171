"""Run a notebook in a kernel of this Python and print what its cells tagged ``values`` showed: `make demo`."""

from __future__ import annotations

import os
import re
import sys
import time
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError, DeadKernelError
from nbformat import NotebookNode


def shown(cell: NotebookNode) -> str:
    """Give a cell's source as at a prompt, and the text of all that it showed, without colours."""
    texts = [output.get("text") or output.get("data", {}).get("text/plain", "") for output in cell.get("outputs", [])]
    lines = [f">>> {line}" for line in cell.source.splitlines()]
    lines += re.sub(r"\x1b\[[0-9;]*m", "", "\n".join(text.rstrip("\n") for text in texts)).splitlines()
    return "\n".join(f"    {line}" for line in lines)


def main(source: Path, target: Path) -> int:
    """Execute ``source``, write it with its outputs to ``target``, print the values; 1 if a cell fails."""
    notebook = nbformat.read(source, as_version=4)
    values = [cell for cell in notebook.cells if "values" in cell.metadata.get("tags", [])]
    if not values:
        print(f"{source} has no cell tagged `values`: there would be nothing to print", file=sys.stderr)
        return 1
    os.environ["JUPYTER_KONDUKTOR_BACKEND"] = "local"  # whatever a shell that is set up for a cluster says
    place = {"metadata": {"path": str(source.parent)}}
    client = NotebookClient(notebook, timeout=300, kernel_name="python3", resources=place)
    target.parent.mkdir(parents=True, exist_ok=True)
    log = target.with_suffix(".log")  # what the kernel process itself says
    print(f"Running {source} in a kernel of Python {sys.version.split()[0]}", flush=True)
    started = time.monotonic()
    try:
        with log.open("w") as kernel_messages:
            client.execute(stderr=kernel_messages)
    except (CellExecutionError, DeadKernelError) as error:
        print(f"{error}\nThe notebook as far as it ran: {target}; the kernel's own messages: {log}", file=sys.stderr)
        return 1
    finally:
        nbformat.write(notebook, target)
    print(f"\nThe values that came back into the kernel, after {time.monotonic() - started:.1f} s:\n")
    print("\n\n".join(shown(cell) for cell in values))
    print(f"\nThe executed notebook: {os.path.relpath(target)}")
    print("See the same thing in JupyterLab, with the jobs in its sidebar: make lab")
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), Path(sys.argv[2])))
