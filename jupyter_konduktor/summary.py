"""A job in a few lines, as text and as HTML; whatever comes from a job or a cluster is inert in both."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from html import escape
from typing import TYPE_CHECKING

from jupyter_konduktor.config import KEYS, Settings
from jupyter_konduktor.config.parse import suggest
from jupyter_konduktor.errors import ConfigError
from jupyter_konduktor.state import JobRecord, JobState, Transition
from jupyter_konduktor.task import Task

if TYPE_CHECKING:
    from jupyter_konduktor.backends.protocol import Finding, Stored, StoredGroup

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
    if value < _EXACT:
        return f"{value:.1f} s"
    whole = round(value)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


def elapsed(record: JobRecord, now: float | None = None) -> float:
    """Seconds the job has run; while it waits or starts, seconds since that began."""
    begin = record.started or record.created
    if record.state in (JobState.QUEUED, JobState.STARTING):
        begin = record.created
        for change in reversed(record.history):
            if change.state is not record.state:
                break
            begin = change.time
    end = record.finished or (record.history[-1].time if record.state is JobState.STOPPED and record.history else None)
    return max(0.0, (end or now or time.time()) - begin)  # by a cluster's clock it may not have begun yet


def took(record: JobRecord, now: float | None = None) -> str:
    """Write how long the job has run or has waited, as exactly as it is known: a cluster has whole seconds."""
    value = elapsed(record, now)
    exact = record.finished is None or not float(record.finished).is_integer()
    if (exact and value) or value >= _EXACT:
        return seconds(value)
    return "under 1 s" if value < 1 else f"{round(value)} s"


_EXACT = 9.95
"""Seconds from which on nobody is told tenths."""


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
        parts.append(f"{asked.nodes} {'workers' if record.kind == 'map' else 'nodes'}")
    return ", ".join(parts)


def status(record: JobRecord, now: float | None = None) -> str:
    """Say in one line where a job stands and why."""
    return f"{record.state} {took(record, now)}{_circumstances(record)}"


def place(record: JobRecord) -> str:
    """Say in one line which job it is and why it stands where it does; state and time are told beside."""
    return f"{inert(record.name)}{_circumstances(record)}"


def _circumstances(record: JobRecord) -> str:
    line = ""
    if record.state is JobState.QUEUED:
        queue = inert(record.queue)
        if record.position == 0:
            line += f", next in {queue or 'its queue'}"
        else:
            line += f", {record.position} ahead" if record.position else ""
            line += f" in {queue}" if queue else ""
    if record.state in (JobState.QUEUED, JobState.STARTING, JobState.STOPPED, JobState.FAILED) and record.message:
        line += f": {inert(record.message)}"
    if record.attempt:
        line += f" (attempt {record.attempt + 1})"
    return line


def unseen(since: float | None) -> str:
    """Say since when nothing new is known, as the end of a line; empty if the backend can be seen."""
    return "" if since is None else f"; unknown since {time.strftime('%H:%M:%S', time.localtime(since))}"


def ended(record: JobRecord) -> str:
    """Say in a few words how a job ended."""
    words = {JobState.SUCCEEDED: "succeeded in", JobState.FAILED: "failed after", JobState.CANCELLED: "cancelled after"}
    time_text = took(record)
    if time_text == "0.0 s":
        time_text = f"{max(elapsed(record), 0.0):.2f} s"
    return f"{record.name} {words.get(record.state, 'stopped after')} {time_text}"


def text(record: JobRecord) -> str:
    """Give one job as one line of text."""
    return f"{_MARKS[record.state]} {inert(record.name)} · {status(record)}"


def stamped(record: JobRecord) -> str:
    """Give one job as text that stays true: what it was at what time, and how to see what it is now."""
    return f"{_MARKS[record.state]} {inert(record.name)}{_now(record)} {status(record)}\n{_origin(record)}"


def html(record: JobRecord, line: str = "") -> str:
    """Give one job as HTML that stays true however late it is read.

    Parameters
    ----------
    record : JobRecord
    line : str, optional
        What to say of it in place of where it stands.
    """
    if line:
        line = escape("\n".join(inert(part) for part in line.split("\n")))
    else:
        line = f"<b>{escape(inert(record.name))}</b>{escape(f'{_now(record)} {status(record)}')}"
    return (
        f'<div style="font-size:var(--jp-ui-font-size1, 13px);white-space:pre-wrap;overflow-wrap:anywhere">'
        f"{_mark(record)} {line}"
        f'<details><summary style="color:{_QUIET}">{escape(_origin(record))}</summary>{details(record)}</details></div>'
    )


def heading(record: JobRecord) -> str:
    """Give a job's state as HTML: its mark, which a screen reader leaves out, and its word."""
    return f"{_mark(record)} <b>{record.state}</b>"


