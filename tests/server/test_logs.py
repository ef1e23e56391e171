"""Logs over HTTP: pages, the stream of a job that writes, what ends it, search and download."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from jupyter_konduktor.server import service as services
from jupyter_konduktor.state import JobState

Connect = Callable[[str], Awaitable[tuple[asyncio.StreamReader, asyncio.StreamWriter]]]


class Stream:
    """The lines of a stream as they come."""

    def __init__(self, fetch: Any, name: str, **params: Any) -> None:
        self.pieces: list[dict[str, Any]] = []
        self._rest = b""
        self.done = asyncio.ensure_future(
            fetch(
                *("konduktor", "jobs", "local", name, "log", "stream"),
                params=params,
                streaming_callback=self._take,
                request_timeout=60,
            )
        )

    def _take(self, chunk: bytes) -> None:
        *lines, self._rest = (self._rest + chunk).split(b"\n")
        self.pieces += [json.loads(line) for line in lines]

    @property
    def text(self) -> str:
        return "".join(piece["text"] for piece in self.pieces)

    async def until(self, text: str) -> None:
        end = time.monotonic() + 20
        while text not in self.text:
            assert time.monotonic() < end, self.pieces
            await asyncio.sleep(0.01)


async def test_pages_from_the_start_and_from_the_end(ask: Any, jobs: Any) -> None:
    record = jobs.run("seq 1 1000; printf 'the end'")
    text, offset, ended, pages = "", 0, False, 0
    while not ended:
        _, page = await ask("jobs", "local", record.name, "log", offset=offset, limit=500)
        assert page["start"] == offset
        assert page["text"].endswith("\n") or page["ended"]
        text, offset, ended, pages = text + page["text"], page["offset"], page["ended"], pages + 1
    assert text == "".join(f"{n}\n" for n in range(1, 1001)) + "the end"
    assert pages > 5
    assert page["size"] == offset
    _, last = await ask("jobs", "local", record.name, "log", offset=-60, limit=500)
    assert text.endswith(last["text"])
    assert text[: -len(last["text"])].endswith("\n")
    assert last["ended"]


async def test_stream_comes_as_the_job_writes_and_ends_with_it(
    jp_fetch: Any, ask: Any, jobs: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(services, "TICK", 60.0)  # what comes, comes because it was told of
    gate = tmp_path / "gate"
    record = jobs.submit(f"echo one; while [ ! -e {gate} ]; do sleep 0.01; done; echo two; printf three")
    stream = Stream(jp_fetch, record.name)
    await stream.until("one\n")
    assert not stream.pieces[-1]["ended"]
    opened = time.monotonic()
    gate.touch()
    await stream.until("two\n")
    assert time.monotonic() - opened < 5
    response = await stream.done
    assert response.headers["Content-Type"] == "application/x-ndjson"
    assert stream.text == "one\ntwo\nthree"
    assert stream.pieces[-1]["ended"]
    starts = [piece["start"] for piece in stream.pieces]
    assert starts == [0, *(piece["offset"] for piece in stream.pieces[:-1])]
    first = next(piece for piece in stream.pieces if piece["text"])
    again = Stream(jp_fetch, record.name, offset=first["offset"])
    await again.done
    assert again.text == "two\nthree"


@pytest.fixture
def connect(jp_serverapp: Any, http_server: Any, jp_base_url: str) -> Connect:
    """Ask for a stream over a bare connection, whose other end is in our hands."""

    async def call(name: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        port = next(iter(http_server._sockets.values())).getsockname()[1]
        reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=1024)
        head = (
            f"GET {jp_base_url}konduktor/jobs/local/{name}/log/stream HTTP/1.1",
            f"Host: 127.0.0.1:{port}",
            f"Authorization: token {jp_serverapp.identity_provider.token}",
        )
        writer.write("\r\n".join((*head, "", "")).encode())
        return reader, writer

    return call


async def test_stream_ends_when_nobody_listens_any_more(service: Any, connect: Connect, jobs: Any) -> None:
    reader, writer = await connect(jobs.submit("echo one; sleep 60").name)
    while b"one" not in await asyncio.wait_for(reader.readline(), 10):
        pass
    assert len(service._following) == 1
    writer.close()
    end = time.monotonic() + 5
    while service._following:
        assert time.monotonic() < end
        await asyncio.sleep(0.02)
    assert service._places["local"]._growth == {}


async def test_stream_ends_with_the_server(jp_fetch: Any, jobs: Any, jp_serverapp: Any) -> None:
    stream = Stream(jp_fetch, jobs.submit("echo one; sleep 60").name)
    await stream.until("one")
    await jp_serverapp.extension_manager.extension_points["jupyter_konduktor"].app.stop_extension()
    await asyncio.wait_for(stream.done, 5)


async def test_stream_ends_when_its_place_is_served_with_other_settings(
    jp_fetch: Any, ask: Any, jobs: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(services, "READ_AGAIN", 0.0)
    stream = Stream(jp_fetch, jobs.submit("echo one; sleep 60").name)
    await stream.until("one")
    monkeypatch.setenv("JUPYTER_KONDUKTOR_KEEP_DAYS", "3")
    await ask("jobs")
    await asyncio.wait_for(stream.done, 5)
    assert not stream.pieces[-1]["ended"]


async def test_reader_who_is_slow_holds_up_only_himself(service: Any, connect: Connect, ask: Any, jobs: Any) -> None:
    reader, writer = await connect(jobs.run("yes 'a line that is written very often' | head -c 60000000").name)
    await reader.read(100)
    await asyncio.sleep(1)
    (follower,) = service._following
    assert follower._tail._offset < 30_000_000
    started = time.monotonic()
    assert (await ask("jobs"))[0] == 200
    assert time.monotonic() - started < 5
    writer.close()


async def test_hostile_output_reaches_no_terminal(ask: Any, jobs: Any) -> None:
    record = jobs.run(
        r"printf '\033[31mred\033[0m \033]52;c;aGk=\007\033]8;;http://x\007link\033]8;;\007\033[6n\033[?1049h ok\n'"
    )
    _, page = await ask("jobs", "local", record.name, "log")
    assert page["text"] == "\x1b[31mred\x1b[0m link ok\n"


async def test_search_and_download(ask: Any, jp_fetch: Any, jobs: Any) -> None:
    record = jobs.run(r"seq 1 20; printf '\033[1mThe \033[32mError\033[0m here\n'; printf 'no error'")
    _, found = await ask("jobs", "local", record.name, "log", "search", text="ERROR")
    assert [(match["line"], match["text"]) for match in found["matches"]] == [(21, "The Error here"), (22, "no error")]
    assert not found["more"]
    _, page = await ask("jobs", "local", record.name, "log", offset=found["matches"][0]["offset"])
    assert page["text"].startswith("\x1b[1mThe")
    response = await jp_fetch("konduktor", "jobs", "local", record.name, "log", "download")
    assert response.headers["Content-Type"] == "text/plain; charset=utf-8"
    assert response.headers["Content-Disposition"] == f'attachment; filename="{record.name}-node0.log"'
    assert response.headers["X-Content-Type-Options"] == "nosniff"
    assert response.body.decode() == "".join(f"{n}\n" for n in range(1, 21)) + (
        "\x1b[1mThe \x1b[32mError\x1b[0m here\nno error"
    )


async def test_nodes_and_attempts(ask: Any, jobs: Any) -> None:
    record = jobs.submit("echo node $JOB_COMPLETION_INDEX; sleep 2; exit 1", nodes=2, max_restarts=1)
    record = jobs.wait(record, JobState.FAILED)
    assert record.attempt == 1
    for node in (0, 1):
        for attempt in (0, 1):
            _, page = await ask("jobs", "local", record.name, "log", node=node, attempt=attempt)
            assert (page["text"], page["ended"]) == (f"node {node}\n", True)


async def test_log_that_does_not_exist_yet(ask: Any, jobs: Any) -> None:
    blocker = jobs.submit("sleep 60", cpus=1000)
    jobs.wait(blocker, JobState.RUNNING)
    record = jobs.submit("true", cpus=1000)
    _, page = await ask("jobs", "local", record.name, "log", offset=-1000)
    assert page == {"text": "", "start": 0, "offset": 0, "size": 0, "ended": False}
