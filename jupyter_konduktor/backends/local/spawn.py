"""Starting the supervisor of a job that was admitted."""

from __future__ import annotations

import json
import os
import signal
from _thread import allocate_lock

from jupyter_konduktor.backends.files import PRIVATE_FILE
from jupyter_konduktor.backends.local import bell, process
from jupyter_konduktor.backends.local.layout import Layout
from jupyter_konduktor.backends.local.store import Store, owner

TYPE_CHECKING = False
if TYPE_CHECKING:
    import sqlite3

PACKAGE_ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))

# The supervisor is this very version of the package, whatever else the job's environment has.
_CODE = (
    "import sys; sys.path.insert(0, sys.argv[1]); "
    "from jupyter_konduktor.backends.local import supervisor; supervisor.main(*sys.argv[2:])"
)

starting: set[str] = set()
"""The uids of jobs that this process has admitted and whose supervisors it is about to start."""

_children: set[int] = set()
_children_lock = allocate_lock()


def start_admitted(store: Store, uids: list[str]) -> None:
    """Start the supervisors of jobs that this process has admitted, and wake those who watch."""
    left = list(uids)
    try:
        while left:
            left += _start_one(store, left[0])
            starting.discard(left.pop(0))
    finally:
        # What an interrupt kept from being started is found by the next `reconcile`.
        starting.difference_update(left)
    if uids:
        bell.ring(store.layout.watch, bell.STATE)
    reap()


def _start_one(store: Store, uid: str) -> list[str]:
    """Start one, and give the uids of those that were admitted in its place if it cannot be started."""
    row = store.by_uid(uid)
    if row is None or row["state"] != "Starting":
        return []
    try:
        pid = _start(store.layout, row)
    except (OSError, ValueError) as error:
        return _failed(store, row, error)
    with store.transaction():
        now = store.by_uid(uid)
        # The supervisor may have been faster than this and have taken the job over, or even be done; or the job was
        # stopped, resumed and admitted anew meanwhile, and is another supervisor's.
        if now is not None and now["version"] == row["version"] and not now["supervised"]:
            store.alter(uid, **owner(pid), supervised=1)
        wanted = now is not None and bool(now["want"])
    if wanted and (born := process.birth(pid)) is not None:
        process.send(pid, born, signal.SIGTERM)
    return []


def _start(layout: Layout, row: sqlite3.Row) -> int:
    folder = layout.job(row["name"])
    with open(os.path.join(folder, "launch.json"), encoding="ascii") as file:
        launch = json.load(file)
    arguments = [PACKAGE_ROOT, layout.root, row["name"], row["uid"], str(row["attempt"]), row["devices"]]
    log = os.path.join(folder, "supervisor.log")
    pid = os.posix_spawn(
        launch["python"],
        [launch["python"], "-P", "-c", _CODE, *arguments],
        {**launch["env"], process.JOB_UID: row["uid"]},
        file_actions=[
            (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
            (os.POSIX_SPAWN_OPEN, 1, log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, PRIVATE_FILE),
            (os.POSIX_SPAWN_DUP2, 1, 2),
        ],
        # A session of its own: no signal that is meant for a kernel or a terminal reaches it.
        setsid=True,
        setsigmask=(),
        setsigdef=(signal.SIGHUP, signal.SIGINT, signal.SIGPIPE, signal.SIGQUIT, signal.SIGTERM, signal.SIGXFSZ),
    )
    with _children_lock:
        _children.add(pid)
    return pid


def _failed(store: Store, row: sqlite3.Row, error: Exception) -> list[str]:
    from jupyter_konduktor.backends.local.admission import admit

    with store.transaction():
        store.move(row["uid"], "Failed", "RunnerStartFailed", f"Its runner could not be started: {error}.")
        return admit(store)


def reap() -> None:
    """Forget the supervisors that this process started and that have ended."""
    with _children_lock:
        for pid in list(_children):
            try:
                done, _ = os.waitpid(pid, os.WNOHANG)
            except ChildProcessError:
                done = pid  # after a fork it is the child of another process
            if done:
                _children.discard(pid)
