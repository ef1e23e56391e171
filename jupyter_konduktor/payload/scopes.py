"""Which names of the module a function, lambda or comprehension refers to, by Python's rules of scope."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Literal

FunctionNode = ast.FunctionDef | ast.AsyncFunctionDef
Comprehension = ast.ListComp | ast.SetComp | ast.DictComp | ast.GeneratorExp


@dataclass(slots=True)
class References:
    """What the inside of a scope does to names of the module.

    Attributes
    ----------
    reads, writes : dict of str to int
        The first line of each name.
    """

    reads: dict[str, int] = field(default_factory=dict)
    writes: dict[str, int] = field(default_factory=dict)


def references(node: FunctionNode | ast.Lambda | Comprehension, class_name: str = "") -> References:
    """Find the module's names that a scope refers to when it runs.

    What is evaluated when it is defined (decorators, defaults, annotations, the first iterable) belongs to the scope
    around it and is not among them.

    Parameters
    ----------
    node : ast node
    class_name : str, optional
        The class around it, for names with two underscores in front.
    """
    scope = _Scope("comprehension" if isinstance(node, Comprehension) else "function", class_name, owner=None)
    scope.inside(node)
    found = References()
    _resolve(scope, frozenset(), found)
    return found


def mangle(name: str, class_name: str) -> str:
    """Give the name that Python makes of ``__name`` inside a class."""
    stripped = class_name.lstrip("_")
    if stripped and name.startswith("__") and not name.endswith("__"):
        return f"_{stripped}{name}"
    return name


def type_parameters(node: ast.AST) -> list[str]:
    """Give the names between the brackets of ``def f[T]()``, ``class C[T]`` and ``type A[T]`` (Python 3.12)."""
    return [parameter.name for parameter in getattr(node, "type_params", ())]


def type_expressions(node: ast.AST) -> Iterator[ast.expr]:
    """Give the bounds and defaults of type parameters; Python evaluates them when somebody asks for them."""
    for parameter in getattr(node, "type_params", ()):
        for part in ("bound", "default_value"):
            expression = getattr(parameter, part, None)
            if expression is not None:
                yield expression


def bound_by_import(node: ast.Import | ast.ImportFrom) -> Iterator[str]:
    """Give the names that an import binds; a star binds none that are known."""
    for alias in node.names:
        name = alias.asname or (alias.name.partition(".")[0] if isinstance(node, ast.Import) else alias.name)
        if name != "*":
            yield name


def arguments(node: ast.arguments) -> Iterator[ast.arg]:
    """Give all parameters of a function."""
    yield from (*node.posonlyargs, *node.args, *node.kwonlyargs)
    yield from (extra for extra in (node.vararg, node.kwarg) if extra is not None)


def defaults(node: ast.arguments) -> Iterator[ast.expr]:
    """Give the default values of a function's parameters."""
    yield from (*node.defaults, *(default for default in node.kw_defaults if default is not None))


