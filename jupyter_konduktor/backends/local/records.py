"""Rows of the database as records of jobs."""

from __future__ import annotations

import sqlite3
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from jupyter_konduktor.backends.lazy import LazyJson
from jupyter_konduktor.backends.local.admission import ORDER, capacity_of, waits_for
from jupyter_konduktor.backends.local.store import Store
from jupyter_konduktor.state import JobRecord, JobState, Transition

BACKEND = "local"
QUEUE = "local"
DAMAGED = "Damaged"

_STATES = {state.value: state for state in JobState}


def records(store: Store, where: str = "1", *values: Any) -> list[JobRecord]:
    """Read the records of the jobs that satisfy a condition, in the order of their versions.

    A row that cannot be read becomes a record that says so, and the others are read all the same.
    """
    rows = store.rows(f"SELECT * FROM jobs WHERE {where} ORDER BY version", *values)  # noqa: S608
    if not rows:
        return []
    changes: dict[int, list[Transition]] = defaultdict(list)
    query = f"SELECT * FROM history WHERE job IN (SELECT seq FROM jobs WHERE {where}) ORDER BY rowid"  # noqa: S608
    for seq, time, state, reason, message, attempt in store.connection.execute(query, values):
        if state in _STATES:
            changes[seq].append(Transition(time, _STATES[state], reason, message, attempt))
    queued = any(row["state"] == "Queued" for row in rows)
    places = standing(store) if queued else {}
    return [_record(row, changes[row["seq"]], places) for row in rows]


class Listing:
    """The records of all jobs, kept from one listing to the next so that only what has changed is read again."""

    def __init__(self) -> None:
        self._records: dict[str, JobRecord] = {}
        self._seen = -1

    def read(self, store: Store) -> list[JobRecord]:
        """Give the records of all jobs, oldest first."""
        version = store.version()
        for record in records(store, "version > ?", self._seen):
            self._records[record.uid] = record
        self._seen = version
        # The place in the queue of a job changes with others' versions, not with its own.
        for uid, (place, why) in standing(store).items():
            known = self._records.get(uid)  # another process may have queued it since
            if known is not None and known.state is JobState.QUEUED:
                self._records[uid] = replace(known, position=place, message=why)
        # In the order of submission, which times do not tell if the clock was set; another process may have made more.
        uids = [uid for (uid,) in store.connection.execute("SELECT uid FROM jobs ORDER BY seq")]
        self._records = {uid: self._records[uid] for uid in uids if uid in self._records}
        return list(self._records.values())


def nodes_of(spec: Mapping[str, Any]) -> int:
    """Give the number of nodes of a task in JSON."""
    resources = spec.get("resources")
    nodes = resources.get("nodes", 1) if isinstance(resources, dict) else 1
    return nodes if isinstance(nodes, int) else 1


Standing = tuple[int, str]
"""Where a queued job stands: how many are ahead of it, and why it waits."""


def standing(store: Store) -> dict[str, Standing]:
    """Say where each queued job stands; what the next one waits for, all that stand behind it wait for."""
    rows = store.connection.execute(f"SELECT uid, message FROM jobs WHERE state = 'Queued' ORDER BY {ORDER}")  # noqa: S608
    found = {uid: (place, message) for place, (uid, message) in enumerate(rows)}
    first = next(iter(found), None)
    if first is not None and not found[first][1] and (row := store.by_uid(first)) is not None:
        found[first] = 0, waits_for(capacity_of(store), store.active(), row)
    return found


def _record(row: sqlite3.Row, history: Iterable[Transition], places: Mapping[str, Standing]) -> JobRecord:
    state, reason, message = _STATES.get(row["state"]), row["reason"], row["message"]
    place, why = places.get(row["uid"], (None, message))
    spec, origin = row["spec"], row["origin"]
    if state is None or not _is_object(spec) or not _is_object(origin):
        state, reason = state or JobState.FAILED, DAMAGED
        message = "What the job database holds of this job cannot be read."
    return JobRecord(
        name=row["name"],
        uid=row["uid"],
        backend=BACKEND,
        state=state,
        reason=reason,
        message=message or why,
        kind=row["kind"],
        history=tuple(history),
        position=place,
        attempt=row["attempt"],
        created=row["created"],
        exit_code=row["exit_code"],
        failed_node=row["failed_node"],
        user=row["user"],
        queue=QUEUE,
        spec=LazyJson(spec),
        origin=LazyJson(origin),
        recorded=True,
        version=row["version"],
    )


def _is_object(text: Any) -> bool:
    """Whether this looks like a JSON object; parsing all of them would take a list half its time."""
    return isinstance(text, str) and text.startswith("{") and text.endswith("}")
