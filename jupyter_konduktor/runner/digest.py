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
    from typing import Any

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
