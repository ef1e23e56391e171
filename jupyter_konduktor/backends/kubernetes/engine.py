"""Keeps what is known of this user's jobs up to date, from three watches for all of them, and tells whoever watches.

One thread takes what watches, logs and timers bring, one after the other; nothing else touches what is held.
"""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from jupyter_konduktor.backends.kubernetes import results
from jupyter_konduktor.backends.kubernetes.errands import Errands
from jupyter_konduktor.backends.kubernetes.held import PODS, Held
from jupyter_konduktor.backends.kubernetes.judging.judge import Sight, deleted, judge, noted
from jupyter_konduktor.backends.kubernetes.logs.carriage import Carriage
from jupyter_konduktor.backends.kubernetes.outlook import Outlook
from jupyter_konduktor.backends.kubernetes.positions import Positions
from jupyter_konduktor.backends.kubernetes.roster import Call, Roster
from jupyter_konduktor.backends.kubernetes.shelf.shelf import JobShelf
from jupyter_konduktor.backends.kubernetes.site import Site
from jupyter_konduktor.backends.kubernetes.upkeep import Upkeep
from jupyter_konduktor.backends.kubernetes.watch import KubernetesWatch
from jupyter_konduktor.backends.protocol import Event, JobGone
from jupyter_konduktor.errors import BackendError, StoreError, UnreachableError
from jupyter_konduktor.state import JobRecord, JobState

LOG_PATIENCE = 5.0
"""Seconds that the end of a job waits for the end of its log."""

AFTERWARDS = 10.0
"""Seconds for which a job is followed whose JobSet does not say yet that it has ended: some two, as a rule."""

CLOCK_JUMP = 20.0
"""Seconds by which this thread may oversleep; more means that the machine slept, and connections may be dead."""

TICK = 5.0

CLOSING = 5.0
"""Seconds that closing may take; what is not at its end then is left to end with the process."""

_log = logging.getLogger(__name__)


