"""Runs a command as part of the user's process, and keeps the last of what it writes."""

from __future__ import annotations

import os
import select
import subprocess

TYPE_CHECKING = False
if TYPE_CHECKING:  # importing typing costs a job 3 ms
    from collections.abc import Mapping, Sequence

KEPT = 256 << 10
"""Bytes of output that are kept."""
_LOOK = 100  # milliseconds between two looks whether a silent command has ended
_PIPE = 1 << 16  # bytes that a pipe holds


def follow(
    command: Sequence[str], *, shown: bool, cwd: str | None = None, env: Mapping[str, str] | None = None
) -> tuple[int, bytes]:
    """Run a command to its end.

    It stays in this process group, so that what ends the job ends it too.

    Parameters
    ----------
    command : sequence of str
    shown : bool
        Whether its output goes to the log as it comes.
    cwd, env : optional

    Returns
    -------
    int, bytes
        Its exit code, 128 + n for signal n, and the last `KEPT` bytes that it wrote.
    """
    read, write = os.pipe()
    try:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=write, stderr=write, cwd=cwd, env=env)
    finally:
        os.close(write)
    tail, ended, data = b"", False, b"-"
    poll = select.poll()
    poll.register(read, select.POLLIN)
    while data and not ended:
        ended = process.poll() is not None  # what it wrote is in the pipe by then
        if not poll.poll(0 if ended else _LOOK):
            continue
        data = os.read(read, _PIPE)
        tail = (tail + data)[-KEPT:]
        if shown:
            _write(data)
    if data and shown:
        _hand_over(read)
    os.close(read)
    code = process.wait()
    return code if code >= 0 else 128 - code, tail


def _write(data: bytes) -> None:
    left = memoryview(data)
    while left:
        left = left[os.write(1, left) :]


def _hand_over(read: int) -> None:
    """Have another process carry on with what a service that the command has left behind will write."""
    child = os.fork()
    if child:
        os.waitpid(child, 0)
        return
    if os.fork() == 0:  # nobody's child: the user's code may wait for its own
        data = os.read(read, _PIPE)
        while data:
            _write(data)
            data = os.read(read, _PIPE)
    os._exit(0)
