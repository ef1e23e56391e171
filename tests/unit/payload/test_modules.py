"""Modules of the user's own project travel as files; installed ones and the standard library by name."""

from __future__ import annotations

import importlib
import io
import json
import subprocess
import sys
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from jupyter_konduktor.payload import Payload
from jupyter_konduktor.payload.modules import is_own, own_modules

Write = Callable[[dict[str, str]], None]


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Write]:
    """Write a project into a folder on ``sys.path``; its modules are forgotten afterwards."""
    monkeypatch.syspath_prepend(str(tmp_path))
    before = set(sys.modules)

    def write_files(files: dict[str, str]) -> None:
        for name, text in files.items():
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        importlib.invalidate_caches()

    yield write_files
    for name in set(sys.modules) - before:
        if str(getattr(sys.modules[name], "__file__", "") or "").startswith(str(tmp_path)):
            del sys.modules[name]


def archive(payload: Payload) -> dict[str, str]:
    digest = payload.pack.header["meta"]["modules"]["buffer"]
    if digest is None:
        return {}
    with zipfile.ZipFile(io.BytesIO(payload.objects[digest])) as files:
        return {name: files.read(name).decode() for name in files.namelist()}


def test_a_module_of_the_project_travels_as_a_file_that_a_job_can_import(
    notebook: Any, write: Write, tmp_path: Path
) -> None:
    write({"helpers.py": "def double(x): return x * 2\n"})
    notebook.run("import helpers\nfrom helpers import double")
    payload = notebook.capture("y = double(helpers.double(1))")
    assert archive(payload) == {"helpers.py": "def double(x): return x * 2\n"}
    assert payload.pack.header["meta"]["modules"]["names"] == ["helpers"]
    folder = tmp_path / "job"
    folder.mkdir()
    digest = payload.pack.header["meta"]["modules"]["buffer"]
    zipfile.ZipFile(io.BytesIO(payload.objects[digest])).extractall(folder)
    (folder / "payload.pack").write_bytes(payload.data)
    script = (
        "import sys; sys.path.insert(0, '.'); from jupyter_konduktor.runner import codec;"
        "job = {'__name__': '__main__'};"
        "loaded = codec.load(open('payload.pack', 'rb').read(), None, job); job.update(loaded.values);"
        "exec(loaded.header['meta']['cell']['code'], job); print(job['y'], job['helpers'].__file__)"
    )
    root = Path(__file__).resolve().parents[3]
    done = subprocess.run(
        [sys.executable, "-c", script],
        cwd=folder,
        env={"PYTHONPATH": str(root)},
        capture_output=True,
        text=True,
        check=True,
    )
    value, file = done.stdout.split()
    assert value == "4"
    assert (folder / file).resolve() == folder / "helpers.py"


def test_a_package_travels_whole_and_what_it_imports_of_the_project_too(notebook: Any, write: Write) -> None:
    write(
        {
            "lab/__init__.py": "",
            "lab/nets.py": "from . import layers\nfrom .deep.parts import part\nimport settings, numpy, json",
            "lab/layers.py": "x = 1",
            "lab/deep/__init__.py": "",
            "lab/deep/parts.py": "import far.away\npart = 1",
            "lab/unused.py": "",
            "lab/data.json": "{}",
            "lab/.env": "TOKEN=1",
            "lab/__pycache__/x.py": "",
            "settings.py": "def f():\n    import late\n",
            "late.py": "",
            "far/away.py": "",
            "far/other.py": "",
            "stranger.py": "",
        }
    )
    notebook.run("import lab.nets")
    payload = notebook.capture("lab.nets.layers.x")
    assert set(archive(payload)) == {
        "lab/__init__.py", "lab/nets.py", "lab/layers.py", "lab/deep/__init__.py", "lab/deep/parts.py", "lab/unused.py",
        "lab/data.json", "settings.py", "late.py", "far/away.py",
    }  # fmt: skip
    assert "late" not in sys.modules
    assert payload.pack.header["meta"]["submodules"] == ["lab.nets"]


@pytest.mark.parametrize(
    "cell",
    [
        "import mine",
        "from mine import x",
        "def f():\n    import mine\nf()",
        "from mine import *",
        "g()",
        "thing",
        "thing.go()",
    ],
)
def test_a_module_is_found_wherever_it_is_used(notebook: Any, write: Write, cell: str) -> None:
    write({"mine.py": "x = 1\nclass Thing:\n    def go(self): pass\n"})
    notebook.run("def g():\n    from mine import Thing\n    return Thing()\n")
    if "thing" in cell:
        notebook.run("thing = g()")
    assert set(archive(notebook.capture(cell))) == {"mine.py"}


def test_nothing_of_the_standard_library_or_of_installed_packages_travels(notebook: Any) -> None:
    notebook.run("import json, numpy, yaml, jupyter_konduktor, sys, cloudpickle\nimport xml.dom.minidom")
    payload = notebook.capture("json, numpy, yaml, jupyter_konduktor, sys, cloudpickle, xml.dom.minidom\nimport pip")
    assert archive(payload) == {}
    assert payload.report.warnings == ()


