"""Packages and setup commands of a cell, from its line to its error."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.wheels import wheel


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A folder with wheels, a settings file that names them, and a file of requirements."""
    wheel(tmp_path / "wheels", "small", "2.0")
    wheel(tmp_path / "wheels", "large", "1.0")
    text = f"[tool.konduktor]\npackage_index = 'none'\npackage_wheels = ['{tmp_path}/wheels']\n"
    (tmp_path / "settings.toml").write_text(text)
    (tmp_path / "requirements.txt").write_text("large==1.0  # the large one\n")
    return tmp_path


def test_packages_and_a_file_of_them_are_there_in_the_cell_and_only_there(kernel: Any, place: Path) -> None:
    line = f"--config {place}/settings.toml --packages small>=2 pytest --requirements {place}/requirements.txt"
    shown = kernel.run(f"%%konduktor {line}\nimport small, large\nfound = small.VERSION, large.VERSION")
    assert shown.ok, shown.text
    assert "konduktor: installing small>=2, large==1.0\n" in shown.text
    assert kernel.value("found") == "('2.0', '1.0')"
    assert not kernel.run("import small").ok


def test_a_package_that_is_nowhere_is_an_error_with_the_installers_last_lines(kernel: Any, place: Path) -> None:
    shown = kernel.run(f"%%konduktor --config {place}/settings.toml --packages no-such-thing\nx = 1")
    assert shown.reply["ename"] == "PackagesError"
    assert "no-such-thing" in shown.error
    assert "/jupyter_konduktor/" not in shown.error


def test_a_setup_that_fails_is_an_error_with_its_last_lines(kernel: Any) -> None:
    shown = kernel.run("%%konduktor --setup 'echo trying' --setup 'echo cannot; exit 3'\nx = 1")
    assert shown.reply["ename"] == "SetupError"
    assert "`echo cannot; exit 3` ended with exit code 3\ncannot" in shown.error


def test_sync_is_told_and_needs_nothing_here(kernel: Any) -> None:
    code = "import packaging\nversion = packaging.__version__"
    shown = kernel.run(f"%%konduktor --packages sync --dry-run\n{code}")
    assert "installed as here: packaging==" in shown.text
    shown = kernel.run(f"%%konduktor --packages sync\n{code}")
    assert shown.ok
    assert "installing" not in shown.text


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("--packages '-r all.txt'", "--requirements FILE reads a file"),
        ("--packages 'a; rm -rf /'", "is not allowed"),
        ("--requirements /nowhere/all.txt", "/nowhere/all.txt cannot be read"),
        ("--packages 'x @ https://me:hunter2@host/x.whl'", "holds credentials"),
        ("--setup ''", "setup is a shell command"),
    ],
)
def test_bad_input_is_one_line_before_anything_is_made(kernel: Any, line: str, said: str) -> None:
    shown = kernel.run(f"%%konduktor {line}\nx = 1")
    assert shown.reply["ename"] == "UsageError"
    assert said in shown.text
    assert "hunter2" not in shown.text + str(shown.reply)
