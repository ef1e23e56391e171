"""The setting ``store``, taken apart."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote, urlsplit

from jupyter_konduktor.errors import ConfigError

SCHEMES = {"s3": "s3", "s3a": "s3", "gs": "gs", "az": "az", "abfs": "az", "abfss": "az", "file": "file"}
"""What an address may begin with, and the kind of store that it is."""

_ADVICE = (
    'Write store = "s3://bucket/prefix", "gs://bucket/prefix", "az://container/prefix" or "file:///shared/folder".'
)


@dataclass(frozen=True, slots=True)
class Address:
    """Where a store is.

    Attributes
    ----------
    url : str
        As it is written down: without a slash at its end.
    kind : str
        ``"s3"``, ``"gs"``, ``"az"`` or ``"file"``.
    folder : Path or None
        The folder of a ``file://`` store.
    """

    url: str
    kind: str
    folder: Path | None = None

    @classmethod
    def parse(cls, text: str) -> Address:
        """Read an address; raises `ConfigError` for one that names no store."""
        url = text.strip().rstrip("/")
        if url.startswith("/"):
            url = Path(url).as_uri()
        parts = urlsplit(url)
        kind = SCHEMES.get(parts.scheme)
        if kind is None:
            raise ConfigError(f"store: {text!r} is no address of a store", advice=_ADVICE)
        if parts.query or parts.fragment or parts.username or parts.password:
            # A key would stand in every record and log that names the store.
            raise ConfigError("store: an address holds a place, and no keys or options", advice=_ADVICE)
        if kind == "file":
            folder = Path(unquote(parts.path))
            if parts.netloc or not folder.is_absolute() or folder == Path("/"):
                raise ConfigError(f"store: {text!r} is no absolute path of a folder", advice=_ADVICE)
            return cls(folder.as_uri(), kind, folder)
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._@-]*", parts.netloc):
            raise ConfigError(f"store: {text!r} names no bucket", advice=_ADVICE)
        return cls(url, kind)
