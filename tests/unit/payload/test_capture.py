"""What of a notebook a job is sent: inputs, outputs, sizes, what is refused, and that a job can work with it."""

from __future__ import annotations

import json
import sys
import types
from typing import Any

import numpy as np
import pytest

from jupyter_konduktor.errors import InputTooLargeError, PayloadError, SecretFoundError
from jupyter_konduktor.payload import Limits, Payload, capture_map
from jupyter_konduktor.runner import codec


def inputs(payload: Payload) -> list[str]:
    return [frame.name for frame in payload.pack.frames if not frame.via]


def indirect(payload: Payload) -> dict[str, str | None]:
    return {frame.name: frame.via for frame in payload.pack.frames if frame.via}


def refused(notebook: Any, code: str, **options: Any) -> PayloadError:
    with pytest.raises(PayloadError) as caught:
        notebook.capture(code, **options)
    return caught.value


# Inputs


def test_the_names_a_cell_reads_and_does_not_define_first_are_sent(notebook: Any) -> None:
    notebook.run("a = 1; b = 2; c = 3; d = 4")
    assert inputs(notebook.capture("x = a\nb = 5\ny = b + c")) == ["a", "c"]


def test_builtins_are_not_sent_unless_the_notebook_has_its_own(notebook: Any) -> None:
    notebook.run("sum = max")
    assert inputs(notebook.capture("print(sum(len('x'), 2))")) == ["sum"]


def test_in_replaces_the_list(notebook: Any) -> None:
    notebook.run("a = 1; b = 2")
    assert inputs(notebook.capture("if a == 3: b", inputs="a")) == ["a"]
    assert inputs(notebook.capture("x = 1", inputs=["a", "b"])) == ["a", "b"]


def test_modules_are_sent_by_name_whatever_in_says(notebook: Any) -> None:
    notebook.run("import json, os; a = 1; b = 2")
    assert inputs(notebook.capture("json.dumps(a)", inputs="a")) == ["a", "json"]


def test_in_plus_adds_and_in_minus_removes(notebook: Any) -> None:
    notebook.run("a = 1; b = 2; c = 3")
    assert inputs(notebook.capture("a\nif a: b", inputs="+c")) == ["a", "b", "c"]
    assert inputs(notebook.capture("a\nif a: b", inputs="-b")) == ["a"]
    assert inputs(notebook.capture("a\nif a: b", inputs=["+c", "-b"])) == ["a", "c"]


def test_in_may_not_name_what_does_not_exist_or_is_no_name(notebook: Any) -> None:
    notebook.run("model = 1")
    error = refused(notebook, "model", inputs="modle")
    assert "--in modle" in str(error)
    assert "`model`" in str(error)
    assert "is not a name" in str(refused(notebook, "model", inputs="model[0]"))
    assert "left out at the same time" in str(refused(notebook, "model", inputs=["+model", "-model"]))


def test_a_name_that_in_leaves_out_and_the_cell_surely_reads_is_an_error(notebook: Any) -> None:
    notebook.run("a = 1; b = 2")
    assert "`b` is read in line 2 and left out by --in" in str(refused(notebook, "a\nb", inputs="a"))
    assert "`b` is read in line 2 and left out by --in" in str(refused(notebook, "a\nb", inputs="-b"))


def test_an_undefined_name_is_an_error_with_its_line_and_the_nearest_spelling(notebook: Any) -> None:
    notebook.run("model = 1")
    error = refused(notebook, "x = 1\n\nprint(modle)")
    assert error.message == "`modle` is read in line 3 and is not defined"
    assert error.advice == "Did you mean `model`?"
    assert error.variable == "modle"


def test_all_undefined_names_are_told_at_once(notebook: Any) -> None:
    assert refused(notebook, "foo\nbar").message == (
        "`foo` is read in line 1 and is not defined; `bar` is read in line 2 and is not defined"
    )


@pytest.mark.parametrize(
    "code",
    ["try:\n    x\nexcept NameError:\n    x = 1", "if 0: x", "def f(): return x", "for i in []: x", "exec('x = 1')\nx"],
)
def test_a_name_that_need_not_exist_is_simply_not_sent(notebook: Any, code: str) -> None:
    assert inputs(notebook.capture(code)) == []


def test_a_name_that_a_notebook_function_assigns_is_not_missing(notebook: Any) -> None:
    notebook.run("def setup():\n    global ready\n    ready = True")
    assert inputs(notebook.capture("setup()\nready")) == ["setup"]


