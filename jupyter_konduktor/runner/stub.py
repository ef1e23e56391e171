"""The ``jupyter_konduktor`` that user code finds inside a job, whatever is installed there."""

from __future__ import annotations

import os
import sys

from . import context, envelope

TYPE_CHECKING = False
if TYPE_CHECKING:  # importing typing costs a job 3 ms
    from typing import Any

_NAME = "jupyter_konduktor"


def report(value: Any) -> None:
    """Report a value as the result of the job; the last report counts.

    In a cell it stands beside the outputs, in a function it counts if that returns None. Outside of a job the value is
    checked and nothing else.

    Parameters
    ----------
    value : object
        JSON of at most 3,500 bytes; in a cell or function anything that can be pickled.
    """
    job = context.current
    text = envelope.to_json(value) if envelope.exact_json(value) else None
    if text is None:
        if job is None:
            raise ValueError(f"report() takes a JSON value of at most {envelope.BUDGET} bytes outside of a cell")
        from .call import encode_value

        text = encode_value(job, value)
    folder = os.environ.get("KONDUKTOR_OUTPUT_DIR")
    if not folder:
        return
    path = os.path.join(folder, envelope.RESULT_FILE)
    temporary = f"{path}.{os.getpid()}.part"
    with open(temporary, "wb") as file:
        file.write(text)
    os.replace(temporary, path)


def checkpoint_dir() -> str:
    """Give the directory that all attempts of the job share; outside of a job ``checkpoints`` in the current one.

    On a cluster it is kept in the store, and the first call brings back what the attempt before has left. With several
    nodes it is node 0's that is kept, and each gets it back.
    """
    folder = os.environ.get("KONDUKTOR_CHECKPOINT_DIR") or os.path.abspath("checkpoints")
    job = context.current
    if job is not None and not os.path.isdir(folder):
        from . import slots

        if slots.is_kept(job.spec):
            from .checkpoint import restore

            restore(job.spec)
            if job.spec.get("rank"):
                context.warn(
                    "only node 0's checkpoints are kept: what this node writes is lost with it, "
                    "unless KONDUKTOR_CHECKPOINT_DIR points to a volume"
                )
        elif job.spec.get("termination_file") and folder == slots.place(job.spec):
            context.warn(
                "no store is set: checkpoints are lost when this attempt ends "
                '(store = "s3://bucket/prefix", or a volume that KONDUKTOR_CHECKPOINT_DIR points to)'
            )
    os.makedirs(folder, exist_ok=True)
    return folder


def remote(function: Any = None, **options: Any) -> Any:
    """Give the function itself: inside a job it runs where it is called."""
    if function is None:
        return lambda decorated: decorated
    return function


def restore_job(name: str, backend: str) -> str:
    """Unpickle a job: inside a job it is its name."""
    return name


def restore_remote(function: Any, options: dict[str, Any]) -> Any:
    """Unpickle a remote function: inside a job it is the plain function."""
    return function


def _missing(name: str) -> Any:
    if name.startswith("__"):
        raise AttributeError(name)
    raise AttributeError(
        f"jupyter_konduktor.{name} is not there inside a job, which has report, checkpoint_dir and remote"
    )


def install() -> None:
    """Put the stub in the place of the package."""
    module: Any = type(sys)(_NAME, "What a job has of jupyter_konduktor: report, checkpoint_dir and remote.")
    for function in (report, checkpoint_dir, remote, restore_job, restore_remote):
        setattr(module, function.__name__, function)
    module.__getattr__ = _missing
    module.__all__ = ["checkpoint_dir", "remote", "report"]
    sys.modules[_NAME] = module
