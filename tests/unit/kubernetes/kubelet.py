"""A container's log as a kubelet serves it: from memory, cut and rotated at will."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any

from jupyter_konduktor.backends.kubernetes.logs.align import stamp
from jupyter_konduktor.errors import BackendError, UnreachableError

START = 1_700_000_000 * 10**9


def stamped(nanoseconds: int, zone: str = "Z") -> bytes:
    whole, fraction = divmod(nanoseconds, 10**9)
    return datetime.fromtimestamp(whole, UTC).strftime(f"%Y-%m-%dT%H:%M:%S.{fraction:09d}{zone} ").encode()


class Kubelet:
    """Stands where the cluster's client stands.

    Attributes
    ----------
    lines : list of (int, bytes)
        What its log file holds now: a time and a line, or a part of one.
    answers : list
        An error for each answer to come, or the number of bytes after which its connection is lost (None: never).
    running : bool
        An answer that follows goes on until this is False.
    """

    def __init__(self, chunk: int = 1 << 16) -> None:
        self.lines: list[tuple[int, bytes]] = []
        self.answers: list[BackendError | int | None] = []
        self.running = True
        self.chunk = chunk
        self.asked: list[dict[str, str]] = []
        self.zone = "Z"
        self.words = b""  # what it adds to an answer because something has gone wrong
        self.pod: dict[str, Any] = {"metadata": {"uid": "pod-uid"}}
        self._now = START
        self._changed = threading.Condition()

    def write(self, *lines: bytes, step: int = 1000, at: int | None = None) -> None:
        with self._changed:
            for line in lines:
                self._now = at if at is not None else self._now + step
                self.lines.append((self._now, line))
            self._changed.notify_all()

    def rotate(self) -> None:
        """Begin a new file; the old one is not served."""
        with self._changed:
            self.lines = []
            self._changed.notify_all()

    def end(self) -> None:
        with self._changed:
            self.running = False
            self._changed.notify_all()

    def get(self, path: str) -> dict[str, Any]:
        return self.pod

    def stream(self, path: str, query: dict[str, str], *, read_timeout: float) -> Answer:
        self.asked.append(query)
        what = self.answers.pop(0) if self.answers else None
        if isinstance(what, BackendError):
            raise what
        return Answer(self, query, what)

    def bytes_from(self, query: dict[str, str], closed: Callable[[], bool]) -> Iterator[bytes]:
        since = stamp(query["sinceTime"].encode() + b" ") if "sinceTime" in query else 0
        assert since is not None
        served = self.lines
        index, begins, out = 0, True, b""
        while not closed():
            with self._changed:
                more, running, gone = served[index:], self.running, served is not self.lines
            for time_, line in more:
                if time_ >= since:
                    out += (stamped(time_, self.zone) if begins else b"") + line
                begins = line.endswith(b"\n")
                if len(out) >= self.chunk:
                    yield from (out[i : i + self.chunk] for i in range(0, len(out), self.chunk))
                    out = b""
            index += len(more)
            yield from (out[i : i + self.chunk] for i in range(0, len(out), self.chunk))
            out = b""
            if "follow" not in query or self.words or not running or gone:
                if self.words:
                    yield self.words
                return
            with self._changed:
                if len(served) == index and self.running and served is self.lines:
                    self._changed.wait(0.02)


class Answer:
    def __init__(self, kubelet: Kubelet, query: dict[str, str], limit: int | None) -> None:
        self._kubelet, self._query, self._limit = kubelet, query, limit
        self._closed = False

    def __enter__(self) -> Answer:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._closed = True

    def __iter__(self) -> Iterator[bytes]:
        left = self._limit
        for data in self._kubelet.bytes_from(self._query, lambda: self._closed):
            if left is not None and len(data) >= left:
                yield data[:left]
                raise UnreachableError("the connection was lost")
            yield data
            left = None if left is None else left - len(data)
        if self._closed:
            raise UnreachableError("the connection was closed")


def until(holds: Callable[[], Any], patience: float = 10.0) -> None:
    end = time.monotonic() + patience
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.002)
