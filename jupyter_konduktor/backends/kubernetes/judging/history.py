"""The life of a job as its history: what is known of it is added at the end, and nothing is ever taken back.

Every attempt after the first begins in one of two ways: JobSet restarts the job, and it goes on with Starting; or it
has lost its place, by an eviction, a stop or the end of its node, and is Queued again. So the history itself tells how
often which of the two has happened.
"""

from __future__ import annotations

from dataclasses import replace

from jupyter_konduktor.backends.kubernetes.judging.objects import latest
from jupyter_konduktor.backends.kubernetes.judging.starting import PASSING
from jupyter_konduktor.state import JobRecord, JobState, Transition


class Life:
    """The history of one job, to be continued.

    Parameters
    ----------
    held : JobRecord or None
        The job as it was known before.
    created : float
        Seconds since the epoch, as all times here.
    """

    def __init__(self, held: JobRecord | None, created: float) -> None:
        self._history = list(held.history) if held is not None else []
        if not self._history:
            self._history.append(Transition(created, JobState.QUEUED, "Submitted"))

    @property
    def history(self) -> tuple[Transition, ...]:
        """All of it, oldest first."""
        return tuple(self._history)

    @property
    def last(self) -> Transition:
        """Where the job stands."""
        return self._history[-1]

    @property
    def state(self) -> JobState:
        """The state the job is in."""
        return self.last.state

    @property
    def attempt(self) -> int:
        """The attempt that runs, ran last or is to begin."""
        return self.last.attempt

    @property
    def restarts(self) -> int:
        """How often JobSet has restarted the job, as far as it is known here."""
        queued = {change.attempt for change in self._history if change.state is JobState.QUEUED}
        return sum(attempt not in queued for attempt in range(1, self.attempt + 1))

    def since(self, state: JobState) -> float | None:
        """Give when the present attempt came to a state; None if it did not."""
        times = [change.time for change in self._history if change.attempt == self.attempt and change.state is state]
        return times[-1] if times else None

    @property
    def begun(self) -> bool:
        """Whether the present attempt was let in."""
        return self.since(JobState.STARTING) is not None

    def enter(
        self, state: JobState, time: float | None, reason: str, message: str = "", attempt: int | None = None
    ) -> None:
        """Come to a state; a time that is not known, or cannot be, is that of the change before."""
        number = self.attempt if attempt is None else attempt
        if state is self.state and number == self.attempt:
            return
        if self.state is JobState.RUNNING:
            self.say("Started", "")
        elif self.state is JobState.STARTING and self.last.reason in PASSING - {"Restarted"}:
            self.say("Admitted", "")  # of a start that went well, nothing else is worth keeping
        when = latest((time, self.last.time)) or self.last.time
        self._history.append(Transition(when, state, reason, message, number))

    def say(self, reason: str, message: str) -> None:
        """Say why the job is where it is: that changes, and is no change of state."""
        self._history[-1] = replace(self.last, reason=reason, message=message)

    def start(self, time: float | None) -> None:
        """Have the present attempt let in, unless it was."""
        if not self.begun:
            self.enter(JobState.STARTING, time, "Admitted")

    def run(self, time: float | None, *, admitted: float | None = None) -> None:
        """Have the present attempt run, unless it does; what came before is filled in."""
        self.start(admitted)
        if self.since(JobState.RUNNING) is None:
            self.enter(JobState.RUNNING, time, "Started")

    def restart(self, time: float | None, message: str = "") -> None:
        """Begin the next attempt in place, as JobSet does after a failure."""
        self.enter(JobState.STARTING, time, "Restarted", message, self.attempt + 1)

    def queue(self, time: float | None, reason: str, message: str = "", *, missed: int = 0) -> None:
        """Put the job into its queue again; an attempt that was let in is over with that.

        Parameters
        ----------
        time, reason, message
        missed : int
            Restarts of that attempt that are not told in the history.
        """
        self.enter(JobState.QUEUED, time, reason, message, self.attempt + self.begun + missed)
