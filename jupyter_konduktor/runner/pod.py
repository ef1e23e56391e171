"""One attempt in a container: the supervisor with the container's own ways to report."""

from __future__ import annotations

import json
import os
import sys

from .supervise import Reporter, Supervisor


class PodReporter(Reporter):
    """Writes the stream to standard output, and the envelope to the termination message."""

    def __init__(self, termination_file: str) -> None:
        self.termination_file = termination_file

    def log(self, node: int, data: bytes) -> None:
        """Write to standard output."""
        left = memoryview(data)
        while left:
            left = left[os.write(1, left) :]

    def warning(self, message: str) -> None:
        """Write to standard error."""
        print(f"konduktor: {message}", file=sys.stderr)

    def finished(
        self, envelope: bytes, exit_codes: list[int | None], failed_node: int | None, signal: int | None
    ) -> None:
        """Write the termination message: the file is a mount and cannot be replaced, so in one write."""
        fd = os.open(self.termination_file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        try:
            os.write(fd, envelope)
        finally:
            os.close(fd)


def main(arguments: list[str]) -> None:
    """Run the job of a spec file and end with its exit code."""
    if len(arguments) != 1:
        print("usage: python RUNNER_FOLDER SPEC.json", file=sys.stderr)
        sys.exit(2)
    with open(arguments[0], encoding="utf-8") as file:
        spec = json.load(file)
    sys.exit(Supervisor(spec, PodReporter(spec["termination_file"])).run())
