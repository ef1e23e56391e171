"""What cells of everyday work do in a job is what they do in the kernel, and what they leave arrives there."""

from __future__ import annotations

import re
import time
from typing import Any

import pytest

CLASSES = """
import enum, functools, abc
from collections import namedtuple
from dataclasses import dataclass, field
from typing import Generic, NamedTuple, TypeVar
class Color(enum.Enum):
    RED = 1
class Level(enum.IntFlag):
    LOW = enum.auto()
    HIGH = enum.auto()
class Shape(abc.ABC):
    @abc.abstractmethod
    def area(self): ...
class Square(Shape):
    def __init__(self, side): self._side, self.color = side, Color.RED
    @property
    def side(self): return self._side
    @side.setter
    def side(self, value): self._side = abs(value)
    def area(self): return self.side ** 2
@dataclass(slots=True)
class Run:
    lr: float = 0.1
    tags: list = field(default_factory=list)
Pair = namedtuple('Pair', 'a b')
class Named(NamedTuple):
    a: int = 1
T = TypeVar('T')
class Box(Generic[T]):
    def __init__(self, held: T): self.held = held
square, run = Square(2), Run()
"""


def sent(kernel: Any, setup: str, cell: str, options: str = "") -> Any:
    """Run a cell, then one as a job; gives what the job's cell showed."""
    if setup:
        assert kernel.run(setup).ok
    return kernel.run(f"%%konduktor {options}\n{cell}")


def test_classes_and_enums_are_those_of_the_notebook(kernel: Any) -> None:
    shown = sent(
        kernel,
        CLASSES,
        "square.side = -3\nother = Square(4)\ncolor, level = Color.RED, Level.LOW | Level.HIGH\nrun.tags.append('x')\n"
        "run.lr = 1.0\npair, named, box = Pair(1, 2), Named(3), Box[int](4)\nok = isinstance(square, Shape)",
    )
    assert shown.ok, shown.text
    assert (
        kernel.value("(square.area(), other.area(), ok, run.lr, run.tags, box.held)") == "(9, 16, True, 1.0, ['x'], 4)"
    )
    same = (
        "type(square) is type(other) is Square, color is square.color is Color.RED, level == Level(3), type(run) is Run"
    )
    assert kernel.value(f"({same}, type(pair) is Pair, type(named) is Named, type(box) is Box)") == str((True,) * 7)


def test_classes_are_those_of_the_notebook_after_a_restart(kernel: Any) -> None:
    kernel.run(CLASSES)
    kernel.run("%%konduktor --detach --name classes\nother, color = Square(3), Color.RED\nother.run = run")
    name = kernel.value("str(_)").strip("'")
    assert kernel.value(f"__import__('jupyter_konduktor').attach('{name}').wait(30)") == "'succeeded'"
    kernel.restart()
    kernel.run(CLASSES)
    assert kernel.run(f"%konduktor result {name}").ok
    assert kernel.value("(type(other) is Square, color is other.color is Color.RED, type(other.run) is Run)") == str(
        (True, True, True)
    )


def test_the_notebooks_classes_are_never_changed(kernel: Any) -> None:
    shown = sent(kernel, "class Config:\n    rate = 1\nold = Config", "Config.rate = 2\nr = Config.rate")
    assert kernel.value("(r, Config.rate, Config is old)") == "(2, 1, True)"
    assert "Config was left out: it is a class" in shown.last_line


@pytest.mark.parametrize(
    ("setup", "cell", "then"),
    [
        (
            "count = 0\ndef bump():\n    global count\n    count += 1",
            "bump(); bump()\nseen = count",
            "(count, seen) == (2, 2)",
        ),
        ("log = []\ndef note(x): log.append(x)", "note(3)", "log == [3]"),
        ("def setup():\n    global made\n    made = 5", "setup()", "made == 5"),
        ("def tick():\n    tick.n = getattr(tick, 'n', 0) + 1", "tick(); tick()", "tick.n == 2"),
        ("a, d, s = [], {}, set()", "a.append(2); d.update(a=1); s.add(3)", "(a, d, s) == ([2], {'a': 1}, {3})"),
        ("one = [1]\nholder = {'s': one}", "holder['s'].append(len(one))", "holder['s'] is one and one == [1, 1]"),
        ("gone = 5", "kept = gone\ndel gone", "(kept, gone) == (5, 5)"),
        ("", "try:\n    never_defined\nexcept NameError:\n    never_defined = 3", "never_defined == 3"),
        ("def even(n): return n == 0 or odd(n - 1)\ndef odd(n): return n > 0 and even(n - 1)", "e = even(10)", "e"),
        (
            "def scale(x): return x\ndef user(x): return scale(x) * 10",
            "def scale(x): return 2 * x\nu = user(1)",
            "u == user(1) == 20",
        ),
        (
            "import functools\n@functools.cache\ndef fib(n): return n if n < 2 else fib(n - 1) + fib(n - 2)",
            "f = fib(50)",
            "f == 12586269025",
        ),
        (
            "import functools as f\nclass Data:\n    @f.cached_property\n    def rows(self): return [1]\ndata = Data()",
            "data.rows.append(2)",
            "data.rows == [1, 2]",
        ),
        (
            "from collections import defaultdict\ntree = defaultdict(lambda: defaultdict(list))",
            "tree['a']['b'].append(1)",
            "tree['a']['b'] == [1] and tree['z']['y'] == []",
        ),
        ("", "import asyncio\nasync def five(): return 5\nv, = await asyncio.gather(five())", "v == 5"),
        ("", "import sys\nbefore = 1\nsys.exit(0)\nafter = 2", "before == 1 and 'after' not in globals()"),
        ("", "import pickle\nclass Here: pass\nh = pickle.loads(pickle.dumps(Here()))", "type(h) is Here"),
        ("1 + 41", "answer = _", "answer == 42"),
    ],
    ids=lambda text: text[:30].replace("\n", ";"),
)
def test_what_a_cell_changes_arrives(kernel: Any, setup: str, cell: str, then: str) -> None:
    shown = sent(kernel, setup, cell)
    assert shown.ok, shown.text
    assert kernel.value(then) == "True", shown.text


