"""The pickler of a pack: plain pickle for plain values, cloudpickle for code, notebook names as frames of their own."""

from __future__ import annotations

import functools
import io
import pickle
import sys
import types

from .names import (
    Main,
    builtin_type,
    class_definition,
    make_cached,
    make_cached_property,
    make_cell,
    make_class,
    make_function,
    make_type,
    set_class,
    set_function,
)
from .pack import Frame, FrameError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Container, Mapping
    from typing import Any


class CloudpickleNeededError(Exception):
    """Raised inside the plain pickler when it meets what only cloudpickle can pickle."""


def _where(obj: Any) -> str | None:
    """Name the module from which an object can be imported, None if from none."""
    module_name = getattr(obj, "__module__", None)
    if not isinstance(module_name, str) or module_name in ("__main__", "__mp_main__"):
        return None
    found: Any = sys.modules.get(module_name)
    name = getattr(obj, "__qualname__", None) or getattr(obj, "__name__", "<>")
    for part in str(name).split("."):
        found = getattr(found, part, None)
    return module_name if found is obj else None


def _refuse(obj: Any) -> None:
    """Refuse what pickle or cloudpickle would send as something else than it is."""
    if isinstance(obj, io.IOBase) and not isinstance(obj, (io.BytesIO, io.StringIO)):
        raise TypeError("cannot pickle an open file")


class _PlainPickler(pickle.Pickler):
    """Pickles what needs no code objects, without importing cloudpickle (40 ms of a job)."""

    def __init__(self, file: io.BytesIO, callback: Callable[[pickle.PickleBuffer], bool], dumper: Dumper) -> None:
        super().__init__(file, protocol=5, buffer_callback=callback)
        self.dumper = dumper

    def reducer_override(self, obj: Any) -> Any:
        if isinstance(obj, (types.FunctionType, type)):
            module = _where(obj)
            if module is None and obj not in _NAMELESS_TYPES:
                raise CloudpickleNeededError
            self.dumper.note_module(module)
            return NotImplemented
        _refuse(obj)
        return self.dumper.reduce_foreign(obj)


_NAMELESS_TYPES = frozenset((type(None), type(Ellipsis), type(NotImplemented)))


def _cloud_pickler(file: io.BytesIO, callback: Callable[[pickle.PickleBuffer], bool], dumper: Dumper) -> Any:
    """Make a cloudpickle pickler with our reducers for what belongs to the main namespace.

    Functions are taken apart by cloudpickle, and put together by functions of ours: so loading one does not import
    cloudpickle, which is the larger part of a small job's time.
    """
    if "cloudpickle" not in sys.modules:
        from . import carried

        carried.offer(first=True)
    import cloudpickle.cloudpickle as cp

    if not hasattr(cp, "Pickler"):
        raise ModuleNotFoundError("the cloudpickle that the code has imported is older than 3.0", name="cloudpickle")

    class CloudPickler(cp.Pickler):  # type: ignore[misc]
        def reducer_override(self, obj: Any) -> Any:
            if isinstance(obj, type):
                if obj in cp._BUILTIN_TYPE_NAMES:
                    return builtin_type, (cp._BUILTIN_TYPE_NAMES[obj],)
                reduced = super().reducer_override(obj)
                if reduced is NotImplemented:
                    dumper.note_module(obj.__module__)
                elif reduced[-1] is cp._class_setstate:
                    dumper.note_code()
                    dumper.note_definition(obj, obj.__qualname__)
                    arguments, state = _class_parts(obj, reduced[1], reduced[2])
                    made = (reduced[0], arguments, obj.__module__, obj.__qualname__, class_definition(obj))
                    return make_class, made, state, None, None, set_class
                return reduced
            if isinstance(obj, types.FunctionType):
                reduced = super().reducer_override(obj)
                if reduced is NotImplemented:
                    dumper.note_module(obj.__module__)
                else:
                    dumper.note_code()
                return reduced
            if isinstance(obj, types.CellType):
                try:
                    return make_cell, (obj.cell_contents,)
                except ValueError:
                    return make_cell, ()
            if isinstance(obj, types.CodeType):
                dumper.note_code()
            elif isinstance(obj, types.ModuleType):
                dumper.note_module(obj.__name__)
            else:
                _refuse(obj)
            return dumper.reduce_foreign(obj)

        def _dynamic_function_reduce(self, func: types.FunctionType) -> Any:
            _, (code, namespace, _, _, closure), state, *_ = super()._dynamic_function_reduce(func)
            if func.__globals__ is dumper.main:
                # The names it reads become frames of their own: one place for each, blame and size per name.
                for name in state[1]["__globals__"]:
                    dumper.want(name)
                dumper.note_definition(func, func.__name__)
                state[1]["__globals__"] = {}
            # A pickle names cloudpickle only where loading it needs cloudpickle.
            submodules = state[1].pop("_cloudpickle_submodules")
            # What happens to be imported says nothing about the function itself.
            state[1]["submodules"] = submodules if dumper.follow else []
            return make_function, (code, namespace, closure), state, None, None, set_function

    pickler = CloudPickler(file, protocol=5, buffer_callback=callback)
    pickler.globals_ref[id(dumper.main)] = Main()
    return pickler


def _class_parts(
    cls: type, arguments: tuple[Any, ...], state: tuple[dict[str, Any], Any]
) -> tuple[tuple[Any, ...], tuple[dict[str, Any], Any]]:
    """Mend what cloudpickle makes of a class: slots exist only if a class has them from the start."""
    attributes, more = state
    attributes.pop("__slotnames__", None)  # left there by whoever copied or pickled an instance
    slots = vars(cls).get("__slots__")
    if slots and not hasattr(cls, "_member_map_"):  # an enum is made from other arguments
        names = slots if isinstance(slots, str) else tuple(slots)
        arguments = (*arguments[:3], dict(arguments[3], __slots__=names), *arguments[4:])
        attributes = {n: v for n, v in attributes.items() if not isinstance(v, types.MemberDescriptorType)}
    return arguments, (attributes, more)


