"""The analysis against Python itself: random cells that are run, and the symbol tables of the standard library."""

from __future__ import annotations

import ast
import builtins
import random
import symtable
import sysconfig
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest

from jupyter_konduktor.payload import analyse
from jupyter_konduktor.payload.scopes import FunctionNode, references

NAMES = ("a", "b", "c", "d", "f", "g")


class Cells:
    """Makes random cells that end: every loop is bounded, and every value is a number or a function."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)

    def cell(self) -> str:
        return "\n".join(self.block(0, self.random.randint(2, 6), loop=False))

    def name(self) -> str:
        return self.random.choice(NAMES)

    def block(self, depth: int, count: int, *, loop: bool) -> list[str]:
        return [line for _ in range(count) for line in self.statement(depth, loop=loop)]

    def indented(self, depth: int, *, loop: bool) -> list[str]:
        return ["    " + line for line in self.block(depth + 1, self.random.randint(1, 3), loop=loop)]

    def expression(self, depth: int = 0) -> str:
        inner = (lambda: self.expression(depth + 1)) if depth < 3 else self.name
        few = self.random.randint(0, 2)
        return self.random.choice(
            [
                self.name,
                lambda: str(few),
                lambda: f"num({inner()}, {inner()})",
                lambda: f"({inner()} and {inner()})",
                lambda: f"({inner()} or {inner()})",
                lambda: f"({inner()} if {inner()} else {inner()})",
                lambda: f"({self.name()} := {inner()})",
                lambda: f"num(*[{inner()} for {self.name()} in range({few})])",
                lambda: f"call(lambda {self.name()}: {inner()})",
                lambda: f"(num({inner()}) < num({inner()}) < num({inner()}))",
                lambda: f"call({self.name()})",
                lambda: f"(not {inner()})",
                lambda: f"f'{{{self.name()}}}'",
            ]
        )()

    def statement(self, depth: int, *, loop: bool) -> list[str]:
        expression, name = self.expression, self.name
        simple = [
            lambda: [f"show({expression()})"], lambda: [f"show({name()})"], lambda: [f"{name()} = {expression()}"],
            lambda: [f"{name()} = {expression()}"], lambda: [f"{name()} = num({name()}) + 1"],
            lambda: [f"del {name()}"], lambda: [f"{name()}, {name()} = {expression()}, {expression()}"],
        ]  # fmt: skip
        if loop:
            simple += [lambda: ["break"], lambda: ["continue"]]
        if depth >= 3:
            return self.random.choice(simple)()
        body = lambda inner=loop: self.indented(depth, loop=inner)  # noqa: E731
        nested = [
            lambda: [f"if {expression()}:", *body(), "else:", *body()],
            lambda: [f"if {expression()}:", *body()],
            lambda: [f"for {name()} in range({self.random.randint(0, 2)}):", *body(True), "else:", *body()],
            lambda: [f"for {name()} in range({self.random.randint(0, 2)}):", *body(True)],
            lambda: [f"while {expression()}:", "    tick()", *body(True)],
            lambda: ["while True:", "    tick()", *body(True), "    break"],
            lambda: ["try:", *body(), "except NameError:", *body()],
            lambda: ["try:", *body(), "    boom()", f"except ValueError as {name()}:", *body(), "finally:", *body()],
            lambda: ["try:", *body(), "except ValueError:", *body(), "else:", *body()],
            lambda: [f"with null({expression()}) as {name()}:", *body()],
            lambda: [
                f"match {expression()}:", f"    case 0 if {expression()}:", *indent(body()),
                f"    case {name()}:", *indent(body()),
            ],
            lambda: [f"match {expression()}:", "    case 1:", *indent(body())],
            lambda: [f"def {name()}({name()}={expression()}):", *self.function(depth)],
            lambda: [f"def {name()}():", *self.function(depth)],
            lambda: ["@keep", f"def {name()}():", *self.function(depth)],
            lambda: [f"class {name()}:", *body(False), f"    def {name()}(self=0):", *indent(self.function(depth))],
        ]  # fmt: skip
        return self.random.choice([*simple, *nested])()

    def function(self, depth: int) -> list[str]:
        head = [f"    global {self.name()}"] if self.random.random() < 0.2 else []
        return [*head, *self.indented(depth + 1, loop=False), f"    return {self.expression(2)}"]


def indent(lines: list[str]) -> list[str]:
    return ["    " + line for line in lines]


def outcome(code: Any, names: set[str]) -> tuple[list[str], str]:
    """Run a cell in a namespace with some names, and give all that it showed and how it ended."""
    return run(code, {name: NAMES.index(name) for name in names})


def outcome_namespace(code: Any, namespace: dict[str, Any]) -> dict[str, Any]:
    """Run a cell, and give its namespace as it is then."""
    left = dict(namespace)
    run(code, left)
    return left


def run(code: Any, namespace: dict[str, Any]) -> tuple[list[str], str]:
    shown: list[str] = []
    calls = 0

    def num(*values: Any) -> int:
        return sum(value if isinstance(value, int) else 1 for value in values)

    def call(function: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls > 200 or not callable(function):
            return 1
        try:
            return function()
        except TypeError:
            return 1

    def boom() -> None:
        raise ValueError

    def tick() -> None:
        nonlocal calls
        calls += 1
        if calls > 200:
            raise OSError("enough")

    def show(value: Any) -> None:
        shown.append(
            str(value) if isinstance(value, (int, str, bool)) and "0x" not in str(value) else type(value).__name__
        )

    helpers = {
        "num": num,
        "call": call,
        "boom": boom,
        "tick": tick,
        "null": nullcontext,
        "keep": lambda f: (call(f), f)[1],
        "show": show,
    }
    namespace.update(helpers)
    try:
        exec(code, namespace)
    except RecursionError:
        return [], "RecursionError"
    except Exception as error:
        return shown, f"{type(error).__name__}: {error}"
    return shown, ""


def cells(count: int) -> Iterator[tuple[int, str, Any]]:
    seed = made = 0
    while made < count:
        seed += 1
        text = Cells(seed).cell()
        if text.count("\n") > 40:
            continue
        try:
            code = compile(text, f"<cell {seed}>", "exec")
        except SyntaxError:
            continue  # a name that is a parameter and global, a capture that is not last
        made += 1
        yield seed, text, code


def test_a_cell_that_gets_only_what_the_analysis_names_behaves_as_with_everything() -> None:
    """Soundness: no name that a cell may read is missed, on hundreds of random cells."""
    for seed, text, code in cells(500):
        found = analyse(text)
        if found.problems:
            continue
        everything = outcome(code, set(NAMES))
        inputs = outcome(code, set(NAMES) & set(found.reads))
        assert inputs == everything, f"seed {seed}\n{text}\nreads {dict(found.reads)}"


def test_a_required_name_that_is_missing_is_an_error() -> None:
    """No cell is refused for a name that it can do without."""
    checked = 0
    for seed, text, code in cells(500):
        found = analyse(text)
        for name in set(NAMES) & set(found.required):
            everything, without = outcome(code, set(NAMES)), outcome(code, set(NAMES) - {name})
            if not everything[1]:
                assert without[1], f"seed {seed}\n{text}\nrequired {name}: {without}"
                checked += 1
    assert checked > 100


def test_reading_after_del_is_only_claimed_where_it_fails() -> None:
    claimed = 0
    for seed, text, code in cells(500):
        if analyse(text).problems:
            assert outcome(code, set(NAMES))[1], f"seed {seed}\n{text}"
            claimed += 1
    assert claimed > 5


def test_what_a_cell_leaves_behind_is_an_output_or_says_why_not() -> None:
    for seed, text, code in cells(500):
        found = analyse(text)
        before = {name: object() for name in NAMES}
        namespace = outcome_namespace(code, before)
        left = {name for name in NAMES if namespace.get(name) is not before[name] and name in namespace}
        assert left <= {*found.outputs, *found.excluded}, f"seed {seed}\n{text}"


MODULES = sorted(Path(sysconfig.get_paths()["stdlib"]).glob("[a-d]*.py"))


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.stem)
def test_the_globals_of_every_function_are_those_of_the_symbol_table(path: Path) -> None:
    source = path.read_text(encoding="utf-8")
    tree = ast.parse(source)
    tables = {
        (table.get_name(), table.get_lineno()): table
        for table in symtable.symtable(source, str(path), "exec").get_children()
        if table.get_type() == "function"
    }
    for node in tree.body:
        if isinstance(node, FunctionNode):
            table = tables[node.name, node.lineno]
            found = references(node)
            reads, writes = globals_of(table)
            assert set(found.reads) >= reads - set(dir(builtins)), node.name
            assert set(found.reads) <= reads | class_names(table), node.name
            assert set(found.writes) == writes, node.name


def globals_of(table: symtable.SymbolTable) -> tuple[set[str], set[str]]:
    reads, writes = set(), set()
    for symbol in table.get_symbols():
        if symbol.is_global():
            if symbol.is_referenced():
                reads.add(symbol.get_name())
            if symbol.is_assigned():
                writes.add(symbol.get_name())
    for child in table.get_children():
        inner = globals_of(child)
        reads |= inner[0]
        writes |= inner[1]
    return reads, writes


def class_names(table: symtable.SymbolTable) -> set[str]:
    """Names that class bodies inside a function bind and read: they are looked up in the module until bound."""
    found = set()
    for child in table.get_children():
        if child.get_type() == "class":
            found |= {symbol.get_name() for symbol in child.get_symbols() if symbol.is_local()}
        found |= class_names(child)
    return found