def _mark(record: JobRecord) -> str:
    return f'<span aria-hidden="true" style="color:{_COLOURS.get(record.state, _QUIET)}">{_MARKS[record.state]}</span>'


def attach_code(name: str) -> str:
    """Give what to run in a notebook to have a job's output and values."""
    return f"%konduktor attach {inert(name)}"


def _now(record: JobRecord) -> str:
    """Say when this is, unless it will be so for ever."""
    return " ·" if record.state.final else f", as of {_clock(time.time())}:"


def _origin(record: JobRecord) -> str:
    return f"submitted {_clock(record.created)} · {attach_code(record.name)}"


def details(record: JobRecord) -> str:
    """Give a job's timeline and what was asked for, as HTML."""
    asked = "".join(f"<tr><th>{escape(label)}</th><td>{escape(value)}</td></tr>" for label, value in facts(record))
    return (
        '<div class="jp-KonduktorJob-columns" style="display:flex;flex-wrap:wrap;align-items:flex-start;gap:8px 32px">'
        f"<table><tbody>{_timeline(record)}</tbody></table><table><tbody>{asked}</tbody></table></div>"
    )


def facts(record: JobRecord) -> list[tuple[str, str]]:
    """List what a job asked for and who sent it, as labels and values in the order to show."""
    task = Task.from_json(record.spec)
    found = {
        "submitted": f"{_clock(record.created)} by {record.user}" if record.user else _clock(record.created),
        "asked for": resources(record),
        "items": str(task.items or ""),
        "image": task.image,
        "queue": record.queue,
        "priority": task.priority,
        "topology": ", ".join(task.topology),
        "packages": ", ".join(task.packages),
        "timeout": seconds(task.timeout) if task.timeout else "",
        "restarts": f"up to {task.max_restarts}" if task.max_restarts else "",
        "runs on": record.backend,
    }
    return [(label, inert(value)) for label, value in found.items() if value]


def _timeline(record: JobRecord) -> str:
    """Give the last changes of a job's state as rows: when, how long it lasted, what and why."""
    rows = []
    following = [*(change.time for change in record.history[1:]), None]
    for change, until in list(zip(record.history, following, strict=True))[-_CHANGES:]:
        lasted = seconds(until - change.time) if until is not None else ""
        state = f"{change.state}{f', attempt {change.attempt + 1}' if change.attempt else ''}"
        cells = (_clock(change.time, record.created), state, lasted, inert(change.message or change.reason))
        rows.append("<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in cells) + "</tr>")
    return "".join(rows)


_CHANGES = 30
"""Changes of state that are shown; a job that is preempted for days has many."""


def _clock(at: float, day: float | None = None) -> str:
    """Write a time, without the date if it is of a known day."""
    date, clock = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(at)).split()
    known = day is not None and date == time.strftime("%Y-%m-%d", time.localtime(day))
    return clock if known else f"{date} {clock}"


def inert(value: str) -> str:
    """Take control characters out of a text that is shown."""
    return "".join(c if c.isprintable() else " " for c in value)


