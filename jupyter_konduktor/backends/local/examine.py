"""What the doctor says of this machine."""

from __future__ import annotations

import platform
import shutil
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from jupyter_konduktor.backends.findings import Look, gather
from jupyter_konduktor.backends.local import machine
from jupyter_konduktor.backends.protocol import Finding
from jupyter_konduktor.backends.root import filesystem
from jupyter_konduktor.state import JobRecord, JobState

LITTLE = 1 << 30
"""Bytes of free space below which jobs may soon not be kept any more."""


def examine(root: Path, notes: Sequence[str], jobs: Look) -> Iterator[Finding]:
    """Look at this machine and at the place where jobs are kept.

    Parameters
    ----------
    root : Path
    notes : sequence of str
        Why jobs are kept there and not elsewhere, if that was so decided.
    jobs : Look
        How the kept jobs are looked at.
    """
    return gather([("kept in", lambda: _place(root, notes)), ("machine", _machine), ("GPUs", _gpus), jobs])


def _place(root: Path, notes: Sequence[str]) -> Iterable[Finding]:
    free = shutil.disk_usage(root).free
    what = f"{root} ({filesystem(root) or 'unknown file system'}), {free / 2**30:.1f} GiB free"
    probe = root / ".doctor"
    try:
        probe.write_bytes(b"ok" * 4096)
        probe.unlink()
    except OSError as error:
        advice = "Make room or mend its permissions, or set local_dir to another directory of yours on this machine."
        yield Finding("kept in", False, f"{what}; it cannot be written: {error.strerror}", advice)
        return
    advice = "%konduktor gc removes finished jobs; keep_days and keep_bytes say how long they are kept."
    yield Finding("kept in", free >= LITTLE, what, "" if free >= LITTLE else advice)
    yield from (Finding("kept in", None, note) for note in notes)


def _machine() -> Iterable[Finding]:
    system = f"{platform.system()} {platform.release()}"
    yield Finding("machine", True, f"{machine.cores():g} cores, {machine.memory() / 2**30:.1f} GiB, {system}")


def _gpus() -> Iterable[Finding]:
    found = machine.gpus()
    if found:
        yield Finding("GPUs", True, f"{len(found)}: {', '.join(sorted({gpu.name for gpu in found}))}")
    else:
        yield Finding("GPUs", None, "none; jobs that ask for one are refused unless local_gpus is ignore")


def kept(records: Sequence[JobRecord]) -> Finding:
    """Say how many jobs are kept, and where they stand."""
    ended = sum(record.state.final for record in records)
    parts = [f"{ended} ended"]
    for state in (JobState.QUEUED, JobState.STARTING, JobState.RUNNING, JobState.STOPPED):
        count = sum(record.state is state for record in records)
        parts += [f"{count} {state.lower()}"] if count else []
    return Finding("jobs", True, f"{len(records)} kept: {', '.join(parts)}" if records else "none yet")
