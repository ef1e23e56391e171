"""Jobs, queues and settings as the JSON that ``labextension/src/tokens.ts`` describes."""

from __future__ import annotations

import json
import os
from functools import lru_cache
from pathlib import Path
from typing import Any

import jupyter_konduktor
from jupyter_konduktor import summary
from jupyter_konduktor.config import KEYS, Settings
from jupyter_konduktor.state import JobRecord, JobState, QueueInfo, Use
from jupyter_konduktor.task import Task

Row = dict[str, Any]

FACT_LIMIT = 2000
"""Characters of one fact of a job that are shown."""


def identity(record: JobRecord) -> str:
    """Give what routes and events call a job."""
    return f"{record.backend}/{record.name}"


class Rows:
    """Makes the rows of one server.

    Parameters
    ----------
    root : str
        Where the server's files begin; empty if it has none.
    """

    def __init__(self, root: str) -> None:
        self._root = root
        # Of ten thousand jobs most have asked for the same.
        self._asked: dict[str, Row] = {}

    def row(self, record: JobRecord, *, mine: bool, items: tuple[int, int] | None, cancelling: bool) -> Row:
        """Give one job of a list.

        Parameters
        ----------
        record : JobRecord
        mine : bool
            Whether the server's user submitted it.
        items : (int, int) or None
            Of a map: all items and those that have ended, if that is known.
        cancelling : bool
            Whether its end was asked for here.
        """
        return {
            "id": identity(record),
            "backend": record.backend,
            "name": record.name,
            "uid": record.uid,
            "state": record.state,
            "reason": record.reason,
            "message": record.message,
            "position": record.position if record.state is JobState.QUEUED else None,
            "queue": record.queue,
            "user": record.user,
            "mine": mine,
            "kind": record.kind,
            "attempt": record.attempt,
            "created": record.created,
            "started": record.started,
            "finished": record.finished,
            "since": record.history[-1].time if record.history else record.created,
            "asked": self.asked(record),
            "items": items,
            "exit_code": record.exit_code,
            "stuck": record.stuck,
            "cancelling": cancelling and not record.state.final,
            "notebook": notebook(_text(record.origin.get("jpy_session_name")), self._root),
            "cell": _text(record.origin.get("cell_id")),
        }

    def asked(self, record: JobRecord) -> Row:
        """Say what a job asked for."""
        key = repr(record.spec.get("resources"))
        if key not in self._asked:
            if len(self._asked) >= _ASKED_KEPT:
                self._asked.clear()
            self._asked[key] = _asked(record)
        return self._asked[key]


_ASKED_KEPT = 10_000


def detail(row: Row, record: JobRecord, unknown_since: float | None) -> Row:
    """Add to a row what only the page of one job shows."""
    return {
        **row,
        "history": [
            {"time": t.time, "state": t.state, "reason": t.reason, "message": t.message, "attempt": t.attempt}
            for t in record.history
        ],
        "status": summary.status(record) + summary.unseen(unknown_since),
        "facts": facts(record, row["notebook"]),
        "attach": f"%load_ext jupyter_konduktor\n%konduktor attach {record.name}",
        "actions": actions(record),
    }


def actions(record: JobRecord) -> list[str]:
    """Say what may be done to a job in its state."""
    if record.state.final:
        return []
    return ["cancel", "resume" if record.state is JobState.STOPPED else "stop"]


def facts(record: JobRecord, notebook: str = "") -> list[tuple[str, str]]:
    """List what was asked for, with a label each; of environment variables only the names."""
    task = Task.from_json(record.spec)
    origin = record.origin
    shown = [
        ("kind", record.kind),
        ("items", f"{task.items:,}" if task.items else ""),
        ("command", " ".join(task.command or ())),
        ("image", task.image or ""),
        ("queue", record.queue),
        ("priority", task.priority or ""),
        ("topology", ", ".join(task.topology)),
        ("resources", summary.resources(record)),
        ("time limit", summary.seconds(task.timeout) if task.timeout else ""),
        ("restarts", f"at most {task.max_restarts}" if task.max_restarts else ""),
        ("packages", " ".join(task.packages)),
        ("working directory", task.workdir or ""),
        ("volumes", ", ".join(f"{claim} at {path}" for claim, path in task.volumes.items())),
        ("environment", ", ".join(task.env)),
        ("secrets", ", ".join(task.secrets)),
        ("submitted by", record.user),
        ("submitted from", notebook or _text(origin.get("jpy_session_name")) or _text(origin.get("cwd"))),
        ("submitted with", _other_version(_text(origin.get("version")))),
        ("uid", record.uid),
    ]
    return [(label, _cut(summary.inert(value))) for label, value in shown if value]


def _other_version(version: str) -> str:
    """Say which version of this package sent a job, where that is not the one that shows it."""
    if version in ("", jupyter_konduktor.__version__):
        return ""
    return f"jupyter_konduktor {version}; the server has {jupyter_konduktor.__version__}"


@lru_cache(4096)
def notebook(name: str, root: str) -> str:
    """Give the path of the notebook a job came from, below the server's root; empty if it is not known or not there.

    Parameters
    ----------
    name : str
        What the server gave the kernel as JPY_SESSION_NAME: the file of the session, or, where the client named no
        file, its path below the root. Consoles have a name without a suffix.
    root : str
        Empty if there is none.
    """
    if not name or not root:
        return ""
    base = os.path.normpath(root)
    path = os.path.normpath(os.path.join(base, name))  # noqa: PTH118  (pathlib keeps "..")
    if not path.startswith(os.path.join(base, "")) or not Path(path).suffix:  # noqa: PTH118
        return ""
    return Path(path).relative_to(base).as_posix()


def queue(backend: str, info: QueueInfo) -> Row:
    """Give one queue."""
    flavors = info.flavors or ({"": info.resources} if info.resources else {})
    return {
        "backend": backend,
        "name": info.name,
        "running": info.running,
        "pending": info.pending,
        "flavors": {name: {key: _use(use) for key, use in held.items()} for name, held in flavors.items()},
        "message": info.message,
    }


def settings(found: Settings) -> list[Row]:
    """Give all settings, each with its value as a person reads it and where that came from."""
    return [
        {"key": key, "value": value, "source": source, "help": KEYS[key].help} for key, value, source in found.explain()
    ]


def encode(value: Any) -> bytes:
    """Write JSON."""
    return _ENCODER.encode(value).encode("ascii")


_ENCODER = json.JSONEncoder(separators=(",", ":"))


def _asked(record: JobRecord) -> Row:
    asked = Task.from_json(record.spec).resources
    return {
        "text": summary.resources(record),
        "gpus": asked.gpus.count if asked.gpus else 0,
        "gpu_kind": (asked.gpus.kind if asked.gpus else None) or "",
        "cpus": asked.cpus,
        "memory": asked.memory,
        "nodes": asked.nodes,
    }


def _use(use: Use) -> Row:
    used, total = use
    return {"used": used, "total": total}


def _text(value: object) -> str:
    """Take what anyone may have written into the origin of a job for text, or for nothing."""
    return value if isinstance(value, str) else ""


def _cut(text: str) -> str:
    return text if len(text) <= FACT_LIMIT else f"{text[: FACT_LIMIT - 1]}…"
