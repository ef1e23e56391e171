"""What a cell reads and assigns: every rule of Python's names that a notebook can meet."""

from __future__ import annotations

import builtins
import sys

import pytest

from jupyter_konduktor.payload import analyse


def reads(code: str) -> set[str]:
    return {name for name in analyse(code).reads if not hasattr(builtins, name)}


def required(code: str) -> set[str]:
    return {name for name in analyse(code).required if not hasattr(builtins, name)}


READS = {
    "plain": ("y = x", {"x"}),
    "assigned first": ("x = 1\ny = x", set()),
    "augmented assignment reads": ("x += 1", {"x"}),
    "augmented attribute": ("model.n += step", {"model", "step"}),
    "augmented item": ("d[k] += 1", {"d", "k"}),
    "tuple swap": ("a, b = b, a", {"a", "b"}),
    "starred": ("first, *rest = xs\nrest", {"xs"}),
    "item assignment reads the container": ("d['k'] = v", {"d", "v"}),
    "attribute assignment reads the object": ("o.a = 1", {"o"}),
    "chained assignment in order": ("a = a2 = v\na2", {"v"}),
    "del reads": ("del x", {"x"}),
    "del after assignment": ("x = 1\ndel x", set()),
    "del of an item": ("del d[k]", {"d", "k"}),
    "annotation alone assigns nothing": ("x: int\nx", {"x"}),
    "annotation with a value": ("x: T = 1\nx", {"T"}),
    "both branches": ("if c:\n    x = 1\nelse:\n    x = 2\nx", {"c"}),
    "one branch": ("if c:\n    x = 1\nx", {"c", "x"}),
    "elif without else": ("if a:\n    x = 1\nelif b:\n    x = 2\nx", {"a", "b", "x"}),
    "the other branch raises": ("if c:\n    x = 1\nelse:\n    raise ValueError(m)\nx", {"c", "m"}),
    "constant condition": ("if True:\n    x = 1\nx", set()),
    "branch that never runs": ("if False:\n    y\nif 0: z", set()),
    "code that is never reached": ("raise SystemExit\nx", set()),
    "loop over itself": ("for x in x: pass", {"x"}),
    "loop variable after the loop": ("for x in xs: pass\nx", {"xs", "x"}),
    "loop variable inside": ("for x in xs: x", {"xs"}),
    "assigned in a loop body": ("for x in xs: y = x\ny", {"xs", "y"}),
    "assigned in the round before": ("for x in xs:\n    if x: print(y)\n    y = x", {"xs", "y"}),
    "while": ("while n:\n    n -= 1\n    z = 1\nz", {"n", "z"}),
    "while true runs once": ("while True:\n    x = 1\n    if x: break\nx", set()),
    "while true, break before": ("while True:\n    if c: break\n    x = 1\nx", {"c", "x"}),
    "for else with break": ("for i in n:\n    if i:\n        x = 1\n        break\nelse:\n    x = 2\nx", {"n"}),
    "continue": ("for i in n:\n    if c: continue\n    x = 1\nelse:\n    x", {"n", "c", "x"}),
    "with target": ("with open(p) as f: t = f\nt", {"p"}),
    "suppress may skip": ("with contextlib.suppress(E):\n    x = f()\nx", {"contextlib", "E", "f", "x"}),
    "try body may be cut": ("try:\n    x = f()\nexcept E:\n    pass\nx", {"f", "E", "x"}),
    "try and handler both assign": ("try:\n    x = f()\nexcept E:\n    x = 0\nx", {"f", "E"}),
    "handler that leaves": ("try:\n    x = f()\nexcept E:\n    raise\nx", {"f", "E"}),
    "handler reads what the body assigns": ("try:\n    x = f()\nexcept E:\n    x", {"f", "E", "x"}),
    "try else": ("try:\n    f()\nexcept E:\n    x = 1\nelse:\n    x = 2\nx", {"f", "E"}),
    "finally always": ("try:\n    f()\nfinally:\n    x = 1\nx", {"f"}),
    "finally may see nothing": ("try:\n    x = f()\nfinally:\n    x", {"f", "x"}),
    "exception name is deleted": ("e = 1\ntry:\n    f()\nexcept E as e:\n    e", {"f", "E"}),
    "exception group": ("try:\n    f()\nexcept* E as e:\n    e", {"f", "E"}),
    "match with a wildcard": ("match m:\n    case [a]: x = a\n    case {'k': v}: x = v\n    case _: x = 0\nx", {"m"}),
    "match without a wildcard": ("match m:\n    case 1: x = 1\nx", {"m", "x"}),
    "match class and value patterns": ("match m:\n    case P(q=z) if g(z): z\n    case K.v: 0", {"m", "P", "g", "K"}),
    "walrus": ("if (n := f()) > 1: n\nn", {"f"}),
    "walrus behind and": ("if c and (n := f()): n", {"c", "f"}),
    "walrus behind and, after": ("if c and (n := f()): pass\nn", {"c", "f", "n"}),
    "walrus behind or, else": ("if c or (n := f()): pass\nelse: n", {"c", "f"}),
    "walrus behind not": ("if not (c and (n := f())): raise E\nn", {"c", "f", "E"}),
    "walrus in a chained comparison": ("a < b < (c := 1)\nc", {"a", "b", "c"}),
    "walrus in a conditional": ("x = (y := 1) if c else 2\ny", {"c", "y"}),
    "walrus in a comprehension binds outside": ("[w := i for i in xs]\nw", {"xs", "w"}),
    "assert": ("assert x, m", {"x", "m"}),
    "comprehension": ("[i + k for i in xs if i < t]", {"xs", "k", "t"}),
    "comprehension target hides": ("[x for x in xs]", {"xs"}),
    "first iterable is outside": ("[x for x in x]", {"x"}),
    "second iterable is inside": ("[y for x in xs for y in x]", {"xs"}),
    "nested comprehension": ("[[a * i for i in row] for row in rows]", {"a", "rows"}),
    "dict comprehension": ("{k: v + d for k, v in items}", {"d", "items"}),
    "generator": ("sum(x * w for x in xs)", {"w", "xs"}),
    "comprehension target does not leak": ("[i for i in xs]\ni", {"xs", "i"}),
    "f-string": ("f'{x!r:>{width}} {y=}'", {"x", "width", "y"}),
    "lambda": ("g = lambda a, b=d: a + b + c", {"d", "c"}),
    "conditional expression": ("a if c else b", {"a", "b", "c"}),
    "function reads at its call": ("def f(): return scale\nscale = 2\nf()", set()),
    "function called before": ("def f(): return scale\nf()\nscale = 2", {"scale"}),
    "function never called": ("def f(): return scale", set()),
    "function passed on": ("def f(): return scale\nrun(f)", {"scale", "run"}),
    "function through a function": ("def f(): return g()\ndef g(): return z\nf()", {"z"}),
    "recursion ends": ("def f(n): return f(n - 1) + z\nf(3)", {"z"}),
    "mutual recursion ends": ("def f(): return g()\ndef g(): return f() + z\ng()", {"z"}),
    "function in a branch": ("if c:\n    def f(): return a\nelse:\n    def f(): return b\nf()", {"c", "a", "b"}),
    "replaced function": ("def f(): return a\ndef f(): return b\nf()", {"b"}),
    "parameters hide": ("def f(x, /, y, *a, z=d, **k): return x, y, a, z, k\nf(1)", {"d"}),
    "default runs at definition": ("def f(x=d): pass", {"d"}),
    "decorator": ("@deco(arg)\ndef f(): return u\nu = 1", {"deco", "arg", "u"}),
    "local of a function": ("def f():\n    x = 1\n    return x\nf()", set()),
    "local even before assignment": ("def f():\n    print(x)\n    x = 1\nf()", set()),
    "global in a function": ("def f():\n    global x\n    x = 1\nf()\nx", {"x"}),
    "global read in a nested function": ("def f():\n    global x\n    def g(): return x\n    return g\nf()", {"x"}),
    "nonlocal": ("def f():\n    x = 1\n    def g():\n        nonlocal x\n        x += y\n    g()\nf()", {"y"}),
    "free variable": ("def f(x):\n    return lambda y: x + y + z\nf(1)", {"z"}),
    "except name in a function": ("def f():\n    try: pass\n    except E as e: return e\nf()", {"E"}),
    "import in a function": ("def f():\n    import os.path as p, sys\n    return p, sys, os\nf()", {"os"}),
    "class body runs at once": ("class A:\n    y = x\n    x = 1", {"x"}),
    "class body reads outside first": ("class A:\n    x = x", {"x"}),
    "class body binds": ("class A:\n    a = 1\n    b = a", set()),
    "class body does not bind outside": ("class A:\n    a = 1\na", {"a"}),
    "methods do not see the class body": ("class A:\n    a = 1\n    def m(self): return a\nA()", {"a"}),
    "method of a class never used": ("class A:\n    def m(self): return a", set()),
    "method at the use of the class": ("class A:\n    def m(self): return a\na = 1\nA().m()", set()),
    "base may use methods at once": ("class A(B):\n    def m(self): return a\na = 1", {"B", "a"}),
    "class keywords and decorators": ("@d\nclass A(B, metaclass=M): pass", {"d", "B", "M"}),
    "class comprehension skips the class": ("class A:\n    xs = y\n    n = 1\n    z = [x * n for x in xs]", {"y", "n"}),
    "property is harmless": ("class A:\n    @property\n    def m(self): return a\na = 1\nA().m", set()),
    "global in a class body": ("class A:\n    global g\n    g = 1\ng", set()),
    "private names": ("class A:\n    def m(self): return __x\nA()", {"_A__x"}),
    "nested class": ("class A:\n    class B:\n        y = x", {"x"}),
    "import binds": ("import a.b\nimport c.d as e\nfrom f import g as h\na, e, h", set()),
    "import as does not bind the root": ("import a.b as c\na", {"a"}),
    "await": ("r = await f(x)", {"f", "x"}),
    "async for and with": ("async with s() as t:\n    async for i in t: i + k", {"s", "k"}),
    "async comprehension": ("[i async for i in aiter()]", set()),
    "async def": ("async def f(): return await g()\nawait f()", {"g"}),
    "slice": ("x[a:b:c]", {"x", "a", "b", "c"}),
    "keyword arguments are no names": ("f(key=v, **o)", {"f", "v", "o"}),
    "attributes are no names": ("a.b.c", {"a"}),
    "shell command": ("get_ipython().system('ls {path} $n {a,b}')", {"path", "n"} | {"a", "b"}),
    "shell expression": ("get_ipython().getoutput('ls {d[\"k\"]}')", {"d"}),
    "line magic": ("get_ipython().run_line_magic('time', 'y = fit(X)')\ny", {"fit", "X"}),
    "cell magic": ("get_ipython().run_cell_magic('time', '', 'y = fit(X)\\nz = y')\nz", {"fit", "X"}),
    "timeit": ("get_ipython().run_line_magic('timeit', '-n 10 -r3 f(x)')", {"f", "x"}),
    "timeit assigns nothing": ("get_ipython().run_line_magic('timeit', 'y = x')\ny", {"x", "y"}),
    "query": ("df.query('a > @low and b == \"x@y\"')", {"df", "low"}),
}  # fmt: skip


