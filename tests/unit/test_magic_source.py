"""What of a cell cannot run in a job is found before anything is sent, by its line."""

from __future__ import annotations

import pytest
from IPython.core.error import UsageError
from IPython.core.inputtransformer2 import TransformerManager

from jupyter_konduktor.magics.source import python_code


def code(body: str) -> str:
    return python_code(TransformerManager(), body)


def test_lines_keep_the_numbers_they_have_in_the_cell() -> None:
    """The magic line is line 1; IPython drops empty lines at the top of the body, and their numbers must stay."""
    assert code("x = 1\n").split("\n").index("x = 1") + 1 == 2
    assert code("\n\n  \nx = 1\n").split("\n").index("x = 1") + 1 == 5


@pytest.mark.parametrize(
    "body",
    [
        "!ls\n",
        "!!ls\n",
        "files = !ls {folder}\n",
        "%time f()\n",
        "x = %time f()\n",
        "%%time\nf()\n",
        "%timeit f()\n",
        "%matplotlib inline\n",
        "%env A=1\n",
        "%cd /tmp\n",
        "await f()\n",
        "async with a as b:\n    pass\n",
        "for i in range(3):\n    !echo {i}\n",
        "  x = 1\n  y = 2\n",
        "s = '''\n%pip install x\n'''\n",
        "print('%%konduktor')\n",
    ],
)
def test_what_works_in_a_job_passes(body: str) -> None:
    assert code(body).strip()


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("x = 1\n%pip install torch\n", "line 3: %pip does not work in a job: name packages with --packages"),
        ("%%konduktor --gpus 1\nx = 1\n", "line 2: %%konduktor does not work in a job: a job cannot send another cell"),
        ("%konduktor jobs\n", "line 2: %konduktor does not work in a job"),
        ("\n%%capture out\nx = 1\n", "line 3: %%capture does not work in a job: !command, %time"),
        ("%%bash\nls\n", "line 2: %%bash does not work in a job: use !command"),
        (
            "x = 1\n%%konduktor\ny = 2\n",
            "line 3: %%konduktor in the middle of a cell does not work in a job: one %%konduktor",
        ),
        ("x = 1\n%%time\ny = 2\n", "line 3: %%time in the middle of a cell does not work in a job: put it right below"),
        ("if x:\n    %load_ext a\n", "line 3: %load_ext does not work in a job"),
        ("train?\n", "line 2: %pinfo does not work in a job: help with ? works in the notebook only"),
        ("%%time\nx = 1\n%pip install y\n", "line 4: %pip does not work in a job"),
        ("%%time\n\nx = = 1\n", "line 4: invalid syntax: x = = 1"),
        ("x = = 1\n", "the cell is not valid Python: line 2: invalid syntax: x = = 1"),
        ("\n\ndef f(:\n    pass\n", "line 4: "),
        ("x = 1\nreturn x\n", "line 3: 'return' outside function: return x"),
        ("x = 'abc\n", "line 2: unterminated string literal"),
        ("x = (1,\n", "line 2: '(' was never closed: x = (1,"),
        ("if x:\npass\n", "line 3: expected an indented block"),
        ("break\n", "line 2: 'break' outside loop"),
        ("x = 1\0\n", "the cell is not valid Python"),
    ],
)
def test_what_does_not_is_refused_by_line(body: str, message: str) -> None:
    with pytest.raises(UsageError) as caught:
        code(body)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
