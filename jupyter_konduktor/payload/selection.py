"""Which names go in and come out: what ``--in`` and ``--out`` say, on top of what the code says."""

from __future__ import annotations

import builtins
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from types import CodeType, FunctionType, ModuleType
from typing import Any

from jupyter_konduktor.errors import PayloadError
from jupyter_konduktor.naming import nearest

from .analysis import CellAnalysis

HISTORY = frozenset(("In", "Out", "_ih", "_oh", "_dh"))
SHELL = frozenset(("exit", "quit", "get_ipython"))
REFUSED = HISTORY | SHELL
"""Names of the kernel itself, which never travel."""

MODULE_NAMES = frozenset(
    ("__name__", "__doc__", "__package__", "__loader__", "__spec__", "__builtin__", "__builtins__", "__annotations__")
)
"""Names that the job's own main module has."""

_IPYTHONS = ("display", "open")

JOB_BUILTINS = frozenset(("display", "get_ipython"))


@dataclass(frozen=True, slots=True)
class Selection:
    """The names of one option.

    Attributes
    ----------
    names : tuple of str or None
        All of them; None leaves it to the code.
    add, drop : tuple of str
    """

    names: tuple[str, ...] | None = None
    add: tuple[str, ...] = ()
    drop: tuple[str, ...] = ()

    @classmethod
    def parse(cls, option: str, given: Selection | str | Iterable[str] | None) -> Selection:
        """Read ``"a,b"``, ``"+a"`` or ``"-a"``, or several of them; a sign holds up to the next comma-free end.

        Raises
        ------
        PayloadError
            If something is no name, or one name is both added and dropped.
        """
        if given is None or isinstance(given, Selection):
            return given or cls()
        found: dict[str, list[str]] = {"": [], "+": [], "-": []}
        for text in [given] if isinstance(given, str) else given:
            sign = ""
            for word in filter(None, (part.strip() for part in text.split(","))):
                if word[0] in "+-":
                    sign, word = word[0], word[1:]
                if not word.isidentifier():
                    raise PayloadError(f"{option} {text}: {word!r} is not a name", advice="Write a,b or +a or -a.")
                found[sign].append(word)
        both = set(found["-"]) & {*found["+"], *found[""]}
        if both:
            raise PayloadError(f"{option}: `{min(both)}` is asked for and left out at the same time")
        unique = {sign: tuple(dict.fromkeys(names)) for sign, names in found.items()}
        return cls(unique[""] or None, unique["+"], unique["-"])


def choose_inputs(
    analysis: CellAnalysis, namespace: Mapping[str, Any], selection: Selection, imported: Collection[str] = ()
) -> list[str]:
    """Choose the names that are sent by name.

    Modules that the code reads are sent in any case, since they are code and go by name; what other cells ``imported``
    in their jobs is not here to be sent.

    Raises
    ------
    PayloadError
        For a name that is refused, that does not exist, or that the cell surely reads and would not have.
    """
    read = [name for name in analysis.reads if name in namespace and name not in MODULE_NAMES]
    if selection.names is None:
        chosen = read
    else:
        chosen = [*selection.names, *(name for name in read if isinstance(namespace[name], ModuleType))]
    chosen = [name for name in dict.fromkeys((*chosen, *selection.add)) if name not in selection.drop]
    _check_asked(selection, namespace, analysis)
    chosen = [name for name in chosen if not _is_the_jobs_own(name, namespace[name])]
    for name in chosen:
        if name in REFUSED:
            raise _refused(name, analysis.reads.get(name))
    _check_defined(analysis, namespace, set(chosen), imported)
    return chosen


def _check_asked(selection: Selection, namespace: Mapping[str, Any], analysis: CellAnalysis) -> None:
    for name in (*(selection.names or ()), *selection.add, *selection.drop):
        if name not in namespace and not (name in selection.drop and name in analysis.reads):
            raise PayloadError(f"--in {name}: there is no such variable", advice=_spelling(name, namespace))


def _is_the_jobs_own(name: str, value: Any) -> bool:
    """Tell whether the job has this itself: IPython, which has its own, need not be installed there."""
    if name not in _IPYTHONS:
        return False
    # IPython's open() wears the name and module of Python's.
    home = getattr(value, "__globals__", {}).get("__name__") or getattr(value, "__module__", "")
    return str(home).startswith("IPython.")


def jobs_own(namespace: Mapping[str, Any]) -> frozenset[str]:
    """Give the names of the notebook that stand for something else in a job, which has it itself."""
    return frozenset(name for name in _IPYTHONS if name in namespace and _is_the_jobs_own(name, namespace[name]))


