"""The list of jobs, one job, its verbs: what a client is told of real jobs."""

from __future__ import annotations

import asyncio
import json
import time
from pathlib import Path
from typing import Any

import pytest

import jupyter_konduktor
from jupyter_konduktor.state import JobState


async def test_about_says_version_and_who(ask: Any) -> None:
    code, about = await ask("about")
    assert code == 200
    assert about["version"] == jupyter_konduktor.__version__
    assert about["api"] == 1
    assert about["user"]


async def test_jobs_that_were_there_before_and_changes_since(ask: Any, jobs: Any, wait_until: Any) -> None:
    old = jobs.run("true")
    _, first = await ask("jobs")
    assert first["full"]
    assert [row["name"] for row in first["jobs"]] == [old.name]
    assert first["backends"] == [{"name": "local", "place": "this machine", "unknown_since": None, "message": ""}]
    _, nothing = await ask("jobs", epoch=first["epoch"], seq=first["seq"])
    assert (nothing["full"], nothing["jobs"], nothing["gone"]) == (False, [], [])

    new = jobs.run("exit 3", gpus=None, name="failing")

    async def look() -> Any:
        return (await ask("jobs", epoch=first["epoch"], seq=first["seq"]))[1]

    then = await wait_until(look, lambda then: any(row["state"] == "Failed" for row in then["jobs"]))
    (row,) = then["jobs"]
    assert (row["id"], row["state"], row["exit_code"]) == (f"local/{new.name}", "Failed", 3)
    assert row["mine"]
    assert not then["full"]
    assert (await ask("jobs", epoch="another", seq=then["seq"]))[1]["full"]


async def test_change_is_announced_and_visible_at_once(ask: Any, jobs: Any, jp_serverapp: Any) -> None:
    seen: list[dict[str, Any]] = []
    told = asyncio.Event()

    async def listener(logger: Any, schema_id: str, data: dict[str, Any]) -> None:
        seen.append(data)
        told.set()

    _, first = await ask("jobs")
    schema = "https://events.jupyter.org/jupyter_konduktor/job/v1"
    jp_serverapp.event_logger.add_listener(schema_id=schema, listener=listener)
    started = time.monotonic()
    record = jobs.submit("sleep 60")
    states = []
    while time.monotonic() < started + 10 and "Running" not in states:
        await asyncio.wait_for(told.wait(), 5)
        told.clear()
        _, answer = await ask("jobs", epoch=first["epoch"], seq=first["seq"])
        states += [row["state"] for row in answer["jobs"]]
    running = next(t.time for t in jobs.backend.get(record.name).history if t.state is JobState.RUNNING)
    assert time.time() - running < 5
    assert set(seen[-1]) >= {"job", "epoch", "seq"}
    assert seen[-1]["job"] == f"local/{record.name}"
    assert seen[-1]["epoch"] == first["epoch"]


async def test_burst_of_changes_makes_few_events(ask: Any, service: Any, jp_serverapp: Any) -> None:
    seen = []

    async def listener(logger: Any, schema_id: str, data: dict[str, Any]) -> None:
        seen.append(time.monotonic())

    await ask("jobs")
    schema = "https://events.jupyter.org/jupyter_konduktor/job/v1"
    jp_serverapp.event_logger.add_listener(schema_id=schema, listener=listener)
    started = time.monotonic()
    for number in range(1000):
        service._feed.put(f"local/{number}", b"{}", mine=True)
    await asyncio.sleep(1.0)
    assert 1 <= len(seen) <= 2 + 10 * (time.monotonic() - started)
    assert len(seen) < 15


async def test_one_job_with_its_timeline(ask: Any, jobs: Any, jp_root_dir: Path) -> None:
    origin = {"jpy_session_name": str(jp_root_dir / "deep" / "a b.ipynb"), "cell_id": "c-1"}
    record = jobs.run("echo hi", origin=origin, env={"TOKEN_NAME": "secret-value"}, timeout="2h")
    code, detail = await ask("jobs", "local", record.name)
    assert code == 200
    assert [change["state"] for change in detail["history"]] == ["Queued", "Starting", "Running", "Succeeded"]
    assert (detail["notebook"], detail["cell"]) == ("deep/a b.ipynb", "c-1")
    assert dict(detail["facts"])["command"] == "sh -c echo hi"
    assert "TOKEN_NAME" in dict(detail["facts"])["environment"]
    assert "secret-value" not in json.dumps(detail)
    assert detail["status"].startswith("Succeeded")
    assert detail["attach"].endswith(f"%konduktor attach {record.name}")
    assert detail["actions"] == []


async def test_cancel_shows_until_it_has_ended(ask: Any, jobs: Any, wait_until: Any) -> None:
    record = jobs.submit("trap '' TERM; echo on; sleep 60 & wait; wait")
    jobs.wait(record, JobState.RUNNING)
    await ask("jobs")
    jobs.wait_output(record)
    assert (await ask("jobs", "local", record.name))[1]["actions"] == ["cancel", "stop"]
    assert await ask("jobs", "local", record.name, "cancel", method="POST") == (204, None)
    row = (await ask("jobs"))[1]["jobs"][0]
    assert row["cancelling"] or row["state"] == "Cancelled"

    async def look() -> Any:
        return (await ask("jobs"))[1]["jobs"][0]

    row = await wait_until(look, lambda row: row["state"] == "Cancelled")
    assert not row["cancelling"]
    code, answer = await ask("jobs", "local", record.name, "cancel", method="POST")
    assert (code, answer["message"]) == (409, f"{record.name} has ended: it is Cancelled")


