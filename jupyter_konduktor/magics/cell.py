"""A cell becomes a job, and what the job gives comes into the notebook."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import PurePath
from typing import Any

from IPython.core.error import UsageError

from jupyter_konduktor import payload, session
from jupyter_konduktor.config import KEYS, Settings
from jupyter_konduktor.errors import ConfigError, InvalidTaskError, KonduktorError, PayloadError, RemoteError
from jupyter_konduktor.job import Job
from jupyter_konduktor.magics.history import History, cell_numbers, remember
from jupyter_konduktor.magics.options import Parsed, cell_help, parse_cell
from jupyter_konduktor.magics.output import Output, show
from jupyter_konduktor.magics.source import future_features, python_code
from jupyter_konduktor.naming import name_from
from jupyter_konduktor.result import Decoded
from jupyter_konduktor.state import JobRecord
from jupyter_konduktor.summary import ended

MAX_NAMES = 20
"""Names that the last line lists."""


def run_cell(shell: Any, history: History, line: str, body: str) -> Job | None:
    """Run a cell as a job: wait for it and bring its values, or give its handle with ``--detach``."""
    parsed = parse_cell(line, shell.user_ns, shell.user_ns_hidden)
    if "help" in parsed.values:
        print(cell_help())
        return None
    source, code = f"%%konduktor {line}".rstrip() + f"\n{body}", python_code(shell, body)
    number = shell.displayhook.prompt_count  # execution_count is one more here since IPython 9
    with refusals():
        settings = Settings.load(_settings(parsed), file=parsed.values.get("config"))
        origin = session.origin()
        task = session.make_task("cell", _task_options(parsed, origin), settings)
        notes = session.tracker(settings).backend.check(task)
        captured = payload.capture_cell(
            source,
            code,
            shell.user_ns,
            inputs=parsed.values.get("in"),
            outputs=parsed.values.get("out"),
            number=number,
            transform=shell.transform_cell,
            future=future_features(shell),
            imported=history.imported,
            **{**session.capture_options(settings, task), "cells": cell_numbers(shell), "changed": history.changed()},
        )
    if "dry_run" in parsed.values:
        show(captured.report)
        for note in notes:
            session.say(note)
        return None
    for note in notes:
        session.say_once(note)
    for warning in captured.report.warnings:
        session.say(warning)
    origin = {**origin, "payload": captured.identity}
    job = session.submit(task, captured, settings=settings, origin=origin)
    history.sent(code)
    remember(shell, captured.pack.header["meta"]["cell"]["filename"], source, number)
    if "detach" in parsed.values:
        return job
    output = Output(job, quiet=settings.quiet)
    if not settings.quiet and (twin := _twin(job, captured.identity, settings)):
        print(f"konduktor: {twin} sent the same cell and still runs; attach to it with %konduktor attach {twin}")
    output.run()
    deliver(shell, job, output)
    return None


def deliver(shell: Any, job: Job, output: Output, *, trust: bool = False) -> Any:
    """Bring the values of a job that has ended into the notebook: all of them or none.

    Returns
    -------
    object
        What the job returned; None for a cell, whose values are names now.
    """
    record = job.record
    try:
        decoded = job.decoded(trust=trust, main=shell.user_ns)
    except KonduktorError as error:
        if not isinstance(error, RemoteError):
            output.release()
        output.close(ended(record) if output.status.shown else "")
        raise
    except KeyboardInterrupt:
        print(f"konduktor: interrupted; no name was changed, %konduktor result {job} brings them", file=sys.stderr)
        raise
    is_cell = decoded.meta.get("kind") == "outputs"
    new = {name: value for name, value in decoded.indirect.items() if name not in shell.user_ns}
    shell.push({**new, **(decoded.value if is_cell else {})})
    output.close(_summary(record, decoded) if is_cell else ended(record))
    return None if is_cell else decoded.value


@contextmanager
def refusals() -> Iterator[None]:
    """Turn what a user can mend in the line or the cell into a usage error of one line.

    It must be UsageError itself: IPython prints a traceback for anything derived from it.
    """
    try:
        yield
    except (ConfigError, InvalidTaskError, PayloadError) as error:
        raise UsageError("; ".join(line.strip() for line in str(error).splitlines() if line.strip())) from None


def _settings(parsed: Parsed) -> dict[str, Any]:
    """Take the options that are settings as well."""
    options = {**parsed.values, "allow_secrets": parsed.values.get("allow_secret")}
    return {key: value for key, value in options.items() if key in KEYS}


def _task_options(parsed: Parsed, origin: Mapping[str, Any]) -> dict[str, Any]:
    """Take the options that only a task has."""
    given = parsed.values
    return {
        "name": given.get("name") or name_from(PurePath(origin.get("jpy_session_name", "")).stem, "cell"),
        "secrets": given.get("secret"),
        "volumes": given.get("volume"),
        "workdir": given.get("workdir"),
        "launcher": given.get("launcher"),
    }


def _twin(job: Job, identity: str, settings: Settings) -> str:
    """Find another job of the same cell with the same values that has not ended."""
    records: Iterable[JobRecord] = session.tracker(settings).backend.list()
    same = (r for r in records if r.origin.get("payload") == identity and r.name != job and not r.ends_wait)
    return next((record.name for record in same), "")


def _summary(record: JobRecord, decoded: Decoded) -> str:
    changed = [name for name in decoded.meta.get("changed", ()) if name in decoded.value]
    assigned = [name for name in decoded.value if name not in changed]
    line = ended(record)
    if assigned:
        line += f" -> {_listed(assigned)}"
    if changed:
        line += f" ({_listed(changed)}: changed in place)"
    told = {f"{name}: changed in place" for name in changed}
    more = [note for note in (*decoded.meta.get("lines", ()), *decoded.notes) if note not in told]
    return "\n  ".join([line, *more])


def _listed(names: list[str]) -> str:
    more = f" and {len(names) - MAX_NAMES} more" if len(names) > MAX_NAMES else ""
    return ", ".join(names[:MAX_NAMES]) + more
