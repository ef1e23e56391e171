"""The handle of a job: a name that can be waited for, read, cancelled and attached to again."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Generator, Iterator, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal, overload

import jupyter_konduktor
from jupyter_konduktor import summary
from jupyter_konduktor.errors import JobError, JobFailedError, KonduktorError, ResultTimeoutError
from jupyter_konduktor.interrupt import Watched
from jupyter_konduktor.result import Decoded, Decoder
from jupyter_konduktor.runner.stream import Display, StreamDecoder
from jupyter_konduktor.state import JobRecord, JobState, Transition
from jupyter_konduktor.tracker import TICK, Tracker

if TYPE_CHECKING:
    from jupyter_konduktor.config import Settings

LAST_LINES = 20
"""Lines of a failed node's output that its error shows."""

Outcome = Literal["succeeded", "failed", "cancelled", "stopped", "stuck"]


class Job(str):
    """A job, by its name.

    It is a ``str``, so that it can be stored, printed and passed to any tool that takes a job's name, with the verbs of
    a future. Make one with `submit`, `launch` or `attach`, never by hand.
    """

    __slots__ = ("_settings", "_tracker")
    _tracker: Tracker
    _settings: Settings

    def __new__(cls, name: str, tracker: Tracker, settings: Settings) -> Job:
        """Bind a name to the backend that knows it."""
        job = super().__new__(cls, name)
        job._tracker = tracker
        job._settings = settings
        return job

    def __repr__(self) -> str:
        return f"Job({str(self)!r})"

    def __reduce__(self) -> tuple[Any, ...]:
        return jupyter_konduktor.restore_job, (str(self), self._tracker.backend.name)

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, str]:
        record = self.record
        return {"text/plain": summary.text(record), "text/html": summary.html(record)}

    def _ipython_display_(self) -> None:
        if not jupyter_konduktor.show_live(self):
            raise NotImplementedError  # then IPython takes the bundle

    # --- where it stands

    @property
    def name(self) -> str:
        """The name as a plain ``str``."""
        return str.__str__(self)

    @property
    def record(self) -> JobRecord:
        """All that is known of the job now."""
        return self._tracker.get(self.name)

    @property
    def state(self) -> JobState:
        """Where it stands."""
        return self.record.state

    @property
    def reason(self) -> str:
        """Why it stands there, in one word of the backend's own."""
        return self.record.reason

    @property
    def message(self) -> str:
        """Why it stands there, in a sentence."""
        return self.record.message

    @property
    def history(self) -> tuple[Transition, ...]:
        """Every change of its state with its time, oldest first."""
        return self.record.history

    @property
    def queue_position(self) -> int | None:
        """How many jobs of its queue are ahead of it while it is Queued, else None."""
        return self.record.position

    @property
    def unknown_since(self) -> float | None:
        """Since when the backend cannot be reached, in seconds since the epoch; the rest is as it was then."""
        return self._tracker.reach.since

    def events(self) -> list[Transition]:
        """List what happened to the job, oldest first."""
        return list(self.history)

    def done(self) -> bool:
        """Whether the job has ended; a stopped job has not."""
        return self.state.final

    def show(self) -> None:
        """Display where the job stands, live where the front end can."""
        show(self)

    # --- waiting

    def wait(self, timeout: float | None = None) -> Outcome:
        """Wait until the job has ended or is stopped.

        Parameters
        ----------
        timeout : float, optional
            Seconds; None waits for as long as it takes.

        Returns
        -------
        "succeeded", "failed", "cancelled", "stopped" or "stuck"

        Raises
        ------
        ResultTimeoutError
            When the time is up; the job goes on.
        """
        with self._interruptible():
            record = self._tracker.wait(self.name, lambda r: r.ends_wait, timeout)
        if record is None:
            raise ResultTimeoutError(
                f"{self} has not ended within {timeout:g} s; it is {self.state}",
                advice=f'It goes on: wait again, or end it with jk.attach("{self}").cancel().',
                job=self.name,
            )
        return _outcome(record)

    def result(self, timeout: float | None = None, *, trust: bool = False) -> Any:
        """Wait for the job and give what it returned; for a cell, the dict of its outputs.

        Each call reads the value anew. Pickles are loaded only of jobs that this user submitted, unless ``trust=True``.

        Raises
        ------
        RemoteError
            If the job's code raised an exception; ``__cause__`` is that exception where it can be loaded.
        JobFailedError, JobCancelledError, JobStoppedError, JobLostError
            If the job did not succeed for another reason.
        NoResultReportedError, ResultTooLargeError, MalformedResultError
            If it succeeded without a usable result.
        ResultTimeoutError
            When the time is up; the job goes on.
        """
        self.wait(timeout)
        return self.decoded(trust=trust).value

    def exception(self, timeout: float | None = None) -> KonduktorError | None:
        """Wait for the job and give the error that `result` would raise, None if it would give a value."""
        self.wait(timeout)
        try:
            self.decoded()
        except JobError as error:
            return error
        return None

    def decoded(self, *, trust: bool = False, main: dict[str, Any] | None = None) -> Decoded:
        """Read the result of a job that has ended, with what the runner says of it."""
        backend = self._tracker.backend
        record = self.record
        try:
            return self._decoder(record, trust, main).outcome(record, backend.read_envelope(self.name))
        except JobFailedError as error:
            if record.failed_node:  # node 0's output was shown as it came
                error.message += self._last_words(record.failed_node)
            raise

    def _last_words(self, node: int) -> str:
        """Give the end of what a node wrote."""
        text = self.logs(node=node, tail=LAST_LINES).rstrip()
        return f"\nThe last lines of node {node}:\n{text}" if text else ""

    def _decoder(self, record: JobRecord, trust: bool = False, main: dict[str, Any] | None = None) -> Decoder:
        def fetch(reference: Mapping[str, Any]) -> memoryview:
            return self._tracker.backend.read_artifact(self.name, reference)

        forbidden = ""
        if self._settings.unpickle == "never":
            forbidden = 'the setting unpickle = "never" keeps to JSON'
        elif not record.recorded and not trust:
            forbidden = f"it was submitted by {record.user or 'someone else'}, not from here"
        namespace = sys.modules["__main__"].__dict__ if main is None else main
        return Decoder(self.name, fetch, namespace, forbidden)

    def __await__(self) -> Generator[Any, None, Any]:
        return self._result_async().__await__()

    async def _result_async(self) -> Any:
        await self._wait_async()
        return self.decoded().value

    async def _wait_async(self) -> None:
        loop, changed = asyncio.get_running_loop(), asyncio.Event()
        with self._interruptible(), self._tracker.listening(lambda: loop.call_soon_threadsafe(changed.set)):
            record = self._tracker.current(self.name)
            while not record.ends_wait:
                # The tick lets an interrupt through on loops that see signals only when they wake. Before Python 3.12
                # asyncio.wait_for() swallows a cancellation that comes together with a change.
                tick = loop.call_later(TICK, changed.set)
                try:
                    await changed.wait()
                finally:
                    tick.cancel()
                changed.clear()
                record = self._tracker.get(self.name)

    def _interruptible(self) -> Watched:
        return Watched(lambda: print(interrupted(self), file=sys.stderr, flush=True))

    # --- output

    @overload
    def logs(
        self, follow: Literal[False] = False, node: int = 0, tail: int | None = None, attempt: int | None = None
    ) -> str: ...
    @overload
    def logs(
        self, follow: Literal[True], node: int = 0, tail: int | None = None, attempt: int | None = None
    ) -> Iterator[str]: ...
    def logs(
        self, follow: bool = False, node: int = 0, tail: int | None = None, attempt: int | None = None
    ) -> str | Iterator[str]:
        """Read what a node of the job wrote.

        Parameters
        ----------
        follow : bool, default False
            Give an iterator that yields text as it comes, until the job ends.
        node : int, default 0
        tail : int, optional
            Only the last lines, this many.
        attempt : int, optional
            From 0; the last one by default.

        Returns
        -------
        str or iterator of str
            Bytes that are no UTF-8 are replaced; rich outputs stand as their text.
        """
        if follow:
            return self._follow_text(node, tail)
        text = "".join(_as_text(part) for part in self._read_log(node, attempt))
        return text if tail is None else "".join(text.splitlines(keepends=True)[-tail:] if tail > 0 else [])

    def _read_log(self, node: int, attempt: int | None) -> Iterator[bytes | Display]:
        decoder, offset = StreamDecoder(self._nonce()), 0
        while True:
            chunk = self._tracker.backend.read_log(self.name, node=node, attempt=attempt, offset=offset)
            yield from decoder.feed(chunk.data)
            if chunk.ended or not chunk.data:
                break
            offset = chunk.offset
        yield from decoder.flush()

    def _nonce(self) -> str:
        return str(self.record.spec.get("nonce", ""))

    def _follow_text(self, node: int, tail: int | None) -> Iterator[str]:
        if tail is not None:
            yield self.logs(node=node, tail=tail)
        skip = tail is not None
        for parts, _ in self.stream(node=node, skip=skip):
            yield from (_as_text(part) for part in parts)

    def stream(
        self, *, node: int = 0, tick: float = TICK, skip: bool = False
    ) -> Iterator[tuple[list[bytes | Display], JobRecord]]:
        """Yield the job's output and its record as they change, until it ends and all output was given.

        Parameters
        ----------
        node : int, default 0
        tick : float, default 0.2
            Something is yielded at least this often, in seconds, perhaps with no output.
        skip : bool, default False
            Begin with what is written from now on.
        """
        record = self._tracker.current(self.name)
        reader = _LogReader(self, node, record.attempt, at_end=skip)
        while True:
            growth = self._tracker.growth(self.name)
            # The record was taken before the log is read: what it calls over has nothing more to come.
            over = record.ends_wait or record.attempt != reader.attempt
            parts = reader.read(over)
            yield parts, record
            if reader.behind:
                record = self._tracker.get(self.name)
            elif over and reader.ended and record.attempt != reader.attempt:
                reader = _LogReader(self, node, record.attempt)
            elif over and reader.ended:
                return
            else:
                record = self._tracker.wait_change(self.name, record, growth, tick)

    # --- ending it

    def cancel(self) -> None:
        """End the job for good; what ran is told to end, then killed."""
        self._tracker.backend.cancel(self.name)
        record = self.record
        if record.stuck:  # its end is worth waiting for now
            self._tracker.put(replace(record, stuck=False))

    def stop(self) -> None:
        """Hold the job; `resume` queues it again and it starts anew."""
        self._tracker.backend.stop(self.name)

    def resume(self) -> None:
        """Queue a stopped job again."""
        self._tracker.backend.resume(self.name)
        self._tracker.put(self._tracker.backend.get(self.name))


