"""Checkpoints: what an attempt leaves in the store, and what the next one finds, each the process of a pod."""

from __future__ import annotations

import json
import os
import signal
import time
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from jupyter_konduktor.runner import checkpoint, keeper, slots
from jupyter_konduktor.runner.keeper import Keeper
from jupyter_konduktor.runner.transfer import Links
from jupyter_konduktor.store.gc import find as find_old
from jupyter_konduktor.store.keys import checkpoint_key
from tests.store.test_pods import pod  # noqa: F401 - a fixture
from tests.unit.kubernetes.pods import UID
from tests.unit.runner.conftest import cell_pack, function_pack
from tests.unit.runner.test_pythons import interpreter

CRASHES_ONCE = """
import os, jupyter_konduktor as jk
def f():
    folder = jk.checkpoint_dir()
    path = os.path.join(folder, "deep", "step.txt")
    step = int(open(path).read()) if os.path.exists(path) else 0
    for step in range(step, 10):
        os.makedirs(os.path.dirname(path), exist_ok=True)
        open(path, "w").write(str(step + 1))
        open(os.path.join(folder, "weights"), "wb").write(bytes(range(256)) * 4000)
        if step == 4 and not os.path.exists(os.path.join(folder, "crashed")):
            open(os.path.join(folder, "crashed"), "w").close()
            CRASH
    return step, sorted(os.listdir(folder)), len(open(os.path.join(folder, "weights"), "rb").read())
"""
AT_END = (9, ["crashed", "deep", "weights"], 1_024_000)


def wait_for(holds: Any, seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.05)


@pytest.mark.parametrize(
    ("version", "crash"),
    [
        ("3.8", "os._exit(3)"),
        ("3.11", "raise ValueError(step)"),
        ("3.11", "os._exit(3)"),
        ("3.11", "os.kill(os.getpid(), 9)"),
        ("3.13", "os._exit(3)"),
    ],
)
def test_the_next_attempt_goes_on_where_one_has_failed(pod, version, crash):  # noqa: F811
    pack = cell_pack(CRASHES_ONCE.replace("CRASH", crash) + "value = f()", out=["value"])
    first = pod(pack, python=interpreter(version))
    assert first.code != 0
    assert "konduktor: kept the checkpoint: 3 files, 1.0 MiB\n" in first.text
    second = pod(pack, python=interpreter(version))
    assert second.code == 0, second.text
    assert "konduktor: restored the checkpoint: 3 files, 1.0 MiB, in " in second.text
    assert second.outputs == {"value": AT_END}


def test_an_attempt_that_is_told_to_end_keeps_what_it_wrote_last(pod):  # noqa: F811
    code = (
        "import jupyter_konduktor as jk, os, signal, sys, time\n"
        "path = os.path.join(jk.checkpoint_dir(), 'last')\n"
        "if os.path.exists(path):\n    value = open(path).read()\n"
        "else:\n"
        "    def end(number, frame):\n        open(path, 'w').write('written on SIGTERM')\n        sys.exit(0)\n"
        "    signal.signal(signal.SIGTERM, end)\n    print('ready', flush=True)\n    time.sleep(60)\n"
    )
    first = pod(cell_pack(code, auto=["value"]), wait=False)
    wait_for(lambda: b"ready" in first.log)
    first.process.send_signal(signal.SIGTERM)
    assert first.process.wait(30) == 0  # though it ended well, it is run again
    second = pod(cell_pack(code, out=["value"]))
    assert second.outputs == {"value": "written on SIGTERM"}


def test_a_pod_that_is_killed_leaves_what_was_whole_before(pod, gateway):  # noqa: F811
    script = "echo 1 > $KONDUKTOR_CHECKPOINT_DIR/one; echo ready; sleep 60"
    first = pod(command=["sh", "-c", f"mkdir -p $KONDUKTOR_CHECKPOINT_DIR; {script}"], wait=False)
    wait_for(
        lambda: gateway.requests("PUT", "/checkpoints/") and (gateway.files / "checkpoints" / UID / "index").exists()
    )
    first.process.kill()
    second = pod(command=["sh", "-c", "cat $KONDUKTOR_CHECKPOINT_DIR/one"])
    assert second.text.splitlines()[-1] == "1"


