"""Which jobs are followed, what the watches select for that, and what they bring of each.

What reflectors call comes from their threads, and is handed to the engine's; everything else is called from that one.
"""

from __future__ import annotations

import logging
import sys
import threading
import time
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from jupyter_konduktor.backends.kubernetes import words
from jupyter_konduktor.backends.kubernetes.api.reflector import Reflector
from jupyter_konduktor.backends.kubernetes.held import PODS, WORKLOADS, Held
from jupyter_konduktor.backends.kubernetes.judging.about import created, is_ours
from jupyter_konduktor.backends.kubernetes.judging.judge import Sight, judge
from jupyter_konduktor.backends.kubernetes.logs.carriage import Carriage
from jupyter_konduktor.backends.kubernetes.positions import Positions
from jupyter_konduktor.backends.kubernetes.site import CHUNK, Site, among
from jupyter_konduktor.backends.protocol import Event
from jupyter_konduktor.errors import AccessDeniedError, BackendError
from jupyter_konduktor.state import JobRecord

JOBSETS = "jobsets"

RETARGET = 0.1
"""Least seconds between two changes of what the watches select: a burst of jobs is one change."""

AGAIN = 2.0
"""Seconds until the cluster is asked again what it did not answer."""

_log = logging.getLogger(__name__)

YOUNG = 10.0
"""Seconds for which a JobSet that appears has just been made; what appears later had its labels changed."""

Call = Callable[[], None]


