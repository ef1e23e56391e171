"""What a job left, as text: nothing is unpickled here."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from jupyter_konduktor.backends.protocol import Backend
from jupyter_konduktor.errors import JobError, JobFailedError, KonduktorError, RemoteError
from jupyter_konduktor.result import Decoder
from jupyter_konduktor.runner.envelope import KEY, MISSING, Envelope
from jupyter_konduktor.server import problems, terminal
from jupyter_konduktor.state import JobRecord, JobState

TEXT_LIMIT = 100_000
"""Characters of a result that are given; of a traceback the end matters, and its beginning is left out."""

Result = dict[str, Any]


def result(backend: Backend, record: JobRecord) -> Result:
    """Say what a job left, in the form of ``IResult``."""
    if not record.state.final:
        return _result("none", f"{record.name} has not ended: it is {record.state}", record)
    envelope = backend.read_envelope(record.name)
    decoder = Decoder(
        record.name,
        lambda reference: backend.read_artifact(record.name, reference),
        {},
        forbidden="the server unpickles nothing",
    )
    if record.state is JobState.SUCCEEDED and envelope is not None:
        try:
            return _value(decoder.parse(envelope), record)
        except JobError as error:
            return _result("error", problems.line(error), record)
    try:
        decoder.outcome(record, envelope)
    except JobFailedError as error:
        text = error.traceback if isinstance(error, RemoteError) and error.traceback else problems.line(error)
        return _result("error", text[-TEXT_LIMIT:], record)
    except KonduktorError as error:
        return _result("none", problems.line(error), record)
    raise AssertionError("a job without a value has an outcome that is an error")


def _value(envelope: Envelope, record: JobRecord) -> Result:
    if envelope.error:
        size = f" ({envelope.size:,} bytes)" if envelope.size is not None else ""
        return _result("error", f"The job reported no usable result: {envelope.error}{size}", record)
    if envelope.value is MISSING:
        return _result("none", f"{record.name} reported no result", record)
    reference = envelope.value.get(KEY) if isinstance(envelope.value, dict) and len(envelope.value) == 1 else None
    if not isinstance(reference, Mapping):
        return _result("json", _pretty(envelope.value), record)
    if reference.get("codec") == "json":
        return _result("json", _pretty(reference.get("value")), record)
    much = f" of {_size(reference['size'])}" if isinstance(reference.get("size"), int) else ""
    into = "its values" if record.kind == "cell" else "it"
    return _result("pickle", f"A pickled value{much}: %konduktor result {record.name} brings {into} here", record)


def _pretty(value: Any) -> str:
    try:
        text = json.dumps(value, indent=2, ensure_ascii=False)
    except RecursionError:
        return "A value that is nested too deeply to be shown"
    return text if len(text) <= TEXT_LIMIT else f"{text[:TEXT_LIMIT]}\n… ({len(text):,} characters in all)"


def _size(size: int) -> str:
    for unit, scale in (("GB", 10**9), ("MB", 10**6), ("kB", 10**3)):
        if size >= scale:
            return f"{size / scale:.3g} {unit}"
    return f"{size} bytes"


def _result(kind: str, text: str, record: JobRecord) -> Result:
    return {"kind": kind, "text": terminal.harmless(text), "exit_code": record.exit_code}
