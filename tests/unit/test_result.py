"""An envelope becomes the value, or the error that says what happened; nothing unvouched is ever unpickled."""

from __future__ import annotations

import base64
import hashlib
import json
import os

import numpy as np
import pytest

from jupyter_konduktor import errors
from jupyter_konduktor.result import Decoder
from jupyter_konduktor.runner import codec, envelope
from jupyter_konduktor.state import JobRecord, JobState


def record(state=JobState.SUCCEEDED, **more):
    return JobRecord("train-7fq2x", "uid", "local", state, **more)


def decoder(artifacts=None, forbidden="", main=None):
    held = artifacts or {}
    return Decoder("train-7fq2x", lambda r: memoryview(bytearray(held[r["sha256"]])), main or {}, forbidden)


def value_of(data, **kwargs):
    return decoder(**kwargs).outcome(record(), data).value


def packed(value, save=None):
    pack = codec.dump({"value": value}, meta={"kind": "value"})
    return envelope.build(0, envelope.encode_bytes("cloudpickle", pack.data, save)), pack


@pytest.mark.parametrize(
    "value", [0, None, True, "text", [1, 2.5, {"a": None}], {"ü": "\ud800"}, {"$konduktor": {"v": 1}}]
)
def test_plain_json_comes_back_exactly(value):
    assert envelope.exact_json(value)
    got = value_of(envelope.build(0, envelope.to_json(value)))
    assert got == value
    assert type(got) is type(value)


@pytest.mark.parametrize("value", [(1, 2), np.float64(0.5), {1: "a"}, {"x": (1,)}, float("nan"), 1j, b"x"])
def test_what_json_would_change_is_pickled_and_fits_in_the_envelope(value):
    assert not envelope.exact_json(value)
    data, _ = packed(value)
    assert len(data) <= 4096
    got = value_of(data)
    assert type(got) is type(value)
    assert repr(got) == repr(value)


def test_a_large_value_is_an_artifact_with_its_buffers():
    held = {}
    data, pack = packed(np.arange(100_000.0), held.__setitem__)
    held.update({digest: bytes(view) for digest, view in pack.buffers.items()})
    assert len(data) < 1_000
    assert value_of(data, artifacts=held)[99_999] == 99_999


@pytest.mark.parametrize("change", ["flip", "truncate", "swap", "other"])
def test_a_changed_artifact_is_never_unpickled(change):
    class Trap:
        def __reduce__(self):
            return os.mkdir, ("/nonexistent/never",)

    held = {}
    data, _ = packed(os.urandom(5_000), held.__setitem__)
    (digest,) = held
    if change == "flip":
        held[digest] = held[digest][:-5] + bytes([held[digest][-5] ^ 1]) + held[digest][-4:]
    elif change == "truncate":
        held[digest] = held[digest][:-1]
    else:
        held[digest] = codec.dump({"value": Trap() if change == "swap" else 1}, main={}).data
    with pytest.raises(errors.IntegrityError):
        value_of(data, artifacts=held)


def test_a_reference_with_a_forged_digest_or_size_is_refused():
    for reference in ({"size": 5}, {"sha256": "../../etc/passwd", "size": 5}, {"sha256": "0" * 64, "size": "5"}):
        data = envelope.build(0, json.dumps({"$konduktor": {"v": 1, "codec": "cloudpickle", **reference}}).encode())
        with pytest.raises(errors.MalformedResultError):
            value_of(data)


def test_inline_bytes_are_checked_against_their_digest():
    inner = {"v": 1, "codec": "cloudpickle", "data": base64.b64encode(b"evil").decode(), "sha256": "0" * 64, "size": 4}
    with pytest.raises(errors.IntegrityError):
        value_of(envelope.build(0, json.dumps({"$konduktor": inner}).encode()))


def test_pickles_of_a_stranger_are_not_loaded_but_json_is():
    data, _ = packed((1, 2))
    with pytest.raises(errors.UntrustedResultError, match="trust=True"):
        value_of(data, forbidden="it was submitted by eve")
    assert value_of(envelope.build(0, b"[1]"), forbidden="it was submitted by eve") == [1]


