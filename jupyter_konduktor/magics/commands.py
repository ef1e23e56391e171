"""The commands of ``%konduktor``; each asks the session or the job, and shows what it says."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

from IPython.core.error import UsageError

from jupyter_konduktor import session, summary
from jupyter_konduktor.config import Settings
from jupyter_konduktor.group import JobGroup
from jupyter_konduktor.job import Job
from jupyter_konduktor.magics.cell import deliver, refusals
from jupyter_konduktor.magics.options import Parsed, cell_help, command_help, parse_command
from jupyter_konduktor.magics.output import Output, show
from jupyter_konduktor.magics.screen import Screen
from jupyter_konduktor.widgets.front_end import in_place, publish


def run_command(shell: Any, line: str) -> Any:
    """Run one line of ``%konduktor`` and give its value, if it has one."""
    found, parsed = parse_command(line, shell.user_ns, shell.user_ns_hidden)
    if "help" in parsed.values:
        print(command_help(found.name))
        return None
    with refusals():
        settings = Settings.load()
    return _COMMANDS[found.name](shell, parsed, settings)


def _status(shell: Any, parsed: Parsed, settings: Settings) -> None:
    here = session.origin()
    # The name of the notebook lasts over a restart of the kernel, but not every client tells it.
    key = "jpy_session_name" if "jpy_session_name" in here else "pid"
    records = [r for r in session.tracker(settings).backend.list() if r.origin.get(key) == here[key]]
    show(session.JobList(records, settings))


def _jobs(shell: Any, parsed: Parsed, settings: Settings) -> None:
    show(session.jobs(all_users="all_users" in parsed.values))


def _logs(shell: Any, parsed: Parsed, settings: Settings) -> None:
    job = _job(parsed.arguments[0])
    tail = parsed.values.get("tail")
    node = _number("--node", parsed.values.get("node", "0"))
    text = job.logs(node=node, tail=None if tail is None else _number("--tail", tail))
    if "save" in parsed.values:
        path = Path(parsed.values["save"]).expanduser()
        try:
            path.write_text(text, encoding="utf-8")
        except OSError as error:
            raise UsageError(f"--save {path}: {error.strerror}") from None
        print(f"konduktor: {path} has the {len(text.splitlines())} lines of {job}")
        return
    screen = Screen(job.name)
    screen.text(text.encode())
    screen.flush()


def _events(shell: Any, parsed: Parsed, settings: Settings) -> None:
    show(summary.events(_job(parsed.arguments[0]).events()))


def _result(shell: Any, parsed: Parsed, settings: Settings) -> Any:
    handle = session.attach(parsed.arguments[0])
    if isinstance(handle, JobGroup):
        return handle.result()
    handle.wait()
    return deliver(shell, handle, Output(handle, quiet=settings.quiet), trust="trust" in parsed.values)


def _attach(shell: Any, parsed: Parsed, settings: Settings) -> Any:
    handle = session.attach(parsed.arguments[0])
    output = Output(handle, quiet=settings.quiet)
    output.run()
    if isinstance(handle, JobGroup):
        output.close(summary.ended(handle.job.record) if output.status.shown else "")
        return handle.result()
    return deliver(shell, handle, output, trust="trust" in parsed.values)


def _each(verb: str, doing: str) -> Callable[[Any, Parsed, Settings], None]:
    """Make a command that does one thing to each job that it names."""

    def run(shell: Any, parsed: Parsed, settings: Settings) -> None:
        jobs = [_job(name) for name in parsed.arguments]
        for job in jobs:
            before = job.state
            if before.final:
                print(f"konduktor: {job} has ended already: {before.lower()}")
                continue
            getattr(job, verb)()
            print(f"konduktor: {job} {doing}")

    return run


def _queues(shell: Any, parsed: Parsed, settings: Settings) -> None:
    show(session.queues())


def _config(shell: Any, parsed: Parsed, settings: Settings) -> None:
    with refusals():
        show(summary.settings_table(settings, *parsed.arguments))


def _doctor(shell: Any, parsed: Parsed, settings: Settings) -> None:
    """Show what is found as it is found, in one table where a display can be updated."""
    with refusals():
        settings = Settings.load({key: parsed.values.get(key) for key in ("backend", "context", "namespace")})
    seen, display_id = [], uuid.uuid4().hex
    for found in session.examine(settings, job="no_job" not in parsed.values):
        seen.append(found)
        if in_place():
            table = summary.findings(seen)
            data = {"text/plain": repr(table), "text/html": table._repr_html_()}
            publish(data, {}, display_id, update=len(seen) > 1)
        else:
            print(summary.finding(found), flush=True)


def _gc(shell: Any, parsed: Parsed, settings: Settings) -> None:
    dry = "dry_run" in parsed.values
    backend = session.tracker(settings).backend
    print(f"konduktor: {summary.collected(*backend.collect_garbage(dry_run=dry), dry_run=dry)}")
    if stored := backend.collect_stored(dry_run=dry):
        print(f"konduktor: {summary.stored(stored, dry_run=dry)}")
    if stopped := summary.held_back(backend.list(), "%konduktor"):
        print(f"konduktor: {stopped}")


def _help(shell: Any, parsed: Parsed, settings: Settings) -> None:
    about = parsed.arguments[0] if parsed.arguments else ""
    if about == "%%konduktor":
        print(cell_help())
    else:
        print(command_help(about) if about else f"{command_help()}\n\n{cell_help()}")


def _job(name: str) -> Job:
    handle = session.attach(name)
    return handle.job if isinstance(handle, JobGroup) else handle


def _number(flag: str, text: str) -> int:
    if not text.isdecimal():
        raise UsageError(f"{flag} {text}: must be a whole number")
    return int(text)


_COMMANDS: dict[str, Callable[[Any, Parsed, Settings], Any]] = {
    "status": _status,
    "jobs": _jobs,
    "logs": _logs,
    "events": _events,
    "result": _result,
    "attach": _attach,
    "cancel": _each("cancel", "is being cancelled"),
    "stop": _each("stop", "is being stopped; %konduktor resume queues it again"),
    "resume": _each("resume", "is queued again"),
    "queues": _queues,
    "config": _config,
    "doctor": _doctor,
    "gc": _gc,
    "help": _help,
}
