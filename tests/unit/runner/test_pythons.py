"""The runner runs as a bare folder, on every Python a job's image may have, with nothing installed in it."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from jupyter_konduktor.runner import codec
from jupyter_konduktor.runner.envelope import KEY, parse
from jupyter_konduktor.runner.stream import CarrierDecoder, Item
from tests.wheels import wheel

from .conftest import NONCE, cell_pack

RUNNER = Path(__file__).parents[3] / "jupyter_konduktor" / "runner"
VERSIONS = ["3.8", "3.9", "3.10", "3.11", "3.12", "3.13", "3.14"]


def interpreter(version):
    """Find a Python of a version; where a machine has none, no package brings one, so this skips in CI too."""
    candidates = [sys.executable, shutil.which(f"python{version}")]
    versions = Path(os.environ.get("PYENV_ROOT", "~/.pyenv")).expanduser() / "versions"
    candidates += sorted(map(str, versions.glob(f"{version}.*/bin/python")))
    for candidate in filter(None, candidates):
        done = subprocess.run(
            [candidate, "-c", "import sys; print('%d.%d' % sys.version_info[:2])"], capture_output=True, text=True
        )
        if done.stdout.strip() == version:
            return candidate
    pytest.skip(f"this machine has no Python {version}, and no package brings one")


@pytest.fixture(params=VERSIONS)
def old(request):
    return interpreter(request.param)


@pytest.fixture
def folder(tmp_path):
    """A copy of the runner's folder alone."""
    return Path(shutil.copytree(RUNNER, tmp_path / "r", ignore=shutil.ignore_patterns("__pycache__")))


def start_bare(start, folder, python, pack=None, **options):
    options["env"] = {"PYTHONDONTWRITEBYTECODE": "1"}
    return start(pack, python=python, driver=folder, environ={"PYTHONPATH": ""}, **options).wait()


def carried(job):
    """What readers see of the log, and the records in it."""
    return CarrierDecoder(NONCE).feed((job.folder / "stdout").read_bytes())


def test_a_cell_runs_and_gives_back_its_outputs(start, folder, old):
    code = "import sys\nprint('hello')\nm.append(2)\nx = {'a': (1, 2)}\nasync def f():\n    return 3\ny = await f()\ny"
    job = start_bare(start, folder, old, cell_pack(code, auto=["x", "y"], inputs={"m": [1]}))
    assert (job.folder / "stderr").read_bytes() == b""
    found = parse((job.folder / "termination").read_bytes())
    assert found.exit == 0
    assert job.load(found.value).values == {"x": {"a": (1, 2)}, "y": 3, "m": [1, 2]}
    assert carried(job)[0].startswith(b"hello\n\x1e" + NONCE.encode() + b"d")


def test_a_failure_is_told_the_same(start, folder, old):
    job = start_bare(start, folder, old, cell_pack("def f(x):\n    return 1 / x\nf(0)"))
    value = parse((job.folder / "termination").read_bytes()).value
    error = json.loads(job.read(value))
    assert value[KEY]["codec"] == "error"
    assert "Cell In[3], line 2, in f(x)\n" in error["traceback"]
    assert "----> 2     return 1 / x" in error["traceback"]


def test_a_command_runs_and_reports(start, folder, old):
    command = ["sh", "-c", 'echo hi; echo 5 > "$KONDUKTOR_OUTPUT_DIR/result.json"; exit 3']
    job = start_bare(start, folder, old, command=command, kind="command")
    assert (job.folder / "termination").read_bytes() == b'{"exit":3,"value":5}'
    visible, (start, _, end) = carried(job)
    assert visible == b"hi\n"
    assert start.record["python"].count(".") == 2
    assert end.record == {"t": "end"}
    assert job.process.returncode == 3


