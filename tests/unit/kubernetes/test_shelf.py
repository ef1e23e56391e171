"""What is kept of jobs: by several processes at once, damaged, newer, on a full disk."""

from __future__ import annotations

import hashlib
import os
import sqlite3
import stat
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from jupyter_konduktor.backends.kubernetes.shelf.shelf import Shelf
from jupyter_konduktor.errors import StoreError
from jupyter_konduktor.runner.stream import Artifact, Item
from jupyter_konduktor.state import JobRecord, JobState, Transition

PROJECT = Path(__file__).parents[3]
RECORD = JobRecord(
    name="job",
    uid="u1",
    backend="kubernetes",
    state=JobState.RUNNING,
    reason="Admitted",
    message="runs",
    kind="cell",
    history=(Transition(1.0, JobState.QUEUED), Transition(2.5, JobState.RUNNING, "Started", "it runs", 1)),
    position=None,
    attempt=1,
    created=1.0,
    exit_code=None,
    user="me",
    queue="q",
    spec={"name": "job", "resources": {"nodes": 2}},
    origin={"cell": "c"},
    version=7,
)
ENDED = replace(RECORD, state=JobState.SUCCEEDED, exit_code=0, version=9)


@pytest.fixture
def shelf(tmp_path: Path) -> Iterator[Shelf]:
    made = Shelf.open("cluster", "team", base=tmp_path)
    yield made
    made.close()


def test_everything_is_private(shelf: Shelf, tmp_path: Path) -> None:
    job = shelf.keep("u1", "job")
    job.save(RECORD)
    writer = job.log(0, 0).claim()
    assert writer is not None
    writer.end()
    writer.release()
    job.carried(Artifact(hashlib.sha256(b"x").hexdigest(), 1, 1, b"x"), attempt=0)
    shelf.images().put("image", "sha256:0", "3.11")
    ours = list(tmp_path.rglob("*"))
    assert len(ours) > 8
    assert {str(path): oct(path.stat().st_mode) for path in ours if stat.S_IMODE(path.stat().st_mode) & 0o077} == {}


@pytest.mark.parametrize("name", ["../x", "a/b", "", ".", "x" * 300, "ü", "https://10.0.0.1:6443"])
def test_names_from_elsewhere_lead_nowhere_else(tmp_path: Path, name: str) -> None:
    shelf = Shelf.open(name, "team", base=tmp_path)
    shelf.keep(name, name).save(replace(RECORD, uid=name, name=name))
    assert shelf.root.parent.parent == tmp_path / "kubernetes"
    assert shelf.keep(name, name).folder.parent == shelf.root / "jobs"
    found = shelf.find(name)
    assert found is not None
    assert found.load() == replace(RECORD, uid=name, name=name)
    shelf.close()


# --- records


def test_record_comes_back_as_it_was(shelf: Shelf) -> None:
    job = shelf.keep("u1", "job")
    assert job.load() is None
    job.save(RECORD)
    assert job.load() == RECORD
    assert not job.submitted
    job.mark_submitted()
    assert job.submitted
    assert job.load() == replace(RECORD, recorded=True)


def test_newer_record_wins_and_a_final_one_stands(shelf: Shelf) -> None:
    job = shelf.keep("u1", "job")
    job.save(RECORD)
    job.save(replace(RECORD, version=6, message="older"))
    assert job.load() == RECORD
    job.save(replace(RECORD, message="as old"))
    assert job.load() == replace(RECORD, message="as old")
    job.save(ENDED)
    job.save(replace(RECORD, version=99))
    assert job.load() == ENDED


def test_job_is_found_by_its_name_and_the_newest_first(shelf: Shelf) -> None:
    assert shelf.find("job") is None
    for number in range(3):
        shelf.keep(f"u{number}", "job").save(replace(RECORD, uid=f"u{number}"))
    found = shelf.find("job")
    assert found is not None
    assert found.uid == "u2"
    assert [job.uid for job in shelf.jobs()] == ["u2", "u1", "u0"]


