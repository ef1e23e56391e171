"""One attempt in a container: the supervisor with the container's own ways to report.

Each node is a container of its own and has the same spec; what differs stands in the environment. spec keys read here:
nonce, job_dir, output_dir, termination_file, artifacts, artifact_limit, bundle, links.
"""

from __future__ import annotations

import json
import os
import stat
import sys
import time
from _thread import allocate_lock

from .supervise import Reporter, Supervisor

TYPE_CHECKING = False
if TYPE_CHECKING:  # importing typing costs a job 3 ms
    from collections.abc import Iterable
    from typing import Any

    from .courier import Courier
    from .keeper import Keeper

ARTIFACT_LIMIT = 4 << 20
"""Bytes of artifacts that an attempt may leave in its log: kubelets rotate logs at 10 MiB, and serve no rotated one."""

_WHERE = {
    "job_dir": "/konduktor/work",
    "output_dir": "/konduktor/output",
    "termination_file": "/dev/termination-log",
    "artifact_limit": ARTIFACT_LIMIT,
}

COUNT_EVERY = 1 << 16
"""Bytes of output after which the stream says how many lines there were: a kubelet that is behind a rotation leaves out
a whole file and says nothing, and by the count whoever reads can tell."""

_AT_ONCE = 1 << 16


class PodReporter(Reporter):
    """Writes the stream, and in it what is carried, to standard output, and the envelope to the termination message.

    Parameters
    ----------
    spec : dict
    """

    def __init__(self, spec: dict[str, Any]) -> None:
        self._spec = spec
        self._room = ARTIFACT_LIMIT  # of the log
        self._sent: set[str] = set()
        self._lines = 0
        self._uncounted = 0  # bytes since the lines were counted last
        # Items that refer to what is yet to be sent to the store, each with that; the courier's thread takes them out.
        self._held: list[tuple[set[str], list[bytes]]] = []
        self._holding = allocate_lock()
        self._courier: Courier | None = None
        self._items = 0  # that have ended
        self._keeper: Keeper | None = None
        self._stopped = False

    def started(self, node: int) -> None:
        """Say what runs here."""
        attempt = os.environ.get("RESTART_ATTEMPT", "")
        self._control(
            t="start",
            python=".".join(map(str, sys.version_info[:3])),
            time=time.time(),
            attempt=int(attempt) if attempt.isdigit() else None,
        )
        if node == 0 and self._spec.get("links"):
            from .slots import is_kept

            if is_kept(self._spec):
                from .keeper import Keeper

                self._keeper = Keeper(self._spec, self.warning)

    def stopping(self) -> None:
        """Take note that another attempt may follow, however well this one ends."""
        self._stopped = True

    def log(self, node: int, data: bytes) -> None:
        """Write whole lines to standard output."""
        _write(data)
        self._lines += data.count(b"\n")
        self._uncounted += len(data)
        if self._uncounted >= COUNT_EVERY:
            self._count()

    def item(self, index: int, envelope: bytes) -> None:
        """Carry the envelope of an item, and before it what it refers to."""
        from .stream import carrier_lines

        self._artifacts()
        self._items += 1
        lines = carrier_lines(self._spec["nonce"], "i", str(index), envelope)
        left = set(self._left()) if self._spec.get("links") else set()
        if not left:
            self._carry(lines)
            return
        with self._holding:
            self._held.append((left, list(lines)))
        if self._courier is None:
            from .courier import Courier

            self._courier = Courier(
                self._spec["links"],
                self._spec["artifacts"],
                _attempt(),
                left=self._left,
                expected=self._expected,
                arrived=self._arrived,
                warn=self.warning,
            )

    def _expected(self, size: int) -> int:
        """Say how much all items will leave, if they are like those that have ended; twice that, as they are not."""
        return 2 * size * max(int(self._spec.get("items") or 0), self._items) // self._items

    def _arrived(self, digests: Iterable[str]) -> None:
        """Carry the items that refer to nothing which is yet to be sent."""
        self._sent.update(digests)
        ready: list[bytes] = []
        with self._holding:
            while self._held and self._held[0][0] <= self._sent:
                ready += self._held.pop(0)[1]
        self._carry(ready)

    def warning(self, message: str) -> None:
        """Write a line to standard output, where all others go."""
        try:
            self.log(0, f"konduktor: {message}\n".encode("utf-8", "backslashreplace"))
        except OSError:
            pass  # that is what it was going to say

    def finished(
        self, envelope: bytes, exit_codes: list[int | None], failed_node: int | None, signal: int | None
    ) -> None:
        """End the log, then write the termination message: its file is a mount, so it is not replaced."""
        if self._keeper is not None:
            kept = self._keeper.finish(keep=self._stopped or any(exit_codes))
            if kept:
                self.warning(kept)
        if self._courier is not None:
            self._courier.finish()
        problem = self._deposit() if self._spec.get("links") else ""
        self._artifacts()
        if problem and self._left():
            from .envelope import with_loss

            envelope = with_loss(envelope, problem)
        for _, lines in self._held:
            self._carry(lines)
        if self._uncounted:
            self._count()
        self._control(t="end")
        fd = os.open(self._spec["termination_file"], os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        try:
            os.write(fd, envelope)
        finally:
            os.close(fd)

    def _count(self) -> None:
        self._uncounted = 0
        self._control(t="lines", n=self._lines)

    def _control(self, **record: Any) -> None:
        from .stream import control_line

        self._carry([control_line(self._spec["nonce"], record)])

    def _left(self) -> list[str]:
        """List the artifacts that were not sent yet; what has another name is being written, or not ours."""
        folder = self._spec["artifacts"]
        if folder is None or not os.path.isdir(folder):
            return []
        return sorted(name for name in set(os.listdir(folder)) - self._sent if len(name) == 64)

    def _deposit(self) -> str:
        """Send the artifacts that were not sent yet to the store; gives the reason if that cannot be done."""
        digests = self._left()
        if not digests:
            return ""
        from . import deposit
        from .transfer import TransferError

        try:
            deposit.send(self._spec["links"], self._spec["artifacts"], digests, _attempt())
        except (OSError, TransferError) as error:
            self.warning(f"what the job leaves could not be sent to its store: {error}")
            return str(error)
        self._sent.update(digests)
        return ""

    def _artifacts(self) -> None:
        """Carry the artifacts that were saved since the last time, as far as the log has room for them."""
        from .stream import carrier_lines

        for digest in self._left():
            data = self._read(os.path.join(self._spec["artifacts"], digest))
            if data is None:
                continue
            self._sent.add(digest)
            self._room -= len(data)
            self._carry(carrier_lines(self._spec["nonce"], "a", digest, data))

    def _read(self, path: str) -> bytes | None:
        """Read an artifact; None for what is too large or no plain file: the folder is open to the user's code."""
        try:
            fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC)
        except OSError:
            return None
        try:
            status = os.fstat(fd)
            if not stat.S_ISREG(status.st_mode) or status.st_size > self._room:
                return None
            data = b""
            while len(data) < status.st_size:
                piece = os.read(fd, status.st_size - len(data))
                if not piece:
                    return None
                data += piece
            return data
        finally:
            os.close(fd)

    def _carry(self, lines: Iterable[bytes]) -> None:
        """Write carrier lines, several at once; the job goes on if that fails."""
        waiting: list[bytes] = []
        size = 0
        try:
            for line in lines:
                waiting.append(line)
                size += len(line)
                if size >= _AT_ONCE:
                    _write(b"".join(waiting))
                    waiting, size = [], 0
            _write(b"".join(waiting))
        except OSError as error:
            self.warning(f"the log cannot be written: {error}")


