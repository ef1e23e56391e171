"""Run a cell or a function of a notebook as a job: queued on this machine, or on a shared GPU cluster."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:  # importing typing would take most of what importing this package takes
    from typing import Any

    from jupyter_konduktor.function import remote as remote
    from jupyter_konduktor.group import JobGroup as JobGroup
    from jupyter_konduktor.job import Job as Job
    from jupyter_konduktor.resources import Resources as Resources
    from jupyter_konduktor.session import attach as attach
    from jupyter_konduktor.session import jobs as jobs
    from jupyter_konduktor.session import launch as launch
    from jupyter_konduktor.session import queues as queues
    from jupyter_konduktor.state import JobState as JobState
    from jupyter_konduktor.task import Task as Task

__version__ = "0.1.0"

# Every name is imported when it is first used: a terminal or a kernel pays only for what it needs.
_HOMES = {
    "Job": "job",
    "JobGroup": "group",
    "JobState": "state",
    "Resources": "resources",
    "Task": "task",
    "attach": "session",
    "jobs": "session",
    "launch": "session",
    "queues": "session",
    "remote": "function",
}

__all__ = [*_HOMES, "checkpoint_dir", "report"]  # noqa: PLE0604  names of the table above


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    found = getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


def report(value: Any) -> None:
    """Report a value as the result of the job this runs in; outside of a job it does nothing but check the value.

    Parameters
    ----------
    value : JSON value
        At most 3,500 bytes as JSON.
    """
    from jupyter_konduktor.runner.stub import report as report_in_job

    report_in_job(value)


def checkpoint_dir() -> str:
    """Give the directory in which the job this runs in keeps its checkpoints."""
    from jupyter_konduktor.runner.stub import checkpoint_dir as checkpoint_dir_in_job

    return checkpoint_dir_in_job()


def restore_job(name: str, backend: str) -> Any:
    """Unpickle a `Job`: the handle of the same job, in whatever process; inside a job it is the name."""
    from jupyter_konduktor.session import restore

    return restore(name, backend)


def show_live(handle: Any) -> bool:
    """Show a job or a map as a widget below the cell; False if the front end has none or the job has ended."""
    from jupyter_konduktor.widgets.shown import show

    return show(handle) is not None


def restore_remote(function: Any, options: dict[str, Any]) -> Any:
    """Unpickle a remote function; inside a job it is the plain function."""
    from jupyter_konduktor.function import RemoteFunction

    return RemoteFunction(function, options)


def _jupyter_server_extension_points() -> list[dict[str, Any]]:
    """Give a Jupyter server the extension that its clients ask for jobs; a kernel never comes here."""
    from jupyter_konduktor.server.routes.extension import KonduktorExtension

    return [{"module": "jupyter_konduktor", "app": KonduktorExtension}]


def load_ipython_extension(shell: Any) -> None:
    """Add ``%konduktor`` and ``%%konduktor`` to a kernel: ``%load_ext jupyter_konduktor``."""
    from jupyter_konduktor.magics import load

    load(shell)


def unload_ipython_extension(shell: Any) -> None:
    """Take the magics away again, and end the watches of this process."""
    from jupyter_konduktor.magics import unload

    unload(shell)
