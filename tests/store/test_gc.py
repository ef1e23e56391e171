"""What ``gc`` says of a store before anything is removed, as a terminal shows it."""

from __future__ import annotations

import os
import re
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest

from jupyter_konduktor import session
from jupyter_konduktor.backends.kubernetes.sending.depot import Depot
from jupyter_konduktor.cli import main
from jupyter_konduktor.config import Settings
from jupyter_konduktor.store import keys
from jupyter_konduktor.store.store import Store
from tests.store.conftest import BUCKET, PREFIX

SHA256 = "ab" * 32
KNOWN, ALIVE, STRANGE = "11111111-known", "22222222-alive", "33333333-strange"


@pytest.fixture(params=["s3", "file"])
def filled(request: pytest.FixtureRequest, tmp_path: Any) -> Store:
    """A store with what is old, and with what is not."""
    if request.param == "file":
        files, url = tmp_path / "shared", (tmp_path / "shared").as_uri()
    else:
        files, url = request.getfixturevalue("gateway").files, f"s3://{BUCKET}/{PREFIX}"
    made = Store(url)
    for days, size, key in (
        (30, 2_000_000, keys.result_key(KNOWN, "result/0/index")),
        (12, 500_000, keys.checkpoint_key(KNOWN, "checkpoint/index")),
        (30, 9_000_000, keys.result_key(ALIVE, "result/0/index")),
        (9, 1_000_000, keys.result_key(STRANGE, "result/0/index")),
        (1, 9_000_000, keys.result_key("young", "result/0/index")),
        (20, 700_000, keys.object_key(SHA256)),
        (8, 10, keys.lease_key("n1")),
        (9, 10, keys.lease_key("n2")),
    ):
        made.put(key, bytes(size))
        when = (datetime.now(UTC) - timedelta(days=days)).timestamp()
        os.utime(files / key, (when, when))
    return made


@pytest.fixture
def terminal(filled: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """The store belongs to a namespace with one job, of which, as of another, the name is known."""
    rows = [{"object": {"metadata": {"uid": ALIVE}}}]
    columns = {"columnDefinitions": [], "rows": rows}
    site: Any = SimpleNamespace(
        namespace="team",
        shelf=SimpleNamespace(jobs=lambda: [SimpleNamespace(uid=KNOWN, name="train-7fq2x")]),
        client=SimpleNamespace(pages=lambda path, table: [columns]),
    )
    depot = Depot(site, Settings.load({"store": filled.url}, environ={}))
    backend = SimpleNamespace(
        collect_garbage=lambda dry_run: (0, 0),
        collect_stored=depot.collect,
        list=list,
    )
    monkeypatch.setattr(session, "tracker", lambda: SimpleNamespace(backend=backend))


def lines(captured: pytest.CaptureFixture[str], *words: str) -> list[str]:
    assert main(["gc", *words]) == 0
    return [re.sub(r" {2,}", " | ", line) for line in captured.readouterr().out.splitlines()]


@pytest.mark.usefixtures("terminal")
def test_a_dry_run_lists_what_would_go_largest_first(filled: Store, capsys: pytest.CaptureFixture[str]) -> None:
    kept = sorted(found.key for found in filled.scan(""))
    assert lines(capsys, "--dry-run") == [
        "0 finished jobs with 0.0 MB would be removed",
        f"6 objects with 4.2 MB, results of 2 jobs among them would be removed from {filled.url}",
        "what | objects | size | last written",
        "job train-7fq2x | 2 | 2.5 MB | 12.0 days ago",
        f"job {STRANGE} | 1 | 1.0 MB | 9.0 days ago",
        "input abababababab | 1 | 0.7 MB | 20.0 days ago",
        "lists of inputs | 2 | 0.0 MB | 8.0 days ago",
    ]
    assert sorted(found.key for found in filled.scan("")) == kept
    assert lines(capsys)[1:] == [f"6 objects with 4.2 MB, results of 2 jobs among them removed from {filled.url}"]
    assert {found.key.split("/")[1] for found in filled.scan("")} == {ALIVE, "young"}
    assert lines(capsys, "--dry-run")[1:] == [f"0 objects with 0.0 MB would be removed from {filled.url}"]


@pytest.mark.usefixtures("terminal")
@pytest.mark.parametrize("filled", ["file"], indirect=True)
def test_of_many_the_largest_are_listed(filled: Store, capsys: pytest.CaptureFixture[str]) -> None:
    folder = filled.address.folder
    assert folder is not None
    for number in range(30):
        key = keys.result_key(f"job-{number:02}", "result/0/index")
        filled.put(key, bytes(10_000_000 + 100_000 * number))
        os.utime(folder / key, (0, 0))
    said = lines(capsys, "--dry-run")
    assert len(said) == 2 + 1 + 20 + 1
    assert said[3].startswith("job job-29 | 1 | 12.9 MB")
    assert said[-1] == "and 14 more with 108.7 MB"


def test_the_help_tells_of_the_store(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["gc", "--help"])
    assert "Where the setting `store` names a place, also remove what" in capsys.readouterr().out
