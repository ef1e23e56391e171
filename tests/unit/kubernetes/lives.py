"""Lives of real jobs, as the watches of a cluster told them: Kubernetes 1.34, JobSet 0.10, Kueue 0.15.

Each file of `objects` holds the events of one job in the order in which they came, in its own lines: kind, event and
object or, for one that was seen before, what has changed (a JSON merge patch) and its uid. What nobody here reads of
the objects was left out.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from jupyter_konduktor.backends.kubernetes.judging.judge import Sight, judge
from jupyter_konduktor.state import JobRecord

OBJECTS = Path(__file__).with_name("objects")
NAMES = sorted(file.stem for file in OBJECTS.glob("*.json") if file.read_text().startswith('[\n["jobset"'))

Happening = tuple[str, str, dict[str, Any]]


def read(name: str) -> Any:
    """Give one recorded object."""
    return json.loads((OBJECTS / f"{name}.json").read_text())


def life(name: str) -> list[Happening]:
    """Give everything that was told of one job."""
    known: dict[str, dict[str, Any]] = {}
    found: list[Happening] = []
    for kind, event, obj, *uid in read(name):
        whole = _merged(known[uid[0]], obj) if uid else obj
        known[whole["metadata"]["uid"]] = whole
        found.append((kind, event, whole))
    return found


class Watcher:
    """Someone who is told of a job's objects, and judges it each time.

    Parameters
    ----------
    table : bool
        Whether JobSets are seen as a table shows them, as long as they have not ended.
    """

    def __init__(self, *, table: bool = False) -> None:
        self.table = table
        self.jobset: dict[str, Any] | None = None
        self.workload: dict[str, Any] | None = None
        self.pods: dict[str, dict[str, Any]] = {}
        self.events: list[dict[str, Any]] = []
        self.gone = False
        self.records: list[JobRecord] = []
        self.lost = False

    @property
    def record(self) -> JobRecord:
        return self.records[-1]

    @property
    def sight(self) -> Sight:
        pods = list(self.pods.values())
        return Sight(self.jobset, self.workload, pods, self.events, gone=self.gone)

    def first(self) -> JobRecord | None:
        """Judge as someone does who looks for the first time."""
        return judge(self.sight, None)

    def tell(self, happenings: Iterable[Happening]) -> Watcher:
        for happening in happenings:
            self.take(happening)
            if self.jobset is not None and not self.lost:
                record = judge(self.sight, self.records[-1] if self.records else None)
                if record is None:
                    self.lost = True
                else:
                    self.records.append(record)
        return self

    def take(self, happening: Happening) -> None:
        kind, event, obj = happening
        if kind == "jobset":
            self.gone = self.gone or event == "DELETED"
            ended = (obj.get("status") or {}).get("terminalState")
            self.jobset = part(obj) if self.table and not ended else obj
        elif kind == "workload":
            self.workload = obj if event != "DELETED" else self.workload if self.gone else None
        elif kind == "event":
            self.events.append(obj)
        elif event == "DELETED" and not any("terminated" in state for state in _states(obj)):
            self.pods.pop(obj["metadata"]["uid"], None)
        else:
            self.pods[obj["metadata"]["uid"]] = obj

    def changes(self) -> list[tuple[str, int, str]]:
        """List state, attempt and reason of everything that was told, each once in a row."""
        told = [(str(r.state), r.attempt, r.reason) for r in self.records]
        return [now for before, now in zip([None, *told], told, strict=False) if before != now]

    def states(self) -> list[str]:
        return shown(self.record)


def shown(record: JobRecord) -> list[str]:
    """Write a history in a few words."""
    return [f"{change.state} {change.attempt} {change.reason}" for change in record.history]


def part(obj: dict[str, Any]) -> dict[str, Any]:
    """Give what a table shows of a JobSet."""
    status = {key: value for key, value in (obj.get("status") or {}).items() if key in ("terminalState", "restarts")}
    return {"metadata": obj["metadata"], "spec": {"suspend": bool(obj["spec"].get("suspend"))}, "status": status}


def _states(pod: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for status in pod["status"].get("containerStatuses") or ():
        yield status.get("state") or {}


def _merged(before: Any, patch: Any) -> Any:
    if not isinstance(patch, dict) or not isinstance(before, dict):
        return patch
    found = {key: value for key, value in before.items() if patch.get(key, 0) is not None}
    for key, value in patch.items():
        if value is not None:
            found[key] = _merged(before.get(key), value)
    return found
