"""The place where jobs are kept: damaged, foreign, full, read-only, shared, renewed."""

from __future__ import annotations

import hashlib
import os
import shutil
import sqlite3
import stat
import subprocess
import sys
import threading
import time
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from jupyter_konduktor.backends.local import watch as watch_module
from jupyter_konduktor.backends.local.backend import LocalBackend
from jupyter_konduktor.backends.local.root import open_root
from jupyter_konduktor.backends.protocol import Event
from jupyter_konduktor.backends.root import NETWORK, filesystem, local_root
from jupyter_konduktor.errors import StoreError, SubmitError
from jupyter_konduktor.state import JobRecord, JobState
from jupyter_konduktor.task import Task

if TYPE_CHECKING:
    from tests.local.conftest import Local


def _payload(*buffers: bytes) -> Any:
    """Make what a submit reads of a payload."""
    objects = {hashlib.sha256(data).hexdigest(): memoryview(data) for data in buffers}
    return SimpleNamespace(data=b"pack", sha256=hashlib.sha256(b"pack").hexdigest(), objects=objects)


# --- the directory


def test_everything_is_private(local: Local) -> None:
    os.umask(os.umask(0))
    record = local.backend.submit(
        local.task("echo x; echo 1 > $KONDUKTOR_OUTPUT_DIR/result.json"), _payload(b"b"), key="k"
    )
    local.wait(record)
    ours = [path for path in (local.root, *local.root.rglob("*")) if path.name != "result.json"]
    assert len(ours) > 10
    modes = {path: stat.S_IMODE(path.lstat().st_mode) for path in ours}
    assert {path: oct(mode) for path, mode in modes.items() if mode & 0o077} == {}


