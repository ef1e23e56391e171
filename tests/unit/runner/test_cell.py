"""A cell in a job behaves as it does in a kernel, and gives back what it left."""

from __future__ import annotations

import subprocess
import sys
import time

import pytest

from .conftest import FILENAME


def test_last_expression_displays_and_prints_keep_their_order(cell):
    job = cell("import sys\nprint('one')\ndisplay('two')\nprint('three', file=sys.stderr)\n40 + 2")
    parts = [part if isinstance(part, bytes) else part.record["data"]["text/plain"] for part in job.parts()]
    assert parts == [b"one\n", "'two'", b"three\n", "42"]
    assert [display["type"] for display in job.displays] == ["display", "execute_result"]


@pytest.mark.parametrize(
    "code", ["41 + 1;", "41 + 1 ;  # comment", "(41 + 1);", "None", "x = 42", "", "# only a comment"]
)
def test_nothing_is_displayed_after_a_semicolon_or_without_a_value(cell, code):
    job = cell(code)
    assert job.displays == []
    assert job.envelope.exit == 0


def test_await_works_at_the_top_level(cell):
    job = cell(
        "import asyncio\nasync def f():\n    await asyncio.sleep(0)\n    return 7\nx = await f()\nawait f()", auto=["x"]
    )
    assert job.outputs == {"x": 7}
    assert job.displays[0]["data"]["text/plain"] == "7"


def test_a_future_import_holds_for_the_whole_cell(cell):
    job = cell("from __future__ import annotations\ndef f(x: nowhere): ...\nf.__annotations__['x']")
    assert job.displays[0]["data"]["text/plain"] == "'nowhere'"


def test_future_imports_of_earlier_cells_hold_too(cell):
    code = "def f(x: nowhere): ...\nf.__annotations__['x']"
    assert cell(code).error()["ename"] == "NameError"
    assert cell(code, future=["annotations", "of_a_later_python"]).displays[0]["data"]["text/plain"] == "'nowhere'"


def test_the_process_looks_like_a_script_without_arguments(cell):
    code = """
import sys, os, __main__
facts = [__name__, sys.argv, __main__.__dict__ is globals(), sys.modules['__main__'] is __main__,
         hasattr(__main__, '__file__'),
         sys.stdin.read(), 'KONDUKTOR_PAYLOAD_0' in os.environ, sys.stdout.isatty(), os.getcwd()]
"""
    job = cell(code, auto=["facts"], job={"environ": {"KONDUKTOR_PAYLOAD_0": "x"}})
    assert job.outputs["facts"] == ["__main__", ["job-x"], True, True, False, "", False, False, str(job.folder)]


def test_the_runner_is_not_in_the_way_of_modules_of_the_same_name(cell, tmp_path):
    for name in ("display", "cell", "node", "failure"):
        (tmp_path / f"{name}.py").write_text("mine = True")
    job = cell("import display, cell, node, failure\nx = display.mine", auto=["x"], job={"cwd": str(tmp_path)})
    assert job.outputs == {"x": True}


@pytest.mark.parametrize(
    ("code", "expected"),
    [("sys.exit(3)", 3), ("sys.exit()", 0), ("sys.exit('why')", 1), ("os._exit(4)", 4), ("sys.exit(256 + 5)", 5)],
)
def test_exit_codes_are_kept(cell, code, expected):
    job = cell("import sys, os\nx = 1\n" + code, auto=["x"])
    assert job.envelope.exit == expected
    assert job.process.returncode == expected
    assert ("why" in job.text) == ("why" in code)


def test_an_exit_with_code_0_keeps_the_outputs(cell):
    assert cell("x = 5\nraise SystemExit", auto=["x"]).outputs == {"x": 5}


def test_an_exit_behind_our_back_leaves_no_value(cell):
    job = cell("import os\nx = 5\nos._exit(0)", auto=["x"])
    assert (job.folder / "envelope.json").read_bytes() == b'{"exit":0}'


def test_a_keyboard_interrupt_is_exit_130(cell):
    job = cell("raise KeyboardInterrupt")
    assert job.envelope.exit == 130
    assert job.error()["ename"] == "KeyboardInterrupt"


@pytest.mark.parametrize("call", ["input('name? ')", "breakpoint()"])
def test_what_needs_a_person_fails_with_advice(cell, call):
    job = cell(call)
    assert job.error()["ename"] == "RuntimeError"
    assert "cannot work in a job" in job.error()["evalue"]


# --- outputs


def test_automatic_outputs_are_what_was_assigned_and_what_changed_in_place(cell):
    code = "model.append(1)\nsame[0]\nx = len(model)\nfor_nothing = None"
    job = cell(code, auto=["x", "for_nothing", "never"], inputs={"model": [], "same": [1], "n": 3})
    assert job.outputs == {"x": 1, "for_nothing": None, "model": [1]}
    assert job.meta["changed"] == ["model"]
    assert "model: changed in place" in job.meta["lines"]


