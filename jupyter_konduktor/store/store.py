"""A store as this package uses it: put, get, sign, list and delete, and one clear error for whatever goes wrong.

Keys and endpoints come from the environment, by the names that the clouds' own tools have (``AWS_ACCESS_KEY_ID``,
``AWS_ENDPOINT_URL``, ``GOOGLE_APPLICATION_CREDENTIALS``, ``AZURE_STORAGE_ACCOUNT_NAME``, ...).
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cached_property
from typing import Any
from urllib.parse import quote

import obstore
from obstore import store as stores

from jupyter_konduktor.store import keys
from jupyter_konduktor.store.address import Address
from jupyter_konduktor.store.failure import explained

LIFE = timedelta(days=7)
"""How long signed URLs are good for: the most that S3 and Google allow. A job's results are sent at its end."""

PIECE = 16 << 20
"""Bytes of one request: a part of an upload, a range of a download."""

WIDTH = 8
"""Requests of one transfer at the same time."""

CHECKED = 600.0
"""Seconds that a store is taken to be there after it was."""

_PATIENCE = timedelta(minutes=3)  # with a store that was there a moment ago
_HASTE = timedelta(seconds=5)  # with one of which nothing is known yet
_CONNECT = timedelta(seconds=5)
_REQUEST = timedelta(minutes=5)  # for a piece
_BEYOND = ("416 Range Not Satisfiable", "InvalidRange", "invalid range", "Requested range was invalid")


@dataclass(frozen=True, slots=True)
class Kept:
    """An object in a store.

    Attributes
    ----------
    key : str
    size : int
        Bytes.
    modified : datetime
    """

    key: str
    size: int
    modified: datetime


