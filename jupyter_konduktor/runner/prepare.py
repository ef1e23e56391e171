"""What a job does before its code runs: its working directory, its checkpoint, the setup commands, its packages.

It happens in the user's process, so that limits, signals and cancelling hold for it as they do for the code. What
fails here ends the job with a failure of its own kind, whose error document has ``refused`` and the last lines.

spec keys read here    workdir, command, links, setup, packages
"""

from __future__ import annotations

import os
import shutil
import sys

from . import context, failure
from .following import follow
from .pack import CodecError

TYPE_CHECKING = False
if TYPE_CHECKING:  # importing typing costs a job 3 ms
    from .context import Context

_SHOWN = 100  # characters of a command in the log


def prepare(job: Context) -> None:
    """Make ready what the job's code will find; ends this process if that fails."""
    try:
        if job.spec.get("workdir"):
            _unpack(job)
        if job.spec.get("command"):
            _restore(job)
        for command in job.spec.get("setup") or ():
            _set_up(job, command)
        if job.spec.get("packages"):
            _provide(job)
    except KeyboardInterrupt:
        os._exit(130)


def _unpack(job: Context) -> None:
    from .received import bring_workdir

    try:
        bring_workdir(job)
    except (CodecError, OSError) as error:
        failure.send(job, failure.of_loading(error, job))
        os._exit(1)


def _restore(job: Context) -> None:
    """Bring back a command's checkpoint: it cannot ask for it."""
    from . import slots

    if not slots.is_kept(job.spec):
        return
    from .checkpoint import restore

    try:
        restore(job.spec)
    except OSError as error:
        failure.send(job, failure.of_loading(CodecError("store", str(error)), job))
        os._exit(1)


def _set_up(job: Context, command: str) -> None:
    line = " ".join(command.split())
    said = line if len(line) <= _SHOWN else line[: _SHOWN - 3] + "..."
    context.warn(f"setup: {said}")
    code, output = follow([shutil.which("bash") or "/bin/sh", "-c", command], shown=True)
    if code:
        _fail(job, "setup", f"`{said}` ended with exit code {code}", code, output)


def _provide(job: Context) -> None:
    from . import packages

    try:
        packages.provide(job.spec)
    except packages.InstallError as error:
        os.write(2, error.output)
        _fail(job, "packages", str(error), error.code, error.output)
    except OSError as error:
        _fail(job, "packages", f"they cannot be written: {error}", 1, b"")


def _fail(job: Context, kind: str, said: str, code: int, output: bytes) -> None:
    context.warn(f"{'the setup failed' if kind == 'setup' else 'the packages are not there'}: {said}")
    sys.stderr.flush()
    job.send_failure(failure.encode(failure.of_preparation(kind, said, output, job), job))
    os._exit(code)
