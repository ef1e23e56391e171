"""A job in a few lines, as text and as HTML; whatever comes from a job or a cluster is inert in both."""

from __future__ import annotations

import time
from collections.abc import Iterable
from html import escape

from jupyter_konduktor.state import JobRecord, JobState
from jupyter_konduktor.task import Task

_MARKS = {
    JobState.QUEUED: "◷",
    JobState.STARTING: "◌",
    JobState.RUNNING: "▶",
    JobState.STOPPED: "◼",
    JobState.SUCCEEDED: "✓",
    JobState.FAILED: "✗",
    JobState.CANCELLED: "⊘",
}
# Colours of the Jupyter theme, with values for where there is none (nbconvert, GitHub).
_COLOURS = {
    JobState.RUNNING: "var(--jp-info-color1, #1976d2)",
    JobState.SUCCEEDED: "var(--jp-success-color1, #388e3c)",
    JobState.FAILED: "var(--jp-error-color1, #d32f2f)",
}
_QUIET = "var(--jp-ui-font-color2, #757575)"


def seconds(value: float) -> str:
    """Write a duration the way a person says it (``0.4 s``, ``12 s``, ``3 min 5 s``, ``2 h 10 min``)."""
    value = max(0.0, value)
    if value < 9.95:
        return f"{value:.1f} s"
    whole = round(value)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


def elapsed(record: JobRecord, now: float | None = None) -> float:
    """Seconds the job has run, or has waited if it has not run yet."""
    begin = record.started or record.created
    end = record.finished or (record.history[-1].time if record.state is JobState.STOPPED and record.history else None)
    return (end or now or time.time()) - begin


def resources(record: JobRecord) -> str:
    """Say what the job asked for (``H100:8, 2 nodes``)."""
    asked = Task.from_json(record.spec).resources
    parts = []
    if asked.gpus:
        parts.append(str(asked.gpus) if asked.gpus.kind else f"{asked.gpus.count} GPU" + "s" * (asked.gpus.count > 1))
    if asked.cpus:
        parts.append(f"{asked.cpus:g} CPU" + "s" * (asked.cpus != 1))
    if asked.memory:
        parts.append(f"{asked.memory / 2**30:g} GiB")
    if asked.nodes > 1:
        parts.append(f"{asked.nodes} nodes")
    return ", ".join(parts)


def status(record: JobRecord, now: float | None = None) -> str:
    """Say in one line where a job stands and why."""
    line = f"{record.state} {seconds(elapsed(record, now))}"
    if record.state is JobState.QUEUED:
        if record.position is not None:
            line += f", {record.position} ahead" if record.position else ", next in its queue"
        if record.queue:
            line += f" in {inert(record.queue)}"
    if record.state in (JobState.QUEUED, JobState.STARTING, JobState.STOPPED, JobState.FAILED) and record.message:
        line += f": {inert(record.message)}"
    if record.attempt:
        line += f" (attempt {record.attempt + 1})"
    return line


def text(record: JobRecord) -> str:
    """Give one job as one line of text."""
    return f"{_MARKS[record.state]} {inert(record.name)} · {status(record)}"


def html(record: JobRecord) -> str:
    """Give one job as one line of HTML."""
    colour = _COLOURS.get(record.state, _QUIET)
    return (
        f'<div class="jp-Konduktor-job"><span style="color:{colour}">{_MARKS[record.state]}</span> '
        f"<b>{escape(inert(record.name))}</b> "
        f'<span style="color:{_QUIET}">{escape(status(record))}</span></div>'
    )


def inert(value: str) -> str:
    """Take control characters out of a text that is shown."""
    return "".join(c if c.isprintable() else " " for c in value)


def table(records: Iterable[JobRecord]) -> tuple[str, str]:
    """Give jobs as a table, newest first, in text and in HTML."""
    head = ("", "name", "state", "for", "asked for", "queue", "why")
    rows = [
        (
            _MARKS[r.state],
            inert(r.name),
            str(r.state),
            seconds(elapsed(r)),
            resources(r),
            inert(r.queue),
            inert(r.message or r.reason)[:80],
        )
        for r in sorted(records, key=lambda r: r.created, reverse=True)
    ]
    if not rows:
        empty = "No jobs. Put %%konduktor in the first line of a cell and run it."
        return empty, f"<div>{escape(empty)}</div>"
    widths = [max(len(row[i]) for row in (head, *rows)) for i in range(len(head))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip() for row in (head, *rows)]
    cells = "".join(f'<th style="text-align:left">{escape(cell)}</th>' for cell in head)
    body = "".join(
        "<tr>" + "".join(f'<td style="text-align:left">{escape(cell)}</td>' for cell in row) + "</tr>" for row in rows
    )
    return "\n".join(lines), f"<table><thead><tr>{cells}</tr></thead><tbody>{body}</tbody></table>"
