"""What a job would be sent, as a table: text, and HTML in a notebook."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from html import escape

from .limits import size_text
from .sharing import Sharing

HOW = {"value": "by value", "source": "by source", "name": "by name", "files": "module files"}
_MOST_NOTES = 8


@dataclass(frozen=True, slots=True)
class Row:
    """One thing that travels.

    Attributes
    ----------
    name, type : str
    size : int
        Bytes.
    how : str
        ``"by value"``, ``"by source"``, ``"by name"`` or ``"module files"``.
    via : str
        The function or class that uses it, where the cell or call does not name it itself.
    notes : tuple of str
    """

    name: str
    type: str
    size: int
    how: str
    via: str = ""
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class CaptureReport:
    """What a job would be sent.

    Attributes
    ----------
    rows : tuple of Row
    size : int
        Bytes in all.
    outputs : tuple of str
        Names that are to come back.
    strict : bool
        All of them must.
    excluded : mapping of str to str
        Names bound at top level that do not come back by themselves, and why.
    packages : tuple of str
        What is installed in the job to be as it is here.
    warnings : tuple of str
        One line each.
    find_sharing : callable
        Compares the variables with each other; called when the report is shown.
    """

    rows: tuple[Row, ...]
    size: int
    outputs: tuple[str, ...] = ()
    strict: bool = False
    excluded: Mapping[str, str] = field(default_factory=dict)
    packages: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    find_sharing: Callable[[], Mapping[str, Sharing]] = field(default=dict, repr=False, compare=False)

    @cached_property
    def sharing(self) -> Mapping[str, Sharing]:
        """What variables share with each other, by name."""
        return self.find_sharing()

    def notes(self, row: Row) -> list[str]:
        """Give all there is to say of a row."""
        shared = self.sharing.get(row.name, Sharing())
        found = [f"used by {row.via}"] if row.via else []
        if shared.same:
            found.append(f"the same object as {_listed(shared.same)}; it stays one")
        if shared.inside:
            found.append(f"shares objects with {_listed(shared.inside)}; they stay shared")
        if shared.views:
            found.append(f"shares memory with {_listed(shared.views)}; in the job these are copies")
        return [*found, *row.notes]

    def __repr__(self) -> str:
        table = [("name", "type", "size", "how", "")]
        table += [(r.name, r.type, size_text(r.size), r.how, "; ".join(self.notes(r))) for r in self.rows]
        widths = [max(len(line[column]) for line in table) for column in range(4)]
        lines = [
            "  ".join(
                text.rjust(width) if column == 2 else text.ljust(width)
                for column, (text, width) in enumerate(zip(line, (*widths, 0), strict=True))
            ).rstrip()
            for line in table
        ]
        return "\n".join([*lines, "", *self._lines()])

    def _repr_html_(self) -> str:
        head = "".join(f"<th>{text}</th>" for text in ("name", "type", "size", "how", ""))
        body = "".join(
            "<tr>"
            + "".join(
                f'<td style="text-align: left">{escape(text)}</td>'
                for text in (row.name, row.type, size_text(row.size), row.how, "; ".join(self.notes(row)))
            )
            + "</tr>"
            for row in self.rows
        )
        lines = "".join(f"<div>{escape(line)}</div>" for line in self._lines())
        return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>{lines}"

    def _lines(self) -> list[str]:
        lines = [f"{len(self.rows)} sent, {size_text(self.size)} in all"]
        if self.strict:
            lines.append(f"comes back: {_listed(self.outputs)} (all of them, or none)")
        elif self.outputs:
            lines.append(f"comes back: {_listed(self.outputs)} (as far as they can be sent)")
        lines += [f"stays in the job: {name}, {why}" for name, why in self.excluded.items()]
        if self.packages:
            lines.append(f"installed as here: {', '.join(self.packages)}")
        return [*lines, *(f"warning: {warning}" for warning in self.warnings)]


def _listed(names: tuple[str, ...] | list[str]) -> str:
    more = f" and {len(names) - _MOST_NOTES} more" if len(names) > _MOST_NOTES else ""
    return ", ".join(names[:_MOST_NOTES]) + more
