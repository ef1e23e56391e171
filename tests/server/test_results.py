"""What a job left, as text, and the items of a map; made by remote functions as a kernel makes them."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import jupyter_konduktor as jk
from jupyter_konduktor import session
from jupyter_konduktor.state import JobState


@pytest.fixture(autouse=True)
def remote_jobs(jobs: Any) -> Iterator[None]:
    yield
    session.close()


def start(kind: Any, *args: Any) -> Any:
    """Submit a job that returns what a type makes of some arguments."""

    def made() -> Any:
        return kind(*args)

    return jk.remote(made).submit()


async def left(ask: Any, job: Any) -> dict[str, Any]:
    job.wait()
    code, found = await ask("jobs", "local", str(job), "result")
    assert code == 200
    return dict(found)


async def test_json_is_shown_as_it_is(ask: Any) -> None:
    found = await left(ask, start(dict, [("a", [1, 2]), ("b", "ü")]))
    assert (found["kind"], found["exit_code"]) == ("json", 0)
    assert json.loads(found["text"]) == {"a": [1, 2], "b": "ü"}
    assert '"b": "ü"' in found["text"]
    own = await left(ask, start(dict, {"$konduktor": 1}))
    assert json.loads(own["text"]) == {"$konduktor": 1}


async def test_pickles_are_named_and_never_loaded(ask: Any, tmp_path: Path) -> None:
    job = start(set, range(1, 4))
    found = await left(ask, job)
    assert found["kind"] == "pickle"
    assert found["text"].startswith("A pickled value of ")
    assert f"%konduktor result {job}" in found["text"]
    trap = tmp_path / "trap"

    class Trap:
        def __init__(self, path: str) -> None:
            self.path = path

        def __reduce__(self) -> Any:
            return open, (self.path, "w")

    job = start(Trap, str(trap))
    trapped = await left(ask, job)
    assert trapped["kind"] == "pickle", trapped["text"]
    assert not trap.exists()
    big = await left(ask, start(bytes, 3_000_000))
    assert "of 3 MB" in big["text"]


async def test_error_is_its_traceback(ask: Any) -> None:
    found = await left(ask, start(int, "many"))
    assert (found["kind"], found["exit_code"]) == ("error", 1)
    assert found["text"].rstrip().endswith("ValueError: invalid literal for int() with base 10: 'many'")
    hostile = await left(ask, start(int, "\x1b]52;c;eA==\x07" * 2))
    assert "\x07" not in hostile["text"]


async def test_scripts_and_jobs_without_a_result(ask: Any, jobs: Any) -> None:
    def run(script: str) -> str:
        return str(jobs.run(script).name)

    reported = run("""echo '[1, 2]' > "$KONDUKTOR_OUTPUT_DIR/result.json" """)
    assert json.loads((await ask("jobs", "local", reported, "result"))[1]["text"]) == [1, 2]
    none = (await ask("jobs", "local", run("true"), "result"))[1]
    assert (none["kind"], none["exit_code"]) == ("none", 0)
    failed = (await ask("jobs", "local", run("exit 3"), "result"))[1]
    assert (failed["kind"], failed["exit_code"]) == ("error", 3)
    large = run("""head -c 9000 /dev/zero | tr '\\0' 1 > "$KONDUKTOR_OUTPUT_DIR/result.json" """)
    assert "9,000 bytes" in (await ask("jobs", "local", large, "result"))[1]["text"]
    broken = run("""echo '{' > "$KONDUKTOR_OUTPUT_DIR/result.json" """)
    assert (await ask("jobs", "local", broken, "result"))[1]["kind"] == "error"


async def test_job_that_goes_on_or_was_cancelled_has_none(ask: Any, jobs: Any) -> None:
    record = jobs.submit("sleep 60")
    jobs.wait(record, JobState.RUNNING)
    found = (await ask("jobs", "local", record.name, "result"))[1]
    assert (found["kind"], found["text"]) == ("none", f"{record.name} has not ended: it is Running")
    jobs.backend.cancel(record.name)
    jobs.wait(record)
    found = (await ask("jobs", "local", record.name, "result"))[1]
    assert (found["kind"], found["text"]) == ("none", f"{record.name} was cancelled")


async def test_map_tells_how_many_items_have_ended(ask: Any, wait_until: Any) -> None:
    await ask("jobs")
    group = jk.remote(time.sleep).map([0, 0, 60])

    async def look() -> Any:
        return (await ask("jobs"))[1]["jobs"][0]

    row = await wait_until(look, lambda row: row["items"] == [3, 2])
    assert (row["name"], row["kind"], row["state"]) == (str(group.job), "map", "Running")
    group.cancel()
    await wait_until(look, lambda row: row["state"] == "Cancelled")
    assert (await ask("jobs", "local", str(group.job)))[1]["items"] == [3, 2]
    done = jk.remote(abs).map([-1, -2])
    assert done.result() == [1, 2]
    assert (await ask("jobs", "local", str(done.job)))[1]["items"] == [2, 2]
