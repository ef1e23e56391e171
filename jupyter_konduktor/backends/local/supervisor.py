"""The process that owns one job: it runs the attempts, writes down what happens, and admits who comes next."""

from __future__ import annotations

import json
import os
import signal
import sys
import time

from jupyter_konduktor.backends.local import process
from jupyter_konduktor.backends.local.layout import Layout
from jupyter_konduktor.backends.local.recorder import Recorder
from jupyter_konduktor.runner.supervise import Reporter, Supervisor

TYPE_CHECKING = False
if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable
    from typing import Any

    from jupyter_konduktor.backends.local.store import Store
    from jupyter_konduktor.backends.local.verdict import Verdict

RING_PAUSE = 0.05
"""Least seconds between two times that the watchers hear of new output."""

_PATIENCE = 60.0  # seconds for which a full disk or a locked database is waited for at the end
_LOCK_PAUSES = (0.001, 0.01, 0.1, 0.5, 0.0)
_FIRST_FD = 3
_PORTS = {"MASTER_PORT", "PET_MASTER_PORT"}


def main(root: str, name: str, uid: str, attempt: str, devices: str) -> None:
    """Run a job that was admitted, to its end."""
    # What the kernel's libraries left open for their children (GPUs, sockets) must not outlive the kernel here.
    os.closerange(_FIRST_FD, os.sysconf("SC_OPEN_MAX"))
    JobSupervisor(Layout(root), name, uid, int(attempt), devices.split(",") if devices else []).run()


