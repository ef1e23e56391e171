"""What the routes answer, without a word of HTTP: jobs, logs and queues of every place, and the verbs of a job.

Every method is called on one event loop, and nothing blocks it: backends are asked in threads of their place.
"""

from __future__ import annotations

import asyncio
import getpass
import logging
import os
import re
import time
from collections.abc import AsyncGenerator, Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import jupyter_konduktor
from jupyter_konduktor.backends.root import default_root
from jupyter_konduktor.config import Settings
from jupyter_konduktor.errors import ConfigError, JobNotFoundError, KonduktorError, UnreachableError
from jupyter_konduktor.server import logs, problems, results, rows
from jupyter_konduktor.server.announcer import Announcer
from jupyter_konduktor.server.feed import Feed
from jupyter_konduktor.server.place import Place
from jupyter_konduktor.state import JobRecord

API = 1
"""The version of the routes; a front end that speaks another one says so."""

READ_AGAIN = 2.0
"""Seconds for which settings stand; their files may be edited while the server runs."""

FIRST_LIST = 2.0
"""Seconds that a list waits for a cluster; one that takes longer is told of as not seen."""

AT_HOME = 10.0
"""Seconds instead for this machine, which answers unless it is very busy."""

TICK = 1.0
"""Seconds after which a log is read though nobody said that it has grown."""

GATHER = 0.05
"""Seconds that what is written is gathered before it is sent."""

HEARTBEAT = 30.0
"""Seconds after which a silent log sends an empty piece, so that no proxy takes the connection for dead."""

LOST = 2.0
"""Seconds after which a log is asked for again while its backend does not answer."""

VERBS = ("cancel", "stop", "resume")

_logger = logging.getLogger(__name__)
_NAME = re.compile(r"[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?")

Json = dict[str, Any]