def test_code_that_hides_its_reads_is_a_warning(notebook: Any) -> None:
    payload = notebook.capture("exec('x = 1')\nx")
    assert payload.report.warnings == (
        "line 1: exec() may read names that cannot be seen; --in +name sends them",
        "line 2: `x` is not defined here, so the code before it must define it",
    )


@pytest.mark.parametrize("name", ["In", "Out", "_oh", "_dh", "_ih", "exit", "quit"])
def test_names_of_the_kernel_itself_are_refused(notebook: Any, name: str) -> None:
    notebook.namespace[name] = {1: "x"}
    error = refused(notebook, f"x = 1\nprint({name})")
    assert f"`{name}`, read in line 2, belongs to this kernel" in str(error)


def test_get_ipython_is_the_jobs_own(notebook: Any) -> None:
    notebook.namespace["get_ipython"] = lambda: None
    assert inputs(notebook.capture("get_ipython().system('ls')")) == []
    assert "The job has its own" in str(refused(notebook, "1", inputs="get_ipython"))


def test_a_function_that_uses_the_kernels_history_is_refused(notebook: Any) -> None:
    notebook.run("Out = {1: 2}\ndef last(): return Out[1]")
    assert "`last` uses `Out`" in str(refused(notebook, "last()"))


def test_an_attribute_of_that_name_is_not_the_kernels_history(notebook: Any) -> None:
    notebook.run("Out = {1: 2}\ndef f(x): return x.Out\nclass Node:\n    Out = 1")
    assert notebook.in_job(notebook.capture("y = f(Node)"))["y"] == 1


def test_in_minus_also_keeps_a_function_from_taking_it_along(notebook: Any) -> None:
    notebook.run("big = [1]\ndef f(): return big")
    assert indirect(notebook.capture("f()")) == {"big": "f"}
    assert indirect(notebook.capture("f()", inputs="-big")) == {}


def test_a_function_that_may_call_exit_travels_without_the_kernels_exit(notebook: Any) -> None:
    notebook.run("class Exit: pass\nexit = Exit()\ndef stop(): exit()")
    assert indirect(notebook.capture("stop")) == {}


def test_results_of_earlier_cells_travel_as_values(notebook: Any) -> None:
    notebook.run("_ = [1]; _1 = _")
    job = notebook.in_job(notebook.capture("x = _ + _1"))
    assert job["x"] == [1, 1]


def test_the_modules_own_names_are_not_sent(notebook: Any) -> None:
    assert inputs(notebook.capture("if __name__ == '__main__': __builtins__")) == []


def test_a_name_perhaps_read_that_the_cell_assigns_is_left_out_if_it_cannot_be_sent(notebook: Any) -> None:
    notebook.run("f = (i for i in ())")
    payload = notebook.capture("try:\n    f = open('/dev/null')\nfinally:\n    f.close()")
    assert inputs(payload) == []
    assert payload.report.warnings == ("`f` is not sent: it cannot be sent, and the cell assigns it itself",)
    assert payload.pack.header["meta"]["inputs"] == []
    assert "generator" in str(refused(notebook, "try:\n    f = 1\nfinally:\n    f", inputs="+f"))


def test_ipythons_display_is_the_jobs_own(notebook: Any) -> None:
    notebook.run("from IPython.display import display")
    assert inputs(notebook.capture("display(1)")) == []


def test_ipythons_open_is_the_jobs_own_also_where_a_function_uses_it(notebook: Any) -> None:
    from IPython.core.interactiveshell import _modified_open

    notebook.namespace["open"] = _modified_open
    notebook.run("def read(path):\n    with open(path) as file: return file.read()")
    payload = notebook.capture("a = read('x')\nb = open('y').read()")
    assert [frame.name for frame in payload.pack.frames] == ["read"]
    assert b"IPython" not in payload.data
    notebook.run("import gzip\nopen = gzip.open")
    assert inputs(notebook.capture("open('x')")) == ["open"], "one of the user's own travels"


def test_what_earlier_cells_took_from_future_holds_for_the_cell(notebook: Any) -> None:
    code = "def f(a: Absent) -> Absent: ...\nx: Missing = 1"
    assert "Absent" in str(refused(notebook, code))
    payload = notebook.capture(code, future=["annotations"])
    assert payload.pack.header["meta"]["cell"]["future"] == ["annotations"]


# What a job can do with them


