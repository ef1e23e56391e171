"""Finds out what in a variable cannot be pickled, and says what to do about it."""

from __future__ import annotations

import functools
import sys
import time
import types
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from jupyter_konduktor.errors import PayloadError
from jupyter_konduktor.runner import codec

from .culprits import advice_for, kind_of

_MOST_STEPS = 60
_SECONDS = 3.0

_PICKLE_METHODS: dict[str, tuple[Any, ...]] = {
    "__getstate__": (),
    "__getnewargs_ex__": (),
    "__getnewargs__": (),
    "__reduce_ex__": (4,),
    "__reduce__": (),
}

Child = tuple[str, Any]  # what leads to it from its parent (".lock", "[0]"), and the object


@dataclass(frozen=True, slots=True)
class Culprit:
    """What cannot be pickled.

    Attributes
    ----------
    path : str
        From the variable to it: ``model.layers[0].lock``.
    value : object
    cause : BaseException
        Why pickling it failed.
    """

    path: str
    value: Any
    cause: BaseException


def cannot_send(
    variable: str,
    value: Any,
    cause: BaseException,
    *,
    via: str = "",
    main: dict[str, Any] | None = None,
    line: int | None = None,
) -> PayloadError:
    """Make the error for a variable that cannot be pickled.

    Parameters
    ----------
    variable : str
    value : object
    cause : BaseException
        What pickling raised.
    via : str, optional
        The function or class of the notebook that refers to it.
    main : dict, optional
        The notebook's namespace.
    line : int, optional
        Where the cell reads it.
    """
    used = f", which `{via}` uses" if via else f", read in line {line}" if line else ""
    if _too_deep(cause):
        return PayloadError(
            f"Cannot send `{variable}`{used}: it is nested too deep to be pickled (recursion limit "
            f"{sys.getrecursionlimit()})",
            advice="Flatten it, or save it to a file and load that inside the job.",
            variable=variable,
            path=variable,
        )
    culprit = find_culprit(variable, value, cause, main)
    where = "" if culprit.path == variable else f" at {culprit.path}"
    kind = kind_of(culprit.value)
    method = "" if kind else _raising_method(culprit)
    if method:
        what = f"{method} raised {type(culprit.cause).__name__}: {_first_line(culprit.cause)}"
        advice = f"Mend {method}, or leave the variable out with --in -{variable}."
    else:
        what = kind or _said(culprit)
        advice = advice_for(culprit.value)
    return PayloadError(
        f"Cannot send `{variable}`{used}: {what}{where}", advice=advice, variable=variable, path=culprit.path
    )


def find_culprit(variable: str, value: Any, cause: BaseException, main: dict[str, Any] | None = None) -> Culprit:
    """Follow the parts that cannot be pickled either, down to one whose own parts all can.

    The search ends after a few seconds, and what it reached by then is the culprit.
    """
    path, stop = variable, time.monotonic() + _SECONDS
    seen = [value]
    for _ in range(_MOST_STEPS):
        if kind_of(value) or time.monotonic() > stop:
            break
        child = _first_failing([c for c in _children(value) if not any(c[1] is s for s in seen)], main, stop)
        if child is None:
            break
        path, value, cause = path + child[0][0], child[0][1], child[1]
        seen.append(value)
    return Culprit(path, value, cause)


