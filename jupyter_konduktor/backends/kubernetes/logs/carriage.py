"""Carries what a job's pods write to this machine's disk: which logs are followed, and which attempt each is of."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from jupyter_konduktor.backends.kubernetes import words
from jupyter_konduktor.backends.kubernetes.logs.follower import CLOSING, LogFollower
from jupyter_konduktor.backends.kubernetes.site import Site
from jupyter_konduktor.backends.protocol import LogGrew
from jupyter_konduktor.runner.stream import Control
from jupyter_konduktor.state import JobRecord
from jupyter_konduktor.task import Task

ALL_NODES = 8
"""Jobs of up to this many nodes have all their logs carried; of larger ones node 0's, that of the node that failed
first, and those that are asked for."""

MAX_STREAMS = 48
"""Logs of what runs that one process follows at the same time without being asked; others wait until they are asked
for, one of these ends, or their container does."""

_KILLED = (128 + 9, 128 + 15)  # how nodes end that are ended because another one has failed


class Places:
    """So many places, and who waits for one.

    Parameters
    ----------
    count : int
    """

    def __init__(self, count: int) -> None:
        self._lock = threading.Lock()
        self._free = count
        self._waiting: dict[object, Callable[[], None]] = {}

    def take(self, who: object, tell: Callable[[], None]) -> bool:
        """Take a place; where there is none, tell once there is."""
        with self._lock:
            if self._free:
                self._free -= 1
                self._waiting.pop(who, None)
                return True
            self._waiting[who] = tell
            return False

    def give_back(self) -> None:
        """Leave a place to the one who has waited longest."""
        with self._lock:
            self._free += 1
            first = next(iter(self._waiting), None)
            tell = self._waiting.pop(first) if first is not None else None
        if tell is not None:
            tell()

    def forget(self, who: object) -> None:
        """Take note that someone waits no longer."""
        with self._lock:
            self._waiting.pop(who, None)


_places = Places(MAX_STREAMS)


class Carriage:
    """Follows the logs of one job.

    Parameters
    ----------
    site : Site
    uid, name : str
        The job's.
    tell : callable
        Told of `LogGrew`.
    changed : callable
        Called when a log has come to its end.

    Attributes
    ----------
    mine : bool
        Whether this process submitted the job, and carries its logs without being asked.
    """

    def __init__(
        self,
        site: Site,
        uid: str,
        name: str,
        tell: Callable[[LogGrew], None],
        changed: Callable[[], None],
    ) -> None:
        self.mine = False
        self._site = site
        self._uid = uid
        self._name = name
        self._shelf = site.shelf.keep(uid, name)
        self._tell = tell
        self._changed = changed
        self._lock = threading.Lock()
        self._wanted: set[int] = set()
        self._nonce = ""
        self._nodes = 1
        self._image: str | None = None
        self._pods: dict[str, tuple[int, int]] = {}  # uid of a pod: attempt, node
        self._followers: dict[str, LogFollower] = {}
        self._placed: set[str] = set()  # uids of pods whose logs have taken a place

    def number(self, record: JobRecord, pods: Iterable[Mapping[str, Any]]) -> None:
        """Give each new pod its attempt: the one the job is at, or one more than the pod's before it."""
        for pod in sorted(pods, key=lambda pod: str(pod["metadata"].get("creationTimestamp", ""))):
            uid = pod["metadata"]["uid"]
            if uid not in self._pods:
                node = node_of(pod)
                self._pods[uid] = self._shelf.attempt_of(uid, node, record.attempt), node

    def attempt_of(self, pod: Mapping[str, Any]) -> int | None:
        """Give the attempt of a pod that was numbered."""
        known = self._pods.get(pod["metadata"]["uid"])
        return known[0] if known is not None else None

    def follow(self, record: JobRecord, pods: Iterable[Mapping[str, Any]]) -> None:
        """Follow the logs of the pods that run or have run, as far as they are asked for."""
        self._nonce = str(record.spec.get("nonce", ""))
        task = Task.from_json(record.spec)
        self._nodes, self._image = task.resources.nodes, task.image
        known = [pod for pod in pods if pod["metadata"]["uid"] in self._pods]
        failed = _first_failure([pod for pod in known if self.attempt_of(pod) == record.attempt])
        waits = False
        for pod in known:
            uid = pod["metadata"]["uid"]
            state, node = container_state(pod), self._pods[uid][1]
            carried = self.mine and (node == 0 or self._nodes <= ALL_NODES or pod is failed)
            if uid in self._followers:
                if "terminated" in state:
                    self._followers[uid].terminated()
            elif "terminated" in state:
                if carried or node in self._wanted:
                    self._start(pod)
                    self._followers[uid].terminated()
            elif "running" in state:
                if node in self._wanted:
                    self._start(pod)
                elif carried and _places.take(self, self._changed):
                    self._start(pod, placed=True)
                else:
                    waits = waits or carried
        if not waits:
            _places.forget(self)

    def want(self, node: int) -> bool:
        """Carry the log of a node from now on; whether that is news."""
        new = node not in self._wanted
        self._wanted.add(node)
        return new

    def carries(self, node: int, attempt: int) -> bool:
        """Whether the log of a node's attempt is being brought, or was."""
        return any(self._pods[uid] == (attempt, node) for uid in list(self._followers))

    def wait(self, node: int, attempt: int, patience: float) -> None:
        """Wait until the log of a node's attempt was brought to its end, as far as it is being brought."""
        end = time.monotonic() + patience
        while time.monotonic() < end:
            mine = [f for uid, f in list(self._followers.items()) if self._pods[uid] == (attempt, node)]
            if all(follower.ended() for follower in mine):
                return
            time.sleep(0.01)

    def finish(self, pods: Iterable[Mapping[str, Any]]) -> None:
        """Take note that the job has ended, and with it the logs."""
        _places.forget(self)
        for pod in pods:
            follower = self._followers.get(pod["metadata"]["uid"])
            if follower is not None and "running" not in container_state(pod):
                follower.terminated()

    def removed(self, pod: Mapping[str, Any]) -> None:
        """Take note that a pod is there no more."""
        follower = self._followers.get(pod["metadata"]["uid"])
        if follower is not None:
            follower.terminated()

    @property
    def ended(self) -> bool:
        """Whether every log that is carried has been carried to its end."""
        return all(follower.ended() for follower in list(self._followers.values()))

    def reconnect(self) -> None:
        """Drop the connections: the machine has slept, and they may be dead."""
        for follower in list(self._followers.values()):
            follower.reconnect()

    def stop(self) -> None:
        """Follow nothing any longer; returns at once."""
        _places.forget(self)
        for uid, follower in list(self._followers.items()):
            follower.stop()
            self._leave(uid)

    def close(self, patience: float = CLOSING) -> None:
        """Follow nothing any longer, and wait until that is so, but no longer than some seconds."""
        self.stop()
        end = time.monotonic() + patience
        for follower in list(self._followers.values()):
            follower.close(end - time.monotonic())

    def _start(self, pod: Mapping[str, Any], *, placed: bool = False) -> None:
        uid = pod["metadata"]["uid"]
        with self._lock:
            if placed:
                self._placed.add(uid)
            attempt, node = self._pods[uid]
            self._followers[uid] = LogFollower(
                self._site.client,
                self._site.namespace,
                pod["metadata"]["name"],
                uid,
                self._shelf.log(attempt, node),
                self._nonce,
                on_growth=lambda: self._tell(LogGrew(self._name, node, attempt)),
                on_record=lambda record: self._on_record(record, pod),
                on_end=lambda: self._on_end(uid),
            )

    def _on_end(self, uid: str) -> None:
        self._leave(uid)
        self._changed()

    def _leave(self, uid: str) -> None:
        """Give back the place that a log has taken."""
        with self._lock:
            placed = uid in self._placed
            self._placed.discard(uid)
        if placed:
            _places.give_back()

    def _on_record(self, record: object, pod: Mapping[str, Any]) -> None:
        """Remember which Python an image has, once a job has shown it."""
        if isinstance(record, Control) and record.record.get("t") == "start":
            status = container_status(pod)
            image = str(self._image or status.get("image", ""))
            self._site.shelf.images().put(image, str(status.get("imageID", "")), str(record.record.get("python", "")))