if sys.version_info >= (3, 12):
    READS |= {
        "generic function": ("def f[T: B](x: T, y: U) -> T: return T, z\nf(1)", {"B", "U", "z"}),
        "generic class": ("class A[T](Base[T]):\n    x: T\n    def m(self) -> T: return q\nA()", {"Base", "q"}),
        "type alias": ("type X[T] = dict[T, Y]\nX", {"Y"}),
        "type parameters do not leak": ("class A[T]: pass\nT", {"T"}),
        "nested generics": ("def g():\n    class C[S](D[S]): y: S\n    type Z[V] = V | W\ng()", {"D", "W"}),
        "f-string in an f-string": ("f'{x:{f'{w}'}}'", {"x", "w"}),
    }


@pytest.mark.parametrize(("code", "expected"), READS.values(), ids=READS.keys())
def test_reads_are_what_is_not_surely_defined_first(code: str, expected: set[str]) -> None:
    assert reads(code) == expected


REQUIRED = {
    "plain": ("y = x", {"x"}),
    "in a branch": ("if c: x", {"c"}),
    "in both branches": ("if c: x\nelse: f(x)", {"c", "x"}),
    "in a loop": ("for i in xs: y", {"xs"}),
    "in while true": ("while True:\n    x\n    break", {"x"}),
    "perhaps assigned": ("if c: x = 1\nx", {"c"}),
    "guarded": ("try:\n    x\nexcept NameError:\n    x = 1", set()),
    "guarded by Exception": ("try:\n    x\nexcept Exception:\n    x = 1", set()),
    "guarded by a tuple": ("try:\n    x\nexcept (KeyError, NameError):\n    x = 1", set()),
    "guarded by everything": ("try:\n    x\nexcept:\n    x = 1", set()),
    "guarded by something unknown": ("try:\n    x\nexcept MyError:\n    pass", set()),
    "not guarded by others": ("try:\n    x\nexcept (ValueError, KeyError):\n    pass", {"x"}),
    "guarded by suppress": ("with contextlib.suppress(NameError):\n    x", {"contextlib", "NameError"} - {"NameError"}),
    "inside with": ("with open(p) as f:\n    x", {"p", "x"}),
    "in finally": ("try:\n    f()\nfinally:\n    x", {"f", "x"}),
    "in a function": ("def f(): return x\nf()", set()),
    "in a comprehension": ("[k for i in xs]", {"xs"}),
    "behind and": ("a and b", {"a"}),
    "behind a comparison": ("a < b < c", {"a", "b"}),
    "in a default": ("def f(x=d): pass", {"d"}),
    "in a lambda": ("lambda: x", set()),
    "assigned by a function": ("def f():\n    global x\n    x = 1\nf()\nx", set()),
    "first iterable": ("for x in x: pass", {"x"}),
    "class body": ("class A:\n    y = x", {"x"}),
    "in a match case": ("match m:\n    case P(): x", {"m"}),
    "in a shell command": ("get_ipython().system('echo $x')", set()),
    "in %time": ("get_ipython().run_line_magic('time', 'f(x)')", {"f", "x"}),
}


