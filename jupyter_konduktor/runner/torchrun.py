"""A node of a job that is launched by torchrun: the user's process becomes torchrun's agent, which starts the workers.

How many workers there are, on how many nodes and where they meet stands in the environment (``PET_*``), as torchrun
reads it. A worker is a new interpreter that loads the payload and runs it (`worker`); a command is what it always was.

spec keys read here    command, job_dir, launcher
"""

from __future__ import annotations

import json
import os
import sys

from . import context

TYPE_CHECKING = False
if TYPE_CHECKING:  # importing typing costs a job 3 ms
    from typing import Any

    from .context import Context

_PACKAGE = "_konduktor_runner"
_SCRIPT = '''"""Begins a worker that torchrun has started."""
import sys
sys.path[:] = [entry for entry in sys.path if entry != {place!r}]
sys.modules[{package!r}] = type(sys)({package!r})
sys.modules[{package!r}].__path__ = [{folder!r}]
from {package}.worker import main
main({spec!r})
'''


def run(job: Context) -> int:
    """Run the workers of this node to their end; gives the exit code of the one that failed first."""
    try:
        from torch.distributed.elastic.agent.server import api
        from torch.distributed.elastic.multiprocessing.api import SignalException
        from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
        from torch.distributed.run import main as launch
    except ImportError as error:
        context.warn(
            f"--launcher torchrun: torch is not installed where the job runs ({error}); "
            "take an image that has it, or say --packages torch"
        )
        return 1
    _end_with_failure(api)
    os.environ.setdefault("PET_MONITOR_INTERVAL", "0.1")  # older versions look after the workers every 5 s only
    value = context.value_path(job.spec, job.rank)
    command = job.spec.get("command") or [sys.executable, _script(job)]
    try:
        launch(["--no_python", *map(str, command)])
    except ChildFailedError as failed:
        rank, failure = failed.get_first_failure()
        code = failure.exitcode if failure.exitcode > 0 else 128 - failure.exitcode
        context.warn(f"rank {rank} failed: {_described(failure)}")
        return int(code)
    except SignalException as ended:
        return 128 + int(ended.sigval)
    finally:
        # What a worker left there is sent as any value is: the supervisor looks only where nothing was sent.
        if os.path.exists(value):
            with open(value, "rb") as file:
                job.send_value(file.read())
    return 0


def _end_with_failure(api: Any) -> None:
    """Have an agent whose worker has failed end at once: it would wait for the others, for up to 300 s."""
    original = api.SimpleElasticAgent._exit_barrier

    def exit_barrier(agent: Any) -> None:
        if agent.get_worker_group().state is not api.WorkerState.FAILED:
            original(agent)

    api.SimpleElasticAgent._exit_barrier = exit_barrier


def _described(failure: Any) -> str:
    if failure.exitcode < 0:
        return f"ended by {failure.signal_name()}"
    return f"exit code {failure.exitcode}"


def _script(job: Context) -> str:
    """Write what a worker begins with, and the spec that it reads: both are this node's and nobody else's."""
    place = str(job.spec["job_dir"])
    path = os.path.join(place, f"worker-{job.rank}")
    folder = os.path.dirname(os.path.abspath(__file__))
    script = _SCRIPT.format(package=_PACKAGE, folder=folder, place=place, spec=path + ".json")
    for name, text in ((path + ".json", json.dumps({**job.spec, "rank": job.rank})), (path + ".py", script)):
        fd = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        with os.fdopen(fd, "w", encoding="utf-8", errors="surrogateescape") as file:
            file.write(text)
    _forget(f"{path}.failed")
    return path + ".py"


def _forget(path: str) -> None:
    try:
        os.unlink(path)  # of an attempt before this one
    except FileNotFoundError:
        pass