class _LogReader:
    """Reads the log of one attempt from where it was left."""

    PIECE = 256 * 1024

    def __init__(self, job: Job, node: int, attempt: int, *, at_end: bool = False) -> None:
        self.job, self.node, self.attempt = job, node, attempt
        self.decoder = StreamDecoder(job._nonce())
        self.offset = 0
        self.behind = False
        self.ended = False
        if at_end:
            self.offset = job._tracker.backend.read_log(job.name, node=node, attempt=attempt, offset=-1).offset

    def read(self, over: bool) -> list[bytes | Display]:
        """Read a piece, and what the decoder still holds once the attempt is over and all of it was read."""
        chunk = self.job._tracker.backend.read_log(
            self.job.name, node=self.node, attempt=self.attempt, offset=self.offset, limit=self.PIECE
        )
        self.offset = chunk.offset
        self.behind = len(chunk.data) >= self.PIECE
        self.ended = chunk.ended and not self.behind
        parts = self.decoder.feed(chunk.data)
        if over and self.ended:
            parts += self.decoder.flush()
        return parts


def show(handle: Any) -> None:
    """Display the handle of a job or of a map; without IPython its text is printed."""
    shell = sys.modules["IPython"].get_ipython() if "IPython" in sys.modules else None
    if shell is None:
        print(handle._repr_mimebundle_()["text/plain"])
    else:
        sys.modules["IPython"].display.display(handle)


