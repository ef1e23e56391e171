"""Every error this package raises, in one tree.

Each class is one sentence; what to do about it travels in ``advice`` and is part of ``str(error)``.
"""

from __future__ import annotations

from typing import Any


class KonduktorError(Exception):
    """Any error of this package.

    Parameters
    ----------
    message : str
        What was wrong, with the value that was wrong.
    advice : str, optional
        What to do about it, one sentence.
    """

    def __init__(self, message: str, *, advice: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.advice = advice

    def __str__(self) -> str:
        return f"{self.message}\n{self.advice}" if self.advice else self.message

    def _render_traceback_(self) -> list[str]:
        """Give IPython the message alone: the frames are ours, and tell the user nothing."""
        return f"{type(self).__name__}: {self}".split("\n")


class InvalidTaskError(KonduktorError, ValueError):
    """A field of a task has a value that is not allowed.

    ``field`` and ``value`` name it; the message says what is allowed.
    """

    def __init__(self, message: str, *, advice: str = "", field: str = "", value: Any = None) -> None:
        super().__init__(message, advice=advice)
        self.field = field
        self.value = value


class ConfigError(KonduktorError, ValueError):
    """A setting is unknown or has a value that is not allowed."""


class PayloadError(KonduktorError):
    """Code or variables cannot be sent, or what was sent cannot be loaded.

    ``variable`` is the name in the notebook and ``path`` leads from it to the culprit, as in ``model.layers[0].lock``.
    """

    def __init__(self, message: str, *, advice: str = "", variable: str = "", path: str = "") -> None:
        super().__init__(message, advice=advice)
        self.variable = variable
        self.path = path


class SecretFoundError(PayloadError):
    """The value of a secret environment variable stands in what would be sent."""


class InputTooLargeError(PayloadError):
    """An input is larger than the limit that is set for it."""


class VersionMismatchError(PayloadError):
    """A pickle was made by a version of Python, cloudpickle or a package that cannot be loaded here."""


class IntegrityError(PayloadError):
    """Bytes do not have the digest that the envelope vouches for, and were not loaded."""


class UntrustedResultError(PayloadError):
    """A pickled result belongs to a job that was not submitted from here, or the settings forbid unpickling."""


class BackendError(KonduktorError):
    """A backend could not do what was asked."""


class SubmitError(BackendError):
    """No job was made."""


class JobNotFoundError(BackendError, LookupError):
    """There is no job of that name."""


class StoreError(BackendError):
    """The place where jobs are kept cannot be read or written."""


class ApiError(BackendError):
    """The cluster's API refused a request.

    Attributes
    ----------
    status : int
        The HTTP status.
    reason : str
        The API's own word (``NotFound``, ``AlreadyExists``, ``Invalid``); empty if it gave none.
    """

    def __init__(self, message: str, *, advice: str = "", status: int = 0, reason: str = "") -> None:
        super().__init__(message, advice=advice)
        self.status = status
        self.reason = reason


class AccessDeniedError(ApiError):
    """The cluster does not let this user do that; the message names the verb and the resource."""


class UnreachableError(BackendError):
    """The cluster did not answer; what became of the request is not known."""


class JobError(KonduktorError):
    """A job did not give its value.

    ``job`` is its name.
    """

    def __init__(self, message: str, *, advice: str = "", job: str = "") -> None:
        super().__init__(message, advice=advice)
        self.job = job


class JobFailedError(JobError):
    """The job ended with an exit code other than 0, or could not run.

    ``exit_code`` is None where there was none.
    """

    def __init__(self, message: str, *, advice: str = "", job: str = "", exit_code: int | None = None) -> None:
        super().__init__(message, advice=advice, job=job)
        self.exit_code = exit_code


class SetupError(JobFailedError):
    """A setup command of the job failed, and its code was not begun."""


class PackagesError(JobFailedError):
    """The packages of the job could not be installed, and its code was not begun."""


class RemoteError(JobFailedError):
    """The code of a cell or function raised an exception in the job.

    Attributes
    ----------
    ename, evalue : str
        The type and the text of the exception, as IPython names them.
    traceback : str
        The remote traceback, trimmed to the user's frames.
    item : int or None
        Which item of a ``map`` failed, counted from 0.
    """

    def __init__(
        self,
        message: str,
        *,
        advice: str = "",
        job: str = "",
        exit_code: int | None = 1,
        ename: str = "",
        evalue: str = "",
        traceback: str = "",
        item: int | None = None,
    ) -> None:
        super().__init__(message, advice=advice, job=job, exit_code=exit_code)
        self.ename = ename
        self.evalue = evalue
        self.traceback = traceback
        self.item = item

    def _render_traceback_(self) -> list[str]:
        """Give IPython the remote traceback in place of the frames of this process."""
        lines = self.traceback.rstrip("\n").split("\n") if self.traceback else [str(self)]
        where = f"item {self.item} of the job" if self.item is not None else "the job"
        return [*lines, f"[raised in {where} {self.job}]"] if self.job else lines


class JobCancelledError(JobError):
    """The job was cancelled."""


class JobStoppedError(JobError):
    """The job is held: by a user, or because its time was up."""


class JobStuckError(JobError):
    """The job does not start, and waiting for it has ended; it is still there."""


class JobLostError(JobError):
    """The job was deleted, or its result went with it."""


class ResultTooLargeError(JobError):
    """The result that a script reported is larger than an envelope may be.

    ``size`` is in bytes.
    """

    def __init__(self, message: str, *, advice: str = "", job: str = "", size: int | None = None) -> None:
        super().__init__(message, advice=advice, job=job)
        self.size = size


class MalformedResultError(JobError):
    """What the job reported is not a result."""


class NoResultReportedError(JobError):
    """The job ended well and reported no result."""


class ResultTimeoutError(JobError, TimeoutError):
    """The result was not there in the time given; the job itself goes on."""
