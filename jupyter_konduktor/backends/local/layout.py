"""Where things lie under the root of the local backend."""

from __future__ import annotations

import os


class Layout:
    """The paths under one root.

    Parameters
    ----------
    root : str
        An absolute path.
    """

    __slots__ = ("database", "jobs", "objects", "packages", "root", "watch")

    def __init__(self, root: str) -> None:
        self.root = root
        self.database = os.path.join(root, "jobs.sqlite")
        self.jobs = os.path.join(root, "jobs")
        self.objects = os.path.join(root, "objects")
        self.packages = os.path.join(root, "packages")
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