def test_the_path_decides_strictly(tmp_path: Path) -> None:
    import numpy
    import yaml

    import jupyter_konduktor

    for module in (json, numpy, yaml, jupyter_konduktor, pytest):
        assert not is_own(module.__file__)
    assert not is_own(None)
    assert not is_own("built-in")
    assert not is_own("/opt/app/lib/python3.11/site-packages/thing.py")
    assert not is_own("/usr/lib/python3/dist-packages/thing.py")
    assert is_own(str(tmp_path / "mine.py"))
    link = tmp_path / "site-packages" / "linked.py"
    link.parent.mkdir()
    link.symlink_to(tmp_path / "mine.py")
    assert not is_own(str(link))


def test_an_editable_install_is_the_users_own(notebook: Any, write: Write, tmp_path: Path) -> None:
    """Its finder maps the name to a folder that is not on ``sys.path``."""
    write({"src/edited/__init__.py": "from .core import go", "src/edited/core.py": "def go(): return 1"})

    class Finder:
        @staticmethod
        def find_spec(name: str, path: Any = None, target: Any = None) -> Any:
            file = tmp_path / "src" / "edited" / "__init__.py"
            if name != "edited":
                return None
            return importlib.util.spec_from_file_location(name, file, submodule_search_locations=[str(file.parent)])

    sys.meta_path.append(Finder)
    try:
        notebook.run("from edited import go")
        assert set(archive(notebook.capture("go()"))) == {"edited/__init__.py", "edited/core.py"}
    finally:
        sys.meta_path.remove(Finder)


def test_the_archive_is_the_same_for_the_same_files(notebook: Any, write: Write, tmp_path: Path) -> None:
    write({"mine.py": "x = 1", "also.py": ""})
    first = own_modules(["mine", "also"]).archive()
    (tmp_path / "mine.py").touch()
    assert own_modules(["also", "mine", "mine.x"]).archive() == first
    write({"mine.py": "x = 2"})
    changed = own_modules(["mine", "also"]).archive()
    assert changed is not None
    assert first is not None
    assert changed[0] != first[0]


def test_a_package_with_compiled_parts_goes_by_name_and_says_so(notebook: Any, write: Write) -> None:
    write({"fast/__init__.py": "", f"fast/_core{importlib.machinery.EXTENSION_SUFFIXES[0]}": "no python"})
    notebook.run("import fast")
    payload = notebook.capture("fast")
    assert archive(payload) == {}
    assert "the package fast has compiled parts" in payload.report.warnings[0]


def test_a_file_with_a_syntax_error_travels_as_it_is(notebook: Any, write: Write) -> None:
    write({"mine.py": "import half", "half.py": "def ("})
    assert set(archive(notebook.capture("import mine"))) == {"mine.py", "half.py"}


def test_secrets_in_project_files_are_found(notebook: Any, write: Write) -> None:
    from jupyter_konduktor.errors import SecretFoundError

    write({"mine.py": "key = 'sk-live-0123456789'"})
    with pytest.raises(SecretFoundError, match=r"A_TOKEN in the file mine\.py"):
        notebook.capture("import mine", environ={"A_TOKEN": "sk-live-0123456789"})


# In memory and not on disk


def drift(notebook: Any) -> list[str]:
    return [warning for warning in notebook.capture("import mine").report.warnings if warning.startswith("module mine")]


SOURCE = """
import functools, json as j
LIMIT = 3
NAMES = ["a"]
counter = 0
class A:
    size = 1
    def run(self): return LIMIT
    @property
    def half(self): return 1
    @staticmethod
    def make(): return A()
@functools.lru_cache
def cached(x): return x
@functools.wraps(cached)
def wrapped(x): return cached(x)
def plain(x): return [x + i for i in range(3)]
def count():
    global counter, made
    counter += 1
    made = 1
try:
    import missing_thing
except ImportError as error:
    missing_thing = None
for name in NAMES: pass
"""


def test_a_module_that_is_what_its_file_says_is_not_mentioned(notebook: Any, write: Write) -> None:
    write({"mine.py": SOURCE})
    notebook.run("import mine\nmine.count()\nmine.cached(1)\nmine.NAMES.append('b')")
    assert drift(notebook) == []


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ("mine.extra = 1", "extra: only in memory"),
        ("mine.plain = lambda x: x", "plain: replaced"),
        ("mine.LIMIT = 5", "LIMIT: changed"),
        ("def run(self): return 0\nmine.A.run = run", "A.run: replaced"),
        ("mine.A.added = lambda self: 1", "A.added: only in memory"),
    ],
)
def test_what_was_patched_into_a_module_is_told(notebook: Any, write: Write, change: str, told: str) -> None:
    write({"mine.py": SOURCE})
    notebook.run(f"import mine\n{change}")
    assert drift(notebook) == [f"module mine is not in memory what it is on disk ({told}); the job runs the file"]


def test_a_file_that_was_edited_after_its_import_is_told(notebook: Any, write: Write) -> None:
    write({"mine.py": SOURCE})
    notebook.run("import mine")
    write({"mine.py": "# moved\n\n" + SOURCE})
    assert drift(notebook) == []
    write({"mine.py": SOURCE.replace("x + i", "x - i").replace("return LIMIT", "return -LIMIT")})
    (line,) = drift(notebook)
    assert "A.run: changed, plain: changed" in line
    write({"mine.py": "def ("})
    assert "its file has a syntax error" in drift(notebook)[0]
