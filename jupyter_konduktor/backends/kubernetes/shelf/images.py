"""What is remembered of images: which digest a reference meant when it ran last, and which Python a digest has."""

from __future__ import annotations

import fcntl
import json
import os
from pathlib import Path

from jupyter_konduktor.backends.files import PRIVATE_FILE, write_private

_LIMIT = 1000


class Images:
    """What jobs have shown of the images they ran in; it is advice, and losing it costs nothing.

    Parameters
    ----------
    path : Path
        A file of JSON.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    def get(self, reference: str) -> tuple[str, str] | None:
        """Give the digest and the version of Python of an image; None if no job has run in it yet."""
        digests = self._read("digests")
        pythons = self._read("pythons")
        digest = digests.get(reference, reference)  # one that names its digest may have run under another name
        return (digest, pythons[digest]) if digest in pythons else None

    def put(self, reference: str, digest: str, python: str) -> None:
        """Remember what a job has shown of its image."""
        if self.get(reference) == (digest, python):
            return
        try:
            fd = os.open(self._path.with_suffix(".lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, PRIVATE_FILE)
            try:
                fcntl.flock(fd, fcntl.LOCK_EX)
                known = {
                    "digests": _newest(self._read("digests"), reference, digest),
                    "pythons": _newest(self._read("pythons"), digest, python),
                }
                write_private(str(self._path), json.dumps(known).encode())
            finally:
                os.close(fd)
        except OSError:
            return  # it will be seen again

    def _read(self, part: str) -> dict[str, str]:
        try:
            found = json.loads(self._path.read_bytes())[part]
            return {str(key): str(value) for key, value in found.items()}
        except (AttributeError, KeyError, OSError, TypeError, ValueError):
            return {}


def _newest(known: dict[str, str], key: str, value: str) -> dict[str, str]:
    """Put an entry at the end, and leave out what is oldest of too many."""
    known.pop(key, None)
    known[key] = value
    return dict(list(known.items())[-_LIMIT:])
