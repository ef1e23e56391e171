"""Runs a function, or the items of a map as they come, and sends what they return."""

from __future__ import annotations

import os

from . import codec, envelope
from .cell import await_all, exit_code, fail, show_figures
from .context import OutputError
from .supervise import output_dir

TYPE_CHECKING = False
if TYPE_CHECKING:  # importing typing costs a job 3 ms
    from typing import Any

    from .context import Context, Pipe


def run(job: Context, loaded: Any) -> int:
    """Run the function of a payload; gives the exit code."""
    function, args, kwargs = loaded.values["__call__"]
    try:
        try:
            value = _call(function, args, kwargs)
        finally:
            if job.original:
                show_figures()
        if not job.reports:
            return 0
        if value is None and envelope.read_result(output_dir(job.spec, job.rank)) is not None:
            return 0  # what the code has reported itself
        job.send_value(encode_value(job, value))
    except SystemExit as leaving:
        return exit_code(leaving)
    except BaseException as error:  # noqa: BLE001  the user's code may raise anything
        return fail(job, error)
    return 0


def run_items(job: Context, loaded: Any, orders: int, answers: Pipe) -> int:
    """Run the items of a map that are asked for, until none is any more; gives the exit code.

    Parameters
    ----------
    job : Context
    loaded : Loaded
        The payload.
    orders : int
        A pipe with the index of an item on each line, of which one comes at a time.
    answers : Pipe
        Gets a line for each, ``FAILED ENVELOPE``; or ``quit``, if the job is to end.
    """
    function, kwargs = loaded.values["__call__"]
    try:
        while True:
            order = os.read(orders, 32)
            if not order:
                return 0
            index = int(order)
            code, value = _item(job, index, function, loaded.values[f"item-{index}"], kwargs)
            if not job.original:
                return code
            answers.write(b"%d %s\n" % (code != 0, envelope.build(code, value)))
    except KeyboardInterrupt as error:
        answers.write(b"quit\n")
        return fail(job, error)


def _item(
    job: Context, index: int, function: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> tuple[int, bytes | None]:
    """Run one item; gives its exit code and its value, encoded."""
    try:
        try:
            value = _call(function, args, kwargs)
        finally:
            if job.original:
                show_figures()
        return 0, encode_value(job, value) if job.original else None
    except SystemExit as leaving:
        return exit_code(leaving), None
    except BaseException as error:
        if not job.original:
            return fail(job, error), None
        if isinstance(error, KeyboardInterrupt):
            raise  # it is the whole job that is to end
        from . import failure

        document = failure.of_user_code(error, job, item=index)
        failure.log(document)
        return 1, failure.encode(document, job)


def _call(function: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    value = function(*args, **kwargs)
    if hasattr(value, "__await__") and type(value).__name__ == "coroutine":
        return await_all(value)
    return value


def encode_value(job: Context, value: Any) -> bytes:
    """Write a value for an envelope: as JSON if that is exact and fits, else as a pack.

    Raises
    ------
    OutputError
        If it cannot be pickled.
    """
    if envelope.exact_json(value):
        text = envelope.to_json(value)
        if text is not None:
            return text
    from .outputs import encode, missing_room, too_large

    try:
        pack = codec.dump({"value": value}, main=job.namespace, meta={"kind": "value"})
    except codec.FrameError as error:
        said = f"{type(error.cause).__name__}: {error.cause}"
        raise OutputError(f"the returned value ({codec.type_name(value)}) cannot be pickled: {said}") from None
    if missing_room(job, pack):
        raise OutputError(f"the returned value is too large: {too_large(job, pack)}")
    return encode(job, pack)
