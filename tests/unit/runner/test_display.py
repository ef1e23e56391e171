"""Rich output comes as the mime bundles that a notebook would show."""

from __future__ import annotations

import base64

import pytest


def test_representations_make_a_bundle_as_in_ipython(cell):
    code = """
class Rich:
    def _repr_html_(self): return '<b>x</b>'
    def _repr_png_(self): return b'png', {'width': 3}
    def _repr_latex_(self): return None
    def __repr__(self): return 'rich'
class Bundle:
    def _repr_mimebundle_(self, include=None, exclude=None): return {'text/markdown': '*m*'}
class Own:
    def _ipython_display_(self): print('shown')
class Everything:
    def __getattr__(self, name): return lambda *args, **kwargs: 'trap'
    def __repr__(self): return 'everything'
display(Rich(), Bundle(), Own(), Everything(), Rich)
"""
    job = cell(code)
    rich, bundle, everything, rich_class = job.displays
    assert rich["data"] == {
        "text/html": "<b>x</b>",
        "image/png": base64.b64encode(b"png").decode(),
        "text/plain": "rich",
    }
    assert rich["metadata"] == {"image/png": {"width": 3}}
    assert bundle["data"]["text/markdown"] == "*m*"
    assert everything["data"] == {"text/plain": "everything"}
    assert rich_class["data"] == {"text/plain": "__main__.Rich"}
    assert "shown\n" in job.text


def test_a_representation_that_fails_is_told_and_ends_nothing(cell):
    code = "class Bad:\n    def _repr_html_(self): 1 / 0\n    def __repr__(self): return 'bad'\ndisplay(Bad())\nx = 1"
    job = cell(code, auto=["x"])
    assert job.outputs == {"x": 1}
    assert job.displays[0]["data"] == {"text/plain": "bad"}
    assert "ZeroDivisionError" in job.text


def test_long_containers_are_laid_out_and_cut_like_ipythons(cell):
    job = cell("display(list(range(40)), list(range(5000)), {'b': 1, 'a': object()}, int)")
    lines, cut, small, kind = [display["data"]["text/plain"] for display in job.displays]
    assert lines.startswith("[0,\n 1,\n")
    assert cut.endswith("999,\n ...]")
    assert small.startswith("{'b': 1, 'a': <object at 0x")
    assert kind == "int"


def test_updates_and_clears_are_records(cell):
    code = """
h = display('a', display_id=True)
h.update('b')
display('c', display_id='mine')
display({'text/html': '<i>'}, raw=True)
"""
    first, second, third, raw = cell(code).displays
    assert (first["type"], second["type"]) == ("display", "update_display")
    assert first["display_id"] == second["display_id"]
    assert third["display_id"] == "mine"
    assert raw["data"] == {"text/html": "<i>"}


@pytest.mark.needs("module:IPython")
def test_ipythons_own_functions_write_the_same_records(cell):
    code = """
from IPython.display import display, HTML, clear_output, Markdown, update_display
clear_output(wait=True)
handle = display(HTML('<b>1</b>'), display_id='x')
update_display(HTML('<b>2</b>'), display_id='x')
Markdown('**m**')
"""
    job = cell(code)
    assert [record["type"] for record in job.displays] == [
        "clear_output",
        "display",
        "update_display",
        "execute_result",
    ]
    assert job.displays[0]["wait"] is True
    assert job.displays[1]["data"]["text/html"] == "<b>1</b>"
    assert job.displays[3]["data"]["text/markdown"] == "**m**"


@pytest.mark.needs("module:matplotlib")
def test_figures_are_shown_by_show_and_at_the_end_of_the_cell(cell):
    code = """
import matplotlib.pyplot as plt
plt.plot([1, 2])
print('before')
plt.show()
print('after')
fig, ax = plt.subplots()
ax.plot([2, 1]);
"""
    job = cell(code, job={"environ": {"MPLBACKEND": "module://matplotlib_inline.backend_inline"}})
    kinds = [part if isinstance(part, bytes) else part.record["data"].get("image/png", "")[:5] for part in job.parts()]
    assert kinds == [b"before\n", "iVBOR", b"after\n", "iVBOR"]


@pytest.mark.needs("module:matplotlib")
def test_open_figures_are_shown_when_a_cell_fails_and_closed_ones_are_not(cell):
    code = "import matplotlib.pyplot as plt\nplt.plot([1])\nplt.close()\nplt.plot([2])\n1 / 0"
    assert [record["type"] for record in cell(code).displays] == ["display", "traceback"]


@pytest.mark.needs("module:matplotlib")
def test_a_backend_that_was_chosen_is_kept(cell):
    code = "import matplotlib.pyplot as plt\nplt.plot([1])\nplt.get_backend().lower()"
    job = cell(code, job={"environ": {"MPLBACKEND": "svg"}})
    assert job.displays[-1]["data"]["text/plain"] == "'svg'"


@pytest.mark.needs("module:pandas")
def test_data_frames_come_as_html(cell):
    (record,) = cell("import pandas as pd\npd.DataFrame({'a': [1, 2]})").displays
    assert "<table" in record["data"]["text/html"]


def test_too_much_rich_output_becomes_an_artifact(cell):
    import json

    code = "for i in range(3):\n    display({'text/plain': 'small', 'text/html': str(i) * 2_000_000}, raw=True)"
    job = cell(code)
    _, second, third = job.displays
    assert len(second["data"]["text/html"]) == 2_000_000
    assert third["data"]["text/plain"].startswith("small\n[more rich output")
    whole = json.loads((job.folder / "artifacts" / third["artifact"]["sha256"]).read_bytes())
    assert whole["data"]["text/html"] == "2" * 2_000_000


def test_displays_of_forked_workers_do_not_mix(cell):
    code = """
import multiprocessing as mp
def show(i):
    display({'text/plain': str(i) * 20_000}, raw=True)
with mp.get_context('fork').Pool(4) as pool:
    pool.map(show, range(8))
"""
    texts = {record["data"]["text/plain"] for record in cell(code).displays}
    assert texts == {str(i) * 20_000 for i in range(8)}
