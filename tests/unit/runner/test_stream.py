"""The stream gives back exactly what was written, whatever that was and however it was cut."""

from __future__ import annotations

import json
import random

import pytest

from jupyter_konduktor.runner.encoder import PARTIAL_LIMIT, Encoder
from jupyter_konduktor.runner.stream import LINE_LIMIT, MARK, Display, StreamDecoder, display_lines

from .conftest import NONCE

M = MARK + NONCE.encode()
RECORD = {"type": "display", "data": {"text/plain": "x" * 9000}}


def lines_of(record, identity="1.1"):
    return list(display_lines(NONCE, identity, json.dumps(record).encode()))


def encode(pieces, flush=lambda: False):
    encoder = Encoder(NONCE)
    out = []
    for piece in pieces:
        out.append(encoder.feed(piece))
        if flush():
            out.append(encoder.flush())
    return [*out, encoder.flush(end=True)]


def decode(pieces):
    decoder = StreamDecoder(NONCE)
    parts = [part for piece in pieces for part in decoder.feed(piece)] + decoder.flush()
    return b"".join(p for p in parts if isinstance(p, bytes)), [p for p in parts if isinstance(p, Display)]


def cut(data, rng):
    while data:
        size = rng.choice([1, 2, 3, 17, 100, 5000])
        yield data[:size]
        data = data[size:]


def test_updates_survive_a_log_that_drops_a_carriage_return_before_a_newline():
    """As containerd does with the lines of a container."""
    written = [b"10%\r", b"20%\r\r", b"\r", b"done\n"]
    stream = b"".join(encode(written, flush=lambda: True))
    assert b"\r\n" not in stream
    assert decode([stream.replace(b"\r\n", b"\n")]) == (b"".join(written), [])


@pytest.mark.parametrize("seed", range(20))
def test_bytes_come_back_exactly_and_records_whole(seed):
    rng = random.Random(seed)
    atoms = [
        b"a line\n",
        b"\n",
        b"part",
        b"\r 10%",
        b" 20%\r",
        b"\r",
        b"\x1e",
        M[:5],
        M[:-1],
        b"\xff\xfe\x00",
        "é\u2028\x85\n".encode(),
        b"x" * 70_000,
    ]
    written, pipe, records = b"", b"", 0
    for _ in range(60):
        if rng.random() < 0.15:
            records += 1
            pipe += b"".join(lines_of(RECORD, str(records)))
        else:
            atom = rng.choice(atoms)
            written += atom
            pipe += atom
    stream = b"".join(encode(cut(pipe, rng), lambda: rng.random() < 0.2))
    text, displays = decode(cut(stream, rng))
    assert text == written
    assert displays == [Display(RECORD)] * records


def test_every_marked_line_begins_a_line_and_none_is_too_long_to_be_atomic():
    stream = b"".join(encode([b"half a line", *lines_of(RECORD), b"rest\n"]))
    assert stream.startswith(M + b"phalf a line\n" + M + b"d")
    assert all(len(line) <= LINE_LIMIT for line in lines_of(RECORD))
    assert len(lines_of(RECORD)) == 3


def test_whole_lines_pass_as_they_are():
    encoder = Encoder(NONCE)
    data = b"one\ntwo\n"
    assert encoder.feed(data) is data
    assert encoder.deadline is None


def test_an_unfinished_line_waits_a_little_but_not_beyond_a_size():
    encoder = Encoder(NONCE)
    assert encoder.feed(b"\r 1%") == b""
    first = encoder.deadline
    assert encoder.feed(b"\r 2%") == b""
    assert encoder.deadline == first
    assert encoder.flush() == M + b"p\r 1%\r 2%\n"
    assert encoder.deadline is None
    assert len(encoder.feed(b"x" * PARTIAL_LIMIT)) > PARTIAL_LIMIT


@pytest.mark.parametrize(
    "forged",
    [
        MARK + b"0000000000000000d1.1 1/1 {}\n",
        MARK + b"d1.1 1/1 {}\n",
        MARK + MARK + b"p\n",
    ],
)
def test_marks_of_other_jobs_are_text(forged):
    assert decode(encode([forged])) == (forged, [])


@pytest.mark.parametrize(
    "payload",
    [
        b"d",
        b"d1 1/1",
        b"d1 0/1 {}",
        b"d1 2/1 {}",
        b"d1 1/99999999999 {}",
        b"d1 x/y {}",
        b"d1 1/1 [1]",
        b"d1 1/1 {",
        b"d1 2/2 {}",
    ],
)
def test_broken_records_are_dropped_and_do_no_harm(payload):
    text, displays = decode([b"a\n", M + payload + b"\n", b"b\n"])
    assert text == b"a\nb\n"
    assert displays == []


def test_a_record_cut_off_at_the_end_is_dropped():
    assert decode([b"text\n", lines_of(RECORD)[0]]) == (b"text\n", [])
    assert decode([b"text\n", lines_of(RECORD)[0][:-5]]) == (b"text\n", [])


def test_records_of_two_processes_may_interleave():
    a, b = lines_of(RECORD, "1"), lines_of(RECORD, "2")
    assert decode([line for pair in zip(a, b, strict=True) for line in pair])[1] == [Display(RECORD)] * 2
