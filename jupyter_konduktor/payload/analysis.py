"""What a cell reads, what it assigns, and what of it cannot run in a job, without running any of it."""

from __future__ import annotations

import ast
import warnings
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field

from .embedded import Embedded
from .flow import Flow
from .states import ASSIGNED, Findings

_EXCLUDED = {
    "import": "an import",
    "loop": "a loop variable",
    "with": "the target of a with",
    "except": "the name of an exception",
}


@dataclass(frozen=True, slots=True)
class CellAnalysis:
    """What a cell does to names; every line is a line of the cell, counted from 1.

    Attributes
    ----------
    reads : mapping of str to int
        Names that are read and not surely defined by the cell first, and the line of the first read.
    required : mapping of str to int
        Those of them that are read on every path and never assigned before.
    doubtful : mapping of str to int
        As ``required``, but code before it (``exec``, a star import) may have assigned anything.
    outputs : tuple of str
        Names assigned at top level that come back by themselves, in the order of their first assignment.
    excluded : mapping of str to str
        Names bound at top level that do not, and why.
    assigned : mapping of str to int
        All names bound at top level.
    settled : mapping of str to frozenset
        For each name of ``reads``: what the cell has surely assigned whenever that name is read.
    modules : mapping of str to int
        Modules that the cell imports, wherever in it.
    attributes : frozenset of str
        Dotted names that the code spells, such as ``sklearn.linear_model.Ridge``.
    warnings : tuple of (int, str)
        Features whose reads cannot be seen.
    problems : tuple of (int, str)
        Why the cell cannot run as a job.
    """

    reads: Mapping[str, int] = field(default_factory=dict)
    required: Mapping[str, int] = field(default_factory=dict)
    doubtful: Mapping[str, int] = field(default_factory=dict)
    outputs: tuple[str, ...] = ()
    excluded: Mapping[str, str] = field(default_factory=dict)
    assigned: Mapping[str, int] = field(default_factory=dict)
    settled: Mapping[str, frozenset[str]] = field(default_factory=dict)
    modules: Mapping[str, int] = field(default_factory=dict)
    attributes: frozenset[str] = frozenset()
    warnings: tuple[tuple[int, str], ...] = ()
    problems: tuple[tuple[int, str], ...] = ()


def analyse(source: str, transform: Callable[[str], str] = str, future: Collection[str] = ()) -> CellAnalysis:
    """Analyse the Python code of a cell.

    Parameters
    ----------
    source : str
        After IPython's transformation: no ``!cmd`` and no ``%magic`` stands in it.
    transform : callable, optional
        IPython's transformation, for code inside of magics (``%%time``).
    future : collection of str, optional
        What earlier cells took from ``__future__``, which holds for this one as well.

    Returns
    -------
    CellAnalysis
        With nothing but ``problems`` where the code is no Python.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the job shows them when it runs the cell
            tree = ast.parse(source)
            compile(source, "<cell>", "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT, dont_inherit=True)
    except SyntaxError as error:
        return CellAnalysis(problems=((error.lineno or 1, f"{error.msg} (SyntaxError)"),))
    except (ValueError, RecursionError, MemoryError) as error:
        return CellAnalysis(problems=((1, f"the cell cannot be compiled: {error}"),))
    if not tree.body:
        return CellAnalysis(problems=((1, "the cell has no code"),))
    flow = Flow(Embedded(transform), annotations_run="annotations" not in future)
    found = flow.run(tree)
    _imports_inside(tree, found)
    gone = {name for (scope, name), status in (flow.end or {}).items() if not scope and not status & ASSIGNED}
    outputs, excluded = _outputs(found, gone)
    return CellAnalysis(
        reads=found.reads,
        required=found.required,
        doubtful=found.doubtful,
        outputs=outputs,
        excluded=excluded,
        assigned=found.lines,
        settled=found.settled,
        modules=found.modules,
        attributes=frozenset(_attributes(tree)),
        warnings=tuple(
            (line, f"{what} may read names that cannot be seen; --in +name sends them")
            for what, line in found.dynamic.items()
        ),
        problems=tuple(sorted((line, f"`{name}` is read after `del {name}`") for name, line in found.deleted.items())),
    )


def _outputs(found: Findings, gone: set[str]) -> tuple[tuple[str, ...], dict[str, str]]:
    """Split the names that are bound into those that come back by themselves and those that do not."""
    outputs: list[str] = []
    excluded: dict[str, str] = {}
    for name, roles in found.roles.items():
        if name.startswith("_"):
            excluded[name] = "it begins with an underscore"
        elif "assigned" not in roles:
            excluded[name] = _EXCLUDED[min(roles)]
        elif name in gone:
            excluded[name] = "it is deleted again"
        else:
            outputs.append(name)
    return tuple(outputs), excluded


def _imports_inside(tree: ast.Module, found: Findings) -> None:
    """Add the imports that stand in functions."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                found.modules.setdefault(alias.name, node.lineno)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level and node.module != "__future__":
            for name in (node.module, *(f"{node.module}.{alias.name}" for alias in node.names if alias.name != "*")):
                found.modules.setdefault(name, node.lineno)


def _attributes(tree: ast.Module) -> set[str]:
    """Find the dotted names in the code."""
    dotted: set[str] = set()
    for node in ast.walk(tree):
        parts: list[str] = []
        inner: ast.AST = node
        while isinstance(inner, ast.Attribute):
            parts.append(inner.attr)
            inner = inner.value
        if parts and isinstance(inner, ast.Name):
            dotted.add(".".join((inner.id, *reversed(parts))))
    return dotted
