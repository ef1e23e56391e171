"""Finding the jobs whose supervisor died, and giving them an end."""

from __future__ import annotations

import json
import os

from jupyter_konduktor.backends.local import bell, process
from jupyter_konduktor.backends.local.admission import admit
from jupyter_konduktor.backends.local.layout import Layout
from jupyter_konduktor.backends.local.spawn import reap, start_admitted, starting
from jupyter_konduktor.backends.local.store import Store
from jupyter_konduktor.backends.local.verdict import Verdict, settle, wanted

TYPE_CHECKING = False
if TYPE_CHECKING:
    import sqlite3

_TAIL = 400


def reconcile(store: Store) -> None:
    """Settle every job whose responsible process is no more, and admit what then fits.

    Costs next to nothing where all is well: a look at each running job's process.
    """
    reap()
    dead = [row for row in store.active() if not _is_alive(store, row)]
    queued = store.row("SELECT 1 FROM jobs WHERE state = 'Queued' LIMIT 1")
    if not dead and not queued:
        return
    verdicts = {row["uid"]: _judge(store.layout, row) for row in dead}
    with store.transaction():
        for row in dead:
            now = store.by_uid(row["uid"])
            # Someone else may have settled it meanwhile, or it runs again.
            if now is not None and all(now[k] == row[k] for k in ("state", "attempt", "pid", "birth")):
                settle(store, now, verdicts[row["uid"]])
        uids = admit(store)
    if dead:
        bell.ring(store.layout.watch, bell.STATE)
    start_admitted(store, uids)


def _is_alive(store: Store, row: sqlite3.Row) -> bool:
    layout = store.layout
    here = process.is_here(row["host"], row["boot"])
    if here and process.birth(row["pid"]) == row["birth"]:
        return bool(row["supervised"]) or row["pid"] != os.getpid() or not _was_not_started(store, row)
    # A pid of another host, container or boot means nothing here; the lock does, for the file system is this machine's.
    if process.is_locked(layout.lock(row["name"])):
        return True
    # Whoever admitted it has ended, perhaps with the supervisor started that has no lock yet.
    return here and not row["supervised"] and bool(process.processes_of(row["uid"]))


def _was_not_started(store: Store, row: sqlite3.Row) -> bool:
    """Whether an interrupt kept this process from starting the supervisor of a job that it had admitted."""
    if row["uid"] in starting:
        return False
    # Another thread may have started it since the row was read; it says so in the row before it leaves `starting`.
    now = store.by_uid(row["uid"])
    return now is not None and all(now[k] == row[k] for k in ("state", "attempt", "pid", "birth", "supervised"))


def _judge(layout: Layout, row: sqlite3.Row) -> Verdict:
    """Say what becomes of a job that has lost its supervisor; what it left behind is killed first."""
    name, attempt = row["name"], row["attempt"]
    here = process.is_here(row["host"], row["boot"])
    if here:
        process.kill_processes_of(row["uid"])
    told = wanted(row["want"]) or written_end(layout, name, attempt)
    if told is not None:
        return told
    if not os.path.exists(layout.job(name)):
        return Verdict("Failed", "FilesDeleted", f"Its directory {layout.job(name)} was deleted before it had ended.")
    if row["state"] == "Starting" and not os.path.exists(layout.attempt(name, attempt)):
        if row["supervised"] and here:
            tail = _tail(os.path.join(layout.job(name), "supervisor.log"))
            return Verdict("Failed", "RunnerStartFailed", f"Its runner ended before it began. {tail}".strip())
        return Verdict("Queued", "Requeued", "What was to start it ended before it did.")
    if row["host"] != process.host():
        return Verdict("Failed", "RunnerKilled", f"Its runner ended with the host {row['host']}.")
    if row["boot"].partition(":")[0] != process.boot().partition(":")[0]:
        return Verdict("Failed", "MachineRestarted", "The machine was restarted while it ran.")
    tail = _tail(os.path.join(layout.job(name), "supervisor.log"))
    how = f"ended unexpectedly ({tail})" if tail else "was killed"
    return Verdict("Failed", "RunnerKilled", f"Its runner {how}; what it had started was ended too.")


def written_end(layout: Layout, name: str, attempt: int) -> Verdict | None:
    """Read how an attempt ended from its directory, None if it left no whole envelope there."""
    try:
        with open(layout.envelope(name, attempt), "rb") as file:
            code = json.load(file)["exit"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    verdict = Verdict.read(layout.verdict(name, attempt))
    if verdict is not None:
        return verdict
    if code == 0:
        return Verdict("Succeeded", "Completed", "", 0)
    return Verdict("Failed", "Error", f"the process ended with exit code {code}", code)


def _tail(path: str) -> str:
    try:
        with open(path, "rb") as file:
            lines = file.read()[-_TAIL:].decode("utf-8", "replace").strip().splitlines()
    except OSError:
        return ""
    return lines[-1] if lines else ""
