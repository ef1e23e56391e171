"""One kind of object, listed once and then watched: what changes is told as it changes, and nothing twice."""

from __future__ import annotations

import json
import logging
import random
import threading
import time
from typing import TYPE_CHECKING, Any, Protocol

from jupyter_konduktor.backends.kubernetes.api.client import TABLE
from jupyter_konduktor.backends.kubernetes.api.refusal import of_event
from jupyter_konduktor.backends.kubernetes.api.table import Rows
from jupyter_konduktor.errors import AccessDeniedError, ApiError, BackendError, UnreachableError

if TYPE_CHECKING:
    from jupyter_konduktor.backends.kubernetes.api.client import Client
    from jupyter_konduktor.backends.kubernetes.api.transport import Stream

PATIENT, HURRIED = 150.0, 35.0
"""Seconds of silence after which a connection counts as dead: an idle watch is silent for up to two minutes."""

PAUSES = (0.2, 10.0)
"""Seconds between two tries at first and at most."""

REFUSALS = (1.0, 60.0)
"""Seconds until what was refused is asked for again, at first and at most: a server that has just started refuses what
it allows once it has read its roles."""

LIST_EVERY = 3.0
"""Seconds between two lists where a watch is refused, and lists are not."""

LIMIT = 500
"""Objects on a page of a list."""

_MARGIN = 5.0  # the server ends a watch so many seconds before it would count as dead
_ANSWER = 30.0  # seconds until the answer to a watch begins
_BRIEF = 1.0  # a watch that ends sooner, and told nothing, was none
_REMEMBERED = 50_000

_log = logging.getLogger(__name__)


class Sink(Protocol):
    """Who is told; everything is called from the reflector's own thread."""

    def replaced(self, kind: str, objects: list[dict[str, Any]]) -> None:
        """Take everything there is now, after a list."""

    def changed(self, kind: str, event: str, obj: dict[str, Any]) -> None:
        """Take one change: ``ADDED``, ``MODIFIED`` or ``DELETED``."""

    def reach(self, kind: str, trouble: BackendError | None) -> None:
        """Take note that the kind cannot be seen any more, or with None that it can be again."""


