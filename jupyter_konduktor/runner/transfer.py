"""Objects of a store by signed URLs, with urllib alone: tried again where that may help, and an error where not.

The URLs stand in a file of JSON, a Secret's, which whoever watches the job renews: ``get`` and ``put`` give the URL of
a name, ``headers`` what a PUT has to send. They are as good as keys, and appear in no message. ``file:`` URLs are paths
on a volume.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import time
from http.client import HTTPException
from urllib.error import HTTPError, URLError
from urllib.parse import unquote, urlsplit
from urllib.request import Request, urlopen

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Any, BinaryIO, TypeVar

    T = TypeVar("T")

PATIENCE = 180.0
"""Seconds for which a request is tried again while the store does not answer, or says that it cannot now."""

BLOCK = 1 << 20
"""Bytes that are read or written at a time."""

SHORT = 416
"""The status of an object that does not reach as far as it should."""

_TIMEOUT = 60.0  # seconds without a byte
_LONGEST_PAUSE = 10.0
_REFUSED = (400, 401, 403)
_LATER = (408, 425, 429)


class TransferError(Exception):
    """An object could not be fetched or sent.

    ``status`` is that of HTTP if the store gave one, else None.
    """

    def __init__(self, message: str, status: int | None = None) -> None:
        super().__init__(message)
        self.status = status


class Links:
    """The signed URLs of a job.

    Parameters
    ----------
    path : str
        The file that they stand in.
    """

    def __init__(self, path: str) -> None:
        self._path = path
        self._links = self._read()

    @property
    def headers(self) -> dict[str, str]:
        """What a PUT has to send."""
        return dict(self._links.get("headers") or {})

    def url(self, verb: str, name: str) -> str:
        """Give the URL to get or put an object; raises `TransferError` if there is none."""
        found = (self._links.get(verb) or {}).get(name)
        if not found:
            raise TransferError(f"the job has no URL to {verb} {name}")
        return str(found)

    def newer(self, verb: str, name: str, than: str) -> bool:
        """Read the file again; whether the URL is another one now."""
        self._links = self._read()
        return self.url(verb, name) != than

    def _read(self) -> dict[str, Any]:
        try:
            with open(self._path, encoding="utf-8") as file:
                found: dict[str, Any] = json.load(file)
                return found
        except (OSError, ValueError) as error:
            raise TransferError(f"the URLs of the job cannot be read: {error}") from None


def file_path(url: str) -> str | None:
    """Give the path of a URL that is one; None for others."""
    parts = urlsplit(url)
    return unquote(parts.path) if parts.scheme == "file" else None


def get(links: Links, name: str, start: int, size: int, fd: int) -> None:
    """Write a range of an object to the same place of a file.

    Raises
    ------
    TransferError
    """

    def attempt(url: str) -> None:
        headers = {"Range": f"bytes={start}-{start + size - 1}"}
        with urlopen(Request(url, headers=headers), timeout=_TIMEOUT) as answer:  # noqa: S310  signed by the kernel
            if answer.status != 206 and start:
                raise TransferError(f"the store gives no part of {name}", answer.status)
            if int(answer.headers.get("Content-Length") or size) < size:
                raise TransferError(f"{name} is shorter in the store than it should be", SHORT)
            done, block = 0, memoryview(bytearray(min(BLOCK, size)))
            while done < size:
                count = answer.readinto(block[: size - done])
                if not count:
                    raise OSError(f"{size - done} bytes of {size} are missing")
                _write_at(fd, block[:count], start + done)
                done += count

    _try(links, "get", name, attempt)


def read(links: Links, name: str, limit: int) -> bytes:
    """Read an object that is small.

    Raises
    ------
    TransferError
        With status 404 if there is none.
    """

    def attempt(url: str) -> bytes:
        path = file_path(url)
        if path is not None:
            with _opened(path) as file:
                return file.read(limit)
        with urlopen(Request(url), timeout=_TIMEOUT) as answer:  # noqa: S310  signed by the kernel
            data: bytes = answer.read(limit)
            return data

    return _try(links, "get", name, attempt)


def fetch_file(links: Links, name: str, path: str) -> None:
    """Write an object to a new file; raises as `read`."""

    def attempt(url: str) -> None:
        shared = file_path(url)
        if shared is not None:
            with _opened(shared) as source, open(path, "wb") as target:
                shutil.copyfileobj(source, target, BLOCK)
            return
        with urlopen(Request(url), timeout=_TIMEOUT) as answer, open(path, "wb") as target:  # noqa: S310
            shutil.copyfileobj(answer, target, BLOCK)
            length = int(answer.headers.get("Content-Length") or target.tell())
            if target.tell() != length:
                raise OSError(f"{length - target.tell()} bytes of {length} are missing")

    _try(links, "get", name, attempt)


def put(links: Links, name: str, blocks: Callable[[], Iterable[bytes]], size: int, *, only_new: bool = False) -> None:
    """Write an object.

    Parameters
    ----------
    links : Links
    name : str
    blocks : callable
        Gives its bytes, as often as it is called.
    size : int
        How many they are.
    only_new : bool, default False
        Refuse with status 412 if there is one of that name, as far as the store can.

    Raises
    ------
    TransferError
    """

    def attempt(url: str) -> None:
        path = file_path(url)
        if path is not None:
            _put_file(path, blocks(), only_new)
            return
        headers = {"Content-Length": str(size), "Content-Type": "application/octet-stream", **links.headers}
        if only_new:
            headers["If-None-Match"] = "*"
        request = Request(url, data=blocks(), headers=headers, method="PUT")  # noqa: S310
        with urlopen(request, timeout=_TIMEOUT) as answer:  # noqa: S310
            answer.read()

    _try(links, "put", name, attempt)


def _opened(path: str) -> BinaryIO:
    """Open a file of a shared volume; raises `TransferError` with status 404 if there is none."""
    try:
        return open(path, "rb")
    except FileNotFoundError:
        raise TransferError(f"there is no {path}", 404) from None


def _try(links: Links, verb: str, name: str, attempt: Callable[[str], T]) -> T:
    """Make a request until it succeeds, is refused, or patience ends."""
    end, pause = time.monotonic() + PATIENCE, 0.25
    while True:
        url = links.url(verb, name)
        try:
            return attempt(url)
        except HTTPError as error:
            said = _said(error)
            if error.code in _REFUSED and links.newer(verb, name, url):
                continue
            if error.code < 500 and error.code not in _LATER:
                raise TransferError(f"the store refuses to {verb} {name}: {said}", error.code) from None
        except FileExistsError:
            raise TransferError(f"{name} is there already", 412) from None
        except (HTTPException, OSError) as error:
            reason = error.reason if isinstance(error, URLError) else error
            said = f"{type(reason).__name__}: {reason}" if isinstance(reason, BaseException) else str(reason)
            if file_path(url) is not None:
                raise TransferError(f"the store's folder cannot be used: {said}") from None
        if time.monotonic() + pause > end:
            raise TransferError(f"the store does not {verb} {name}: {said}")
        time.sleep(pause)
        pause = min(2 * pause, _LONGEST_PAUSE)


def _said(error: HTTPError) -> str:
    """Give what a store says of a refusal, without what it repeats of the request."""
    try:
        text = error.read(1 << 16).decode("utf-8", "replace")
    except (HTTPException, OSError):
        text = ""
    parts = [re.search(f"<{tag}>([^<]{{1,200}})</{tag}>", text) for tag in ("Code", "Message")]
    words = ": ".join(part.group(1) for part in parts if part)
    if "expired" in words.lower():
        words = f"the URL has expired ({words})"
    return f"{error.code} {words or error.reason}"


def _put_file(path: str, blocks: Iterable[bytes], only_new: bool) -> None:
    """Write a file, complete or not at all."""
    os.makedirs(os.path.dirname(path), exist_ok=True)
    if only_new and os.path.exists(path):
        raise FileExistsError(path)
    temporary = f"{path}.{os.getpid()}.part"
    try:
        with open(temporary, "wb") as file:
            file.writelines(blocks)
        if only_new:
            os.link(temporary, path)
        else:
            os.replace(temporary, path)
    finally:
        if os.path.exists(temporary):
            os.unlink(temporary)


def _write_at(fd: int, left: memoryview, offset: int) -> None:
    while left:
        count = os.pwrite(fd, left, offset)
        left, offset = left[count:], offset + count
