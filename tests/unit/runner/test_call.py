"""A function returns its value or its exception."""

from __future__ import annotations

import pytest

from jupyter_konduktor.runner import codec

from .conftest import function_pack


@pytest.fixture
def call(run):
    """Run a call of a function of the notebook."""
    return lambda source, call, **options: run(function_pack(source, call), **options)


@pytest.mark.parametrize("value", [None, 1, "é", [1, {"a": None}], {"$konduktor": {"v": 1}}])
def test_values_that_are_json_travel_as_themselves(call, value):
    job = call("def f(x):\n    return x", f"f({value!r})")
    found = job.envelope.value
    assert (found["$konduktor"]["value"] if isinstance(value, dict) else found) == value


@pytest.mark.parametrize("value", [(1, 2), {1, 2}, b"x", 1j, list(range(3000)), float("inf"), {1: 2}])
def test_other_values_come_back_as_what_they_were(call, value):
    source = "def f(x):\n    return x"
    loaded = call(source, f"f({value!r})" if value != float("inf") else "f(1e999)").load()
    assert loaded.values["value"] == value
    assert type(loaded.values["value"]) is type(value)


def test_a_large_array_is_an_artifact_with_its_bytes_beside_it(call):
    job = call("def f():\n    import numpy\n    return numpy.arange(1_000_000)", "f()")
    assert job.load().values["value"].sum() == 499999500000


def test_a_function_reads_the_names_of_the_notebook_and_may_change_them(call):
    source = "k = 3\ndef g():\n    return k\ndef f():\n    global k\n    k += 1\n    return g(), __name__, g.__module__"
    assert call(source, "f()").load().values["value"] == (4, "__main__", "__main__")


def test_an_async_function_is_awaited(call):
    assert call("import asyncio\nasync def f():\n    await asyncio.sleep(0)\n    return 5", "f()").envelope.value == 5


def test_a_value_that_cannot_be_pickled_is_named(call):
    job = call("def f():\n    return (i for i in [1])", "f()")
    assert job.envelope.exit == 1
    assert "generator" in job.error()["evalue"]


def test_a_report_counts_if_the_function_returns_nothing(call):
    source = "def f(x):\n    import jupyter_konduktor as jk\n    jk.report([1])\n    return x"
    assert call(source, "f(None)").envelope.value == [1]
    assert call(source, "f(2)").envelope.value == 2


def test_a_report_stands_beside_an_exit_code(call):
    job = call("def f():\n    import jupyter_konduktor as jk, sys\n    jk.report(1)\n    sys.exit(3)", "f()")
    assert (job.envelope.exit, job.envelope.value) == (3, 1)


def test_an_exception_comes_with_its_traceback_and_itself(call):
    source = "class MyError(Exception):\n    pass\ndef f():\n    raise MyError('bad', 7)"
    job = call(source, "f()")
    error = job.error()
    assert (error["ename"], error["evalue"], error["item"]) == ("MyError", "('bad', 7)", None)
    assert "Cell In[2], line 4, in f()\n" in error["traceback"]
    import base64

    loaded = codec.load(base64.b64decode(error["exception"]), None, {})
    assert type(loaded.values["exception"]).__name__ == "MyError"
    assert loaded.values["exception"].args == ("bad", 7)


# --- payloads that cannot be loaded


def test_a_payload_of_other_bytes_is_refused(call):
    job = call("def f():\n    return 1", "f()", sha256="0" * 64)
    assert job.error()["ename"] == "IntegrityError"
    assert job.envelope.exit == 1


def test_a_function_of_another_python_is_refused_before_it_is_loaded(run):
    pack = function_pack("def f():\n    return 1", "f()")
    line, stream = pack.data.split(b"\n", 1)
    import re

    line = re.sub(rb'"python":"[^"]+"', b'"python":"3.7"', line)
    pack.data = line + b"\n" + stream
    assert run(pack).error()["ename"] == "VersionMismatchError"


def test_a_module_that_is_missing_is_named_with_advice(run, tmp_path, monkeypatch):
    (tmp_path / "only_here.py").write_text("class Thing:\n    pass\n")
    monkeypatch.syspath_prepend(tmp_path)
    import only_here

    meta = {"kind": "function", "function": "f", "sources": {}, "modules": {}}
    job = run(codec.dump({"__call__": (print, (only_here.Thing(),), {})}, meta=meta))
    error = job.error()
    assert error["ename"] in ("ModuleNotFoundError", "VersionMismatchError")
    assert "only_here" in error["evalue"]


def test_a_changed_buffer_is_refused(start):
    import numpy as np

    meta = {"kind": "function", "function": "f", "sources": {}, "modules": {}}
    pack = codec.dump({"__call__": (len, (np.zeros(100_000),), {})}, meta=meta)
    (digest,) = pack.buffers
    pack.buffers[digest] = memoryview(b"x" * 800_000)
    assert start(pack).wait().error()["ename"] == "IntegrityError"
