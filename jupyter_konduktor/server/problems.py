"""What went wrong, in one line for a person and one number for HTTP."""

from __future__ import annotations

from jupyter_konduktor.errors import (
    AccessDeniedError,
    ApiError,
    ConfigError,
    JobLostError,
    JobNotFoundError,
    KonduktorError,
    StoreError,
    UnreachableError,
)
from jupyter_konduktor.summary import inert


class BadRequestError(KonduktorError):
    """A parameter has a value that is not allowed."""


class ConflictError(KonduktorError):
    """The job is in a state in which that cannot be done to it."""


_STATUS: list[tuple[type[KonduktorError], int]] = [
    (BadRequestError, 400),
    (AccessDeniedError, 403),
    (JobNotFoundError, 404),
    (JobLostError, 404),
    (ConflictError, 409),
    (ApiError, 502),
    (UnreachableError, 503),
    (StoreError, 503),
    (ConfigError, 503),
]


def status(error: KonduktorError) -> int:
    """Give the HTTP status of an error; of one that has none of its own, that the backend behind us has failed."""
    return next((number for kind, number in _STATUS if isinstance(error, kind)), 502)


def line(error: KonduktorError) -> str:
    """Say in one line what was wrong and what to do about it."""
    text = error.message.rstrip()
    if error.advice:
        text += f" {error.advice}" if text.endswith((".", "!", "?")) else f". {error.advice}"
    return inert(text)


def has_status(error: KonduktorError) -> bool:
    """Whether the kind of an error alone says what went wrong, wherever it happened."""
    return any(isinstance(error, kind) for kind, _ in _STATUS)
