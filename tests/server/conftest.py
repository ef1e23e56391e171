"""A real Jupyter server with the extension, over a real local backend, for each test."""

from __future__ import annotations

import asyncio
import json
import time
import uuid
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from pytest_jupyter.jupyter_server import *  # noqa: F403 - its fixtures are for this folder alone
from tornado.httpclient import HTTPClientError

from jupyter_konduktor.backends.local.backend import LocalBackend
from jupyter_konduktor.server.service import Service
from jupyter_konduktor.state import JobRecord, JobState
from jupyter_konduktor.task import Task

PATIENCE = 30.0
Ask = Callable[..., Awaitable[tuple[int, Any]]]


class Jobs:
    """The jobs of the server's user, made beside the server as a kernel does it."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.backend = LocalBackend(root, grace=1.0)

    def submit(self, script: str, *, origin: dict[str, Any] | None = None, **options: Any) -> JobRecord:
        task = Task.create(kind="command", command=["sh", "-c", script], **{"name": "t", "cpus": 0.01, **options})
        return self.backend.submit(task, None, key=uuid.uuid4().hex, origin=origin)

    def wait(self, record: JobRecord, *states: JobState) -> JobRecord:
        wanted = states or (JobState.SUCCEEDED, JobState.FAILED, JobState.CANCELLED)
        end = time.monotonic() + PATIENCE
        while (now := self.backend.get(record.name)).state not in wanted:
            assert time.monotonic() < end, f"still {now.state}"
            time.sleep(0.01)
        return now

    def wait_output(self, record: JobRecord) -> None:
        end = time.monotonic() + PATIENCE
        while not self.backend.read_log(record.name).data:
            assert time.monotonic() < end
            time.sleep(0.01)

    def run(self, script: str, **options: Any) -> JobRecord:
        return self.wait(self.submit(script, **options))

    def end(self) -> None:
        for record in self.backend.list():
            if not record.state.final:
                self.backend.cancel(record.name)
        end = time.monotonic() + PATIENCE
        while any(not record.state.final for record in self.backend.list()):
            assert time.monotonic() < end
            time.sleep(0.02)
        self.backend.close()


@pytest.fixture
def jobs(tmp_path: Path) -> Iterator[Jobs]:
    found = Jobs(tmp_path / "jobs")
    yield found
    found.end()


@pytest.fixture(autouse=True)
def local_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep the server's jobs in the folder that `jobs` writes to."""
    monkeypatch.setenv("JUPYTER_KONDUKTOR_LOCAL_DIR", str(tmp_path / "jobs"))


@pytest.fixture
def jp_server_config() -> dict[str, Any]:
    extensions = {"jupyter_konduktor": True}
    return {"ServerApp": {"jpserver_extensions": extensions, "allow_unauthenticated_access": False}}


@pytest.fixture
def service(jp_serverapp: Any) -> Service:
    found: Service = jp_serverapp.extension_manager.extension_points["jupyter_konduktor"].app.service
    return found


@pytest.fixture
def ask(jp_fetch: Any) -> Ask:
    """Call a route and give the status and the JSON of the answer."""

    async def call(*parts: str, method: str = "GET", **params: Any) -> tuple[int, Any]:
        body = "{}" if method == "POST" else None
        try:
            response = await jp_fetch("konduktor", *parts, params=params, method=method, body=body)
        except HTTPClientError as error:
            return error.code, json.loads(error.response.body if error.response else "null")
        return response.code, json.loads(response.body) if response.body else None

    return call


async def until(look: Callable[[], Awaitable[Any]], holds: Callable[[Any], bool], patience: float = PATIENCE) -> Any:
    """Look again and again until something holds."""
    end = time.monotonic() + patience
    while not holds(seen := await look()):
        assert time.monotonic() < end, seen
        await asyncio.sleep(0.02)
    return seen


@pytest.fixture
def wait_until() -> Callable[..., Awaitable[Any]]:
    return until
