"""Brings what a job was sent by way of a store to its disk, where the loader maps it."""

from __future__ import annotations

import fcntl
import os
from concurrent.futures import ThreadPoolExecutor

from .pack import CodecError
from .transfer import SHORT, Links, TransferError, file_path, get

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

PIECE = 16 << 20
"""Bytes of one request."""

WIDTH = 8
"""Requests at the same time."""


def fetch(path: str, folder: str, objects: Sequence[tuple[str, int]]) -> None:
    """Bring objects to ``<folder>/<aa>/<sha256>``, all of them or none; their digests are for the loader to check.

    Parameters
    ----------
    path : str
        The file of URLs.
    folder : str
    objects : sequence of (str, int)
        SHA-256 and size of each.

    Raises
    ------
    CodecError
        Of the kind ``"store"``, or ``"integrity"`` if an object is too short.
    """
    try:
        os.makedirs(folder, mode=0o700, exist_ok=True)
        lock = os.open(os.path.join(folder, "lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            # torchrun starts several processes on a node, and one download does for all of them.
            fcntl.flock(lock, fcntl.LOCK_EX)
            _fetch(Links(path), folder, [one for one in objects if not _is_there(folder, *one)])
        finally:
            os.close(lock)
    except TransferError as error:
        raise CodecError("integrity" if error.status == SHORT else "store", str(error)) from None
    except OSError as error:
        raise CodecError("store", f"what the store holds for this job cannot be kept here: {error}") from None


def _is_there(folder: str, sha256: str, size: int) -> bool:
    try:
        return os.stat(os.path.join(folder, sha256[:2], sha256)).st_size == size
    except FileNotFoundError:
        return False


def _fetch(links: Links, folder: str, objects: Sequence[tuple[str, int]]) -> None:
    places = {sha256: os.path.join(folder, sha256[:2], sha256) for sha256, _ in objects}
    sizes, files = dict(objects), {}
    try:
        for sha256, place in places.items():
            os.makedirs(os.path.dirname(place), mode=0o700, exist_ok=True)
            shared = file_path(links.url("get", sha256))
            if shared is not None:
                _link(shared, place, sizes[sha256])
            else:
                files[sha256] = os.open(place + ".part", os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        pieces = [
            (sha256, start, min(PIECE, sizes[sha256] - start))
            for sha256 in files
            for start in range(0, sizes[sha256], PIECE)
        ]
        with ThreadPoolExecutor(WIDTH) as pool:
            waiting = [pool.submit(get, links, sha256, start, size, files[sha256]) for sha256, start, size in pieces]
            try:
                for one in waiting:
                    one.result()
            except BaseException:
                for one in waiting:
                    one.cancel()
                raise
    finally:
        for file in files.values():
            os.close(file)
    for sha256 in files:
        os.rename(places[sha256] + ".part", places[sha256])


def _link(shared: str, place: str, size: int) -> None:
    """Take a file of a shared volume as it lies there."""
    found = os.stat(shared).st_size
    if found != size:
        raise TransferError(f"{shared} has {found:,} bytes, and should have {size:,}", SHORT)
    if os.path.lexists(place):
        os.unlink(place)
    os.symlink(shared, place)
