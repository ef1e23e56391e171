"""Where things lie under the root of the local backend."""

from __future__ import annotations

import os

PRIVATE_DIR = 0o700
PRIVATE_FILE = 0o600


class Layout:
    """The paths under one root.

    Parameters
    ----------
    root : str
        An absolute path.
    """

    __slots__ = ("database", "jobs", "objects", "root", "watch")

    def __init__(self, root: str) -> None:
        self.root = root
        self.database = os.path.join(root, "jobs.sqlite")
        self.jobs = os.path.join(root, "jobs")
        self.objects = os.path.join(root, "objects")
        self.watch = os.path.join(root, "watch")

    def job(self, name: str) -> str:
        """Give the directory of a job."""
        return os.path.join(self.jobs, name)

    def attempt(self, name: str, attempt: int) -> str:
        """Give the directory of an attempt; that it exists says that the attempt was begun."""
        return os.path.join(self.jobs, name, "attempts", str(attempt))

    def log(self, name: str, attempt: int, node: int) -> str:
        """Give the file with one node's stream."""
        return os.path.join(self.attempt(name, attempt), f"node-{node}.log")

    def envelope(self, name: str, attempt: int) -> str:
        """Give the file with the envelope."""
        return os.path.join(self.attempt(name, attempt), "envelope.json")

    def verdict(self, name: str, attempt: int) -> str:
        """Give the file that says how an attempt ended; written before the envelope."""
        return os.path.join(self.attempt(name, attempt), "end.json")

    def items(self, name: str, attempt: int) -> str:
        """Give the file with a line for each finished item of a map."""
        return os.path.join(self.attempt(name, attempt), "items.jsonl")

    def artifact(self, name: str, attempt: int, sha256: str) -> str:
        """Give the file of an artifact that an attempt wrote."""
        return os.path.join(self.attempt(name, attempt), "artifacts", sha256)

    def object(self, sha256: str) -> str:
        """Give the file of a buffer that travels with payloads."""
        return os.path.join(self.objects, sha256[:2], sha256)

    def lock(self, name: str) -> str:
        """Give the file that a job's supervisor holds locked for as long as it lives."""
        return os.path.join(self.job(name), "lock")


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
        os.rename(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise


def write_all(fd: int, data: bytes | memoryview) -> None:
    """Write all of the data, however little the system takes at a time."""
    left = memoryview(data).cast("B")
    while left:
        left = left[os.write(fd, left) :]
