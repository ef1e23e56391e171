"""The user's process: forked by the supervisor, it becomes what a kernel is to a cell, runs the code and leaves.

spec keys read here    kind, command, cwd, env, node_env, sys_path, artifacts, artifact_limit, links, job_dir,
                       output_dir, checkpoint_dir, display_limit, workdir, setup, packages, site
"""

from __future__ import annotations

import _signal  # type: ignore[import-not-found]  # `signal` costs a millisecond more
import builtins
import os
import sys

from . import context
from .supervise import output_dir

TYPE_CHECKING = False
if TYPE_CHECKING:  # importing typing costs a job 3 ms
    from typing import Any, NoReturn

    from .context import Context

PAYLOAD_VARIABLES = "KONDUKTOR_PAYLOAD"
"""Environment variables that begin like this carry the payload, and are gone before user code runs."""


class Pipes:
    """The child's ends of the pipes between it and its supervisor.

    Attributes
    ----------
    log, control : int
        For writing.
    lifeline : int
        Ends when the supervisor ends.
    gate : int
        Ends when the supervisor is ready to watch.
    parent : int
        The supervisor's process id.
    """

    __slots__ = ("control", "gate", "lifeline", "log", "parent")

    def __init__(self, log: int, control: int, lifeline: int, gate: int, parent: int) -> None:
        self.log = log
        self.control = control
        self.lifeline = lifeline
        self.gate = gate
        self.parent = parent


def main(spec: dict[str, Any], rank: int, pipes: Pipes) -> NoReturn:
    """Become the user's process of one node; never returns."""
    os.setsid()
    _signal.set_wakeup_fd(-1)
    _close_others({pipes.log, pipes.control, pipes.lifeline, pipes.gate})
    _die_with_parent(pipes.lifeline, pipes.parent)
    for number in (_signal.SIGTERM, _signal.SIGUSR1, _signal.SIGUSR2, _signal.SIGCHLD, _signal.SIGHUP):
        _signal.signal(number, _signal.SIG_DFL)
    _signal.signal(_signal.SIGINT, _signal.default_int_handler)
    _signal.pthread_sigmask(_signal.SIG_SETMASK, ())
    null = os.open(os.devnull, os.O_RDONLY)
    for fd, number in ((null, 0), (pipes.log, 1), (pipes.log, 2)):
        os.dup2(fd, number)
    if null > 2:
        os.close(null)
    _environment(spec, rank)
    job = context.current = context.Context(spec, rank, pipes.log, pipes.control)
    if spec.get("workdir") or spec.get("setup") or spec.get("packages") or (spec.get("command") and spec.get("links")):
        from .prepare import prepare

        _streams()
        os.read(pipes.gate, 1)
        prepare(job)
    if spec.get("command") and not spec.get("launcher"):
        _become(spec, pipes)
    begin(job, pipes.gate)


def begin(job: Context, gate: int | None = None) -> NoReturn:
    """Run the job in this process, which is set up for it, once the gate opens; never returns."""
    _streams(shared=gate is None)
    code = 1
    try:
        code = _python(job, gate)
    except BaseException:  # noqa: BLE001  what is wrong here is ours; the log is where it can be read
        sys.excepthook(*sys.exc_info())
    finally:
        leave(job, code)


def _close_others(kept: set[int]) -> None:
    """Close what the supervisor has open (its ends of all pipes, its files): none of it is the user's."""
    listing = "/proc/self/fd" if sys.platform == "linux" else "/dev/fd"
    for fd in [int(name) for name in os.listdir(listing)]:
        if fd > 2 and fd not in kept:
            try:
                os.close(fd)
            except OSError:
                continue  # it was the listing's own


def _die_with_parent(lifeline: int, parent: int) -> None:
    """Have the kernel kill this whole process group when the supervisor is gone, however it went.

    The lifeline's other end is held by the supervisor alone. Its end counts as input, and Linux can be told which
    signal input sends, and to whom: that reaches the whole group, where PR_SET_PDEATHSIG reaches one process.
    """
    if sys.platform != "linux":
        return
    import fcntl

    try:
        fcntl.fcntl(lifeline, fcntl.F_SETOWN, -os.getpid())
        fcntl.fcntl(lifeline, fcntl.F_SETSIG, _signal.SIGKILL)
        fcntl.fcntl(lifeline, fcntl.F_SETFL, os.O_ASYNC)
    except OSError:
        return  # a sandbox without it is a container, and everything in that ends with process 1
    if os.getppid() != parent:
        os._exit(128 + _signal.SIGKILL)  # it was gone before this stood


def _environment(spec: dict[str, Any], rank: int) -> None:
    """Set the variables and the directory of the job."""
    for name in [name for name in os.environ if name.startswith(PAYLOAD_VARIABLES)]:
        del os.environ[name]
    if os.environ.get("MPLBACKEND", "").startswith("module://"):
        del os.environ["MPLBACKEND"]  # the kernel's own; figures are ours to show
    os.environ.update(spec.get("env") or {})
    if spec.get("node_env"):
        os.environ.update(spec["node_env"][rank])
    place = output_dir(spec, rank)
    os.makedirs(place, mode=0o700, exist_ok=True)
    for path in (os.path.join(place, "result.json"), context.value_path(spec, rank)):
        try:
            os.unlink(path)  # of an attempt before this one
        except FileNotFoundError:
            continue
    os.environ["KONDUKTOR_OUTPUT_DIR"] = place
    os.environ.setdefault(
        "KONDUKTOR_CHECKPOINT_DIR", spec.get("checkpoint_dir") or os.path.join(spec["job_dir"], "checkpoints")
    )
    if spec.get("cwd"):
        try:
            os.chdir(spec["cwd"])
        except OSError as error:
            os.write(2, (f"konduktor: the working directory cannot be used: {error}\n").encode())
            os._exit(1)


