"""Follows the log of a container and puts it on this machine's disk, every byte exactly once.

The end of a stream is no more than a hint. A log has ended when the runner has said so in it, or when the container has
terminated and reading it again brought nothing new.
"""

from __future__ import annotations

import logging
import random
import threading
import time
from collections.abc import Callable, Mapping
from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING, Any

from jupyter_konduktor.backends.kubernetes import words
from jupyter_konduktor.backends.kubernetes.logs.align import clock, stamp
from jupyter_konduktor.backends.kubernetes.logs.intake import Intake, Record
from jupyter_konduktor.backends.kubernetes.logs.logfile import LogFile, LogWriter
from jupyter_konduktor.errors import AccessDeniedError, ApiError, BackendError, UnreachableError
from jupyter_konduktor.runner.stream import MARK

if TYPE_CHECKING:
    from jupyter_konduktor.backends.kubernetes.api.client import Client
    from jupyter_konduktor.backends.kubernetes.api.transport import Stream

GROWTH_PAUSE = 0.05
"""Least seconds between two times that growth is told."""

READ_TIMEOUT = 150.0
"""Seconds without a byte after which a connection is not trusted any more."""

PAUSES = (0.1, 8.0)
"""Seconds between two attempts at reading, at first and at most."""

LOOK = 0.2
"""Seconds between two looks at a log that another process writes."""

LAST_PATIENCE = 30.0
"""Seconds for which the log of a container that has terminated is asked for though the cluster refuses to give it, and
any log that this user could read before: a server that has just started refuses what it allows a moment later."""

FIRST_PATIENCE = 3.0
"""Seconds for which a log is asked for that this user may not read, and never could."""

CONFIRMATIONS = 5
"""Times that the log of a container that has terminated is read again at most while that brings something new."""

LATE = 2.0
"""Seconds after the end of a container in which what our runner writes last may still come: containerd carries it."""

HASTE = 1.5
"""Seconds after the end of a container in which the answer that follows its log ends, or something comes; if not, the
connection is dead."""

STARTS_WITHIN = 5.0
"""Seconds after its start in which a container of ours has written its first line."""

CLOSING = 5.0
"""Seconds that closing waits for a thread that may be making a connection."""

_START = 4096  # bytes in which the runner's first line is looked for
_log = logging.getLogger(__name__)


