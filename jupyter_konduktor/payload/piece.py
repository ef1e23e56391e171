"""Bytes that are sent by their SHA-256."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


def _unchanging() -> None:
    """What lies in memory stays as it is."""


@dataclass(frozen=True, slots=True)
class Piece:
    """Bytes that are read when they are needed: what is there already is never read.

    Attributes
    ----------
    nbytes : int
    read : callable
        Gives them; raises `PayloadError` if they are not what they were.
    check : callable
        Raises that too, of what was mapped and has been sent.
    """

    nbytes: int
    read: Callable[[], memoryview]
    check: Callable[[], None] = _unchanging

    @classmethod
    def of(cls, data: bytes | memoryview) -> Piece:
        """Take bytes that lie in memory."""
        view = memoryview(data)
        return cls(view.nbytes, lambda: view)
