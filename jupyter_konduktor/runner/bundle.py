"""A payload as one piece: a line of JSON, the pack, and the buffers that do not stand in it.

The line tells the size of the pack, and digest and size of each buffer, in the order in which they follow::

    {"pack":4711,"objects":[["e3b0...",98304],...],"elsewhere":[["9f86...",7340032],...]}

``elsewhere`` names the buffers that lie in a store, each by itself.

Whoever sends it compresses it if that pays, and the spec names the SHA-256 of what is sent. So nothing of it is looked
at, and nothing is unpacked, that is not what the spec vouches for.
"""

from __future__ import annotations

import json

from .digest import sha256
from .pack import CodecError

TYPE_CHECKING = False
if TYPE_CHECKING:  # importing typing costs a job 3 ms
    from collections.abc import Mapping
    from typing import Any

VARIABLE = "KONDUKTOR_PAYLOAD"
"""The environment variable that holds a bundle in base64 where the spec names no file."""


def join(data: bytes, objects: Mapping[str, memoryview], elsewhere: Mapping[str, int] | None = None) -> bytes:
    """Make a bundle of a pack and buffers, some of which, told by their sizes, lie elsewhere."""
    header = {
        "pack": len(data),
        "objects": [[digest, buffer.nbytes] for digest, buffer in objects.items()],
        "elsewhere": [[digest, size] for digest, size in (elsewhere or {}).items()],
    }
    line = json.dumps(header, separators=(",", ":")).encode("ascii")
    return b"".join((line, b"\n", data, *objects.values()))


def unpack(told: Mapping[str, Any], text: str) -> tuple[memoryview, dict[str, memoryview], list[tuple[str, int]]]:
    """Check a bundle and take it apart.

    Parameters
    ----------
    told : mapping
        What the spec says: ``sha256`` of what was sent, ``zlib`` if that is compressed, ``path`` if it is a file.
    text : str
        What the environment variable held.

    Returns
    -------
    memoryview
        The pack.
    dict of str to memoryview
        The buffers by their SHA-256, which is not checked: that of the whole was.
    list of (str, int)
        SHA-256 and size of those that lie elsewhere.

    Raises
    ------
    CodecError
        If it is not what the spec says.
    """
    if told.get("path"):
        with open(told["path"], "rb") as file:
            data = file.read()
    else:
        import binascii

        try:
            data = binascii.a2b_base64(text)
        except ValueError as error:
            raise CodecError("integrity", f"the payload cannot be read: {error}") from None
    if sha256(data).hexdigest() != told["sha256"]:
        raise CodecError("integrity", "the payload does not have the SHA-256 that the job names", told["sha256"])
    if told.get("zlib"):
        import zlib

        data = zlib.decompress(data)
    start = data.index(b"\n") + 1
    header = json.loads(data[:start].decode("ascii"))
    view = memoryview(data)
    end = start + int(header["pack"])
    pack, objects = view[start:end], {}
    for digest, size in header["objects"]:
        objects[digest] = view[end : end + size]
        end += size
    return pack, objects, [(str(digest), int(size)) for digest, size in header["elsewhere"]]
