"""Reading what Kubernetes' objects have in common: conditions, times, versions, labels."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

Object = Mapping[str, Any]


def status(obj: Object) -> Object:
    """Give the status of an object; empty while it has none."""
    found: Object = obj.get("status") or {}
    return found


def condition(obj: Object | None, kind: str) -> Object:
    """Give a condition by its type; empty if there is none. It tells of now only if `is_true`."""
    found: Object = {}
    if obj is not None:
        found = next((item for item in status(obj).get("conditions") or () if item.get("type") == kind), {})
    return found


def is_true(obj: Object | None, kind: str) -> bool:
    """Whether a condition holds now: one that held once stays, with the status False."""
    return condition(obj, kind).get("status") == "True"


def changed(found: Object) -> float | None:
    """Give when a condition came to its status, in seconds since the epoch."""
    return moment(found.get("lastTransitionTime"))


def moment(text: Any) -> float | None:
    """Read a time; None for none, and for the zero time that stands for one that never came."""
    try:
        value = datetime.fromisoformat(str(text)).timestamp()
    except ValueError:
        return None
    return value if value > 0 else None


def version(*objects: Object | None) -> int:
    """Give the greatest resourceVersion of some objects."""
    texts = [str(obj["metadata"].get("resourceVersion", "")) for obj in objects if obj is not None]
    return max((int(text) for text in texts if text.isdecimal()), default=0)


def label(obj: Object, key: str, default: str = "") -> str:
    """Give the value of a label, or of an annotation of that name."""
    for place in ("labels", "annotations"):
        found = (obj["metadata"].get(place) or {}).get(key)
        if found is not None:
            return str(found)
    return default


def number(text: Any, default: int = 0) -> int:
    """Read a whole number that someone else has written."""
    try:
        return int(text)
    except (TypeError, ValueError):
        return default


def latest(times: Iterable[float | None]) -> float | None:
    """Give the last of the times that are known."""
    return max((time for time in times if time is not None), default=None)


def earliest(times: Iterable[float | None]) -> float | None:
    """Give the first of the times that are known."""
    return min((time for time in times if time is not None), default=None)
