"""Functions that run as jobs: ``@remote``."""

from __future__ import annotations

import functools
import inspect
import sys
from collections.abc import Callable, Iterable
from typing import Any, Generic, ParamSpec, TypeVar, overload

import jupyter_konduktor
from jupyter_konduktor import payload, session
from jupyter_konduktor.config import Settings
from jupyter_konduktor.group import JobGroup
from jupyter_konduktor.job import Job, follow, interrupted
from jupyter_konduktor.naming import name_from
from jupyter_konduktor.payload import Payload
from jupyter_konduktor.runner.stream import Display
from jupyter_konduktor.task import Kind, Task

P = ParamSpec("P")
R = TypeVar("R")


class RemoteFunction(Generic[P, R]):
    """A function that runs as a job when it is called.

    ``f(x)`` waits and gives the value, with the job's output here as it comes; ``f.submit(x)`` gives the `Job` at once,
    ``f.map(xs)`` a `JobGroup`, ``f.local(x)`` calls the function in this process, and ``f.options(gpus=1)`` is the same
    function with other resources. Calling an ``async`` function gives an awaitable. In a job it is the plain function.
    """

    __qualname__: str

    def __init__(self, function: Callable[P, R], options: dict[str, Any], *, bound: tuple[Any, ...] = ()) -> None:
        self._wrapped: Any = function
        self._function = _checked(function)
        self._options = options
        self._bound = bound
        functools.update_wrapper(self, _named(self._function), updated=())
        self._task(Settings())  # a wrong option is an error where it was written

    def __repr__(self) -> str:
        given = ", ".join(f"{key}={value!r}" for key, value in self._options.items())
        return f"<remote function {self._label} ({given})>" if given else f"<remote function {self._label}>"

    def __reduce__(self) -> Any:
        # What lies in a module of the user's own goes by its name; the module's file travels and defines it again.
        if self.__module__ not in ("__main__", None):
            found: Any = sys.modules.get(self.__module__)
            for part in self.__qualname__.split("."):
                found = getattr(found, part, None)
            if found is self:
                return self.__qualname__
        return jupyter_konduktor.restore_remote, (self._callable(), self._options)

    def __get__(self, instance: Any, owner: type | None = None) -> RemoteFunction[..., R]:
        if isinstance(self._wrapped, staticmethod):
            return self
        if isinstance(self._wrapped, classmethod):
            return RemoteFunction(self._function, self._options, bound=(owner,))
        return self if instance is None else RemoteFunction(self._function, self._options, bound=(instance,))

    @property
    def _label(self) -> str:
        return str(getattr(_named(self._function), "__name__", "function"))

    def _callable(self) -> Any:
        return functools.partial(self._function, *self._bound) if self._bound else self._function

    def _task(self, settings: Settings, kind: Kind = "function", items: int = 0) -> Task:
        options = {"name": name_from(self._label, "function"), **self._options, "items": items}
        options.pop("backend", None)
        return session.make_task(kind, options, settings)

    def _send(self, kind: Kind, capture: Callable[..., Payload], called: tuple[Any, Any]) -> Job:
        """Check the task before anything is pickled, and make the job."""
        settings = Settings.load({"backend": self._options["backend"]} if "backend" in self._options else {})
        task = self._task(settings, kind, items=len(called[0]) if kind == "map" else 0)
        notes = session.tracker(settings).backend.check(task)
        captured = capture(self._callable(), *called, cells=_cells(), **session.capture_options(settings, task))
        for note in notes:
            session.say_once(note)
        for warning in captured.report.warnings:
            session.say(warning)
        return session.submit(task, captured, settings=settings, origin=session.origin())

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """Run the function as a job, wait for it and give its value."""
        job = self.submit(*args, **kwargs)
        if inspect.iscoroutinefunction(_named(self._function)):
            return _awaited(job)  # type: ignore[return-value]
        present(job)
        value: R = job.result()
        return value

    def submit(self, *args: P.args, **kwargs: P.kwargs) -> Job:
        """Run the function as a job and give its handle at once."""
        return self._send("function", payload.capture_call, (args, kwargs))

    def map(self, *iterables: Iterable[Any], **kwargs: Any) -> JobGroup:
        """Run the function over items, as the builtin ``map`` does, all in one job.

        The option ``max_parallel`` says how many run at the same time, each with the resources of the function;
        ``retries`` how often one that fails is run again. One that fails, even by ending its process, stops no other.

        Parameters
        ----------
        *iterables
            One for each positional argument; the shortest ends it.
        **kwargs
            The same for each item.

        Returns
        -------
        JobGroup
            Its results are in the order of the items.
        """
        if not iterables:
            raise TypeError("map() needs at least one iterable")
        items = list(zip(*iterables, strict=False))
        if _shell() is not None:
            from jupyter_konduktor.magics.output import present_items

            JobGroup.progress = staticmethod(present_items)
        return JobGroup(self._send("map", payload.capture_map, (items, kwargs)))

    def local(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """Call the function in this process."""
        value: R = self._callable()(*args, **kwargs)
        return value

    def options(self, **options: Any) -> RemoteFunction[P, R]:
        """Make the same function with other options."""
        return RemoteFunction(self._wrapped, {**self._options, **options}, bound=self._bound)


async def _awaited(job: Job) -> Any:
    return await job


@overload
def remote(function: Callable[P, R], /) -> RemoteFunction[P, R]: ...
@overload
def remote(**options: Any) -> Callable[[Callable[P, R]], RemoteFunction[P, R]]: ...
def remote(
    function: Callable[P, R] | None = None, /, **options: Any
) -> RemoteFunction[P, R] | Callable[[Callable[P, R]], RemoteFunction[P, R]]:
    """Make a function run as a job, as ``@remote`` or ``@remote(gpus="H100:8", nodes=2)``.

    Parameters
    ----------
    function : callable
        A plain, nested, async or partial function, a method or a static method.
    **options
        What `Task.create` takes (``gpus``, ``nodes``, ``image``, ``queue``, ``timeout``, ...), and ``backend``.

    Raises
    ------
    InvalidTaskError
        If an option is unknown or has a wrong value.
    TypeError
        If it is a class or a generator function, whose values cannot come back.
    """
    if function is not None:
        return RemoteFunction(function, options)
    return lambda wrapped: RemoteFunction(wrapped, options)


def _checked(function: Any) -> Any:
    """Refuse at decoration what can never work, and give the function inside."""
    if isinstance(function, RemoteFunction):
        raise TypeError(f"{function._label} is a remote function already; use .options() to change it")
    inner = function.__func__ if isinstance(function, (staticmethod, classmethod)) else function
    named = _named(inner)
    label = getattr(named, "__qualname__", repr(named))
    if isinstance(inner, type):
        raise TypeError(f"@remote cannot be put on the class {label}; put it on a function that makes and uses it")
    if not callable(inner):
        raise TypeError(f"@remote needs a function, not {type(inner).__name__}")
    if inspect.isgeneratorfunction(named) or inspect.isasyncgenfunction(named):
        raise TypeError(
            f"@remote cannot run the generator {label}: its values cannot be sent one by one; return a list"
        )
    return inner


def _named(function: Any) -> Any:
    while isinstance(function, functools.partial):
        function = function.func
    return function


def _cells() -> dict[str, int | None]:
    """Give the numbers of the notebook's cells by the file names of their code; a script has none."""
    if _shell() is None:
        return {}
    from jupyter_konduktor.magics.history import cell_numbers

    return cell_numbers(_shell())


def _shell() -> Any:
    return sys.modules["IPython"].get_ipython() if "IPython" in sys.modules else None


def present(job: Job) -> None:
    """Show a job's output here until it ends, the way this process shows output."""
    if _shell() is not None:
        from jupyter_konduktor.magics.output import present as present_in_notebook

        present_in_notebook(job)
        return

    def on_text(data: bytes) -> None:
        sys.stdout.write(data.decode("utf-8", "replace"))
        sys.stdout.flush()

    def on_display(display: Display) -> None:
        plain = display.record.get("data", {}).get("text/plain", "")
        if plain:
            print(plain, flush=True)

    try:
        follow(job, on_text=on_text, on_display=on_display, on_state=lambda record: None)
    except KeyboardInterrupt:
        print(interrupted(job), file=sys.stderr)
        raise
