"""The runner as one file: its sources, the same compiled for this Python, and the cloudpickle of this kernel."""

from __future__ import annotations

import ast
import functools
import hashlib
import importlib.util
import io
import marshal
import sys
import threading
import tokenize
import types
import zipfile
from collections.abc import Iterator
from pathlib import Path

from jupyter_konduktor import runner
from jupyter_konduktor.backends.kubernetes import words

FILE = "runner.zip"
MOUNTED = f"{words.RUNNER_DIR}/{FILE}"
_UNCHECKED = 1  # flag of a .pyc that is never compared with its source
_LONG_AGO = (1980, 1, 1, 0, 0, 0)
_making = threading.RLock()


@functools.cache
def archive() -> bytes:
    """Give the archive that a ConfigMap holds, the same bytes in every process of the same Python and packages.

    It is not compressed: images need no zlib for it, and it is read at the start of each pod.
    """
    entries = {}
    with _making:
        for name, source in (*_runner(), *_cloudpickle()):
            entries[name] = source
            entries[name + "c"] = _compiled(name, source)
    return _zip(entries)


@functools.cache
def sources(*, cloudpickle: bool) -> bytes:
    """Give the archive that travels in an environment variable: sources only, which compress to a tenth."""
    with _making:
        return _zip(dict((*_runner(), *(_cloudpickle() if cloudpickle else ()))))


def _runner() -> Iterator[tuple[str, bytes]]:
    for path in sorted(Path(runner.__path__[0]).glob("*.py")):
        yield path.name, bare(path.read_text("utf-8")).encode()


def _cloudpickle() -> Iterator[tuple[str, bytes]]:
    """Give the installed cloudpickle; its licence stands in the docstrings of its modules, and they stay."""
    import cloudpickle

    folder = Path(cloudpickle.__path__[0])
    for path in sorted(folder.rglob("*.py")):
        yield f"cloudpickle/{path.relative_to(folder).as_posix()}", bare(path.read_text("utf-8"), keep=1).encode()


def _parsed(source: str) -> ast.Module:
    """Parse Python source, while other threads may do so too: CPython 3.11 miscounts its depth then, now and then."""
    for _ in range(5):
        try:
            return ast.parse(source)
        except SystemError:
            continue
    return ast.parse(source)


def bare(source: str, *, keep: int = 0) -> str:
    """Take comments, docstrings and empty lines out of Python source.

    Nothing else is changed, so what comes out is for the same versions of Python as what went in.

    Parameters
    ----------
    source : str
    keep : int, default 0
        How many docstrings to keep, from the first one on.
    """
    lines: list[str | None] = [line.rstrip() for line in source.splitlines()]
    inside: set[int] = set()  # lines that begin within a string
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        row, column = token.start
        if token.type == tokenize.COMMENT:
            lines[row - 1] = (lines[row - 1] or "")[:column].rstrip()
        elif token.end[0] > row and token.type not in (tokenize.NL, tokenize.NEWLINE):
            inside.update(range(row, token.end[0]))
    for docstring, alone in list(_docstrings(_parsed(source)))[keep:]:
        first, last = docstring.lineno - 1, (docstring.end_lineno or docstring.lineno) - 1
        lines[first : last + 1] = [None] * (last + 1 - first)
        if alone:
            lines[first] = " " * docstring.col_offset + "0"
    kept = [line for number, line in enumerate(lines) if line is not None and (line or number in inside)]
    return "\n".join(kept) + "\n"


def _docstrings(tree: ast.Module) -> Iterator[tuple[ast.Expr, bool]]:
    """Find the docstrings in their order, and whether each is all there is of its block."""
    found = []
    for node in ast.walk(tree):
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)) and node.body:
            first = node.body[0]
            if (
                isinstance(first, ast.Expr)
                and isinstance(first.value, ast.Constant)
                and isinstance(first.value.value, str)
            ):
                found.append((first, len(node.body) == 1))
    yield from sorted(found, key=lambda entry: entry[0].lineno)


def _compiled(name: str, source: bytes) -> bytes:
    code = compile(source, f"{MOUNTED}/{name}", "exec", dont_inherit=True, optimize=0)
    # marshal notes whether an object is referred to more than once, and whether a string is interned. For what this
    # process shares (names, letters) that depends on what else runs in it; so now all is referred to, and interned.
    held = list(_parts(code))
    for part in held:
        if isinstance(part, str) and len(part) == 1:
            sys.intern(part)
    data = marshal.dumps(code)
    del held
    head = importlib.util.MAGIC_NUMBER + _UNCHECKED.to_bytes(4, "little")
    return head + hashlib.sha256(source).digest()[:8] + data


def _parts(value: object) -> Iterator[object]:
    """Give all that a code object is made of and that other code may refer to as well."""
    yield value
    if isinstance(value, types.CodeType):
        yield from (value.co_name, value.co_qualname, value.co_filename)
        for names in (value.co_names, value.co_varnames, value.co_cellvars, value.co_freevars, value.co_consts):
            yield from _parts(names)
    elif isinstance(value, (tuple, frozenset)):
        for item in value:
            yield from _parts(item)


def _zip(entries: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as file:
        for name, data in sorted(entries.items()):
            info = zipfile.ZipInfo(name, _LONG_AGO)
            info.create_system = 3  # Unix, wherever this runs
            file.writestr(info, data)
    return buffer.getvalue()