def test_environment_is_forgotten_when_the_job_is_over(local: Local, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOME_SECRET", "swordfish-swordfish")
    filler = local.fill()
    waiting = [local.submit('[ "${#SOME_SECRET}" = 19 ]') for _ in range(2)]
    local.backend.cancel(waiting[1].name)
    local.backend.cancel(filler.name)
    assert [local.wait(record).state for record in waiting] == [JobState.SUCCEEDED, JobState.CANCELLED]
    files = [path for path in local.root.rglob("*") if path.is_file()]
    assert [
        path for path in files if b"swordfish-swordfish" in path.read_bytes() and "jobs.sqlite" not in path.name
    ] == []


@pytest.mark.parametrize("name", ["Zürich  Übung 日本", "a'b\"c;$(id)", "b\udcff"])
def test_odd_paths_work(tmp_path: Path, name: str) -> None:
    backend = LocalBackend(tmp_path / name / "jobs")
    done = threading.Event()
    watch = backend.watch(lambda event: done.set() if isinstance(event, JobRecord) and event.state.final else None)
    task = Task.create(kind="command", command=["sh", "-c", 'echo "$KONDUKTOR_OUTPUT_DIR"'])
    record = backend.submit(task, None, key="k")
    assert done.wait(20)
    watch.close()
    assert backend.get(record.name).state is JobState.SUCCEEDED
    assert os.fsencode(name) in backend.read_log(record.name).data
    backend.close()


def test_symbolic_link_to_a_directory_works(tmp_path: Path, local: Local) -> None:
    (tmp_path / "link").symlink_to(local.root)
    record = local.run("true")
    linked = LocalBackend(tmp_path / "link")
    assert linked.get(record.name).uid == record.uid
    linked.close()


def test_file_in_place_of_the_directory_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    for root in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(StoreError, match="file") as caught:
            LocalBackend(root)
        assert "local_dir" in caught.value.advice


@pytest.mark.needs("root")
def test_directory_of_another_user_is_refused(tmp_path: Path) -> None:
    root = tmp_path / "theirs"
    root.mkdir(mode=0o777)
    os.chown(root, 12345, -1)
    with pytest.raises(StoreError, match="another user"):
        LocalBackend(root)


def test_open_directory_is_made_private(tmp_path: Path) -> None:
    root = tmp_path / "open"
    root.mkdir()
    root.chmod(0o755)
    open_root(root)
    assert stat.S_IMODE(root.stat().st_mode) == 0o700


@pytest.mark.needs("root", "mount")
def test_read_only_directory_is_refused(small_disk: Path) -> None:
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    for root in (small_disk, small_disk / "new"):
        with pytest.raises(StoreError, match=r"Read-only|cannot be written"):
            LocalBackend(root)


@pytest.mark.needs("linux")
def test_network_file_system_is_avoided(tmp_path: Path) -> None:
    assert {"nfs", "nfs4", "cifs"} <= NETWORK
    kind = filesystem(tmp_path / "not" / "yet")
    assert kind == filesystem(tmp_path)
    there_already = local_root().exists()
    layout, notes = open_root(tmp_path / "jobs", network={kind})
    try:
        assert str(tmp_path) not in layout.root
        assert stat.S_IMODE(Path(layout.root).stat().st_mode) == 0o700
        (note,) = notes
        assert kind in note
        assert layout.root in note
    finally:
        if not there_already:
            shutil.rmtree(layout.root)


@pytest.mark.needs("root", "mount")
def test_filesystem_is_that_of_the_innermost_mount(small_disk: Path) -> None:
    assert filesystem(small_disk / "a" / "b") == "tmpfs"


# --- the database


@pytest.mark.parametrize("damage", ["garbage", "truncated"])
def test_damaged_database_is_a_clear_error(local: Local, damage: str) -> None:
    record = local.run("true")
    local.backend.close()
    local.until(lambda: not local.holders())
    path = local.root / "jobs.sqlite"
    path.write_bytes(b"not a database at all" * 1000 if damage == "garbage" else path.read_bytes()[:5000])
    for left in ("jobs.sqlite-wal", "jobs.sqlite-shm"):
        (local.root / left).unlink(missing_ok=True)
    with pytest.raises(StoreError, match="damaged") as caught:
        LocalBackend(local.root).list()
    assert "mv " in caught.value.advice
    path.unlink()
    with closing(LocalBackend(local.root)) as other:
        assert other.list() == []
    assert (local.folder(record) / "envelope.json").exists()


def test_newer_schema_is_refused_with_advice(local: Local) -> None:
    with closing(LocalBackend(local.root)) as other:
        other.list()
    local.change("PRAGMA user_version = 99")
    with pytest.raises(StoreError, match="later version") as caught:
        LocalBackend(local.root).list()
    assert "Upgrade" in caught.value.advice
    local.change("PRAGMA user_version = 1")


@pytest.mark.parametrize(
    "damage", ["spec = 'nonsense'", "origin = x'ff00'", "state = 'Weird'", "spec = '{\"resources\": 3}'"]
)
def test_damaged_row_is_flagged_and_the_others_load(local: Local, damage: str) -> None:
    bad, good = local.run("true"), local.run("true")
    local.change(f"UPDATE jobs SET {damage} WHERE uid = ?", bad.uid)
    found = {record.uid: record for record in local.backend.list()}
    assert found[good.uid].state is JobState.SUCCEEDED
    assert found[bad.uid].state.final
    if "resources" not in damage:
        assert found[bad.uid].reason == "Damaged"
    for reading in (local.backend.read_log, local.backend.read_envelope, local.backend.get):
        reading(bad.name)
    local.change("UPDATE jobs SET state = 'Succeeded', spec = '{}', origin = '{}' WHERE uid = ?", bad.uid)


def test_job_whose_directory_is_gone_has_no_log_and_no_result(local: Local) -> None:
    bad, good = local.run("echo x"), local.run("echo x")
    shutil.rmtree(local.root / "jobs" / bad.name)
    assert len(local.backend.list()) == 2
    chunk = local.backend.read_log(bad.name)
    assert (chunk.data, chunk.ended) == (b"", True)
    assert local.backend.read_envelope(bad.name) is None
    assert local.backend.read_envelope(good.name) is not None


def test_two_threads_and_a_fork_share_a_backend(local: Local) -> None:
    record = local.run("true")
    pid = os.fork()
    if pid == 0:
        try:
            os._exit(0 if local.backend.get(record.name).state is JobState.SUCCEEDED else 1)
        finally:
            os._exit(2)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    assert local.backend.get(record.name).state is JobState.SUCCEEDED


def test_clock_that_is_set_back_gives_no_negative_times(local: Local) -> None:
    record = local.wait(local.submit("exec sleep 600"), JobState.RUNNING)
    local.change("UPDATE history SET time = time + 3600")
    local.backend.cancel(record.name)
    times = [change.time for change in local.wait(record).history]
    assert times == sorted(times)


SUBMIT_MANY = """
import sys, time, uuid
from jupyter_konduktor.backends.local.backend import LocalBackend
from jupyter_konduktor.task import Task
backend = LocalBackend(root)
script = f"echo $KONDUKTOR_JOB_NAME >> {root.parent}/ran"
task = Task.create(kind="command", command=["sh", "-c", script], name="t")
print(*(backend.submit(task, None, key=uuid.uuid4().hex).name for _ in range(int(sys.argv[1]))))
"""


def test_two_kernels_on_one_store_lose_nothing(local: Local) -> None:
    each = 200
    preamble = (
        f"import sys, pathlib\nsys.path.insert(0, {str(Path.cwd())!r})\nroot = pathlib.Path({str(local.root)!r})\n"
    )
    command = [sys.executable, "-c", preamble + SUBMIT_MANY, str(each)]
    kernels = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    names = [name for kernel in kernels for name in kernel.communicate(timeout=60)[0].split()]
    assert len(set(names)) == 2 * each
    deadline = time.monotonic() + 90
    while local.backend.queues()[0].pending + local.backend.queues()[0].running and time.monotonic() < deadline:
        time.sleep(0.1)
    records = local.backend.list()
    assert {record.state for record in records} == {JobState.SUCCEEDED}
    assert sorted((local.root.parent / "ran").read_text().split()) == sorted(names)
    with closing(sqlite3.connect(local.root / "jobs.sqlite")) as connection:
        changes = connection.execute("SELECT state FROM history ORDER BY rowid").fetchall()
    running = most = 0
    for (state,) in changes:
        running += {"Starting": 1, "Succeeded": -1}.get(state, 0)
        most = max(most, running)
    assert most <= local.backend.queues()[0].resources["cpu"][1]


# --- a full disk


def _fill(place: Path) -> Path:
    path = place / "filler"
    with path.open("wb", buffering=0) as file:
        try:
            while True:
                file.write(bytes(512))
        except OSError:
            pass
    return path


@pytest.mark.needs("root", "mount")
def test_submit_on_a_full_disk_makes_nothing(small_disk: Path, local: Local) -> None:
    backend = LocalBackend(small_disk / "jobs")
    first = backend.submit(local.task("true"), None, key="first")
    local.until(lambda: backend.get(first.name).state.final)
    before = sorted(path.name for path in (small_disk / "jobs" / "jobs").iterdir())
    filler = _fill(small_disk)
    with pytest.raises(SubmitError, match="nothing was made"):
        backend.submit(local.task("true"), _payload(os.urandom(100_000)), key="second")
    assert [record.name for record in backend.list()] == [first.name]
    assert sorted(path.name for path in (small_disk / "jobs" / "jobs").iterdir()) == before
    filler.unlink()
    again = backend.submit(local.task("true"), None, key="second")
    assert local.until(lambda: backend.get(again.name), lambda now: now.state.final).state is JobState.SUCCEEDED
    backend.close()


@pytest.mark.needs("root", "mount")
def test_job_that_fills_the_disk_with_output_still_gives_its_result(small_disk: Path, local: Local) -> None:
    backend = LocalBackend(small_disk / "jobs")
    script = "echo 7 > $KONDUKTOR_OUTPUT_DIR/result.json; head -c 3000000 /dev/zero | tr '\\0' x; echo; echo end"
    record = backend.submit(local.task(script), None, key="k")
    ended = local.until(lambda: backend.get(record.name), lambda now: now.state.final)
    assert ended.state is JobState.SUCCEEDED
    assert backend.read_envelope(record.name) == b'{"exit":0,"value":7}'
    assert len(backend.read_log(record.name).data) < 2_000_000
    supervisor = small_disk / "jobs" / "jobs" / record.name / "supervisor.log"
    assert "No space left" in supervisor.read_text() or supervisor.stat().st_size == 0
    backend.close()


# --- watchers


def test_watch_heals_when_its_bell_is_deleted(local: Local, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watch_module, "HEARTBEAT", 0.2)
    told: list[Event] = []
    watch = local.backend.watch(told.append)
    shutil.rmtree(local.root / "watch")
    record = local.submit("true")
    local.until(lambda: any(isinstance(e, JobRecord) and e.uid == record.uid and e.state.final for e in told))
    local.until(lambda: any((local.root / "watch").glob("*.fifo")))
    watch.close()


def test_watchers_that_died_are_forgotten(local: Local) -> None:
    code = """
from jupyter_konduktor.backends.local.backend import LocalBackend
import os
LocalBackend(root).watch(print)
os.kill(os.getpid(), 9)
"""
    local.python(code)
    assert len(list((local.root / "watch").glob("*.fifo"))) == 1
    local.run("true")
    assert list((local.root / "watch").iterdir()) == []


def test_threads_and_descriptors_do_not_grow(local: Local) -> None:
    def held() -> tuple[int, int]:
        return threading.active_count(), len(list(Path("/proc/self/fd").iterdir()))

    local.run("true")
    before = held()
    for _ in range(3):
        watch = local.backend.watch(lambda event: None)
        records = [local.submit("true") for _ in range(5)]
        for record in records:
            local.wait(record)
        watch.close()
    assert held() == before


def test_idle_kernel_with_100_queued_jobs_costs_nothing(local: Local) -> None:
    local.fill()
    for _ in range(100):
        local.submit("true")
    told: list[Event] = []
    watch = local.backend.watch(told.append)
    local.until(lambda: len(told) >= 101)
    time.sleep(1)
    begun, cpu = time.monotonic(), time.process_time()
    time.sleep(2)
    used = (time.process_time() - cpu) / (time.monotonic() - begun)
    watch.close()
    assert used < 0.01


def test_a_thousand_finished_jobs_are_listed_at_once(local: Local) -> None:
    record = local.run("true")
    with closing(sqlite3.connect(local.root / "jobs.sqlite")) as connection, connection:
        columns = [name for _, name, *_ in connection.execute("PRAGMA table_info(jobs)")]
        changed = {"seq": "NULL", "name": "name || ?1", "uid": "uid || ?1", "key": "key || ?1", "version": "100 + ?1"}
        selected = ", ".join(changed.get(name, name) for name in columns)
        for number in range(1000):
            query = f"INSERT INTO jobs SELECT {selected} FROM jobs WHERE uid = ?2"
            seq = connection.execute(query, (number, record.uid)).lastrowid
            connection.execute(
                "INSERT INTO history SELECT ?, time, state, reason, message, attempt FROM history WHERE job = "
                "(SELECT seq FROM jobs WHERE uid = ?)",
                (seq, record.uid),
            )
    times = []  # of the processor: what else runs on this machine is no matter
    for _ in range(5):
        begun = time.thread_time()
        records = local.backend.list()
        times.append(time.thread_time() - begun)
    assert len(records) == 1001
    assert len(records[-1].history) == 4
    assert min(times) < 0.05