class Service:
    """All that one Jupyter server knows of jobs; it costs nothing until something is asked, or there are jobs here.

    Parameters
    ----------
    root : str
        Where the server's files begin; empty if it has none.
    announce : callable
        Called on the loop with (job id, epoch, seq) when something has changed, some ten times a second at most; the
        id is empty where it is about no single job.
    load : callable
        Gives the settings.
    """

    def __init__(
        self,
        root: str,
        announce: Callable[[str, str, int], object],
        *,
        load: Callable[[], Settings] = Settings.load,
    ) -> None:
        self._rows = rows.Rows(root)
        self._announce = announce
        self._load = load
        self._opening = asyncio.Lock()
        self._settings: Settings | None = None
        self._read_at = float("-inf")
        self._trouble: tuple[float, str] | None = None  # since when the settings cannot be read, and why
        self._feed = Feed(lambda identity, seq: None)
        self._announcer: Announcer | None = None
        self._places: dict[str, Place] = {}
        self._asked: dict[Place, asyncio.Future[tuple[list[Json], str]]] = {}  # for its queues
        self._following: set[Follower] = set()
        self._closed = False

    def about(self) -> Json:
        """Say who answers."""
        return {"version": jupyter_konduktor.__version__, "api": API, "user": _user()}

    async def warm(self) -> None:
        """Read the jobs of this machine, if there ever were any, before the first one asks for them.

        A cluster is not asked before that: most servers that run there have nobody before them.
        """
        try:
            if not await asyncio.to_thread(self._has_local_jobs):
                return
            for place in await self._opened():
                if place.name == "local":
                    place.refresh()
        except KonduktorError as error:
            _logger.info("konduktor: the jobs of this machine were not read ahead: %s", error.message)

    def _has_local_jobs(self) -> bool:
        return Path(self._load().local_dir or default_root()).exists()

    async def jobs(self, epoch: str = "", seq: int = 0, *, everyone: bool = False) -> bytes:
        """Give the list of jobs, or what changed in it since a number: JSON in the form of ``IJobs``."""
        places = await self._opened()
        await asyncio.gather(*(place.ready(_patience(place)) for place in places))
        if everyone:
            waiting = [asyncio.ensure_future(place.run(place.list_others)) for place in places]
            done, _ = await asyncio.wait(waiting, timeout=FIRST_LIST)
            for task in done:
                task.result()
        changes = self._feed.since(epoch, seq, everyone=everyone)
        states = [place.state(everyone=everyone) for place in places]
        if self._trouble is not None:
            since, message = self._trouble
            states.append({"name": "settings", "place": "", "unknown_since": since, "message": message})
        head = {"epoch": self._feed.epoch, "seq": changes.seq, "full": changes.full}
        rest = {"gone": changes.gone, "backends": states}
        return b'%s,"jobs":[%s],%s' % (rows.encode(head)[:-1], b",".join(changes.rows), rows.encode(rest)[1:])

    async def job(self, backend: str, name: str) -> Json:
        """Give one job with its timeline, in the form of ``IJobDetail``."""
        place = await self._place(backend, name)

        def look() -> Json:
            record = place.backend.get(name)
            place.count_items(record)
            return rows.detail(place.row(record), record, place.state()["unknown_since"])

        return await place.run(look)

    async def result(self, backend: str, name: str) -> Json:
        """Say what a job left, in the form of ``IResult``."""
        place = await self._place(backend, name)
        return await place.run(lambda: results.result(place.backend, place.backend.get(name)))

    async def act(self, backend: str, name: str, verb: str) -> None:
        """Cancel, stop or resume a job."""
        place = await self._place(backend, name)
        await place.run(place.act, verb, name)

    async def log(self, backend: str, name: str, node: int, attempt: int | None, offset: int, limit: int) -> Json:
        """Give a page of a log, in the form of ``ILogPiece``."""
        place = await self._place(backend, name)
        return await place.run(lambda: _log(place, name, node, attempt).page(offset, limit))

    async def search(self, backend: str, name: str, node: int, attempt: int | None, text: str) -> Json:
        """Find a text in a log, in the form of ``ILogMatches``."""
        if not text or "\n" in text:
            raise problems.BadRequestError(f"text is {text!r}; it must be what one line may hold, and not empty")
        place = await self._place(backend, name)
        return await place.run(lambda: _log(place, name, node, attempt).search(text))

    async def download(self, backend: str, name: str, node: int, attempt: int | None) -> AsyncGenerator[bytes]:
        """Give all of a log that is there now, piece by piece; raises before the first one if there is no such log."""
        place = await self._place(backend, name)
        log = await place.run(_log, place, name, node, attempt)
        pieces = log.pieces()
        first = await place.run(_next, pieces)

        async def give() -> AsyncGenerator[bytes]:
            piece = first
            while piece is not None:
                yield piece
                piece = await place.run(_next, pieces)

        return give()

    async def follow(self, backend: str, name: str, node: int, attempt: int | None, offset: int) -> Follower:
        """Give a log as it grows; raises if there is no such log."""
        place = await self._place(backend, name)
        log = await place.run(_log, place, name, node, attempt)
        return Follower(place, name, logs.Tail(log, offset), self._following)

    async def queues(self) -> Json:
        """Give the queues of all places, in the form of ``IQueues``; what cannot be seen is said in a line each."""
        places = await self._opened()
        # A place that takes its time is not asked again meanwhile: whoever asks next gets that answer.
        for place in places:
            if place not in self._asked:
                self._asked[place] = asyncio.ensure_future(_queues(place))
        asked = {place: self._asked[place] for place in places}
        await asyncio.gather(*(asyncio.wait([task], timeout=_patience(place)) for place, task in asked.items()))
        queues, errors = [], [self._trouble[1]] if self._trouble is not None else []
        for place, task in asked.items():
            if not task.done():
                errors.append(f"{place.name}: It has not answered yet")
                continue
            self._asked.pop(place, None)
            found, trouble = task.result()
            queues += found
            errors += [trouble] if trouble else []
        return {"queues": queues, "errors": errors}

    async def settings(self) -> Json:
        """List the settings of the server; raises `ConfigError` if they cannot be read."""
        return {"settings": rows.settings(await asyncio.to_thread(self._load))}

    async def close(self) -> None:
        """End all watches; jobs go on. Calling it twice does no harm."""
        self._closed = True
        async with self._opening:
            await self._leave()

    # --- the places

    async def _opened(self) -> list[Place]:
        """Serve the places that the settings name now: this machine, and the cluster if they name one."""
        async with self._opening:
            if self._closed:
                raise UnreachableError("The server is being stopped")
            if time.monotonic() < self._read_at + READ_AGAIN:
                return list(self._places.values())
            try:
                settings = await asyncio.to_thread(self._load)
                self._trouble = None
            except ConfigError as error:
                # What was served before goes on.
                self._trouble = (self._trouble[0] if self._trouble else time.time(), problems.line(error))
                return list(self._places.values())
            self._read_at = time.monotonic()
            if settings != self._settings:
                await self._leave()
                self._serve(settings)
            return list(self._places.values())

    def _serve(self, settings: Settings) -> None:
        announcer = Announcer(asyncio.get_running_loop(), lambda job, seq: self._announce(job, feed.epoch, seq))
        feed = Feed(announcer.note)
        self._settings, self._feed, self._announcer = settings, feed, announcer
        for name in dict.fromkeys(("local", settings.backend)):
            self._places[name] = Place(name, settings, feed, self._rows)

    async def _leave(self) -> None:
        places, self._places = self._places, {}
        self._asked.clear()
        for follower in list(self._following):
            follower.close()
        if self._announcer is not None:
            self._announcer.close()
        await asyncio.gather(*(asyncio.to_thread(place.close) for place in places.values()))

    async def _place(self, backend: str, name: str) -> Place:
        await self._opened()
        if backend not in self._places:
            known = ", ".join(self._places) or "none"
            raise JobNotFoundError(f"There is no backend {backend!r} here", advice=f"Backends: {known}.")
        if not _NAME.fullmatch(name):  # it becomes part of a path on the cluster
            raise JobNotFoundError(f"There is no job {name!r}", advice="Names of jobs look like train-7fq2x.")
        return self._places[backend]


