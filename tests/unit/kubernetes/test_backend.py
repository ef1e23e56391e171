"""What the backend gives of jobs that it knows already, of its user and of others."""

from __future__ import annotations

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
from jupyter_konduktor.state import JobRecord, JobState
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