def _refused(name: str, line: int | None) -> PayloadError:
    where = f", read in line {line}," if line else ""
    if name in ("exit", "quit"):
        advice = "End the job with sys.exit() or `raise SystemExit`."
    elif name == "get_ipython":
        advice = "The job has its own."
    else:
        advice = "Give the value that you need from it a name of its own; `_` and `_1` can be sent."
    return PayloadError(f"`{name}`{where} belongs to this kernel and is not sent", advice=advice, variable=name)


def _check_defined(
    analysis: CellAnalysis, namespace: Mapping[str, Any], chosen: set[str], imported: Collection[str]
) -> None:
    missing = []
    for name, line in sorted(analysis.required.items(), key=lambda entry: entry[1]):
        if name in chosen or name in JOB_BUILTINS or name in MODULE_NAMES or hasattr(builtins, name):
            continue
        if name in namespace:
            if not _is_the_jobs_own(name, namespace[name]):
                missing.append((name, f"`{name}` is read in line {line} and left out by --in", ""))
        elif not any(name in assigned_globals(value) for value in namespace.values()):
            advice = _spelling(name, {**namespace, **analysis.assigned})
            if name in imported:
                advice = f"Import `{name}` in this cell too: what a cell imports stays in its job."
            missing.append((name, f"`{name}` is read in line {line} and is not defined", advice))
    if missing:
        message = "; ".join(text for _, text, _ in missing)
        advice = " ".join(dict.fromkeys(advice for _, _, advice in missing if advice))
        raise PayloadError(message, advice=advice, variable=missing[0][0])


def undefined_after_dynamic(analysis: CellAnalysis, namespace: Mapping[str, Any]) -> Iterator[str]:
    """Give a line for each name that only code like ``exec`` can have defined."""
    for name, line in analysis.doubtful.items():
        if name not in namespace and not hasattr(builtins, name) and name not in JOB_BUILTINS | MODULE_NAMES:
            yield f"line {line}: `{name}` is not defined here, so the code before it must define it"


def assigned_globals(value: Any) -> set[str]:
    """Give the names that a notebook function assigns with ``global``."""
    if not isinstance(value, FunctionType):
        return set()
    return {name for code in codes_of(value) for name in _stored(code)}


def _stored(code: CodeType) -> Iterator[str]:
    import dis

    return (str(i.argval) for i in dis.get_instructions(code) if i.opname == "STORE_GLOBAL")


def history_used(value: Any) -> set[str]:
    """Give the names of the kernel's history that a notebook function, or a class's methods, read."""
    import dis

    return {
        str(instruction.argval)
        for code in codes_of(value)
        if HISTORY.intersection(code.co_names)
        for instruction in dis.get_instructions(code)
        if instruction.opname in ("LOAD_GLOBAL", "LOAD_NAME") and instruction.argval in HISTORY
    }


def codes_of(value: Any) -> Iterator[CodeType]:
    """Give all code objects of a function or of a class's methods, the nested ones included."""
    if isinstance(value, type):
        for attribute in vars(value).values():
            yield from codes_of(attribute)
        return
    inner = getattr(value, "__func__", None) or getattr(value, "fget", None) or value
    todo = [getattr(inner, "__code__", None)]
    while todo:
        code = todo.pop()
        if isinstance(code, CodeType):
            yield code
            todo.extend(constant for constant in code.co_consts if isinstance(constant, CodeType))


def choose_outputs(analysis: CellAnalysis, selection: Selection, inputs: Iterable[str], limit: int) -> dict[str, Any]:
    """Say what is to come back, in the form the runner reads.

    Raises
    ------
    PayloadError
        If ``--out`` names what the cell cannot have.
    """
    possible = {*analysis.assigned, *inputs}
    for name in (*(selection.names or ()), *selection.add, *selection.drop):
        if name not in possible and not analysis.warnings:
            raise PayloadError(
                f"--out {name}: the cell neither assigns `{name}` nor reads it", advice=_spelling(name, possible)
            )
        if name in REFUSED:
            raise _refused(name, None)
    return {
        "strict": selection.names is not None,
        "names": list(selection.names or ()),
        "add": list(selection.add),
        "drop": list(selection.drop),
        "auto": list(analysis.outputs),
        "excluded": list(analysis.excluded),
        "limit": limit,
    }


def _spelling(name: str, known: Iterable[str]) -> str:
    meant = nearest(name, [k for k in known if not k.startswith("_")])
    return f"Did you mean `{meant}`?" if meant else ""