class Table:
    """Rows for a person, which show themselves as text and as HTML; what the cells hold is inert in both.

    Parameters
    ----------
    head : sequence of str
        Names of the columns.
    rows : iterable of sequence of str
    """

    def __init__(self, head: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
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


def table(records: Iterable[JobRecord]) -> tuple[str, str]:
    """Give jobs as a table, newest first, in text and in HTML."""
    head = ("", "name", "state", "for", "asked for", "queue", "why")
    rows = [
        (
            _MARKS[r.state],
            r.name,
            str(r.state),
            took(r),
            resources(r),
            r.queue,
            _cut(r.message or r.reason),
        )
        for r in sorted(records, key=lambda r: r.created, reverse=True)
    ]
    if not rows:
        empty = "No jobs. Put %%konduktor in the first line of a cell and run it."
        return empty, f"<div>{escape(empty)}</div>"
    shown = Table(head, rows)
    return repr(shown), shown._repr_html_()


def _cut(value: str) -> str:
    return value if len(value) <= _CELL else f"{value[: _CELL - 1]}…"


_CELL = 80
"""Characters of a reason in a table of jobs."""


def events(history: Iterable[Transition]) -> Table:
    """Give what happened to a job as a table."""
    rows = ((_clock(e.time), str(e.attempt), str(e.state), e.reason, e.message) for e in history)
    return Table(("time", "attempt", "state", "reason", "message"), rows)


def settings_table(settings: Settings, key: str | None = None) -> Table:
    """Give the settings, or one of them, as a table; raises `ConfigError` for a key that is none."""
    rows = settings.explain()
    if key is not None:
        wanted = key.replace("-", "_")
        if wanted not in KEYS:
            raise ConfigError(f"{wanted} is not a setting{suggest(wanted, KEYS)}")
        rows = [row for row in rows if row[0] == wanted]
    return Table(("setting", "value", "from", "what it is"), [(*row, KEYS[row[0]].help) for row in rows])


_SEEN = {True: "✓", False: "✗", None: "·"}


def finding(found: Finding) -> str:
    """Give one finding of the doctor as lines of text, what to do below what is."""
    line = f"{_SEEN[found.ok]} {inert(found.what):<{_WHAT}}  {inert(found.found)}"
    return f"{line}\n{'':{_WHAT + 4}}{inert(found.advice)}" if found.advice else line


_WHAT = 14
"""Width of what the doctor looks at; a longer one moves its line to the right."""


def findings(found: Iterable[Finding]) -> Table:
    """Give the doctor's findings as a table."""
    return Table(("", "what", "how it is", "what to do"), [(_SEEN[f.ok], f.what, f.found, f.advice) for f in found])


def collected(jobs: int, size: int, *, dry_run: bool) -> str:
    """Say what a collection of finished jobs has removed, or would."""
    done = "would be removed" if dry_run else "removed"
    return f"{jobs} finished {'job' if jobs == 1 else 'jobs'} with {size / 1e6:.1f} MB {done}"


def stored(found: Stored, *, dry_run: bool) -> str:
    """Say what a collection has removed from a store; or what it would, and the largest of that one by one."""
    done = "would be removed" if dry_run else "removed"
    kind = "object" if found.objects == 1 else "objects"
    of = f", results of {found.jobs} {'job' if found.jobs == 1 else 'jobs'} among them" if found.jobs else ""
    line = f"{found.objects} {kind} with {found.bytes / 1e6:.1f} MB{of} {done} from {found.place}"
    return "\n".join([line, *_largest(found.groups)]) if dry_run and found.groups else line


def _largest(groups: Sequence[StoredGroup]) -> Iterator[str]:
    rows = (
        (group.what, str(group.objects), f"{group.bytes / 1e6:.1f} MB", f"{group.age / 86400:.1f} days ago")
        for group in groups[:_GROUPS]
    )
    yield repr(Table(("what", "objects", "size", "last written"), rows))
    rest = groups[_GROUPS:]
    if rest:
        yield f"and {len(rest)} more with {sum(group.bytes for group in rest) / 1e6:.1f} MB"


_GROUPS = 20
"""What is listed of a store, which may hold thousands."""


def held_back(records: Iterable[JobRecord], command: str) -> str:
    """Name the stopped jobs, which nothing removes, and say how to end them; empty if there are none.

    Parameters
    ----------
    records : iterable of JobRecord
    command : str
        What a person writes to reach us: ``%konduktor`` or ``jupyter konduktor``.
    """
    stopped = [f"{inert(r.name)} ({seconds(elapsed(r))})" for r in records if r.state is JobState.STOPPED]
    if not stopped:
        return ""
    more = f" and {len(stopped) - _NAMES} more" if len(stopped) > _NAMES else ""
    jobs = "job that is" if len(stopped) == 1 else "jobs that are"
    return (
        f"{len(stopped)} {jobs} stopped, without quota and kept until ended: {', '.join(stopped[:_NAMES])}{more}; "
        f"{command} cancel NAME ends one, {command} resume NAME queues it again"
    )


_NAMES = 20