def test_looking_at_a_job_keeps_nothing_of_it(shelf: Shelf) -> None:
    job = shelf.keep("u1", "job")
    assert (job.load(), job.submitted, job.envelope(), job.items(), job.artifact("0" * 64)) == (
        None,
        False,
        None,
        [],
        None,
    )
    assert job.log(0, 0).size == 0
    assert shelf.jobs() == []
    assert not job.folder.exists()


def test_what_has_ended_is_listed(shelf: Shelf) -> None:
    shelf.keep("u1", "job").save(RECORD)
    shelf.keep("u2", "job").save(replace(ENDED, uid="u2"))
    shelf.keep("u2", "job").mark_submitted()
    assert shelf.finals() == [replace(ENDED, uid="u2", recorded=True)]
    assert shelf.final_uids() == {"u2"}


def test_marks_are_kept(shelf: Shelf) -> None:
    job = shelf.keep("u1", "job")
    job.note_cancelled()
    job.note_stopping(True)
    assert (job.cancelled, job.stopping) == (True, True)
    job.note_stopping(False)
    assert (job.cancelled, job.stopping) == (True, False)


def test_new_pod_of_a_node_is_a_new_attempt(shelf: Shelf) -> None:
    job, other = shelf.keep("u1", "job"), shelf.keep("u2", "job")
    assert job.attempt_of("p0", 0, 0) == 0
    assert job.attempt_of("p1", 1, 0) == 0
    assert job.attempt_of("p2", 0, 0) == 1
    assert job.attempt_of("p3", 0, 5) == 5
    assert job.attempt_of("p4", 0, 0) == 6
    assert job.attempt_of("p0", 0, 3) == 0
    assert other.attempt_of("q0", 0, 0) == 0


# --- what a job left


def test_first_envelope_of_an_attempt_stands(shelf: Shelf) -> None:
    job = shelf.keep("u1", "job")
    job.save_envelope(b'{"exit":0,"value":1}', attempt=0)
    job.save_envelope(b'{"exit":1}', attempt=0)
    assert job.envelope() == b'{"exit":0,"value":1}'
    job.save_envelope(b'{"exit":0,"value":2}', attempt=1)
    assert job.envelope() == b'{"exit":0,"value":2}'


def test_items_come_in_the_order_in_which_they_ended(shelf: Shelf) -> None:
    job = shelf.keep("u1", "job")
    job.save(RECORD)
    for index in (4, 2, 4):
        job.carried(Item(index, 1, 1, b"%d" % index), attempt=1)
    assert job.items() == [(4, b"4"), (2, b"2")]
    assert job.items(1) == [(2, b"2")]


def test_an_item_that_ended_well_is_not_replaced_by_a_later_attempt(shelf: Shelf) -> None:
    job = shelf.keep("u1", "job")
    for index, code in ((0, 0), (1, 1)):
        job.carried(Item(index, 1, 1, b'{"exit":%d,"value":"old"}' % code), attempt=0)
    first = job.items()
    for index in range(3):
        job.carried(Item(index, 1, 1, b'{"exit":0,"value":"new"}'), attempt=1)
    assert job.items()[:2] == first
    assert dict(job.items()) == {
        0: b'{"exit":0,"value":"old"}',
        1: b'{"exit":0,"value":"new"}',
        2: b'{"exit":0,"value":"new"}',
    }
    assert [index for index, _ in job.items(2)] == [1, 2]


def test_artifact_is_mapped_as_a_copy(shelf: Shelf) -> None:
    job, data = shelf.keep("u1", "job"), os.urandom(50_000)
    sha256 = hashlib.sha256(data).hexdigest()
    pieces = [Artifact(sha256, i + 1, 6, data[i * 9000 : (i + 1) * 9000]) for i in range(6)]
    for piece in (*pieces[:3], pieces[1], *pieces[3:]):  # one comes again
        assert job.artifact(sha256) is None
        assert job.carried(piece, attempt=0)
    found = job.artifact(sha256)
    assert found is not None
    assert bytes(found) == data
    found[0] = 1 - (found[0] & 1)
    assert bytes(job.artifact(sha256) or b"") == data
    empty = hashlib.sha256(b"").hexdigest()
    job.carried(Artifact(empty, 1, 1, b""), attempt=0)
    assert job.artifact(empty) == b""
    assert job.artifact("../jobs.sqlite") is None