def _attempt() -> int:
    attempt = os.environ.get("RESTART_ATTEMPT", "")
    return int(attempt) if attempt.isdigit() else 0


_writing = allocate_lock()


def _write(data: bytes) -> None:
    """Write whole lines, from any thread."""
    left = memoryview(data)
    with _writing:
        while left:
            left = left[os.write(1, left) :]


def complete(spec: dict[str, Any]) -> dict[str, Any]:
    """Give the spec of this container: with its places, and what the environment tells."""
    spec = {**_WHERE, **spec, "rank": int(os.environ.get("JOB_COMPLETION_INDEX") or 0)}
    if spec["rank"]:
        spec["artifacts"] = None  # node 0 speaks for the job; the error of another one has to fit into its envelope
    elif "artifacts" not in spec:
        spec["artifacts"] = os.path.join(spec["job_dir"], "artifacts")
    if spec.get("links"):
        spec.setdefault("objects", os.path.join(spec["job_dir"], "objects"))
    if spec.get("bundle"):
        # Not `bundle.VARIABLE`: the user's process imports that module, while this one has other things to do.
        spec["bundle_text"] = os.environ.pop("KONDUKTOR_PAYLOAD", "")
    return spec


def main(arguments: list[str]) -> None:
    """Run the job of a spec, or of a file with it, and end with its exit code."""
    if len(arguments) != 1:
        print("usage: python RUNNER SPEC", file=sys.stderr)
        sys.exit(2)
    text = arguments[0]
    if not text.startswith("{"):
        with open(text, encoding="utf-8") as file:
            text = file.read()
    spec = complete(json.loads(text))
    sys.exit(Supervisor(spec, PodReporter(spec)).run())
