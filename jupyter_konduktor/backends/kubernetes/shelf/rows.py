"""Records of jobs as rows of a shelf's database, and back."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Any

from jupyter_konduktor.backends.lazy import LazyJson
from jupyter_konduktor.state import JobRecord, JobState, Transition

COLUMNS = "uid, name, submitted, record, spec, origin"
_APART = ("spec", "origin", "recorded")  # fields that have columns of their own


def plain(record: JobRecord) -> dict[str, Any]:
    """Give the fields of a record that stand in one column, as plain JSON."""
    found = {key: getattr(record, key) for key in JobRecord.__dataclass_fields__ if key not in _APART}
    found["history"] = [[*asdict(change).values()] for change in record.history]
    return found


def record_of(row: tuple[Any, ...]) -> JobRecord | None:
    """Read a record from its columns; None if they cannot be read, for the cluster may tell it again."""
    uid, name, submitted, text, spec, origin = row
    try:
        data = json.loads(text)
        known = {key: value for key, value in data.items() if key in JobRecord.__dataclass_fields__}
        known["state"] = JobState(known["state"])
        changes = (Transition(when, JobState(state), *rest) for when, state, *rest in known["history"])
        known["history"] = tuple(changes)
        known |= {"uid": uid, "name": name, "recorded": bool(submitted)}
        return JobRecord(**known, spec=LazyJson(spec), origin=LazyJson(origin))
    except (AttributeError, KeyError, TypeError, ValueError):
        return None


def dumped(value: Any) -> str:
    """Write JSON."""
    return json.dumps(value, separators=(",", ":"))
