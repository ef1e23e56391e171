"""Cells that run as jobs, from a real kernel: output, values, errors, interrupts."""

from __future__ import annotations

import re
import subprocess
import sys
import time
from typing import Any

import pytest

NAME = r"[a-z][-a-z0-9]*-[a-z0-9]{5}"


def job_name(shown: Any) -> str:
    found = re.search(NAME, shown.last_line or shown.text)
    assert found, shown.text
    return found[0]


def test_values_come_back_and_one_line_says_so(kernel: Any) -> None:
    kernel.run("x = 20")
    shown = kernel.run("%%konduktor\ny = x + 1\nz = [y]\nimport os\n_hidden = 1\nprint('in the job', os.getpid())")
    assert shown.ok, shown.text
    assert re.fullmatch(rf"konduktor: {NAME} succeeded in [\d.]+ s -> y, z", shown.last_line), shown.last_line
    assert kernel.value("(y, z)") == "(21, [21])"
    assert kernel.value("'os' in globals() or '_hidden' in globals()") == "False"
    pid = re.search(r"in the job (\d+)", shown.stream())
    assert pid is not None
    assert pid[1] != kernel.value("__import__('os').getpid()")


def test_what_changed_in_place_comes_back_too(kernel: Any) -> None:
    kernel.run("model = {'weights': [0]}\nsame = [1]")
    shown = kernel.run("%%konduktor\nmodel['weights'].append(len(same))")
    assert shown.last_line.endswith("(model: changed in place)"), shown.last_line
    assert kernel.value("model") == "{'weights': [0, 1]}"


def test_out_names_are_all_that_come_back(kernel: Any) -> None:
    shown = kernel.run("%%konduktor --out one\none = 1\ntwo = 2")
    assert shown.last_line.endswith("-> one"), shown.text
    assert kernel.value("'two' in globals()") == "False"


def test_names_change_together_or_not_at_all(kernel: Any) -> None:
    """A strict output that cannot travel fails the cell, and the one that could is not brought either."""
    kernel.run("good = 'before'")
    shown = kernel.run("%%konduktor --out good,bad\ngood = 'after'\nbad = (i for i in range(3))")
    assert not shown.ok
    assert "bad" in shown.text
    assert kernel.value("good") == "'before'"


def test_an_automatic_output_that_cannot_travel_is_left_out_with_one_line(kernel: Any) -> None:
    shown = kernel.run("%%konduktor\nkept = 1\nlost = (i for i in range(3))")
    assert shown.ok, shown.text
    lines = shown.last_line.split("\n")
    assert lines[0].endswith("-> kept")
    assert len(lines) == 2
    assert "lost was left out" in lines[1]


def test_text_and_rich_outputs_keep_their_order(kernel: Any) -> None:
    shown = kernel.run(
        """%%konduktor
class Rich:
    def _repr_html_(self):
        return '<b>rich</b>'
    def __repr__(self):
        return 'plain'
print('one')
display(Rich())
print('two', end='')
import sys
print('three', file=sys.stderr)
display('four')
6 * 7"""
    )
    assert shown.ok, shown.text
    kinds = [kind for kind, _ in shown.outputs]
    assert kinds == ["stream", "display_data", "stream", "display_data", "display_data", "display_data"]
    texts = [c["text"] if kind == "stream" else c["data"]["text/plain"] for kind, c in shown.outputs]
    assert texts[:5] == ["one\n", "plain", "twothree\n", "'four'", "42"]
    assert shown.outputs[1][1]["data"]["text/html"] == "<b>rich</b>"


def test_output_comes_while_the_cell_runs(kernel: Any) -> None:
    seen: list[float] = []

    def during(shown: Any) -> bool:
        if "first" in shown.stream():
            seen.append(time.monotonic())
        return bool(seen)

    shown = kernel.run("%%konduktor\nimport time\nprint('first')\ntime.sleep(1.5)\nprint('last')", during=during)
    assert time.monotonic() - seen[0] > 1.0
    assert shown.stream() == "first\nlast\n"


