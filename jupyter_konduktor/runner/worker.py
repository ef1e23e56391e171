"""One process of a job that torchrun has started: it runs the payload, and rank 0 of all leaves the value."""

from __future__ import annotations

import json
import os
import re
import sys
import time

from . import child, context

TYPE_CHECKING = False
if TYPE_CHECKING:  # importing typing costs a job 3 ms
    from typing import Any, NoReturn


LOST_TOUCH = 10.0
"""Seconds that a worker waits with the news that it has lost touch with another one, whose failure is the cause.

As soon as that one has ended its node, this one is ended with it. On a busy machine that takes a while.
"""

_LOST = re.compile(r"[Cc]onnection (closed|reset|refused)|[Bb]roken pipe|[Rr]emote process (exited|has)|[Tt]imed out")


class Worker(context.Context):
    """The job as seen from a worker: its node's agent hands on what it leaves, since pipes do not reach this far.

    Parameters
    ----------
    spec : dict
        With ``rank``, the node.
    """

    def __init__(self, spec: dict[str, Any]) -> None:
        read, write = os.pipe()
        os.close(read)  # a message finds nobody
        super().__init__(spec, int(spec["rank"]), 1, write)
        self._worker = int(os.environ["RANK"])
        self._failed = os.path.join(str(spec["job_dir"]), f"worker-{self.rank}.failed")

    @property
    def reports(self) -> bool:
        """Whether this is the process whose value is the job's."""
        return self.original and self._worker == 0

    def send_value(self, value: bytes) -> None:
        """Leave the value, unless another worker of this node has failed: the first failure is what counts."""
        if not os.path.exists(self._failed):
            self.leave_value(value)

    def send_failure(self, value: bytes) -> None:
        """Leave a failure, if it is the first of this node."""
        if _has_lost_touch(sys.exc_info()[1]):
            time.sleep(LOST_TOUCH)
        try:
            os.close(os.open(self._failed, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
        except FileExistsError:
            return
        self.leave_value(value)


def _has_lost_touch(error: BaseException | None) -> bool:
    """Whether an exception is what torch.distributed raises where another process has gone."""
    return isinstance(error, RuntimeError) and _LOST.search(str(error)) is not None


def main(path: str) -> NoReturn:
    """Run the payload of a spec; never returns."""
    with open(path, encoding="utf-8", errors="surrogateescape") as file:
        job = context.current = Worker(json.load(file))
    child.begin(job)