def test_models_frames_and_arrays_change_as_if_the_cell_ran_here(kernel: Any) -> None:
    setup = """
import numpy as np, pandas as pd
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
X = np.random.default_rng(0).normal(size=(100, 3))
y = (X[:, 0] > 0).astype(int)
model = make_pipeline(StandardScaler(), LogisticRegression())
frame = pd.DataFrame({'a': [1, 2, 3], 'b': list('xyz')})
base = np.zeros(10)
view = base[2:5]
limit = 1
"""
    cell = (
        "model.fit(X, y)\nscore = model.score(X, y)\nframe.drop(columns=['b'], inplace=True)\n"
        "few = frame.query('a > @limit')\nview[:] = 1"
    )
    shown = sent(kernel, setup, cell)
    assert shown.ok, shown.text
    assert "(model, frame, view: changed in place)" in shown.last_line, "and X, y, base are as they were"
    assert kernel.value("bool(model.score(X, y) == score > 0.9)") == "True"
    assert kernel.value("(list(frame.columns), len(few), view.sum() == 3, base.sum() == 0)").startswith("(['a'], 2, ")
    assert "view" in kernel.run("%%konduktor --dry-run\nview[:] = base").text


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_worker_processes_find_functions_classes_and_variables(kernel: Any, method: str) -> None:
    cell = f"""
import multiprocessing as mp
class Item:
    def __init__(self, n): self.n = n
def work(n): return Item(weights[n] * factor())
with mp.get_context('{method}').Pool(2) as pool:
    found = [item.n for item in pool.map(work, range(3))]
"""
    shown = sent(kernel, "weights = [1, 2, 3]\ndef factor(): return 10", cell)
    assert shown.ok, shown.text
    assert kernel.value("found") == "[10, 20, 30]"


def test_streams_of_every_kind_are_shown(kernel: Any) -> None:
    cell = (
        "import logging, subprocess, warnings\nwarnings.warn('careful')\nlogging.getLogger('x').warning('logged')\n"
        "subprocess.run(['echo', 'from a child'])\nprint('end')"
    )
    shown = sent(kernel, "", cell, "--quiet")
    assert re.search(r"careful[\s\S]*logged\nfrom a child\nend\n", shown.text)


def test_a_function_that_opens_files_needs_no_ipython_in_the_job(kernel: Any) -> None:
    setup = "def read(path):\n    with open(path) as file: return file.read()\nopen('note.txt', 'w').write('hello')"
    cell = "import sys\ntext = read('note.txt') + open('note.txt').read()\nhas = 'IPython' in sys.modules"
    assert sent(kernel, setup, cell).ok
    assert kernel.value("(text, has)") == "('hellohello', False)"
    assert "open " not in kernel.run("%%konduktor --dry-run\ntext = read('note.txt')").text


def test_process_state_is_inherited_or_stays(kernel: Any) -> None:
    """Environment, directory and import path are the kernel's as they are now; random state does not travel."""
    setup = (
        "import os, random, sys\nos.environ['HERE'] = 'now'\nos.makedirs('sub/lib', exist_ok=True)\nos.chdir('sub')\n"
        "sys.path.insert(0, os.path.abspath('lib'))\nrandom.seed(1)\nstate = hash(random.getstate())"
    )
    cell = (
        "import os, random, sys\nstarted = os.environ['HERE'], os.getcwd(), sys.path\n"
        "fresh = hash(random.getstate()) != state\nos.environ['HERE'] = 'job'"
    )
    assert sent(kernel, setup, cell).ok
    same = "started[:2] == ('now', os.getcwd()), sys.path[0] in started[2], fresh, os.environ['HERE']"
    assert kernel.value(f"({same})") == "(True, True, True, 'now')"
    assert kernel.run("os.chdir('..'); del sys.path[0]").ok