@pytest.mark.parametrize(("code", "expected"), REQUIRED.values(), ids=REQUIRED.keys())
def test_required_is_what_every_path_reads_unassigned(code: str, expected: set[str]) -> None:
    assert required(code) == expected


OUTPUTS = {
    "assignments": ("a = b, c = 1, 2\nd: int = 1\ne += 1\n(f := 1)", ("a", "b", "c", "d", "e", "f")),
    "functions and classes": ("def f(): pass\nclass A: pass\nasync def g(): pass", ("f", "A", "g")),
    "in branches and loops": ("for i in xs:\n    if i: a = 1\n    else: b = 1", ("a", "b")),
    "imports stay": ("import os\nfrom sys import path\nimport a.b as c", ()),
    "import and assignment": ("import os\nos = 1", ("os",)),
    "underscores stay": ("_x = 1\n_ = 2\n__y = 3", ()),
    "loop targets stay": ("for i, (j, *k) in xs: pass\nfor d['x'] in xs: pass", ()),
    "loop target assigned too": ("for i in xs: pass\ni = 0", ("i",)),
    "with targets stay": ("with open(p) as f, g() as (h, i): data = f.read()", ("data",)),
    "except targets stay": ("try:\n    x = 1\nexcept E as e:\n    pass", ("x",)),
    "deleted again": ("a = 1\ndel a\nb = 1", ("b",)),
    "perhaps deleted": ("a = 1\nif c: del a", ("a",)),
    "comprehension targets are none": ("[i for i in xs if (last := i)]", ("last",)),
    "match captures": ("match m:\n    case [a, *b]: pass\n    case {**r}: pass", ("a", "b", "r")),
    "global in a function": ("def f():\n    global g\n    g = 1", ("g", "f")),
    "locals are none": ("def f():\n    x = 1\nclass A:\n    y = 1", ("f", "A")),
    "attributes are none": ("a.b = 1\nc[0] = 1", ()),
    "%time assigns": ("get_ipython().run_line_magic('time', 'x = 1')", ("x",)),
    "a cell that ends in raise": ("x = 1\nraise SystemExit", ("x",)),
}


