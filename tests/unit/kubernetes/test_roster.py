"""Which jobs are followed, and how it is found out what became of one that a list leaves out."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from jupyter_konduktor.backends.kubernetes import roster as rosters
from jupyter_konduktor.backends.kubernetes import words
from jupyter_konduktor.backends.kubernetes.api.reflector import Reflector
from jupyter_konduktor.backends.kubernetes.held import Held
from jupyter_konduktor.backends.kubernetes.positions import Positions
from jupyter_konduktor.backends.kubernetes.roster import Roster
from jupyter_konduktor.backends.kubernetes.shelf.shelf import Shelf
from jupyter_konduktor.backends.kubernetes.site import CHUNK, Site
from jupyter_konduktor.errors import ApiError, UnreachableError
from tests.unit.kubernetes.cluster import Cluster, denied
from tests.unit.kubernetes.test_engine import until


def jobset(name: str, **metadata: Any) -> dict[str, Any]:
    more = {"name": name, "uid": f"uid-{name}", "resourceVersion": "7", "labels": {words.MANAGED: "true"}}
    return {"metadata": {**more, **metadata}, "spec": {"suspend": True}}


class Following:
    """A roster whose calls are made at once, on a cluster that answers from a table."""

    def __init__(self, folder: Path) -> None:
        self.client = Cluster()
        self.site = Site(self.client, Shelf.open("cluster", "team", base=folder))  # type: ignore[arg-type]
        now: Callable[[Callable[[], None]], None] = lambda call: call()  # noqa: E731
        self.roster = Roster(
            self.site, Positions(), post=now, errand=now, tell=lambda event: None, reach=lambda kind, trouble: None
        )

    def follow(self, name: str, **metadata: Any) -> Held:
        obj = jobset(name, **metadata)
        self.roster.adopt(obj)
        return self.roster.held[obj["metadata"]["uid"]]

    def close(self) -> None:
        for reflector in self.roster.reflectors:
            reflector.close()
        self.site.shelf.close()


@pytest.fixture
def following(tmp_path: Path) -> Iterator[Following]:
    made = Following(tmp_path)
    yield made
    made.close()


@pytest.mark.parametrize(
    "trouble", [UnreachableError("no answer"), ApiError("who?", status=401), ApiError("busy", status=503)]
)
def test_a_job_that_could_not_be_read_is_read_again(
    following: Following, trouble: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rosters, "AGAIN", 0.1)
    held = following.follow("train")
    path = words.jobsets("team", "train")
    following.client.objects[path] = trouble
    for _ in range(3):
        following.roster.verify(held)
    assert not held.gone
    asked = following.client.count("train")
    until(lambda: following.client.count("train") >= asked + 3)
    assert following.client.count("train") < asked + 20, "three who ask are asked again as one"
    del following.client.objects[path]
    until(lambda: held.gone)


def test_whoever_may_only_list_jobs_finds_out_all_the_same(following: Following) -> None:
    held, listed = following.follow("train"), following.client.objects
    listed[words.jobsets("team", "train")] = denied()
    listed[words.jobsets("team")] = {"items": [jobset("train")]}
    following.roster.verify(held)
    assert not held.gone
    listed[words.jobsets("team")] = {"items": []}
    following.roster.verify(held)
    assert held.gone


@pytest.mark.parametrize("ours", [True, False])
def test_what_the_watches_select_fits_into_a_url(
    following: Following, monkeypatch: pytest.MonkeyPatch, *, ours: bool
) -> None:
    targets: dict[str, str | None] = {}

    def target(reflector: Reflector, selector: str | None, *, relist: bool, since: str = "") -> None:
        targets[reflector._kind] = selector

    monkeypatch.setattr(Reflector, "target", target)
    following.roster.begin()
    following.roster.retarget()
    assert (targets["pods"], targets["workloads"]) == (None, None)
    for number in range(CHUNK):
        following.follow(f"job-{number:04}", annotations={words.TASK: "{}"})
    following.roster.retarget()
    for kind, label in (("pods", words.JOBSET_UID), ("workloads", words.JOB_UID)):
        selector = targets[kind] or ""
        assert selector.startswith(f"{label} in (uid-job-0000,uid-job-0001,")
        assert len(selector) < 8000
    following.follow("one-more", annotations={words.TASK: "{}"} if ours else {})
    following.roster.retarget()
    mine = f",{words.USER_ID} in ({following.site.user})" if ours else ""
    assert targets["pods"] == words.JOBSET_UID + mine
    assert targets["workloads"] == words.JOB_UID


# --- whose its pods are


def pod(job: str = "uid-job") -> dict[str, Any]:
    owner = {"kind": "Job", "name": "train-workers-0", "uid": job, "controller": True}
    labels = {words.JOBSET_UID: "uid-train"}
    return {"metadata": {"name": "p", "uid": f"of-{job}", "labels": labels, "ownerReferences": [owner]}, "status": {}}


def job(uid: str = "uid-job", above: str = "uid-train") -> dict[str, Any]:
    owner = {"kind": "JobSet", "name": "train", "uid": above, "controller": True}
    return {"metadata": {"name": "train-workers-0", "uid": uid, "ownerReferences": [owner]}}


JOB = words.job("team", "train-workers-0")


@pytest.mark.parametrize(
    ("found", "whose"), [(job(), "uid-train"), (job(above="another"), "another"), (job("new"), ""), (None, "")]
)
def test_each_job_is_read_once_as_soon_as_there_is_a_pod(following: Following, found: Any, whose: str) -> None:
    following.follow("train")
    if found is not None:
        following.client.objects[JOB] = found
    for event in ("ADDED", "MODIFIED", "MODIFIED"):
        following.roster.changed("pods", event, pod())
    assert following.site.owners.known == {"uid-job": whose}
    assert following.client.count(JOB) == 1
    assert following.site.owners.unknown([pod()]) == {}


@pytest.mark.parametrize("how", ["by its rules", "at the request"])
def test_without_the_right_to_read_jobs_names_are_believed(following: Following, how: str) -> None:
    following.follow("train")
    following.client.objects[JOB] = denied()
    if how == "by its rules":
        following.client.rules = []
    following.roster.changed("pods", "ADDED", pod())
    assert following.site.owners.known == {"uid-job": None}


def test_a_job_that_cannot_be_read_at_the_moment_is_read_again(
    following: Following, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rosters, "AGAIN", 0.1)
    held = following.follow("train")
    following.client.objects[JOB] = ApiError("busy", status=503)
    following.roster.changed("pods", "ADDED", pod())
    assert following.site.owners.unknown(held.pods.values()) == {"uid-job": "train-workers-0"}
    following.roster.dirty.clear()
    following.client.objects[JOB] = job()
    until(lambda: following.roster.dirty == {"uid-train"})
    assert following.site.owners.known == {"uid-job": "uid-train"}
