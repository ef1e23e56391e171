"""The README is true: its table is the magic's, its code parses, its links lead somewhere."""

from __future__ import annotations

import ast
import re
from pathlib import Path

from IPython.core.inputtransformer2 import TransformerManager

from jupyter_konduktor.magics.options import CELL_OPTIONS, COMMANDS

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text()


def test_the_table_of_options_is_the_magics_own():
    rows = re.findall(r"^\| `(--\S+)(?: [^`]*)?` \| (.*) \|$", README, re.MULTILINE)
    assert rows == [(option.flag, option.text) for option in CELL_OPTIONS]


def test_every_line_magic_is_a_command():
    used = set(re.findall(r"%konduktor ([a-z]+)", README))
    assert used
    assert used <= {command.name for command in COMMANDS}


def test_every_block_of_python_is_python():
    blocks = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    assert blocks
    for block in blocks:
        compile(TransformerManager().transform_cell(block), "README.md", "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)


def test_every_link_leads_to_a_file():
    links = [link for link in re.findall(r"\]\(([^)#]+)", README) if "://" not in link]
    assert links
    assert [link for link in links if not (ROOT / link).exists()] == []
