"""The code of a cell: what IPython makes of it, and what of it cannot run in a job."""

from __future__ import annotations
import __future__

import ast
import warnings
from collections.abc import Iterator
from typing import Any

from IPython.core.error import UsageError

LINE_MAGICS = frozenset({"cd", "env", "matplotlib", "set_env", "time", "timeit"})
CELL_MAGICS = frozenset({"time"})

_ADVICE = {
    "pip": "name packages with --packages",
    "conda": "name packages with --packages",
    "konduktor": "a job cannot send another cell",
    "bash": "use !command",
    "sh": "use !command",
    "script": "use !command",
    "pinfo": "help with ? works in the notebook only",
    "pinfo2": "help with ? works in the notebook only",
}
_KNOWN = "!command, %time, %%time, %timeit, %matplotlib, %env and %cd work in a job"


def python_code(shell: Any, body: str) -> str:
    """Give the Python of a cell's body, its lines numbered as in the cell: the magic line is line 1.

    Raises
    ------
    UsageError
        Names the line, for what is no Python, for magics that do not work in a job and for a cell in a cell.
    """
    code = _transformed(shell, body, above=1)
    tree = _parsed(code)
    for line, text, advice in _refused(shell, tree):
        raise UsageError(f"line {line}: {text} does not work in a job: {advice}")
    return code


def future_features(shell: Any) -> list[str]:
    """Name what earlier cells took from ``__future__``, which the kernel keeps for all cells after them."""
    flags = shell.compile.flags
    return [name for name in __future__.all_feature_names if flags & getattr(__future__, name).compiler_flag]


def _transformed(shell: Any, body: str, above: int) -> str:
    """Transform what IPython adds to Python; it takes empty lines off the top, which are put back for the numbers."""
    lines = body.split("\n")
    empty = next((number for number, line in enumerate(lines) if line.strip()), 0)
    try:
        transformed: str = shell.transform_cell(body)
    except SyntaxError as error:
        raise _not_python(error, body, above) from None
    return "\n" * (above + empty) + transformed


def _parsed(code: str) -> ast.Module:
    flags = ast.PyCF_ALLOW_TOP_LEVEL_AWAIT
    try:
        with warnings.catch_warnings():
            # They are given where the cell runs.
            warnings.simplefilter("ignore")
            tree: ast.Module = compile(code, "<cell>", "exec", flags | ast.PyCF_ONLY_AST, dont_inherit=True)
            compile(code, "<cell>", "exec", flags, dont_inherit=True)
    except SyntaxError as error:
        raise _not_python(error, code, 0) from None
    except ValueError as error:  # a NUL
        raise UsageError(f"the cell is not valid Python: {error}") from None
    return tree


def _not_python(error: SyntaxError, source: str, above: int) -> UsageError:
    number = error.lineno or 1
    # Not every SyntaxError brings its line along.
    shown = (error.text or "".join(source.splitlines()[number - 1 : number])).strip()
    line = number + above
    return UsageError(f"the cell is not valid Python: line {line}: {error.msg}" + (f": {shown}" if shown else ""))


def _refused(shell: Any, tree: ast.Module) -> Iterator[tuple[int, str, str]]:
    """Find what cannot run in a job: its line, its text, and what to do instead."""
    for node in ast.walk(tree):
        method, arguments = _shell_call(node)
        if method not in ("run_line_magic", "run_cell_magic") or not arguments:
            continue
        name, kind = str(arguments[0]), "%" if method == "run_line_magic" else "%%"
        line = getattr(node, "lineno", 1)
        if name.startswith("%"):
            advice = "one %%konduktor sends one cell" if name == "%konduktor" else "put it right below %%konduktor"
            yield line, f"%{name} in the middle of a cell", advice
        elif name not in (LINE_MAGICS if kind == "%" else CELL_MAGICS):
            yield line, f"{kind}{name}", _ADVICE.get(name, _KNOWN)
        elif kind == "%%" and len(arguments) == 3:
            inner = str(arguments[2])
            yield from _refused(shell, _parsed(_transformed(shell, inner, above=line)))


def _shell_call(node: ast.AST) -> tuple[str, list[Any]]:
    """Take ``get_ipython().method(arguments)`` apart, which is what IPython makes of ``%``, ``%%`` and ``!``."""
    match node:
        case ast.Call(
            func=ast.Attribute(value=ast.Call(func=ast.Name(id="get_ipython"), args=[]), attr=method), args=arguments
        ):
            return method, [argument.value for argument in arguments if isinstance(argument, ast.Constant)]
    return "", []
