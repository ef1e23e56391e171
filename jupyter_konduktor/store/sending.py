"""Brings what jobs need into a store: each object once, several at a time."""

from __future__ import annotations

import json
import threading
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import nullcontext
from datetime import UTC, datetime, timedelta
from typing import Protocol

from jupyter_konduktor.store import keys
from jupyter_konduktor.store.progress import Progress
from jupyter_konduktor.store.store import PIECE, WIDTH, Store

_TICK = 0.2


class Piece(Protocol):
    """Bytes that are read when they are to be sent, and may turn out to be others by then."""

    @property
    def nbytes(self) -> int:
        """How many they are."""

    def read(self) -> memoryview:
        """Give them; raises if they are not what they were."""

    def check(self) -> None:
        """Raise that too, once they were sent."""


def send(store: Store, nonce: str, objects: Mapping[str, Piece], *, fresh: timedelta, quiet: bool = False) -> int:
    """Write what is not there yet, and the lease that keeps all of it there; gives the bytes that were sent.

    Parameters
    ----------
    store : Store
    nonce : str
        Of the job that needs them.
    objects : mapping of str to Piece
        By their SHA-256.
    fresh : timedelta
        An object of this age is written again, lest it be removed as an old one.
    quiet : bool, default False
        Show no progress.
    """
    pool = ThreadPoolExecutor(WIDTH, thread_name_prefix="konduktor-store")
    try:
        lease(store, nonce, list(objects))
        since = datetime.now(UTC) - fresh
        there = pool.map(lambda sha256: _is_there(store, sha256, objects[sha256].nbytes, since), objects)
        missing = [sha256 for sha256, known in zip(objects, there, strict=True) if not known]
        total = sum(objects[sha256].nbytes for sha256 in missing)
        progress = Progress(f"sending {_size(total)} to {store.url}", total, quiet=quiet)

        one_at_a_time = threading.Lock()  # of those that are sent in parts, for each is held in memory as it is sent

        def put(sha256: str) -> None:
            piece, key = objects[sha256], keys.object_key(sha256)
            with one_at_a_time if piece.nbytes > PIECE else nullcontext():
                store.put(key, piece.read(), tell=progress.add)
                try:
                    piece.check()
                except BaseException:
                    store.delete([key])  # others would take it for what its name says
                    raise

        waiting: set[Future[None]] = {pool.submit(put, sha256) for sha256 in missing}
        try:
            while waiting:
                done, waiting = wait(waiting, timeout=_TICK)
                for one in done:
                    one.result()
                progress.show()
        except BaseException:
            progress.close("not sent")
            raise
        progress.close()
        return total
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


def lease(store: Store, nonce: str, digests: list[str]) -> None:
    """Note what a job needs, from now on for as long as its URLs are good."""
    store.put(keys.lease_key(nonce), json.dumps({"objects": digests}).encode("ascii"))


def _is_there(store: Store, sha256: str, size: int, since: datetime) -> bool:
    kept = store.look(keys.object_key(sha256))
    return kept is not None and kept.size == size and kept.modified > since


def _size(count: int) -> str:
    return f"{count / 2**30:.1f} GiB" if count >= 2**30 else f"{count / 2**20:.1f} MiB"
