"""What is remembered of images: which digest a reference meant when it ran last, and which Python is in there."""

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
        return self._read().get(reference)

    def put(self, reference: str, digest: str, python: str) -> None:
        """Remember what a job has shown of its image."""
        if self.get(reference) == (digest, python):
            return
        try:
            fd = os.open(self._path.with_suffix(".lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, PRIVATE_FILE)
            try:
                fcntl.flock(fd, fcntl.LOCK_EX)
                known = self._read()
                known.pop(reference, None)
                known[reference] = (digest, python)
                newest = dict(list(known.items())[-_LIMIT:])
                write_private(str(self._path), json.dumps(newest).encode())
            finally:
                os.close(fd)
        except OSError:
            return  # it will be seen again

    def _read(self) -> dict[str, tuple[str, str]]:
        try:
            found = json.loads(self._path.read_bytes())
            return {str(key): (str(digest), str(python)) for key, (digest, python) in found.items()}
        except (AttributeError, OSError, TypeError, ValueError):
            return {}
