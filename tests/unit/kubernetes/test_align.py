"""Timestamps off, and one's place in a log that is read again."""

from __future__ import annotations

import random

import pytest

from jupyter_konduktor.backends.kubernetes.logs.align import Aligner, last_stamp, sort_out, stamp, strip, tail_of
from tests.unit.kubernetes.kubelet import START, stamped


def line(number: int, text: bytes = b"", *, zone: str = "Z") -> bytes:
    return stamped(START + number * 10**8, zone) + (text or b"line %d" % number) + b"\n"


def lines(start: int, stop: int) -> bytes:
    return b"".join(line(number) for number in range(start, stop))


@pytest.mark.parametrize("zone", ["Z", "+09:00", "-03:30"])
def test_timestamps_are_taken_off_every_line_and_nothing_else_is(zone: str) -> None:
    texts = [
        b"",
        b"a",
        b"2024-01-01T00:00:00.000000000Z not ours",
        b"\0\xff\xc2\x85\xe2\x80\xa8\r\x1b[1m",
        b" x",
        b"\r",
    ]
    data = b"".join(line(i, zone=zone)[: -len(b"line %d\n" % i)] + text + b"\n" for i, text in enumerate(texts))
    assert strip(data) == b"".join(text + b"\n" for text in texts)
    assert strip(data[:-1]) == b"\n".join(texts)
    assert strip(b"") == b""


def test_stamps_are_read_in_any_zone() -> None:
    assert stamp(b"2023-11-14T22:13:20.000000001Z x") == START + 1
    assert stamp(b"2023-11-15T07:13:20.5+09:00 x") == START + 500_000_000
    assert stamp(b"2023-11-14T22:13:20Z x") == START
    assert stamp(b"2023-99-14T22:13:20Z x") is None
    assert stamp(b"unable to retrieve container logs") is None
    assert last_stamp(lines(0, 5) + b"no time\n") == START + 4 * 10**8


def test_lines_of_the_kubelet_are_told_from_the_containers() -> None:
    assert strip(line(0) + b"failed to create fsnotify watcher: too many open files") is None
    own, foreign = sort_out(line(0) + b"failed to watch\n" + line(1))
    assert (own, foreign) == (line(0) + line(1), b"failed to watch\n")


def test_tail_begins_with_a_line_and_stays_small() -> None:
    tail = b""
    for number in range(0, 5000, 100):
        tail = tail_of(tail, lines(number, number + 100))
        assert stamp(tail) is not None
    assert tail.endswith(line(4999))
    assert 4096 <= len(tail) <= 4096 + 100
    assert len(tail_of(tail, b"x" * (1 << 22))) == 1 << 20


def fed(tail: bytes, answer: bytes, size: int) -> tuple[bytes, Aligner]:
    aligner = Aligner(tail, last_stamp(tail) or 0)
    new = b"".join(aligner.feed(answer[i : i + size]) for i in range(0, len(answer), size))
    return new, aligner


@pytest.mark.parametrize("size", [1, 7, 100, 1 << 20])
def test_new_begins_after_the_tail(size: int) -> None:
    new, aligner = fed(lines(50, 60), lines(30, 70), size)
    assert (new, aligner.gap) == (lines(60, 70), None)
    new, aligner = fed(lines(50, 60), lines(50, 60), size)
    assert (new, aligner.gap, aligner.found) == (b"", None, True)


@pytest.mark.parametrize("size", [1, 7, 100, 1 << 20])
def test_log_that_lost_its_beginning_is_aligned_by_what_is_left(size: int) -> None:
    for first in (51, 57, 59):
        new, aligner = fed(lines(50, 60), lines(first, 70), size)
        assert (new, aligner.gap) == (lines(60, 70), None)


@pytest.mark.parametrize("size", [1, 7, 100, 1 << 20])
def test_log_without_anything_known_is_a_gap(size: int) -> None:
    new, aligner = fed(lines(50, 60), lines(63, 70), size)
    assert new == lines(63, 70)
    assert aligner.gap == (START + 59 * 10**8, START + 63 * 10**8)


def test_lines_of_before_that_are_not_the_same_are_left_out() -> None:
    other = b"".join(line(number, b"other") for number in range(40, 62))
    new, aligner = fed(lines(50, 60), other, 64)
    assert new == line(60, b"other") + line(61, b"other")
    assert aligner.gap is not None


def test_answer_that_begins_within_a_long_line_is_aligned() -> None:
    """A line's parts have times of their own; those that are too old are left out, with the timestamp of the line."""
    new, _ = fed(lines(50, 60), b"rest of a long line\n" + lines(45, 62), 10)
    assert new == lines(60, 62)


def test_long_unfinished_line_is_gone_on_with() -> None:
    tail = tail_of(b"", lines(0, 3) + stamped(START + 10**9) + b"abc" * 10)
    new, _ = fed(tail, lines(0, 3) + stamped(START + 10**9) + b"abc" * 20 + b"\n" + line(11), 13)
    assert new == b"abc" * 10 + b"\n" + line(11)


def test_what_the_log_leaves_out_for_its_age_is_not_looked_for() -> None:
    """Where a clock was set, older lines stand behind newer ones."""
    file = [*(line(number) for number in range(100, 110)), *(line(number) for number in range(40, 60))]
    tail = b"".join(file[:25])
    aligner = Aligner(tail, last_stamp(tail) or 0)
    assert aligner.since is not None
    since = stamp(aligner.since.encode() + b" ")
    assert since is not None
    assert aligner.feed(b"".join(part for part in file if (stamp(part) or 0) >= since)) == b"".join(file[25:])


@pytest.mark.parametrize("seed", range(40))
def test_any_log_in_any_pieces_comes_once(seed: int) -> None:
    rng = random.Random(seed)
    now, file = START, []
    for _ in range(400):
        now += rng.choice([0, 0, 1, 1000, 10**7, 10**9])
        file.append(stamped(now) + rng.choice([b"same", b"", b"x" * rng.randrange(300), b"%d" % now]) + b"\n")
    at, tail, got = 0, b"", b""
    while at < len(file):
        aligner = Aligner(tail, last_stamp(tail) or 0)
        since = stamp(aligner.since.encode() + b" ") if aligner.since else 0
        at = min(len(file), at + rng.randrange(1, 60))
        answer = b"".join(part for part in file[:at] if (stamp(part) or 0) >= (since or 0))
        size = rng.choice([1, 50, 1000])
        new = b"".join(aligner.feed(answer[i : i + size]) for i in range(0, len(answer), size))
        assert aligner.gap is None
        got, tail = got + new, tail_of(tail, new)
    assert got == b"".join(file)