def test_a_status_line_appears_only_after_two_seconds_and_becomes_the_last_line(kernel: Any) -> None:
    quick = kernel.run("%%konduktor\nprint('quick')")
    assert len(quick.displays) == 1
    texts: list[str] = []

    def during(shown: Any) -> bool:
        texts.extend(d["text/plain"] for d in shown.displays if d["text/plain"] not in texts)
        return False

    slow = kernel.run("%%konduktor\nprint('before')\nimport time\ntime.sleep(2.4)", during=during)
    assert [kind for kind, _ in slow.outputs] == ["stream", "display_data"], "the status line and the last line are one"
    assert "Running" in texts[0]
    assert "succeeded in 2." in slow.last_line
    talking = kernel.run("%%konduktor\nimport time\ntime.sleep(2.4)\nprint('after')")
    assert len(talking.displays) == 1, "the status line went away when the last line came below the output"
    assert "succeeded in 2." in talking.last_line


def test_a_progress_bar_is_not_cut_off_by_the_status_line(kernel: Any) -> None:
    bar = "for i in range(31):\n    print(f'\\r{i:3}', end='', file=sys.stderr, flush=True); time.sleep(0.1)"
    shown = kernel.run(f"%%konduktor\nimport sys, time\n{bar}\nprint('.', file=sys.stderr)")
    assert [kind for kind, _ in shown.outputs] == ["stream", "display_data"], "nothing stands in the middle of the bar"
    assert "succeeded in 3." in shown.last_line


def test_a_name_that_another_cell_imported_in_its_job_is_told_to_be_imported_again(kernel: Any) -> None:
    assert kernel.run("%%konduktor\nimport os.path, json as js\nfrom math import pi").ok
    for name in ("os", "js", "pi"):
        shown = kernel.run(f"%%konduktor\nprint({name})")
        assert f"`{name}` is read in line 2 and is not defined; Import `{name}` in this cell too" in shown.text


def test_quiet_shows_the_output_alone(kernel: Any) -> None:
    shown = kernel.run("%%konduktor --quiet\nprint('only this')\nq = 1")
    assert [kind for kind, _ in shown.outputs] == ["stream"], shown.text
    assert shown.stream() == "only this\n"
    assert kernel.value("q") == "1"


def test_an_exception_is_raised_here_with_its_place(kernel: Any) -> None:
    shown = kernel.run("%%konduktor\ndef f(a):\n    return a / 0\n\nf(1)\n")
    number = shown.reply["execution_count"]
    assert shown.reply["ename"] == "RemoteError"
    assert shown.text.count("ZeroDivisionError: division by zero") == 1, "the log's copy is not shown as well"
    assert f"Cell In[{number}], line 5" in shown.error
    assert f"Cell In[{number}], line 3" in shown.error
    assert "return a / 0" in shown.error
    assert "ZeroDivisionError: division by zero" in shown.error
    assert "/jupyter_konduktor/" not in shown.error, "no frames of ours"


def test_empty_lines_at_the_top_do_not_shift_the_lines(kernel: Any) -> None:
    shown = kernel.run("%%konduktor\n\n\nx = 1\n1 / 0\n")
    assert ", line 5" in shown.error


def test_a_failed_cell_changes_no_name(kernel: Any) -> None:
    kernel.run("kept = 'before'")
    kernel.run("%%konduktor\nkept = 'after'\n1 / 0")
    assert kernel.value("kept") == "'before'"


def test_the_original_exception_is_the_cause(kernel: Any) -> None:
    kernel.run("%%konduktor\n{}['missing']")
    assert kernel.value("type(__import__('sys').last_value).__name__") == "'RemoteError'"
    assert kernel.value("repr(__import__('sys').last_value.__cause__)") == "\"KeyError('missing')\""


def test_exit_codes_and_death_are_named(kernel: Any) -> None:
    shown = kernel.run("%%konduktor\nimport os\nos._exit(3)")
    assert shown.reply["ename"] == "JobFailedError"
    assert "3" in shown.error
    assert "/jupyter_konduktor/" not in shown.error


def test_input_and_breakpoint_fail_with_advice(kernel: Any) -> None:
    for call in ("input('name? ')", "breakpoint()"):
        shown = kernel.run(f"%%konduktor\n{call}", timeout=30)
        assert not shown.ok
        assert "job" in shown.error


def test_commands_and_top_level_await_work(kernel: Any) -> None:
    shown = kernel.run(
        "%%konduktor\nimport asyncio\n!echo from the shell\nlines = !echo captured\n"
        "await asyncio.sleep(0)\nn = len(lines)"
    )
    assert shown.ok, shown.text
    assert "from the shell" in shown.stream()
    assert kernel.value("n") == "1"