def test_notebook_functions_see_what_the_cell_redefines(notebook: Any) -> None:
    notebook.run("scale = 2\ndef grow(x): return x * scale")
    job = notebook.in_job(notebook.capture("before = grow(1)\nscale = 10\nafter = grow(1)"))
    assert (job["before"], job["after"]) == (2, 10)


def test_what_functions_use_travels_with_them(notebook: Any) -> None:
    notebook.run(
        "k = 3\ndef f(x): return g(x) + 1\ndef g(x): return x * k\nclass A:\n    def m(self): return f(2)\na = A()"
    )
    payload = notebook.capture("y = a.m()")
    assert indirect(payload) == {"A": "a", "f": "a", "g": "f", "k": "g"}
    assert notebook.in_job(payload)["y"] == 7


def test_what_the_cell_assigns_before_it_calls_a_function_is_not_sent_along(notebook: Any) -> None:
    notebook.run("data = [0] * 10_000_000\ndef total(): return sum(data)")
    payload = notebook.capture("data = [1, 2]\nt = total()")
    assert indirect(payload) == {}
    assert notebook.in_job(payload)["t"] == 3
    assert indirect(notebook.capture("t = total()\ndata = [1]", limits=Limits(max_indirect=1 << 30))) == {
        "data": "total"
    }


def test_shared_objects_stay_shared(notebook: Any) -> None:
    notebook.run("import types\nmodel = [1.0]\nopt = types.SimpleNamespace(params=model)")
    assert notebook.in_job(notebook.capture("opt.params.append(2)\nn = len(model)"))["n"] == 2


def test_views_of_one_array_become_copies_and_arrays_stay_writable(notebook: Any) -> None:
    notebook.namespace["base"] = np.zeros((200, 100))
    notebook.namespace["view"] = notebook.namespace["base"][:100]
    job = notebook.in_job(notebook.capture("view[:] = 1\nbase[0, 0] = 5\ns = view.sum()"))
    assert job["s"] == 100 * 100
    assert job["base"][0, 0] == 5


def test_large_buffers_are_objects_of_their_own_and_the_same_for_the_same_content(notebook: Any) -> None:
    notebook.namespace["big"] = np.arange(100_000)
    first, second = notebook.capture("big"), notebook.capture("big.sum()")
    assert list(first.objects) == list(second.objects)
    assert len(first.data) < 10_000
    (buffer,) = first.objects.values()
    assert buffer.nbytes == 800_000


def test_submodules_that_the_code_names_come_with_their_module(notebook: Any) -> None:
    import xml.dom.minidom
    import xml.etree.ElementTree

    notebook.run("import xml, os")
    meta = notebook.capture("xml.dom.minidom.parseString(s := '<a/>')\nos.path.join('a')").pack.header["meta"]
    assert meta["submodules"] == ["xml.dom", "xml.dom.minidom"]
    assert xml.etree.ElementTree


def test_sources_of_notebook_functions_travel_for_tracebacks(notebook: Any) -> None:
    notebook.run("x = 1")
    notebook.run("def f(): return g()\n")
    notebook.run("def g():\n    raise ValueError\n")
    notebook.run("def unused(): pass\n")
    sources = notebook.capture("f()").pack.header["meta"]["sources"]
    assert {s["number"]: s["source"] for s in sources.values()} == {
        2: "def f(): return g()\n",
        3: "def g():\n    raise ValueError\n",
    }


def test_the_cell_travels_as_typed_and_as_python(notebook: Any) -> None:
    meta = notebook.capture("x = 1", number=7).pack.header["meta"]
    assert meta["kind"] == "cell"
    assert meta["label"] == "Cell In[7]"
    assert meta["cell"]["source"] == meta["cell"]["code"] == "x = 1"
    assert json.dumps(meta)


def test_the_same_cell_with_the_same_values_has_the_same_identity(notebook: Any) -> None:
    notebook.run("a = [1]")
    one, again = notebook.capture("a", number=1), notebook.capture("a", number=2)
    assert one.identity == again.identity
    assert one.sha256 != again.sha256
    notebook.run("a = [2]")
    assert notebook.capture("a").identity != one.identity
    assert notebook.capture("a + []").identity != one.identity


# Outputs


def test_outputs_are_left_to_the_code_unless_they_are_named(notebook: Any) -> None:
    notebook.run("a = 1")
    out = notebook.capture("import os\nx = a\nfor i in []: y = 1").pack.header["meta"]["out"]
    assert out == {
        "strict": False,
        "names": [],
        "add": [],
        "drop": [],
        "auto": ["x", "y"],
        "excluded": ["os", "i"],
        "limit": 1 << 30,
    }


