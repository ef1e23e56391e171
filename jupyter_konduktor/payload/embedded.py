"""Python inside of magics and strings: the code of ``%time``, the names in ``!cmd {x}`` and in ``query("a > @x")``."""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

_CODE_MAGICS = frozenset(("time", "timeit"))
_SHELL = frozenset(("system", "getoutput"))
_TIMEIT_OPTIONS = re.compile(r"(\s*-[nrtcpqov]+\s*\d*(?=\s|$))*")
_EXPANSION = re.compile(r"(?<!\{)\{([^{}]+)\}(?!\})|(?<![$\\])\$([A-Za-z_]\w*)")
_QUERY_NAME = re.compile(r"(?<![@\w])@([A-Za-z_]\w*)")


@dataclass(slots=True)
class Magic:
    """A magic or a shell command as it stands in a cell after IPython's transformation.

    Attributes
    ----------
    code : list of ast.stmt
        Statements that run in the cell's namespace.
    private : bool
        They assign in a namespace of their own (``%timeit``).
    expressions : list of ast.expr
        What is put into its text.
    unseen : str
        What could not be read; empty if all was.
    """

    code: list[ast.stmt] = field(default_factory=list)
    private: bool = False
    expressions: list[ast.expr] = field(default_factory=list)
    unseen: str = ""


@dataclass(frozen=True, slots=True)
class Embedded:
    """Reads what stands inside of magics.

    Parameters
    ----------
    transform : callable
        IPython's transformation of a cell to Python.
    """

    transform: Callable[[str], str]

    def magic(self, node: ast.Call) -> Magic | None:
        """Read a call that IPython made of a magic or a shell command; None for any other call."""
        match node:
            case ast.Call(
                func=ast.Attribute(value=ast.Call(func=ast.Name(id="get_ipython"), args=[]), attr=method),
                args=arguments,
            ):
                words = [a.value for a in arguments if isinstance(a, ast.Constant) and isinstance(a.value, str)]
            case _:
                return None
        if len(words) != len(arguments):
            return None
        match method, words:
            case "system" | "getoutput", [text]:
                return Magic(expressions=list(_expansions(text, node.lineno)))
            case "run_line_magic", [name, text] if name in _CODE_MAGICS:
                return self._code(name, text, node.lineno)
            case "run_cell_magic", [name, line, body] if name in _CODE_MAGICS:
                setup = self._code(name, line, node.lineno) if name == "timeit" else Magic()
                timed = self._code(name, body, node.lineno + 1)
                return Magic(setup.code + timed.code, timed.private, unseen=setup.unseen or timed.unseen)
            case "run_line_magic", [_, text]:
                return Magic(expressions=list(_expansions(text, node.lineno)))
        return None

    def _code(self, name: str, text: str, first: int) -> Magic:
        """Parse the code of a magic whose text begins in line ``first`` of the cell."""
        if name == "timeit":
            text = _TIMEIT_OPTIONS.sub("", text, count=1).lstrip(" ")
        try:
            tree = ast.parse(self.transform(text))
        except SyntaxError:
            return Magic(unseen=f"%{name}")
        ast.increment_lineno(tree, first - 1)
        return Magic(tree.body, private=name == "timeit")


def _expansions(text: str, line: int) -> Iterator[ast.expr]:
    """Find the expressions that ``{x}`` and ``$x`` put into a command; braces that hold no Python are the shell's."""
    for braces, dollar in _EXPANSION.findall(text):
        try:
            tree = ast.parse(f"f{'{' + braces + '}'!r}" if braces else dollar, mode="eval")
        except SyntaxError:
            continue
        for node in ast.walk(tree):
            if isinstance(node, ast.expr):
                node.lineno = line
        yield tree.body


def names_in_query(node: ast.Call) -> list[str]:
    """Find the variables that ``frame.query("x > @limit")`` and ``frame.eval`` take from the cell's namespace."""
    if isinstance(node.func, ast.Attribute) and node.func.attr in ("query", "eval") and node.args:
        text = node.args[0]
        if isinstance(text, ast.Constant) and isinstance(text.value, str):
            return _QUERY_NAME.findall(text.value)
    return []
