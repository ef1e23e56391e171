"""What cannot be sent is named by its variable and the path to it, with advice."""

from __future__ import annotations

import asyncio
import contextvars
import functools
import socket
import sqlite3
import sys
import threading
import weakref
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from jupyter_konduktor.errors import PayloadError


def refused(notebook: Any, value: Any) -> PayloadError:
    notebook.namespace["x"] = value
    with pytest.raises(PayloadError) as caught:
        notebook.capture("y = 1\nprint(x)")
    assert caught.value.variable == "x"
    assert "Cannot send `x`, read in line 2: " in str(caught.value)
    return caught.value


class Holder:
    def __init__(self, **attributes: Any) -> None:
        self.__dict__.update(attributes)


class Slotted:
    __slots__ = ("held",)


def kinds(path: Path) -> Iterator[tuple[str, Any]]:
    yield "a lock", threading.Lock()
    yield "a lock", threading.RLock()
    yield "a lock", threading.Condition()
    yield "a lock", threading.Event()
    yield "a generator", (i for i in ())
    yield "a socket", socket.socket()
    yield "a thread-local", threading.local()
    yield "a thread", threading.Thread()
    yield "sys.modules", sys.modules
    yield "an open file", path.open("w")
    yield "an open file", path.open("rb", buffering=0)
    yield "a database connection (sqlite3.Connection)", sqlite3.connect(":memory:")
    yield "a context variable", contextvars.ContextVar("v")
    yield "a weak reference", weakref.ref(threading.current_thread())
    yield "a stack frame", sys._getframe()
    yield "an executor", ThreadPoolExecutor()
    yield "an event loop", asyncio.new_event_loop()


def test_each_kind_is_called_by_its_name_and_has_advice(notebook: Any, tmp_path: Path) -> None:
    for name, value in kinds(tmp_path / "file"):
        error = refused(notebook, value)
        assert f": {name}" in error.message, name
        assert error.advice.endswith("."), name
        if hasattr(value, "close"):
            value.close()


def test_a_coroutine_is_refused(notebook: Any) -> None:
    async def work() -> None: ...

    coroutine = work()
    assert "a coroutine" in str(refused(notebook, coroutine))
    coroutine.close()


LOCK = threading.Lock()


def closure() -> Any:
    lock = LOCK
    return lambda: lock


def slotted() -> Slotted:
    made = Slotted()
    made.held = LOCK  # type: ignore[attr-defined]
    return made


def around_itself() -> list[Any]:
    made: list[Any] = [1]
    made.append(made)
    made.append({"self": made, "lock": LOCK})
    return made


def class_around_itself() -> Any:
    class Node:
        lock = LOCK

        def me(self) -> Any:
            return Node

    return Node


PATHS = {
    "attributes and items": (lambda: Holder(layers=[Holder(lock=LOCK)]), "x.layers[0].lock"),
    "dict key": (lambda: {"a": {3: LOCK}}, "x['a'][3]"),
    "tuple": (lambda: (1, (2, LOCK)), "x[1][1]"),
    "closure": (closure, "x.<closure>.lock"),
    "default": (lambda: lambda a=LOCK: a, "x.__defaults__[0]"),
    "keyword default": (lambda: lambda *, a=LOCK: a, "x.__kwdefaults__['a']"),
    "partial": (lambda: functools.partial(print, 1, LOCK), "x.args[1]"),
    "partial keyword": (lambda: functools.partial(print, end=LOCK), "x.keywords['end']"),
    "bound method": (lambda: Holder(lock=LOCK).__init__, "x.__self__.lock"),  # type: ignore[misc]
    "slots": (slotted, "x.held"),
    "one among many": (lambda: [*range(100_000), LOCK, *range(1000)], "x[100000]"),
    "around itself": (around_itself, "x[2]['lock']"),
    "class around itself": (class_around_itself, "x.lock"),
    "instance of it": (lambda: {"n": class_around_itself()()}, "x['n'].__class__.lock"),
}


@pytest.mark.parametrize(("make", "path"), PATHS.values(), ids=PATHS.keys())
def test_the_path_leads_to_the_culprit(notebook: Any, make: Any, path: str) -> None:
    error = refused(notebook, make())
    assert error.path == path
    assert f"a lock at {path}" in str(error)


def test_a_culprit_behind_a_function_names_the_function(notebook: Any) -> None:
    notebook.run("import threading\nlock = threading.Lock()\ndef work():\n    with lock: pass")
    with pytest.raises(PayloadError, match="Cannot send `lock`, which `work` uses: a lock") as caught:
        notebook.capture("work()")
    assert caught.value.variable == "lock"


@pytest.mark.parametrize("method", ["__reduce__", "__getstate__", "__reduce_ex__", "__getnewargs__"])
def test_a_class_whose_pickling_raises_is_named(notebook: Any, method: str) -> None:
    def broken(self: Any, *args: Any) -> Any:
        raise ValueError("no pickling today")

    error = refused(notebook, [type("Model", (), {method: broken})()])
    assert f"Model.{method}() raised ValueError: no pickling today at x[0]" in str(error)


def test_what_is_nested_too_deep_is_told_so(notebook: Any) -> None:
    deep: list[Any] = []
    for _ in range(5000):
        deep = [deep]
    assert "nested too deep" in str(refused(notebook, deep))


def test_what_holds_itself_can_be_sent(notebook: Any) -> None:
    notebook.run("d = {}\nd['d'] = d\nclass Node:\n    def me(self): return Node\nn = Node(); n.n = n")
    assert notebook.in_job(notebook.capture("ok = d['d'] is d and n.n is n and n.me() is Node"))["ok"]


def test_the_search_of_something_huge_ends_soon(notebook: Any) -> None:
    import time

    value = [[[i, str(i)] for i in range(300_000)], {"deep": [LOCK]}]
    start = time.monotonic()
    assert refused(notebook, value).path.startswith("x")
    assert time.monotonic() - start < 15
