"""What the backend gives of jobs that it knows already, of its user and of others."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from jupyter_konduktor.backends.kubernetes.api import client
from jupyter_konduktor.backends.kubernetes.backend import KubernetesBackend
from jupyter_konduktor.backends.kubernetes.sending.manifest import User
from jupyter_konduktor.config import Settings
from jupyter_konduktor.errors import UnreachableError
from jupyter_konduktor.runner.envelope import build, encode_bytes
from jupyter_konduktor.state import JobRecord, JobState, Transition
from jupyter_konduktor.store.keys import object_key
from jupyter_konduktor.store.store import Store
from tests.unit.kubernetes.server import kubeconfig


@pytest.fixture
def backend(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[KubernetesBackend]:
    """Alice's, of a cluster that does not answer."""
    monkeypatch.setenv("JUPYTERHUB_USER", "alice")
    monkeypatch.setenv("JUPYTER_DATA_DIR", str(tmp_path / "data"))
    path = kubeconfig(tmp_path / "kubeconfig", "http://127.0.0.1:1")
    made = KubernetesBackend(Settings.load({"backend": "kubernetes", "kubeconfig": path}))
    yield made
    made.close()


def record(name: str, state: JobState = JobState.RUNNING, user: str = "alice", **fields: Any) -> JobRecord:
    whose = {"user_id": User.of(user).id}
    return JobRecord(name=name, uid=f"uid-{name}", backend="kubernetes", state=state, user=user, origin=whose, **fields)


def test_my_jobs_are_not_those_of_others_that_i_have_looked_at(backend: KubernetesBackend) -> None:
    for ended in (record("mine", JobState.SUCCEEDED), record("hers", JobState.SUCCEEDED, "bob")):
        backend.site.shelf.keep(ended.uid, ended.name).save(ended)
    watched = [record("mine-too"), record("hers-too", user="bob")]
    backend._engine = SimpleNamespace(records=lambda timeout: watched, close=lambda: None)  # type: ignore[assignment]
    assert [job.name for job in backend.list()] == ["mine", "mine-too"]


def test_what_has_ended_is_known_without_the_cluster(
    backend: KubernetesBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client, "PATIENCE", 0.2)
    ends = [
        record("cancelled", JobState.CANCELLED, reason="CancelledByUser"),
        record("deleted", JobState.CANCELLED, reason="Deleted"),
        record("failed", JobState.FAILED, reason="FailedJobs"),
        record("ran", JobState.SUCCEEDED, exit_code=0),
    ]
    for each in [*ends, record("runs")]:
        backend.site.shelf.keep(each.uid, each.name).save(each)
    assert [backend.get(each.name).state for each in ends] == [each.state for each in ends]
    with pytest.raises(UnreachableError):
        backend.get("runs")


# --- what a job that has failed says of its store

ENDED, DIGEST, OTHER = 1_700_000_000.0, "a" * 64, "b" * 64


def refusing(backend: KubernetesBackend, store: str, digest: str, *, sent: list[str]) -> None:
    """Keep a job that was sent these objects, and that ended because it found one of them damaged."""
    ended = record("refuses", JobState.FAILED, exit_code=1, history=(Transition(ENDED, JobState.FAILED, "FailedJobs"),))
    kept = backend.site.shelf.keep(ended.uid, ended.name)
    kept.save(ended)
    kept.save_links({"store": store, "secret": "refuses-links", "nonce": "n", "objects": sent})
    document = {"ename": "IntegrityError", "evalue": "", "refused": "integrity", "damaged": digest}
    value = encode_bytes("error", json.dumps(document).encode(), lambda digest, data: None)
    kept.save_envelope(build(1, value), attempt=0)


@pytest.mark.parametrize(
    ("digest", "sent", "written", "stays"),
    [
        pytest.param(DIGEST, [DIGEST, OTHER], ENDED - 60, False, id="damaged"),
        pytest.param(DIGEST, [DIGEST, OTHER], ENDED + 60, True, id="sent-anew"),
        pytest.param(DIGEST, [OTHER], ENDED - 60, True, id="not-its-own"),
        pytest.param(f"../../{DIGEST}", [DIGEST], ENDED - 60, True, id="no-digest"),
        pytest.param("", [DIGEST], ENDED - 60, True, id="none"),
    ],
)
def test_an_object_that_a_job_found_damaged_is_removed_once(
    backend: KubernetesBackend, tmp_path: Path, digest: str, sent: list[str], written: float, *, stays: bool
) -> None:
    store = Store((tmp_path / "shared").as_uri())
    for name in (DIGEST, OTHER):
        store.put(object_key(name), b"data")
        os.utime(tmp_path / "shared" / object_key(name), (written, written))
    refusing(backend, store.url, digest, sent=sent)
    assert backend.read_envelope("refuses") is not None
    assert [store.look(object_key(name)) is not None for name in (DIGEST, OTHER)] == [stays, True]


def test_a_store_that_is_not_there_hides_no_failure(
    backend: KubernetesBackend, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").touch()
    refusing(backend, (tmp_path / "file" / "below").as_uri(), DIGEST, sent=[DIGEST])
    assert backend.read_envelope("refuses") is not None
    assert "what refuses has found damaged is still in its store" in caplog.text