class Store:
    """A place for objects; any thread may use it.

    Parameters
    ----------
    url : str
        As the setting ``store`` has it.

    Raises
    ------
    ConfigError
        If that is no address.
    StoreError
        If the environment has no settings for it that can be used.
    """

    def __init__(self, url: str) -> None:
        self.address = Address.parse(url)
        self._lock = threading.Lock()
        self._checked_at: float | None = None
        with self._explained("opened"):
            self._store = self._open(_PATIENCE)

    @property
    def url(self) -> str:
        """Its address."""
        return self.address.url

    def check(self) -> None:
        """Make sure that objects can be written, by one small request every ten minutes.

        Raises
        ------
        StoreError
            Says whether keys, bucket, address or rights are to blame.
        """
        with self._lock:
            now = time.monotonic()
            if self._checked_at is not None and now - self._checked_at < CHECKED:
                return
            with self._explained("written to"):
                obstore.put(self._open(_HASTE), keys.PROBE, b"This folder is a store of jupyter_konduktor.\n")
                self._store = self._open(_PATIENCE)  # the environment may have other credentials by now
            self._checked_at = now

    # --- objects

    def put(self, key: str, data: bytes | memoryview, *, tell: Callable[[int], None] = lambda count: None) -> None:
        """Write an object, complete or not at all; a large one in parts, several at once.

        Parameters
        ----------
        key : str
        data : bytes-like
        tell : callable, optional
            Told how many bytes more are on their way.
        """
        view = memoryview(data).cast("B")

        def pieces() -> Iterator[memoryview]:
            for start in range(0, view.nbytes, PIECE):
                piece = view[start : start + PIECE]
                yield piece
                tell(piece.nbytes)

        with self._explained("written to"):
            if view.nbytes > PIECE:
                obstore.put(self._store, key, pieces(), chunk_size=PIECE, max_concurrency=WIDTH)
            else:
                obstore.put(self._store, key, view, use_multipart=False)
                tell(view.nbytes)

    def look(self, key: str) -> Kept | None:
        """Give size and age of an object; None if there is none."""
        with self._explained("read"):
            try:
                return _kept(obstore.head(self._store, key))
            except FileNotFoundError as error:
                self._absent(error)
                return None

    def get(self, key: str, limit: int = PIECE) -> memoryview | None:
        """Read an object that is small, or no more than so many bytes of it; None if there is none."""
        with self._explained("read"):
            return self._range(key, 0, limit)

    def read(self, key: str, start: int, into: memoryview) -> bool:
        """Fill memory from an object, in ranges, several at once; what it does not have stays as it is.

        Returns
        -------
        bool
            False if there is no such object.
        """

        def fill(offset: int) -> bool:
            piece = into[offset : offset + PIECE]
            data = self._range(key, start + offset, piece.nbytes)
            if data is not None:
                piece[: data.nbytes] = data
            return data is not None

        offsets = range(0, into.nbytes, PIECE)
        with self._explained("read"):
            if len(offsets) <= 1:
                return all(map(fill, offsets))
            with ThreadPoolExecutor(WIDTH, thread_name_prefix="konduktor-store") as pool:
                return all(list(pool.map(fill, offsets)))

    def _range(self, key: str, start: int, length: int) -> memoryview | None:
        """Read a range as far as the object reaches; None if there is none."""
        try:
            return memoryview(obstore.get_range(self._store, key, start=start, length=length))
        except FileNotFoundError as error:
            self._absent(error)
            return None
        except obstore.exceptions.GenericError as error:
            if not any(word in str(error) for word in _BEYOND):
                raise
            return memoryview(b"")

    def scan(self, prefix: str) -> Iterator[Kept]:
        """Give all objects below a prefix."""
        with self._explained("listed"):
            for page in obstore.list(self._store, prefix):
                yield from map(_kept, page)

    def delete(self, names: Iterable[str]) -> None:
        """Remove objects; one that is not there is no error."""
        wanted = list(names)
        with self._explained("cleared"):
            for start in range(0, len(wanted), 1000):
                try:
                    obstore.delete(self._store, wanted[start : start + 1000])
                except FileNotFoundError as error:
                    self._absent(error)

    # --- for those who have no keys

    def sign(self, method: str, names: Sequence[str], life: timedelta = LIFE) -> list[str]:
        """Give a URL for each object, by which whoever has it may do this one thing.

        Parameters
        ----------
        method : str
            ``"GET"`` or ``"PUT"``.
        names : sequence of str
        life : timedelta, optional
            How long it may be done; credentials that are good for less make it less.
        """
        if self.address.folder is not None:
            return [f"{self.url}/{quote(name)}" for name in names]
        if not names:
            return []
        with self._explained("signed for"):
            return list(obstore.sign(self._store, method, list(names), life))  # type: ignore[call-overload]

    @cached_property
    def put_headers(self) -> dict[str, str]:
        """Headers that a request to a signed URL needs, to write an object."""
        return {"x-ms-blob-type": "BlockBlob"} if self.address.kind == "az" else {}

    # --- within

    def _open(self, patience: timedelta) -> Any:
        if self.address.folder is not None:
            return stores.LocalStore(self.address.folder, mkdir=True)
        return stores.from_url(
            self.url,
            # Whoever writes http:// into AWS_ENDPOINT_URL means it.
            client_options={"allow_http": True, "connect_timeout": _CONNECT, "timeout": _REQUEST},
            retry_config={"max_retries": 20, "retry_timeout": patience},
        )

    def _explained(self, doing: str) -> AbstractContextManager[None]:
        return explained(self.url, doing)

    def _absent(self, error: FileNotFoundError) -> None:
        """Take it that an object is not there, unless it is its bucket that is not."""
        if "NoSuchBucket" in str(error) or "ContainerNotFound" in str(error):
            raise error


def _kept(meta: Any) -> Kept:
    return Kept(meta["path"], int(meta["size"]), meta["last_modified"])


def open_store(url: str) -> Store:
    """Open a store; the same one for everybody in this process who names it the same."""
    with _lock:
        if url not in _open_stores:
            _open_stores[url] = Store(url)
        return _open_stores[url]


_open_stores: dict[str, Store] = {}
_lock = threading.Lock()
