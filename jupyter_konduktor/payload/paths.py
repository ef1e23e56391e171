"""What may have become of each name at each point of a cell: the paths through its statements.

The state says for each name what may have become of it since the cell began: untouched, assigned or deleted. A name
that is read while it may be untouched is an input; one that is read on every path while it cannot have been assigned
must be one. Functions are read when their name is: what stands in their body happens at the earliest there.
"""

from __future__ import annotations

import ast
import builtins
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

from .scopes import References, mangle
from .states import ASSIGNED, DELETED, UNTOUCHED, ClassBody, Findings, Key, Loop, State, join

JOB_NAMES = frozenset(("get_ipython",))
"""What the job has of its own, so that a cell that names it reads nothing of the kernel."""

_DYNAMIC = frozenset(("exec", "eval", "globals"))


class Paths(ast.NodeVisitor):
    """Walks over the control flow of a cell; `Flow` adds what statements bind and expressions read."""

    def __init__(self) -> None:
        self.found = Findings()
        self.end: State | None = {}
        self._state: State | None = {}  # None: not reachable
        self._required: dict[str, int] = self.found.required
        self._scopes: list[ClassBody] = []
        self._bodies: dict[Key, list[References]] = {}
        self._tries: list[State] = []
        self._loops: list[Loop] = []
        self._role = "assigned"
        self._anything = False

    def run(self, tree: ast.Module) -> Findings:
        """Walk over a whole cell."""
        self._block(tree.body)
        self.end = self._state
        return self.found

    def _target(self, node: ast.expr, role: str) -> None:
        """Assign to the target of a loop or of ``with``."""
        outer, self._role = self._role, role
        self.visit(node)
        self._role = outer

    def visit(self, node: ast.AST) -> None:
        """Visit a node unless no path leads to it."""
        if self._state is not None:
            super().visit(node)

    @property
    def _now(self) -> State:
        """The state here; where no path leads, one that nobody will see."""
        return {} if self._state is None else self._state

    def _key(self, name: str) -> Key:
        if self._scopes and name not in self._scopes[-1].globals:
            return self._scopes[-1].number, name
        return 0, name

    def _mangled(self, name: str) -> str:
        return mangle(name, self._scopes[-1].name) if self._scopes else name

    def _change(self, key: Key, status: int) -> None:
        self._now[key] = status
        for touched in self._tries:
            touched[key] = touched.get(key, 0) | status

    def _assign(self, name: str, line: int, role: str = "") -> None:
        name = self._mangled(name)
        key = self._key(name)
        if self._is_straight():
            self._bodies.pop(key, None)
        self._change(key, ASSIGNED)
        if key[0] == 0:
            self._note_binding(name, line, role or self._role)

    def _is_straight(self) -> bool:
        """Tell whether what happens here happens on every path, so that an older definition is surely gone."""
        return self._required is self.found.required

    def _note_binding(self, name: str, line: int, role: str) -> None:
        self.found.roles.setdefault(name, set()).add(role)
        self.found.lines.setdefault(name, line)

    def _maybe_assign(self, name: str, line: int) -> None:
        self._change((0, name), self._now.get((0, name), UNTOUCHED) | ASSIGNED)
        self._note_binding(name, line, "assigned")

    def _read(self, name: str, line: int) -> None:
        name = self._mangled(name)
        key = self._key(name)
        if key[0] == 0:
            self._read_global(name, line, surely=True)
            return
        status = self._now.get(key, UNTOUCHED)
        self._read_bodies(key)
        if status != ASSIGNED:
            self._read_global(name, line, surely=not status & ASSIGNED)

    def _read_global(self, name: str, line: int, *, surely: bool) -> None:
        self._note_read(name, line, surely=surely)
        self._read_bodies((0, name))

    def _note_read(self, name: str, line: int, *, surely: bool) -> None:
        status = self._now.get((0, name), UNTOUCHED)
        if name in JOB_NAMES and status == UNTOUCHED:
            return
        if status & UNTOUCHED:
            if name in _DYNAMIC:
                self._note_dynamic(f"{name}()", line)
            self.found.reads.setdefault(name, line)
            settled = frozenset(n for (scope, n), s in self._now.items() if scope == 0 and s == ASSIGNED)
            self.found.settled[name] = self.found.settled.get(name, settled) & settled
        if surely and not status & ASSIGNED:
            if self._anything:
                if self._is_straight():
                    self.found.doubtful.setdefault(name, line)
            elif status & UNTOUCHED:
                self._required.setdefault(name, line)
            elif self._is_straight():
                self.found.deleted.setdefault(name, line)

    def _read_bodies(self, key: Key) -> None:
        """Let what stands in the functions of a name happen, since they may be called from here on."""
        self._run(self._bodies.get(key, ()))

    def _run(self, bodies: Iterable[References]) -> None:
        """Let what stands in some functions happen, and in those that they name in turn."""
        todo, known = list(bodies), set()
        while todo:
            body = todo.pop()
            if id(body) in known:
                continue
            known.add(id(body))
            for name, line in body.reads.items():
                self._note_read(name, line, surely=False)
                todo += self._bodies.get((0, name), ())

    def _note_dynamic(self, what: str, line: int) -> None:
        self.found.dynamic.setdefault(what, line)
        self._anything = True

    def _block(self, nodes: Iterable[ast.AST]) -> None:
        for node in nodes:
            self.visit(node)

    @contextmanager
    def _perhaps(self) -> Iterator[None]:
        """Read names in a place that not every path comes through."""
        outer, self._required = self._required, {}
        yield
        self._required = outer

    def _branches(self, *branches: tuple[State | None, Callable[[], None]]) -> None:
        """Walk over alternatives, exactly one of which is taken."""
        outer, ends, required = self._required, [], []
        for start, walk in branches:
            self._state, self._required = start, {}
            if start is not None:
                walk()
                required.append(self._required)
            ends.append(self._state)
        self._required = outer
        for name, line in required[0].items() if required else ():
            if all(name in other for other in required[1:]):
                outer.setdefault(name, line)
        self._state = join(ends)

    def _test(self, node: ast.expr) -> tuple[State | None, State | None]:
        """Evaluate a condition; give the states in which it is true and false."""
        if isinstance(node, ast.Constant):
            return (self._copy(), None) if node.value else (None, self._copy())
        if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
            yes, no = self._test(node.operand)
            return no, yes
        if isinstance(node, ast.BoolOp):
            return self._test_all(node)
        self.visit(node)
        return self._copy(), self._copy()

    def _test_all(self, node: ast.BoolOp) -> tuple[State | None, State | None]:
        ends: list[State | None] = []
        outer = self._required
        for value in node.values:
            yes, no = self._test(value)
            is_and = isinstance(node.op, ast.And)
            ends.append(no if is_and else yes)
            self._state = yes if is_and else no
            self._required = {}  # only the first is evaluated in any case
            if self._state is None:
                break
        self._required = outer
        last, others = self._state, join(ends)
        return (last, others) if isinstance(node.op, ast.And) else (others, last)

    def _copy(self) -> State | None:
        return None if self._state is None else dict(self._state)

    def visit_BoolOp(self, node: ast.BoolOp) -> None:
        self._state = join(self._test(node))

    def visit_IfExp(self, node: ast.IfExp) -> None:
        yes, no = self._test(node.test)
        self._branches((yes, lambda: self.visit(node.body)), (no, lambda: self.visit(node.orelse)))

    def visit_If(self, node: ast.If) -> None:
        yes, no = self._test(node.test)
        self._branches((yes, lambda: self._block(node.body)), (no, lambda: self._block(node.orelse)))

    def visit_Compare(self, node: ast.Compare) -> None:
        self.visit(node.left)
        self.visit(node.comparators[0])
        with self._perhaps():
            for comparator in node.comparators[1:]:
                before = self._copy()
                self.visit(comparator)
                self._state = join((before, self._state))

    def visit_Assert(self, node: ast.Assert) -> None:
        yes, no = self._test(node.test)
        if node.msg is not None and no is not None:
            self._state = no
            with self._perhaps():
                self.visit(node.msg)
        self._state = yes

    def visit_Raise(self, node: ast.Raise) -> None:
        self.generic_visit(node)
        self._state = None

    def _loop(self, once: Callable[[], None]) -> Loop:
        """Walk over a loop's body until nothing new can come from an earlier round; the state ends at its head."""
        head = self._copy()
        while True:
            loop = Loop()
            self._loops.append(loop)
            self._state = dict(head) if head is not None else None
            once()
            self._loops.pop()
            again = join((head, self._state, *loop.continues))
            if again == head:
                self._state = head
                return loop
            head = again

    def visit_For(self, node: ast.For | ast.AsyncFor) -> None:
        self.visit(node.iter)

        def once() -> None:
            self._target(node.target, "loop")
            self._block(node.body)

        with self._perhaps():
            loop = self._loop(once)
            self._block(node.orelse)
        self._state = join((self._state, *loop.breaks))

    visit_AsyncFor = visit_For

    def visit_While(self, node: ast.While) -> None:
        exits: list[State | None] = []
        rounds = 0

        def once() -> None:
            nonlocal rounds
            outer = self._required
            if rounds:
                self._required = {}
            rounds += 1
            yes, no = self._test(node.test)
            exits[:] = [no]
            self._state = yes
            if no is not None:
                self._required = {}
            self._block(node.body)
            self._required = outer

        loop = self._loop(once)
        self._state = exits[0]
        with self._perhaps():
            self._block(node.orelse)
        self._state = join((self._state, *loop.breaks))

    def visit_Break(self, node: ast.Break) -> None:
        self._loops[-1].breaks.append(self._state)
        self._state = None

    def visit_Continue(self, node: ast.Continue) -> None:
        self._loops[-1].continues.append(self._state)
        self._state = None

    def _interruptible(self, walk: Callable[[], None]) -> State:
        """Walk over what an exception may leave at any point; give the states in which that may be."""
        before, touched = dict(self._state or {}), State()
        self._tries.append(touched)
        walk()
        self._tries.pop()
        return before | {key: before.get(key, UNTOUCHED) | status for key, status in touched.items()}

    def visit_Try(self, node: ast.Try | ast.TryStar) -> None:
        anywhere = self._interruptible(lambda: self._try(node))
        if node.finalbody:
            after = self._state
            self._state = join((anywhere, after))
            with self._perhaps():
                self._block(node.finalbody)
            self._state = after
            self._block(node.finalbody)

    def visit_TryStar(self, node: ast.TryStar) -> None:
        self.visit_Try(node)

    def _try(self, node: ast.Try | ast.TryStar) -> None:
        outer = self._required
        if any(_catches_name_error(handler.type) for handler in node.handlers):
            self._required = {}
        raised = self._interruptible(lambda: self._block(node.body))
        self._block(node.orelse)
        self._required = outer
        ends = [self._state]
        with self._perhaps():
            for handler in node.handlers:
                self._state = dict(raised)
                if handler.type is not None:
                    self.visit(handler.type)
                if handler.name:
                    self._assign(handler.name, handler.lineno, "except")
                self._block(handler.body)
                if handler.name and self._state is not None:
                    self._change(self._key(self._mangled(handler.name)), DELETED)
                ends.append(self._state)
        self._state = join(ends)

    def visit_With(self, node: ast.With | ast.AsyncWith) -> None:
        for item in node.items:
            self.visit(item.context_expr)
            if item.optional_vars is not None:
                self._target(item.optional_vars, "with")
        if any(_may_suppress(item.context_expr) for item in node.items):
            with self._perhaps():
                anywhere = self._interruptible(lambda: self._block(node.body))
            self._state = join((anywhere, self._state))
        else:
            self._block(node.body)

    visit_AsyncWith = visit_With

    def visit_Match(self, node: ast.Match) -> None:
        self.visit(node.subject)
        ends: list[State | None] = []
        with self._perhaps():
            for case in node.cases:
                before = self._copy()
                self.visit(case.pattern)
                matched, refused = (self._copy(), None) if case.guard is None else self._test(case.guard)
                self._state = matched
                self._block(case.body)
                ends.append(self._state)
                always = isinstance(case.pattern, ast.MatchAs) and case.pattern.pattern is None
                missed = None if always else join((before, matched))
                self._state = join((missed, refused))
        self._state = join((*ends, self._state))

    def _capture_pattern(self, node: ast.MatchAs | ast.MatchStar) -> None:
        self.generic_visit(node)
        if node.name:
            self._assign(node.name, node.lineno)

    visit_MatchAs = visit_MatchStar = _capture_pattern

    def visit_MatchMapping(self, node: ast.MatchMapping) -> None:
        self.generic_visit(node)
        if node.rest:
            self._assign(node.rest, node.lineno)


def _catches_name_error(node: ast.expr | None) -> bool:
    """Tell whether an except clause may catch NameError; what is not known may."""
    if node is None:
        return True
    if isinstance(node, ast.Tuple):
        return any(_catches_name_error(element) for element in node.elts)
    known = getattr(builtins, node.id, None) if isinstance(node, ast.Name) else None
    return not isinstance(known, type) or issubclass(NameError, known)


def _may_suppress(node: ast.expr) -> bool:
    """Tell whether a context manager is one of those that swallow exceptions."""
    called = node.func if isinstance(node, ast.Call) else node
    name = called.attr if isinstance(called, ast.Attribute) else called.id if isinstance(called, ast.Name) else ""
    return name in ("suppress", "raises", "assertRaises", "ExitStack", "AsyncExitStack")
