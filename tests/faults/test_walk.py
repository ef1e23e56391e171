"""A random walk of faults over many jobs: each submit is one job, and each job comes to one end."""

from __future__ import annotations

import os
import random
import signal
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable
from typing import TYPE_CHECKING

import psutil

from jupyter_konduktor.backends.local.backend import LocalBackend
from jupyter_konduktor.backends.protocol import Event
from jupyter_konduktor.errors import BackendError
from jupyter_konduktor.state import JobRecord, JobState
from tests.faults.conftest import descriptors

if TYPE_CHECKING:
    from tests.local.conftest import Local

SEED = int(os.environ.get("FAULTS_SEED", "0")) or random.randrange(10**6)
JOBS = 60

# What it writes it writes into a file first, so whatever kills it, its log is never ahead of that.
WRITER = """
i=0
while [ $i -lt LINES ]; do
    echo "line $i of NUMBER" >> $KONDUKTOR_OUTPUT_DIR/written
    echo "line $i of NUMBER"
    i=$((i+1)); sleep 0.01
done
"""


class Walk:
    """The jobs, what was told of them, and the faults.

    Parameters
    ----------
    local : Local
    dice : random.Random
    """

    def __init__(self, local: Local, dice: random.Random) -> None:
        self.local = local
        self.dice = dice
        self.ends: dict[str, set[tuple[JobState, str]]] = defaultdict(set)
        self.done: Counter[str] = Counter()
        self.watch = local.backend.watch(self.on_event)

    def on_event(self, event: Event) -> None:
        if isinstance(event, JobRecord) and event.state.final:
            self.ends[event.uid].add((event.state, event.reason))

    def submit(self, number: int) -> None:
        script = WRITER.replace("LINES", str(self.dice.choice([1, 5, 20, 40]))).replace("NUMBER", str(number))
        self.local.submit(script, key=str(number), cpus=0.4, max_restarts=self.dice.choice([0, 0, 1]))
        if self.dice.random() < 0.2:
            self.local.submit(script, key=str(number), cpus=0.4)  # as a click that was done twice
            self.done["submitted twice"] += 1

    def fault(self) -> None:
        faults = [self.kill_supervisor, self.kill_user, self.stop, self.resume, self.cancel, self.close, self.freeze]
        fault: Callable[[], None] = self.dice.choice(faults)
        fault()

    def _one(self, *states: JobState) -> JobRecord | None:
        found = [record for record in self.local.backend.list() if record.state in states]
        return self.dice.choice(found) if found else None

    def _count(self, what: str, record: JobRecord | None) -> JobRecord | None:
        self.done[what] += record is not None
        return record

    def kill_supervisor(self) -> None:
        if record := self._count("supervisor killed", self._one(JobState.RUNNING)):
            self._kill(self.local.row(record)["pid"])

    def kill_user(self) -> None:
        if record := self._count("user's process killed", self._one(JobState.RUNNING)):
            for process in self.local.processes(record):
                self._kill(process.pid)

    def _kill(self, pid: int | None) -> None:
        try:
            if pid is not None:
                os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            pass  # it has ended by itself

    def stop(self) -> None:
        if record := self._count("stopped", self._one(JobState.QUEUED, JobState.STARTING, JobState.RUNNING)):
            self.local.backend.stop(record.name)

    def resume(self) -> None:
        if record := self._count("resumed", self._one(JobState.STOPPED)):
            self.local.backend.resume(record.name)

    def cancel(self) -> None:
        if record := self._count("cancelled", self._one(*JobState)):
            self.local.backend.cancel(record.name)

    def close(self) -> None:
        """End what a kernel holds, and begin anew as the next kernel does."""
        self.done["kernel closed"] += 1
        self.local.backend.close()
        self.local.backend = LocalBackend(self.local.root, grace=1.0)
        self.watch = self.local.backend.watch(self.on_event)

    def freeze(self) -> None:
        """Let a supervisor stand still for a while, as all does when a laptop sleeps."""
        if record := self._count("frozen", self._one(JobState.RUNNING)):
            try:
                process = psutil.Process(self.local.row(record)["pid"] or 0)
                process.suspend()
                time.sleep(0.1)
                process.resume()
            except (psutil.NoSuchProcess, psutil.AccessDenied):
                pass  # it has ended, and the pid of none is 0

    def finish(self) -> list[JobRecord]:
        """Let everything come to its end."""

        def ended() -> list[JobRecord]:
            while record := self._one(JobState.STOPPED):
                try:
                    self.local.backend.resume(record.name)
                except BackendError:
                    continue  # a cancel that was under way was faster
            return self.local.backend.list()

        return self.local.until(ended, lambda records: all(record.state.final for record in records))


def test_a_random_walk_of_faults(local: Local) -> None:
    print(f"FAULTS_SEED={SEED}")
    local.run("true", key="first")
    before = threading.active_count(), descriptors()
    walk = Walk(local, random.Random(SEED))
    for number in range(JOBS):
        walk.submit(number)
        time.sleep(walk.dice.random() * 0.05)
        if walk.dice.random() < 0.8:
            walk.fault()
    finals = {record.uid: record for record in walk.finish()}
    local.until(lambda: all(process.name() != "sh" for r in finals.values() for process in local.processes(r)))
    told = {uid: {(record.state, record.reason)} for uid, record in finals.items()}
    time.sleep(0.3)
    assert {r.uid: {(r.state, r.reason)} for r in local.backend.list()} == told, "no end has changed"
    assert len(finals) == JOBS + 1, "one job for each submit"
    assert all(walk.ends[uid] <= told[uid] for uid in told), "and none was told otherwise"

    for record in finals.values():
        assert sum(change.state.final for change in record.history) == 1
        assert [change.time for change in record.history] == sorted(change.time for change in record.history)
        for attempt in range(record.attempt + 1):
            path = local.folder(record, attempt) / "output-0" / "written"
            written = path.read_bytes() if path.exists() else b""
            log = local.folder(record, attempt) / "node-0.log"
            logged = log.read_bytes() if log.exists() else b""
            assert written.startswith(logged)
            if record.state is JobState.SUCCEEDED and attempt == record.attempt:
                assert written == logged

    local.backend.close()
    local.backend = LocalBackend(local.root, grace=1.0)
    local.backend.list()
    assert threading.active_count() <= before[0]
    assert descriptors() <= before[1]
    assert len(walk.done) == 8, walk.done
    print(dict(walk.done), Counter(f"{r.state}/{r.reason}" for r in finals.values()))
