"""The handlers: each reads its parameters, asks the service and writes the answer."""

from __future__ import annotations

import json
from contextlib import aclosing
from typing import Any

from jupyter_konduktor.server.routes.base import Handler, guarded
from jupyter_konduktor.server.service import VERBS

NAMESPACE = "konduktor"

PAGE = 256 * 1024
LARGEST_PAGE = 4 << 20
"""Bytes of a page of a log: by default, and at most."""

_MOST = 2**53 - 1  # what a number of JavaScript holds exactly


class AboutHandler(Handler):
    """Who answers."""

    @guarded
    async def get(self) -> None:
        self.finish(self.service.about())


class JobsHandler(Handler):
    """The list of jobs, or what changed in it."""

    @guarded
    async def get(self) -> None:
        epoch = self.get_query_argument("epoch", "")
        seq = self.whole("seq", 0, low=0, high=_MOST)
        everyone = self.whole("all_users", 0, low=0, high=1) == 1
        self.finish(await self.service.jobs(epoch, seq, everyone=everyone))


class JobHandler(Handler):
    """One job."""

    @guarded
    async def get(self, backend: str, name: str) -> None:
        self.finish(await self.service.job(backend, name))


class ResultHandler(Handler):
    """What a job left, as text."""

    @guarded
    async def get(self, backend: str, name: str) -> None:
        self.finish(await self.service.result(backend, name))


class VerbHandler(Handler):
    """Cancels, stops or resumes a job; this does count as activity."""

    _track_activity = True

    @guarded
    async def post(self, backend: str, name: str, verb: str) -> None:
        await self.service.act(backend, name, verb)
        self.set_status(204)
        self.finish()


class LogRoute(Handler):
    """What the routes of a log share."""

    def where(self) -> tuple[int, int | None]:
        """Read the node and the attempt, None for the last one."""
        attempt = self.whole("attempt", -1, low=0, high=_MOST)
        return self.whole("node", 0, low=0, high=_MOST), None if attempt < 0 else attempt


class LogHandler(LogRoute):
    """A page of a log."""

    @guarded
    async def get(self, backend: str, name: str) -> None:
        node, attempt = self.where()
        offset = self.whole("offset", 0, low=-_MOST, high=_MOST)
        limit = self.whole("limit", PAGE, low=1, high=LARGEST_PAGE)
        self.finish(await self.service.log(backend, name, node, attempt, offset, limit))


class SearchHandler(LogRoute):
    """The lines of a log that hold a text."""

    @guarded
    async def get(self, backend: str, name: str) -> None:
        text = self.get_query_argument("text", "", strip=False)
        self.finish(await self.service.search(backend, name, *self.where(), text))


class StreamHandler(LogRoute):
    """A log as it grows: a line of JSON for each piece, until it ends."""

    @guarded
    async def get(self, backend: str, name: str) -> None:
        offset = self.whole("offset", 0, low=-_MOST, high=_MOST)
        follower = await self.service.follow(backend, name, *self.where(), offset)
        self.on_connection_close = follower.close  # type: ignore[method-assign]
        async with aclosing(follower.pieces()) as pieces:
            async for piece in pieces:
                self.set_header("Content-Type", "application/x-ndjson")
                self.set_header("X-Accel-Buffering", "no")  # a proxy that gathers would hold the lines back
                self.write(json.dumps(piece) + "\n")
                await self.flush()  # and no more is read before the client has taken this
        self.finish(set_content_type="application/x-ndjson")


class DownloadHandler(LogRoute):
    """All of a log as a file."""

    @guarded
    async def get(self, backend: str, name: str) -> None:
        node, attempt = self.where()
        pieces = await self.service.download(backend, name, node, attempt)
        self.set_header("Content-Type", TEXT)
        self.set_header("Content-Disposition", f'attachment; filename="{name}-node{node}.log"')
        async with aclosing(pieces):
            async for piece in pieces:
                self.write(piece)
                await self.flush()
        self.finish(set_content_type=TEXT)


TEXT = "text/plain; charset=utf-8"


class QueuesHandler(Handler):
    """The queues with quota and use."""

    @guarded
    async def get(self) -> None:
        self.finish(await self.service.queues())


class SettingsHandler(Handler):
    """The settings that hold for the server."""

    @guarded
    async def get(self) -> None:
        self.finish(await self.service.settings())


_JOB = r"/jobs/([^/]+)/([^/]+)"

ROUTES: list[tuple[str, type[Handler]]] = [
    (r"/about", AboutHandler),
    (r"/jobs", JobsHandler),
    (_JOB, JobHandler),
    (rf"{_JOB}/result", ResultHandler),
    (rf"{_JOB}/log", LogHandler),
    (rf"{_JOB}/log/stream", StreamHandler),
    (rf"{_JOB}/log/search", SearchHandler),
    (rf"{_JOB}/log/download", DownloadHandler),
    (rf"{_JOB}/({'|'.join(VERBS)})", VerbHandler),
    (r"/queues", QueuesHandler),
    (r"/settings", SettingsHandler),
]
"""Every route below the server's base URL and `NAMESPACE`."""


def handlers(service: Any) -> list[tuple[str, type[Handler], dict[str, Any]]]:
    """Give the routes in the form that a server takes."""
    return [(f"/{NAMESPACE}{pattern}", handler, {"service": service}) for pattern, handler in ROUTES]
