"""Sends what a job leaves to its store, from the supervisor, once nothing of the job runs any more."""

from __future__ import annotations

import os
import stat
from concurrent.futures import ThreadPoolExecutor
from functools import partial

from . import parcel
from .transfer import BLOCK, Links, TransferError, put

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

WIDTH = 8
"""Requests at the same time."""

_TAKEN = 412
_UNKNOWN = (400, 501)  # of a store that cannot write an object only if it is new


def send(path: str, folder: str, digests: Sequence[str], attempt: int) -> None:
    """Send files to the store.

    Parameters
    ----------
    path : str
        The file of URLs.
    folder : str
        Where the files are.
    digests : sequence of str
        Their names; what is no plain file is left out: the folder is open to the user's code.
    attempt : int
        Where to look first for a place that is free.

    Raises
    ------
    OSError, TransferError
        If they could not be sent.
    """
    links = Links(path)
    files = _Files(folder, digests)
    try:
        part = parcel.part_size(files.total)
        index = parcel.write_index(files.objects, part)
        if not part:
            index += b"".join(files.blocks(0, files.total))
        place = _claim(links, index, attempt)
        if not part:
            return
        with ThreadPoolExecutor(WIDTH) as pool:
            waiting = []
            for number, start in enumerate(range(0, files.total, part)):
                size = min(part, files.total - start)
                name = parcel.part_name(place, number)
                waiting.append(pool.submit(put, links, name, partial(files.blocks, start, size), size))
            for one in waiting:
                one.result()
    finally:
        files.close()


def _claim(links: Links, index: bytes, attempt: int) -> int:
    """Write the index to the first place that no attempt has taken, else over the first one that was looked at."""
    order = [(attempt + step) % parcel.ATTEMPTS for step in range(parcel.ATTEMPTS)]
    for place in order:
        try:
            put(links, parcel.index_name(place), lambda: [index], len(index), only_new=True)
            return place
        except TransferError as error:
            if error.status in _UNKNOWN:
                break
            if error.status != _TAKEN:
                raise
    put(links, parcel.index_name(order[0]), lambda: [index], len(index))
    return order[0]


class _Files:
    """Files one after the other, read as if they were one."""

    def __init__(self, folder: str, digests: Sequence[str]) -> None:
        self.objects: list[tuple[str, int]] = []
        self.total = 0
        self._files: list[tuple[int, int, int]] = []  # where it begins, size, file descriptor
        for digest in digests:
            try:
                fd = os.open(os.path.join(folder, digest), os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC)
            except OSError:
                continue
            status = os.fstat(fd)
            if not stat.S_ISREG(status.st_mode):
                os.close(fd)
                continue
            self.objects.append((digest, status.st_size))
            self._files.append((self.total, status.st_size, fd))
            self.total += status.st_size

    def blocks(self, start: int, size: int) -> Iterator[bytes]:
        """Read bytes from anywhere; raises OSError if a file has become shorter."""
        end = start + size
        for begins, length, fd in self._files:
            at = max(start, begins)
            while at < min(end, begins + length):
                data = os.pread(fd, min(BLOCK, end - at, begins + length - at), at - begins)
                if not data:
                    raise OSError("an artifact has become shorter while it was sent")
                yield data
                at += len(data)

    def close(self) -> None:
        """Close them."""
        for _, _, fd in self._files:
            os.close(fd)
