"""What a person may write of packages, and what is refused before anything is made."""

from __future__ import annotations

from pathlib import Path

import pytest

from jupyter_konduktor import requirements, session
from jupyter_konduktor.config import Settings
from jupyter_konduktor.errors import ConfigError, InvalidTaskError
from jupyter_konduktor.task import Task


@pytest.mark.parametrize(
    ("value", "found"),
    [
        ("torch>=2.4 polars", ("torch>=2.4", "polars")),
        ("torch >= 2.4, < 3", ("torch >= 2.4, < 3",)),
        ("torch>=2,<3, polars", ("torch>=2,<3", "polars")),
        ("ray[data,tune] numpy", ("ray[data,tune]", "numpy")),
        (["tomli; python_version < '3.11'", "a==1.*"], ("tomli; python_version < '3.11'", "a==1.*")),
        ("x @ https://host/x-1-py3-none-any.whl", ("x @ https://host/x-1-py3-none-any.whl",)),
        ("git+https://github.com/a/b@v1", ("git+https://github.com/a/b@v1",)),
        (["torch==2.4.0+cu121", "sync"], ("torch==2.4.0+cu121", "sync")),
        ([], ()),
    ],
)
def test_requirements(value: str | list[str], found: tuple[str, ...]) -> None:
    assert requirements.parse(value) == found


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ("-r requirements.txt", "--requirements FILE reads a file"),
        (["--index-url=https://host/simple"], "package_index sets the index"),
        ("-e .", "Options of pip do not travel"),
        ("./wheels/x.whl", "A path of this machine"),
        ("dist/x-1-py3-none-any.whl", "A path of this machine"),
        (["a; rm -rf /"], "is not allowed"),
        (["a$(id)"], "is not allowed"),
        (["torch>=2.4 polars", 3], "3 is not allowed"),
        ([""], "is not allowed"),
        ("torch=2", "is not allowed"),
    ],
)
def test_what_is_none_is_refused(value: str | list[str], said: str) -> None:
    with pytest.raises(InvalidTaskError, match=r"^packages: ") as caught:
        requirements.parse(value)
    assert said in str(caught.value)


@pytest.mark.parametrize(
    "value", ["x @ https://me:hunter2@host/x.whl", "git+https://hunter2@host/a", "-i https://me:hunter2@host/simple"]
)
def test_credentials_are_refused_and_never_shown(value: str) -> None:
    with pytest.raises(InvalidTaskError) as caught:
        requirements.parse([value])
    assert "hunter2" not in str(caught.value) + repr(caught.value.value)


@pytest.mark.parametrize("key", ["package_index", "package_wheels"])
def test_an_index_with_credentials_is_refused_and_never_shown(key: str) -> None:
    with pytest.raises(ConfigError, match=r"--secret PIP_INDEX_URL=SECRET/KEY") as caught:
        Settings.load({key: "https://me:hunter2@host/simple"})
    assert "hunter2" not in str(caught.value)


def test_places_of_packages() -> None:
    settings = Settings.load(
        {
            "package_index": "https://a/simple,https://b/simple",
            "package_wheels": ["/wheels"],
            "package_cache": "/cache",
        }
    )
    assert settings.installer == {
        "index": ("https://a/simple", "https://b/simple"),
        "wheels": ("/wheels",),
        "cache": "/cache",
    }
    assert Settings.load({"package_index": "none"}).installer == {"index": ("none",)}
    for wrong in ({"package_index": "pypi"}, {"package_wheels": "wheels"}):
        with pytest.raises(ConfigError):
            Settings.load(wrong)


def test_a_file_is_read_with_those_it_names(tmp_path: Path) -> None:
    (tmp_path / "base.txt").write_text("numpy>=1.26\n\npolars\n")
    (tmp_path / "all.txt").write_text("# what we need\n-r base.txt\ntorch >=2.4, \\\n  <3  # not 3\nnumpy>=1.26\n")
    assert requirements.read(tmp_path / "all.txt") == ("numpy>=1.26", "polars", "torch >=2.4,   <3")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("numpy\n--extra-index-url https://host/simple\n", "all.txt:2: '--extra-index-url"),
        ("numpy==1 --hash=sha256:00\n", "all.txt:1: 'numpy==1 --hash"),
        ("-e .\n", "all.txt:1: '-e .'"),
        ("./x.whl\n", "all.txt:1: './x.whl'"),
        ("numpy polars\n", "all.txt:1: 'numpy polars'"),
        ("-r all.txt\n", "includes itself"),
        ("-r none.txt\n", "none.txt cannot be read: No such file"),
        ("numpy \\", "goes on with a"),
        ("numpy @ https://me:hunter2@host/x.whl\n", "all.txt:1: numpy @ https://****@host/x.whl holds credentials"),
    ],
)
def test_a_file_that_cannot_travel_names_the_line(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "all.txt").write_text(text)
    with pytest.raises(InvalidTaskError, match=r"^requirements: ") as caught:
        requirements.read(tmp_path / "all.txt")
    assert said in str(caught.value)


def test_a_file_adds_to_what_the_call_names(tmp_path: Path) -> None:
    (tmp_path / "all.txt").write_text("polars\n")
    settings = Settings.load({"requirements": str(tmp_path / "all.txt"), "packages": "torch>=2", "setup": "make"})
    task = session.make_task("cell", {}, settings)
    assert (task.packages, task.setup) == (("torch>=2", "polars"), ("make",))
    task = session.make_task("cell", {"packages": ["numpy"], "setup": ["a", "b"]}, settings)
    assert (task.packages, task.setup) == (("numpy", "polars"), ("a", "b"))
    assert Task.from_json(task.to_json()) == task


def test_sync_is_for_code_that_is_captured() -> None:
    with pytest.raises(InvalidTaskError, match="this is a command"):
        Task.create(command=["true"], packages=["sync"])


@pytest.mark.parametrize("setup", [[""], [3], 3, ["a\0b"]])
def test_setup_is_commands(setup: object) -> None:
    with pytest.raises(InvalidTaskError, match=r"^setup: "):
        Task.create(kind="cell", setup=setup)