def _first_failing(
    children: list[Child], main: dict[str, Any] | None, stop: float
) -> tuple[Child, BaseException] | None:
    """Find a part that cannot be pickled, by halves: one among a million takes twenty attempts."""
    cause = codec.refusal([value for _, value in children], main) if children else None
    if cause is None:
        return None
    while len(children) > 1:
        half = children[: len(children) // 2]
        failed = codec.refusal([value for _, value in half], main) if time.monotonic() < stop else None
        children = half if failed is not None else children[len(half) :]
    alone = codec.refusal(children[0][1], main)
    return (children[0], alone) if alone is not None else None


def _children(value: Any) -> Iterator[Child]:
    """Give the parts of an object that are pickled with it, and what leads to each."""
    if type(value) is dict:
        for key, item in value.items():
            yield f"[{_short(key)}]", item
        for key in value:
            yield f".keys()[{_short(key)}]", key
    elif type(value) in (list, tuple):
        for number, item in enumerate(value):
            yield f"[{number}]", item
    elif type(value) in (set, frozenset):
        for item in value:
            yield "{...}", item
    elif isinstance(value, types.FunctionType):
        for name, cell in zip(value.__code__.co_freevars, value.__closure__ or (), strict=True):
            if cell != types.CellType():
                yield f".<closure>.{name}", cell.cell_contents
        for number, default in enumerate(value.__defaults__ or ()):
            yield f".__defaults__[{number}]", default
        for name, default in (value.__kwdefaults__ or {}).items():
            yield f".__kwdefaults__[{name!r}]", default
        yield from _attributes(value.__dict__)
    elif isinstance(value, types.MethodType):
        yield ".__self__", value.__self__
        yield ".__func__", value.__func__
    elif isinstance(value, functools.partial):
        yield ".func", value.func
        for number, item in enumerate(value.args):
            yield f".args[{number}]", item
        for name, item in value.keywords.items():
            yield f".keywords[{name!r}]", item
    elif isinstance(value, type):
        yield from _attributes({k: v for k, v in vars(value).items() if k not in ("__dict__", "__weakref__")})
        for number, base in enumerate(value.__bases__):
            yield f".__bases__[{number}]", base
    elif isinstance(value, (staticmethod, classmethod)):
        yield ".__func__", value.__func__
    elif isinstance(value, property):
        yield from ((f".{part}", getattr(value, part)) for part in ("fget", "fset", "fdel"))
    else:
        yield from _reduced(value)


def _attributes(state: dict[str, Any]) -> Iterator[Child]:
    return ((f".{name}", item) for name, item in state.items())


def _reduced(value: Any) -> Iterator[Child]:
    """Give the parts that an object's own ``__reduce__`` names."""
    try:
        reduced = value.__reduce_ex__(4)
    except Exception:  # noqa: BLE001  whatever it raises is the cause already, and the object the culprit
        return
    if not isinstance(reduced, tuple) or len(reduced) < 2:
        return
    parts = [*reduced, None, None, None, None][:5]
    if isinstance(parts[1], tuple):
        for number, item in enumerate(parts[1]):
            if not isinstance(item, type):
                yield f".__reduce__()[1][{number}]", item
    states = parts[2] if isinstance(parts[2], tuple) and len(parts[2]) == 2 else (parts[2],)
    for state in states:
        if isinstance(state, dict) and all(isinstance(name, str) for name in state):
            yield from _attributes(state)
        elif state is not None:
            yield ".__getstate__()", state
    if parts[3] is not None:
        yield from ((f"[{number}]", item) for number, item in enumerate(parts[3]))
    if parts[4] is not None:
        yield from ((f"[{_short(key)}]", item) for key, item in parts[4])
    yield ".__class__", type(value)


def _raising_method(culprit: Culprit) -> str:
    """Name the method of a class that raised when an object of it was pickled; empty if none did."""
    cls = type(culprit.value)
    for name, arguments in _PICKLE_METHODS.items():
        method = getattr(cls, name, None)
        if isinstance(method, types.FunctionType):
            try:
                method(culprit.value, *arguments)
            except Exception:  # noqa: BLE001  that it raises is what is asked
                return f"{cls.__qualname__}.{name}()"
    return ""


def _too_deep(cause: BaseException) -> bool:
    return isinstance(cause, RecursionError) or "recursion" in str(cause)


def _said(culprit: Culprit) -> str:
    return f"{codec.type_name(culprit.value)} cannot be pickled ({_first_line(culprit.cause)})"


def _first_line(error: BaseException) -> str:
    text = next(iter(str(error).strip().splitlines()), "")
    return text if len(text) <= 160 else text[:157] + "..."


def _short(key: Any) -> str:
    text = repr(key) if isinstance(key, (str, int, float, bool, bytes, type(None))) else type(key).__name__
    return text if len(text) <= 40 else text[:37] + "..."