def test_time_magics_work(kernel: Any) -> None:
    shown = kernel.run("%%konduktor\n%%time\ntimed = sum(range(10))")
    assert shown.ok, shown.text
    assert "Wall time" in shown.stream()
    assert kernel.value("timed") == "45"


def test_detach_gives_the_job_and_result_brings_the_names(kernel: Any) -> None:
    shown = kernel.run("%%konduktor --detach --name later\nimport time\ntime.sleep(0.5)\nlate = 5\nprint('done')")
    assert shown.ok, shown.text
    assert shown.outputs[-1][0] == "execute_result"
    name = kernel.value("str(_)").strip("'")
    assert re.fullmatch(r"later-[a-z0-9]{5}", name)
    assert kernel.value("'late' in globals()") == "False"
    brought = kernel.run(f"%konduktor result {name}")
    assert brought.ok, brought.text
    assert kernel.value("late") == "5"
    assert brought.last_line.endswith("-> late")
    again = kernel.run(f"%konduktor attach {name}")
    assert again.stream() == "done\n"
    assert name in kernel.run("%konduktor jobs").displays[0]["text/plain"]
    assert name in kernel.run("%konduktor").displays[0]["text/plain"]
    assert kernel.run(f"%konduktor logs {name}").stream() == "done\n"
    assert "Succeeded" in kernel.run(f"%konduktor events {name}").displays[0]["text/plain"]
    assert name in kernel.complete("%konduktor logs later-")
    saved = kernel.run(f"%konduktor logs {name} --save out.txt")
    assert saved.ok
    assert (kernel.cwd / "out.txt").read_text() == "done\n"


def test_an_interrupt_stops_the_wait_and_not_the_job(kernel: Any) -> None:
    def during(shown: Any) -> bool:
        if "started" in shown.stream():
            kernel.manager.interrupt_kernel()
            return True
        return False

    began = time.monotonic()
    shown = kernel.run("%%konduktor --name long\nimport time\nprint('started')\ntime.sleep(60)", during=during)
    assert time.monotonic() - began < 20
    assert shown.reply["ename"] == "KeyboardInterrupt"
    line = [line for line in shown.stream("stderr").splitlines() if "interrupted" in line]
    assert len(line) == 1
    name = re.search(NAME, line[0])
    assert name is not None
    assert f"%konduktor attach {name[0]}" in line[0]
    assert f"%konduktor cancel {name[0]}" in line[0]
    assert shown.error == "KeyboardInterrupt", "no frame of ours pushes the line out of sight"
    assert kernel.value(f"str(__import__('jupyter_konduktor').attach('{name[0]}').state)") == "'Running'"
    assert kernel.run(f"%konduktor cancel {name[0]}").stream() == f"konduktor: {name[0]} is being cancelled\n"
    assert kernel.value(f"__import__('jupyter_konduktor').attach('{name[0]}').wait(20)") == "'cancelled'"
    assert "has ended already: cancelled" in kernel.run(f"%konduktor cancel {name[0]}").stream()
    lost = kernel.run(f"%konduktor result {name[0]}")
    assert lost.reply["ename"] == "JobCancelledError"


def test_an_interrupt_cancels_if_the_settings_say_so(kernel: Any) -> None:
    def during(shown: Any) -> bool:
        if "started" in shown.stream():
            kernel.manager.interrupt_kernel()
            return True
        return False

    kernel.run("%config KonduktorMagics.on_interrupt = 'cancel'")
    shown = kernel.run("%%konduktor --name brief\nimport time\nprint('started')\ntime.sleep(60)", during=during)
    kernel.run("%config KonduktorMagics.on_interrupt = None")
    assert shown.reply["ename"] == "KeyboardInterrupt"
    name = re.search(r"brief-[a-z0-9]{5}", shown.stream("stderr"))
    assert name is not None
    assert kernel.value(f"__import__('jupyter_konduktor').attach('{name[0]}').wait(20)") == "'cancelled'"


def test_an_identical_cell_that_still_runs_is_told(kernel: Any) -> None:
    body = "import time\ntime.sleep(1.5)\ntwin = 1"
    kernel.run(f"%%konduktor --detach --name twin\n{body}")
    first = kernel.value("str(_)").strip("'")
    shown = kernel.run(f"%%konduktor --name twin\n{body}")
    assert f"%konduktor attach {first}" in shown.stream()
    assert job_name(shown) != first
    assert kernel.value(f"__import__('jupyter_konduktor').attach('{first}').wait(20)") == "'succeeded'"
    again = kernel.run(f"%%konduktor --name twin\n{body}")
    assert "still runs" not in again.stream(), "it has ended"