def test_what_functions_of_the_notebook_make_with_global_comes_back_too(notebook: Any) -> None:
    notebook.run("there = 1\ndef setup():\n    global model, there, _private\n    model = there = _private = 2")
    assert notebook.capture("x = setup()").pack.header["meta"]["out"]["auto"] == ["x", "model"]


def test_out_is_strict_and_signs_are_not(notebook: Any) -> None:
    out = notebook.capture("x = 1\ny = 2\nfor i in []: pass", outputs="x,y").pack.header["meta"]["out"]
    assert (out["strict"], out["names"]) == (True, ["x", "y"])
    out = notebook.capture("x = 1\ny = 2\nfor i in []: pass", outputs=["+i", "-y"]).pack.header["meta"]["out"]
    assert (out["strict"], out["add"], out["drop"], out["auto"]) == (False, ["i"], ["y"], ["x", "y"])


def test_out_may_name_inputs_and_nothing_the_cell_cannot_have(notebook: Any) -> None:
    notebook.run("model = [1]; other = 2")
    assert notebook.capture("model.append(2)", outputs="model").pack.header["meta"]["out"]["names"] == ["model"]
    error = refused(notebook, "model.append(2)\nscore = 1", outputs="scroe")
    assert "neither assigns `scroe` nor reads it" in str(error)
    assert "Did you mean `score`?" in str(error)
    assert "--out other" in str(refused(notebook, "model", outputs="other"))


def test_out_may_name_anything_where_exec_may_assign_it(notebook: Any) -> None:
    assert notebook.capture("exec('x = 1')", outputs="x").pack.header["meta"]["out"]["names"] == ["x"]


# Sizes


def test_a_large_named_input_is_a_warning(notebook: Any) -> None:
    notebook.namespace["big"] = np.zeros(3_000_000)
    assert notebook.capture("big").report.warnings == ()
    (warning,) = notebook.capture("big", limits=Limits(warn_input=1 << 20)).report.warnings
    assert warning.startswith("`big` is 23 MiB")


def test_what_only_a_function_reaches_warns_and_then_is_refused_with_the_three_largest(notebook: Any) -> None:
    notebook.run(
        "import numpy as np\na, b, c, d = (np.ones(n * 131072) for n in (1, 4, 8, 16))\ndef f(): return a, b, c, d"
    )
    (warning,) = notebook.capture("f()").report.warnings
    assert warning == (
        "functions take 29 MiB along: `d` (16 MiB, used by `f`), `c` (8.0 MiB, used by `f`), `b` (4.0 MiB, used by `f`)"
    )
    notebook.run("a = np.ones(131072 * 3)")
    with pytest.raises(InputTooLargeError, match=r"30 MiB\. The largest: `d` .*`c` .*`b` ") as caught:
        notebook.capture("f()")
    assert caught.value.variable == "d"
    assert notebook.capture("f()", limits=Limits(max_indirect=100 << 20)).report.warnings
    assert notebook.capture("f(); a, b, c, d").report.warnings == ()


def test_what_a_closure_holds_counts_as_reached_through_a_function(notebook: Any) -> None:
    notebook.run(
        "def make():\n    import numpy as np\n    held = np.ones(5_000_000)\n    return lambda: held.sum()\nf = make()"
    )
    with pytest.raises(InputTooLargeError, match="the closure of `f`"):
        notebook.capture("f()")
    with pytest.raises(InputTooLargeError, match="the closure of `<lambda>`"):
        notebook.call(notebook.namespace["f"])
    assert notebook.call(len, np.ones(5_000_000)).report.warnings == ()


# Secrets

KEY = "sk-live-0123456789"


@pytest.mark.parametrize(
    ("define", "cell", "where"),
    [
        (f"config = {{'auth': ['{KEY}']}}", "config", "`config`"),
        (f"def ask(): return '{KEY}'", "ask()", "`ask`"),
        (f"key = '{KEY}'\ndef ask(): return key", "ask()", "`key`"),
        ("", f"x = '{KEY}'", "the cell"),
        (f"# {KEY}\ndef ask(): pass", "ask()", "In[1]"),
        (
            f"import numpy as np\na = np.frombuffer(b' ' * 3_000_000 + b'{KEY}', 'u1')\nb = a[:80_000].copy()",
            "b, a",
            "`a`",
        ),
    ],
    ids=["value", "constant", "through a function", "source", "source of a function", "buffer"],
)
def test_a_secret_in_what_would_be_sent_refuses_the_job_and_is_never_shown(
    notebook: Any, define: str, cell: str, where: str
) -> None:
    notebook.run(define)
    with pytest.raises(SecretFoundError) as caught:
        notebook.capture(cell, environ={"OPENAI_API_KEY": KEY, "OTHER_TOKEN": "nothing-of-that"})
    assert f"$OPENAI_API_KEY in {where}" in str(caught.value)
    assert "OTHER_TOKEN" not in str(caught.value)
    assert KEY not in str(caught.value)
    assert notebook.capture(cell, environ={"OPENAI_API_KEY": KEY}, allow_secrets=["OPENAI_API_KEY"])