class LogFollower:
    """One container's log on its way to the disk, in a thread of its own.

    Parameters
    ----------
    client : Client
    namespace, pod, pod_uid : str
        Where the container runs.
    file : LogFile
    nonce : str
        The job's; empty if nothing of ours runs in it.
    on_growth : callable
        Told at once that there is more to read, then at most 20 times a second; from one of several threads.
    on_record : callable
        Told of what came with the log; artifacts and items are kept already. Those of a log that another process
        follows are not told.
    on_end : callable, optional
        Told once, when `ended` has become true.
    """

    def __init__(
        self,
        client: Client,
        namespace: str,
        pod: str,
        pod_uid: str,
        file: LogFile,
        nonce: str,
        *,
        on_growth: Callable[[], None],
        on_record: Callable[[Record], None],
        on_end: Callable[[], None] | None = None,
    ) -> None:
        self._client = client
        self._pod_path = words.core(namespace, "pods", pod)
        self._pod = pod
        self._pod_uid = pod_uid
        self._file = file
        self._nonce = nonce
        self._on_growth = on_growth
        self._on_record = on_record
        self._on_end = on_end
        self._lock = threading.Lock()  # of the writer, and of the stream
        self._writer: LogWriter | None = None
        self._stream: Stream | None = None
        self._closing = threading.Event()
        self._terminated = False
        self._terminated_at = 0.0
        self._heard = 0.0  # when something of it came last
        self._wake = threading.Event()
        self._ended = threading.Event()
        self._pulse = _Pulse(self._grown)
        self._thread = threading.Thread(target=self._run, name=f"konduktor-log-{pod}", daemon=True)
        self._thread.start()

    def ended(self) -> bool:
        """Whether the whole log is here, or nothing more of it can be had."""
        return self._ended.is_set()

    def terminated(self) -> None:
        """Take note that the container has terminated: the log ends soon."""
        if not self._terminated:
            self._terminated_at = time.monotonic()
            timer = threading.Timer(HASTE, self._hasten)
            timer.daemon = True
            timer.start()
        self._terminated = True
        self._wake.set()

    def reconnect(self) -> None:
        """Drop the connection and go on with another."""
        with self._lock:
            stream = self._stream
        if stream is not None:
            stream.close()
        self._wake.set()

    def stop(self) -> None:
        """Follow no longer; returns at once."""
        self._closing.set()
        self.reconnect()

    def close(self, patience: float = CLOSING) -> None:
        """Follow no longer; another process may go on as soon as this returns, or after some seconds at most."""
        self.stop()
        if threading.current_thread() is not self._thread:
            self._thread.join(max(0.0, patience))

    def _hasten(self) -> None:
        """Read once more over another connection, if the one that follows the log is silent."""
        if self._heard < self._terminated_at:
            self.reconnect()

    # --- in its thread

    def _run(self) -> None:
        try:
            writer = self._claimed()
            if writer is not None:
                self._follow(writer)
        except Exception:  # noqa: BLE001
            _log.exception("konduktor: the log of pod %s is not followed any more", self._pod)
        finally:
            self._pulse.stop()
            with self._lock:
                writer, self._writer = self._writer, None
                if writer is not None:
                    writer.release()
            if not self._closing.is_set():
                _guarded(self._on_growth)
                self._ended.set()
                if self._on_end is not None:
                    _guarded(self._on_end)

    def _claimed(self) -> LogWriter | None:
        """Wait until this process writes the log; None if there is nothing more to write."""
        seen = self._file.stamp()
        while not self._closing.is_set():
            point = self._file.point()
            if point.ended and not point.problem:
                return None
            writer = self._file.claim()
            if writer is not None:
                with self._lock:
                    self._writer = writer
                return writer
            now = self._file.stamp()
            if now != seen:
                seen = now
                _guarded(self._on_growth)
            self._wake.wait(LOOK)
            self._wake.clear()
        return None

    def _follow(self, writer: LogWriter) -> None:
        intake = Intake(self._file, writer, self._nonce)
        pause, refused_since, confirmations, broken = PAUSES[0], 0.0, 0, False
        while not self._closing.is_set():
            self._wake.clear()
            last = self._terminated
            trouble = self._read(intake, last=last)
            if intake.over:
                return self._end(writer, "")
            if self._closing.is_set():
                return None
            if intake.fresh:
                pause, refused_since = PAUSES[0], 0.0
            if isinstance(trouble, ApiError) and trouble.status == 404 and self._is_gone():
                return self._end(writer, f"pod {self._pod} is gone", missing=broken or intake.empty)
            broken = trouble is not None
            if trouble is None and not intake.foreign:
                if last:
                    confirmations += 1
                    late = bool(self._nonce) and time.monotonic() - self._terminated_at < LATE
                    if not late and (not intake.fresh or confirmations >= CONFIRMATIONS):
                        return self._end(writer, "")
                    self._wake.wait(PAUSES[0])
                    continue
            elif isinstance(trouble, AccessDeniedError) or (last and not isinstance(trouble, UnreachableError)):
                refused_since = refused_since or time.monotonic()
                never = isinstance(trouble, AccessDeniedError) and intake.empty
                if time.monotonic() - refused_since > (FIRST_PATIENCE if never else LAST_PATIENCE):
                    said = trouble.message if trouble else intake.foreign.decode("utf-8", "replace").strip()
                    if never:
                        return self._end(writer, said)
                    return self._end(writer, f"the log of pod {self._pod} cannot be read: {said}", missing=True)
            if not (intake.fresh and trouble):  # a connection that was lost is made anew at once
                self._wake.wait(pause * random.uniform(0.7, 1.0))
                pause = min(2 * pause, PAUSES[1])
        return None

    def _read(self, intake: Intake, *, last: bool) -> BackendError | None:
        """Read until the answer ends; gives why it did, if not by itself."""
        query = {"container": words.CONTAINER, "timestamps": "true"}
        since = intake.begin()
        if not last:
            query["follow"] = "true"
        if since is not None:
            query["sinceTime"] = since
        try:
            with self._client.stream(f"{self._pod_path}/log", query, read_timeout=READ_TIMEOUT) as stream:
                with self._lock:
                    self._stream = stream
                for data in stream:
                    self._heard = time.monotonic()
                    if self._closing.is_set():
                        return None
                    if intake.empty and self._nonce:
                        self._look_at_start(intake, data)
                    with self._lock:
                        records = intake.feed(data)
                    self._tell(intake, records)
                    if intake.over:
                        return None
            with self._lock:
                records = intake.finish(last=last)
            self._tell(intake, records)
        except BackendError as error:
            return error
        finally:
            with self._lock:
                self._stream = None
        return None

    def _look_at_start(self, intake: Intake, data: bytes) -> None:
        """Note that the log has lost its beginning: what the runner writes first is not there, and time has passed."""
        first = stamp(data)
        if first is None or data.find(b" " + MARK + f"{self._nonce}c".encode(), 0, _START) >= 0:
            return
        started = _started(self._pod_object())
        if started is not None and first / 1e9 - started > STARTS_WITHIN:
            with self._lock:
                intake.lost_beginning(f"output before {clock(first)}")

    def _is_gone(self) -> bool:
        """Whether there is no such pod: a kubelet that has just started says so of each, for it knows none yet."""
        try:
            pod = self._client.get(self._pod_path)
        except BackendError as error:
            return isinstance(error, ApiError) and error.status == 404
        return bool(pod["metadata"]["uid"] != self._pod_uid)

    def _pod_object(self) -> dict[str, Any]:
        try:
            return self._client.get(self._pod_path)
        except BackendError:
            return {}

    def _tell(self, intake: Intake, records: list[Record]) -> None:
        for record in records:
            _guarded(partial(self._on_record, record))
        if intake.fresh:
            self._pulse.ring()

    def _grown(self) -> None:
        with self._lock:
            if self._writer is not None:
                self._writer.save()
        _guarded(self._on_growth)

    def _end(self, writer: LogWriter, problem: str, *, missing: bool = False) -> None:
        """Write down that nothing follows, and in the log itself if it lacks its end."""
        with self._lock:
            if missing and not writer.point.ended:  # else it says so already
                writer.note(f"the rest of the output could not be read: {problem}", self._nonce)
            writer.end(problem)


