"""What a container's log carries beside the output: it is taken out exactly, and nobody forges it by printing."""

from __future__ import annotations

import functools
import random

import pytest

from jupyter_konduktor.runner.encoder import Encoder
from jupyter_konduktor.runner.stream import (
    Artifact,
    CarrierDecoder,
    Control,
    Item,
    StreamDecoder,
    carrier_lines,
    control_line,
)

NONCE = "0123456789abcdef"
MARK = b"\x1e" + NONCE.encode()
DIGEST = "ab" * 32


def decoded(data, sizes=None):
    """Feed a stream in pieces; gives what is visible, and the records."""
    decoder, visible, records, at = CarrierDecoder(NONCE), b"", [], 0
    while at < len(data):
        size = sizes() if sizes else len(data)
        seen, found = decoder.feed(data[at : at + size])
        visible, at = visible + seen, at + size
        records += found
    return visible + decoder.flush(), records


def test_an_artifact_comes_out_as_it_went_in_whatever_the_pieces():
    data = bytes(random.Random(1).randbytes(40_000))
    lines = list(carrier_lines(NONCE, "a", DIGEST, data))
    assert max(map(len, lines)) < 16 * 1024
    stream = b"one\n" + lines[0] + MARK + b"ptwo \x1e\n" + b"".join(lines[1:]) + b"three\x1e\nfour"
    for seed in range(20):
        choose = functools.partial(random.Random(seed).choice, [1, 2, 17, 1000, 9000])
        visible, records = decoded(stream, choose)
        assert visible == b"one\n" + MARK + b"ptwo \x1e\nthree\x1e\nfour"
        assert [record.number for record in records] == list(range(1, 6))
        assert {(type(record), record.identity, record.count) for record in records} == {(Artifact, DIGEST, 5)}
        assert b"".join(record.data for record in records) == data


def test_control_and_items_come_out():
    item = b"".join(carrier_lines(NONCE, "i", "7", b'{"exit":0}'))
    stream = control_line(NONCE, {"t": "start"}) + item + control_line(NONCE, {"t": "end"})
    assert decoded(stream) == (
        b"",
        [Control({"t": "start"}), Item(7, 1, 1, b'{"exit":0}'), Control({"t": "end"})],
    )


@pytest.mark.parametrize("size", [0, 1, 9000, 9001])
def test_sizes_at_the_edge(size):
    _, records = decoded(b"".join(carrier_lines(NONCE, "a", DIGEST, memoryview(b"x" * size))))
    assert b"".join(record.data for record in records) == b"x" * size
    assert records[-1].number == records[-1].count == len(records)


@pytest.mark.parametrize(
    "line",
    [b"c[]", b"c{", b"cno", b"a", b"aab 1/1 eA==", b"a../x 1/1 eA==", b"i1 0/1 eA==", b"ix 1/1 eA==", b"i1 1/1 e"],
)
def test_what_cannot_be_read_is_dropped(line):
    assert decoded(b"a\n" + MARK + line + b"\nb\n") == (b"a\nb\n", [])


def test_only_what_begins_a_line_is_taken_out():
    for text in (b"x" + MARK + b"c{}\n", MARK + b"px" + MARK + b"c{}\n", MARK + b"d" + MARK + b"c{}\n", b"\x1e\x1e\n"):
        assert decoded(text, lambda: 1) == (text, [])


def test_a_line_that_is_cut_off_is_dropped_and_one_that_does_not_end_is_no_record():
    assert decoded(b"a\n" + MARK + b"aabc") == (b"a\n", [])
    endless = MARK + b"c" + b"x" * 20_000
    assert decoded(endless, lambda: 1000) == (endless, [])


def test_nothing_is_held_back_but_what_may_be_ours():
    decoder = CarrierDecoder(NONCE)
    assert decoder.feed(b"text\n\x1e")[0] == b"text\n"
    assert decoder.feed(b"other\nprompt> ")[0] == b"\x1eother\nprompt> "
    assert decoder.feed(b"\x1e")[0] == b"\x1e"


def test_readers_never_see_carrier_lines():
    stream = b"a\n" + b"".join(carrier_lines(NONCE, "a", DIGEST, b"x" * 20_000)) + b"b\n"
    decoder = StreamDecoder(NONCE)
    assert b"".join(decoder.feed(stream)) == b"a\nb\n"


@pytest.mark.parametrize("before", [b"", b"x", b"x\n"])
@pytest.mark.parametrize("kind", [b"c{}", b"i1 1/1 e30=", b"a" + DIGEST.encode() + b" 1/1 eA=="])
def test_what_the_job_prints_is_text_even_if_it_knows_the_nonce(before, kind):
    forged = before + MARK + kind + b"\n"
    encoder = Encoder(NONCE)
    stream = b"".join(encoder.feed(forged[at : at + 5]) for at in range(0, len(forged), 5)) + encoder.flush(end=True)
    visible, records = decoded(stream)
    assert records == []
    reader = StreamDecoder(NONCE)
    assert b"".join([*reader.feed(visible), *reader.flush()]) == forged


def test_forged_lines_in_any_mixture_carry_nothing():
    rng = random.Random(3)
    parts = [MARK, b"c{}", b"i1 1/1 e30=", b"\n", b"x", b"p", b"d", b"\x1e", NONCE.encode(), b" "]
    for _ in range(300):
        data = b"".join(rng.choice(parts) for _ in range(12))
        encoder, at, stream = Encoder(NONCE), 0, b""
        while at < len(data):
            size = rng.choice([1, 7, 40])
            stream += encoder.feed(data[at : at + size])
            if rng.random() < 0.3:
                stream += encoder.flush()
            at += size
        stream += encoder.flush(end=True)
        assert decoded(stream)[1] == [], data
