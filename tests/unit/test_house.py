"""The house itself: what is at the top, what the README promises, what an import brings."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "jupyter_konduktor"
TOP_LEVEL = {
    "CHANGELOG.md",
    "LICENSE",
    "Makefile",
    "README.md",
    "jupyter_konduktor",
    "labextension",
    "notebooks",
    "pyproject.toml",
    "requirements.lock",
    "tests",
}
LOCK = (ROOT / "requirements.lock").read_text()


def tracked_files() -> list[str]:
    """Every file git has or would take, relative to the top."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
    names = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.split("\0")
    return [name for name in names if name and (ROOT / name).exists()]


def test_importing_the_package_imports_no_ipython_tornado_or_kubernetes() -> None:
    code = "import sys, jupyter_konduktor; print(*sorted({name.partition('.')[0] for name in sys.modules}))"
    run = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    heavy = {"IPython", "asyncio", "cloudpickle", "ipywidgets", "kubernetes", "numpy", "psutil", "tornado", "yaml"}
    assert heavy.isdisjoint(run.stdout.split())


def test_every_public_name_can_be_had_and_is_listed() -> None:
    code = "import jupyter_konduktor as jk; print([n for n in jk.__all__ if n not in dir(jk) or not getattr(jk, n)])"
    run = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"


def test_the_top_level_holds_nothing_but_the_house() -> None:
    top = {name.partition("/")[0] for name in tracked_files()}
    assert {name for name in top if not name.startswith(".")} <= TOP_LEVEL
    assert top >= TOP_LEVEL - {"labextension"}


def test_every_command_of_the_readme_is_a_target_of_the_makefile() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    named = set(re.findall(r"(?:^|`)make ([a-z-]+)", (ROOT / "README.md").read_text(), re.MULTILINE))
    assert named >= {"demo", "test", "lab", "bench"}
    assert named <= targets


def test_the_two_commands_stand_on_the_first_screen_of_the_readme() -> None:
    screen = "\n".join((ROOT / "README.md").read_text().splitlines()[:40])
    assert "make demo" in screen
    assert "make test" in screen


def test_ci_runs_the_command_of_the_readme() -> None:
    assert "make test" in (ROOT / ".ci/run").read_text()


def test_the_lock_names_no_host_and_pins_every_package_by_hash() -> None:
    assert not re.search(r"https?:|--index|--find-links|--extra", LOCK)
    assert LOCK.count("--hash=sha256:") > len(re.findall(r"^\S+==", LOCK, re.MULTILINE)) > 50


def test_the_lock_holds_every_dependency_of_the_project() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    wanted = project["project"]["dependencies"] + project["dependency-groups"]["dev"]
    names = {re.match(r"[\w-]+", line)[0].lower().replace("_", "-") for line in wanted}  # type: ignore[index]
    assert names <= set(re.findall(r"^([\w-]+)==", LOCK, re.MULTILINE))


def test_pre_commit_runs_only_what_the_lock_installs() -> None:
    hooks = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())["repos"]
    assert [repo["repo"] for repo in hooks] == ["local"]
    assert all(hook["entry"].startswith(".venv/bin/") for repo in hooks for hook in repo["hooks"])


def test_no_file_holds_a_path_of_one_machine() -> None:
    path = re.compile(r"(?<![\w.~/-])/(work|farm|root)/")
    texts = [(name, ROOT / name) for name in tracked_files() if not name.endswith((".png", ".lock"))]
    assert [name for name, file in texts if path.search(file.read_text()) and file != Path(__file__).resolve()] == []


def test_the_runner_imports_only_the_standard_library_and_itself() -> None:
    allowed = {"figures.py": {"matplotlib"}}  # matplotlib itself imports it, as its backend
    foreign = set()
    for file in sorted((PACKAGE / "runner").rglob("*.py")):
        for node in ast.parse(file.read_text(), feature_version=(3, 8)).body:
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom) and not node.level:
                names = [node.module or ""]
            roots = {name.partition(".")[0] for name in names} - sys.stdlib_module_names
            foreign |= {(file.name, root) for root in roots - allowed.get(file.name, set())}
    assert foreign == set()