def _first_failure(pods: Iterable[Mapping[str, Any]]) -> Mapping[str, Any] | None:
    """Find the pod that failed first, and was not ended because another had failed."""
    ended = [(pod, container_state(pod).get("terminated") or {}) for pod in pods]
    failed = [(pod, end) for pod, end in ended if end.get("exitCode")]
    first = min(
        failed,
        key=lambda item: (item[1]["exitCode"] in _KILLED, str(item[1].get("finishedAt", "")), node_of(item[0])),
        default=None,
    )
    return first[0] if first is not None else None


def node_of(pod: Mapping[str, Any]) -> int:
    """Give the rank of a pod."""
    metadata = pod["metadata"]
    for place in ("labels", "annotations"):
        index = (metadata.get(place) or {}).get(words.COMPLETION_INDEX)
        if index is not None:
            return int(index)
    return 0


def container_status(pod: Mapping[str, Any]) -> Mapping[str, Any]:
    """Give what a pod says of its own container; by name, never by place."""
    for status in pod.get("status", {}).get("containerStatuses") or ():
        if status.get("name") == words.CONTAINER:
            found: Mapping[str, Any] = status
            return found
    return {}


def container_state(pod: Mapping[str, Any]) -> Mapping[str, Any]:
    """Give the state of a pod's own container: ``waiting``, ``running`` or ``terminated``."""
    state: Mapping[str, Any] = container_status(pod).get("state") or {}
    return state