def interrupted(job: Job) -> str:
    """Do with the job what the settings say of an interrupt, and tell it in one line."""
    if job._settings.on_interrupt == "cancel":
        job.cancel()
        return f"konduktor: interrupted; {job} is being cancelled"
    return (
        f'konduktor: interrupted; {job} goes on. Attach with %konduktor attach {job} or jk.attach("{job}"), '
        f"end it with %konduktor cancel {job}"
    )


def follow(
    job: Job,
    *,
    on_text: Callable[[bytes], None],
    on_display: Callable[[Display], None],
    on_state: Callable[[JobRecord], None],
    tick: float = TICK,
) -> JobRecord:
    """Hand on everything a job writes, from the calling thread, until it has ended and nothing is left.

    Parameters
    ----------
    job : Job
    on_text : callable
        Gets bytes as the job wrote them.
    on_display : callable
        Gets each rich output, in order with the text.
    on_state : callable
        Gets the latest record after each change, and at least every ``tick`` seconds.

    Returns
    -------
    JobRecord
        The last one. A KeyboardInterrupt passes through and does nothing to the job.
    """
    record = job.record
    for parts, latest in job.stream(tick=tick):
        record = latest
        for part in parts:
            if isinstance(part, bytes):
                on_text(part)
            else:
                on_display(part)
        on_state(record)
    return record


def _as_text(part: bytes | Display) -> str:
    if isinstance(part, bytes):
        return part.decode("utf-8", "replace")
    plain = part.record.get("data", {}).get("text/plain", "")
    return f"{plain}\n" if plain else ""


def _outcome(record: JobRecord) -> Outcome:
    if record.stuck and not record.state.ends_wait:
        return "stuck"
    outcomes: dict[JobState, Outcome] = {
        JobState.SUCCEEDED: "succeeded",
        JobState.FAILED: "failed",
        JobState.CANCELLED: "cancelled",
        JobState.STOPPED: "stopped",
    }
    return outcomes[record.state]
