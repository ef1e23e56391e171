"""What the user's own modules hold in memory and not on disk: the job runs their files."""

from __future__ import annotations

import ast
import inspect
import sys
import types
import warnings
from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import Any

_MOST_NAMED = 5
_OURS = ("__main__", "__mp_main__", "_konduktor")  # the last is where the runner keeps what pickles name


def find_drift(archived: Mapping[str, bytes]) -> list[str]:
    """Compare the loaded modules that travel as files with these files.

    Parameters
    ----------
    archived : mapping of str to bytes
        The sources by their path, ``package/module.py``.

    Returns
    -------
    list of str
        One line for each module that differs.
    """
    lines = []
    for path, source in sorted(archived.items()):
        name = path.removesuffix(".py").removesuffix("/__init__").replace("/", ".")
        module = sys.modules.get(name) if path.endswith(".py") else None
        if isinstance(module, types.ModuleType):
            differing = sorted(set(_differences(module, source)))
            if differing:
                more = f" and {len(differing) - _MOST_NAMED} more" if len(differing) > _MOST_NAMED else ""
                listed = ", ".join(differing[:_MOST_NAMED]) + more
                lines.append(f"module {name} is not in memory what it is on disk ({listed}); the job runs the file")
    return lines


def _differences(module: types.ModuleType, source: bytes) -> Iterator[str]:
    """Name the attributes of a module that its file would not give."""
    file = getattr(module, "__file__", None) or ""
    disk = _read(source, file)
    if disk is None:
        yield "its file has a syntax error"
        return
    for name, value in list(vars(module).items()):
        if name.startswith("__") or isinstance(value, types.ModuleType):
            continue
        if name not in disk.bound:
            if not disk.star:
                yield f"{name}: only in memory"
        elif name in disk.constants and isinstance(value, (bool, int, float, str, type(None))):
            if value != disk.constants[name]:
                yield f"{name}: changed"
        elif isinstance(value, type):
            if value.__module__ == module.__name__:
                yield from _class(value, disk, file)
        else:
            yield from _function(value, disk, file, name)


def _class(cls: type, disk: _Disk, file: str) -> Iterator[str]:
    """Name the methods of a class that are not those of the file."""
    bodies = disk.codes.get(cls.__qualname__, [])
    for name, attribute in vars(cls).items():
        method = getattr(attribute, "__func__", None) or getattr(attribute, "fget", None) or attribute
        if not isinstance(method, types.FunctionType):
            continue
        origin = method.__code__.co_filename
        written = not origin.startswith("<") or origin.startswith("<ipython")  # dataclasses and the like make methods
        if written and bodies and not any(name in body.co_names for body in bodies):
            yield f"{cls.__qualname__}.{name}: only in memory"
        else:
            yield from _function(method, disk, file, f"{cls.__qualname__}.{name}")


def _function(value: Any, disk: _Disk, file: str, name: str = "") -> Iterator[str]:
    """Name a function whose code is not that of the file."""
    function = inspect.unwrap(value) if callable(value) else value
    if not isinstance(function, types.FunctionType):
        return
    code = function.__code__
    if code.co_filename != file:
        if name in disk.plain:
            yield f"{name}: replaced"
        return
    there = disk.codes.get(code.co_qualname)
    if there is None or not any(_same(code, other) for other in there):
        yield f"{code.co_qualname}: changed"


class _Disk:
    """What a source file defines."""

    def __init__(self, tree: ast.Module, code: types.CodeType) -> None:
        self.bound = set(code.co_names)  # more than what is bound, and nothing less
        self.star = any(
            isinstance(node, ast.ImportFrom) and any(a.name == "*" for a in node.names) for node in ast.walk(tree)
        )
        self.plain: set[str] = set()  # qualified names of functions without decorators
        self.constants: dict[str, Any] = {}
        self.codes: dict[str, list[types.CodeType]] = {}
        self._collect(code)
        self._collect_plain(tree.body, "")
        self._read_top(tree)

    def _collect(self, code: types.CodeType) -> None:
        for constant in code.co_consts:
            if isinstance(constant, types.CodeType):
                self.codes.setdefault(constant.co_qualname, []).append(constant)
                self._collect(constant)

    def _collect_plain(self, body: list[ast.stmt], prefix: str) -> None:
        for node in body:
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and not node.decorator_list:
                self.plain.add(prefix + node.name)
            elif isinstance(node, ast.ClassDef):
                self._collect_plain(node.body, f"{prefix}{node.name}.")

    def _read_top(self, tree: ast.Module) -> None:
        stored = [n.id for n in ast.walk(tree) if isinstance(n, ast.Name) and not isinstance(n.ctx, ast.Load)]
        declared = {name for n in ast.walk(tree) if isinstance(n, ast.Global) for name in n.names}
        self.bound |= declared  # functions of the module assign these as it works
        for node in tree.body:
            if isinstance(node, ast.Assign) and len(node.targets) == 1 and isinstance(node.value, ast.Constant):
                (target,) = node.targets
                if isinstance(target, ast.Name) and stored.count(target.id) == 1 and target.id not in declared:
                    self.constants[target.id] = node.value.value


@lru_cache(maxsize=1024)
def _read(source: bytes, file: str) -> _Disk | None:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return _Disk(ast.parse(source), compile(source, file, "exec", dont_inherit=True))
    except (SyntaxError, ValueError):
        return None


def _same(one: types.CodeType, other: types.CodeType) -> bool:
    """Compare what two code objects do, wherever they stand."""
    if (one.co_code, one.co_names, one.co_varnames) != (other.co_code, other.co_names, other.co_varnames):
        return False
    if len(one.co_consts) != len(other.co_consts):
        return False
    return all(
        _same(a, b) if isinstance(a, types.CodeType) and isinstance(b, types.CodeType) else repr(a) == repr(b)
        for a, b in zip(one.co_consts, other.co_consts, strict=True)
    )


def without_file(names: set[str]) -> list[str]:
    """Name the modules among some that exist in memory only, so that the job cannot import them."""
    found = []
    for name in sorted(names):
        module = sys.modules.get(name)
        if (
            isinstance(module, types.ModuleType)
            and getattr(module, "__file__", None) is None
            and getattr(module, "__path__", None) is None
            and name not in sys.builtin_module_names
            and getattr(module, "__spec__", None) is None
            and name not in _OURS
        ):
            found.append(name)
    return found
