"""What is kept of jobs, for how long, and how it is read again."""

from __future__ import annotations

import hashlib
import os
import time
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from jupyter_konduktor.backends.local.backend import LocalBackend
from jupyter_konduktor.backends.local.layout import Layout
from jupyter_konduktor.state import JobRecord, JobState

if TYPE_CHECKING:
    from tests.local.conftest import Local


def _payload(*buffers: bytes) -> Any:
    """Make what a submit reads of a payload."""
    objects = {hashlib.sha256(data).hexdigest(): memoryview(data) for data in buffers}
    return SimpleNamespace(data=b"pack", sha256=hashlib.sha256(b"pack").hexdigest(), objects=objects)


def _finished(local: Local, days_ago: float = 0, size: int = 0, *buffers: bytes) -> JobRecord:
    """Run a job with output of some size, as if it had ended some days ago."""
    script = f"head -c {size} /dev/zero"
    record = local.wait(local.backend.submit(local.task(script), _payload(*buffers), key=os.urandom(4).hex()))
    local.change(
        "UPDATE history SET time = time - ? WHERE job = (SELECT seq FROM jobs WHERE uid = ?)",
        days_ago * 86400,
        record.uid,
    )
    return record


def test_packages_that_no_job_uses_are_collected(local: Local) -> None:
    place = local.root / "packages"
    for name, days in (("old", 8), ("new", 6)):
        (place / name).mkdir(parents=True)
        (place / name / "big.py").write_bytes(bytes(1000))
        (place / f"{name}.lock").touch()
        (place / f"{name}.done").touch()
        os.utime(place / f"{name}.done", (0, time.time() - days * 86400))
    (place / "begun").mkdir()
    running = local.submit("exec sleep 600", packages=["pytest"])
    assert local.backend.collect_garbage() == (0, 0)
    local.backend.cancel(running.name)
    local.wait(running)
    assert local.backend.collect_garbage(dry_run=True)[1] >= 1000
    assert local.backend.collect_garbage()[1] >= 1000
    assert sorted(path.name for path in place.iterdir()) == ["new", "new.done", "new.lock"]


def test_old_jobs_are_collected_with_their_files(local: Local) -> None:
    old, new = _finished(local, 8, 1000), _finished(local, 6, 1000)
    running = local.wait(local.submit("exec sleep 600"), JobState.RUNNING)
    local.change("UPDATE history SET time = time - 1e7 WHERE job = (SELECT seq FROM jobs WHERE uid = ?)", running.uid)
    assert local.backend.collect_garbage(dry_run=True)[0] == 1
    assert len(local.backend.list()) == 3
    count, size = local.backend.collect_garbage()
    assert count == 1
    assert size >= 1000
    assert {record.uid for record in local.backend.list()} == {new.uid, running.uid}
    assert sorted(path.name for path in (local.root / "jobs").iterdir()) == sorted([new.name, running.name])
    assert old.name not in {path.name for path in (local.root / "jobs").iterdir()}


def test_too_much_is_collected_oldest_first(local: Local) -> None:
    made = [_finished(local, 3 - index, 100_000) for index in range(3)]
    keeper = LocalBackend(local.root, keep_bytes=250_000)
    assert keeper.collect_garbage()[0] == 1
    assert {record.uid for record in keeper.list()} == {record.uid for record in made[1:]}
    keeper.close()


def test_buffers_are_stored_once_and_kept_while_a_job_needs_them(local: Local) -> None:
    shared, single = os.urandom(70_000), os.urandom(70_000)
    layout = Layout(str(local.root))
    paths = {data: Path(layout.object(hashlib.sha256(data).hexdigest())) for data in (shared, single)}
    first = _finished(local, 9, 0, shared, single)
    inode = paths[shared].stat().st_ino
    second = _finished(local, 0, 0, shared)
    assert paths[shared].stat().st_ino == inode
    assert paths[shared].read_bytes() == shared
    for path in paths.values():
        os.utime(path, (time.time() - 7200,) * 2)
    local.backend.collect_garbage()
    assert [record.uid for record in local.backend.list()] == [second.uid]
    assert paths[shared].exists()
    assert not paths[single].exists()
    assert first.uid != second.uid


def test_buffer_of_the_wrong_size_is_written_again(local: Local) -> None:
    data = os.urandom(70_000)
    path = Path(Layout(str(local.root)).object(hashlib.sha256(data).hexdigest()))
    path.parent.mkdir(parents=True)
    path.write_bytes(b"half")
    _finished(local, 0, 0, data)
    assert path.read_bytes() == data


def test_artifact_is_memory_that_may_be_written(local: Local) -> None:
    data = os.urandom(70_000)
    record = _finished(local, 0, 0, data)
    sha256 = hashlib.sha256(data).hexdigest()
    view = local.backend.read_artifact(record.name, {"sha256": sha256, "size": len(data)})
    assert bytes(view) == data
    assert not view.readonly
    view[:4] = b"mine"
    assert bytes(local.backend.read_artifact(record.name, {"sha256": sha256, "size": len(data)})) == data


def test_empty_artifact_is_empty_memory(local: Local) -> None:
    record = local.run("true")
    sha256 = hashlib.sha256(b"").hexdigest()
    (local.folder(record) / "artifacts" / sha256).touch()
    assert bytes(local.backend.read_artifact(record.name, {"sha256": sha256, "size": 0})) == b""