class Roster:
    """The jobs of one site that are followed.

    Parameters
    ----------
    site : Site
    positions : Positions
        Told in which queues something has moved.
    post : callable
        Has something done by the engine's thread.
    errand : callable
        Has something done that waits for the network.
    tell : callable
        Told that a log has grown.
    reach : callable
        Told, in the engine's thread, that a kind cannot be seen any more, or with None that it can be again.

    Attributes
    ----------
    held : dict
        What is known of each job that is followed, by its uid.
    finished : dict
        The records of jobs that have ended and are still on the cluster.
    late : dict
        What still carries the logs of jobs that have ended and are followed no longer, by the job's uid.
    dirty : set of str
        Uids of jobs of which something is new.
    listed : threading.Event
        Set once all jobs were listed.
    due : float or None
        When the watches are to select something else.
    """

    def __init__(
        self,
        site: Site,
        positions: Positions,
        *,
        post: Callable[[Call], None],
        errand: Callable[[Call], None],
        tell: Callable[[Event], None],
        reach: Callable[[str, BackendError | None], None],
    ) -> None:
        self.held: dict[str, Held] = {}
        self.finished: dict[str, JobRecord] = {}
        self.late: dict[str, Carriage] = {}
        self.dirty: set[str] = set()
        self.listed = threading.Event()
        self.due: float | None = None
        self._site = site
        self._positions = positions
        self._post = post
        self._errand = errand
        self._tell = tell
        self._reach = reach
        self._final = site.shelf.final_uids()
        self._users = {site.user}
        self._retargeted = 0.0
        self._selected: set[str] = set()
        self._relist = {WORKLOADS: False, PODS: False}
        self._denied: set[str] = set()
        self._lost: set[str] = set()
        self._asked: set[str] = set()  # uids of Jobs that are being read
        self._doubtful: set[str] = set()  # uids of jobs that are to be read once more; errands use it
        self._since = ""  # the resourceVersion of the oldest job that was submitted since the last retarget
        client, namespace = site.client, site.namespace
        self._jobsets = Reflector(client, JOBSETS, words.jobsets(namespace), self, table=True)
        self._of: dict[str, Reflector] = {PODS: Reflector(client, PODS, words.core(namespace, "pods"), self)}

    @property
    def carriages(self) -> list[Carriage]:
        """Everything that carries logs."""
        return [held.carriage for held in list(self.held.values())] + list(self.late.values())

    @property
    def reflectors(self) -> list[Reflector]:
        """Everything that watches."""
        return [self._jobsets, *self._of.values()]

    def sees(self, kind: str) -> bool:
        """Whether what is there of a kind is seen at the moment."""
        return kind in self._of and kind not in self._denied and kind not in self._lost

    @property
    def blind(self) -> bool:
        """Whether this user may not list JobSets, so that each has to be read by itself."""
        return JOBSETS in self._denied

    # --- what the reflectors call, from their threads

    def replaced(self, kind: str, objects: list[dict[str, Any]]) -> None:
        """Take what a list has found."""
        self._post(partial(self._on_jobsets if kind == JOBSETS else partial(self._on_objects, kind), objects))

    def changed(self, kind: str, event: str, obj: dict[str, Any]) -> None:
        """Take a change."""
        self._post(partial(self._on_jobset if kind == JOBSETS else partial(self._on_object, kind), event, obj))

    def reach(self, kind: str, trouble: BackendError | None) -> None:
        """Take note that a watch was lost, or is there again."""
        self._post(partial(self._on_reach, kind, trouble))

    # --- which jobs are followed

    def begin(self) -> None:
        """Start the watches; asking the cluster what it serves may take a while, so this is an errand."""
        try:
            kueue = self._site.kueue
        except BackendError as error:
            self.reach(JOBSETS, error)
            self._later(self.begin)
            return
        self.reach(JOBSETS, None)
        self._post(partial(self._begun, kueue))

    def _begun(self, kueue: str) -> None:
        if kueue:
            path = words.kueue(kueue, "workloads", self._site.namespace)
            self._of[WORKLOADS] = Reflector(self._site.client, WORKLOADS, path, self)
        self._target_jobsets()
        self._target_soon()

    def include(self, user: str) -> None:
        """Follow the jobs of another user as well."""
        if user and user not in self._users:
            self._users.add(user)
            self._target_jobsets()

    def adopt(
        self, obj: dict[str, Any], record: JobRecord | None = None, *, mine: bool = False, young: bool = False
    ) -> None:
        """Follow a job.

        Parameters
        ----------
        obj : dict
            Its JobSet.
        record : JobRecord, optional
            Where it stands.
        mine : bool
            It was submitted by this process, just now.
        young : bool
            It was made just now, by whomever.
        """
        uid, name = obj["metadata"]["uid"], obj["metadata"]["name"]
        held = self.held.get(uid)
        if held is None:
            if uid in self._final:
                return
            shelf = self._site.keep(obj)
            touch = partial(self._post, partial(self.dirty.add, uid))
            carriage = Carriage(self._site, uid, name, self._tell, touch)
            held = Held(uid, name, obj, shelf, carriage, since=time.monotonic(), record=record or shelf.load())
            if mine or young:
                # What belongs to it is younger than it is: there is no need to list that.
                self._since = min((self._since, obj["metadata"]["resourceVersion"]), key=_order)
            else:
                held.missing = set(self._of) - self._denied
                self._relist = dict.fromkeys(self._relist, True)
            self.held[uid] = held
            self._target_soon()
        held.carriage.mine = held.carriage.mine or mine
        self.dirty.add(uid)

    def drop(self, held: Held) -> None:
        """Follow a job no longer: it has ended and was told."""
        self.held.pop(held.uid, None)
        self.late = {uid: carriage for uid, carriage in self.late.items() if not carriage.ended}
        if not held.carriage.ended:
            self.late[held.uid] = held.carriage
        self._final.add(held.uid)
        self._target_soon()

    def look_again(self, held: Held, kind: str) -> None:
        """List a kind once more, as nothing was heard of what a job should have of it."""
        if kind not in held.looked_again:
            held.looked_again.add(kind)
            self._relist[kind] = True
            self._target_soon()

    def retarget(self) -> None:
        """Have the watches select what belongs to the jobs that are followed now."""
        self.due, self._retargeted = None, time.monotonic()
        self._selected = set(self.held)
        many = len(self._selected) > CHUNK
        for kind, reflector in self._of.items():
            # A watch of more than these jobs has seen what is new of them, from wherever it goes on.
            since = "" if many else self._since
            reflector.target(self._selector(kind, many=many), relist=self._relist[kind], since=since)
            self._relist[kind] = False
        self._since = ""

    def _selector(self, kind: str, *, many: bool) -> str | None:
        """Write what selects what belongs to the jobs; of many of them it selects more, for a URL has an end."""
        label = words.JOB_UID if kind == WORKLOADS else words.JOBSET_UID
        if not self._selected:
            return None
        if not many:
            return among(label, sorted(self._selected))
        if kind == PODS and all(is_ours(held.jobset) for held in self.held.values()):
            return f"{label},{among(words.USER_ID, sorted(self._users))}"  # as no other client labels its pods
        return label

    def _target_soon(self) -> None:
        if self.due is None:
            self.due = max(time.monotonic(), self._retargeted + RETARGET)

    def _target_jobsets(self) -> None:
        users = among(words.USER_ID, sorted(self._users))
        self._jobsets.target(f"{words.MANAGED}=true,{users}", relist=True)

    def _on_reach(self, kind: str, trouble: BackendError | None) -> None:
        if isinstance(trouble, AccessDeniedError):
            # It is not to be seen at all; the rest is told without it.
            self._denied.add(kind)
            for held in self.held.values():
                held.missing.discard(kind)
                self.dirty.add(held.uid)
            _log.info("konduktor: %s", trouble)
            return
        self._denied.discard(kind)
        if trouble is None:
            self._lost.discard(kind)
        else:
            self._lost.add(kind)
        self._reach(kind, trouble)

    # --- the jobs themselves

    def _on_jobsets(self, objects: list[dict[str, Any]]) -> None:
        seen = set()
        for obj in objects:
            seen.add(obj["metadata"]["uid"])
            self._take(obj)
        for held in self.held.values():
            if held.uid not in seen and not held.gone:
                self.verify(held)
        for uid in [uid for uid in self.finished if uid not in seen]:
            del self.finished[uid]
        self.listed.set()

    def verify(self, held: Held) -> None:
        """Read one job by itself: it was not in a list, which may be older than it is, or there are no lists."""
        self._errand(partial(self._verify, held.uid, held.name))

    def _verify(self, uid: str, name: str) -> None:
        self._doubtful.discard(uid)
        try:
            obj = self._site.find(name)
        except BackendError as error:
            # Nothing was found out, and who waits for the job has to hear if it is gone.
            _log.info("konduktor: %s", error)
            if uid not in self._doubtful:
                self._doubtful.add(uid)
                self._later(partial(self._verify, uid, name))
            return
        if obj is not None and obj["metadata"]["uid"] == uid:
            self._post(partial(self._take, obj))
        else:
            self._post(partial(self._on_gone, uid, None))

    def _later(self, call: Call) -> None:
        """Do an errand once more in a while."""
        again = threading.Timer(AGAIN, self._errand, [call])
        again.daemon = True
        again.start()

    def _on_jobset(self, event: str, obj: dict[str, Any]) -> None:
        if event == "DELETED":
            self._on_gone(obj["metadata"]["uid"], obj)
        else:
            self._take(obj, young=event == "ADDED" and time.time() + self._site.client.skew - created(obj) < YOUNG)

    def _take(self, obj: dict[str, Any], *, young: bool = False) -> None:
        uid = obj["metadata"]["uid"]
        held = self.held.get(uid)
        if held is not None:
            if not held.whole:
                held.update(obj)
            self.dirty.add(uid)
        elif uid in self._final or uid in self.finished:
            return
        elif (obj.get("status") or {}).get("terminalState"):
            # It ended while nobody looked: what a list tells of it will do until somebody asks for it.
            shelf = self._site.keep(obj)
            record = judge(Sight(obj, None, ()), shelf.load(), submitted=shelf.submitted)
            if record is not None:
                self.finished[uid] = record
        else:
            self.adopt(obj, young=young)

    def _on_gone(self, uid: str, obj: dict[str, Any] | None) -> None:
        held = self.held.get(uid)
        if held is None:
            self.finished.pop(uid, None)
            return
        if obj is not None:
            held.update(obj)
        held.gone = True
        self.dirty.add(uid)

    # --- what belongs to them

    def _on_objects(self, kind: str, objects: list[dict[str, Any]]) -> None:
        found: dict[str, list[dict[str, Any]]] = {}
        for obj in objects:
            found.setdefault(_owner(kind, obj), []).append(obj)
        for held in self.held.values():
            if held.uid not in self._selected:
                continue  # it is younger than the list
            held.missing.discard(kind)
            self.dirty.add(held.uid)
            mine = found.get(held.uid, [])
            if kind == WORKLOADS:
                held.workload = mine[0] if mine else held.workload if held.gone else None
                continue
            there = {pod["metadata"]["uid"]: pod for pod in mine}
            for pod in [pod for uid, pod in held.pods.items() if uid not in there]:
                held.lose(pod)
            held.pods.update(there)
            self.read_owners(held)

    def _on_object(self, kind: str, event: str, obj: dict[str, Any]) -> None:
        held = self.held.get(_owner(kind, obj))
        if held is None:
            return
        self.dirty.add(held.uid)
        uid = obj["metadata"]["uid"]
        if kind == PODS:
            if event == "DELETED":
                held.lose(obj)
            else:
                held.pods[uid] = obj
                self.read_owners(held)
            return
        if event != "DELETED":
            held.workload = obj
        elif held.workload is not None and held.workload["metadata"]["uid"] == uid and not held.gone:
            held.workload = None
        if held.record is not None:
            self._positions.moved(held.record.queue, time.monotonic())

    def read_owners(self, held: Held) -> None:
        """Find out whose the Jobs of its pods are, as soon as there is a pod: there is no time for it at its end."""
        for uid, name in self._site.owners.unknown(held.pods.values()).items():
            if uid not in self._asked:
                self._asked.add(uid)
                self._errand(partial(self._read_owner, held.uid, uid, name))

    def _read_owner(self, held: str, uid: str, name: str) -> None:
        try:
            self._site.owners.read(uid, name)
        except BackendError as error:
            _log.info("konduktor: %s", error)
            self._later(partial(self._read_owner, held, uid, name))
            return
        self._post(partial(self._on_owner, held, uid))

    def _on_owner(self, held: str, uid: str) -> None:
        self._asked.discard(uid)
        self.dirty.add(held)


def _owner(kind: str, obj: Mapping[str, Any]) -> str:
    """Give the uid of the JobSet that a Workload or a pod says it belongs to."""
    labels = obj["metadata"].get("labels") or {}
    return str(labels.get(words.JOB_UID if kind == WORKLOADS else words.JOBSET_UID, ""))


def _order(version: str) -> int:
    """Put resourceVersions in order; none at all is the last."""
    return int(version) if version.isdecimal() else sys.maxsize
