"""What is known of a job: its state, its history and its record, as pure data.

Every backend reports jobs in these words, and everything above the backends reads nothing else.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any


class JobState(StrEnum):
    """Where a job stands."""

    QUEUED = "Queued"
    STARTING = "Starting"
    RUNNING = "Running"
    STOPPED = "Stopped"
    SUCCEEDED = "Succeeded"
    FAILED = "Failed"
    CANCELLED = "Cancelled"

    @property
    def final(self) -> bool:
        """Whether the state never changes again."""
        return self in (JobState.SUCCEEDED, JobState.FAILED, JobState.CANCELLED)

    @property
    def ends_wait(self) -> bool:
        """Whether waiting for the job ends here: it is final, or held until someone resumes it."""
        return self.final or self is JobState.STOPPED


@dataclass(frozen=True, slots=True)
class Transition:
    """One change of state.

    Attributes
    ----------
    time : float
        Seconds since the epoch.
    state : JobState
    reason : str
        One word, the backend's own (``Admitted``, ``Preempted``, ``BackoffLimitExceeded``).
    message : str
        A sentence for a person.
    attempt : int
        The attempt it belongs to, from 0.
    """

    time: float
    state: JobState
    reason: str = ""
    message: str = ""
    attempt: int = 0


@dataclass(frozen=True, slots=True)
class JobRecord:
    """One job as its backend knows it at one moment.

    Attributes
    ----------
    name : str
        Unique in the backend; the handle of the job.
    uid : str
        Identity of this very job; a name used again has another uid.
    backend : str
        ``"local"``, ``"kubernetes"``.
    state, reason, message
        The last transition.
    kind : str
        ``"cell"``, ``"function"``, ``"map"`` or ``"command"``.
    history : tuple of Transition
        All transitions, oldest first.
    position : int or None
        Jobs ahead of it in its queue while Queued, from 0.
    attempt : int
        The attempt that runs or ran last, from 0.
    created : float
        Seconds since the epoch.
    exit_code : int or None
        Of the node that failed first, else of node 0, when it has ended.
    failed_node : int or None
        The node that failed first.
    user : str
        Who submitted it.
    queue : str
    spec : mapping
        The task as plain JSON (``Task.to_json``).
    origin : mapping
        Where it was submitted from: kernel, notebook, cell (`Origin` keys are free, absence does no harm).
    recorded : bool
        Whether this user submitted it from this machine, so that its pickled result may be loaded.
    stuck : bool
        It has not started for so long that nobody should wait for it, though it may start yet.
    version : int
        Grows with every change of the record; of two records of one uid the greater is newer.
    """

    name: str
    uid: str
    backend: str
    state: JobState
    reason: str = ""
    message: str = ""
    kind: str = "command"
    history: tuple[Transition, ...] = ()
    position: int | None = None
    attempt: int = 0
    created: float = 0.0
    exit_code: int | None = None
    failed_node: int | None = None
    user: str = ""
    queue: str = ""
    spec: Mapping[str, Any] = field(default_factory=dict)
    origin: Mapping[str, Any] = field(default_factory=dict)
    recorded: bool = False
    stuck: bool = False
    version: int = 0

    @property
    def ends_wait(self) -> bool:
        """Whether waiting for the job ends here: it is final, held until someone resumes it, or stuck."""
        return self.stuck or self.state.ends_wait

    @property
    def started(self) -> float | None:
        """When the last attempt began to run, in seconds since the epoch."""
        times = [t.time for t in self.history if t.state is JobState.RUNNING]
        return times[-1] if times else None

    @property
    def finished(self) -> float | None:
        """When it came to its final state, in seconds since the epoch."""
        return self.history[-1].time if self.state.final and self.history else None


Use = tuple[float, float | None]
"""How much is used of a resource, and how much there is."""


@dataclass(frozen=True, slots=True)
class QueueInfo:
    """A queue and what it holds.

    Attributes
    ----------
    name : str
    running, pending : int
        Jobs.
    resources : mapping of str to (used, total)
        ``cpu`` in cores, ``memory`` in bytes, ``gpu`` in devices; a total of None is not known.
    message : str
        Why it takes no jobs, empty if it does.
    flavors : mapping of str to mapping of str to (used, total)
        The same as ``resources`` for each flavor (a kind of node, in Kueue's word); empty where there are none.
    """

    name: str
    running: int = 0
    pending: int = 0
    resources: Mapping[str, Use] = field(default_factory=dict)
    message: str = ""
    flavors: Mapping[str, Mapping[str, Use]] = field(default_factory=dict)
