"""Sends what the items of a map leave to the store while the map runs, from a thread of the supervisor."""

from __future__ import annotations

import threading
import time

from .deposit import Growing
from .transfer import TransferError

TYPE_CHECKING = False
if TYPE_CHECKING:  # importing typing costs a job 3 ms
    from collections.abc import Callable, Iterable

PAUSE = 3.0
"""Seconds between two looks at what is there."""

SELDOM = 60.0
"""Seconds after which little is sent too. Each time a part is sent again, so else it waits until there is half as much
as that."""


class Courier:
    """Sends what is there, now and then.

    Parameters
    ----------
    links, folder : str
        The file of URLs, and where the artifacts are.
    attempt : int
        Where to look first for a place that is free.
    left : callable
        Lists what was not sent yet.
    expected : callable
        Says how many bytes the whole map will leave, given how many there are.
    arrived : callable
        Told what the store has, from the courier's thread.
    warn : callable
        Told in a sentence, once, if it cannot be sent for now.
    """

    def __init__(
        self,
        links: str,
        folder: str,
        attempt: int,
        *,
        left: Callable[[], list[str]],
        expected: Callable[[int], int],
        arrived: Callable[[Iterable[str]], None],
        warn: Callable[[str], None],
    ) -> None:
        self._place = Growing(links, folder, attempt)
        self._left = left
        self._expected = expected
        self._arrived = arrived
        self._warn = warn
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def finish(self) -> None:
        """End; nothing of the job runs any more. What there is no room for is left, and so is what cannot be sent."""
        self._ending.set()
        self._thread.join()
        try:
            self._send(self._left())
        except (OSError, TransferError):
            pass  # who asks for it now says what becomes of it

    def _run(self) -> None:
        last, warned = time.monotonic(), False
        while not self._place.full and not self._ending.wait(PAUSE):
            digests = self._left()
            late = time.monotonic() - last > SELDOM
            if not digests or not (late or 2 * self._place.size_of(digests) >= self._place.loose):
                continue
            last = time.monotonic()
            try:
                self._send(digests)
            except (OSError, TransferError) as error:
                if not warned:
                    warned = True
                    self._warn(f"what items give back cannot be sent to the store for now: {error}")

    def _send(self, digests: list[str]) -> None:
        if digests and not self._place.full:
            self._arrived(self._place.add(digests, self._expected))