def test_a_job_that_ends_well_sends_nothing(pod, gateway):  # noqa: F811
    pack = function_pack(
        "def f():\n    import jupyter_konduktor as jk\n    open(jk.checkpoint_dir() + '/a', 'w')\n", "f()"
    )
    assert pod(pack).code == 0
    assert gateway.requests("PUT", "/checkpoints/") == []


def test_a_job_without_a_checkpoint_asks_for_none(pod, gateway):  # noqa: F811
    assert pod(function_pack("def f():\n    return 1\n", "f()")).code == 0
    assert gateway.requests("", "/checkpoints/") == []


def test_without_a_store_it_is_said_that_they_are_lost(pod):  # noqa: F811
    pack = function_pack("def f():\n    import jupyter_konduktor as jk\n    return jk.checkpoint_dir()[-11:]\n", "f()")
    job = pod(pack, store=None)
    assert job.envelope.value == "checkpoints"
    assert "no store is set: checkpoints are lost when this attempt ends" in job.text


@pytest.mark.parametrize("rank", [0, 1])
def test_a_node_whose_checkpoints_are_not_kept_is_told_so(pod, rank):  # noqa: F811
    pack = function_pack("def f():\n    import jupyter_konduktor as jk\n    return len(jk.checkpoint_dir())\n", "f()")
    job = pod(pack, rank=rank, nodes=2)
    assert job.code == 0, job.text
    assert ("only node 0's checkpoints are kept" in job.text) is (rank == 1)


@pytest.mark.parametrize("damage", ["tampered", "cut", "index", "path", "twice"])
def test_a_damaged_checkpoint_is_an_error_and_not_a_fresh_start(pod, gateway, damage):  # noqa: F811
    pack = function_pack(CRASHES_ONCE.replace("CRASH", "raise ValueError(step)"), "f()")
    assert pod(pack).code == 1
    folder = gateway.files / "checkpoints" / UID
    path = folder / ("index" if damage in ("index", "path", "twice") else "0")
    data = path.read_bytes()
    changed = {
        "tampered": b"X" + data[1:],
        "cut": data[:-1],
        "index": data[:-5],
        "path": data.replace(b'"weights"', b'"../../x"'),
        "twice": data.replace(b'"weights"', b'"crashed"'),
    }[damage]
    path.write_bytes(changed)
    second = pod(pack)
    assert second.code == 1
    assert "the checkpoint of the attempt before cannot be re" in second.error["evalue"]
    assert path.read_bytes() == changed
    assert not (second.folder / "x").exists()


# --- one keeper, looked at closely


class Attempt:
    """An attempt's directory and the keeper of it."""

    def __init__(self, folder: Path, store: Any) -> None:
        folder.mkdir()
        self.spec = {"job_dir": str(folder), "links": str(folder / "urls")}
        names = {name: checkpoint_key("uid", name) for name in slots.NAMES}
        life = timedelta(hours=1)
        signed = {
            verb: dict(zip(names, store.sign(verb.upper(), list(names.values()), life))) for verb in ("get", "put")
        }
        (folder / "urls").write_text(json.dumps(signed))
        self.said: list[str] = []
        self.folder = folder / "checkpoints"

    def restore(self) -> dict[str, bytes]:
        checkpoint.restore(self.spec)
        return {str(p.relative_to(self.folder)): p.read_bytes() for p in self.folder.rglob("*") if p.is_file()}

    def keep(self) -> str:
        return Keeper(self.spec, self.said.append).finish(keep=True)

    @property
    def entries(self) -> list[slots.Entry]:
        return checkpoint.find(Links(self.spec["links"]))


@pytest.fixture
def attempt(tmp_path, any_store):
    made = []

    def attempt() -> Attempt:
        made.append(Attempt(tmp_path / f"attempt-{len(made)}", any_store))
        return made[-1]

    return attempt


@pytest.fixture(params=["s3", "file"])
def any_store(request, tmp_path):
    from jupyter_konduktor.store.store import Store

    if request.param == "file":
        return Store((tmp_path / "shared").as_uri())
    return request.getfixturevalue("store")


