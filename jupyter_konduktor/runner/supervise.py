"""The parent of a job: it forks the user's process on every node, carries its output and sees how it ends.

The parent never runs code of the user. It forks first and imports most of what it needs later, while the user's
process already starts. One `Supervisor` runs one attempt; restarts are the caller's. Keys of the spec that are read
here: name, kind, nonce, nodes, rank, node_env, grace, timeout, output_dir (`child` has the others).
"""

from __future__ import annotations

import _signal  # type: ignore[import-not-found]  # `signal` itself makes enums; nothing needs them before the fork
import os
import sys
import time

from . import tree
from .node import READ_SIZE, Node
from .reporter import Reporter as Reporter

TYPE_CHECKING = False
if TYPE_CHECKING:  # importing typing costs a job 3 ms
    from collections.abc import Callable
    from typing import Any

GRACE = 10.0
"""Seconds between SIGTERM and SIGKILL when the spec names none."""

LEFTOVER_GRACE = 1.0
"""Seconds that processes which outlive the user's process get to clean up (shared memory, semaphores)."""

LEFTOVER_PATIENCE = 10.0
"""Seconds after which a process that SIGKILL does not end (it hangs in the kernel) no longer holds the job up."""

_FORWARDED = (_signal.SIGTERM, _signal.SIGINT, _signal.SIGUSR1, _signal.SIGUSR2)
_F_SETPIPE_SZ = 1031  # Linux; fcntl names it from Python 3.10 on
_BURST = 0.005
_BURST_READS = 5
_BURST_PAUSE = 0.002
_KILL_AGAIN = 0.05