def test_removed_job_leaves_nothing(shelf: Shelf) -> None:
    job = shelf.keep("u1", "job")
    job.save(ENDED)
    job.save_envelope(b"{}", attempt=0)
    writer = job.log(0, 0).claim()
    assert writer is not None
    writer.append(b"x" * 1000)
    writer.release()
    assert shelf.remove(job) >= 1000
    assert list((shelf.root / "jobs").iterdir()) == []
    assert (shelf.jobs(), job.envelope()) == ([], None)
    assert shelf.remove(job) == 0


def test_retention_takes_old_and_large_and_strays(shelf: Shelf) -> None:
    now = time.time()
    for number, age in enumerate((0, 1, 3, 9)):
        job = shelf.keep(f"u{number}", "job")
        ended = (Transition(now - age * 86400, JobState.SUCCEEDED),)
        job.save(replace(ENDED, uid=f"u{number}", history=ended))
        writer = job.log(0, 0).claim()
        assert writer is not None
        writer.append(b"x" * 1000)
        writer.release()
    shelf.keep("running", "job").save(replace(RECORD, uid="running"))
    stray = shelf.root / "jobs" / "stray"
    stray.mkdir()
    os.utime(stray, (1, 1))
    jobs, size = shelf.collect(keep_days=7, keep_bytes=2500, dry_run=True)
    assert (jobs, size >= 2000, len(shelf.jobs())) == (2, True, 5)
    assert shelf.collect(keep_days=7, keep_bytes=2500) == (jobs, size)
    assert [job.uid for job in shelf.jobs()] == ["running", "u1", "u0"]
    assert not stray.exists()


def test_images_are_remembered_and_damage_does_no_harm(shelf: Shelf) -> None:
    images = shelf.images()
    assert images.get("a") is None
    images.put("a", "sha256:1", "3.11.2")
    images.put("b", "sha256:2", "3.12.0")
    assert Shelf(shelf.root).images().get("a") == ("sha256:1", "3.11.2")
    images.put("c", "sha256:1", "3.11.2")
    images.put("a", "sha256:2", "3.12.0")  # it was pushed anew
    assert images.get("a") == ("sha256:2", "3.12.0")
    assert images.get("sha256:1") == images.get("c") == ("sha256:1", "3.11.2"), "of a digest it is known for good"
    for damaged in ('{"a": 1', '{"a": ["sha256:1", "3.11"]}', '{"digests": {"a": "x"}, "pythons": 3}', "[]"):
        (shelf.root.parent / "images.json").write_text(damaged)
        assert images.get("a") is None
    assert images.get("a") is None
    images.put("a", "sha256:3", "3.13.0")
    assert images.get("a") == ("sha256:3", "3.13.0")


# --- damage


def test_damaged_database_is_said_in_one_sentence(shelf: Shelf) -> None:
    shelf.keep("u1", "job").save(RECORD)
    shelf.close()
    for left in ("jobs.sqlite-wal", "jobs.sqlite-shm"):
        (shelf.root / left).unlink(missing_ok=True)
    (shelf.root / "jobs.sqlite").write_bytes(b"this is no database" * 1000)
    with pytest.raises(StoreError, match="damaged") as caught:
        Shelf(shelf.root)
    assert "mv " in str(caught.value)


def test_database_of_a_later_version_is_left_alone(shelf: Shelf) -> None:
    with closing(sqlite3.connect(shelf.root / "jobs.sqlite")) as connection:
        connection.execute("PRAGMA user_version = 99")
    with pytest.raises(StoreError, match="later version"):
        Shelf(shelf.root)


def test_record_that_cannot_be_read_harms_no_other(shelf: Shelf) -> None:
    for number in range(5):
        shelf.keep(f"u{number}", "job").save(replace(ENDED, uid=f"u{number}"))
    for number, text in enumerate(("", "{", "[]", '{"state":"Dancing"}')):
        with shelf.ledger.writing() as connection:
            connection.execute("UPDATE jobs SET record = ? WHERE uid = ?", (text, f"u{number}"))
        assert shelf.keep(f"u{number}", "job").load() is None
    assert [record.uid for record in shelf.finals()] == ["u4"]