@pytest.mark.parametrize(
    ("paths", "said"),
    [
        (["a", "a"], "cannot be read: 'a' lies where something else does"),
        (["a", "a/b"], "cannot be read: 'a/b' lies where something else does"),
        (["a/b", "a"], "cannot be read: 'a' lies where something else does"),
        (["a/b/c", "x", "a/b"], "cannot be read: 'a/b' lies where something else does"),
        (["a", "x" * 300], "cannot be restored: .*File name too long"),
    ],
)
def test_an_index_that_cannot_be_written_leaves_nothing(attempt, any_store, paths, said):
    index = slots.write_index([slots.Entry(path, 0, []) for path in paths])
    any_store.put(checkpoint_key("uid", slots.INDEX), index)
    one = attempt()
    with pytest.raises(checkpoint.CheckpointError, match=f"the checkpoint of the attempt before {said}"):
        one.restore()
    assert sorted(path.name for path in one.folder.parent.iterdir()) == ["checkpoints.lock", "urls"]


def test_what_has_not_changed_is_not_sent_again(attempt, monkeypatch):
    monkeypatch.setattr(slots, "CHUNK", 1000)
    one = attempt()
    assert one.restore() == {}
    first = {"a": os.urandom(2500), "b": os.urandom(10), "c/d": b""}
    for name, data in first.items():
        (one.folder / name).parent.mkdir(exist_ok=True)
        (one.folder / name).write_bytes(data)
    assert one.keep() == "kept the checkpoint: 3 files, 0.0 MiB"
    before = slots.used(one.entries)
    two = attempt()
    assert two.restore() == first
    assert two.keep() == ""  # it is all there
    (two.folder / "b").write_bytes(b"new")
    assert two.keep() != ""
    assert len(slots.used(two.entries) - before) == 1
    assert attempt().restore() == {**first, "b": b"new"}
    (two.folder / "a").unlink()
    two.keep()
    assert attempt().restore() == {"b": b"new", "c/d": b""}
    assert two.said == []


def test_one_more_file_each_time_fills_no_store(attempt, monkeypatch):
    """Each takes a place; before there is none left all of it is sent anew, to fewer."""
    monkeypatch.setattr(slots, "CHUNK", 1000)
    one, there = attempt(), {}
    one.restore()
    for number in range(80):
        there[f"epoch-{number:02}"] = os.urandom(600)
        (one.folder / f"epoch-{number:02}").write_bytes(there[f"epoch-{number:02}"])
        assert one.keep() != "", one.said
    assert attempt().restore() == there


def test_a_file_that_changes_while_it_is_sent_makes_no_checkpoint(attempt, monkeypatch):
    one = attempt()
    one.restore()
    (one.folder / "a").write_bytes(b"1" * 100)
    assert one.keep() != ""
    (one.folder / "a").write_bytes(b"2" * 100)
    blocks = keeper._Chunk._blocks

    def changing(self):
        yield from blocks(self)
        (one.folder / "a").write_bytes(b"3" * 100)

    with monkeypatch.context() as patch:
        patch.setattr(keeper._Chunk, "_blocks", changing)
        assert one.keep() == ""
    assert attempt().restore() == {"a": b"1" * 100}


def test_too_much_is_said_and_leaves_what_there_was(attempt, monkeypatch):
    one = attempt()
    one.restore()
    (one.folder / "a").write_bytes(b"1")
    assert one.keep() != ""
    monkeypatch.setattr(slots, "CHUNK_MOST", 10)
    monkeypatch.setattr(slots, "CHUNK", 10)
    (one.folder / "b").write_bytes(bytes(1000))
    assert one.keep() == ""
    assert one.said == ["the checkpoint cannot be kept: 1,000 bytes are new, and there is no place for so much"]
    assert attempt().restore() == {"a": b"1"}


def test_a_server_that_is_away_loses_nothing(attempt, gateway, monkeypatch, any_store):
    if any_store.address.folder is not None:
        pytest.skip("a folder has no server")
    monkeypatch.setattr("jupyter_konduktor.runner.transfer.PATIENCE", 1.0)
    one = attempt()
    one.restore()
    (one.folder / "a").write_bytes(b"1")
    gateway.kill()
    assert one.keep() == ""
    assert one.said
    with pytest.raises(checkpoint.CheckpointError, match="cannot be read"):
        attempt().restore()
    gateway.start()
    assert one.keep() != ""
    assert attempt().restore() == {"a": b"1"}


def test_old_checkpoints_are_collected(attempt, any_store):
    one = attempt()
    one.restore()
    (one.folder / "a").write_bytes(b"1")
    one.keep()
    assert find_old(any_store, keep=timedelta(0), alive={"uid"}).names == []
    found = find_old(any_store, keep=timedelta(0))
    assert (found.jobs, len(found.names)) == ({"uid"}, 2)
