"""What is known of each name at one point of a cell, and what a walk over the cell found."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

UNTOUCHED, ASSIGNED, DELETED = 1, 2, 4
Key = tuple[int, str]  # the class body a name belongs to (0: the module), and the name
State = dict[Key, int]


@dataclass(slots=True)
class Findings:
    """What the walk over a cell found; lines are those of the cell, the first for each name.

    Attributes
    ----------
    reads : dict of str to int
        Read while perhaps not assigned by the cell.
    required : dict of str to int
        Read on every path while surely not assigned by the cell.
    doubtful : dict of str to int
        As ``required``, but after code that may have assigned anything.
    deleted : dict of str to int
        Read on every path after it was deleted.
    roles : dict of str to set of str
        How each name of the module is bound: "assigned", "import", "loop", "with" or "except".
    lines : dict of str to int
        Where it is bound first.
    settled : dict of str to frozenset
        For each name of ``reads``, the names that the cell has surely assigned whenever it reads it.
    modules : dict of str to int
        Modules that are imported.
    dynamic : dict of str to int
        Features whose reads and assignments cannot be seen.
    """

    reads: dict[str, int] = field(default_factory=dict)
    required: dict[str, int] = field(default_factory=dict)
    doubtful: dict[str, int] = field(default_factory=dict)
    deleted: dict[str, int] = field(default_factory=dict)
    roles: dict[str, set[str]] = field(default_factory=dict)
    lines: dict[str, int] = field(default_factory=dict)
    settled: dict[str, frozenset[str]] = field(default_factory=dict)
    modules: dict[str, int] = field(default_factory=dict)
    dynamic: dict[str, int] = field(default_factory=dict)


@dataclass(slots=True)
class ClassBody:
    """A class statement whose body is being walked over.

    Attributes
    ----------
    number : int
        Tells its names from those of other classes.
    name : str
    globals : set of str
        What it declares ``global``.
    """

    number: int
    name: str
    globals: set[str] = field(default_factory=set)


@dataclass(slots=True)
class Loop:
    """The states in which a loop is left by ``break`` and begun again by ``continue``."""

    breaks: list[State | None] = field(default_factory=list)
    continues: list[State | None] = field(default_factory=list)


def join(states: Iterable[State | None]) -> State | None:
    """Give the state where several paths meet."""
    reached = [state for state in states if state is not None]
    if not reached:
        return None
    joined: State = {}
    for key in {key for state in reached for key in state}:
        for state in reached:
            joined[key] = joined.get(key, 0) | state.get(key, UNTOUCHED)
    return joined