def test_env_options_are_searched_for_secrets(notebook: Any) -> None:
    with pytest.raises(SecretFoundError, match="DB_PASSWORD in env URL"):
        notebook.capture("1", env={"URL": f"x:{KEY}@y"}, environ={"DB_PASSWORD": KEY})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("API_KEY", "short"),
        ("API_KEY", "/etc/ssl/private.pem"),
        ("API_TOKEN", "https://example.org/t"),
        ("PASS", "123456789012.5"),
        ("EDITOR", "a-long-plain-value"),
        ("KEY_FILE", "~/keys/private.pem"),
    ],
)
def test_short_values_paths_urls_numbers_and_other_names_are_no_secrets(notebook: Any, name: str, value: str) -> None:
    notebook.namespace["x"] = value
    assert notebook.capture("x", environ={name: value})


def test_the_environment_itself_is_refused(notebook: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    import os

    notebook.run("from os import environ")
    monkeypatch.setenv("HF_TOKEN", "hf_0123456789abc")
    with pytest.raises(SecretFoundError, match="HF_TOKEN in `environ`"):
        notebook.capture("environ['HOME']", environ=os.environ)
    monkeypatch.delenv("HF_TOKEN")
    assert "os.environ" in str(refused(notebook, "environ['HOME']"))
    assert "os.environ" in str(refused(notebook, "d = {}", inputs="+environ"))


# Calls


def test_a_call_carries_function_and_arguments(notebook: Any) -> None:
    notebook.run("k = 2\ndef f(x, y=1): return x * k + y")
    payload = notebook.call(notebook.namespace["f"], 3, y=4)
    job: dict[str, Any] = {}
    loaded = codec.load(payload.data, lambda s, n: payload.objects[s], job)
    job.update(loaded.indirect)
    function, args, kwargs = loaded.values["__call__"]
    assert function(*args, **kwargs) == 10
    assert payload.pack.header["meta"]["function"] == "f"
    assert payload.pack.header["meta"]["sources"]


def test_a_map_carries_each_item_in_a_frame_of_its_own(notebook: Any) -> None:
    notebook.run("def f(x, y): return x + y")
    payload = capture_map(notebook.namespace["f"], [(1,), (2,)], {"y": 1}, namespace=notebook.namespace, environ={})
    loaded = codec.load(payload.data, lambda s, n: payload.objects[s], {})
    assert loaded.values["item-1"] == (2,)
    assert loaded.values["__call__"][1] == {"y": 1}
    assert loaded.header["meta"]["count"] == 2
    with pytest.raises(PayloadError, match=r"Cannot send `item\[1\]`: a generator"):
        capture_map(len, [(1,), ((i for i in ()),)], {}, environ={})


def test_an_argument_that_cannot_be_sent_is_named(notebook: Any) -> None:
    with pytest.raises(PayloadError, match=r"Cannot send `args\[1\]`: a generator"):
        notebook.call(len, 1, (i for i in ()))
    with pytest.raises(PayloadError, match=r"Cannot send `data`: an open file at data\[0\]"):
        notebook.call(len, data=[sys.__stdout__])


def test_what_is_wrong_with_the_cell_is_told_before_anything_else(notebook: Any) -> None:
    assert str(refused(notebook, "x = = 1")).startswith("line 1: ")
    assert str(refused(notebook, "# nothing")) == "line 1: the cell has no code"


def test_a_module_made_in_memory_is_told(notebook: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    made = types.ModuleType("made_in_memory")
    monkeypatch.setitem(sys.modules, "made_in_memory", made)
    made.__spec__ = None
    notebook.namespace["made"] = made
    assert notebook.capture("made").report.warnings == (
        "the module made_in_memory exists in memory only; the job cannot import it",
    )
