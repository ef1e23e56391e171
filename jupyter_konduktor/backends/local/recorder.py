"""What a running attempt reports, written to its directory."""

from __future__ import annotations

import os

from jupyter_konduktor.backends.files import PRIVATE_DIR, PRIVATE_FILE, write_all, write_private
from jupyter_konduktor.backends.local.layout import Layout

_BALLAST = 64 * 1024


class Recorder:
    """The files of one attempt.

    Parameters
    ----------
    layout : Layout
    name : str
    attempt : int

    Raises
    ------
    FileExistsError
        If the attempt was begun before.
    """

    def __init__(self, layout: Layout, name: str, attempt: int) -> None:
        self._layout = layout
        self._name = name
        self._attempt = attempt
        self._files: dict[str, int] = {}
        self.folder = layout.attempt(name, attempt)
        os.mkdir(self.folder, PRIVATE_DIR)
        self.artifacts = os.path.join(self.folder, "artifacts")
        os.mkdir(self.artifacts, PRIVATE_DIR)
        # When output has filled the disk, the space of this is what the result and the last states are written to.
        self._ballast = os.path.join(self.folder, "reserved")
        write_private(self._ballast, bytes(_BALLAST))

    def output(self, node: int) -> str:
        """Make the directory in which a node's processes may leave ``result.json``."""
        folder = os.path.join(self.folder, f"output-{node}")
        os.mkdir(folder, PRIVATE_DIR)
        return folder

    def log(self, node: int, data: bytes) -> None:
        """Append to a node's stream."""
        write_all(self._file(self._layout.log(self._name, self._attempt, node)), data)

    def item(self, index: int, envelope: bytes) -> None:
        """Append the envelope of a finished item of a map."""
        write_all(self._file(self._layout.items(self._name, self._attempt)), b"%d %s\n" % (index, envelope))

    def envelope(self, envelope: bytes) -> None:
        """Write the envelope, whole or not at all."""
        write_private(self._layout.envelope(self._name, self._attempt), envelope)

    def drop_ballast(self) -> None:
        """Give back the space that was kept for the end."""
        try:
            os.unlink(self._ballast)
        except FileNotFoundError:
            pass  # it was needed before

    def close(self) -> None:
        """Close the files."""
        for fd in self._files.values():
            os.close(fd)
        self._files.clear()

    def _file(self, path: str) -> int:
        if path not in self._files:
            flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
            self._files[path] = os.open(path, flags, PRIVATE_FILE)
        return self._files[path]
