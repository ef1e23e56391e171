"""Sends what a job leaves to its store, from the supervisor: all at once at the end, or piece by piece before."""

from __future__ import annotations

import os
import stat
from concurrent.futures import ThreadPoolExecutor
from functools import partial

from . import parcel
from .transfer import BLOCK, Links, TransferError, put

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

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
    files = _Files(folder)
    files.add(digests)
    part = parcel.part_size(files.total)
    index = parcel.write_index(files.objects, part)
    if not part:
        index += b"".join(files.blocks(0, files.total))
    place = _claim(links, index, attempt)
    if part:
        _put_parts(links, place, files, part, first=0)


class Growing:
    """A place in the store to which files are added while the job runs.

    All files are one after the other, as in `parcel`, and what was sent once stays where it is: the part that is not
    full is sent again with what has come, then the index. Whoever has an older index still finds by it what it names.

    Parameters
    ----------
    path : str
        The file of URLs.
    folder : str
        Where the files are.
    attempt : int
        Where to look first for a place that is free.

    Attributes
    ----------
    full : bool
        There was more than has room here; what was added before is there.
    """

    def __init__(self, path: str, folder: str, attempt: int) -> None:
        self.full = False
        self._path = path
        self._attempt = attempt
        self._files = _Files(folder)
        self._part = 0
        self._place: int | None = None

    @property
    def loose(self) -> int:
        """Bytes that are sent again when something is added."""
        return self._files.total % self._part if self._part else 0

    def size_of(self, digests: Iterable[str]) -> int:
        """Give how large some files are together."""
        return sum(size for _, size in self._files.found(digests))

    def add(self, digests: Sequence[str], expected: Callable[[int], int]) -> list[str]:
        """Send files, and give the names of those that are there now.

        Parameters
        ----------
        digests : sequence of str
            Their names; what is no plain file is left out.
        expected : callable
            Says how many bytes there will be in all, given how many there are.

        Raises
        ------
        OSError, TransferError
            If they could not be sent. What was there before still is.
        """
        links, files = Links(self._path), self._files.copy()
        files.add(digests)
        if not self._part:
            self._part = max(parcel.PART, min(parcel.PART_MOST, -(-expected(files.total) // parcel.PARTS)))
        if files.total > self._part * parcel.PARTS:
            self.full = True
            return []
        if self._place is None:
            self._place = _claim(links, parcel.write_index([], self._part), self._attempt)
        _put_parts(links, self._place, files, self._part, first=self._files.total // self._part)
        index = parcel.write_index(files.objects, self._part)
        put(links, parcel.index_name(self._place), lambda: [index], len(index))
        self._files = files
        return [digest for digest, _ in files.objects]


def _put_parts(links: Links, place: int, files: _Files, part: int, *, first: int) -> None:
    """Write the parts from one on, several at a time."""
    with ThreadPoolExecutor(WIDTH) as pool:
        waiting = []
        for start in range(first * part, files.total, part):
            size = min(part, files.total - start)
            name = parcel.part_name(place, start // part)
            waiting.append(pool.submit(put, links, name, partial(files.blocks, start, size), size))
        for one in waiting:
            one.result()


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
    """Files one after the other, read as if they were one; each is open only while it is read: there may be many."""

    def __init__(self, folder: str) -> None:
        self.objects: list[tuple[str, int]] = []
        self.total = 0
        self._folder = folder

    def copy(self) -> _Files:
        """Give the same ones, to which others can be added."""
        made = _Files(self._folder)
        made.objects, made.total = self.objects[:], self.total
        return made

    def found(self, digests: Iterable[str]) -> Iterator[tuple[str, int]]:
        """Give the names and sizes of those that are plain files."""
        for digest in digests:
            try:
                status = os.lstat(os.path.join(self._folder, digest))
            except OSError:
                continue
            if stat.S_ISREG(status.st_mode):
                yield digest, status.st_size

    def add(self, digests: Iterable[str]) -> None:
        """Put files behind the others."""
        for digest, size in self.found(digests):
            self.objects.append((digest, size))
            self.total += size

    def blocks(self, start: int, size: int) -> Iterator[bytes]:
        """Read bytes from anywhere; raises OSError if a file has become shorter, or is none any more."""
        begins, end = 0, start + size
        for digest, length in self.objects:
            at = max(start, begins)
            if at < min(end, begins + length):
                # Whoever writes here is the user's code, which might put a pipe or a link in a file's place.
                flags = os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC
                fd = os.open(os.path.join(self._folder, digest), flags)
                try:
                    if not stat.S_ISREG(os.fstat(fd).st_mode):
                        raise OSError("an artifact is no file any more")
                    while at < min(end, begins + length):
                        data = os.pread(fd, min(BLOCK, end - at, begins + length - at), at - begins)
                        if not data:
                            raise OSError("an artifact has become shorter while it was sent")
                        yield data
                        at += len(data)
                finally:
                    os.close(fd)
            begins += length
