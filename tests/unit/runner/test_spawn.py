"""Multiprocessing and pickle find what the notebook defines, however processes are started."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from .conftest import function_pack

WORK = """
import multiprocessing as mp, pickle
k = 10
class Thing:
    def __init__(self, x): self.x = x
    def __eq__(self, other): return type(other) is Thing and other.x == self.x
def work(thing):
    return Thing(thing.x * k)
"""
POOL = """
with mp.get_context({method!r}).Pool(2) as pool:
    things = pool.map(work, [Thing(i) for i in range(4)])
facts = [things == [Thing(i * 10) for i in range(4)], type(things[0]) is Thing]
"""
METHODS = ["fork", "spawn", "forkserver"]


@pytest.mark.parametrize("method", METHODS)
def test_workers_find_functions_and_classes_of_the_cell(cell, method):
    job = cell(WORK + POOL.format(method=method), auto=["facts"], job={"grace": 1})
    assert job.outputs == {"facts": [True, True]}, job.text
    assert job.text == ""


@pytest.mark.parametrize("method", METHODS)
def test_workers_find_what_came_with_a_function(run, method):
    source = (
        WORK
        + "def f():\n"
        + "\n".join("    " + line for line in POOL.format(method=method).splitlines())
        + "\n    return facts"
    )
    assert run(function_pack(source, "f()")).envelope.value == [True, True]


def test_workers_that_are_spawned_later_know_what_was_defined_later(cell):
    code = """
import multiprocessing as mp
def one(): return 1
def first(f):
    with mp.get_context('spawn').Pool(1) as pool:
        return pool.apply(f)
a = first(one)
def two(): return 2
b = first(two)
"""
    assert cell(code, auto=["a", "b"]).outputs == {"a": 1, "b": 2}


def test_an_executor_and_its_exception_work(cell):
    code = """
import multiprocessing as mp
from concurrent.futures import ProcessPoolExecutor
class MyError(Exception): pass
def work(x):
    raise MyError(x)
with ProcessPoolExecutor(1, mp_context=mp.get_context('spawn')) as pool:
    try:
        pool.submit(work, 5).result()
    except MyError as error:
        facts = [type(error) is MyError, error.args]
"""
    assert cell(code, auto=["facts"]).outputs == {"facts": [True, (5,)]}


def test_pickle_finds_classes_of_the_notebook(cell):
    code = WORK + "facts = pickle.loads(pickle.dumps([Thing(1), Thing])) == [Thing(1), Thing]"
    assert cell(code, auto=["facts"]).outputs == {"facts": True}


def test_a_cell_is_not_run_again_by_its_workers(cell):
    code = WORK + "print('once')\n" + POOL.format(method="spawn")
    assert cell(code).text == "once\n"


def test_scripts_that_the_cell_starts_are_plain_scripts(cell):
    code = "import subprocess, sys\nsubprocess.run([sys.executable, '-c', 'import sys; print(sys.argv, __name__)'])"
    assert "['-c'] __main__" in cell(code).text


@pytest.mark.skipif(sys.platform != "linux", reason="the leak would show in /dev/shm")
def test_shared_memory_is_cleaned_up_when_workers_are_left_behind(cell):
    code = """
from multiprocessing import shared_memory
memory = shared_memory.SharedMemory(create=True, size=100)
name = memory.name
import os
print(os.path.exists('/dev/shm/' + name))
"""
    job = cell(code, auto=["name"])
    assert job.text.startswith("True\n")
    assert not Path("/dev/shm", job.outputs["name"]).exists()