class Supervisor:
    """Runs one attempt of a job.

    Parameters
    ----------
    spec : dict
        The job, as JSON brings it.
    reporter : Reporter

    Attributes
    ----------
    pids : list of int
        The user's process of each node, leader of a session and a process group of its own, once `start` was called.
    ended_by : str or None
        Why the attempt was ended from outside: ``"SIGTERM"``, ``"SIGINT"``, ``"timeout"``, or what `stop` was given.
    message : str
        How it ended, in a few words ("exit code 3"); complete when ``reporter.finished`` is called.
    """

    def __init__(self, spec: dict[str, Any], reporter: Reporter) -> None:
        self.spec = spec
        self.reporter = reporter
        self.pids: list[int] = []
        self.ended_by: str | None = None
        self.message = ""
        self._nodes: list[Node] = []
        self._failed: Node | None = None
        self._kill_at: float | None = None
        self._give_up_at: float | None = None
        self._timers: list[tuple[float, Callable[[], None]]] = []
        self._watched: dict[int, Callable[[], None]] = {}
        self._items: dict[int, bool] = {}  # index of a finished item -> whether it failed
        self._all_items = False
        self._last_output = 0.0
        self._burst = 0  # reads that followed each other closely
        self._gate = (-1, -1)
        self._lifelines: list[int] = []  # held open until this process ends
        self._poll: Any = None
        self._wakeup = (-1, -1)
        self._out_of_memory_kills = 0

    # --- what callers use

    def start(self) -> None:
        """Fork the user's processes; they prepare themselves, and run the user's code once `run` is called.

        Call this as early as possible, with as little imported as possible and no thread running.
        """
        # Until the handlers stand, signals wait: without handlers SIGTERM would end a plain process, and process 1 of
        # a container would not see it at all.
        _signal.pthread_sigmask(_signal.SIG_BLOCK, _FORWARDED)
        self._gate = os.pipe()
        ranks = range(int(self.spec.get("nodes") or 1)) if self.spec.get("rank") is None else [self.spec["rank"]]
        for rank in ranks:
            self._nodes.append(self._fork(rank))
        os.close(self._gate[0])
        self.pids = [node.pid for node in self._nodes]

    def run(self) -> int:
        """Run the attempt to its end and report it; gives the exit code of the job.

        Every child of this process is waited for, so the caller must have no others by then.
        """
        if not self._nodes:
            self.start()
        try:
            self._prepare()
            for node in self._nodes:
                self.reporter.started(node.rank)
            if self.spec.get("timeout"):
                self.call_later(float(self.spec["timeout"]), lambda: self.stop("timeout"))
            while any(node.status is None for node in self._nodes) or self._leftovers():
                self._turn()
            for node in self._nodes:
                self._drain(node)
        except BaseException:
            self._signal_all(_signal.SIGKILL)
            raise
        self._close()
        return self._finish()

    def stop(self, reason: str, signal: int = _signal.SIGTERM) -> None:
        """End the attempt: the signal to every process of it, the grace period, SIGKILL."""
        if self.ended_by is None and self._failed is None:
            self.ended_by = reason
        self.reporter.stopping()
        self._end(signal)

    def call_later(self, seconds: float, callback: Callable[[], None]) -> None:
        """Have something called from `run` after a time."""
        self._timers.append((time.monotonic() + seconds, callback))

    def watch(self, fd: int, callback: Callable[[], None]) -> None:
        """Have something called from `run` whenever a file descriptor can be read; it must read it."""
        self._watched[fd] = callback
        if self._poll is not None:
            self._register(fd)

    # --- starting

    def _fork(self, rank: int) -> Node:
        log_read, log_write = os.pipe()
        control_read, control_write = os.pipe()
        lifeline_read, lifeline_write = os.pipe()
        parent = os.getpid()
        pid = os.fork()
        if pid:
            for fd in (log_write, control_write, lifeline_read):
                os.close(fd)
            self._lifelines.append(lifeline_write)
            return Node(rank, pid, log_read, control_read, self.spec["nonce"])
        try:
            from . import child

            child.main(self.spec, rank, child.Pipes(log_write, control_write, lifeline_read, self._gate[0], parent))
        except BaseException:  # noqa: BLE001  nothing of the child may ever return into the parent's code
            sys.excepthook(*sys.exc_info())
        finally:
            os._exit(70)

    def _prepare(self) -> None:
        """Get ready to watch the processes, then let them run the user's code."""
        import select
        import signal

        self._poll = select.poll()
        tree.adopt_orphans()
        self._wakeup = os.pipe()
        for fd in self._wakeup:
            os.set_blocking(fd, False)
        signal.set_wakeup_fd(self._wakeup[1], warn_on_full_buffer=False)
        for number in (*_FORWARDED, signal.SIGCHLD):
            signal.signal(number, lambda number, frame: None)
        self._register(self._wakeup[0], *self._watched)
        for node in self._nodes:
            _enlarge(node.log)
            self._register(node.log, node.control)
        self._out_of_memory_kills = tree.out_of_memory_kills()
        os.close(self._gate[1])
        _signal.pthread_sigmask(_signal.SIG_UNBLOCK, _FORWARDED)
        self._reap()  # a process may have ended before SIGCHLD had a handler

    def _register(self, *fds: int) -> None:
        import select

        for fd in fds:
            self._poll.register(fd, select.POLLIN)

    # --- the loop

    def _turn(self) -> None:
        """Wait for something to happen and deal with it."""
        events = {fd for fd, _ in self._poll.poll(self._timeout())}
        if self._wakeup[0] in events:
            self._signals()
        for node in self._nodes:
            if node.control in events:
                self._read_messages(node)
        writers = [node for node in self._nodes if node.log in events]
        if writers:
            self._burst = self._burst + 1 if time.monotonic() - self._last_output < _BURST else 0
            if self._burst > _BURST_READS:
                time.sleep(_BURST_PAUSE)  # let a flood gather: a read per millisecond, not per line
            for node in writers:
                self._read_log(node)
            self._last_output = time.monotonic()
        for fd in events & set(self._watched):
            self._watched[fd]()
        self._due()

    def _timeout(self) -> float | None:
        """Give the milliseconds until something is due."""
        times = [when for when, _ in self._timers]
        for node in self._nodes:
            times += [when for when in (node.group_deadline, node.encoder.deadline) if when is not None]
        if self._kill_at is not None:
            times.append(self._kill_at)
        return max(0.0, min(times) - time.monotonic()) * 1000 + 1 if times else None

    def _due(self) -> None:
        """Do what has become due."""
        now = time.monotonic()
        for node in self._nodes:
            if node.encoder.deadline is not None and node.encoder.deadline <= now:
                self._write(node, node.encoder.flush())
            if node.group_deadline is not None and node.group_deadline <= now:
                node.group_deadline = None
                tree.signal_group(node.pid, _signal.SIGKILL)
        if self._kill_at is not None and self._kill_at <= now:
            self._kill_at = now + _KILL_AGAIN  # for what was forked meanwhile
            self._signal_all(_signal.SIGKILL)
        for timer in [timer for timer in self._timers if timer[0] <= now]:
            self._timers.remove(timer)
            timer[1]()

    def _signals(self) -> None:
        """Deal with the signals that have arrived."""
        try:
            numbers = os.read(self._wakeup[0], 512)
        except BlockingIOError:
            return
        for number in set(numbers):
            if number in (_signal.SIGTERM, _signal.SIGINT):
                self.stop(tree.signal_name(number), number)
            elif number in _FORWARDED:
                for node in self._nodes:
                    if node.status is None:
                        os.kill(node.pid, number)
        self._reap()

    def _reap(self) -> None:
        """Take note of every child that has ended."""
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            for node in self._nodes:
                if node.pid == pid and node.status is None:
                    node.ended(status)
                    self._ended(node)

    def _ended(self, node: Node) -> None:
        """See to what follows from the end of a node's process."""
        # What it leaves behind on its node ends with it, as it would in a container.
        if tree.signal_group(node.pid, _signal.SIGTERM):
            node.group_deadline = time.monotonic() + LEFTOVER_GRACE
        if node.status and self._failed is None:
            self._failed = node
            if any(other.status is None for other in self._nodes):
                self._end(_signal.SIGTERM)

    def _end(self, signal: int) -> None:
        """Signal every process of the attempt, and kill what is left after the grace period."""
        self._signal_all(signal)
        if self._kill_at is None:
            self._kill_at = time.monotonic() + float(self.spec.get("grace", GRACE))

    def _signal_all(self, signal: int) -> None:
        """Signal the groups that may still be signalled by their number, and all else that descends from this."""
        groups = {node.pid for node in self._nodes if node.status is None or node.group_deadline is not None}
        for group in groups:
            tree.signal_group(group, signal)
        tree.signal_others(groups, signal)

    def _leftovers(self) -> bool:
        """Whether processes are left when every node's own has ended; sees to it that they end."""
        self._reap()
        groups = [node.pid for node in self._nodes if node.group_deadline is not None]
        if not tree.descendants(os.getpid()) and not any(tree.signal_group(group, 0) for group in groups):
            return False
        now = time.monotonic()
        if self._give_up_at is None:
            self._give_up_at = now + LEFTOVER_GRACE + LEFTOVER_PATIENCE
            if self._kill_at is None or self._kill_at > now + LEFTOVER_GRACE:
                self._signal_all(_signal.SIGTERM)
                self._kill_at = now + LEFTOVER_GRACE
        if now > self._give_up_at:
            self.reporter.warning(f"processes {tree.descendants(os.getpid())} cannot be killed and are left behind")
            return False
        return True

    # --- output

    def _read_log(self, node: Node) -> bool:
        """Read what a node has written; False if there is nothing (now, or any more)."""
        fd = node.log
        data = node.read_log()
        if data is None and fd >= 0:
            self._poll.unregister(fd)
        if not data:
            return False
        self._write(node, node.encoder.feed(data))
        return True

    def _write(self, node: Node, data: bytes) -> None:
        """Hand output on; where it cannot be written the job goes on without it."""
        if not data:
            return
        try:
            if node.lost:
                note = f"\n[konduktor: about {node.lost} bytes of output could not be written and are lost]\n"
                self.reporter.log(node.rank, note.encode())
                node.lost = 0
            self.reporter.log(node.rank, data)
        except OSError as error:
            if not node.lost:
                self.reporter.warning(f"the output of node {node.rank} cannot be written: {error}")
            node.lost += len(data)

    def _read_messages(self, node: Node) -> bool:
        """Take what our code in the user's process sends; False if there is nothing (now, or any more).

        The messages are ``value V``, ``item INDEX FAILED ENVELOPE`` and ``done``, when all items of a map are.
        """
        fd = node.control
        messages = node.read_messages()
        if messages is None and fd >= 0:
            self._poll.unregister(fd)
        for message in messages or ():
            word, _, rest = message.partition(b" ")
            if word == b"value":
                node.value = rest
            elif word == b"done":
                self._all_items = self._all_items or node.rank == 0
            elif word == b"item" and node.rank == 0:
                index, failed, envelope = rest.split(b" ", 2)
                if int(index) not in self._items:  # a coordinator that takes the place of another tells all again
                    self._items[int(index)] = failed == b"1"
                    self.reporter.item(int(index), envelope)
        return bool(messages)

    def _drain(self, node: Node) -> None:
        """Read what is left in a node's pipes, without waiting for whoever may still hold their other ends."""
        while self._read_log(node):
            pass
        self._write(node, node.encoder.flush(end=True))
        while self._read_messages(node):
            pass

    # --- the end

    def _close(self) -> None:
        """Close what this attempt has opened; another one may follow in the same process."""
        _signal.set_wakeup_fd(-1)
        for node in self._nodes:
            node.close()
        for fd in (*self._wakeup, *self._lifelines):
            os.close(fd)

    def _finish(self) -> int:
        from . import envelope

        speaker = self._failed or self._nodes[0]
        code = speaker.status or 0
        self.message = self._describe(speaker)
        if self._all_items:
            # That items have failed is told by the envelope: the node itself has done what it was to do.
            failed = sum(self._items.values())
            message = envelope.build(1 if failed else 0, b'{"items":%d,"failed":%d}' % (len(self._items), failed))
        else:
            value = speaker.value or _left_value(self.spec, speaker.rank)
            if self.spec.get("rank"):
                message = envelope.build(code, value if code else None)  # node 0 is the one that reports
            else:
                message = envelope.collect(code, value, output_dir(self.spec, speaker.rank))
        codes = [node.status for node in self._nodes]
        failed_node = self._failed.rank if self._failed else None
        self.reporter.finished(message, codes, failed_node, speaker.signal)
        return code

    def _describe(self, node: Node) -> str:
        """Say in a few words how the attempt ended."""
        where = f" on node {node.rank}" if len(self._nodes) > 1 else ""
        if node.signal is None:
            return f"exit code {node.status}{where}"
        kills = self._out_of_memory_kills if self._kill_at is None else None
        return f"ended by {tree.signal_name(node.signal)}{where}{tree.cause(node.signal, kills)}"


def output_dir(spec: dict[str, Any], rank: int) -> str:
    """Name the directory in which a node's process may leave ``result.json``."""
    if spec.get("node_env"):
        given = spec["node_env"][rank].get("KONDUKTOR_OUTPUT_DIR")
        if given:
            return str(given)
    place = str(spec["output_dir"])
    return place if rank == 0 or spec.get("rank") is not None else f"{place.rstrip('/')}-{rank}"


def _left_value(spec: dict[str, Any], rank: int) -> bytes | None:
    """Read the value that a process could not send."""
    from .context import value_path

    try:
        with open(value_path(spec, rank), "rb") as file:
            return file.read()
    except FileNotFoundError:
        return None


def _enlarge(pipe: int) -> None:
    """Give a pipe room for a burst, where the system allows it."""
    if sys.platform != "linux":
        return
    import fcntl

    try:
        fcntl.fcntl(pipe, _F_SETPIPE_SZ, READ_SIZE)
    except OSError:
        return  # this user has used up /proc/sys/fs/pipe-user-pages-soft; 64 KiB do as well