class _Scope(ast.NodeVisitor):
    """One scope: what it binds, what it reads, and the scopes inside it."""

    def __init__(
        self, kind: Literal["function", "class", "comprehension"], class_name: str, owner: _Scope | None
    ) -> None:
        self.kind = kind
        self.class_name = class_name
        self.owner = owner
        self.bound: set[str] = set()
        self.reads: dict[str, int] = {}
        self.lines: dict[str, int] = {}
        self.walrus: set[str] = set()
        self.globals: set[str] = set()
        self.nonlocals: set[str] = set()
        self.children: list[_Scope] = []

    def inside(self, node: ast.AST) -> None:
        """Read what runs inside the scope that a node opens."""
        if isinstance(node, FunctionNode | ast.Lambda):
            self.bound.update(type_parameters(node))
            for argument in arguments(node.args):
                self._bind(argument.arg, argument.lineno)
            self._visit_all(node.body if isinstance(node.body, list) else [node.body])
        elif isinstance(node, ast.ClassDef):
            self._visit_all(node.body)
        elif isinstance(node, Comprehension):
            for number, generator in enumerate(node.generators):
                self.visit(generator.target)
                if number:
                    self.visit(generator.iter)
                self._visit_all(generator.ifs)
            self._visit_all([node.key, node.value] if isinstance(node, ast.DictComp) else [node.elt])

    def _visit_all(self, nodes: Iterable[ast.AST]) -> None:
        for node in nodes:
            self.visit(node)

    def _bind(self, name: str, line: int) -> None:
        name = mangle(name, self.class_name)
        self.bound.add(name)
        self.lines.setdefault(name, line)

    def _child(self, kind: Literal["function", "class", "comprehension"], class_name: str | None = None) -> _Scope:
        child = _Scope(kind, self.class_name if class_name is None else class_name, self)
        self.children.append(child)
        return child

    def _around(self, node: ast.AST) -> _Scope:
        """Give the scope in which bases and annotations are evaluated: one more where there are type parameters."""
        if not type_parameters(node):
            return self
        scope = self._child("function")
        scope.bound.update(type_parameters(node))
        scope._visit_all(type_expressions(node))
        return scope

    def visit_Name(self, node: ast.Name) -> None:
        if isinstance(node.ctx, ast.Load):
            self.reads.setdefault(mangle(node.id, self.class_name), node.lineno)
        else:
            self._bind(node.id, node.lineno)

    def visit_AugAssign(self, node: ast.AugAssign) -> None:
        if isinstance(node.target, ast.Name):
            self.reads.setdefault(mangle(node.target.id, self.class_name), node.lineno)
        self.generic_visit(node)

    def visit_AnnAssign(self, node: ast.AnnAssign) -> None:
        self.visit(node.target)
        if node.value is not None:
            self.visit(node.value)
        if self.kind == "class":  # in a function no annotation of a variable is evaluated
            self.visit(node.annotation)

    def visit_NamedExpr(self, node: ast.NamedExpr) -> None:
        self.visit(node.value)
        scope = self
        while scope.kind == "comprehension":
            if scope.owner is None:
                scope.walrus.add(node.target.id)
                scope.lines.setdefault(node.target.id, node.lineno)
                return
            scope = scope.owner
        scope._bind(node.target.id, node.lineno)

    def visit_FunctionDef(self, node: FunctionNode) -> None:
        self._bind(node.name, node.lineno)
        self._visit_all((*node.decorator_list, *defaults(node.args)))
        around = self._around(node)
        around._visit_all(a.annotation for a in arguments(node.args) if a.annotation is not None)
        if node.returns is not None:
            around.visit(node.returns)
        around._child("function").inside(node)

    visit_AsyncFunctionDef = visit_FunctionDef

    def visit_Lambda(self, node: ast.Lambda) -> None:
        self._visit_all(defaults(node.args))
        self._child("function").inside(node)

    def visit_ClassDef(self, node: ast.ClassDef) -> None:
        self._bind(node.name, node.lineno)
        self._visit_all(node.decorator_list)
        around = self._around(node)
        around._visit_all((*node.bases, *node.keywords))
        around._child("class", node.name).inside(node)

    def _comprehension(self, node: Comprehension) -> None:
        self.visit(node.generators[0].iter)
        self._child("comprehension").inside(node)

    visit_ListComp = visit_SetComp = visit_DictComp = visit_GeneratorExp = _comprehension

    def visit_TypeAlias(self, node: ast.AST) -> None:
        name, value = node.name, node.value  # type: ignore[attr-defined]  # Python 3.12
        self._bind(name.id, name.lineno)
        around = self._child("function")
        around.bound.update(type_parameters(node))
        around._visit_all((*type_expressions(node), value))

    def visit_Import(self, node: ast.Import | ast.ImportFrom) -> None:
        for name in bound_by_import(node):
            self._bind(name, node.lineno)

    visit_ImportFrom = visit_Import

    def visit_Global(self, node: ast.Global) -> None:
        self.globals.update(mangle(name, self.class_name) for name in node.names)

    def visit_Nonlocal(self, node: ast.Nonlocal) -> None:
        self.nonlocals.update(mangle(name, self.class_name) for name in node.names)

    def visit_ExceptHandler(self, node: ast.ExceptHandler) -> None:
        if node.name:
            self._bind(node.name, node.lineno)
        self.generic_visit(node)

    def _capture_pattern(self, node: ast.MatchAs | ast.MatchStar) -> None:
        if node.name:
            self._bind(node.name, node.lineno)
        self.generic_visit(node)

    visit_MatchAs = visit_MatchStar = _capture_pattern

    def visit_MatchMapping(self, node: ast.MatchMapping) -> None:
        if node.rest:
            self._bind(node.rest, node.lineno)
        self.generic_visit(node)


def _resolve(scope: _Scope, enclosing: frozenset[str], found: References) -> None:
    """Follow each name to the scope that has it.

    ``enclosing`` are the names that functions around this scope bind; those of classes are not seen from inside.
    """
    bound = scope.bound - scope.globals
    for name, line in scope.reads.items():
        if name in scope.globals or (name not in bound and name not in enclosing and name not in scope.nonlocals):
            found.reads.setdefault(name, line)
        elif name in bound and scope.kind == "class":
            # A class body looks a name up in the module while it has not bound it yet.
            found.reads.setdefault(name, line)
    for name in scope.bound & scope.globals | scope.walrus:
        found.writes.setdefault(name, scope.lines[name])
    inner = enclosing if scope.kind == "class" else (enclosing | bound)
    for child in scope.children:
        _resolve(child, inner - scope.globals, found)
