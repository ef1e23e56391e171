"""``--packages sync``: what the code imports, as it is installed here."""

from __future__ import annotations

import json
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest

from jupyter_konduktor.payload import capture_call, capture_cell
from jupyter_konduktor.payload.installed import installed


def test_packages_of_a_cell_its_values_and_its_modules(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "mine_of_test.py").write_text("import yaml, json\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    import pluggy

    code = "import os, packaging.version as v, mine_of_test, no_such_thing, jupyter_konduktor\nx = p.__name__"
    captured = capture_cell(code, code, {"p": pluggy}, sync=True)
    names = ["packaging", "pluggy", "PyYAML"]
    assert captured.packages == tuple(f"{name}=={metadata.version(name)}" for name in names)
    assert f"installed as here: {', '.join(captured.packages)}" in repr(captured.report)
    assert captured.packages[0] in captured.report._repr_html_()


def test_nothing_is_looked_for_unless_it_was_asked_for() -> None:
    code = "import packaging"
    assert capture_cell(code, code, {}).packages == ()


def test_packages_of_a_function() -> None:
    def function() -> Any:
        import packaging.version

        return packaging.version

    assert f"packaging=={metadata.version('packaging')}" in capture_call(function, (), {}, sync=True).packages


def _package(folder: Path, name: str, version: str, origin: object = None) -> None:
    info = folder / f"{name}-{version}.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
    (info / "top_level.txt").write_text(name)
    if origin is not None:
        (info / "direct_url.json").write_text(json.dumps(origin))


def test_where_a_package_came_from_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    commit = {"vcs": "git", "commit_id": "abc123"}
    _package(tmp_path, "fork", "1.0", {"url": "https://host/fork", "vcs_info": commit})
    _package(tmp_path, "archive", "1.0", {"url": "https://host/archive-1.0.whl", "archive_info": {}})
    _package(tmp_path, "editable", "1.0", {"url": "file:///home/me/editable", "dir_info": {"editable": True}})
    _package(tmp_path, "cuda", "2.4.0+cu121")
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    found, lacking = installed(["fork", "archive", "editable", "cuda", "os"])
    assert found == (
        "archive @ https://host/archive-1.0.whl",
        "cuda==2.4.0",
        "fork @ git+https://host/fork@abc123",
    )
    assert lacking == ["editable was installed from a folder or file of this machine; the job does not install it"]