def test_future_imports_of_earlier_cells_hold_for_later_ones(kernel: Any) -> None:
    cell = "def f(a: Nowhere) -> Nothing: return 1\none = f(0)"
    assert "`Nowhere` is read" in sent(kernel, "", cell).text
    assert sent(kernel, "from __future__ import annotations", cell).ok
    assert kernel.value("(one, f.__annotations__['a'])") == "(1, 'Nowhere')"
    assert sent(kernel, "", f"%%time\n{cell}\none += 1").ok
    assert kernel.value("one") == "2"
    kernel.restart()


def test_a_module_of_the_project_that_was_edited_is_the_file_and_that_is_said(kernel: Any) -> None:
    (kernel.cwd / "helpers.py").write_text("VALUE = 1\ndef value(): return VALUE\n")
    assert sent(kernel, "import sys; sys.dont_write_bytecode = True\nimport helpers", "v = helpers.value()").ok
    (kernel.cwd / "helpers.py").write_text("VALUE = 2\ndef value(): return VALUE\n# edited\n")
    shown = sent(kernel, "", "v2 = helpers.value()")
    assert "helpers" in shown.text
    assert kernel.value("(v, v2, helpers.value())") == "(1, 2, 1)"


def test_an_output_that_does_not_load_changes_no_name(kernel: Any) -> None:
    cell = "first = 'new'\nclass Bomb:\n    def __reduce__(self): return int, ('no number',)\nbomb = Bomb()"
    for options in ("", "--out first,bomb"):
        shown = sent(kernel, "first = 'old'", cell, options)
        assert shown.reply["ename"] == "PayloadError"
        assert "cannot be loaded: ValueError" in shown.text
        assert kernel.value("(first, 'bomb' in globals(), 'Bomb' in globals())") == "('old', False, False)"


def test_in_and_out_choose_names(kernel: Any) -> None:
    setup = "a, b = 1, 2"
    assert sent(kernel, setup, "c = globals().get('b'), a\nd = 1\n_e = 2", "--in a --out +_e,-d").ok
    assert kernel.value("(c, _e, 'd' in globals())") == "((None, 1), 2, False)"
    assert sent(kernel, setup, "c = globals()['b']", "--in +b").ok
    assert kernel.value("c") == "2"
    assert "left out by --in" in sent(kernel, setup, "c = b", "--in -b").text
    assert (
        "--out names nope"
        in sent(kernel, "", "import os\nif not os.sep:\n    nope = 1\nyes = 1", "--out yes,nope").text
    )
    assert kernel.value("'yes' in globals()") == "False"


@pytest.mark.parametrize(
    ("setup", "cell", "says"),
    [
        ("import sys\nnest = {'a': [sys.modules]}", "nest", "sys.modules at nest['a'][0]"),
        ("import threading\nlocks = {'a': threading.Lock()}", "locks", "a lock at locks['a']"),
        ("files = [open('f.txt', 'w')]", "files", "an open file at files[0]"),
        ("def past(): return len(In)", "past()", "`past` uses `In`"),
        ("", "exit()", "sys.exit()"),
        ("", "len(Out)", "`Out`, read in line 2, belongs to this kernel"),
    ],
    ids=["modules", "lock", "file", "history", "exit", "Out"],
)
def test_what_cannot_travel_is_refused_by_its_path(kernel: Any, setup: str, cell: str, says: str) -> None:
    shown = sent(kernel, setup, cell)
    assert shown.reply["ename"] == "UsageError"
    assert says in shown.text


def test_a_cell_on_several_nodes_gives_the_values_of_node_0(kernel: Any) -> None:
    cell = "import os\nrank = int(os.environ['RANK'])\nprint('rank', rank)"
    shown = sent(kernel, "", cell, "--nodes 2")
    assert shown.ok, shown.text
    assert kernel.value("rank") == "0"
    assert "rank 0" in shown.stream()


def test_an_interrupt_of_an_await_stops_the_wait_and_not_the_job(kernel: Any) -> None:
    kernel.run("%%konduktor --detach --name awaited\nimport time\ntime.sleep(60)")
    name = kernel.value("str(_)").strip("'")

    def during(shown: Any) -> bool:
        if "waiting" in shown.stream():
            time.sleep(0.5)  # until it waits
            kernel.manager.interrupt_kernel()
            return True
        return False

    began = time.monotonic()
    shown = kernel.run(
        f"import jupyter_konduktor as jk\nprint('waiting', flush=True)\nawait jk.attach('{name}')", during=during
    )
    assert time.monotonic() - began < 20
    assert shown.reply["ename"] == "CancelledError", "that is how an interrupt ends any await of a kernel"
    assert f"%konduktor attach {name}" in shown.text
    assert kernel.value(f"jk.attach('{name}').done()") == "False"
    kernel.run(f"%konduktor cancel {name}")
    assert kernel.value(f"jk.attach('{name}').wait(20)") == "'cancelled'"