def test_deleted_database_is_made_anew(shelf: Shelf) -> None:
    shelf.keep("u1", "job").save(RECORD)
    for path in shelf.root.glob("jobs.sqlite*"):
        path.unlink()
    assert shelf.keep("u1", "job").load() is None
    shelf.keep("u1", "job").save(RECORD)
    assert shelf.keep("u1", "job").load() == RECORD


def fill(place: Path) -> None:
    with (place / "more").open("wb", buffering=0) as file:
        try:
            while True:
                file.write(b"x" * 4096)
        except OSError:
            return


def test_full_disk_refuses_a_job_and_keeps_a_result_in_memory(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    place = tmp_path / "disk"
    place.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m,mode=0700", "none", str(place)], check=True)
    try:
        small = Shelf.open("cluster", "team", base=place)
        assert small.reserve("key", "name-1") == "name-1"
        (place / "ballast").write_bytes(b"x" * 600_000)
        with pytest.raises(StoreError, match="no space left"):
            small.reserve("other", "name-2")
        fill(place)
        job = small.keep("u1", "job")
        for _ in range(2):
            job.save_envelope(b'{"exit":0}' * 300, attempt=0)
        assert small.keep("u1", "job").envelope() == b'{"exit":0}' * 300
        assert caplog.text.count("in memory only") == 1
        small.close()
    finally:
        subprocess.run(["umount", "--lazy", str(place)], check=True)


# --- several at once

HURRY = """
import sys, time
sys.path.insert(0, PROJECT)
from dataclasses import replace
from pathlib import Path
from jupyter_konduktor.backends.kubernetes.shelf.shelf import Shelf
from tests.unit.kubernetes.test_shelf import RECORD
shelf = Shelf.open("cluster", "team", base=Path(ROOT))
names, worst = [], 0.0
for number in range(300):
    began = time.monotonic()
    names.append(shelf.reserve(f"key-{number}", f"name-{number}-{ME}"))
    shelf.keep(f"u{number}", names[-1]).save(replace(RECORD, uid=f"u{number}", name=names[-1], version=ME))
    worst = max(worst, time.monotonic() - began)
print(*names)
print(worst, file=sys.stderr)
"""


def test_several_processes_agree_and_lose_nothing(shelf: Shelf, tmp_path: Path) -> None:
    code = f"PROJECT, ROOT = {str(PROJECT)!r}, {str(tmp_path)!r}\n" + textwrap.dedent(HURRY)
    runs = [
        subprocess.Popen([sys.executable, "-c", f"ME = {me}\n{code}"], stdout=-1, stderr=-1, text=True)
        for me in (1, 2, 3)
    ]
    told = [run.communicate(timeout=60) for run in runs]
    assert [run.returncode for run in runs] == [0, 0, 0], told
    assert len({names for names, _ in told}) == 1
    assert max(float(worst) for _, worst in told) < 1.0
    assert {record.version for job in shelf.jobs() if (record := job.load())} == {3}
    assert len(shelf.jobs()) == 300


def test_fork_does_not_share_the_connection(shelf: Shelf) -> None:
    shelf.keep("u1", "job").save(RECORD)
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            shelf.keep("u2", "job").save(replace(RECORD, uid="u2"))
            code = 0
        finally:
            os._exit(code)
    assert os.waitpid(pid, 0)[1] == 0
    assert len(shelf.jobs()) == 2


def test_ten_thousand_jobs_are_listed_at_once(shelf: Shelf) -> None:
    shelf.keep("u", "job").save(ENDED)
    with shelf.ledger.writing() as connection:
        connection.execute(
            "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 10000) "
            "INSERT INTO jobs (uid, name, final, version, record, spec) "
            "SELECT 'x' || i, name, final, version, record, spec FROM jobs, n"
        )
    began = time.perf_counter()
    assert len(shelf.finals()) == 10001
    assert len(shelf.final_uids()) == 10001
    assert time.perf_counter() - began < 2.0
