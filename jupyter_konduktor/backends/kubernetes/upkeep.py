"""Sees to what should have come by now: Workloads, pods, the reasons why a pod does not start, places in queues."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import Any

from jupyter_konduktor.backends.kubernetes import queues, words
from jupyter_konduktor.backends.kubernetes.held import PODS, WORKLOADS, Held
from jupyter_konduktor.backends.kubernetes.judging import starting
from jupyter_konduktor.backends.kubernetes.positions import Positions
from jupyter_konduktor.backends.kubernetes.roster import Call, Roster
from jupyter_konduktor.backends.kubernetes.shelf.shelf import JobShelf
from jupyter_konduktor.backends.kubernetes.site import Site
from jupyter_konduktor.state import JobRecord, JobState

LOOK_AGAIN = 2.0
"""Seconds without a Workload, or without pods once admitted, after which they are listed: the watch may be late."""

NO_WORKLOAD = 30.0
"""Seconds without a Workload after which that is worth a word: Kueue may not manage JobSets here."""

BURST = 0.2
"""Seconds more for each job that waits for its Workload: of a thousand Kueue made one in 0.15 s."""

EVENTS_AFTER, EVENTS_EVERY = 2.0, 10.0
"""Seconds in which a pod should start, and between two looks at the events that say why pods do not."""

RENEW_EVERY = 600.0
"""Seconds between two looks at how old the URLs of a job's store are."""

READ_EVERY = 2.0
"""Seconds between two looks at a JobSet where they cannot be listed."""


class Upkeep:
    """Looks again, of its own accord, at jobs that do not come on; works in the engine's thread.

    Parameters
    ----------
    site : Site
    roster : Roster
    positions : Positions
    post, errand : callable
        As a `Roster` has them.
    stuck_after : float
        Seconds after which a job that cannot start no longer holds up who waits for it.
    give_up : callable or None
        Called with the name of a job that is stuck by what was asked for, and why, as an errand, to cancel it; None
        keeps it.
    renew : callable
        Called with what is kept of a job now and then, as an errand, to renew the URLs of its store.
    """

    def __init__(
        self,
        site: Site,
        roster: Roster,
        positions: Positions,
        *,
        post: Callable[[Call], None],
        errand: Callable[[Call], None],
        stuck_after: float,
        give_up: Callable[[str, str], None] | None,
        renew: Callable[[JobShelf], None],
    ) -> None:
        self._site = site
        self._roster = roster
        self._positions = positions
        self._renew = renew
        self._post = post
        self._errand = errand
        self._stuck_after = stuck_after
        self._give_up = give_up
        self._events_at = 0.0

    def check(self, held: Held, now: float) -> None:
        """See to what should have come by now of one job."""
        record = held.record
        if now >= held.renew_at and held.shelf.submitted:
            held.renew_at = now + RENEW_EVERY
            if held.shelf.links() is not None:
                self._errand(partial(self._renew, held.shelf))
        if self._roster.blind and not held.gone and not held.whole and now - held.read_at > READ_EVERY:
            held.read_at = now
            self._roster.verify(held)
        if record is None or held.gone:
            return
        if record.state is not JobState.STARTING:
            held.starting_since = None
            return
        held.starting_since = held.starting_since or now
        waited = now - held.starting_since
        if waited > LOOK_AGAIN and not held.pods:
            self._roster.look_again(held, PODS)
        if held.stuck_since is not None and now - held.stuck_since >= self._stuck_after:
            self._roster.dirty.add(held.uid)

    def check_workloads(self, now: float) -> None:
        """See to the Workloads that should have come by now."""
        if not self._roster.sees(WORKLOADS):
            return
        without = [
            held
            for held in self._roster.held.values()
            if held.workload is None and held.record is not None and not held.record.state.final and not held.gone
        ]
        patience = NO_WORKLOAD + BURST * len(without)
        for held in without:
            age = now - held.since
            if age > LOOK_AGAIN:
                self._roster.look_again(held, WORKLOADS)
            if age > patience and (held.unmanaged is None or age // 60 > held.unmanaged // 60):
                held.unmanaged = age
                self._roster.dirty.add(held.uid)

    def check_events(self, now: float) -> None:
        """Read what the cluster warns of, once for all jobs that take long to start."""
        slow = [
            held
            for held in self._roster.held.values()
            if held.starting_since is not None and now - held.starting_since > EVENTS_AFTER and not held.gone
        ]
        every = EVENTS_EVERY if all(held.events_read for held in slow) else EVENTS_AFTER
        if not slow or now - self._events_at < every:
            return
        self._events_at = now
        for held in slow:
            held.events_read = True
            self._roster.dirty.add(held.uid)  # that nothing has happened is news too
        self._errand(self._read_events)

    def stuck(self, held: Held, record: JobRecord, now: float) -> JobRecord:
        """Note on the record whether nobody should wait for the job any longer."""
        if record.state is not JobState.STARTING or record.reason in starting.PASSING or held.shelf.cancelled:
            held.stuck_since = None
        elif held.stuck_since is None:
            held.stuck_since = now - (starting.SILENCE if record.reason in starting.SILENT else 0.0)
        stuck = held.stuck_since is not None and now - held.stuck_since >= self._stuck_after
        # What to do with a job is for the process to say that sent it: others of this user may be set otherwise.
        hopeless = stuck and record.reason in starting.MISTAKEN
        if hopeless and self._give_up is not None and held.carriage.mine and not held.gave_up:
            held.gave_up = True
            self._errand(partial(self._give_up, held.name, f"it could not start: {record.message or record.reason}"))
        return replace(record, stuck=stuck)

    def check_positions(self, now: float) -> None:
        """Look at the order of the queues in which jobs wait, where that is due."""
        waiting = {
            held.record.queue
            for held in self._roster.held.values()
            if held.record is not None and held.record.state is JobState.QUEUED and held.record.queue
        }
        for name in self._positions.due(waiting, now):
            self._errand(partial(self._read_positions, name))

    def _read_events(self) -> None:
        """Read what the cluster warns of about the Jobs and pods of JobSets."""
        if not self._site.rights.allows("list", "", "events"):
            return
        pages = self._site.client.pages(words.core(self._site.namespace, "events"), {"fieldSelector": "type=Warning"})
        found: dict[str, list[Mapping[str, Any]]] = {}
        for page in pages:
            for event in page["items"]:
                name = str(event.get("involvedObject", {}).get("name", ""))
                job, workers, _ = name.rpartition(f"-{words.REPLICATED_JOB_NAME}-")
                if workers:
                    found.setdefault(job, []).append(event)
        self._post(partial(self._on_events, found))

    def _on_events(self, found: Mapping[str, list[Mapping[str, Any]]]) -> None:
        for held in self._roster.held.values():
            events = found.get(held.name, [])
            if held.events_read and events != held.events:
                held.events = events
                self._roster.dirty.add(held.uid)

    def _read_positions(self, name: str) -> None:
        closed = queues.closed(self._site, name)
        self._post(partial(self._on_positions, name, queues.positions(self._site, name), closed))

    def _on_positions(self, name: str, positions: Mapping[str, int], closed: str) -> None:
        for held in self._roster.held.values():
            if held.record is None or held.record.queue != name or held.workload is None:
                continue
            position = positions.get(held.workload["metadata"]["name"], held.position)
            if (position, closed) != (held.position, held.closed):
                held.position, held.closed = position, closed
                self._roster.dirty.add(held.uid)
