"""Packages are installed for the job and nobody else, or the job says what the installer said."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.unit.runner.conftest import Job, cell_pack
from tests.wheels import wheel

SEE = "import small, subprocess\nx = small.VERSION, subprocess.run(['small'], capture_output=True, text=True).stdout"


@pytest.fixture(scope="session")
def image(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An image's Python of its own, with pip, without uv, and with version 1 of a package."""
    place = tmp_path_factory.mktemp("image")
    subprocess.run([sys.executable, "-m", "venv", str(place)], check=True)
    python = place / "bin" / "python"
    small = wheel(place / "wheels", "small", "1.0")
    subprocess.run([python, "-m", "pip", "install", "-q", "--no-index", str(small)], check=True)
    return python


@pytest.fixture
def wheels(tmp_path: Path) -> Path:
    folder = tmp_path / "wheels"
    for version in ("1.0", "2.0"):
        wheel(folder, "small", version)
    wheel(folder, "large", "1.0", needs=["small>=1"])
    return folder


Install = Callable[..., Job]


@pytest.fixture(params=["uv", "pip"])
def tool(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def install(start: Callable[..., Job], image: Path, wheels: Path, tmp_path: Path, tool: str) -> Install:
    """Run a cell with packages, in the image, installed by one tool or the other."""
    programs = tmp_path / "programs"
    programs.mkdir()
    if tool == "uv":
        (programs / "uv").symlink_to(Path(sys.executable).parent / "uv")

    def install(code: str, *packages: str, wait: bool = True, **options: Any) -> Job:
        job = start(
            cell_pack(code, auto=["x"]),
            python=str(image),
            environ={"PATH": f"{programs}:/usr/bin:/bin", "HOME": str(tmp_path)},
            **{
                "packages": list(packages),
                "installer": {"index": ["none"], "wheels": [str(wheels)], "cache": str(tmp_path / "cache")},
                "sys_path": None,
                **options,
            },
        )
        return job.wait() if wait else job

    return install


def test_the_jobs_package_wins_over_the_images_which_stays(install: Install, image: Path, tool: str) -> None:
    job = install(SEE, "small>=2")
    assert job.outputs == {"x": ("2.0", "2.0\n")}
    assert job.text.startswith("konduktor: installing small>=2\nkonduktor: installed 1 package with " + tool)
    assert "Collecting" not in job.text
    there = subprocess.run([image, "-c", "import small; print(small.VERSION)"], capture_output=True, text=True)
    assert there.stdout == "1.0\n"


def test_what_the_image_has_is_not_installed_again(install: Install) -> None:
    job = install("import large, small\nx = large.__file__, small.__file__", "large")
    large, small = (Path(path) for path in job.outputs["x"])
    assert job.folder in large.parents
    assert "site-packages" in small.parts
    job = install("import small\nx = small.VERSION", "small")
    assert (job.outputs["x"], job.text) == ("1.0", "")


def test_a_command_has_its_packages_on_both_paths(install: Install) -> None:
    command = ["sh", "-c", "small && python3 -c 'import small; print(small.__file__)'"]
    job = install("", "small==2.0", command=command, kind="command")
    first, second = job.text.splitlines()[-2:]
    assert first == "2.0"
    assert str(job.folder) in second


def test_the_same_set_is_installed_once_on_a_machine(install: Install, tmp_path: Path) -> None:
    shared = {"packages_dir": str(tmp_path / "packages")}
    first, second = install(SEE, "small==2.0", **shared), install(SEE, "small==2.0", **shared)
    assert first.outputs == second.outputs
    assert "installing" in first.text
    assert second.text == ""
    assert install("import large\nx = 1", "large", **shared).outputs == {"x": 1}


def test_nodes_of_one_machine_wait_for_each_other(install: Install, tmp_path: Path) -> None:
    job = install(SEE, "small==2.0", nodes=3, packages_dir=str(tmp_path / "packages"))
    assert job.end["exit_codes"] == [0, 0, 0]
    assert b"".join(job.output(node) for node in range(3)).count(b"installed 1 package") == 1


def test_one_that_was_ended_as_it_installed_is_begun_anew(install: Install, tmp_path: Path) -> None:
    place = tmp_path / "packages"
    install("x = 1", "small==2.0", packages_dir=str(place))
    (done,) = place.glob("*.done")
    done.unlink()
    half = done.with_suffix("") / "small.py"
    half.unlink()  # it may be a link into the installer's cache
    half.write_text("this is half of")
    assert install(SEE, "small==2.0", packages_dir=str(place)).outputs["x"] == ("2.0", "2.0\n")


def test_failure_has_a_kind_of_its_own_and_the_last_lines(install: Install, tool: str) -> None:
    job = install("x = 1", "no-such-thing>=3")
    error = job.error()
    assert (error["refused"], error["ename"]) == ("packages", "PackagesError")
    assert error["evalue"].startswith(f"{tool} could not install no-such-thing>=3 (exit code ")
    assert "no-such-thing" in error["traceback"]
    assert error["traceback"].splitlines()[-1] in job.text
    assert job.envelope.exit == job.end["exit_codes"][0] != 0
    assert not list(job.folder.glob("packages/*.done"))


def test_a_long_failure_fits_into_the_envelope(install: Install) -> None:
    job = install("x = 1", *(f"no-such-thing-{number}>=3" for number in range(200)))
    assert (job.folder / "envelope.json").stat().st_size <= 4096
    assert job.error()["refused"] == "packages"


def test_without_an_installer_the_advice_is_an_image_or_a_setup(start: Callable[..., Job], tmp_path: Path) -> None:
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(tmp_path / "bare")], check=True)
    job = start(
        command=["true"],
        kind="command",
        python=str(tmp_path / "bare/bin/python"),
        environ={"PATH": "/usr/bin:/bin", "HOME": str(tmp_path)},
        packages=["small"],
    ).wait()
    assert job.error()["evalue"].startswith("neither uv nor pip is there for ")
    assert "take an image that has one of them" in job.error()["evalue"]


def test_credentials_of_an_index_are_not_in_what_is_told(install: Install) -> None:
    job = install("x = 1", "nothing-here", installer={"index": ["http://me:hunter2hunter2@127.0.0.1:9/simple"]})
    assert "hunter2" not in job.text + str(job.error())


def test_ending_the_job_ends_the_installer(install: Install) -> None:
    # A server that never answers keeps the installer waiting.
    with socket.create_server(("127.0.0.1", 0)) as silent:
        index = f"http://127.0.0.1:{silent.getsockname()[1]}/simple"
        job = install("x = 1", "large", wait=False, installer={"index": [index]}).until(b"installing large")
        silent.accept()
        began = time.monotonic()
        job.process.send_signal(signal.SIGTERM)
        job.wait()
    assert time.monotonic() - began < 10
    assert job.end["ended_by"] == "SIGTERM"
    with pytest.raises(ProcessLookupError):
        os.killpg(job.pids[0], 0)


def test_time_is_up_while_it_installs(install: Install) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        index = f"http://127.0.0.1:{silent.getsockname()[1]}/simple"
        job = install("x = 1", "large", timeout=3, installer={"index": [index]})
    assert job.end["ended_by"] == "timeout"