async def test_stop_and_resume(ask: Any, jobs: Any) -> None:
    record = jobs.submit("sleep 60")
    jobs.wait(record, JobState.RUNNING)
    code, answer = await ask("jobs", "local", record.name, "resume", method="POST")
    assert code == 409
    assert "not stopped" in answer["message"]
    assert (await ask("jobs", "local", record.name, "stop", method="POST"))[0] == 204
    jobs.wait(record, JobState.STOPPED)
    assert (await ask("jobs", "local", record.name))[1]["actions"] == ["cancel", "resume"]
    assert (await ask("jobs", "local", record.name, "stop", method="POST"))[0] == 409
    assert (await ask("jobs", "local", record.name, "resume", method="POST"))[0] == 204
    jobs.wait(record, JobState.RUNNING)


async def test_job_that_is_deleted_is_gone(ask: Any, jobs: Any, wait_until: Any, service: Any) -> None:
    kept, ended = jobs.submit("sleep 60"), jobs.run("true")
    _, first = await ask("jobs")
    with jobs.backend._database() as store:
        store.connection.execute("DELETE FROM jobs WHERE uid = ?", (ended.uid,))
    service._places["local"]._due = 0.0  # a minute later

    async def look() -> Any:
        return (await ask("jobs", epoch=first["epoch"], seq=first["seq"]))[1]

    answer = await wait_until(look, lambda answer: answer["gone"])
    assert answer["gone"] == [f"local/{ended.name}"]
    _, now = await ask("jobs")
    assert [row["name"] for row in now["jobs"]] == [kept.name]


async def test_queues_and_settings(ask: Any, jobs: Any) -> None:
    jobs.wait(jobs.submit("sleep 60", cpus=0.5), JobState.RUNNING)
    _, answer = await ask("queues")
    (queue,) = answer["queues"]
    assert (queue["backend"], queue["name"], queue["running"], answer["errors"]) == ("local", "local", 1, [])
    assert queue["flavors"][""]["cpu"]["used"] == 0.5
    _, answer = await ask("settings")
    (local_dir,) = (row for row in answer["settings"] if row["key"] == "local_dir")
    assert (local_dir["value"], local_dir["source"]) == (
        str(jobs.root),
        "environment JUPYTER_KONDUKTOR_LOCAL_DIR",
    )


@pytest.mark.parametrize(
    ("parts", "params", "code", "said"),
    [
        (("jobs", "local", "nope-12345"), {}, 404, "no job 'nope-12345'"),
        (("jobs", "elsewhere", "nope-12345"), {}, 404, "Backends: local"),
        (("jobs", "local", "..%2Fpods"), {}, 404, "no job"),
        (("jobs",), {"seq": "x"}, 400, "seq is 'x'"),
        (("jobs",), {"seq": -1}, 400, "from 0"),
        (("jobs",), {"all_users": "yes"}, 400, "from 0 up to 1"),
        (("jobs", "local", "JOB", "log"), {"limit": 0}, 400, "limit is '0'"),
        (("jobs", "local", "JOB", "log"), {"offset": "end"}, 400, "offset is 'end'"),
        (("jobs", "local", "JOB", "log"), {"node": 1}, 400, "node is 1"),
        (("jobs", "local", "JOB", "log"), {"attempt": 7}, 400, "attempt is 7"),
        (("jobs", "local", "JOB", "log", "search"), {}, 400, "text is ''"),
        (("jobs", "local", "JOB", "log", "download"), {"node": 1}, 400, "node is 1"),
        (("jobs", "local", "JOB", "log", "stream"), {"node": 1}, 400, "node is 1"),
        (("jobs", "local", "nope-12345", "log", "stream"), {}, 404, "no job"),
    ],
)
async def test_what_is_wrong_is_said_in_one_line(
    ask: Any, jobs: Any, parts: tuple[str, ...], params: dict[str, Any], code: int, said: str
) -> None:
    record = jobs.run("true")
    found, answer = await ask(*(record.name if part == "JOB" else part for part in parts), **params)
    assert found == code
    assert said in answer["message"]
    assert "\n" not in answer["message"]
    assert set(answer) == {"message"}


async def test_our_own_failure_shows_no_traceback(ask: Any, service: Any) -> None:
    service.about = lambda: 1 / 0
    assert await ask("about") == (500, {"message": "The server has failed at this; its log tells more"})


async def test_two_loads_do_no_harm(ask: Any, jp_serverapp: Any) -> None:
    _, before = await ask("jobs")
    jp_serverapp.extension_manager.load_extension("jupyter_konduktor")
    code, after = await ask("jobs")
    assert (code, after["epoch"]) == (200, before["epoch"])


async def test_nothing_is_opened_before_someone_asks_and_nothing_stays_open(ask: Any, service: Any) -> None:
    assert service._places == {}
    await ask("jobs")
    (place,) = service._places.values()
    watch = place.backend._watches[0]
    await service.close()
    await service.close()
    assert not watch._thread.is_alive()
    code, answer = await ask("jobs")
    assert (code, answer["message"]) == (503, "The server is being stopped")
