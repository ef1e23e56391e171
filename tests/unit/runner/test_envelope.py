"""The envelope is one of three shapes, of bounded size, and says exactly what was reported."""

from __future__ import annotations

import json
import os

import pytest

from jupyter_konduktor.runner import envelope
from jupyter_konduktor.runner.envelope import BUDGET, KEY, MISSING


@pytest.mark.parametrize(
    "value",
    [None, True, 0, -(2**70), 1.5, -0.0, "é\u2028", "\ud800", [], {}, [[{"a": [1, None]}]], {"": {"b": False}}],
)
def test_exact_values_travel_as_themselves(value):
    assert envelope.exact_json(value)
    text = envelope.to_json(value)
    assert repr(envelope.parse(envelope.build(0, text)).value) == repr(value)


class Text(str):
    __slots__ = ()


@pytest.mark.parametrize(
    "value",
    [
        (1,),
        {1: 2},
        float("nan"),
        float("inf"),
        b"x",
        {1},
        1j,
        Text("x"),
        [Text("x")],
        {Text("k"): 1},
        object(),
        [0] * 4000,
    ],
)
def test_other_values_do_not(value):
    assert not envelope.exact_json(value)


def test_a_list_that_holds_itself_is_no_json():
    loop = []
    loop.append(loop)
    assert not envelope.exact_json(loop)
    deep = []
    for _ in range(3000):
        deep = [deep]
    assert envelope.to_json(deep) is None or not envelope.exact_json(deep)


def test_the_budget_is_in_bytes_and_exact():
    assert len(envelope.to_json("x" * (BUDGET - 2))) == BUDGET
    assert envelope.to_json("x" * (BUDGET - 1)) is None
    assert envelope.to_json("é" * (BUDGET // 2)) is None


def test_our_own_key_in_a_users_value_is_escaped():
    value = {KEY: {"v": 1, "codec": "cloudpickle", "data": "x"}}
    assert json.loads(envelope.to_json(value)) == {KEY: {"v": 1, "codec": "json", "value": value}}


def test_bytes_go_inline_while_they_fit_and_to_an_artifact_beyond():
    saved = {}
    small = json.loads(envelope.encode_bytes("cloudpickle", b"x" * 2400, saved.__setitem__))
    assert "data" in small[KEY]
    assert saved == {}
    for size in range(2400, 2700):
        text = envelope.encode_bytes("cloudpickle", b"x" * size, saved.__setitem__)
        assert len(text) <= BUDGET
    reference = json.loads(text)[KEY]
    assert reference["uri"] == "artifact:" + reference["sha256"]
    assert saved[reference["sha256"]] == b"x" * reference["size"]


@pytest.mark.parametrize(
    "data", [b"", b"[]", b"{}", b'{"exit":"0"}', b'{"exit":true}', b"\xff", b"{" * 100_000, b'{"exit":0,"error":1}']
)
def test_what_is_no_envelope_is_a_value_error(data):
    with pytest.raises(ValueError):  # noqa: PT011  whatever the words, it is one type
        envelope.parse(data)


def test_an_envelope_without_value_is_not_one_with_null():
    assert envelope.parse(b'{"exit":0}').value is MISSING
    assert envelope.parse(b'{"exit":0,"value":null}').value is None


def collect(tmp_path, text, code=0):
    (tmp_path / "result.json").write_bytes(text)
    return envelope.collect(code, None, str(tmp_path))


def test_result_json_is_taken_as_it_is(tmp_path):
    assert collect(tmp_path, b'{"loss": 1e-3}\n', 3) == b'{"exit":3,"value":{"loss": 1e-3}}'
    assert envelope.collect(0, None, str(tmp_path / "nowhere")) == b'{"exit":0}'
    assert envelope.collect(0, b"1", str(tmp_path)) == b'{"exit":0,"value":1}'


@pytest.mark.parametrize("over", [0, 1])
def test_result_json_is_too_large_from_the_first_byte_over(tmp_path, over):
    text = b'"' + b"x" * (BUDGET - 2 + over) + b'"'
    found = envelope.parse(collect(tmp_path, text))
    assert (found.error, found.size) == (("ResultTooLarge", BUDGET + 1) if over else (None, None))


def test_a_huge_result_json_is_not_read(tmp_path):
    with (tmp_path / "result.json").open("wb") as file:
        file.truncate(1 << 40)
    assert envelope.collect(0, None, str(tmp_path)) == b'{"exit":0,"error":"ResultTooLarge","size":1099511627776}'


@pytest.mark.parametrize("text", [b"", b"{", b"NaN", b"[Infinity]", b"\xff", b"1 2", b"[" * 3000, b"'x'"])
def test_a_result_that_is_no_json_is_malformed(tmp_path, text):
    assert collect(tmp_path, text) == b'{"exit":0,"error":"MalformedResult"}'


def test_a_result_that_is_no_file_is_malformed_and_blocks_nothing(tmp_path):
    os.mkfifo(tmp_path / "result.json")
    assert envelope.collect(0, None, str(tmp_path)) == b'{"exit":0,"error":"MalformedResult"}'
    (tmp_path / "result.json").unlink()
    (tmp_path / "result.json").mkdir()
    assert envelope.collect(0, None, str(tmp_path)) == b'{"exit":0,"error":"MalformedResult"}'
