"""What became of an attempt: its state, its reason, and a sentence for a person."""

from __future__ import annotations

import json
import os

from jupyter_konduktor.backends.files import write_private
from jupyter_konduktor.backends.local.layout import Layout
from jupyter_konduktor.backends.local.store import FINAL
from jupyter_konduktor.backends.wording import ITEMS_FAILED, items_failed, remote_error

TYPE_CHECKING = False
if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Sequence

    from jupyter_konduktor.backends.local.store import Store
    from jupyter_konduktor.runner.supervise import Supervisor as Ended

REQUEUE = "requeue"
"""What a person wants of a job that is resumed before it has stopped."""


class Verdict:
    """How an attempt ended.

    Parameters
    ----------
    state, reason, message : str
    exit_code : int or None
        Of the node that decided.
    failed_node : int or None
        The node that failed first.
    """

    __slots__ = ("exit_code", "failed_node", "message", "reason", "state")

    def __init__(
        self, state: str, reason: str, message: str = "", exit_code: int | None = None, failed_node: int | None = None
    ) -> None:
        self.state = state
        self.reason = reason
        self.message = message
        self.exit_code = exit_code
        self.failed_node = failed_node

    def write(self, path: str) -> None:
        """Keep it on disk, so that it stands even if nobody lives to put it into the database."""
        values = [self.state, self.reason, self.message, self.exit_code, self.failed_node]
        write_private(path, json.dumps(values).encode())

    @classmethod
    def read(cls, path: str) -> Verdict | None:
        """Read what `write` wrote; None where there is nothing that can be read."""
        try:
            with open(path, "rb") as file:
                return cls(*json.load(file))
        except (OSError, ValueError, TypeError):
            return None


def wanted(want: str) -> Verdict | None:
    """Judge an attempt that was ended because someone wanted that."""
    if want == "cancel":
        return Verdict("Cancelled", "CancelledByUser")
    if want in ("stop", REQUEUE):
        return Verdict("Stopped", "StoppedByUser")
    return None


def settle(store: Store, row: sqlite3.Row, verdict: Verdict) -> None:
    """Put a verdict on the present attempt into the database; within a transaction."""
    uid = row["uid"]
    ended = {"exit_code": verdict.exit_code, "failed_node": verdict.failed_node}
    store.move(uid, verdict.state, verdict.reason, verdict.message, **ended)
    if verdict.state == "Stopped" and row["want"] == REQUEUE:
        resume(store, row)
    if verdict.state in FINAL:
        forget_environment(store.layout, row["name"])


def resume(store: Store, row: sqlite3.Row) -> None:
    """Queue a stopped job again; within a transaction."""
    begun = os.path.exists(store.layout.attempt(row["name"], row["attempt"]))
    store.move(row["uid"], "Queued", "Resumed", "", attempt=row["attempt"] + begun, exit_code=None, failed_node=None)


def forget_environment(layout: Layout, name: str) -> None:
    """Remove what a job's processes were to be started with: it may hold secrets, and the job never starts again."""
    try:
        os.unlink(os.path.join(layout.job(name), "launch.json"))
    except OSError:
        pass  # it is gone, or the disk is read-only, and then nothing can be done about it


def of_exit(envelope: bytes | None, exit_codes: Sequence[int | None], failed_node: int | None, run: Ended) -> Verdict:
    """Judge an attempt that has ended.

    Parameters
    ----------
    envelope : bytes or None
        What it left.
    exit_codes : sequence of int or None
        Of each node; 128 + n for signal n.
    failed_node : int or None
        The node that failed first.
    run : Ended
    """
    code = exit_codes[failed_node or 0]
    if failed_node is None and code == 0:
        if failed_items := items_failed(envelope):
            return Verdict("Failed", ITEMS_FAILED, failed_items, 1)
        return Verdict("Succeeded", "Completed", "", 0)
    message, (failed, error) = run.message, remote_error(envelope)
    if error:
        message = f"node {failed_node}: {error}" if len(exit_codes) > 1 else error
    if run.ended_by is not None:
        said = f"told to end by {run.ended_by}, not by konduktor: {message}"
        return Verdict("Failed", "Terminated", said, code, failed_node)
    reason = failed or ("OOMKilled" if message.endswith("(out of memory)") else "Error")
    return Verdict("Failed", reason, message, code, failed_node)
