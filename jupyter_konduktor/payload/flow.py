"""What the statements of a cell bind and its expressions read, in the order in which they run."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from .embedded import Embedded, Magic, names_in_query
from .paths import Paths
from .scopes import (
    Comprehension,
    FunctionNode,
    References,
    arguments,
    bound_by_import,
    defaults,
    references,
    type_expressions,
    type_parameters,
)
from .states import ASSIGNED, DELETED, ClassBody

_NAMESPACES = frozenset(("locals", "vars", "dir"))  # without arguments at top level they are globals()
_HARMLESS_DECORATORS = frozenset(("staticmethod", "classmethod", "property"))


class Flow(Paths):
    """Walks over a cell.

    Parameters
    ----------
    embedded : Embedded
        Reads what stands inside of magics.
    annotations_run : bool, default True
        Whether annotations are evaluated where they stand, as far as this Python does that.
    """

    def __init__(self, embedded: Embedded, *, annotations_run: bool = True) -> None:
        super().__init__()
        self._embedded = embedded
        self._annotations_run = annotations_run and sys.version_info < (3, 14)
        self._numbers: dict[int, int] = {}
        self._references: dict[int, References] = {}

    def visit_Name(self, node: ast.Name) -> None:
        if isinstance(node.ctx, ast.Load):
            self._read(node.id, node.lineno)
        elif isinstance(node.ctx, ast.Store):
            self._assign(node.id, node.lineno)
        else:
            self._read(node.id, node.lineno)
            self._change(self._key(self._mangled(node.id)), DELETED)

    def visit_Assign(self, node: ast.Assign) -> None:
        self.visit(node.value)
        self._block(node.targets)

    def visit_AugAssign(self, node: ast.AugAssign) -> None:
        if isinstance(node.target, ast.Name):
            self._read(node.target.id, node.lineno)
        self.visit(node.value)
        self.visit(node.target)

    def visit_AnnAssign(self, node: ast.AnnAssign) -> None:
        if node.value is not None:
            self.visit(node.value)
        self._annotation(node.annotation)
        if node.value is not None or not isinstance(node.target, ast.Name):
            self.visit(node.target)

    def visit_NamedExpr(self, node: ast.NamedExpr) -> None:
        self.visit(node.value)
        self.visit(node.target)

    def visit_Global(self, node: ast.Global) -> None:
        if self._scopes:
            self._scopes[-1].globals.update(self._mangled(name) for name in node.names)

    def visit_Import(self, node: ast.Import) -> None:
        for alias in node.names:
            self.found.modules.setdefault(alias.name, node.lineno)
        for name in bound_by_import(node):
            self._assign(name, node.lineno, "import")

    def visit_ImportFrom(self, node: ast.ImportFrom) -> None:
        if node.module == "__future__":
            self._annotations_run &= all(alias.name != "annotations" for alias in node.names)
        elif node.module and not node.level:
            self.found.modules.setdefault(node.module, node.lineno)
            for alias in node.names:
                if alias.name == "*":
                    self._note_dynamic(f"from {node.module} import *", node.lineno)
                else:  # it may be a submodule
                    self.found.modules.setdefault(f"{node.module}.{alias.name}", node.lineno)
        for name in bound_by_import(node):
            self._assign(name, node.lineno, "import")

    def _annotation(self, node: ast.expr) -> None:
        if self._annotations_run:
            self.visit(node)
            return
        with self._perhaps():
            self.visit(node)

    @contextmanager
    def _inside(self, name: str, node: ast.AST) -> Iterator[ClassBody]:
        """Open a scope of its own, in which type parameters are bound."""
        # A loop comes here more than once, and must find its state unchanged when nothing new happened.
        body = ClassBody(self._numbers.setdefault(id(node), len(self._numbers) + 1), name)
        self._forget(body.number)
        self._scopes.append(body)
        for parameter in type_parameters(node):
            self._change((body.number, parameter), ASSIGNED)
        with self._perhaps():
            self._block(type_expressions(node))
        yield body
        self._scopes.pop()
        self._forget(body.number)

    def _forget(self, number: int) -> None:
        for key in [key for key in self._now if key[0] == number]:
            del self._now[key]

    def _inside_of(self, node: FunctionNode | ast.Lambda | Comprehension) -> References:
        """Find what a function refers to, once however often a loop comes here."""
        if id(node) not in self._references:
            self._references[id(node)] = references(node, self._scopes[-1].name if self._scopes else "")
        return self._references[id(node)]

    def visit_FunctionDef(self, node: FunctionNode) -> None:
        self._block(node.decorator_list)
        self._block(defaults(node.args))
        annotations = [argument.annotation for argument in arguments(node.args)] + [node.returns]
        if type_parameters(node):
            with self._inside("", node):
                self._annotations(annotations)
        else:
            self._annotations(annotations)
        self._define(node.name, node.lineno, self._inside_of(node), now=_may_call(node.decorator_list))

    visit_AsyncFunctionDef = visit_FunctionDef

    def _annotations(self, nodes: list[ast.expr | None]) -> None:
        for node in nodes:
            if node is not None:
                self._annotation(node)

    def _define(self, name: str, line: int, inside: References, *, now: bool) -> None:
        """Bind a function whose inside happens when its name is read, or at once if it may be called now."""
        for written, where in inside.writes.items():
            self._maybe_assign(written, where)
        for feature in ("exec", "eval", "globals"):
            if feature in inside.reads:
                self._read_global(feature, inside.reads[feature], surely=False)
        if now:
            self._run([inside])
        self._assign(name, line)
        self._keep_bodies(name, [inside])

    def _keep_bodies(self, name: str, bodies: list[References]) -> None:
        held = self._bodies.setdefault(self._key(self._mangled(name)), [])
        held += [body for body in bodies if not any(body is other for other in held)]

    def visit_Lambda(self, node: ast.Lambda) -> None:
        self._block(defaults(node.args))
        self._run([self._inside_of(node)])

    def _comprehension(self, node: Comprehension) -> None:
        self.visit(node.generators[0].iter)
        inside = self._inside_of(node)
        self._run([inside])
        for name, line in inside.writes.items():
            self._maybe_assign(name, line)

    visit_ListComp = visit_SetComp = visit_DictComp = visit_GeneratorExp = _comprehension

    def visit_ClassDef(self, node: ast.ClassDef) -> None:
        self._block(node.decorator_list)
        with self._inside(node.name, node) as body:
            self._in_enclosing(node)
            self._block(node.body)
        methods = [inside for key, found in self._bodies.items() if key[0] == body.number for inside in found]
        for key in [key for key in self._bodies if key[0] == body.number]:
            del self._bodies[key]
        if node.bases or node.keywords or _may_call(node.decorator_list):
            # A base's __init_subclass__, a metaclass or a decorator gets the class at once.
            self._run(methods)
        self._assign(node.name, node.lineno)
        self._keep_bodies(node.name, methods)

    def _in_enclosing(self, node: ast.ClassDef) -> None:
        """Evaluate bases and keywords, which see type parameters and the scope around the class."""
        if type_parameters(node):
            self._block((*node.bases, *node.keywords))
            return
        body = self._scopes.pop()
        self._block((*node.bases, *node.keywords))
        self._scopes.append(body)

    def visit_TypeAlias(self, node: ast.AST) -> None:
        name, value = node.name, node.value  # type: ignore[attr-defined]  # Python 3.12
        with self._inside("", node), self._perhaps():
            self.visit(value)
        self._assign(name.id, name.lineno)

    def visit_Call(self, node: ast.Call) -> None:
        magic = self._embedded.magic(node)
        if magic is not None:
            self._magic(magic, node)
            return
        self.generic_visit(node)
        if isinstance(node.func, ast.Name) and node.func.id in _NAMESPACES and not node.args and not self._scopes:
            self._note_dynamic(f"{node.func.id}()", node.lineno)
        with self._perhaps():
            for name in names_in_query(node):
                self._read(name, node.lineno)

    def _magic(self, magic: Magic, node: ast.Call) -> None:
        if magic.unseen:
            self._note_dynamic(magic.unseen, node.lineno)
        with self._perhaps():
            self._block(magic.expressions)
        if not magic.private:
            self._block(magic.code)
            return
        with self._inside("", node):
            self._block(magic.code)


def _may_call(decorators: list[ast.expr]) -> bool:
    """Tell whether decorators may call what they decorate."""
    return any(
        not (isinstance(node, ast.Name) and node.id in _HARMLESS_DECORATORS)
        and not (isinstance(node, ast.Attribute) and node.attr in ("setter", "getter", "deleter"))
        for node in decorators
    )