@pytest.mark.parametrize(
    ("data", "error", "says"),
    [
        (b'{"exit":0}', errors.NoResultReportedError, "reported no result"),
        (b'{"exit":0,"error":"ResultTooLarge","size":5000}', errors.ResultTooLargeError, "5,000 bytes"),
        (b'{"exit":0,"error":"MalformedResult"}', errors.MalformedResultError, "no JSON"),
        (b'{"exit":0,"val', errors.MalformedResultError, "cannot be read"),
        (b"[]", errors.MalformedResultError, "cannot be read"),
        (b'{"exit":0,"value":{"$konduktor":{"v":1,"codec":"zip"}}}', errors.MalformedResultError, "zip"),
        (None, errors.JobLostError, "is gone"),
    ],
)
def test_every_way_to_succeed_without_a_value_has_its_error(data, error, says):
    with pytest.raises(error, match=says) as caught:
        value_of(data)
    assert caught.value.job == "train-7fq2x"
    assert caught.value.advice or error is errors.MalformedResultError


def test_other_ends_have_their_error():
    with pytest.raises(errors.JobCancelledError):
        decoder().outcome(record(JobState.CANCELLED), b'{"exit":0,"value":1}')
    with pytest.raises(errors.JobStoppedError, match="resume"):
        decoder().outcome(record(JobState.STOPPED), None)
    with pytest.raises(errors.JobFailedError, match="out of memory") as caught:
        decoder().outcome(record(JobState.FAILED, message="out of memory", exit_code=137), None)
    assert caught.value.exit_code == 137


def failed(exception):
    document = {"ename": "ValueError", "evalue": "no", "traceback": "Cell In[3], line 2\nValueError: no", "item": None}
    document["exception"] = exception
    return envelope.build(1, envelope.encode_bytes("error", json.dumps(document).encode(), None))


def test_a_remote_exception_keeps_name_text_traceback_and_cause():
    pack = codec.dump({"exception": ValueError("no")})
    with pytest.raises(errors.RemoteError) as caught:
        decoder().outcome(record(JobState.FAILED), failed(base64.b64encode(pack.data).decode()))
    error = caught.value
    assert (error.ename, error.evalue, error.exit_code) == ("ValueError", "no", 1)
    assert isinstance(error.__cause__, ValueError)
    assert str(error) == "ValueError: no"
    assert "Cell In[3], line 2" in "\n".join(error._render_traceback_())


def test_an_exception_that_cannot_be_loaded_is_still_told():
    for exception in (None, base64.b64encode(b"garbage").decode(), "%%%"):
        with pytest.raises(errors.RemoteError, match="ValueError: no") as caught:
            decoder().outcome(record(JobState.FAILED), failed(exception))
        assert caught.value.__cause__ is None


def test_a_forged_error_document_is_refused():
    data = failed(None)
    digest = json.loads(data)["value"]["$konduktor"]["sha256"]
    with pytest.raises(errors.IntegrityError):
        decoder().outcome(
            record(JobState.FAILED), data.replace(digest.encode(), hashlib.sha256(b"x").hexdigest().encode())
        )


def test_versions_that_do_not_match_are_told_with_advice():
    pack = codec.dump({"value": 1})
    header, _, stream = pack.data.partition(b"\n")
    other = json.dumps({**json.loads(header), "code": True, "python": "3.7"}).encode() + b"\n" + stream
    with pytest.raises(errors.VersionMismatchError, match=r"3\.7"):
        value_of(envelope.build(0, envelope.encode_bytes("cloudpickle", other, None)))


@pytest.mark.parametrize(
    ("kind", "error"),
    [("version", errors.VersionMismatchError), ("integrity", errors.IntegrityError), ("format", errors.PayloadError)],
)
def test_a_payload_that_the_job_refused_is_told_as_such(kind, error):
    document = {"ename": error.__name__, "evalue": "Python 3.7", "traceback": "", "exception": None, "refused": kind}
    data = envelope.build(1, envelope.encode_bytes("error", json.dumps(document).encode(), None))
    with pytest.raises(error, match="Python 3") as caught:
        decoder().outcome(record(JobState.FAILED), data)
    assert caught.value.advice


def test_errors_survive_pickling():
    import pickle

    error = errors.RemoteError("ValueError: no", job="a", ename="ValueError", evalue="no", traceback="t", item=3)
    back = pickle.loads(pickle.dumps(error))
    assert (str(back), back.item, back.job, back.traceback) == (str(error), 3, "a", "t")