def test_a_dry_run_shows_what_would_be_sent_and_sends_nothing(kernel: Any) -> None:
    kernel.run("data = list(range(1000))")
    before = kernel.value("len(__import__('jupyter_konduktor').jobs())")
    shown = kernel.run("%%konduktor --dry-run\ntotal = sum(data)")
    assert shown.ok, shown.text
    assert "data" in shown.text
    assert "list" in shown.text
    assert kernel.value("len(__import__('jupyter_konduktor').jobs())") == before
    assert kernel.value("'total' in globals()") == "False"


def test_a_secret_is_refused_by_its_name_only(kernel: Any) -> None:
    kernel.run("import os\nos.environ['MY_API_KEY'] = 'hunter2-hunter2-hunter2'\nkey = os.environ['MY_API_KEY']")
    shown = kernel.run("%%konduktor\nprint(len(key))")
    kernel.run("del os.environ['MY_API_KEY'], key")
    assert shown.reply["ename"] == "UsageError"
    assert "MY_API_KEY" in shown.text
    assert "hunter2" not in shown.text


def test_a_name_that_is_missing_is_refused_before_it_is_sent(kernel: Any) -> None:
    before = kernel.value("len(__import__('jupyter_konduktor').jobs())")
    shown = kernel.run("%%konduktor\ny = absent_name + 1")
    assert shown.reply["ename"] == "UsageError"
    assert "absent_name" in shown.text
    assert kernel.value("len(__import__('jupyter_konduktor').jobs())") == before


def test_gpus_that_are_not_here_are_an_error_that_says_what_to_do(kernel: Any) -> None:
    shown = kernel.run("%%konduktor --gpus H100:64\nx = 1")
    assert not shown.ok
    assert "local_gpus" in shown.text
    assert "/jupyter_konduktor/" not in shown.error


def test_a_progress_bar_is_one_line_that_moves(kernel: Any) -> None:
    shown = kernel.run(
        "%%konduktor --quiet\nimport time\nfor i in range(300):\n    print(f'\\r{i:3d}', end='', flush=True)\n"
        "    time.sleep(0.003)\nprint()"
    )
    assert shown.stream().replace("\n", "").split("\r")[-1] == "299"
    assert shown.messages < 60


def test_a_burst_is_shown_head_and_tail_within_jupyters_limits(kernel: Any) -> None:
    """30 MB of lines: at most 2 MB are shown, the last line is among them, and all of it is in the log."""
    shown = kernel.run(
        "%%konduktor --quiet --name burst\nfor i in range(300_000):\n    print(f'{i:07d}', 'x' * 92)", timeout=100
    )
    assert shown.ok, shown.text[-2000:]
    text = shown.text
    assert len(text) < 2_100_000
    assert "0000000 " in text
    assert "0299999 " in text
    assert "--save FILE" in text
    assert shown.messages < 400


def test_display_updates_and_clearing_work(kernel: Any) -> None:
    shown = kernel.run(
        """%%konduktor
from IPython.display import display, clear_output
print('gone')
clear_output()
handle = display('first', display_id=True)
handle.update('second')
"""
    )
    assert shown.ok, shown.text
    assert "gone" not in shown.text
    assert shown.displays[0]["text/plain"] == "'second'"


def test_a_remote_function_shows_its_output_and_returns(kernel: Any) -> None:
    shown = kernel.run(
        "import jupyter_konduktor as jk\n@jk.remote\ndef double(a):\n    print('inside')\n    return 2 * a\ndouble(21)"
    )
    assert shown.ok, shown.text
    assert shown.stream() == "inside\n"
    assert shown.displays[-1]["text/plain"] == "42"


def test_a_job_outlives_the_kernel_and_its_values_can_be_brought(kernel: Any) -> None:
    kernel.run("%%konduktor --detach --name survivor\nimport time\ntime.sleep(1.5)\nfrom_before = [1, 2]")
    name = kernel.value("str(_)").strip("'")
    kernel.restart()
    shown = kernel.run(f"%konduktor attach {name}")
    assert shown.ok, shown.text
    assert kernel.value("from_before") == "[1, 2]"


