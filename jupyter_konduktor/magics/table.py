"""Rows for a person, as text and as HTML."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from jupyter_konduktor.summary import inert


class Table:
    """A table that shows itself; what its cells hold is inert in both forms.

    Parameters
    ----------
    head : sequence of str
        Names of the columns.
    rows : sequence of sequence of str
    """

    def __init__(self, head: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
        self.head = tuple(head)
        self.rows = [tuple(inert(cell) for cell in row) for row in rows]

    def __repr__(self) -> str:
        lines = [self.head, *self.rows]
        widths = [max(len(row[column]) for row in lines) for column in range(len(self.head))]
        return "\n".join("  ".join(map(str.ljust, row, widths)).rstrip() for row in lines)

    def _repr_html_(self) -> str:
        style = ' style="text-align:left"'
        head = "".join(f"<th{style}>{escape(cell)}</th>" for cell in self.head)
        rows = ["".join(f"<td{style}>{escape(cell)}</td>" for cell in row) for row in self.rows]
        body = "".join(f"<tr>{row}</tr>" for row in rows)
        return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
