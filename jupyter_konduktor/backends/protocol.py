"""What every backend does, and the only thing the rest of the package knows of one.

The contract suite (``tests/contract``) is written against this page and runs over each backend.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from jupyter_konduktor.state import JobRecord, QueueInfo
from jupyter_konduktor.task import Task

if TYPE_CHECKING:
    from jupyter_konduktor.payload import Payload


@dataclass(frozen=True, slots=True)
class LogGrew:
    """The log of one node, or for node 0 the list of finished items of a map, has something new to read."""

    name: str
    node: int
    attempt: int


@dataclass(frozen=True, slots=True)
class JobGone:
    """A job that had not ended is there no more: someone has deleted it."""

    name: str
    uid: str


@dataclass(frozen=True, slots=True)
class Reach:
    """Whether the backend can be seen: what was told of its jobs before stands, and may be old.

    Attributes
    ----------
    since : float or None
        When it was lost, in seconds since the epoch; None if it is there again.
    message : str
        Why it cannot be seen.
    """

    since: float | None
    message: str = ""


Event = JobRecord | LogGrew | JobGone | Reach


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that the doctor looked at.

    Attributes
    ----------
    what : str
    ok : bool or None
        None where it could not be found out, or is only told.
    found : str
        How it is.
    advice : str
        What to do, empty where nothing is to be done.
    """

    what: str
    ok: bool | None
    found: str
    advice: str = ""


@dataclass(frozen=True, slots=True)
class LogChunk:
    """A piece of one node's raw stream (`jupyter_konduktor.runner.stream` decodes it).

    Attributes
    ----------
    data : bytes
    offset : int
        Where the next read begins.
    ended : bool
        Nothing will ever follow.
    """

    data: bytes
    offset: int
    ended: bool


@dataclass(frozen=True, slots=True)
class StoredGroup:
    """What of a store goes together.

    Attributes
    ----------
    what : str
        Names it for a person.
    objects : int
    bytes : int
    age : float
        Seconds since the newest of it was written.
    """

    what: str
    objects: int
    bytes: int
    age: float


@dataclass(frozen=True, slots=True)
class Stored:
    """What was removed from a store, or would be.

    Attributes
    ----------
    place : str
        The store's address.
    jobs : int
        Jobs whose results were among it.
    objects : int
        All objects.
    bytes : int
    groups : tuple of StoredGroup
        The same in detail, the largest first.
    """

    place: str
    jobs: int
    objects: int
    bytes: int
    groups: tuple[StoredGroup, ...] = field(default=(), compare=False)


class Watch(Protocol):
    """A running watch."""

    def close(self) -> None:
        """End it; no callback runs after this returns, and calling it twice does no harm."""


class Backend(Protocol):
    """A place where jobs are queued and run.

    Every method may be called from any thread. Errors are `jupyter_konduktor.errors.BackendError` or below it.
    """

    @property
    def name(self) -> str:
        """The name of the backend in settings and records."""

    @property
    def place(self) -> str:
        """Where its jobs run, for a person."""

    def owns(self, record: JobRecord) -> bool:
        """Whether the user of this process submitted the job."""

    def check(self, task: Task) -> list[str]:
        """Refuse a task that can never run here, before anything is created.

        Returns
        -------
        list of str
            One-line notes on what is accepted but has no effect here.
        """

    def review(self, task: Task, payload: Payload) -> list[str]:
        """Give one-line notes on what may go wrong with what is to be sent, as far as that is known before it runs."""

    def submit(
        self, task: Task, payload: Payload | None, *, key: str, origin: Mapping[str, Any] | None = None
    ) -> JobRecord:
        """Make the job; it exists when this returns, and does not exist if this raises.

        Parameters
        ----------
        task : Task
        payload : Payload or None
            What the job runs; None for a task with a command.
        key : str
            Idempotency key: a second call with the same key returns the first job.
        origin : mapping, optional
            Where it was submitted from (JSON).
        """

    def get(self, name: str) -> JobRecord:
        """Look one job up; raises `JobNotFoundError`."""

    def queues(self) -> list[QueueInfo]:
        """The queues a task may name, with use and quota where they can be seen."""

    def list(self, *, all_users: bool = False) -> list[JobRecord]:
        """All jobs that are kept, oldest first."""

    def watch(self, callback: Callable[[Event], None]) -> Watch:
        """Report every job's changes to one callback, from one thread.

        First the current record of every job that is not final, then each change in order, none twice. What changed
        while the watch was interrupted or the callback was busy is reported as its last state. A record whose version
        was reported before has another position in its queue.
        """

    def read_log(
        self, name: str, *, node: int = 0, attempt: int | None = None, offset: int = 0, limit: int = 1 << 20
    ) -> LogChunk:
        """Read one node's stream from an offset in bytes; the last attempt unless one is named.

        A negative offset counts from the end. A log that does not exist yet is an empty chunk.
        """

    def read_envelope(self, name: str) -> bytes | None:
        """The final envelope of the job's last attempt, None where it left none."""

    def read_items(self, name: str, start: int = 0) -> Sequence[tuple[int, bytes]]:
        """The (index, envelope) pairs of a map's finished items, in the order they finished, from the start-th on.

        An item that failed in an attempt before may come once more; then the later one counts.
        """

    def read_artifact(self, name: str, reference: Mapping[str, Any]) -> memoryview:
        """The bytes an envelope's reference points to, its digest not yet checked; raises `JobLostError` if gone.

        ``reference`` has ``sha256``, ``size`` and maybe ``uri``.
        """

    def cancel(self, name: str) -> None:
        """End the job for good; returns at once, the state follows. A final job stays as it is."""

    def stop(self, name: str) -> None:
        """Hold the job, ending what runs; returns at once, the state follows."""

    def resume(self, name: str) -> None:
        """Queue a held job again."""

    def examine(self) -> Iterator[Finding]:
        """Look at everything that a job needs here, one thing after the other; never raises for what it finds."""

    def collect_garbage(self, *, dry_run: bool = False) -> tuple[int, int]:
        """Remove finished jobs beyond the retention; returns (jobs, bytes) removed or, dry, removable."""

    def collect_stored(self, *, dry_run: bool = False) -> Stored | None:
        """Remove what is old in the store that is set; None where none is used."""

    def close(self) -> None:
        """End watches and release what this process holds; jobs go on."""
