"""From an envelope to the value or the error, without looking at any backend.

Nothing is unpickled but bytes whose SHA-256 stands in the envelope, and those only where the caller trusts the job.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from jupyter_konduktor.errors import (
    IntegrityError,
    JobCancelledError,
    JobError,
    JobFailedError,
    JobLostError,
    JobStoppedError,
    JobStuckError,
    KonduktorError,
    MalformedResultError,
    NoResultReportedError,
    PackagesError,
    PayloadError,
    RemoteError,
    ResultTooLargeError,
    SetupError,
    StoreError,
    UntrustedResultError,
    VersionMismatchError,
)
from jupyter_konduktor.runner import codec
from jupyter_konduktor.runner.envelope import KEY, MISSING, Envelope, parse
from jupyter_konduktor.state import JobRecord, JobState

Fetch = Callable[[Mapping[str, Any]], memoryview]
"""Gives the bytes that a reference (``sha256``, ``size``, maybe ``uri``) points to."""


@dataclass(frozen=True, slots=True)
class Decoded:
    """What a job gave back.

    Attributes
    ----------
    value : object
        A function's value; a cell's outputs as a dict; what a script reported.
    indirect : dict
        What notebook functions among the values refer to, by name.
    meta : mapping
        What the runner says of the value (``changed``, ``left_out``).
    notes : list of str
        One line each for what is not quite as it was in the job.
    """

    value: Any
    indirect: dict[str, Any] = field(default_factory=dict)
    meta: Mapping[str, Any] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Decoder:
    """Reads the results of one job.

    Parameters
    ----------
    job : str
        Its name, for errors.
    fetch : callable
        See `Fetch`.
    main : dict
        The namespace that stands for ``__main__`` here.
    forbidden : str
        Why pickles of this job are not loaded; empty if they are.
    """

    job: str
    fetch: Fetch
    main: dict[str, Any]
    forbidden: str = ""

    def outcome(self, record: JobRecord, envelope: bytes | None) -> Decoded:
        """Give what the job gave, or raise what became of it."""
        if record.state is JobState.CANCELLED:
            if record.reason == "Deleted":
                raise JobLostError(f"{self.job} was {_said(record)}", advice="Run it again.", job=self.job)
            said = _said(record)
            raise JobCancelledError(
                f"{self.job} was {said if said.startswith('cancelled') else 'cancelled'}", job=self.job
            )
        if record.state is JobState.STOPPED:
            advice = f"Resume it with %konduktor resume {self.job}, or end it with %konduktor cancel {self.job}."
            raise JobStoppedError(f"{self.job} is stopped: {_said(record)}", advice=advice, job=self.job)
        if record.stuck and not record.state.final:
            raise JobStuckError(
                f"{self.job} does not start: {_said(record)}",
                advice=f"It keeps its place: mend the cause, or end it with %konduktor cancel {self.job}.",
                job=self.job,
            )
        found = self.parse(envelope) if envelope is not None else None
        if record.state is JobState.FAILED:
            raise self.failure(
                found, _said(record), exit_code=record.exit_code, node=record.failed_node, reason=record.reason
            )
        if found is None:
            raise JobLostError(
                f"{self.job} succeeded, and its result is gone" + (f": {record.message}" if record.message else ""),
                advice="Run it again, or read its logs.",
                job=self.job,
            )
        return self.decode(found)

    def parse(self, envelope: bytes) -> Envelope:
        """Read an envelope; raises `MalformedResultError` for bytes that are none."""
        try:
            return parse(envelope)
        except ValueError as error:
            raise MalformedResultError(
                f"{self.job} left an envelope that cannot be read: {error}", job=self.job
            ) from None

    def decode(self, envelope: Envelope) -> Decoded:
        """Give the value of an envelope, whatever it says of the exit."""
        if envelope.error == "ResultTooLarge":
            raise ResultTooLargeError(
                f"{self.job} reported a result of {envelope.size:,} bytes; result.json may have 3,500",
                advice="Report less, or return the value from a cell or function, which has no such limit.",
                job=self.job,
                size=envelope.size,
            )
        if envelope.error:
            raise MalformedResultError(
                f"{self.job} reported a result that is no JSON ({envelope.error})",
                advice="result.json must hold one JSON value.",
                job=self.job,
            )
        if envelope.value is MISSING:
            raise NoResultReportedError(
                f"{self.job} ended with exit code {envelope.exit} and reported no result",
                advice="Write result.json to $KONDUKTOR_OUTPUT_DIR or call jk.report(value); "
                "os._exit() and exec() leave no result. job.wait() needs none.",
                job=self.job,
            )
        reference = _reference(envelope.value)
        if reference is None:
            return Decoded(envelope.value)
        if reference.get("codec") == "json":
            return Decoded(reference["value"])
        if reference.get("codec") != "cloudpickle":
            raise MalformedResultError(
                f"{self.job} reported a result in an unknown encoding ({reference.get('codec')!r})", job=self.job
            )
        try:
            loaded = self.unpickle(self.bytes_of(reference))
        except JobLostError:
            if not reference.get("lost"):
                raise
            raise JobLostError(
                f"{self.job} ended well, and its value could not be sent to the store: {reference['lost']}",
                advice="Run it again; results of up to 4 MiB come with the log where the store does not take them.",
                job=self.job,
            ) from None
        meta = loaded.header["meta"]
        value = loaded.values if meta.get("kind") == "outputs" else loaded.values.get("value")
        return Decoded(value, loaded.indirect, meta, loaded.notes)

    def failure(
        self,
        envelope: Envelope | None,
        said: str,
        exit_code: int | None = None,
        node: int | None = None,
        reason: str = "",
    ) -> KonduktorError:
        """Make the error of a job, or of an item of a map, that failed."""
        reference = _reference(envelope.value) if envelope else None
        if envelope is None or reference is None or reference.get("codec") != "error":
            # The record's is of the node that failed; the envelope is always node 0's.
            code = exit_code if exit_code is not None or envelope is None else envelope.exit
            advice = f"Its output: %konduktor logs {self.job}{f' --node {node}' if node else ''}"
            error_type = _NOT_BEGUN.get(reason, JobFailedError)
            return error_type(f"{self.job} failed: {said}", advice=advice, job=self.job, exit_code=code)
        try:
            document = json.loads(bytes(self.bytes_of(reference)))
        except (ValueError, UnicodeDecodeError):
            return JobFailedError(f"{self.job} failed: {said}", job=self.job, exit_code=envelope.exit)
        ename, evalue = str(document.get("ename", "")), str(document.get("evalue", ""))
        refused = document.get("refused")
        if refused in _PREPARING:
            step, reason = _PREPARING[refused]
            where = f" on node {node}" if node else ""
            message = f"{self.job} did not begin, {step}{where}: {evalue}\n{document.get('traceback', '')}".rstrip()
            return _NOT_BEGUN[reason](message, job=self.job, exit_code=envelope.exit)
        if refused in _REFUSALS:
            refusal_type, advice = _REFUSALS[refused]
            return refusal_type(f"{self.job} did not load what it was sent: {evalue}", advice=advice)
        item = document.get("item")
        error = RemoteError(
            f"{ename}: {evalue}" if evalue else ename,
            job=self.job,
            exit_code=envelope.exit,
            ename=ename,
            evalue=evalue,
            traceback=str(document.get("traceback", "")),
            item=item if isinstance(item, int) else None,
        )
        error.__cause__ = self._original(document)
        return error

    def _original(self, document: Mapping[str, Any]) -> BaseException | None:
        """Load the exception itself, if it travelled and can be loaded here; the text tells of it in any case."""
        if not document.get("exception"):
            return None
        try:
            loaded = self.unpickle(memoryview(base64.b64decode(document["exception"])))
        except PayloadError:
            return None
        found = loaded.values.get("exception")
        return found if isinstance(found, BaseException) else None

    def bytes_of(self, reference: Mapping[str, Any]) -> memoryview:
        """Fetch what a reference points to and check its size and digest."""
        if "data" in reference:
            try:
                data = memoryview(base64.b64decode(reference["data"], validate=True))
            except (binascii.Error, TypeError, ValueError):
                raise MalformedResultError(f"{self.job} left an envelope that cannot be read", job=self.job) from None
        else:
            if not isinstance(reference.get("size"), int) or not _is_digest(reference.get("sha256")):
                raise MalformedResultError(f"{self.job} left a reference without a digest or size", job=self.job)
            data = self.fetch(reference)
        if data.nbytes != reference.get("size") or hashlib.sha256(data).hexdigest() != reference.get("sha256"):
            raise IntegrityError(
                f"The result of {self.job} is not what the job wrote: its size or SHA-256 differs; it was not loaded",
                advice="Run the job again; if this happens again, someone or something changes its files.",
            )
        return data

    def unpickle(self, data: memoryview) -> codec.Loaded:
        """Load a pack, with codec errors told in our own words."""
        if self.forbidden:
            raise UntrustedResultError(
                f"The result of {self.job} is a pickle and was not loaded: {self.forbidden}",
                advice="Unpickling runs code; job.result(trust=True) loads it all the same.",
            )

        def fetch(sha256: str, size: int) -> memoryview:
            if not _is_digest(sha256):
                raise IntegrityError(f"The result of {self.job} names a buffer without a digest")
            return self.fetch({"sha256": sha256, "size": size, "uri": f"artifact:{sha256}"})

        try:
            return codec.load(data, fetch, self.main)
        except codec.CodecError as error:
            if error.kind == "version":
                raise VersionMismatchError(
                    f"The result of {self.job} cannot be loaded: {error}",
                    advice="Return plain values or arrays, or make the versions on both sides the same.",
                ) from None
            raise IntegrityError(f"The result of {self.job} was not loaded: {error}") from None
        except (PayloadError, JobError, KeyboardInterrupt):
            raise
        except Exception as error:
            # Whatever a class does while it is rebuilt: the job is not at fault, and the value is still kept.
            raise PayloadError(
                f"The result of {self.job} cannot be loaded: {type(error).__name__}: {error}",
                advice=f"It is kept; once that is mended, %konduktor result {self.job} loads it.",
            ) from error


_PREPARING = {
    "setup": ("its setup failed", "SetupFailed"),
    "packages": ("its packages could not be installed", "PackagesFailed"),
}
_NOT_BEGUN: dict[str, type[JobFailedError]] = {"SetupFailed": SetupError, "PackagesFailed": PackagesError}

_REFUSALS: dict[str, tuple[type[KonduktorError], str]] = {
    "version": (
        VersionMismatchError,
        "Run it with an image of the same versions, or send plain values and no functions.",
    ),
    "integrity": (
        IntegrityError,
        "Send it again; if this happens again, something changes its files, or has changed objects/ of the store.",
    ),
    "format": (PayloadError, "Both sides need the same version of jupyter_konduktor."),
    "store": (StoreError, "Submit it again; its pods must reach the store, at the address that is used here."),
}


def _reference(value: Any) -> Mapping[str, Any] | None:
    """Find our own mark in a value; None for a plain one."""
    if isinstance(value, dict) and set(value) == {KEY} and isinstance(value[KEY], dict):
        inner: dict[str, Any] = value[KEY]
        return inner
    return None


def _is_digest(text: Any) -> bool:
    return isinstance(text, str) and re.fullmatch(r"[0-9a-f]{64}", text) is not None


def _said(record: JobRecord) -> str:
    return record.message or record.reason or record.state.value
