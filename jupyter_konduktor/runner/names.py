"""What pickles refer to by name: the main namespace, and classes that may exist already where they are loaded."""

from __future__ import annotations

import builtins
import sys
import types
from _thread import _local

from .digest import sha256

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

_HOME = "_konduktor"  # the module that pickles name for what is defined here, wherever this file lies

_loading = _local()


class Loading:
    """While it is entered, packs are being loaded into a main namespace, in this thread."""

    def __init__(self, main: dict[str, Any], notes: list[str]) -> None:
        self.main = main
        self.notes = notes
        self.adopted: set[type] = set()

    def __enter__(self) -> None:
        self.outer = getattr(_loading, "now", None)
        _loading.now = self

    def __exit__(self, *error: object) -> None:
        _loading.now = self.outer


def main_namespace() -> dict[str, Any]:
    """Give the namespace that stands for ``__main__`` where a pack is being loaded."""
    namespace: dict[str, Any] = _loading.now.main
    return namespace


def add_note(note: str) -> None:
    """Add a line about the pack that is being loaded, once."""
    if note not in _loading.now.notes:
        _loading.now.notes.append(note)


def same(obj: object) -> object:
    """Give the object itself; a second handle on one storage is pickled as this."""
    return obj


def make_class(make: Callable[..., type], args: tuple[Any, ...], module: str, name: str, definition: str) -> type:
    """Find the class that was pickled if it exists here, else make it.

    It exists if cloudpickle's tracker knows it, or if the main namespace holds a class of its name that is defined the
    same way: so identity survives both the way back into the kernel and a kernel restart.
    """
    import cloudpickle.cloudpickle as cp

    known = cp._DYNAMIC_CLASS_TRACKER_BY_ID.get(args[4] if make is cp._make_skeleton_class else args[5])
    if known is None and module == "__main__":
        here = _loading.now.main.get(name)
        if isinstance(here, type) and class_definition(here) == definition:
            known = here
    if known is not None:
        _loading.now.adopted.add(known)
        found: type = known
        return found
    return make(*args)


def set_class(cls: type, state: Any) -> None:
    """Fill a class that was just made; leave one that was found as it is."""
    if cls not in _loading.now.adopted:
        import cloudpickle.cloudpickle as cp

        cp._class_setstate(cls, state)


def make_function(code: types.CodeType, namespace: dict[str, Any], closure: tuple[types.CellType, ...] | None) -> Any:
    """Make a function that `set_function` completes once it is memoized, since it may refer to itself."""
    namespace.setdefault("__builtins__", builtins)
    return types.FunctionType(code, namespace, None, None, closure)


def set_function(function: types.FunctionType, state: tuple[dict[str, Any], dict[str, Any]]) -> None:
    """Give a function its attributes, its closure and, outside of the main namespace, its globals."""
    attributes, slots = state
    function.__dict__.update(attributes)
    function.__globals__.update(slots.pop("__globals__"))
    slots.pop("submodules")  # loading them has imported them, and that is what they are for
    for cell, given in zip(function.__closure__ or (), slots.pop("__closure__") or ()):
        try:
            cell.cell_contents = given.cell_contents
        except ValueError:
            continue  # it is empty where it comes from
    for slot, value in slots.items():
        setattr(function, slot, value)


def make_cell(*contents: Any) -> types.CellType:
    """Make a cell of a closure, empty without contents."""
    return types.CellType(*contents)


def make_cached(function: Any, parameters: dict[str, Any]) -> Any:
    """Wrap a function as ``functools.lru_cache`` does, with nothing in the cache yet."""
    import functools

    return functools.lru_cache(**parameters)(function)


def make_cached_property(function: Any, name: str | None) -> Any:
    """Make a ``functools.cached_property`` that knows its name already."""
    import functools

    made: Any = functools.cached_property(function)
    made.attrname = name
    return made


def make_type(kind: str, name: str, args: tuple[Any, ...], more: dict[str, Any] | None = None) -> Any:
    """Find a ``typing.NewType``, ``ParamSpec`` or the like under its name in the main namespace, or make it."""
    import typing

    factory: Any = getattr(typing, kind)
    here = _loading.now.main.get(name)
    if isinstance(factory, type) and isinstance(here, factory):
        return here
    made = factory(name, *args, **(more or {}))
    if kind != "TypeAliasType":  # whose module is fixed
        made.__module__ = "__main__"
    return made


def builtin_type(name: str) -> type:
    """Give a type that has no name but in `types`."""
    found: type = getattr(types, name)
    return found


def publish(*functions: Any) -> None:
    """Make functions importable under a name that does not depend on where their file lies."""
    home = sys.modules.setdefault(_HOME, types.ModuleType(_HOME))
    for function in functions:
        function.__module__ = _HOME
        setattr(home, function.__name__, function)


publish(
    main_namespace, same, make_class, set_class, make_function, set_function, make_cell, builtin_type,
    make_cached, make_cached_property, make_type,
)  # fmt: skip


class Main:
    """Stands for the main namespace in a pickle."""

    def __reduce__(self) -> tuple[Any, ...]:
        return main_namespace, ()


def class_definition(cls: type) -> str:
    """Digest what a class is made of: its names, its methods' code and its plain attributes."""
    digest = sha256(cls.__qualname__.encode())
    for base in cls.__bases__:
        digest.update(base.__qualname__.encode())
    for name, value in sorted(vars(cls).items()):
        if _incidental(name, value):
            continue
        digest.update(name.encode())
        _digest_attribute(digest, value)
    for name, member in (getattr(cls, "_member_map_", None) or {}).items():
        digest.update(name.encode())
        _digest_attribute(digest, getattr(member, "_value_", None))
    return str(digest.hexdigest())


def _incidental(name: str, value: Any) -> bool:
    """Whether a class attribute depends on where the class stands or was used, and not on what it says."""
    if name.startswith("__") and name.endswith("__"):
        return not isinstance(value, (types.FunctionType, classmethod, staticmethod))
    return name in ("_abc_impl", "_value2member_map_", "_hashable_values_", "_unhashable_values_map_")


def _digest_attribute(digest: Any, value: Any) -> None:
    function = getattr(value, "__func__", None) or getattr(value, "fget", None) or value
    code = getattr(function, "__code__", None)
    if isinstance(code, types.CodeType):
        _digest_code(digest, code)
    elif isinstance(value, (int, float, str, bytes, bool, tuple, type(None))):
        digest.update(repr(value).encode())
    else:
        digest.update(type(value).__qualname__.encode())


def _digest_code(digest: Any, code: types.CodeType) -> None:
    digest.update(code.co_code)
    digest.update(repr((code.co_names, code.co_varnames, code.co_freevars)).encode())
    for const in code.co_consts:
        if isinstance(const, types.CodeType):
            _digest_code(digest, const)
        else:
            digest.update(repr(const).encode())
