"""What a job writes and where it stands, in a terminal: its output on standard output, our lines on standard error."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

from jupyter_konduktor import summary
from jupyter_konduktor.cli.parser import PROG
from jupyter_konduktor.job import Job
from jupyter_konduktor.job import follow as follow_job
from jupyter_konduktor.runner.stream import Display
from jupyter_konduktor.state import JobRecord, JobState

STATUS_AFTER = 2.0
"""Seconds after which a line says where the job stands; most jobs on this machine have ended by then."""


def say(line: str) -> None:
    """Print a line of ours beside the output."""
    sys.stdout.flush()
    print(f"{PROG}: {line}", file=sys.stderr, flush=True)


def write(text: str | bytes) -> None:
    """Print output of a job as it is: bytes stay what they are."""
    sys.stdout.flush()
    data = memoryview(text if isinstance(text, bytes) else text.encode("utf-8", "replace"))
    while data:  # with PYTHONUNBUFFERED there is no buffer, and a write may take less than all
        data = data[sys.stdout.buffer.write(data) :]
    sys.stdout.buffer.flush()


@contextmanager
def interruptible(job: Job) -> Iterator[None]:
    """Do with a job what the settings say of an interrupt of the wait, and say how to go on."""
    try:
        yield
    except KeyboardInterrupt:
        if job._settings.on_interrupt == "cancel":
            job.cancel()
            say(f"interrupted; {job} is being cancelled")
        else:
            say(f"interrupted; {job} goes on. {PROG} attach {job} follows it, {PROG} cancel {job} ends it")
        raise


def follow(job: Job) -> int:
    """Show what a job writes until it has ended, with a line for each change of its state; gives its exit code."""
    told: tuple[object, ...] = ()
    begun = time.monotonic()

    def state(record: JobRecord) -> None:
        nonlocal told
        unseen = summary.unseen(job.unknown_since)
        now = (record.state, record.message, record.attempt, unseen)
        if now != told and not record.ends_wait and time.monotonic() - begun >= STATUS_AFTER:
            say(f"{record.name} {summary.status(record)}{unseen}")
            told = now

    with interruptible(job):
        record = follow_job(job, on_text=write, on_display=_display, on_state=state)
    why = "" if record.state is JobState.SUCCEEDED else summary.inert(record.message or record.reason)
    say(f"{summary.ended(record)}{why and f': {why}'}")
    return _exit_code(record)


def _display(part: Display) -> None:
    plain = part.record.get("data", {}).get("text/plain", "")
    if plain:
        write(f"{plain}\n")


def _exit_code(record: JobRecord) -> int:
    """Give what a shell would see of the job: its own code, 128 and the signal, or 1 where it has none."""
    if record.state is JobState.SUCCEEDED:
        return 0
    code = record.exit_code or 1
    return 128 - code if code < 0 else min(code, 255)