@pytest.mark.parametrize("function", ["abs", "os._exit"])
def test_items_of_a_map_are_shared_among_workers(start, folder, old, function):
    """Each is a container of its own; functions that go by their names need no cloudpickle."""
    called = {"abs": abs, "os._exit": os._exit}[function]
    meta = {"kind": "map", "function": function, "count": 4, "sources": {}, "modules": {}}
    values = {"__call__": (called, {}), **{f"item-{i}": (i or "x",) for i in range(4)}}
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        options = {"nodes": 2, "coordinator": ["127.0.0.1", probe.getsockname()[1]], "env": {}, "driver": folder}
    workers = [
        start(
            codec.dump(values, meta=meta),
            python=old,
            environ={"PYTHONPATH": "", "PYTHONDONTWRITEBYTECODE": "1", "JOB_COMPLETION_INDEX": str(rank)},
            **options,
        )
        for rank in range(2)
    ]
    assert workers[0].wait().process.returncode == 0  # the other may come too late; its Job would end it then
    found = parse((workers[0].folder / "termination").read_bytes())
    items = {record.identity: json.loads(record.data) for record in carried(workers[0])[1] if isinstance(record, Item)}
    if function == "abs":
        assert (found.exit, found.value) == (1, {"items": 4, "failed": 1})
        assert [items[i].get("value") for i in range(1, 4)] == [1, 2, 3]
    else:
        assert [items[i]["exit"] for i in range(4)] == [1, 1, 2, 3]


def test_setup_and_packages_come_first(start, folder, old, tmp_path):
    wheel(tmp_path / "wheels", "small", "2.0")
    code = "import small\nx = small.VERSION, open('made').read()"
    options = {"installer": {"index": ["none"], "wheels": [str(tmp_path / "wheels")]}, "setup": ["echo made > made"]}
    job = start_bare(start, folder, old, cell_pack(code, auto=["x"]), packages=["small>=2"], **options)
    assert job.load(parse((job.folder / "termination").read_bytes()).value).values == {"x": ("2.0", "made\n")}
    job = start_bare(start, folder, old, command=["true"], kind="command", setup=["exit 4"])
    found = parse((job.folder / "termination").read_bytes())
    assert (found.exit, json.loads(job.read(found.value))["refused"]) == (4, "setup")


def test_what_needs_cloudpickle_is_left_out_where_there_is_none(start, folder):
    python = interpreter("3.8")
    job = start_bare(start, folder, python, cell_pack("def f(): pass\nx = 1", auto=["f", "x"]))
    loaded = job.load(parse((job.folder / "termination").read_bytes()).value)
    assert loaded.values == {"x": 1}
    assert "cloudpickle" in loaded.header["meta"]["left_out"]["f"]


def test_a_payload_that_needs_cloudpickle_says_so_where_there_is_none(start, folder):
    from .conftest import function_pack

    bare = folder / "python"
    bare.write_text(f'#!/bin/sh\nexec "{sys.executable}" -S "$@"\n')  # without site-packages
    bare.chmod(0o755)
    job = start_bare(start, folder, str(bare), function_pack("class A:\n    pass\ndef f(a=A()):\n    return 1", "f()"))
    assert "cloudpickle" in json.loads(job.read(parse((job.folder / "termination").read_bytes()).value))["evalue"]


def test_nothing_is_imported_that_the_start_can_do_without():
    script = (
        "import sys; sys.path.insert(0, sys.argv[1]); before = set(sys.modules)\n"
        "import jupyter_konduktor.runner.child, jupyter_konduktor.runner.cell, jupyter_konduktor.runner.hooks\n"
        "print(*sorted(set(sys.modules) - before))"
    )
    done = subprocess.run(
        [sys.executable, "-S", "-c", script, str(RUNNER.parents[1])], capture_output=True, text=True, check=True
    )
    slow = {
        "typing",
        "dataclasses",
        "inspect",
        "logging",
        "subprocess",
        "asyncio",
        "ctypes",
        "traceback",
        "linecache",
        "threading",
        "ast",
    }
    assert not slow & set(done.stdout.split())