def notebook(source, **more):
    """What a notebook holds that ran this."""
    main = {"__name__": "__main__", **more}
    exec(source, main)
    return main


def test_what_functions_change_comes_back_too(cell):
    main = notebook(
        "count, log, kept = 0, [], [1]\ndef bump():\n    global count\n    count += len(kept)\n    log.append(count)\n"
        "def calls():\n    calls.n = getattr(calls, 'n', 0) + 1"
    )
    job = cell("bump()\ncalls()", inputs={"bump": main["bump"], "calls": main["calls"]}, main=main)
    assert sorted(job.meta["changed"]) == ["calls", "count", "log"]
    assert (job.outputs["count"], job.outputs["log"], job.outputs["calls"].n) == (1, [1], 1)


def test_what_is_assigned_is_not_called_changed_and_loop_variables_stay(cell):
    job = cell("x = x + 1\nfor i in [5]: pass", auto=["x"], excluded=["i"], inputs={"x": 1, "i": 2})
    assert job.outputs == {"x": 2}
    assert job.meta["changed"] == []


def test_a_class_that_the_cell_changes_is_left_out_with_one_line(cell):
    main = notebook("class Config:\n    rate = 1\nclass Same:\n    pass\nsame = Same()")
    values = {name: main[name] for name in ("Config", "Same", "same")}
    job = cell("Config.rate = 2\nsame.x = 1", inputs=values, main=main)
    assert list(job.outputs) == ["same"]
    assert list(job.meta["left_out"]) == ["Config"]
    assert job.meta["changed"] == ["same"]


def test_arrays_come_back_writable_and_a_change_in_one_place_is_seen(cell):
    import numpy as np

    array, other = np.zeros(100_000), np.ones(100_000)
    job = cell("array[77] = 5", inputs={"array": array, "other": other})
    assert list(job.outputs) == ["array"]
    assert job.outputs["array"][77] == 5
    assert job.outputs["array"].flags.writeable
    assert array[77] == 0


def test_an_input_that_comes_back_unchanged_is_not_written_again(cell):
    import numpy as np

    job = cell("y = [x, 1]", auto=["y"], inputs={"x": np.ones(1_000_000)})
    (artifact,) = (job.folder / "artifacts").iterdir()
    assert artifact.stat().st_nlink == 2
    assert job.outputs["y"][0].sum() == 1_000_000


def test_shared_objects_stay_shared(cell):
    job = cell("a = []\nb = {'a': a}", auto=["a", "b"])
    outputs = job.outputs
    assert outputs["b"]["a"] is outputs["a"]


def test_what_cannot_come_back_is_left_out_with_one_line_each(cell):
    code = "import threading\nlock = threading.Lock()\ngen = (i for i in [1])\nbig = bytes(2000)\nok = 1"
    job = cell(code, auto=["lock", "gen", "big", "ok"], limit=1000)
    assert job.outputs == {"ok": 1}
    assert set(job.meta["left_out"]) == {"lock", "gen", "big"}
    assert "2.0 KiB" in job.meta["left_out"]["big"]
    assert all("\n" not in line for line in job.meta["lines"])


def test_add_and_drop_change_the_automatic_outputs(cell):
    job = cell("x = 1\ny = 2\n_z = 3", auto=["x", "y"], add=["_z", "gone"], drop=["y"])
    assert job.outputs == {"x": 1, "_z": 3}
    assert "gone" in job.meta["left_out"]


def test_strict_outputs_are_all_or_nothing(cell):
    assert cell("x = 1\ny = 2", out=["x"]).outputs == {"x": 1}
    job = cell("x = 1", out=["x", "y"])
    assert job.envelope.exit == 1
    assert "y, which the cell did not assign" in job.error()["evalue"]
    job = cell("x = 1\ny = (i for i in [1])", out=["x", "y"])
    assert "y, which cannot be pickled: TypeError" in job.error()["evalue"]
    assert "pickler" not in job.error()["traceback"]


def test_a_function_comes_back_with_what_it_reads(cell):
    job = cell("k = 3\ndef f(x):\n    return k * x", out=["f"])
    main = {}
    loaded = job.load(main=main)
    main.update(loaded.indirect)
    assert loaded.values["f"](2) == 6


def test_a_report_stands_beside_the_outputs(cell):
    job = cell("import jupyter_konduktor as jk\njk.report({'loss': 0.5})\nx = 1", auto=["x"])
    assert job.outputs == {"x": 1}
    assert job.meta["reported"] == {"loss": 0.5}


