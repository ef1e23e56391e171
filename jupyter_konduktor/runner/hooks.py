"""What the job changes in modules that user code may import: done after each import, so nothing is imported for it."""

from __future__ import annotations

import builtins
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:  # importing typing costs a job 3 ms
    from collections.abc import Callable
    from typing import Any, NoReturn

    from .context import Context


class AfterImport:
    """A finder that runs an action after a module was imported.

    Parameters
    ----------
    actions : dict of str to callable
        By the module's name; called with the module, once.
    """

    def __init__(self, actions: dict[str, Callable[[Any], None]]) -> None:
        self.actions = actions

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> Any:
        """Let the other finders find a module that has an action; have its loader run the action."""
        action = self.actions.get(name)
        if action is None:
            return None
        for finder in sys.meta_path:
            if finder is not self and hasattr(finder, "find_spec"):
                spec = finder.find_spec(name, path, target)
                if spec is not None:
                    if spec.loader is not None:
                        spec.loader = _Loader(spec.loader, action)  # type: ignore[assignment]
                    return spec
        return None


class _Loader:
    """Stands before a module's own loader until the module is loaded."""

    def __init__(self, loader: Any, action: Callable[[Any], None]) -> None:
        self._loader = loader
        self._action = action

    def create_module(self, spec: Any) -> Any:
        return self._loader.create_module(spec)

    def exec_module(self, module: Any) -> None:
        module.__spec__.loader = module.__loader__ = self._loader
        self._loader.exec_module(module)
        self._action(module)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._loader, name)


def install(job: Context) -> None:
    """Make this process look like a kernel to the user's code."""

    def matplotlib(module: Any) -> None:
        import os

        if not os.environ.get("MPLBACKEND"):
            module.rcParams["backend"] = f"module://{__package__}.figures"

    def ipython_display(module: Any) -> None:
        from . import display

        for name in ("display", "update_display", "clear_output", "publish_display_data"):
            if hasattr(module, name):
                setattr(module, name, getattr(display, name))

    def line_cache(module: Any) -> None:
        for filename, source in job.sources.items():
            text = source["source"]
            module.cache[filename] = (len(text), None, text.splitlines(keepends=True), filename)

    def spawn(module: Any) -> None:
        from .spawned import prepare

        prepare(module, job)

    actions: dict[str, Callable[[Any], None]] = {
        "matplotlib": matplotlib,
        "IPython.core.display_functions": ipython_display,
        "IPython.core.display": ipython_display,  # IPython 7
        "linecache": line_cache,
        "multiprocessing.spawn": spawn,
    }
    for name in [name for name in actions if name in sys.modules]:
        actions.pop(name)(sys.modules[name])
    sys.meta_path.insert(0, AfterImport(actions))
    builtins.input = _input
    sys.breakpointhook = _breakpoint
    builtins.display = _display  # type: ignore[attr-defined]
    builtins.get_ipython = _get_ipython  # type: ignore[attr-defined]


def _display(*objs: Any, **kwargs: Any) -> Any:
    """Show objects, as IPython's ``display`` does."""
    from .display import display

    return display(*objs, **kwargs)


def _get_ipython() -> Any:
    """Give what stands for IPython's shell in a job."""
    from .shell import shell

    return shell()


def _input(prompt: object = "") -> NoReturn:
    raise RuntimeError(
        "input() cannot work in a job: nobody is there to answer. Ask in the notebook before, and let the cell read "
        "the variable."
    )


def _breakpoint(*args: Any, **kwargs: Any) -> NoReturn:
    raise RuntimeError(
        "breakpoint() cannot work in a job: there is no terminal. Run the cell without %%konduktor to debug it, or "
        "print what you want to see."
    )
