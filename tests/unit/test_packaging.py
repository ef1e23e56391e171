"""What is shipped: built once, complete, and at work where no Node.js is."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

import jupyter_konduktor
from tests.browser.server import Server
from tests.testbed import places
from tests.unit.test_house import ROOT, tracked_files

pytestmark = pytest.mark.timeout(300)  # two builds, and an environment with all of JupyterLab

LABEXTENSION = "share/jupyter/labextensions/jupyter-konduktor"
BUILT = ROOT / "jupyter_konduktor/labextension"


def without_node(folder: Path) -> dict[str, str]:
    """An environment whose PATH is an empty folder."""
    folder.mkdir()
    return {**os.environ, "PATH": str(folder)}


def build(source: Path, target: Path, *options: str, environ: dict[str, str] | None = None) -> None:
    command = [sys.executable, "-m", "build", "--no-isolation", *options, "--outdir", str(target), str(source)]
    subprocess.run(command, env=environ, check=True, capture_output=True)


@pytest.fixture(scope="module")
def dist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The sdist and the wheel, as they would be uploaded."""
    if not (BUILT / "package.json").exists():
        pytest.fail("the JupyterLab extension is not built: make test does that first", pytrace=False)
    target = tmp_path_factory.mktemp("dist")
    build(ROOT, target, "--sdist", "--wheel")
    return target


@pytest.fixture(scope="module")
def sdist(dist: Path) -> Path:
    (built,) = dist.glob("*.tar.gz")
    return built


@pytest.fixture(scope="module")
def wheel(dist: Path) -> Path:
    (built,) = dist.glob("*.whl")
    return built


def packed(wheel: Path) -> dict[str, bytes]:
    """Every file of a wheel but what describes the wheel itself."""
    with zipfile.ZipFile(wheel) as archive:
        return {name: archive.read(name) for name in archive.namelist() if ".dist-info/" not in name}


def test_package_and_extension_have_one_version() -> None:
    described = json.loads((ROOT / "labextension/package.json").read_text())
    assert described["version"] == jupyter_konduktor.__version__


def test_the_wheel_holds_every_file_of_the_package_and_puts_the_extension_where_jupyter_looks(wheel: Path) -> None:
    data = f"jupyter_konduktor-{jupyter_konduktor.__version__}.data/data"
    built = {f"{data}/{LABEXTENSION}/{path.relative_to(BUILT)}" for path in BUILT.rglob("*") if path.is_file()}
    config = f"{data}/etc/jupyter/jupyter_server_config.d/jupyter_konduktor.json"
    ours = {name for name in tracked_files() if name.startswith("jupyter_konduktor/")}
    assert "jupyter_konduktor/py.typed" in ours
    assert set(packed(wheel)) == ours | built | {f"{data}/{LABEXTENSION}/install.json", config}
    assert json.loads(packed(wheel)[config])["ServerApp"]["jpserver_extensions"] == {"jupyter_konduktor": True}


def test_the_wheel_carries_the_license_and_is_of_one_version(wheel: Path) -> None:
    (metadata,) = (name for name in zipfile.ZipFile(wheel).namelist() if name.endswith(".dist-info/METADATA"))
    text = zipfile.ZipFile(wheel).read(metadata).decode()
    assert f"Version: {jupyter_konduktor.__version__}\n" in text
    assert "License-Expression: Apache-2.0\n" in text
    assert any(name.endswith("/licenses/LICENSE") for name in zipfile.ZipFile(wheel).namelist())


def test_a_wheel_built_from_the_sdist_without_node_is_the_same(sdist: Path, wheel: Path, tmp_path: Path) -> None:
    with tarfile.open(sdist) as archive:
        archive.extractall(tmp_path, filter="data")
        sources = {name.partition("/")[2] for name in archive.getnames()}
    assert {"labextension/src/tokens.ts", "labextension/yarn.lock", "requirements.lock", "Makefile"} <= sources
    assert not [name for name in sources if "node_modules/" in name or name.startswith("labextension/lib/")]
    (unpacked,) = (path for path in tmp_path.iterdir() if path.is_dir())
    build(unpacked, tmp_path / "built", "--wheel", environ=without_node(tmp_path / "bin"))
    (again,) = (tmp_path / "built").glob("*.whl")
    assert packed(again) == packed(wheel)


def test_an_installed_wheel_is_at_work_without_node(wheel: Path, tmp_path: Path) -> None:
    """In an environment of its own, with a space in its path, and with the source tree out of sight."""
    place = tmp_path / "with space"
    environ = without_node(tmp_path / "bin") | {"UV_CACHE_DIR": str(places.user_cache() / "uv")}
    uv = [sys.executable, "-m", "uv"]
    subprocess.run([*uv, "venv", "--quiet", "--python", sys.executable, str(place)], env=environ, check=True)
    install = ["pip", "install", "--quiet", "--python", str(place / "bin/python"), "--constraints"]
    subprocess.run([*uv, *install, str(ROOT / "requirements.lock"), str(wheel), "jupyterlab"], env=environ, check=True)

    def jupyter(*arguments: str) -> str:
        command = [str(place / "bin/jupyter"), *arguments]
        run = subprocess.run(command, env=environ, cwd=tmp_path, capture_output=True, text=True, check=True)
        return run.stdout + run.stderr

    listed = jupyter("labextension", "list")
    (line,) = (line for line in listed.splitlines() if "jupyter-konduktor" in line)
    assert f"v{jupyter_konduktor.__version__}" in line
    assert "enabled" in line
    assert "OK" in line
    listed = jupyter("server", "extension", "list")
    assert "jupyter_konduktor enabled" in listed.replace("\x1b[32m", "").replace("\x1b[0m", "")
    assert f"jupyter_konduktor {jupyter_konduktor.__version__}" in listed
    with Server(tmp_path, python=str(place / "bin/python"), environ={"PATH": environ["PATH"]}) as server:
        assert json.loads(server.ask("konduktor/about"))["version"] == jupyter_konduktor.__version__
        assert server.ask("lab/extensions/jupyter-konduktor/static/style.js")
    code = "import jupyter_konduktor; print(jupyter_konduktor.__file__)"
    run = subprocess.run(
        [place / "bin/python", "-I", "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert str(place) in run.stdout
