"""The worker of a map on each node: it has items run one after the other in a process of its own, and sees what ends.

The process loads the payload once and keeps what its code keeps. An item that ends it, whatever way, has failed; the
next one runs in a new process. This one runs no code of the user's, and is what the supervisor signals and waits for.
"""

from __future__ import annotations

import os
import select
import signal
import sys
import time

from . import child, failure, tree
from .context import Pipe, warn
from .pull import Own, Shared, UnreachableError
from .supervise import LEFTOVER_GRACE

TYPE_CHECKING = False
if TYPE_CHECKING:  # importing typing costs a job 3 ms
    from typing import Any, NoReturn

    from .context import Context

_LOOK = 0.02  # seconds between two looks whether what an item has left behind is gone


class _ToldError(Exception):
    """Someone has told the worker to end."""


class _QuitError(Exception):
    """The process has ended in a way that ends the job."""


def run(job: Context, gate: int) -> int:
    """Have the items of a map run until none is left, here or on another node; gives the exit code."""
    return Agent(job).run(gate)


class Agent:
    """The worker of one node.

    Parameters
    ----------
    job : Context
    """

    def __init__(self, job: Context) -> None:
        self._job = job
        several = int(job.spec.get("nodes") or 1) > 1
        self._items: Own | Shared = Shared(job, self._fork) if several else Own(job)
        self._pid = 0  # of the process that runs the items
        self._status: int | None = None  # how that has ended, once it has
        self._orders = self._answers = -1  # pipes to it and from it
        self._unread = b""
        self._idle = False  # nothing runs, and nothing is kept by ending at once
        self._told = 0  # the signal that has told this one to end
        self._wakeup = (-1, -1)

    def run(self, gate: int) -> int:
        """Run to the end; gives the exit code.

        Parameters
        ----------
        gate : int
            Ends when the supervisor is ready to watch.
        """
        tree.adopt_orphans()  # what an item leaves behind ends with the process that ran it
        self._listen()
        self._start()
        os.read(gate, 1)
        os.close(gate)
        try:
            self._await_loaded()
            self._work()
        except _ToldError:
            self._items.leave()
            self._wait()
            return self._end_like(self._told)
        except _QuitError:
            self._items.leave()
            self._wait()
            return self._end_like(self._status or 0) or 1
        except UnreachableError as error:
            os.kill(self._pid, signal.SIGKILL)
            self._wait()
            failure.send(self._job, failure.of_loading(error, self._job))
            return 1
        self._items.close()
        self._wait()
        if self._status:
            warn(f"the process that ran the items has ended with {_described(self._status)} after the last of them")
        return 0

    def _work(self) -> None:
        """Run items until none is left."""
        while True:
            index = self._next()
            outcome = self._run(index) if index is not None else None
            if index is None or outcome is None:
                return
            self._items.finish(index, *outcome)

    def _next(self) -> int | None:
        self._idle = True
        try:
            if self._told:
                raise _ToldError
            return self._items.next()
        finally:
            self._idle = False

    def _run(self, index: int) -> tuple[bool, bytes] | None:
        """Run one item; gives whether it failed, and its envelope. None if all others have ended meanwhile."""
        self._reap()
        if self._status is not None:
            self._start()
            self._await_loaded()
        kills = tree.out_of_memory_kills()
        try:
            os.write(self._orders, b"%d\n" % index)
        except BrokenPipeError:
            pass  # it has ended just now
        line = self._answer(index)
        if line is None and self._status is None:
            os.kill(self._pid, signal.SIGKILL)
            self._wait()
            self._status = 0  # what it did is done already
            return None
        if line is None:
            return True, self._died(index, kills)
        if line == b"quit":
            raise _QuitError
        failed, _, envelope = line.partition(b" ")
        return failed == b"1", envelope

    # --- the process that runs the items

    def _start(self) -> None:
        """Start it; it loads the payload."""
        self._close_pipes()
        orders, answers = os.pipe(), os.pipe()
        self._status, self._unread = None, b""
        self._orders, self._answers = orders[1], answers[0]
        self._pid = self._fork()
        if self._pid == 0:
            self._become(orders[0], answers[1])
        os.close(orders[0])
        os.close(answers[1])
        os.set_blocking(self._answers, False)

    def _become(self, orders: int, answers: int) -> NoReturn:
        """Be that process; never returns."""
        job, code = self._job, 1
        job.pid = os.getpid()
        signal.signal(signal.SIGINT, signal.default_int_handler)
        try:
            loaded = child.load(job)
            if loaded is not None:
                from .call import run_items

                pipe = Pipe(answers)
                pipe.write(b"loaded\n")
                code = run_items(job, loaded, orders, pipe)
        except BaseException:  # noqa: BLE001  what is wrong here is ours; the log is where it can be read
            sys.excepthook(*sys.exc_info())
        finally:
            child.leave(job, code)

    def _await_loaded(self) -> None:
        """Wait until it has loaded the payload; that it does not is the job's failure, which it has told itself."""
        if self._answer() is None:
            raise _QuitError

    def _answer(self, running: int | None = None) -> bytes | None:
        """Wait for a line from it; None if it has ended without one, or all items have ended meanwhile."""
        poll = select.poll()
        for fd in (self._answers, self._wakeup[0]):
            poll.register(fd, select.POLLIN)
        while True:
            line, newline, rest = self._unread.partition(b"\n")
            if newline:
                self._unread = rest
                return line
            watched = self._items.fd if running is not None else -1
            if watched >= 0:
                poll.register(watched, select.POLLIN)
            events = {fd for fd, _ in poll.poll()}
            if watched >= 0:
                poll.unregister(watched)
            if self._wakeup[0] in events:
                os.read(self._wakeup[0], 512)
                self._reap()
            if self._told:
                raise _ToldError
            if not self._read() and self._answers in events:
                poll.unregister(self._answers)  # it has closed the pipe, and goes on for now
            if self._status is not None and b"\n" not in self._unread:
                return None
            if running is not None and watched in events and self._items.is_over(running):
                return None

    def _read(self) -> bool:
        """Read what it has written; False at the end."""
        try:
            data = os.read(self._answers, 1 << 16)
        except BlockingIOError:
            return True
        self._unread += data
        return bool(data)

    def _died(self, index: int, kills: int) -> bytes:
        """Make the envelope of an item that has ended the process which ran it."""
        status = self._status or 0
        said = f"item {index} has ended the process that ran it: {_described(status, kills)}"
        self._clear()
        warn(f"{said}; the next one runs in a new process")
        code = 128 + os.WTERMSIG(status) if os.WIFSIGNALED(status) else os.WEXITSTATUS(status)
        return failure.of_item(index, said, code or 1, self._job)

    def _clear(self) -> None:
        """End what a process has left behind: the next one needs its memory and its GPU."""
        until = time.monotonic() + LEFTOVER_GRACE
        number = signal.SIGTERM
        while True:
            left = [pid for pid in tree.descendants(os.getpid()) if pid != self._items.host]
            for pid in left:
                try:
                    os.kill(pid, number)
                except ProcessLookupError:
                    continue
            if not left or number == signal.SIGKILL:
                return
            while time.monotonic() < until and any(map(_exists, left)):
                self._reap()
                time.sleep(_LOOK)
            number = signal.SIGKILL

    def _wait(self) -> None:
        """Wait until it has ended, as it does when nothing more is asked of it."""
        os.close(self._orders)
        self._orders = -1
        while self._status is None:
            try:
                self._status = os.waitpid(self._pid, 0)[1]
            except ChildProcessError:
                return

    def _reap(self) -> None:
        """Take note of every child that has ended."""
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            if pid == self._pid:
                self._status = status

    # --- this process

    def _listen(self) -> None:
        """Hear of children that end, and of being told to end."""
        self._wakeup = os.pipe()
        for fd in self._wakeup:
            os.set_blocking(fd, False)
        signal.set_wakeup_fd(self._wakeup[1], warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda number, frame: None)
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # it reaches the code that it is meant for, which ends the job
        signal.signal(signal.SIGTERM, self._on_term)
        for number in (signal.SIGUSR1, signal.SIGUSR2):
            signal.signal(number, self._on_user_signal)

    def _on_term(self, number: int, frame: Any) -> None:
        """End: what runs has the grace period, and what becomes of it is nobody's business any more."""
        self._told = number
        if self._idle:
            raise _ToldError

    def _on_user_signal(self, number: int, frame: Any) -> None:
        """Hand a signal on to the code that it is meant for."""
        if self._status is None:
            os.kill(self._pid, number)

    def _fork(self) -> int:
        """Fork; the new process has nothing of what this one is made of."""
        pid = os.fork()
        if pid == 0:
            signal.set_wakeup_fd(-1)
            for number in (signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2, signal.SIGCHLD):
                signal.signal(number, signal.SIG_DFL)
            for fd in (*self._wakeup, self._orders, self._answers, self._items.fd):
                if fd >= 0:
                    os.close(fd)
        return pid

    def _close_pipes(self) -> None:
        for fd in (self._orders, self._answers):
            if fd >= 0:
                os.close(fd)
        self._orders = self._answers = -1

    def _end_like(self, status: int) -> int:
        """End by the signal that a status tells of; gives its exit code if it tells of none."""
        if not os.WIFSIGNALED(status):
            return os.WEXITSTATUS(status)
        import faulthandler

        faulthandler.disable()
        number = os.WTERMSIG(status)
        if number != signal.SIGKILL:
            signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)
        return 128 + number


def _described(status: int, kills: int | None = None) -> str:
    if not os.WIFSIGNALED(status):
        return f"exit code {os.WEXITSTATUS(status)}"
    number = os.WTERMSIG(status)
    return f"{tree.signal_name(number)}{tree.cause(number, kills)}"


def _exists(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True
