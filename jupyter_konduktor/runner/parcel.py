r"""What a job leaves in a store, as it is written and as it is read.

Each attempt has an index and up to `PARTS` parts. The index is a line of JSON::

    {"part":16777216,"objects":[["e3b0...",98304],...]}

The objects stand one after the other in their order, and that is cut into parts of ``part`` bytes; where ``part`` is 0
they follow the line itself. So few URLs carry any number of objects, a large one in several requests at once. Nothing
here vouches for anything: whoever reads an object compares it with the SHA-256 that it was asked for by.

An attempt takes the first index that no other has taken; if all are, it writes over the last one's. A map that runs
adds to what it has sent: the last part, and then the index, are written again, and begin as they did.
"""

from __future__ import annotations

import json

TYPE_CHECKING = False
if TYPE_CHECKING:  # importing typing costs a job 3 ms
    from collections.abc import Iterator, Sequence

ATTEMPTS = 4
"""Attempts whose results have places beside each other."""

PARTS = 16
"""Parts that an attempt may write."""

PART = 16 << 20
"""Bytes of a part, unless all that there is needs larger ones."""

PART_MOST = 5 << 30
"""Bytes that stores take in one request."""

INLINE = 1 << 20
"""Bytes in all up to which the objects stand in the index."""

HEAD_MOST = 4 << 20
"""Bytes that an index without them may have."""


def index_name(attempt: int) -> str:
    """Name an attempt's index."""
    return f"{attempt}/index"


def part_name(attempt: int, part: int) -> str:
    """Name a part."""
    return f"{attempt}/{part}"


NAMES = [
    name
    for attempt in range(ATTEMPTS)
    for name in (index_name(attempt), *(part_name(attempt, part) for part in range(PARTS)))
]
"""All places for the results of a job."""


def part_size(total: int) -> int:
    """Choose how large parts are; 0 where there are to be none.

    Raises
    ------
    OSError
        If there is more than all parts may hold.
    """
    if total <= INLINE:
        return 0
    size = max(PART, -(-total // PARTS))
    if size > PART_MOST:
        raise OSError(f"results have {total:,} bytes, and a store takes {PARTS * PART_MOST:,} from a job")
    return size


def write_index(objects: Sequence[tuple[str, int]], part: int) -> bytes:
    """Write an index without what may follow it."""
    return json.dumps({"part": part, "objects": objects}, separators=(",", ":")).encode("ascii") + b"\n"


class Index:
    """An index that was read.

    Attributes
    ----------
    part : int
        Bytes of a part; 0 if the objects stand in the index.
    start : int
        Where they begin then.

    Raises
    ------
    ValueError
        If it is none.
    """

    def __init__(self, data: bytes | memoryview) -> None:
        line = bytes(data[: HEAD_MOST + 1]).partition(b"\n")[0]
        try:
            found = json.loads(line.decode("ascii"))
            self.part = int(found["part"])
        except (KeyError, RecursionError, TypeError) as error:
            raise ValueError(f"no index: {error}") from None
        if self.part < 0:
            raise ValueError("parts of no size")
        self.start = len(line) + 1
        self._places: dict[str, tuple[int, int]] = {}
        offset = 0
        for sha256, size in found.get("objects") or ():
            if type(size) is not int or size < 0:
                raise ValueError("an object without a size")
            self._places[str(sha256)] = offset, size
            offset += size

    def place(self, sha256: str, size: int) -> int | None:
        """Say where an object begins among all; None if it is not there."""
        offset, known = self._places.get(sha256, (0, -1))
        return offset if known == size else None

    def ranges(self, offset: int, size: int) -> Iterator[tuple[int, int, int]]:
        """Give the parts that bytes stand in, with where they begin there and how many they are."""
        while size:
            part, start = divmod(offset, self.part)
            count = min(size, self.part - start)
            yield part, start, count
            offset += count
            size -= count
