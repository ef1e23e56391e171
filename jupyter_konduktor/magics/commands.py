"""The commands of ``%konduktor``; each asks the session or the job, and shows what it says."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from IPython.core.error import UsageError

from jupyter_konduktor import session
from jupyter_konduktor.config import KEYS, Settings
from jupyter_konduktor.config.parse import suggest
from jupyter_konduktor.errors import KonduktorError
from jupyter_konduktor.group import JobGroup
from jupyter_konduktor.job import Job
from jupyter_konduktor.magics.cell import deliver, refusals
from jupyter_konduktor.magics.options import Parsed, cell_help, command_help, parse_command
from jupyter_konduktor.magics.output import Output, show
from jupyter_konduktor.magics.screen import Screen
from jupyter_konduktor.magics.table import Table
from jupyter_konduktor.summary import seconds
from jupyter_konduktor.task import Task

DOCTOR_TIMEOUT = 30.0
"""Seconds that the doctor waits for its job."""


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
    rows = [
        (time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(e.time)), str(e.attempt), str(e.state), e.reason, e.message)
        for e in _job(parsed.arguments[0]).events()
    ]
    show(Table(("time", "attempt", "state", "reason", "message"), rows))


def _result(shell: Any, parsed: Parsed, settings: Settings) -> Any:
    handle = session.attach(parsed.arguments[0])
    if isinstance(handle, JobGroup):
        return handle.result()
    handle.wait()
    return deliver(shell, handle, Output(handle, quiet=settings.quiet), trust="trust" in parsed.values)


def _attach(shell: Any, parsed: Parsed, settings: Settings) -> Any:
    handle = session.attach(parsed.arguments[0])
    job = handle.job if isinstance(handle, JobGroup) else handle
    output = Output(job, quiet=settings.quiet)
    output.run()
    return handle.result() if isinstance(handle, JobGroup) else deliver(
        shell, job, output, trust="trust" in parsed.values
    )  # fmt: skip


def _each(verb: str, doing: str) -> Callable[[Any, Parsed, Settings], None]:
    """Make a command that does one thing to each job that it names."""

    def run(shell: Any, parsed: Parsed, settings: Settings) -> None:
        jobs = [_job(name) for name in parsed.arguments]
        for job in jobs:
            before = job.state
            if before.final:
                print(f"konduktor: {job} has already {before.lower()}")
                continue
            getattr(job, verb)()
            print(f"konduktor: {job} {doing}")

    return run


def _queues(shell: Any, parsed: Parsed, settings: Settings) -> None:
    show(session.queues())


def _config(shell: Any, parsed: Parsed, settings: Settings) -> None:
    rows = settings.explain()
    if parsed.arguments:
        wanted = parsed.arguments[0].replace("-", "_")
        if wanted not in KEYS:
            raise UsageError(f"{wanted} is not a setting{suggest(wanted, KEYS)}")
        rows = [row for row in rows if row[0] == wanted]
    show(Table(("setting", "value", "from", "what it is"), [(*row, KEYS[row[0]].help) for row in rows]))


def _doctor(shell: Any, parsed: Parsed, settings: Settings) -> None:
    """Say what is here, then send one small job and wait for it: that is the only proof."""
    rows = [
        ("python", f"{sys.version.split()[0]} at {sys.executable}"),
        ("backend", f"{settings.backend} ({settings.source('backend')})"),
    ]
    try:
        kept = session.jobs()
        rows.append(("jobs", f"{len(kept)} kept, {sum(not job.done() for job in kept)} not ended"))
        rows += [
            ("queue", f"{queue.name}: {queue.running} running, {queue.pending} waiting") for queue in session.queues()
        ]
        started = time.monotonic()
        job = session.launch(Task.create(name="doctor", command=[sys.executable, "-c", "print('ok')"]))
        outcome = job.wait(DOCTOR_TIMEOUT)
        rows.append(("a small job", f"{outcome} in {seconds(time.monotonic() - started)} ({job})"))
    except KonduktorError as error:
        rows.append((type(error).__name__, str(error)))
    show(Table(("what", "how it is"), rows))


def _gc(shell: Any, parsed: Parsed, settings: Settings) -> None:
    dry = "dry_run" in parsed.values
    jobs, size = session.tracker(settings).backend.collect_garbage(dry_run=dry)
    print(f"konduktor: {jobs} jobs with {size / 1e6:.1f} MB {'would be' if dry else 'were'} removed")


def _help(shell: Any, parsed: Parsed, settings: Settings) -> None:
    print(command_help(parsed.arguments[0]) if parsed.arguments else f"{command_help()}\n\n{cell_help()}")


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