_KNOWN_BY_NAME = frozenset((type(functools.lru_cache(len)), functools.cached_property))
_TYPING = frozenset(("NewType", "ParamSpec", "TypeAliasType", "TypeVarTuple"))


class Dumper:
    """One run over all values; made anew when a value has to be left out, since the memo knows it by then."""

    def __init__(
        self, main: dict[str, Any] | None, follow: bool, skip: Container[str], use_cloudpickle: bool, inband: int
    ) -> None:
        self.main = main
        self.follow = follow
        self.skip = skip
        self.inband = inband
        self.stream = io.BytesIO()
        self.buffers: list[memoryview] = []
        self.frames: list[Frame] = []
        self.modules: set[str] = set()
        self.code = False
        self.wanted: dict[str, str] = {}  # name -> the frame that refers to it
        self.current = ""
        self.storages: dict[int, Any] = {}
        make = _cloud_pickler if use_cloudpickle else _PlainPickler
        self.pickler = make(self.stream, self._buffer, self)

    def _buffer(self, buffer: pickle.PickleBuffer) -> bool:
        view = buffer.raw()
        if view.nbytes < self.inband:
            return True
        self.buffers.append(view)
        return False

    def note_module(self, name: str | None) -> None:
        """Remember a module that must be importable where the pack is loaded."""
        if name:
            self.modules.add(name)

    def note_code(self) -> None:
        """Remember that a code object travels, which ties the pack to this minor version of Python."""
        self.code = True

    def note_definition(self, obj: Any, name: str) -> None:
        """Have a notebook class or function be found under its name where it is loaded, as pickle expects."""
        if self.main is not None and self.main.get(name) is obj:
            self.want(name)

    def want(self, name: str) -> None:
        """Have a name of the main namespace travel too, as a frame of its own."""
        if self.follow and self.main is not None and name in self.main and name not in self.skip:
            self.wanted.setdefault(name, self.current)

    def reduce_foreign(self, obj: Any) -> Any:
        """Reduce what a foreign library pickles badly; NotImplemented for all else."""
        kind = type(obj)
        if kind in _KNOWN_BY_NAME or (kind.__module__ == "typing" and kind.__name__ in _TYPING):
            return self._reduce_named(obj)
        if kind.__module__.startswith("torch"):
            from .tensors import reduce_storage

            self.note_module("torch")
            return reduce_storage(obj, self.storages)
        if getattr(kind, "__module__", None) == "builtins":
            # Methods and functions written in C are found through the module or class that holds them.
            self.note_module(getattr(obj, "__module__", None))
        return NotImplemented

    def _reduce_named(self, obj: Any) -> Any:
        """Reduce what pickle would name, and would not find where it is loaded if the notebook has made it."""
        module = _where(obj)
        if module is not None:
            self.note_module(module)
            return NotImplemented
        kind = type(obj)
        if kind is functools.cached_property:  # it holds a lock before Python 3.12
            return make_cached_property, (obj.func, obj.attrname)
        if kind in _KNOWN_BY_NAME:
            return make_cached, (obj.__wrapped__, getattr(obj, "cache_parameters", dict)())
        if kind.__name__ == "NewType":
            return make_type, (kind.__name__, obj.__name__, (obj.__supertype__,))
        if kind.__name__ == "TypeAliasType":
            return make_type, (kind.__name__, obj.__name__, (obj.__value__,), {"type_params": obj.__type_params__})
        return make_type, (kind.__name__, obj.__name__, ())

    def add(self, name: str, value: Any, via: str | None) -> None:
        """Pickle one value into a frame; raises `FrameError`."""
        self.current = name
        start, held = self.stream.tell(), len(self.buffers)
        try:
            self.pickler.dump(value)
            if "__main__" in self.modules and id(sys.modules) in self.pickler.memo.copy():
                raise TypeError("cannot pickle sys.modules")  # a dict like any other to pickle
        except (CloudpickleNeededError, KeyboardInterrupt):
            raise
        except Exception as error:
            raise FrameError(name, via, error) from error
        end = self.stream.tell()
        size = end - start + sum(b.nbytes for b in self.buffers[held:])
        self.frames.append(Frame(name, type_name(value), size, via, how(value), end))

    def run(self, values: Mapping[str, Any]) -> None:
        """Pickle all values, then what they want of the main namespace, until nothing is left to follow."""
        for name, value in values.items():
            self.add(name, value, None)
        done = set(values)
        while True:
            todo = [(name, via) for name, via in self.wanted.items() if name not in done]
            if not todo:
                return
            for name, via in todo:
                done.add(name)
                self.add(name, (self.main or {})[name], via)

    def close(self) -> None:
        """Let go of the values: dumper and pickler know each other, and would keep them until a garbage collection."""
        self.pickler = None
        self.buffers = []
        self.storages = {}


def type_name(value: object) -> str:
    """Name a value's type as a person would (``list``, ``numpy.ndarray``)."""
    cls = type(value)
    return cls.__qualname__ if cls.__module__ in ("builtins", "__main__") else cls.__module__ + "." + cls.__qualname__


def how(value: Any) -> str:
    """Tell how a value travels: by ``"value"``, by ``"source"`` or by ``"name"``."""
    if isinstance(value, types.ModuleType):
        return "name"
    if isinstance(value, (type, types.FunctionType, *_KNOWN_BY_NAME)):
        return "source" if _where(value) is None else "name"
    if isinstance(value, types.BuiltinFunctionType):
        return "name"
    return "value"
