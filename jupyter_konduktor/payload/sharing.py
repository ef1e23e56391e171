"""Which variables share objects: those stay shared in the job, except views of one array, which become copies."""

from __future__ import annotations

import enum
import gc
import logging
import types
from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

_MOST_OBJECTS = 50_000
_OPAQUE = (
    types.ModuleType,
    type,
    types.CodeType,
    str,
    bytes,
    int,
    float,
    complex,
    type(None),
    enum.Enum,
    logging.Logger,
)


@dataclass(slots=True)
class Sharing:
    """What a variable shares with others.

    Attributes
    ----------
    same : list of str
        Names of the same object.
    inside : list of str
        Names of variables that hold some of the same objects.
    views : list of str
        Names of variables that look at the same memory now, and will not in the job.
    """

    same: list[str] = field(default_factory=list)
    inside: list[str] = field(default_factory=list)
    views: list[str] = field(default_factory=list)


def find_sharing(values: Mapping[str, Any]) -> dict[str, Sharing]:
    """Compare what variables are made of.

    The walk ends after 50,000 objects for each variable, so what is deep inside of large structures may be missed.
    """
    reached = {name: _Reached(value) for name, value in values.items() if not isinstance(value, _OPAQUE)}
    found = {name: Sharing() for name in values}
    for name, mine in reached.items():
        for other, theirs in reached.items():
            if other == name:
                continue
            if values[name] is values[other]:
                found[name].same.append(other)
            elif mine.objects.keys() & theirs.objects.keys():
                found[name].inside.append(other)
            shared = mine.arrays.keys() & theirs.arrays.keys()
            if any(mine.arrays[base] != theirs.arrays[base] for base in shared):
                found[name].views.append(other)
    return found


class _Reached:
    """The changeable objects and the arrays that a variable leads to."""

    def __init__(self, value: Any) -> None:
        self.objects: dict[int, Any] = {}  # they are kept, so that no id is used twice
        self.arrays: dict[int, set[int]] = {}  # id of the base array -> ids of the arrays that look at it
        seen: dict[int, Any] = {}
        queue = deque([value])
        while queue and len(seen) < _MOST_OBJECTS:
            obj = queue.popleft()
            if id(obj) in seen or isinstance(obj, _OPAQUE):
                continue
            seen[id(obj)] = obj
            if hasattr(type(obj), "__array_interface__"):
                base = obj
                while hasattr(type(getattr(base, "base", None)), "__array_interface__"):
                    base = base.base
                seen[id(base)] = base
                self.arrays.setdefault(id(base), set()).add(id(obj))
                self.objects[id(obj)] = obj
            elif isinstance(obj, types.FunctionType):
                queue.extend(_carried(obj))
                continue
            elif isinstance(obj, (list, dict, set, bytearray, deque)) or hasattr(obj, "__dict__"):
                self.objects[id(obj)] = obj
            queue.extend(gc.get_referents(obj))
        self.seen = seen


def _carried(function: types.FunctionType) -> Iterator[Any]:
    """Give what a function holds itself; its globals belong to the notebook."""
    yield from function.__defaults__ or ()
    for cell in function.__closure__ or ():
        if cell != types.CellType():
            yield cell.cell_contents