def test_a_report_is_the_value_of_a_cell_without_outputs(cell):
    job = cell("import jupyter_konduktor as jk\njk.report([1])\njk.report([2])")
    assert job.envelope.value == [2]


def test_a_report_of_any_object_is_a_pack(cell):
    job = cell("import jupyter_konduktor as jk\njk.report({1, 2})")
    assert job.load().values["value"] == {1, 2}


def test_the_stub_has_what_a_job_needs_and_names_what_it_has_not(cell):
    code = """
import jupyter_konduktor as jk, os
from jupyter_konduktor import remote
@jk.remote(gpus=8)
def f(): return 1
@remote
def g(): return 2
facts = [f(), g(), os.path.isdir(jk.checkpoint_dir()), jk.restore_job('a-b', 'local')]
jk.attach
"""
    job = cell(code, auto=["facts"])
    assert job.error()["ename"] == "AttributeError"
    assert "not there inside a job" in job.error()["evalue"]
    job = cell(code.replace("jk.attach", ""), auto=["facts"])
    assert job.outputs["facts"] == [1, 2, True, "a-b"]


# --- the shell


def test_commands_and_magics_work(cell):
    code = """
n = 4
get_ipython().system('echo {n + 1} $n $HOME; echo err >&2; exit 3')
code = _exit_code
lines = get_ipython().getoutput('printf "a\\\\nb"')
t = get_ipython().run_line_magic('time', 'n * 2')
get_ipython().run_line_magic('matplotlib', 'inline')
get_ipython().run_line_magic('env', 'A_B=1')
get_ipython().run_line_magic('cd', '/')
import os
facts = [code, list(lines), lines.n, t, os.environ['A_B'], os.getcwd()]
"""
    job = cell(code, auto=["facts"])
    assert job.outputs["facts"] == [3, ["a", "b"], "a\nb", 8, "1", "/"]
    first, second, *rest = job.text.splitlines()
    assert first.startswith("5 4 /")
    assert second == "err"
    assert any(line.startswith("CPU times: user") for line in rest)
    assert any(line.startswith("Wall time: ") for line in rest)


@pytest.mark.parametrize(("magic", "said"), [("pip", "--packages"), ("sql", "no magic of a job")])
def test_magics_a_job_has_not_say_so(cell, magic, said):
    job = cell(f"get_ipython().run_line_magic({magic!r}, 'x')")
    assert job.error()["ename"] == "UsageError"
    assert said in job.error()["evalue"]


def test_the_body_of_a_timed_cell_keeps_its_line_numbers(cell):
    source = "%%time\nx = 1\n1 / 0"
    job = cell("get_ipython().run_cell_magic('time', '', 'x = 1\\n1 / 0\\n')", source=source)
    assert "Cell In[3], line 3" in job.error()["traceback"]
    assert "----> 3 1 / 0" in job.error()["traceback"]
    job = cell(
        "get_ipython().run_cell_magic('time', '', 'x = 1\\nx + 1\\n')", source="%%time\nx = 1\nx + 1", auto=["x"]
    )
    assert job.displays[0]["data"]["text/plain"] == "2"


def test_filename_of_the_cell_is_known_to_linecache(cell):
    job = cell("import inspect\ndef f(x):\n    return x + 1\ninspect.getsource(f)")
    assert "return x + 1" in job.displays[0]["data"]["text/plain"]
    assert FILENAME not in job.text


# --- what a copy of the process does


def test_a_forked_copy_that_runs_to_the_end_leaves_no_second_result(cell):
    code = "import os\npid = os.fork()\nif pid:\n    os.waitpid(pid, 0)\nwho = 'copy' if pid == 0 else 'original'"
    assert cell(code, auto=["who"]).outputs == {"who": "original"}


def test_threads_and_exit_handlers_run_before_the_end(cell):
    code = """
import atexit, threading, time
atexit.register(print, 'bye')
threading.Thread(target=lambda: (time.sleep(0.2), print('thread'))).start()
print('end')
"""
    assert cell(code).text == "end\nthread\nbye\n"


def test_executors_that_were_left_open_do_not_keep_the_job(cell):
    """Their threads wait for work until the interpreter tells them that it ends."""
    code = """
import time
from concurrent.futures import ThreadPoolExecutor
pool = ThreadPoolExecutor(1)
x = pool.submit(sum, [1, 2]).result()
"""
    began = time.monotonic()
    job = cell(code, auto=["x"])
    assert job.outputs == {"x": 3}
    assert time.monotonic() - began < 4


def test_threads_that_take_long_are_named():
    code = (
        "import threading, time\nfrom jupyter_konduktor.runner import leave\nleave.PATIENCE = 0.05\n"
        "threading.Thread(target=time.sleep, args=(0.4,), name='feeder').start()\nleave.join_threads()"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stderr == "konduktor: the code has ended, and the job waits for its threads: feeder\n"
