"""Jobs as rows: what the front end reads, from records that may hold anything."""

from __future__ import annotations

import json
from typing import Any

import pytest

import jupyter_konduktor
from jupyter_konduktor.backends.lazy import LazyJson
from jupyter_konduktor.errors import (
    AccessDeniedError,
    ApiError,
    BackendError,
    ConfigError,
    JobNotFoundError,
    StoreError,
    UnreachableError,
)
from jupyter_konduktor.server import problems, rows
from jupyter_konduktor.server.place import _noticeable
from jupyter_konduktor.state import JobRecord, JobState, QueueInfo, Transition
from jupyter_konduktor.task import Task


def record(**fields: Any) -> JobRecord:
    return JobRecord(**{"name": "t-1", "uid": "u", "backend": "local", "state": JobState.QUEUED, **fields})


def row(found: JobRecord, **options: Any) -> dict[str, Any]:
    given = {"mine": True, "items": None, "cancelling": False, **options}
    made: dict[str, Any] = json.loads(rows.encode(rows.Rows("/home/me").row(found, **given)))
    return made


def test_row_says_what_was_asked_for_and_when() -> None:
    spec = Task.create(kind="function", gpus="H100:8", nodes=2, memory="16Gi", cpus=4).to_json()
    history = (Transition(1.0, JobState.QUEUED), Transition(2.0, JobState.RUNNING), Transition(3.5, JobState.FAILED))
    found = row(record(state=JobState.FAILED, spec=spec, history=history, created=0.5, exit_code=1, kind="function"))
    assert found["asked"] == {
        "text": "H100:8, 4 CPUs, 16 GiB, 2 nodes",
        "gpus": 8,
        "gpu_kind": "H100",
        "cpus": 4,
        "memory": 16 * 2**30,
        "nodes": 2,
    }
    assert (found["created"], found["started"], found["finished"], found["since"]) == (0.5, 2.0, 3.5, 3.5)
    assert found["id"] == "local/t-1"


def test_row_of_a_record_that_cannot_be_read() -> None:
    found = row(record(spec=LazyJson("no json"), origin=LazyJson("[]"), state=JobState.FAILED, reason="Damaged"))
    assert (found["asked"]["nodes"], found["notebook"], found["since"]) == (1, "", 0.0)
    assert rows.facts(record(origin={"jpy_session_name": 7, "cwd": ["x"]}))


def test_another_version_of_the_package_is_said() -> None:
    mine = record(origin={"version": jupyter_konduktor.__version__})
    assert "submitted with" not in dict(rows.facts(mine))
    other = dict(rows.facts(record(origin={"version": "9.9"})))
    assert other["submitted with"] == f"jupyter_konduktor 9.9; the server has {jupyter_konduktor.__version__}"


def test_cancelling_ends_with_the_job() -> None:
    assert row(record(), cancelling=True)["cancelling"]
    assert not row(record(state=JobState.CANCELLED), cancelling=True)["cancelling"]


@pytest.mark.parametrize(
    ("name", "root", "path"),
    [
        ("/home/me/a/b.ipynb", "/home/me", "a/b.ipynb"),
        ("/home/me/a/b.ipynb", "/home/me/", "a/b.ipynb"),
        ("a/b.ipynb", "/home/me", "a/b.ipynb"),
        ("/b.ipynb", "/", "b.ipynb"),
        ("/home/other/b.ipynb", "/home/me", ""),
        ("/home/me2/b.ipynb", "/home/me", ""),
        ("../b.ipynb", "/home/me", ""),
        ("/home/me/../you/b.ipynb", "/home/me", ""),
        ("/home/me/Console 1", "/home/me", ""),
        ("/home/me", "/home/me", ""),
        ("", "/home/me", ""),
        ("/home/me/b.ipynb", "", ""),
    ],
)
def test_notebook_is_a_path_below_the_root_or_nothing(name: str, root: str, path: str) -> None:
    assert rows.notebook(name, root) == path


def test_queue_without_flavors_has_one_without_a_name() -> None:
    plain = rows.queue("local", QueueInfo("local", resources={"cpu": (1.0, 2.0)}))
    assert plain["flavors"] == {"": {"cpu": {"used": 1.0, "total": 2.0}}}
    kinds = rows.queue(
        "kubernetes", QueueInfo("q", resources={"gpu": (1.0, None)}, flavors={"h100": {"gpu": (1.0, None)}})
    )
    assert kinds["flavors"] == {"h100": {"gpu": {"used": 1.0, "total": None}}}
    assert rows.queue("local", QueueInfo("q"))["flavors"] == {}


def test_steps_in_a_long_queue_are_told_as_far_as_they_matter() -> None:
    assert _noticeable(None, 5000)
    assert _noticeable(5, None)
    assert _noticeable(100, 99)
    assert not _noticeable(7, 7)
    assert not _noticeable(5000, 4990)
    assert _noticeable(5000, 4950)
    told = sum(_noticeable(position + 1, position) for position in range(10_000))
    assert told <= 101


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (problems.BadRequestError("x"), 400),
        (AccessDeniedError("x"), 403),
        (JobNotFoundError("x"), 404),
        (problems.ConflictError("x"), 409),
        (ApiError("x"), 502),
        (BackendError("x"), 502),
        (UnreachableError("x"), 503),
        (StoreError("x"), 503),
        (ConfigError("x"), 503),
    ],
)
def test_every_error_has_a_status(error: Any, status: int) -> None:
    assert problems.status(error) == status


def test_errors_are_one_line_with_their_advice() -> None:
    assert problems.line(BackendError("it is\nbroken", advice="Mend it.")) == "it is broken. Mend it."
    assert problems.line(BackendError("It is.", advice="Mend it.")) == "It is. Mend it."
