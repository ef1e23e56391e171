"""Backends that cannot be seen, and what is told of them while the others go on."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml

from jupyter_konduktor.backends.kubernetes import backend as kubernetes
from jupyter_konduktor.backends.kubernetes.api import client as api
from jupyter_konduktor.backends.protocol import Event, JobGone, Reach
from jupyter_konduktor.errors import UnreachableError
from jupyter_konduktor.server import place as places
from jupyter_konduktor.server import service as services
from jupyter_konduktor.state import JobRecord, JobState, QueueInfo
from tests.server.crowd import insert


class Cluster:
    """A backend that says what it is told to."""

    name = "kubernetes"
    place = "test, namespace team"

    def __init__(self) -> None:
        self.records: list[JobRecord] = []
        self.trouble: Exception | None = None
        self.tell: Callable[[Event], None] = lambda event: None
        self.closed = False
        self.listed: list[bool] = []

    def make(self, name: str, user: str = "me", version: int = 1, **fields: Any) -> JobRecord:
        known: dict[str, Any] = {"state": JobState.QUEUED, "created": 1.0, "origin": {"user_id": user}, **fields}
        return JobRecord(name, f"uid-{name}", "kubernetes", user=user, version=version, **known)

    def owns(self, record: JobRecord) -> bool:
        return record.origin["user_id"] == "me"

    def list(self, *, all_users: bool = False) -> list[JobRecord]:
        self.listed.append(all_users)
        if self.trouble is not None:
            raise self.trouble
        return [record for record in self.records if all_users or self.owns(record)]

    def get(self, name: str) -> JobRecord:
        return next(record for record in self.records if record.name == name)

    def watch(self, callback: Callable[[Event], None]) -> Any:
        self.tell = callback
        return SimpleNamespace(close=lambda: None)

    def queues(self) -> list[QueueInfo]:
        raise UnreachableError("The cluster does not answer", advice="Wait.")

    def close(self) -> None:
        self.closed = True


@pytest.fixture
def remote(monkeypatch: pytest.MonkeyPatch) -> Cluster:
    found, real = Cluster(), places.get_backend
    monkeypatch.setattr(places, "get_backend", lambda name, s: found if name == "kubernetes" else real(name, s))
    monkeypatch.setenv("JUPYTER_KONDUKTOR_BACKEND", "kubernetes")
    return found


def names(answer: dict[str, Any]) -> list[str]:
    return sorted(row["name"] for row in answer["jobs"])


def backend(answer: dict[str, Any], name: str = "kubernetes") -> dict[str, Any]:
    return next(entry for entry in answer["backends"] if entry["name"] == name)


async def test_both_places_are_listed_and_one_that_is_lost_keeps_what_is_known(
    ask: Any, jobs: Any, remote: Any
) -> None:
    local = jobs.run("true")
    remote.records = [remote.make("far")]
    _, first = await ask("jobs")
    assert names(first) == sorted(["far", local.name])
    assert backend(first)["place"] == "test, namespace team"
    remote.tell(Reach(1000.0, "no route to host"))
    _, lost = await ask("jobs")
    assert names(lost) == names(first)
    assert (backend(lost)["unknown_since"], backend(lost)["message"]) == (1000.0, "no route to host")
    assert backend(lost, "local")["unknown_since"] is None
    _, detail = await ask("jobs", "kubernetes", "far")
    assert "unknown since" in detail["status"]
    remote.tell(Reach(None))
    assert backend((await ask("jobs"))[1])["unknown_since"] is None


async def test_watch_brings_news_and_old_news_are_none(ask: Any, remote: Any) -> None:
    remote.records = [remote.make("a", version=5)]
    _, first = await ask("jobs")
    remote.tell(remote.make("a", version=4, state=JobState.RUNNING))
    remote.tell(remote.make("b", state=JobState.STARTING))
    remote.tell(JobGone("a", "uid-of-another"))
    _, then = await ask("jobs", epoch=first["epoch"], seq=first["seq"])
    assert (names(then), then["gone"]) == (["b"], [])
    remote.tell(JobGone("a", "uid-a"))
    _, last = await ask("jobs", epoch=then["epoch"], seq=then["seq"])
    assert (names(last), last["gone"]) == ([], ["kubernetes/a"])


async def test_cluster_that_is_slow_does_not_hold_up_the_list(
    ask: Any, jobs: Any, remote: Any, wait_until: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(services, "FIRST_LIST", 0.3)
    remote.records = [remote.make("far")]
    quick, answers = remote.list, threading.Event()

    def slow(**options: Any) -> list[JobRecord]:
        answers.wait(60)
        return list(quick(**options))

    remote.list = slow
    local = jobs.run("true")
    _, first = await ask("jobs")
    assert names(first) == [local.name]
    assert backend(first)["message"] == "It has not answered yet"
    answers.set()

    async def look() -> Any:
        return (await ask("jobs", epoch=first["epoch"], seq=first["seq"]))[1]

    then = await wait_until(look, lambda answer: "far" in names(answer))
    assert then["full"]  # what was there all the time is no news


async def test_cluster_that_cannot_be_listed_is_tried_again(
    ask: Any, jobs: Any, remote: Any, wait_until: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(places, "TRY_AGAIN", 0.1)
    remote.trouble = UnreachableError("The cluster does not answer", advice="Look at the VPN.")
    remote.records = [remote.make("far")]
    code, first = await ask("jobs")
    assert (code, names(first)) == (200, [])
    since = backend(first)["unknown_since"]
    assert abs(since - time.time()) < 5
    assert backend(first)["message"] == "The cluster does not answer. Look at the VPN."
    remote.trouble = UnreachableError("It still does not answer")

    async def look() -> Any:
        return (await ask("jobs"))[1]

    second = await wait_until(look, lambda answer: "still" in backend(answer)["message"])
    assert backend(second) == {**backend(first), "message": "It still does not answer", "unknown_since": since}
    remote.trouble = None
    third = await wait_until(look, lambda answer: names(answer) == ["far"])
    assert backend(third)["unknown_since"] is None


async def test_jobs_of_others_on_demand(ask: Any, jobs: Any, remote: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    remote.records = [remote.make("mine"), remote.make("theirs", user="you")]
    assert names((await ask("jobs"))[1]) == ["mine"]
    _, everyone = await ask("jobs", all_users=1)
    assert {row["name"]: row["mine"] for row in everyone["jobs"]} == {"mine": True, "theirs": False}
    await ask("jobs", all_users=1)
    assert remote.listed.count(True) == 1
    assert names((await ask("jobs"))[1]) == ["mine"]
    monkeypatch.setattr(places, "OTHERS_KEPT", 0.0)
    remote.records.pop()
    _, then = await ask("jobs", all_users=1, epoch=everyone["epoch"], seq=everyone["seq"])
    assert (names(then), then["gone"]) == ([], ["kubernetes/theirs"])
    remote.trouble = UnreachableError("Not now")
    _, troubled = await ask("jobs", all_users=1)
    assert names(troubled) == ["mine"]
    assert (backend(troubled)["message"], backend(troubled)["unknown_since"]) == ("Not now", None)
    assert backend((await ask("jobs"))[1])["message"] == ""  # mine are all there


async def test_queues_of_the_place_that_answers(ask: Any, jobs: Any, remote: Any) -> None:
    code, answer = await ask("queues")
    assert code == 200
    assert [queue["name"] for queue in answer["queues"]] == ["local"]
    assert answer["errors"] == ["kubernetes: The cluster does not answer. Wait."]


async def test_queues_of_a_place_that_is_slow_hold_up_no_others(
    ask: Any, jobs: Any, remote: Any, wait_until: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(services, "FIRST_LIST", 0.3)
    answers, asked = threading.Event(), []

    def slow() -> list[QueueInfo]:
        asked.append(time.monotonic())
        answers.wait(30)
        return [QueueInfo("team", 1, 2)]

    remote.queues = slow
    for _ in range(2):
        _, answer = await ask("queues")
        assert [queue["name"] for queue in answer["queues"]] == ["local"]
        assert answer["errors"] == ["kubernetes: It has not answered yet"]
    assert len(asked) == 1
    answers.set()

    async def look() -> Any:
        return (await ask("queues"))[1]

    answer = await wait_until(look, lambda answer: not answer["errors"])
    assert [queue["name"] for queue in answer["queues"]] == ["local", "team"]


async def test_cluster_behind_a_port_where_nobody_listens(
    ask: Any, jobs: Any, wait_until: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(api, "PATIENCE", 0.2)
    monkeypatch.setattr(kubernetes, "SYNC", 0.2)
    config = tmp_path / "kubeconfig"
    named = {
        "clusters": [{"name": "c", "cluster": {"server": "http://127.0.0.1:9"}}],
        "users": [{"name": "u", "user": {"token": "t"}}],
        "contexts": [{"name": "far", "context": {"cluster": "c", "user": "u", "namespace": "team"}}],
    }
    config.write_text(yaml.safe_dump({"apiVersion": "v1", "kind": "Config", "current-context": "far", **named}))
    monkeypatch.setenv("JUPYTER_KONDUKTOR_BACKEND", "kubernetes")
    monkeypatch.setenv("JUPYTER_KONDUKTOR_KUBECONFIG", str(config))
    local = jobs.run("true")

    async def look() -> Any:
        return (await ask("jobs"))[1]

    answer = await wait_until(look, lambda answer: "127.0.0.1:9" in backend(answer)["message"])
    assert names(answer) == [local.name]
    assert backend(answer)["unknown_since"] is not None
    assert backend(answer)["place"] == "far, namespace team"
    code, said = await ask("jobs", "kubernetes", "t-12345")
    assert code == 503
    assert "\n" not in said["message"]


async def test_no_cluster_is_configured(ask: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JUPYTER_KONDUKTOR_BACKEND", "kubernetes")
    monkeypatch.setenv("JUPYTER_KONDUKTOR_KUBECONFIG", str(tmp_path / "none"))
    _, answer = await ask("jobs")
    assert backend(answer, "local")["unknown_since"] is None
    assert str(tmp_path / "none") in backend(answer)["message"]
    assert (await ask("jobs", "kubernetes", "t-12345"))[0] == 503


async def test_store_of_a_later_version_says_so(ask: Any, jobs: Any) -> None:
    jobs.run("true")
    with sqlite3.connect(jobs.root / "jobs.sqlite") as database:
        database.execute("PRAGMA user_version = 99")
    database.close()
    code, answer = await ask("jobs")
    assert (code, answer["jobs"]) == (200, [])
    message = backend(answer, "local")["message"]
    assert "made by a later version of jupyter_konduktor (schema 99" in message
    assert "Upgrade jupyter_konduktor here" in message
    with sqlite3.connect(jobs.root / "jobs.sqlite") as database:
        database.execute("PRAGMA user_version = 1")
    database.close()


async def test_settings_that_cannot_be_read_and_their_mending(
    ask: Any, jobs: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(services, "READ_AGAIN", 0.0)
    record = jobs.run("true")
    monkeypatch.setenv("JUPYTER_KONDUKTOR_KEEP_DAYS", "many")
    code, answer = await ask("jobs")
    assert (code, answer["jobs"]) == (200, [])
    assert "keep_days" in backend(answer, "settings")["message"]
    assert (await ask("settings"))[0] == 503
    assert "keep_days" in (await ask("queues"))[1]["errors"][0]
    monkeypatch.setenv("JUPYTER_KONDUKTOR_KEEP_DAYS", "3")
    _, mended = await ask("jobs")
    assert names(mended) == [record.name]
    assert [entry["name"] for entry in mended["backends"]] == ["local"]
    monkeypatch.setenv("JUPYTER_KONDUKTOR_KEEP_DAYS", "4")
    _, other = await ask("jobs", epoch=mended["epoch"], seq=mended["seq"])
    assert other["full"]
    assert other["epoch"] != mended["epoch"]
    assert names(other) == [record.name]


async def test_ten_thousand_jobs(ask: Any, jobs: Any) -> None:
    insert(jobs.root, 9_000, queued=1_000)
    started = time.monotonic()
    _, first = await ask("jobs")
    assert len(first["jobs"]) == 10_000
    listed = time.monotonic()
    _, again = await ask("jobs")
    assert time.monotonic() - listed < 8  # most of it is the test reading it
    assert listed - started < 15
    assert sorted(row["position"] for row in again["jobs"] if row["state"] == "Queued") == list(range(1_000))
    new = jobs.submit("true")
    until = time.monotonic() + 10
    while not (found := (await ask("jobs", epoch=again["epoch"], seq=again["seq"]))[1])["jobs"]:
        assert time.monotonic() < until
        await asyncio.sleep(0.02)
    assert not found["full"]
    assert new.name in names(found)
    with jobs.backend._database() as store:
        store.connection.execute("DELETE FROM jobs WHERE state = 'Queued'")


async def test_the_jobs_of_this_machine_are_read_before_anyone_asks(jobs: Any, wait_until: Any) -> None:
    record = jobs.run("true")
    service = services.Service("", lambda *_: None)
    await service.warm()

    async def look() -> bool:
        return service._places["local"]._listed

    await wait_until(look, bool)
    assert record.name.encode() in await service.jobs()
    await service.close()


async def test_where_no_job_ever_was_nothing_is_made(tmp_path: Path) -> None:
    service = services.Service("", lambda *_: None)
    await service.warm()
    assert not service._places
    assert not (tmp_path / "jobs").exists()
    await service.close()
    await service.warm()  # whatever comes too late does no harm