def _become(spec: dict[str, Any], pipes: Pipes) -> NoReturn:
    """Replace this process by the command."""
    command = [str(part) for part in spec["command"]]
    _signal.signal(_signal.SIGPIPE, _signal.SIG_DFL)  # Python ignores these two, and a command would inherit that
    _signal.signal(_signal.SIGXFSZ, _signal.SIG_DFL)
    _signal.signal(_signal.SIGINT, _signal.SIG_DFL)
    os.set_inheritable(pipes.lifeline, True)
    os.read(pipes.gate, 1)
    try:
        os.execvp(command[0], command)  # noqa: S606
    except OSError as error:
        os.write(2, (f"konduktor: {command[0]}: {error.strerror}\n").encode("utf-8", "surrogateescape"))
        os._exit(127 if isinstance(error, FileNotFoundError) else 126)


def _streams(*, shared: bool = False) -> None:
    """Give Python unbuffered streams on the pipe, and a standard input that is at its end.

    A pipe that is shared with other processes gets whole lines, so that those of one do not mix with another's.
    """
    import io

    class Raw(io.FileIO):
        """The pipe; writes all it is given, also when a signal interrupts it or the pipe is non-blocking."""

        def write(self, data: Any) -> int:
            written = super().write(data)
            size = memoryview(data).nbytes
            if written == size:
                return size
            left = memoryview(data).cast("B")[written or 0 :]
            while left:
                if not written:
                    import select

                    select.select([], [self.fileno()], [])
                written = super().write(left)
                left = left[written or 0 :]
            return size

    for fd, name in ((1, "stdout"), (2, "stderr")):
        raw = Raw(fd, "w", closefd=False)
        raw.name = f"<{name}>"
        buffer: Any = io.BufferedWriter(raw) if shared else raw
        # As with `python -u`; no text can fail to be encoded.
        stream = io.TextIOWrapper(
            buffer, "utf-8", errors="backslashreplace", newline="\n", line_buffering=shared, write_through=not shared
        )
        stream.mode = "w"  # type: ignore[misc]
        setattr(sys, name, stream)
        setattr(sys, f"__{name}__", stream)
    sys.stdin = sys.__stdin__ = io.TextIOWrapper(io.BufferedReader(io.FileIO(0, "r", closefd=False)), encoding="utf-8")  # type: ignore[misc]


def _python(job: Context, gate: int | None) -> int:
    """Load the payload and run it, or have torchrun do so; gives the exit code."""
    import faulthandler

    faulthandler.enable(2)
    if job.spec.get("launcher") and gate is not None:
        from . import torchrun

        _paths(job)
        _pass(gate)
        return torchrun.run(job)
    if job.spec.get("kind") == "map" and gate is not None:
        from . import agent

        return agent.run(job, gate)
    loaded = load(job)
    if loaded is None:
        return 1
    if gate is not None:
        _pass(gate)
    if job.meta["kind"] == "cell":
        from .cell import run
    else:
        from .call import run
    return run(job, loaded)


def load(job: Context) -> Any:
    """Load the payload; None if that fails, which is the job's failure then."""
    try:
        return _load(job)
    except BaseException as error:  # noqa: BLE001  unpickling runs code of the user's
        from . import failure

        failure.send(job, failure.of_loading(error, job))
        return None


def _pass(gate: int) -> None:
    """Wait until the supervisor is ready to watch."""
    os.read(gate, 1)
    os.close(gate)


def _load(job: Context) -> Any:
    """Check and unpickle the payload into a fresh main namespace."""
    from . import carried, codec, hooks, received, stub

    data = received.pack(job)
    header = codec.read_header(data)
    job.meta = header["meta"]
    carried.offer(first=header["cloudpickle"] is not None)
    _paths(job)
    main = type(sys)("__main__")
    job.namespace = main.__dict__
    job.namespace["__builtins__"] = builtins
    sys.modules["__main__"] = main
    sys.argv = [job.spec["name"]]
    stub.install()
    hooks.install(job)
    loaded = codec.load(data, lambda digest, size: received.buffer(job, digest, size), job.namespace)
    job.namespace.update(loaded.indirect)
    for submodule in job.meta.get("submodules") or ():
        __import__(submodule)  # the cell spells package.submodule out, and importing the package need not import it
    job.notes = loaded.notes
    return loaded


def _paths(job: Context) -> None:
    """Set the places modules are imported from."""
    if job.spec.get("sys_path") is not None:
        sys.path[:] = job.spec["sys_path"]
    elif "" not in sys.path:
        sys.path.insert(0, "")
    if job.spec.get("site"):
        from .packages import put_on_path

        put_on_path(job.spec)
    modules = job.meta.get("modules") or {}
    if modules.get("buffer"):
        from . import received
        from .modules import extract

        digest = modules["buffer"]
        job.modules = extract(received.whole(job, digest), digest, job.spec["job_dir"])
        sys.path.insert(0, job.modules)


def leave(job: Context, code: int) -> NoReturn:
    """End as Python ends: wait for threads, run what was registered, flush. Then go, past the supervisor's frames."""
    try:
        if "threading" in sys.modules:
            from .leave import join_threads

            join_threads()
        import atexit

        atexit._run_exitfuncs()
    except SystemExit:
        pass
    except BaseException:  # noqa: BLE001  as Python does with what is raised at exit
        sys.excepthook(*sys.exc_info())
    finally:
        for stream in (sys.stdout, sys.stderr):
            try:
                stream.flush()
            except (AttributeError, OSError, ValueError):
                continue  # the user's code has replaced or closed it
        os._exit(code)
