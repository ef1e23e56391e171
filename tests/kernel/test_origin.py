"""Where a job was sent from: what JupyterLab tells a kernel, and what other clients do not."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import jupyter_konduktor

from .conftest import Kernel

ASK = "import json; from jupyter_konduktor import session; print(json.dumps(session.origin()))"
"""Asked for as a cell, or as a script."""


@pytest.fixture(autouse=True)
def plain(monkeypatch: pytest.MonkeyPatch) -> None:
    """These tests may themselves run in a kernel of JupyterLab."""
    for name in ("JPY_SESSION_NAME", "JUPYTERHUB_USER"):
        monkeypatch.delenv(name, raising=False)


def origin(kernel: Kernel, cell_id: str | None = None) -> dict[str, Any]:
    shown = kernel.run(ASK, cell_id=cell_id)
    assert shown.ok, shown.error
    found: dict[str, Any] = json.loads(shown.stream())
    return found


def test_jupyterlab_tells_the_notebook_and_the_cell(tmp_path: Path) -> None:
    kernel = Kernel(tmp_path, JPY_SESSION_NAME=str(tmp_path / "train.ipynb"))
    try:
        found = origin(kernel, cell_id="0b9c1a5e-4a33")
    finally:
        kernel.close()
    assert found["jpy_session_name"] == str(tmp_path / "train.ipynb")
    assert found["cell_id"] == "0b9c1a5e-4a33"
    assert found["version"] == jupyter_konduktor.__version__


def test_another_client_tells_neither_and_its_jobs_run(tmp_path: Path) -> None:
    kernel = Kernel(tmp_path, JUPYTER_KONDUKTOR_LOCAL_DIR=str(tmp_path / "jobs"))
    try:
        assert set(origin(kernel)) == {"pid", "cwd", "version", "cell_number"}
        assert kernel.run("%%konduktor\nx = 6 * 7").ok
        assert kernel.value("x") == "42"
    finally:
        kernel.close()


def test_a_script_tells_neither() -> None:
    done = subprocess.run([sys.executable, "-c", ASK], check=True, capture_output=True, text=True)
    assert set(json.loads(done.stdout)) == {"pid", "cwd", "version"}