@pytest.mark.parametrize(("code", "expected"), OUTPUTS.values(), ids=OUTPUTS.keys())
def test_automatic_outputs_are_the_names_assigned_at_top_level(code: str, expected: tuple[str, ...]) -> None:
    assert analyse(code).outputs == expected


def test_what_does_not_come_back_by_itself_says_why() -> None:
    code = "import os\nfor i in xs: pass\nwith f() as g: pass\n_x = 1\nd = 1\ndel d"
    assert dict(analyse(code).excluded) == {
        "os": "an import",
        "i": "a loop variable",
        "g": "the target of a with",
        "_x": "it begins with an underscore",
        "d": "it is deleted again",
    }


@pytest.mark.parametrize(
    "code", ["exec(s)\nx", "from os import *\nx", "globals()['x'] = 1\nx", "locals()\nx", "vars()\nx"]
)
def test_after_code_that_may_assign_anything_a_name_is_doubtful_and_not_required(code: str) -> None:
    found = analyse(code)
    assert "x" in found.doubtful
    assert "x" not in found.required
    assert found.warnings[0][0] == 1


@pytest.mark.parametrize("code", ["model.eval()\nx", "vars(o)\nx", "def f(): return locals()\nx"])
def test_what_only_looks_dynamic_is_no_warning(code: str) -> None:
    assert analyse(code).warnings == ()
    assert "x" in analyse(code).required


