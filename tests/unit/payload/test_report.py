"""The table that ``--dry-run`` shows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest


def test_each_row_says_what_how_and_how_large(notebook: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "reported_module.py").write_text("x = 1")
    notebook.run("import json, numpy as np, reported_module\nk = 2\ndef f(): return k\nX = np.zeros((300, 300))")
    report = notebook.capture("f(), X, json, reported_module").report
    rows = {row.name: (row.type, row.how, row.via) for row in report.rows}
    assert rows["f"] == ("function", "by source", "")
    assert rows["k"] == ("int", "by value", "f")
    assert rows["X"] == ("numpy.ndarray", "by value", "")
    assert rows["json"] == ("module", "by name", "")
    assert rows["reported_module"][1] in ("by name", "module files")
    assert [row.how for row in report.rows].count("module files") == 1
    text = repr(report)
    assert "703 KiB" in text
    assert "used by f" in text
    assert "module files" in text
    assert all(row.name in report._repr_html_() for row in report.rows)


def test_sharing_is_told(notebook: Any) -> None:
    notebook.run("a = [1]; b = a; c = {'in': a}; d = [2]")
    lines = dict(line.split(None, 1) for line in repr(notebook.capture("a, b, c, d").report).splitlines() if line)
    assert "the same object as b; it stays one" in lines["a"]
    assert "shares objects with c; they stay shared" in lines["a"]
    assert "shares objects with a, b" in lines["c"]
    assert "share" not in lines["d"]


def test_views_that_become_copies_are_told(notebook: Any) -> None:
    base = np.zeros(100)
    notebook.namespace.update(base=base, part={"v": base[10:20]}, same=base, other=np.zeros(100))
    report = notebook.capture("base, part, same, other").report
    assert report.sharing["base"].views == ["part"]
    assert report.sharing["part"].views == ["base", "same"]
    assert report.sharing["same"].same == ["base"]
    assert report.sharing["other"].views == []
    assert "shares memory with base, same; in the job these are copies" in repr(report)


def test_things_that_all_values_have_in_common_are_no_sharing(notebook: Any) -> None:
    notebook.run(
        "import enum\nclass C(enum.Enum):\n    A = 1\na = [C.A, None, 1, 'x', ()]; b = [C.A, None, 1, 'x', ()]"
    )
    notebook.namespace.update(x=np.zeros(3), y=np.zeros(3))
    report = notebook.capture("a, b, x, y").report
    assert all(not (s.same or s.inside or s.views) for s in report.sharing.values())


def test_names_defined_by_a_cell_that_has_changed_are_told(notebook: Any) -> None:
    notebook.run("def f(): pass\ng = 1")
    report = notebook.capture("f(), g", changed={"f": "defined by In[1], which has changed since"}).report
    assert "defined by In[1], which has changed since" in repr(report)
    assert repr(report).count("has changed") == 1


def test_outputs_and_what_stays_are_told(notebook: Any) -> None:
    text = repr(notebook.capture("import os\nx = 1\nfor i in []: pass").report)
    assert "comes back: x (as far as they can be sent)" in text
    assert "stays in the job: os, an import" in text
    assert "stays in the job: i, a loop variable" in text
    assert "comes back: x (all of them, or none)" in repr(notebook.capture("x = 1", outputs="x").report)


def test_html_is_inert(notebook: Any) -> None:
    cls = type("<img src=x onerror=alert(1)>", (), {"__module__": "__main__"})
    notebook.namespace["x"] = cls()
    html = notebook.capture("x", changed={"x": "<script>"}).report._repr_html_()
    assert "<img" not in html
    assert "<script" not in html


def test_sharing_is_compared_only_when_it_is_shown(notebook: Any) -> None:
    notebook.run("a = [1]")
    report = notebook.capture("a").report
    notebook.namespace["a"].append(2)
    assert "sharing" not in vars(report)
    assert repr(report)
    assert "sharing" in vars(report)