class _Pulse:
    """Calls something at once, and then not more often than every `GROWTH_PAUSE`; never leaves the last call out."""

    def __init__(self, action: Callable[[], None]) -> None:
        self._action = action
        self._lock = threading.Lock()
        self._last = 0.0
        self._timer: threading.Timer | None = None

    def ring(self) -> None:
        with self._lock:
            if self._timer is not None:
                return
            wait = self._last + GROWTH_PAUSE - time.monotonic()
            if wait > 0:
                self._timer = threading.Timer(wait, self._late)
                self._timer.daemon = True
                self._timer.start()
                return
            self._last = time.monotonic()
        self._action()

    def stop(self) -> None:
        with self._lock:
            if self._timer is not None:
                self._timer.cancel()

    def _late(self) -> None:
        with self._lock:
            self._timer = None
            self._last = time.monotonic()
        self._action()


def _guarded(action: Callable[[], None]) -> None:
    """Call what is not ours."""
    try:
        action()
    except Exception:  # noqa: BLE001
        _log.exception("konduktor: a callback of a log raised")


def _started(pod: Mapping[str, Any]) -> float | None:
    """Read when a pod's container was started, in seconds since the epoch."""
    for status in pod.get("status", {}).get("containerStatuses") or ():
        if status.get("name") == words.CONTAINER:
            for state in (status.get("state") or {}).values():
                if state.get("startedAt"):
                    return datetime.fromisoformat(state["startedAt"]).timestamp()
    return None
