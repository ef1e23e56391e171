"""SHA-256, without the 16 ms that `hashlib` takes to load OpenSSL where there is little to digest."""

from __future__ import annotations

import sys

try:
    from _sha2 import sha256 as _small  # type: ignore[import-not-found]  # Python 3.12
except ImportError:
    try:
        from _sha256 import sha256 as _small  # type: ignore[import-not-found]
    except ImportError:
        _small = None  # this Python was built without

TYPE_CHECKING = False
if TYPE_CHECKING:  # importing typing costs a job 3 ms
    from collections.abc import Iterable
    from typing import Any

LARGE = 64 << 20
"""Bytes from which on a buffer is digested in chunks."""

CHUNK = 16 << 20
"""Bytes of one."""

_SMALL = 2 << 20  # bytes in all, after which OpenSSL, which is several times as fast, is worth its loading
_digested = 0


def sha256(data: Any = b"") -> Any:
    """Begin a digest, as ``hashlib.sha256`` does."""
    global _digested
    _digested += memoryview(data).nbytes
    if _small is None or "hashlib" in sys.modules or _digested > _SMALL:
        import hashlib

        return hashlib.sha256(data)
    return _small(data)


def of_buffers(buffers: Iterable[Any]) -> list[str]:
    """Digest buffers by which they are named, on several threads where that pays: OpenSSL lets go of the interpreter.

    The name of a buffer is its SHA-256; of one of `LARGE` bytes or more, the SHA-256 of those of its chunks one after
    the other, so that one array does not keep all but one core waiting.
    """
    views = [memoryview(buffer).cast("B") for buffer in buffers]
    chunks = [[view] if view.nbytes < LARGE else _cut(view) for view in views]
    if sum(view.nbytes for view in views) < LARGE // 2:
        digests = [[sha256(chunk).digest() for chunk in parts] for parts in chunks]
    else:
        from concurrent.futures import ThreadPoolExecutor
        from hashlib import sha256 as fast

        with ThreadPoolExecutor(4) as pool:
            digests = [list(pool.map(lambda chunk: fast(chunk).digest(), parts)) for parts in chunks]
    return [(parts[0] if len(parts) == 1 else sha256(b"".join(parts)).digest()).hex() for parts in digests]


def _cut(view: memoryview) -> list[memoryview]:
    return [view[start : start + CHUNK] for start in range(0, view.nbytes, CHUNK)]