def test_names_from_a_cell_that_has_changed_are_noted(kernel: Any) -> None:
    kernel.run("def helper():\n    return 1", cell_id="a-cell")
    assert "earlier version" not in kernel.run("%%konduktor --dry-run\nhelper()").text
    number = kernel.run("other = 1", cell_id="a-cell").reply["execution_count"]
    report = kernel.run("%%konduktor --dry-run\nhelper()").text
    assert f"defined by an earlier version of the cell that is In[{number}] now" in report


def test_the_traceback_of_an_attempt_that_was_repeated_is_shown(kernel: Any) -> None:
    shown = kernel.run(
        "%%konduktor --max-restarts 1\nimport pathlib\nflag = pathlib.Path('attempted')\nprint('attempt')\n"
        "if not flag.exists():\n    flag.touch()\n    raise OSError('once')\nsecond = True"
    )
    assert shown.ok, shown.text
    assert shown.text.count("OSError: once") == 1
    assert shown.stream().count("attempt\n") == 2
    assert kernel.value("second") == "True"


def test_many_rich_outputs_are_all_shown_and_in_order(kernel: Any) -> None:
    shown = kernel.run("%%konduktor --quiet\nfor i in range(300):\n    display(i)")
    assert [int(data["text/plain"]) for data in shown.displays] == list(range(300))


def test_a_rich_output_beyond_what_jupyter_takes_is_its_text(kernel: Any) -> None:
    shown = kernel.run(
        "%%konduktor --quiet\n"
        "display({'text/html': 'x' * 3_000_000, 'text/plain': 'the text'}, raw=True)\nprint('after')"
    )
    data = shown.displays[0]
    assert set(data) == {"text/plain"}
    assert data["text/plain"].startswith("the text\n(")
    assert "3.0 MB" in data["text/plain"]
    assert shown.stream() == "after\n"


def test_a_large_rich_output_comes_from_the_jobs_files(kernel: Any) -> None:
    """What a job may write into its stream is 5 MB; the next megabyte still comes."""
    shown = kernel.run(
        "%%konduktor --quiet\nfor i in range(6):\n"
        "    display({'text/html': str(i) * 1_000_000, 'text/plain': str(i)}, raw=True)"
    )
    assert [len(data.get("text/html", "")) for data in shown.displays] == [1_000_000] * 6
    assert [data["text/plain"] for data in shown.displays] == list("012345")


def test_a_terminal_shows_each_line_once(kernel: Any) -> None:
    """Outside of a notebook nothing can be updated in place."""
    code = (
        "from IPython.core.interactiveshell import InteractiveShell as S; s = S.instance();"
        "s.run_line_magic('load_ext', 'jupyter_konduktor');"
        "s.run_cell('%%konduktor\\nimport time; time.sleep(2.6); print(1); y = 2');"
        "print('y is', s.user_ns['y'])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=kernel.environ, cwd=kernel.cwd
    )
    lines = done.stdout.splitlines()
    assert lines[0] == "1", done.stdout + done.stderr
    assert re.fullmatch(rf"konduktor: {NAME} succeeded in 2\.\d s -> y", lines[1])
    assert lines[2:] == ["y is 2"]


def test_queues_doctor_and_gc_tell_the_truth(kernel: Any) -> None:
    assert "running" in kernel.run("%konduktor queues").displays[0]["text/plain"]
    table = kernel.run("%konduktor doctor").displays[0]["text/plain"]
    assert "succeeded in" in table
    assert "would be removed" in kernel.run("%konduktor gc --dry-run").stream()


@pytest.mark.parametrize("name", ["<script>alert(1)</script>"])
def test_what_a_table_shows_is_escaped(kernel: Any, name: str) -> None:
    shown = kernel.run(f"from jupyter_konduktor.summary import Table\nTable(('a',), [({name!r},)])")
    assert "<script>" not in shown.displays[0]["text/html"]
    assert "&lt;script&gt;" in shown.displays[0]["text/html"]


def test_a_long_map_says_how_far_it_is(kernel: Any) -> None:
    shown = kernel.run(
        "import jupyter_konduktor as jk\n"
        "def slow(x):\n    import time\n    time.sleep(x)\n    return x\n"
        "jk.remote(slow).map([0.1, 3, 0.1]).result()"
    )
    line, value = (data["text/plain"] for data in shown.displays)
    assert re.fullmatch(r"konduktor: slow-\w{5} succeeded in 3\.\d s, 3 of 3 items", line)
    assert value == "[0.1, 3, 0.1]"
