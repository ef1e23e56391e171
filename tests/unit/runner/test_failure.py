"""A failure in a job reads as it does in a notebook."""

from __future__ import annotations

import textwrap


def traceback_of(job):
    return job.error()["traceback"]


def test_lines_are_named_and_shown_as_ipython_does(cell):
    text = traceback_of(cell("def f(a, *b, k=1, **c):\n    return 1 / a\n\nf(0)"))
    assert text == textwrap.dedent(
        """\
        ---------------------------------------------------------------------------
        ZeroDivisionError                         Traceback (most recent call last)
        Cell In[3], line 4
              2     return 1 / a
              3|
        ----> 4 f(0)

        Cell In[3], line 2, in f(a, k, *b, **c)
              1 def f(a, *b, k=1, **c):
        ----> 2     return 1 / a
              3|
              4 f(0)

        ZeroDivisionError: division by zero"""
    ).replace("|", " ")  # where an editor would cut a blank off


def test_the_log_has_the_traceback_announced(cell):
    job = cell("1 / 0")
    (record,) = job.displays
    assert record == {"type": "traceback", "size": len(job.output())}
    assert job.text == traceback_of(job) + "\n"


def test_causes_and_contexts_are_chained(cell):
    text = traceback_of(cell("try:\n    1 / 0\nexcept Exception as e:\n    raise KeyError('k') from e"))
    assert "direct cause" in text
    assert text.index("ZeroDivisionError: ") < text.index("KeyError: 'k'")
    text = traceback_of(cell("try:\n    1 / 0\nexcept Exception:\n    raise KeyError('k')"))
    assert "During handling" in text
    text = traceback_of(cell("try:\n    1 / 0\nexcept Exception:\n    raise KeyError('k') from None"))
    assert "ZeroDivisionError" not in text


def test_groups_and_notes_are_shown(cell):
    text = traceback_of(
        cell("e = ExceptionGroup('all', [ValueError('one'), KeyError('two')])\ne.add_note('a note')\nraise e")
    )
    for part in ("ExceptionGroup: all (2 sub-exceptions)", "a note", "ValueError: one", "KeyError: 'two'"):
        assert part in text


def test_a_syntax_error_in_code_made_at_run_time_shows_its_place(cell):
    text = traceback_of(cell("eval('1 +')"))
    assert "SyntaxError" in text
    assert "1 +" in text
    text = traceback_of(cell("x = ("))
    assert "  Cell In[3], line 1\n    x = (" in text


def test_deep_recursion_is_told_in_few_lines(cell):
    text = traceback_of(cell("def f(n):\n    return f(n + 1)\nf(0)"))
    assert "RecursionError" in text
    assert "skipping similar frames" in text
    assert len(text) < 3000


def test_frames_of_libraries_are_kept_and_ours_are_not(cell):
    text = traceback_of(cell("import json\njson.loads('{')"))
    assert "Cell In[3], line 2" in text
    assert "json/decoder.py:" in text
    assert "jupyter_konduktor" not in text
    text = traceback_of(cell("import asyncio\nawait asyncio.sleep(0)\n1 / 0"))
    assert "asyncio" not in text.split("line 3")[0]
    assert "----> 3 1 / 0" in text


def test_an_exception_that_cannot_be_told_or_pickled_is_still_one(cell):
    code = """
class Odd(Exception):
    def __init__(self, a, b):
        self.lock = __import__('threading').Lock()
    def __str__(self):
        raise RuntimeError
raise Odd(1, 2)
"""
    error = cell(code).error()
    assert error["ename"] == "Odd"
    assert error["exception"] is None


def test_a_huge_message_is_cut_in_the_middle(cell):
    error = cell("raise ValueError('a' * 1_000_000 + 'end')").error()
    assert len(error["traceback"]) < 70_000
    assert error["traceback"].endswith("end")


def test_names_are_told_that_a_person_can_act_on(cell):
    assert cell("import not_there.at_all").error()["names"] == {"module": "not_there"}
    assert cell("nowhere + 1").error()["names"] == {"name": "nowhere"}


def test_without_a_place_for_artifacts_an_error_is_shortened_to_fit(cell):
    job = cell("raise ValueError('a' * 100_000)", job={"artifacts": None})
    error = job.error()
    assert error["ename"] == "ValueError"
    assert "characters left out" in error["traceback"]
    assert "data" in job.envelope.value["$konduktor"]
