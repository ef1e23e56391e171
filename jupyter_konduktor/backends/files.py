"""Files that only their owner reads, whole or not at all; pieces of them, and what is too large to be copied."""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pathlib import Path

PRIVATE_DIR = 0o700
PRIVATE_FILE = 0o600


def make_private_folders(path: Path) -> None:
    """Make a folder and those above it, each for its owner only; `Path.mkdir` would make only the last one so."""
    for folder in (*reversed(path.parents), path):
        if not folder.exists():
            folder.mkdir(mode=PRIVATE_DIR, exist_ok=True)


def write_private(path: str, *parts: bytes | memoryview) -> None:
    """Write a file that only its owner reads, complete or not at all."""
    temporary = f"{path}.{os.getpid()}.part"
    fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, PRIVATE_FILE)
    try:
        try:
            for part in parts:
                write_all(fd, part)
        finally:
            os.close(fd)
        os.rename(temporary, path)  # noqa: PTH104  (pathlib costs a local job some 10 ms of its start)
    except BaseException:
        os.unlink(temporary)  # noqa: PTH108
        raise


def write_all(fd: int, data: bytes | memoryview) -> None:
    """Write all of the data, however little the system takes at a time."""
    left = memoryview(data).cast("B")
    while left:
        left = left[os.write(fd, left) :]


def read_piece(path: str | Path, offset: int, limit: int) -> tuple[bytes, int, bool]:
    """Read a piece of a file that grows.

    Parameters
    ----------
    path : str or Path
        Where it is, or will be.
    offset : int
        Where to begin; a negative one counts from the end.
    limit : int
        Bytes at most.

    Returns
    -------
    bytes, int, bool
        The piece, where it ends, and whether that is where the file ends at present.
    """
    try:
        with open(path, "rb") as file:  # noqa: PTH123
            size = file.seek(0, os.SEEK_END)
            start = max(0, size + offset) if offset < 0 else offset
            file.seek(start)
            data = file.read(limit)
    except FileNotFoundError:
        return b"", max(0, offset), True
    return data, start + len(data), start + len(data) >= size


def map_private(path: str | Path) -> memoryview:
    """Map a file into memory that can be written to without touching the file.

    Raises
    ------
    FileNotFoundError
    """
    import mmap

    with open(path, "rb") as file:  # noqa: PTH123
        if os.fstat(file.fileno()).st_size == 0:
            return memoryview(bytearray())  # nothing cannot be mapped
        return memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY))