class Engine:
    """Follows the jobs of one user on one site.

    Parameters
    ----------
    site : Site
    stuck_after : float
        Seconds after which a job that cannot start no longer holds up who waits for it.
    give_up : callable or None
        Called with the name of a job that is stuck and why, from a thread of its own, to cancel it; None keeps it.
    renew : callable
        Called with what is kept of a job now and then, from a thread of its own, to renew the URLs of its store.
    grace : float
        Seconds that jobs have to end.
    """

    def __init__(
        self,
        site: Site,
        *,
        stuck_after: float,
        give_up: Callable[[str, str], None] | None,
        renew: Callable[[JobShelf], None],
        grace: float,
    ) -> None:
        self.site = site
        self._grace = grace
        self._inbox: queue.SimpleQueue[Call] = queue.SimpleQueue()
        self._errands = Errands()
        self._watches: list[KubernetesWatch] = []
        self._outlook = Outlook()
        self._ticked = _uptime()
        self._closing = False
        self._positions = Positions()
        self._roster = Roster(
            site, self._positions, post=self._post, errand=self._errands.add, tell=self._tell, reach=self._on_reach
        )
        self._upkeep = Upkeep(
            site,
            self._roster,
            self._positions,
            post=self._post,
            errand=self._errands.add,
            stuck_after=stuck_after,
            give_up=give_up,
            renew=renew,
        )
        self._thread = threading.Thread(target=self._run, name="konduktor-kubernetes-engine", daemon=True)
        self._thread.start()
        self._errands.add(self._roster.begin)

    # --- what others call, from any thread

    def watch(self, callback: Callable[[Event], None]) -> KubernetesWatch:
        """Have a callback told of every change from now on, and first of everything that has not ended."""
        watch = KubernetesWatch(callback, self._drop_watch)
        self._post(partial(self._add_watch, watch))
        return watch

    def track(self, jobset: dict[str, Any], record: JobRecord) -> None:
        """Follow a job that was submitted just now."""
        self._post(partial(self._roster.adopt, jobset, record=record, mine=True))

    def include(self, user: str) -> None:
        """Follow the jobs of another user as well."""
        self._post(partial(self._roster.include, user))

    def record(self, uid: str) -> JobRecord | None:
        """Give the latest record of a job that is followed; None if it is not, or not seen well enough yet."""
        held = self._roster.held.get(uid)
        if held is not None:
            return None if held.missing or held.asked else held.record
        return self._roster.finished.get(uid)

    def by_name(self, name: str) -> JobRecord | None:
        """As `record`, by the job's name."""
        held = self._held(name)
        if held is None:
            self._catch_up()  # it may have been submitted just now
            held = self._held(name)
        return self.record(held.uid) if held is not None else None

    def _held(self, name: str) -> Held | None:
        return next((held for held in list(self._roster.held.values()) if held.name == name), None)

    def records(self, timeout: float) -> list[JobRecord] | None:
        """Give the records of all jobs on the cluster; None if they were not seen in time, or not well enough yet."""
        if self._roster.blind or not self._roster.listed.wait(timeout):
            return None
        self._catch_up()
        found = []
        for held in list(self._roster.held.values()):
            record = held.told or held.record
            if record is None:
                return None
            found.append(record)
        followed = self._roster.held
        return found + [record for uid, record in list(self._roster.finished.items()) if uid not in followed]

    def _catch_up(self) -> None:
        """Wait until what was posted before, such as a job that was just submitted, has been taken in."""
        done = threading.Event()
        self._post(done.set)
        if not self._closing:
            done.wait(1.0)

    def carriage(self, uid: str) -> Carriage | None:
        """Give what carries the logs of a job that is followed, or has ended while some of a log is not here yet."""
        held = self._roster.held.get(uid)
        return held.carriage if held is not None else self._roster.late.get(uid)

    def touch(self, uid: str) -> None:
        """Have a look at a job: what is wanted of it, or its log, has changed."""
        self._post(partial(self._roster.dirty.add, uid))

    def close(self) -> None:
        """End every watch within a few seconds, whatever the cluster does; jobs go on."""
        self._closing = True
        for watch in list(self._watches):
            watch.close()
        for reflector in self._roster.reflectors:
            reflector.close()
        self._errands.close()
        self._post(lambda: None)
        end = time.monotonic() + CLOSING
        if self._thread is not threading.current_thread():
            self._thread.join(CLOSING)
        carriages = self._roster.carriages
        for carriage in carriages:
            carriage.stop()
        for carriage in carriages:
            carriage.close(end - time.monotonic())
        # What they find would open again what is closed next, such as the database of jobs.
        self._errands.wait(end - time.monotonic())

    # --- the thread

    def _post(self, call: Call) -> None:
        self._inbox.put(call)

    def _run(self) -> None:
        while not self._closing:
            try:
                call: Call | None = self._inbox.get(timeout=self._patience())
            except queue.Empty:
                call = None
            while call is not None:
                self._guard(call)
                try:
                    call = self._inbox.get_nowait()
                except queue.Empty:
                    call = None
            if not self._closing:
                self._guard(self._due)
                self._guard(self._settle)

    def _guard(self, call: Call) -> None:
        """Keep one object that cannot be understood from ending the watch of all others."""
        try:
            call()
        except Exception:  # noqa: BLE001
            _log.exception("konduktor: the watch of the cluster met something unexpected and goes on")

    def _patience(self) -> float:
        """Give the seconds until something is due."""
        now = time.monotonic()
        due = [now + TICK, *([self._roster.due] if self._roster.due is not None else [])]
        due += [held.final_by for held in self._roster.held.values() if held.final_by is not None]
        due += self._positions.times
        return max(0.0, min(due) - now) + 0.001

    def _due(self) -> None:
        now, up = time.monotonic(), _uptime()
        if up - self._ticked > TICK + CLOCK_JUMP:
            for reflector in self._roster.reflectors:
                reflector.reconnect()
            for carriage in self._roster.carriages:
                carriage.reconnect()
        self._ticked = up
        if self._roster.due is not None and now >= self._roster.due:
            self._roster.retarget()
        for held in list(self._roster.held.values()):
            if held.final_by is not None and now >= held.final_by:
                self._roster.dirty.add(held.uid)
            self._upkeep.check(held, now)
        self._upkeep.check_workloads(now)
        self._upkeep.check_events(now)
        self._upkeep.check_positions(now)
        self._tell_reach()

    # --- what became of them

    def _settle(self) -> None:
        dirty = set(self._roster.dirty)
        self._roster.dirty.clear()
        now = time.monotonic()
        busy = False
        for uid in dirty:
            held = self._roster.held.get(uid)
            if held is not None:
                self._guard(partial(self._judge, held, now))
        for held in self._roster.held.values():
            busy = busy or (held.record is not None and held.record.state in (JobState.STARTING, JobState.RUNNING))
        if dirty:
            for reflector in self._roster.reflectors:
                reflector.hurry(busy)

    def _judge(self, held: Held, now: float) -> None:
        if held.missing and not held.gone:
            return
        owners = self.site.owners
        sight = held.sight(now, self.site.client.skew, owners.known, sees_pods=self._roster.sees(PODS))
        if held.ended:
            self._leave(held, sight, now)
            return
        if held.final_by is None:
            record = judge(sight, held.record, submitted=held.shelf.submitted)
            if record is None:
                self._tell_gone(held)
                return
            own = owners.own(held.jobset, held.pods.values())
            held.carriage.number(record, own)
            if record.state.final and record.state is not JobState.CANCELLED and held.terminal and not held.whole:
                # The table has said that it ended; how it ended stands in the object itself.
                if not held.asked:
                    held.asked = True
                    self._errands.add(partial(self._fetch, held.uid, held.name))
                return
            if record.state.final and record.state is not JobState.CANCELLED and owners.unknown(held.pods.values()):
                self._roster.read_owners(held)  # a pod that says how it ended has to be the job's own
                return
            record = self._upkeep.stuck(held, record, now)
            held.carriage.follow(record, own)
            if record.state.final:
                record = self._keep_result(held, record)
            held.record = record  # others may see it from now on: its log and its result are there to be asked for
            if not record.state.final:
                self._tell_record(held, record)
                return
            held.final_by = now + LOG_PATIENCE + (self._grace if held.gone else 0)
            held.carriage.finish(held.pods.values())
        self._end(held, now)

    def _end(self, held: Held, now: float) -> None:
        """Tell that a job has ended, once its log is here and nothing of it runs any more, or all patience is spent."""
        if held.record is None or held.final_by is None:
            return
        runs = held.gone and any(_alive(pod) for pod in held.pods.values())
        if (held.carriage.ended and not runs) or now >= held.final_by:
            if held.terminal or held.gone:
                self._roster.drop(held)
            else:
                held.ended, held.final_by = True, now + AFTERWARDS
            self._tell_record(held, held.record)

    def _leave(self, held: Held, sight: Sight, now: float) -> None:
        """Follow a job that has ended until its JobSet says so too: it may be made to run again just before."""
        record = judge(sight, held.record) or held.record
        again = record is not None and record != held.record
        if again and record is not None:
            held.record = record
            self._tell_record(held, record)
        if again or held.terminal or held.gone or (held.final_by is not None and now >= held.final_by):
            self._roster.drop(held)

    def _fetch(self, uid: str, name: str) -> None:
        """Read a JobSet that has ended as a whole, with its pods: their watch may be late."""
        obj: dict[str, Any] | None = None
        pods: Sequence[Mapping[str, Any]] = ()
        try:
            obj = self.site.jobset(name)
            (sight,) = self.site.look([obj])
            pods = sight.pods
        except UnreachableError as error:
            _log.info("konduktor: %s", error)
            self._post(partial(self._ask_again, uid))
            return
        except BackendError as error:  # it was deleted, or is not ours to read: what is known will have to do
            _log.info("konduktor: %s", error)
        self._post(partial(self._fetched, uid, obj, pods))

    def _ask_again(self, uid: str) -> None:
        held = self._roster.held.get(uid)
        if held is not None:
            held.asked = False
            self._roster.dirty.add(uid)

    def _fetched(self, uid: str, obj: dict[str, Any] | None, pods: Sequence[Mapping[str, Any]]) -> None:
        held = self._roster.held.get(uid)
        if held is None:
            return
        held.whole = True
        if obj is not None and obj["metadata"]["uid"] == uid:
            held.jobset = obj
            held.pods.update({pod["metadata"]["uid"]: pod for pod in pods})
        self._roster.dirty.add(uid)

    def _keep_result(self, held: Held, record: JobRecord) -> JobRecord:
        """Keep what the job left, now that it is final; gives the record, which says so if that is not there."""
        pods = [pod for pod in held.pods.values() if held.carriage.attempt_of(pod) == record.attempt]
        found = results.outcome(held.jobset, pods, self.site.owners.known)
        if found.data is not None:
            held.shelf.save_envelope(found.data, attempt=record.attempt)
        elif record.state is JobState.SUCCEEDED and self._roster.sees(PODS):
            return noted(record, found.note)
        return record

    # --- who is told

    def _add_watch(self, watch: KubernetesWatch) -> None:
        self._watches.append(watch)
        for held in self._roster.held.values():
            if held.told is not None and not held.ended:
                watch.tell(held.told)
        if self._outlook.told.since is not None:
            watch.tell(self._outlook.told)

    def _drop_watch(self, watch: KubernetesWatch) -> None:
        if watch in self._watches:
            self._watches.remove(watch)

    def _tell(self, event: Event) -> None:
        for watch in list(self._watches):
            watch.tell(event)

    def _tell_record(self, held: Held, record: JobRecord) -> None:
        told = held.told
        if told is not None and replace(told, version=0) == replace(record, version=0):
            return
        if told is None or replace(told, version=0, position=None) != replace(record, version=0, position=None):
            try:
                held.shelf.save(record)
            except StoreError as error:
                _log.warning("konduktor: %s", error)
        if record.state.final:
            self._roster.finished[held.uid] = record
        held.told = record
        self._tell(record)

    def _tell_gone(self, held: Held) -> None:
        """Tell that a job was deleted by someone who is not us."""
        self._roster.drop(held)
        if held.record is not None:
            held.shelf.save(deleted(held.record))
        held.carriage.finish(held.pods.values())
        self._tell(JobGone(held.name, held.uid))

    def _on_reach(self, kind: str, trouble: BackendError | None) -> None:
        self._outlook.note(kind, trouble)
        self._tell_reach()

    def _tell_reach(self) -> None:
        news = self._outlook.news()
        if news is not None:
            self._tell(news)


def _uptime() -> float:
    """Give seconds that go on while the machine sleeps; those of the monotonic clock of Linux and macOS do not."""
    clock = getattr(time, "CLOCK_BOOTTIME", None)
    return time.time() if clock is None else time.clock_gettime(clock)


def _alive(pod: Mapping[str, Any]) -> bool:
    """Whether a pod's processes may still run."""
    return pod.get("status", {}).get("phase") not in ("Succeeded", "Failed")