def test_exec_in_a_function_of_the_cell_is_a_warning_too() -> None:
    assert "exec()" in analyse("def f():\n    exec(code)\nf()").warnings[0][1]


def test_lines_are_those_of_the_cell() -> None:
    found = analyse("\n\nx\ndef f():\n    return y\nf()\nget_ipython().run_cell_magic('time', '', 'a\\nb')")
    assert (found.reads["x"], found.reads["y"], found.reads["a"], found.reads["b"]) == (3, 5, 8, 9)


def test_reading_after_del_is_a_problem_with_its_line() -> None:
    assert analyse("x = 1\ndel x\nprint(x)").problems == ((3, "`x` is read after `del x`"),)
    assert analyse("x = 1\nif c: del x\nx").problems == ()
    assert analyse("x = 1\ndel x\nx = 2\nx").problems == ()


@pytest.mark.parametrize("code", ["", "\n\n", "# only a comment", "   # indented\n\n#"])
def test_an_empty_cell_is_a_problem(code: str) -> None:
    assert analyse(code).problems == ((1, "the cell has no code"),)


@pytest.mark.parametrize(
    ("code", "line"),
    [
        ("x = 1\ny = = 2", 2),
        ("x\n\nreturn 1", 3),
        ("break", 1),
        ("def f():\n  x\n y", 3),
        ("nonlocal x", 1),
        ("\nyield 1", 2),
        ("x = '\n", 1),
        ("a\0b", 1),
        ("!ls", 1),
    ],
)
def test_a_syntax_error_is_a_problem_with_its_line(code: str, line: int) -> None:
    assert analyse(code).problems[0][0] == line


def test_top_level_await_is_no_problem() -> None:
    assert analyse("x = await f()\nasync with a as b: pass\n[i async for i in b]").problems == ()


def test_a_cell_nested_too_deep_is_a_problem_and_no_crash() -> None:
    assert analyse("-" * 100_000 + "1").problems


def test_imported_modules_are_found_wherever_they_stand() -> None:
    found = analyse("import a.b\ndef f():\n    from c import d, e\n    import g\nfrom h import *")
    assert set(found.modules) == {"a.b", "c", "c.d", "c.e", "g", "h"}


def test_dotted_names_are_found_wherever_they_stand() -> None:
    found = analyse("sklearn.linear_model.Ridge()\ndef f(): return os.path.join(a.b[0].c, f().d)")
    assert {"sklearn.linear_model", "sklearn.linear_model.Ridge", "os.path", "os.path.join", "a.b"} <= found.attributes


def test_names_assigned_before_any_use_of_a_function_are_settled() -> None:
    found = analyse("data = 1\nif c: other = 2\nf(data)\nlater = 3")
    assert found.settled["f"] == {"data"}
    assert analyse("f()\ndata = 1\nf()").settled["f"] == frozenset()


def test_magics_are_parsed_by_the_transformation_that_is_given() -> None:
    code = "get_ipython().run_cell_magic('time', '', '!ls {x}\\ny')"
    assert analyse(code).warnings == ((1, "%time may read names that cannot be seen; --in +name sends them"),)
    found = analyse(code, lambda body: body.replace("!ls {x}", "get_ipython().system('ls {x}')"))
    assert set(found.reads) == {"x", "y"}
    assert found.warnings == ()
