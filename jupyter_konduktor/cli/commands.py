"""The commands of ``jupyter konduktor``; each asks the session or the job, and prints what it says."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from typing import Any

from jupyter_konduktor import session, summary
from jupyter_konduktor.cli import taskfile
from jupyter_konduktor.cli.parser import PROG
from jupyter_konduktor.cli.screen import follow, interruptible, say, write
from jupyter_konduktor.config import Settings, set_session
from jupyter_konduktor.errors import ConfigError, InvalidTaskError, KonduktorError, UntrustedResultError
from jupyter_konduktor.group import JobGroup
from jupyter_konduktor.job import Job
from jupyter_konduktor.state import JobRecord

_WHERE = ("backend", "context", "namespace")


def run(arguments: argparse.Namespace) -> int:
    """Run a command; what can go wrong is said in one line."""
    try:
        for key in _WHERE if arguments.command != "rbac" else ():
            if getattr(arguments, key) is not None:
                set_session(key, getattr(arguments, key), f"--{key}")
        return _COMMANDS[arguments.command](arguments)
    except (ConfigError, InvalidTaskError) as error:
        say(_line(error))
        return 2
    except KonduktorError as error:
        say(_line(error))
        return 1


def _line(error: KonduktorError) -> str:
    """Give an error as one line that names our commands and not those of a notebook."""
    return _ours(summary.inert("; ".join(line.strip() for line in str(error).splitlines() if line.strip())))


def _ours(text: str) -> str:
    """Name our commands where those of a notebook are named."""
    return text.replace("%konduktor ", f"{PROG} ").replace("jk.jobs()", f"{PROG} jobs")


def _run(arguments: argparse.Namespace) -> int:
    settings = Settings.load()
    task = session.make_task("command", taskfile.read(arguments.file), settings)
    for note in session.tracker(settings).backend.check(task):
        say(note)
    job = session.submit(task, settings=settings, origin=session.origin())
    if arguments.detach:
        print(job)
        return 0
    return follow(job)


def _jobs(arguments: argparse.Namespace) -> int:
    found = session.jobs(all_users=arguments.all_users)
    if arguments.json:
        print(json.dumps([_plain(job.record) for job in found], indent=2))
    else:
        print(found or "No jobs.")
    return 0


def _plain(record: JobRecord) -> dict[str, Any]:
    """Give what a program may want to know of a job."""
    names = ("name", "uid", "backend", "kind", "state", "reason", "message", "user", "queue", "position", "attempt")
    times = ("created", "started", "finished", "exit_code")
    return {name: getattr(record, name) for name in (*names, *times)}


def _logs(arguments: argparse.Namespace) -> int:
    job = _job(arguments.name)
    if not arguments.follow:
        write(job.logs(node=arguments.node, tail=arguments.tail))
        return 0
    with interruptible(job):
        for text in job.logs(follow=True, node=arguments.node, tail=arguments.tail):
            write(text)
    return 0


def _events(arguments: argparse.Namespace) -> int:
    print(summary.events(_job(arguments.name).events()))
    return 0


def _result(arguments: argparse.Namespace) -> int:
    set_session("unpickle", "never", PROG)  # a pickle is of no use here, and loading one runs code
    handle = session.attach(arguments.name)
    with interruptible(handle.job if isinstance(handle, JobGroup) else handle):
        session.tracker().wait(handle.name, lambda record: record.ends_wait)
    try:
        value = handle.result()
    except UntrustedResultError:
        say(
            f"the result of {handle.name} is a pickle, which only Python can load: "
            f'import jupyter_konduktor as jk; jk.attach("{handle.name}").result()'
        )
        return 1
    print(json.dumps(value, ensure_ascii=False))
    return 0


def _attach(arguments: argparse.Namespace) -> int:
    return follow(_job(arguments.name))


def _each(verb: str, doing: str) -> Callable[[argparse.Namespace], int]:
    """Make a command that does one thing to each job that it names."""

    def run(arguments: argparse.Namespace) -> int:
        for job in [_job(name) for name in arguments.names]:
            before = job.state
            if before.final:
                print(f"{job} has ended already: {before.lower()}")
                continue
            getattr(job, verb)()
            print(f"{job} {doing}")
        return 0

    return run


def _queues(arguments: argparse.Namespace) -> int:
    print(session.queues())
    return 0


def _config(arguments: argparse.Namespace) -> int:
    print(summary.settings_table(Settings.load(), arguments.key))
    return 0


def _gc(arguments: argparse.Namespace) -> int:
    backend = session.tracker().backend
    print(summary.collected(*backend.collect_garbage(dry_run=arguments.dry_run), dry_run=arguments.dry_run))
    if stored := backend.collect_stored(dry_run=arguments.dry_run):
        print(summary.stored(stored, dry_run=arguments.dry_run))
    if stopped := summary.held_back(backend.list(), PROG):
        print(stopped)
    return 0


def _doctor(arguments: argparse.Namespace) -> int:
    wrong = 0
    for found in session.examine(Settings.load(), job=not arguments.no_job):
        print(_ours(summary.finding(found)), flush=True)
        wrong += found.ok is False
    return int(wrong > 0)


def _rbac(arguments: argparse.Namespace) -> int:
    from jupyter_konduktor.cli.rbac import documents

    print(documents(arguments), end="")
    return 0


def _job(name: str) -> Job:
    handle = session.attach(name)
    return handle.job if isinstance(handle, JobGroup) else handle


_COMMANDS: dict[str, Callable[[argparse.Namespace], int]] = {
    "run": _run,
    "jobs": _jobs,
    "logs": _logs,
    "events": _events,
    "result": _result,
    "attach": _attach,
    "cancel": _each("cancel", "is being cancelled"),
    "stop": _each("stop", f"is being stopped; {PROG} resume queues it again"),
    "resume": _each("resume", "is queued again"),
    "queues": _queues,
    "config": _config,
    "gc": _gc,
    "doctor": _doctor,
    "rbac": _rbac,
}