class Reflector:
    """Watches the objects of one kind that a selector means, from a thread of its own, until it is closed.

    Parameters
    ----------
    client : Client
    kind : str
        How the sink knows it.
    path : str
        The path of the list.
    sink : Sink
    table : bool
        Ask for JobSets as a Table (see `jupyter_konduktor.backends.kubernetes.api.table`).
    """

    def __init__(self, client: Client, kind: str, path: str, sink: Sink, *, table: bool = False) -> None:
        self._client = client
        self._kind = kind
        self._path = path
        self._sink = sink
        self._table = table
        self._changed = threading.Condition()
        # Under the condition's lock. `_wish` counts the targets: what comes for an older one is not told any more.
        self._selector: str | None = None
        self._wish = 0
        self._version = ""
        self._hurry = False
        self._prodded = False
        self._closed = False
        self._stream: Stream | None = None
        # The thread's own: of each object the version that was told last, and how it is going.
        self._told: dict[str, int] = {}
        self._lost = False
        self._stumbled = False
        self._limit = LIMIT
        self._pause = PAUSES[0]
        self._refusal = REFUSALS[0]
        self._watch_again = 0.0
        self._thread = threading.Thread(target=self._run, name=f"konduktor-watch-{kind}", daemon=True)
        self._thread.start()

    def target(self, selector: str | None, *, relist: bool, since: str = "") -> None:
        """Watch what another label selector means from now on; None is nothing. Returns at once.

        Parameters
        ----------
        selector : str or None
        relist : bool
            List everything first. Otherwise the watch goes on from where it is: objects that were there before and
            have not changed since are not told. A reflector that is nowhere yet lists in any case.
        since : str, optional
            A resourceVersion from which to go on at the latest: that of an object whose kin must not be missed.
        """
        with self._changed:
            if selector == self._selector and not relist and not since:
                return
            self._selector = selector
            if relist:
                self._version = ""
            elif since and self._version and int(since) < int(self._version):
                self._version = since
            self._wish += 1
            self._interrupt()

    def hurry(self, on: bool) -> None:
        """Find out sooner that a connection is dead, while someone waits."""
        with self._changed:
            if on and not self._hurry:
                self._interrupt()
            self._hurry = on

    def reconnect(self) -> None:
        """Drop the connection, and go on over a new one from where it was."""
        with self._changed:
            self._prodded = True
            self._interrupt()

    def close(self) -> None:
        """End it; returns at once."""
        with self._changed:
            self._closed = True
            self._interrupt()

    def _interrupt(self) -> None:
        if self._stream is not None:
            self._stream.close()
        self._changed.notify_all()

    # --- the thread

    def _run(self) -> None:
        while True:
            if self._selector is None:
                self._found()  # what nobody wants to see is not missed
            with self._changed:
                self._changed.wait_for(lambda: self._closed or self._selector is not None)
                if self._closed:
                    return
                selector, wish, version = self._selector or "", self._wish, self._version
                self._prodded = False
            if version and (left := self._watch_again - time.monotonic()) > 0:
                self._wait(max(PAUSES[0], min(LIST_EVERY, left)), wish)
                self._forget(wish)
                continue
            try:
                going = self._watch(selector, wish, version) if version else self._list(selector, wish)
                if not going:  # an answer that ended at once
                    self._wait()
            except BackendError as error:
                self._mend(error, wish)
            except Exception:  # noqa: BLE001
                # One object that cannot be understood must not end the watch of all others.
                _log.exception("konduktor: the watch of %s met something unexpected, and lists anew", self._kind)
                self._forget(wish)
                self._wait()

    def _mend(self, trouble: BackendError, wish: int) -> None:
        """Make the best of what went wrong, and wait for as long as that takes."""
        status = trouble.status if isinstance(trouble, ApiError) else 0
        if status == 410:
            # The version is too old. Of a list it was one of its later pages: the next list comes in one.
            self._limit = LIMIT if self._version else 0
            self._forget(wish)
            self._wait()
        elif isinstance(trouble, AccessDeniedError) and self._version:
            _log.info("konduktor: %s; it is listed every %g s instead", trouble, LIST_EVERY)
            self._watch_again = time.monotonic() + self._refused()
        elif 400 <= status < 500 and status not in (401, 408, 429):
            self._report(trouble)
            self._wait(self._refused(), wish)
        elif isinstance(trouble, UnreachableError) and self._version and not self._stumbled:
            self._stumbled = True  # a second try comes at once: networks cut what servers do not
            self._wait()
        else:
            self._report(trouble)
            self._wait()

    def _refused(self) -> float:
        """Give the seconds until what was refused is asked for again."""
        pause, self._refusal = self._refusal, min(2 * self._refusal, REFUSALS[1])
        return pause

    def _list(self, selector: str, wish: int) -> bool:
        query = {"labelSelector": selector} if selector else {}
        objects: list[dict[str, Any]] = []
        rows, version = Rows(), ""
        for page in self._client.pages(self._path, query, table=self._table, limit=self._limit):
            objects += rows.of(page) if self._table else page.get("items") or []
            version = page["metadata"]["resourceVersion"]
            if self._wish != wish or self._closed:
                return True
        with self._changed:
            if self._wish != wish or self._closed:
                return True
            self._version = version
        self._limit, self._pause = LIMIT, PAUSES[0]
        self._told = {obj["metadata"]["uid"]: _version(obj) for obj in objects}
        self._found()
        self._tell("replaced", objects)
        return True

    def _watch(self, selector: str, wish: int, version: str) -> bool:
        """Watch until the answer ends; gives False if it told nothing and was over at once."""
        accept = TABLE if self._table else "application/json"
        with self._changed:
            if self._wish != wish or self._closed:
                return True
            patience = HURRIED if self._hurry else PATIENT
            query = {
                "watch": "true",
                "allowWatchBookmarks": "true",
                "resourceVersion": version,
                "timeoutSeconds": int(patience - _MARGIN),
                **({"labelSelector": selector} if selector else {}),
                **({"includeObject": "Metadata"} if self._table else {}),
            }
            stream = self._client.stream(
                self._path, query, read_timeout=patience, answer_timeout=_ANSWER, accept=accept
            )
            self._stream = stream
        rows, told = Rows(), False
        try:
            with stream:
                stream.open()
                began = time.monotonic()
                if not stream.closed:
                    self._refusal = REFUSALS[0]
                    self._found()
                try:
                    for line in stream.lines():
                        event = json.loads(line)
                        if event["type"] == "ERROR":
                            raise of_event(event["object"], self._client.target)
                        if not self._take(event, rows, wish):
                            return True
                        told, self._pause = True, PAUSES[0]
                except UnreachableError:
                    # It is lost only if it cannot be had again.
                    if not told and time.monotonic() - began < _BRIEF:
                        raise
                    _log.debug("konduktor: the watch of %s was cut, and goes on", self._kind)
        finally:
            with self._changed:
                self._stream = None
        return told or stream.closed or time.monotonic() - began > _BRIEF

    def _take(self, event: dict[str, Any], rows: Rows, wish: int) -> bool:
        """Take an event of a watch; gives False if something else is wanted by now."""
        raw = event["object"]
        objects = rows.of(raw) if self._table else [raw]
        version = (raw.get("metadata") or {}).get("resourceVersion") or objects[0]["metadata"]["resourceVersion"]
        with self._changed:
            if self._wish != wish or self._closed:
                return False
            self._version = version
        if event["type"] == "BOOKMARK":
            return True
        for obj in objects:
            uid, told = obj["metadata"]["uid"], _version(obj)
            if self._told.get(uid, -1) < told:
                if len(self._told) >= _REMEMBERED:
                    self._told.clear()
                self._told[uid] = told
                self._tell("changed", event["type"], obj)
        return True

    def _forget(self, wish: int) -> None:
        """Go on with a list."""
        with self._changed:
            if self._wish == wish:
                self._version = ""

    def _wait(self, seconds: float = 0.0, wish: int | None = None) -> None:
        """Wait before the next try; closing and `reconnect` end it, where a wish is given another target does too."""
        if not seconds:
            seconds, self._pause = self._pause, min(2 * self._pause, PAUSES[1])
        with self._changed:
            self._changed.wait_for(
                lambda: self._closed or self._prodded or self._selector is None or wish not in (None, self._wish),
                seconds * random.uniform(0.5, 1.0),
            )
            if self._prodded:
                self._pause = PAUSES[0]

    # --- what the sink is told

    def _report(self, trouble: BackendError) -> None:
        if not self._lost and not self._closed:
            self._lost = True
            self._tell("reach", trouble)

    def _found(self) -> None:
        self._stumbled = False
        if self._lost:
            self._lost = False
            self._tell("reach", None)

    def _tell(self, what: str, *details: Any) -> None:
        try:
            getattr(self._sink, what)(self._kind, *details)
        except Exception:  # noqa: BLE001
            _log.exception("konduktor: what was to be told of %s was not taken", self._kind)


def _version(obj: dict[str, Any]) -> int:
    return int(obj["metadata"]["resourceVersion"])
