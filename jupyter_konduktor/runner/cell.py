"""Runs a cell as a kernel would: in ``__main__``, with its last expression shown, and gathers what it leaves."""

from __future__ import annotations

import _ast
import sys

from . import codec, envelope
from .supervise import output_dir

TYPE_CHECKING = False
if TYPE_CHECKING:  # importing typing costs a job 3 ms
    from typing import Any

    from .context import Context

_LAST = "_konduktor_last"
_COROUTINE = 0x80  # inspect.CO_COROUTINE
_UNCHANGING = (int, float, complex, str, bytes, bool, type(None), type(Ellipsis), type(sys))


def run(job: Context, loaded: Any) -> int:
    """Run the cell of a payload; gives the exit code."""
    job.namespace.update(loaded.values)
    out = job.meta["out"]
    before = {} if out["strict"] else _fingerprints(job, _inputs(job, loaded))
    code = 0
    try:
        try:
            execute(job.meta["cell"]["code"], job.meta["cell"]["filename"], job)
        finally:
            if job.original:
                show_figures()
    except SystemExit as leaving:
        code = exit_code(leaving)
        if code or not job.original:
            return code
    except BaseException as error:  # noqa: BLE001  the user's code may raise anything
        return fail(job, error)
    if not job.reports:
        return code
    try:
        value = _outputs(job, before)
    except BaseException as error:  # noqa: BLE001  the user's code may raise anything
        return fail(job, error)
    if value is not None:
        job.send_value(value)
    return code


def execute(source: str, filename: str, job: Context, first_line: int = 1) -> None:
    """Run code in the main namespace and show its last expression, unless a ``;`` follows that.

    Parameters
    ----------
    source : str
    filename : str
        Under which its lines are found in tracebacks.
    job : Context
    first_line : int, default 1
        The line of the cell at which the source begins.
    """
    text = "\n" * (first_line - 1) + source
    flags = _ast.PyCF_ALLOW_TOP_LEVEL_AWAIT | _future_flags(job.meta["cell"].get("future") or ())
    tree: Any = compile(text, filename, "exec", flags | _ast.PyCF_ONLY_AST, dont_inherit=True)
    last: Any = tree.body[-1] if tree.body else None
    shown = isinstance(last, _ast.Expr) and not _is_silenced(text, last)
    if shown:
        where = {name: getattr(last, name) for name in ("lineno", "col_offset", "end_lineno", "end_col_offset")}
        target = _ast.Name(id=_LAST, ctx=_ast.Store(), **where)
        tree.body[-1] = _ast.Assign(targets=[target], value=last.value, type_comment=None, **where)
    code = compile(tree, filename, "exec", flags, dont_inherit=True)
    if code.co_flags & _COROUTINE:
        await_all(eval(code, job.namespace))  # noqa: S307  it is the user's code that this is here to run
    else:
        exec(code, job.namespace)
    if shown:
        value = job.namespace.pop(_LAST, None)
        if value is not None:
            from .display import show_result

            show_result(value)


def _future_flags(names: Any) -> int:
    """Give the flags of what earlier cells took from ``__future__``: names, for each Python has flags of its own."""
    if not names:
        return 0
    import __future__

    found = 0
    for name in names:
        if name in __future__.all_feature_names:
            found |= getattr(__future__, name).compiler_flag
    return found


def _is_silenced(text: str, last: Any) -> bool:
    """Whether a ``;`` follows the last expression."""
    lines = text.split("\n")
    rest: bytes = lines[last.end_lineno - 1].encode()[last.end_col_offset :]
    return rest.lstrip(b" \t\\)").startswith(b";")


def await_all(coroutine: Any) -> Any:
    """Run a coroutine to its end."""
    import asyncio

    return asyncio.run(coroutine)


def show_figures() -> None:
    """Show the figures that are still open, as a kernel does after a cell."""
    figures = sys.modules.get(f"{__package__}.figures")
    if figures is not None:
        figures.flush()


def exit_code(leaving: SystemExit) -> int:
    """Give the exit code of ``sys.exit(...)``, as Python does."""
    if leaving.code is None:
        return 0
    if isinstance(leaving.code, int):
        return leaving.code & 0xFF
    print(leaving.code, file=sys.stderr)
    return 1


def fail(job: Context, error: BaseException) -> int:
    """Make an exception the outcome of the job; gives the exit code."""
    if isinstance(error, SystemExit):
        return exit_code(error)
    if not job.original:
        sys.excepthook(type(error), error, error.__traceback__)
        return 1
    from . import failure

    failure.send(job, failure.of_user_code(error, job))
    return 130 if isinstance(error, KeyboardInterrupt) else 1


# --- what a cell leaves ----------------------------------------------------------------------------------------------


def _inputs(job: Context, loaded: Any) -> list[str]:
    """List the inputs that may change unseen, those that functions of the notebook brought (a counter) among them."""
    out = job.meta["out"]
    brought = [frame["name"] for frame in loaded.header["frames"] if frame["via"] and frame["how"] != "name"]
    # What the cell assigns comes back in any case, or is a loop variable or the like.
    settled = {*out["auto"], *(out.get("excluded") or ())}
    return [name for name in (*(job.meta.get("inputs") or loaded.values), *brought) if name not in settled]


def _fingerprints(job: Context, names: Any) -> dict[str, tuple[Any, str | None]]:
    """Digest the inputs, so that it shows later which of them changed in place."""
    found = {}
    for name in names:
        if name in job.namespace:
            value = job.namespace[name]
            # What cannot change can be replaced: `global counter` in a function.
            found[name] = (value, None if type(value) in _UNCHANGING else codec.fingerprint(value, job.namespace))
    return found


def _outputs(job: Context, before: dict[str, tuple[Any, str | None]]) -> bytes | None:
    """Pack what the cell gives back; None if that is what it has reported itself, and nothing else."""
    out, namespace = job.meta["out"], job.namespace
    left_out: dict[str, str] = {}
    changed: list[str] = []
    if out["strict"]:
        names = list(out["names"])
    else:
        dropped = set(out.get("drop") or ())
        changed = [name for name, was in before.items() if name not in dropped and _has_changed(job, name, was)]
        for name in [name for name in changed if isinstance(namespace[name], type)]:
            if namespace[name] is before[name][0]:
                changed.remove(name)
                left_out[name] = "it is a class, and no job changes the classes of the notebook"
        names = [name for name in [*out["auto"], *changed, *(out.get("add") or ())] if name not in dropped]
        names = [name for name in dict.fromkeys(names) if name in namespace]
        for name in out.get("add") or ():
            if name not in namespace:
                left_out[name] = "it was never assigned"
    reported = envelope.read_result(output_dir(job.spec, job.rank))
    if job.rank:
        return None  # node 0's outputs are the ones that return
    from .outputs import pack_outputs

    return pack_outputs(job, names, changed, left_out, reported)


def _has_changed(job: Context, name: str, was: tuple[Any, str | None]) -> bool:
    value, digest = was
    if name not in job.namespace:
        return False
    if job.namespace[name] is not value:
        return True
    return digest is not None and codec.fingerprint(value, job.namespace) != digest
