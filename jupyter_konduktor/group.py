"""The handle of a map: one job with many items."""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator, Iterator
from typing import Any, ClassVar

import jupyter_konduktor
from jupyter_konduktor import summary
from jupyter_konduktor.errors import JobError, JobFailedError, KonduktorError, ResultTimeoutError
from jupyter_konduktor.job import Job, Outcome, show
from jupyter_konduktor.runner.envelope import parse
from jupyter_konduktor.state import JobState
from jupyter_konduktor.tracker import TICK


class JobGroup:
    """The items of a map, in their order, all run by one job.

    Attributes
    ----------
    job : Job
        The job that runs them; cancel, stop and logs are its.
    """

    progress: ClassVar[Callable[[JobGroup], object] | None] = None
    """Called before a wait of unlimited time in the main thread; a notebook shows the progress until the end."""

    def __init__(self, job: Job) -> None:
        self.job = job
        self._count = int(job.record.spec.get("items", 0))
        self._envelopes: dict[int, bytes] = {}
        self._order: list[int] = []
        self._seen = 0
        self._well: dict[int, bool] = {}

    def __len__(self) -> int:
        return self._count

    def __repr__(self) -> str:
        return f"JobGroup({self.job.name!r}, {self._count} items)"

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, str]:
        ended = f"{self.finished} of {self._count} items have ended"
        record = self.job.record
        line = f"{record.name} {summary.status(record)}; {ended}"
        return {"text/plain": f"{summary.text(record)}; {ended}", "text/html": summary.html(record, line)}

    def _ipython_display_(self) -> None:
        if not jupyter_konduktor.show_live(self):
            raise NotImplementedError  # then IPython takes the bundle

    @property
    def name(self) -> str:
        """The name of its job, to attach to."""
        return self.job.name

    @property
    def state(self) -> JobState:
        """Where the job stands."""
        return self.job.state

    @property
    def finished(self) -> int:
        """How many items have ended, well or not."""
        self._read()
        return len(self._order)

    def outcomes(self) -> list[bool | None]:
        """Say of each item whether it ended well; None while it has not ended."""
        self._read()
        return [self._well.get(index) for index in range(self._count)]

    def _read(self) -> None:
        for index, envelope in self.job._tracker.backend.read_items(self.name, self._seen):
            self._seen += 1
            if index not in self._envelopes:
                self._order.append(index)
            self._envelopes[index] = envelope
            self._well[index] = _is_well(envelope)

    def wait(self, timeout: float | None = None) -> Outcome:
        """Wait until all items have ended; see `Job.wait`."""
        return self.job.wait(timeout)

    def item(self, index: int) -> Any:
        """Give one item's value, or raise its error; it must have ended."""
        if not -self._count <= index < self._count:
            raise IndexError(f"{self.name} has {self._count} items, there is no item {index}")
        index %= self._count
        self._read()
        record = self.job.record
        decoder = self.job._decoder(record)
        if index not in self._envelopes:
            if record.state is JobState.FAILED:
                raise JobFailedError(
                    f"item {index} of {self.name} did not run: the job failed: {record.message or record.reason}",
                    advice=f"{len(self._order)} of {self._count} items ended before; result(return_exceptions=True) "
                    "gives them.",
                    job=self.name,
                    exit_code=record.exit_code,
                )
            if record.ends_wait:
                decoder.outcome(record, self.job._tracker.backend.read_envelope(self.name))
            raise ResultTimeoutError(f"item {index} of {self.name} has not ended", job=self.name)
        envelope = decoder.parse(self._envelopes[index])
        if envelope.exit:
            raise decoder.failure(envelope, f"item {index} failed", exit_code=envelope.exit)
        return decoder.decode(envelope).value

    def result(self, timeout: float | None = None, *, return_exceptions: bool = False) -> list[Any]:
        """Wait for all items and give their values in order.

        Parameters
        ----------
        timeout : float, optional
            Seconds to wait.
        return_exceptions : bool, default False
            Put the error of a failed item in its place, where otherwise the first one (by index) is raised.
        """
        if JobGroup.progress and timeout is None and threading.current_thread() is threading.main_thread():
            JobGroup.progress(self)
        self.wait(timeout)
        values: list[Any] = []
        for index in range(self._count):
            try:
                values.append(self.item(index))
            except KonduktorError as error:
                if not return_exceptions:
                    raise
                values.append(error)
        return values

    def as_completed(self) -> Iterator[tuple[int, Any]]:
        """Yield (index, value or error) as items end."""
        given = 0
        for _, record in self.job.stream(tick=TICK):
            ended = record.ends_wait
            self._read()
            for index in self._order[given:]:
                try:
                    yield index, self.item(index)
                except JobError as error:
                    yield index, error
            given = len(self._order)
            if ended:
                break
        for index in range(self._count):
            if index not in self._envelopes:
                try:
                    self.item(index)
                except KonduktorError as error:
                    yield index, error

    def __iter__(self) -> Iterator[Any]:
        """Yield the values in order, each as soon as it is there."""
        for index in range(self._count):
            for _, record in self.job.stream(tick=TICK):
                self._read()
                if index in self._envelopes or record.ends_wait:
                    break
            yield self.item(index)

    def __getitem__(self, index: int) -> Any:
        """Wait for one item and give its value."""
        if not -self._count <= index < self._count:
            raise IndexError(f"{self.name} has {self._count} items, there is no item {index}")
        index %= self._count
        for _, record in self.job.stream(tick=TICK):
            self._read()
            if index in self._envelopes or record.ends_wait:
                break
        return self.item(index)

    def __await__(self) -> Generator[Any, None, list[Any]]:
        return self._result_async().__await__()

    async def _result_async(self) -> list[Any]:
        await self.job._wait_async()
        return self.result()

    def cancel(self) -> None:
        """End the job for good; items that have ended keep their values."""
        self.job.cancel()

    def stop(self) -> None:
        """Hold the job."""
        self.job.stop()

    def resume(self) -> None:
        """Queue a stopped job again; all items run anew."""
        self.job.resume()

    def logs(self, node: int = 0, tail: int | None = None) -> str:
        """Read what the items wrote."""
        return self.job.logs(node=node, tail=tail)

    def show(self) -> None:
        """Display where the job and its items stand."""
        show(self)


def _is_well(envelope: bytes) -> bool:
    try:
        return parse(envelope).exit == 0
    except ValueError:
        return False  # `item` says what is wrong with it