class JobSupervisor(Reporter):
    """Runs one job; the attempts report to it.

    Nothing that takes time comes before the user's process is forked, and the user's code does not start before the
    database says that the job runs.

    Parameters
    ----------
    layout : Layout
    name, uid : str
    attempt : int
        The one to begin with.
    devices : list of str
        The GPUs it was given.
    """

    def __init__(self, layout: Layout, name: str, uid: str, attempt: int, devices: list[str]) -> None:
        self._layout = layout
        self._name = name
        self._uid = uid
        self._attempt = attempt
        self._devices = devices
        self._spec: dict[str, Any] = {}
        self._recorder: Recorder
        self._runner: Supervisor
        self._verdict: Verdict
        self._store: Store | None = None
        self._deadline: float | None = None
        self._rung = 0.0
        self._ring_due = False

    def run(self) -> None:
        """Run the attempts until one succeeds, no further one is due, or someone ends them."""
        if not self._take_lock():
            return  # another supervisor has this job
        with open(os.path.join(self._layout.job(self._name), "spec.json"), encoding="ascii") as file:
            self._spec = json.load(file)
        restarts = 0
        while self._run_attempt(restarts):
            self._attempt += 1
            restarts += 1

    def _take_lock(self) -> bool:
        """Lock the job for as long as this process lives; False if another supervisor has it."""
        for pause in _LOCK_PAUSES:
            if process.take_lock(self._layout.lock(self._name)) is not None:
                return True
            time.sleep(pause)  # whoever asks whether a job is locked holds the lock for an instant
        return False

    def _run_attempt(self, restarts: int) -> bool:
        """Run the present attempt and put its end into the database; whether another one is to follow."""
        try:
            self._recorder = Recorder(self._layout, self._name, self._attempt)
        except FileExistsError:
            return False  # another supervisor has had this attempt
        self._runner = Supervisor(self._attempt_spec(restarts), self)
        self._runner.start()
        if not self._patiently(self._claim):
            for pid in self._runner.pids:
                os.kill(pid, signal.SIGKILL)
            return False
        self._runner.run()
        self._recorder.close()
        may_restart = restarts < self._spec["max_restarts"]
        return self._patiently(lambda store: self._settle(store, may_restart=may_restart))

    def _attempt_spec(self, restarts: int) -> dict[str, Any]:
        spec, nodes = self._spec, self._spec["nodes"]
        per_node = len(self._devices) // nodes
        outputs = [self._recorder.output(node) for node in range(nodes)]
        environments = []
        for node in range(nodes):
            mine = {"KONDUKTOR_OUTPUT_DIR": outputs[node], "JOB_COMPLETION_INDEX": str(node)}
            alone = spec["kind"] == "map"  # each worker is a group of its own
            mine.update(dict.fromkeys(("RANK", "PET_NODE_RANK"), "0" if alone else str(node)))
            if alone:
                mine.update(dict.fromkeys(_PORTS - set(spec["env"]), str(_free_port())))
            if spec["hide_gpus"]:
                mine["CUDA_VISIBLE_DEVICES"] = ",".join(self._devices[node * per_node : (node + 1) * per_node])
            environments.append(mine)
        env = {**dict.fromkeys(_PORTS, str(_free_port())), "RESTART_ATTEMPT": str(restarts), **spec["env"]}
        timeout = spec["timeout"]
        if timeout is not None:  # for all attempts together
            self._deadline = self._deadline or time.monotonic() + timeout
            timeout = max(0.001, self._deadline - time.monotonic())
        return {
            **spec,
            "env": env,
            "node_env": environments,
            "attempt": self._attempt,
            "timeout": timeout,
            "job_dir": self._recorder.folder,
            "output_dir": outputs[0],
            "checkpoint_dir": os.path.join(self._layout.job(self._name), "checkpoints"),  # of all attempts
            "artifacts": self._recorder.artifacts,
        }

    # --- what the attempt reports

    def started(self, node: int) -> None:
        """Import, while the user's code runs, what its end will need."""
        if node == 0:
            from jupyter_konduktor.backends.local import admission, reconcile, spawn
            from jupyter_konduktor.runner import envelope

            del admission, reconcile, spawn, envelope

    def log(self, node: int, data: bytes) -> None:
        """Append to a node's stream, and tell the watchers now or a little later."""
        self._recorder.log(node, data)
        self._written()

    def item(self, index: int, envelope: bytes) -> None:
        """Keep the envelope of an item."""
        self._recorder.item(index, envelope)
        self._written()

    def warning(self, message: str) -> None:
        """Leave a line in the supervisor's own log."""
        try:
            print(message, file=sys.stderr, flush=True)
        except OSError:
            pass  # the disk is full, which is probably what the message says

    def finished(
        self, envelope: bytes, exit_codes: list[int | None], failed_node: int | None, signal: int | None
    ) -> None:
        """Keep the envelope and what it means, before anything else can go wrong."""
        from jupyter_konduktor.backends.local.verdict import Verdict, of_exit

        if self._runner.ended_by == "timeout":
            said = f"It was ended after its {self._spec['timeout']:g} s."
            self._verdict = Verdict("Stopped", "MaximumExecutionTimeExceeded", said, exit_codes[failed_node or 0])
        else:
            self._verdict = of_exit(envelope, exit_codes, failed_node, self._runner)
        self._recorder.drop_ballast()
        self._persist(lambda: self._verdict.write(self._layout.verdict(self._name, self._attempt)))
        self._persist(lambda: self._recorder.envelope(envelope))

    def _written(self) -> None:
        now = time.monotonic()
        if now - self._rung >= RING_PAUSE:
            self._ring()
        elif not self._ring_due:
            self._ring_due = True
            self._runner.call_later(RING_PAUSE - (now - self._rung), self._ring)

    def _ring(self) -> None:
        from jupyter_konduktor.backends.local import bell

        self._ring_due = False
        self._rung = time.monotonic()
        bell.ring(self._layout.watch, bell.LOG)

    # --- the database

    def _claim(self, store: Store) -> bool:
        """Write down that the job runs, and by whom; False if it is not to run (any more)."""
        from jupyter_konduktor.backends.local.store import owner
        from jupyter_konduktor.backends.local.verdict import wanted

        uids: list[str] = []
        with store.transaction():
            row = self._row(store, "Starting")
            if row is None:
                return False
            verdict = wanted(row["want"])
            if verdict is None:
                store.move(self._uid, "Running", "Started", "", supervised=1, **owner())
            else:
                uids = self._end(store, row, verdict)
        self._make_known(store, uids)
        return verdict is None

    def _settle(self, store: Store, *, may_restart: bool) -> bool:
        """Write down how the attempt ended; whether another one is to follow."""
        from jupyter_konduktor.backends.local.reconcile import reconcile
        from jupyter_konduktor.backends.local.verdict import wanted

        uids: list[str] = []
        with store.transaction():
            row = self._row(store, "Running")
            if row is None:
                return False  # someone took us for dead, and has settled it
            told = wanted(row["want"])
            again = told is None and may_restart and self._verdict.state == "Failed" and self._runner.ended_by is None
            if again:
                said = f"Attempt {self._attempt} failed: {self._verdict.message}"
                store.move(self._uid, "Starting", "Restarted", said, attempt=self._attempt + 1)
            else:
                uids = self._end(store, row, told or self._verdict)
        self._make_known(store, uids)
        if not again:
            reconcile(store)  # a supervisor that was killed while nobody looked holds what others wait for
        return again

    def _end(self, store: Store, row: sqlite3.Row, verdict: Verdict) -> list[str]:
        """End the job and admit those that fit now; within a transaction."""
        from jupyter_konduktor.backends.local.admission import admit
        from jupyter_konduktor.backends.local.verdict import settle

        settle(store, row, verdict)
        return admit(store)

    def _make_known(self, store: Store, uids: list[str]) -> None:
        """Wake the watchers, then start who was admitted; in this order, for a result may be waited for."""
        from jupyter_konduktor.backends.local import bell
        from jupyter_konduktor.backends.local.spawn import start_admitted

        bell.ring(store.layout.watch, bell.STATE)
        if uids:
            start_admitted(store, uids)

    def _row(self, store: Store, state: str) -> sqlite3.Row | None:
        """Give the row of the job if it is in that state and at the present attempt."""
        row = store.by_uid(self._uid)
        return row if row is not None and (row["state"], row["attempt"]) == (state, self._attempt) else None

    def _patiently(self, step: Callable[[Store], bool]) -> bool:
        """Do something with the database, again and again while that has no room or no answer."""
        import _sqlite3

        from jupyter_konduktor.backends.local.store import Store

        until = time.monotonic() + _PATIENCE
        while True:
            try:
                if self._store is None:
                    self._store = Store(self._layout)
                return step(self._store)
            except _sqlite3.OperationalError as error:
                self.warning(f"the job database cannot be written: {error}")
                if time.monotonic() > until:
                    raise
            time.sleep(1)

    def _persist(self, step: Callable[[], None]) -> None:
        """Write something to disk, again and again while there is no room."""
        until = time.monotonic() + _PATIENCE
        while True:
            try:
                return step()
            except FileNotFoundError:
                raise  # someone has deleted the job's directory
            except OSError as error:
                self.warning(f"the result cannot be written: {error}")
                if time.monotonic() > until:
                    raise
            time.sleep(1)


def _free_port() -> int:
    """Find a port that nobody listens on now."""
    import _socket  # the C part alone: `socket` costs 3 ms, and a port is all that is needed

    probe = _socket.socket(_socket.AF_INET, _socket.SOCK_STREAM)
    try:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
    finally:
        probe.close()
