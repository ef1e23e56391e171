"""Many jobs in the store of the local backend, without running any."""

from __future__ import annotations

import json
import time
import uuid
from pathlib import Path

from jupyter_konduktor.backends.local.backend import LocalBackend
from jupyter_konduktor.backends.local.store import Store
from jupyter_konduktor.task import Task

COLUMNS = ("name", "uid", "key", "kind", "user", "created", "spec", "origin", "objects", "priority", "cpus", "memory")
STATES = [("Succeeded", "Completed", 0), ("Failed", "Error", 1), ("Cancelled", "CancelledByUser", None)]


def insert(root: Path, count: int, *, queued: int = 0) -> list[str]:
    """Write jobs that have ended, and after them some that wait, straight into a database; gives their names."""
    backend = LocalBackend(root)
    backend.list()
    spec = json.dumps({**Task.create(kind="command", command=["true"], gpus="H100:8").to_json(), "nonce": "n" * 32})
    origin = json.dumps({"pid": 1, "cwd": "/home/someone/project", "jpy_session_name": "/home/someone/project/a.ipynb"})
    begin, names = time.time() - 5 * 86400, []
    store = Store(backend._layout)
    with store.transaction() as connection:
        first = store.version() + 1
        for number in range(count + queued):
            name, moment = f"job-{first + number:06}", begin + number
            state, reason, code = STATES[number % 3] if number < count else ("Queued", "Submitted", None)
            values = (name, uuid.uuid4().hex, uuid.uuid4().hex, "command", "someone", moment, spec, origin, "", 0, 1, 0)
            cursor = connection.execute(
                f"INSERT INTO jobs ({', '.join(COLUMNS)}, gpus, state, reason, message, exit_code, version)"
                f" VALUES ({', '.join('?' * len(COLUMNS))}, 1000, ?, ?, '', ?, ?)",
                (*values, state, reason, code, first + number),
            )
            steps = [("Queued", 0.0), ("Starting", 0.1), ("Running", 0.2), (state, 0.9)] if code is not None else []
            connection.executemany(
                "INSERT INTO history VALUES (?, ?, ?, '', '', 0)",
                [(cursor.lastrowid, moment + after, step) for step, after in steps or [("Queued", 0.0)]],
            )
            names.append(name)
        connection.execute("UPDATE facts SET value = ? WHERE key = 'version'", (first + count + queued,))
    store.close()
    backend.close()
    return names