class Follower:
    """The pieces of a log as it grows, until it ends or nobody wants them any more.

    Parameters
    ----------
    place : Place
    name : str
        The job's.
    tail : Tail
    among : set
        Where this stands while it runs.
    """

    def __init__(self, place: Place, name: str, tail: logs.Tail, among: set[Follower]) -> None:
        self._place = place
        self._name = name
        self._tail = tail
        self._among = among
        self._grown = asyncio.Event()
        self._closed = False

    def close(self) -> None:
        """End it; called on the loop, any number of times."""
        self._closed = True
        self._grown.set()

    async def pieces(self) -> AsyncGenerator[Json]:
        """Give each piece as it comes."""
        loop = asyncio.get_running_loop()
        self._among.add(self)
        try:
            with self._place.growing(self._name, partial(_wake, loop, self._grown)):
                quiet_since = float("-inf")  # the first piece is sent though it be empty: it says where it begins
                while not self._closed:
                    self._grown.clear()
                    piece = await self._read()
                    if piece is not None and (
                        piece["text"] or piece["ended"] or loop.time() - quiet_since >= HEARTBEAT
                    ):
                        yield piece
                        quiet_since = loop.time()
                    if piece is not None and piece["ended"] and not self._tail.behind:
                        return
                    if piece is None:
                        await self._wait(LOST)
                    elif not self._tail.behind:
                        await self._wait(TICK)
                        await asyncio.sleep(GATHER)
        finally:
            self._among.discard(self)

    async def _read(self) -> Json | None:
        """Read on; None if the backend does not answer at present."""
        try:
            return await self._place.run(self._tail.read)
        except UnreachableError:
            return None

    async def _wait(self, patience: float) -> None:
        try:
            await asyncio.wait_for(self._grown.wait(), patience)
        except TimeoutError:
            pass


def _patience(place: Place) -> float:
    return AT_HOME if place.name == "local" else FIRST_LIST


async def _queues(place: Place) -> tuple[list[Json], str]:
    """Give the queues of a place, or why there are none."""
    try:
        return [rows.queue(place.name, info) for info in await place.run(place.queues)], ""
    except KonduktorError as error:
        return [], f"{place.name}: {problems.line(error)}"


def _wake(loop: asyncio.AbstractEventLoop, event: asyncio.Event) -> None:
    if not loop.is_closed():
        loop.call_soon_threadsafe(event.set)


def _log(place: Place, name: str, node: int, attempt: int | None) -> logs.Log:
    """Find a log; raises if there is no such node or attempt."""
    backend = place.backend
    record: JobRecord = backend.get(name)
    nodes = int(record.spec.get("resources", {}).get("nodes", 1))
    if not 0 <= node < nodes:
        raise problems.BadRequestError(f"node is {node}; {name} has {nodes}, counted from 0")
    if attempt is None:
        attempt = record.attempt
    if not 0 <= attempt <= record.attempt:
        raise problems.BadRequestError(f"attempt is {attempt}; {name} has those from 0 to {record.attempt}")
    number = attempt

    def read(offset: int, limit: int) -> Any:
        return backend.read_log(name, node=node, attempt=number, offset=offset, limit=limit)

    return logs.Log(read, str(record.spec.get("nonce", "")))


def _next(pieces: Iterator[bytes]) -> bytes | None:
    return next(pieces, None)


def _user() -> str:
    """Give who the server takes its user for: the person of a JupyterHub, else who is logged in here."""
    try:
        return os.environ.get("JUPYTERHUB_USER") or getpass.getuser()
    except (KeyError, OSError):  # a number without a name, as in many containers
        return str(os.getuid())
