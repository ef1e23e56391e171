"""What is made of a job, and how often, by a cluster whose answers are lost on the way."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from jupyter_konduktor.backends.kubernetes import words
from jupyter_konduktor.backends.kubernetes.sending import submission
from jupyter_konduktor.backends.kubernetes.sending.choice import Choice, Chooser
from jupyter_konduktor.backends.kubernetes.sending.submission import Submission
from jupyter_konduktor.backends.kubernetes.shelf.shelf import Shelf
from jupyter_konduktor.backends.kubernetes.site import Site
from jupyter_konduktor.config import Settings
from jupyter_konduktor.errors import AccessDeniedError, ApiError, SubmitError, UnreachableError
from jupyter_konduktor.runner import codec
from jupyter_konduktor.task import Task
from tests.unit.kubernetes.cluster import Cluster, Reply
from tests.unit.kubernetes.pods import payload_of
from tests.unit.kubernetes.test_choice import cluster

TASK = Task.create(kind="command", command=["true"], name="train", image="python:3.12", queue="only")
CELL = replace(TASK, kind="cell", command=None)


class KilledError(BaseException):
    """Stands for SIGKILL."""


@dataclass
class Making(Cluster):
    """Keeps what is made; each of `losses` is what becomes of the answer to one more request that makes a JobSet.

    Whoever makes an object whose name ends with `killed_at` is killed as it asks for it; `refusal` is the answer to
    whoever makes a Secret.
    """

    made: dict[str, dict[str, Any]] = field(default_factory=dict)
    losses: list[Exception] = field(default_factory=list)
    stores: bool = True
    killed_at: str | None = None
    refusal: Exception | None = None

    def get(self, path: str, query: Any = None) -> dict[str, Any]:
        return self.made[path] if path in self.made else super().get(path, query)

    def post(self, path: str, body: dict[str, Any], query: Any = None) -> Reply:
        if query or path.endswith("reviews"):
            return super().post(path, body, query)
        self._note(f"POST {path}")
        place = f"{path}/{body['metadata']['name']}"
        if self.killed_at is not None and place.endswith(self.killed_at):
            raise KilledError
        if self.refusal is not None and path.endswith("secrets"):
            raise self.refusal
        if place in self.made:
            raise ApiError(f"{place} already exists", status=409, reason="AlreadyExists")
        loss = self.losses.pop(0) if self.losses and path.endswith("jobsets") else None
        if loss is None or self.stores:
            metadata = {**body["metadata"], "uid": f"uid-{len(self.made)}", "resourceVersion": "1"}
            self.made[place] = {**body, "metadata": metadata}
        if loss is not None:
            raise loss
        return Reply(self.made[place])

    def delete(self, path: str, *, uid: str) -> None:
        if self.killed_at is not None:
            raise KilledError  # who is not there any more takes nothing back
        assert self.made.pop(path)["metadata"]["uid"] == uid


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(submission, "PATIENCE", 0.5)


@pytest.fixture
def place() -> Making:
    found = cluster("only")
    return Making(objects=found.objects)


@pytest.fixture
def sending(place: Making, tmp_path: Path) -> Iterator[Submission]:
    site = Site(place, Shelf.open("cluster", "team", base=tmp_path))  # type: ignore[arg-type]
    yield Submission(site, replace(Settings(), image="python:3.12"))
    site.shelf.close()


def cell(seed: int = 0) -> Any:
    pack = codec.dump({"data": random.Random(seed).randbytes(40_000)}, main={})
    pack.header["meta"] = {"kind": "cell"}
    return payload_of(pack)


def jobsets(place: Making) -> list[str]:
    return [path.rpartition("/")[2] for path in place.made if path.startswith(words.jobsets("team"))]


@pytest.mark.parametrize("status", [500, 502, 503, 504])
@pytest.mark.parametrize("stores", [True, False])
def test_an_answer_of_trouble_on_the_way_makes_one_job(
    place: Making, sending: Submission, status: int, *, stores: bool
) -> None:
    place.losses, place.stores = [ApiError("the server is in trouble", status=status)], stores
    jobset, made = sending.submit(TASK, None, key="k", origin={})
    assert made
    assert jobsets(place) == [jobset["metadata"]["name"]]
    assert sending.submit(TASK, None, key="k", origin={})[1] is False


def test_what_is_never_found_out_is_not_called_refused(place: Making, sending: Submission) -> None:
    place.losses, place.stores = [ApiError("etcdserver: request timed out", status=500)] * 9, False
    with pytest.raises(UnreachableError, match=r"not known whether train-\w+ was made: etcdserver") as caught:
        sending.submit(TASK, None, key="k", origin={})
    assert "jk.attach" in caught.value.advice


@pytest.mark.parametrize(
    "text",
    [
        'Internal error occurred: failed calling webhook "mjobset.kb.io": connection refused',
        'admission webhook "vjobset.kb.io" denied the request: panic',
    ],
)
def test_a_webhook_that_says_no_is_heard_at_once(place: Making, sending: Submission, text: str) -> None:
    place.losses, place.stores = [ApiError(text, status=500, reason="InternalError")], False
    with pytest.raises(SubmitError, match=r"The cluster refused the job: .*webhook"):
        sending.submit(TASK, None, key="k", origin={})
    assert place.count("jobsets") == 1


@pytest.mark.parametrize("elsewhere", [True, False])
def test_where_nothing_but_the_jobset_goes_it_holds_all_there_is(
    place: Making, sending: Submission, monkeypatch: pytest.MonkeyPatch, *, elsewhere: bool
) -> None:
    choice = Choice("only", "cq", 1.0, (), elsewhere=elsewhere)
    monkeypatch.setattr(Chooser, "choose", lambda chooser, task: choice)
    jobset, _ = sending.submit(CELL, cell(), key="k", origin={})
    others = [path for path in place.made if not path.startswith(words.jobsets("team"))]
    (container,) = jobset["spec"]["replicatedJobs"][0]["template"]["spec"]["template"]["spec"]["containers"]
    names = {variable["name"] for variable in container["env"]}
    assert ({"KONDUKTOR_PAYLOAD_RUNNER", "KONDUKTOR_PAYLOAD"} <= names) is elsewhere
    assert [path.split("/")[5] for path in others] == ([] if elsewhere else ["configmaps", "secrets"])


# --- what a kernel that was killed did not get to


def secrets(place: Making) -> dict[str, dict[str, Any]]:
    return {path.rpartition("/")[2]: made for path, made in place.made.items() if "/secrets/" in path}


def killed(place: Making, sending: Submission, task: Task, at: str) -> None:
    place.killed_at = at
    with pytest.raises(KilledError):
        sending.submit(task, cell(), key="k", origin={})
    place.killed_at = None


def test_a_secret_that_was_not_made_before_the_kernel_was_killed_is_made(place: Making, sending: Submission) -> None:
    killed(place, sending, CELL, "-payload")
    assert (len(jobsets(place)), secrets(place)) == (1, {})
    for _ in range(2):
        jobset, made = sending.submit(CELL, cell(), key="k", origin={})
        assert not made
    ((name, secret),) = secrets(place).items()
    assert name == f"{jobset['metadata']['name']}-payload"
    assert [owner["uid"] for owner in secret["metadata"]["ownerReferences"]] == [jobset["metadata"]["uid"]]
    assert len(jobsets(place)) == 1


@pytest.mark.parametrize("at", ["-payload", "-links"])
def test_the_urls_of_a_store_are_made_too(place: Making, tmp_path: Path, sending: Submission, at: str) -> None:
    shared = tmp_path / "shared"
    sending = Submission(sending._site, replace(Settings(), image="python:3.12", store=shared.as_uri(), quiet=True))
    task = replace(CELL, volumes={"claim": str(shared)})
    killed(place, sending, task, at)
    for _ in range(2):
        jobset, made = sending.submit(task, cell(), key="k", origin={})
        assert not made
    name, uid = jobset["metadata"]["name"], jobset["metadata"]["uid"]
    assert set(secrets(place)) == {f"{name}-payload", f"{name}-links"}
    assert {secret["metadata"]["ownerReferences"][0]["uid"] for secret in secrets(place).values()} == {uid}
    told = sending._site.shelf.keep(uid, name).links()
    assert told is not None, "they are signed anew while it waits"
    assert told[0]["secret"] == f"{name}-links"


def test_a_jobset_gets_no_secret_with_other_bytes_than_it_waits_for(place: Making, sending: Submission) -> None:
    killed(place, sending, CELL, "-payload")
    assert sending.submit(CELL, cell(seed=1), key="k", origin={})[1] is False
    assert secrets(place) == {}


@pytest.mark.parametrize("reason", ["Forbidden", "Invalid"])
def test_a_job_that_is_there_is_found_where_secrets_are_refused_meanwhile(
    place: Making, sending: Submission, reason: str
) -> None:
    """A quota is looked at before it is seen that the name is taken."""
    jobset, _ = sending.submit(CELL, cell(), key="k", origin={})
    error = AccessDeniedError if reason == "Forbidden" else ApiError
    place.refusal = error("exceeded quota", status=403, reason=reason)
    assert sending.submit(CELL, cell(), key="k", origin={}) == (jobset, False)
    assert len(jobsets(place)) == 1


def test_a_jobset_whose_secret_is_refused_is_taken_back(place: Making, sending: Submission) -> None:
    place.refusal = AccessDeniedError("exceeded quota", status=403, reason="Forbidden")
    with pytest.raises(AccessDeniedError):
        sending.submit(CELL, cell(), key="k", origin={})
    assert jobsets(place) == []
