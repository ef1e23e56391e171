"""Pages, tails and searches of raw logs, made by the runner's own encoder and by hand."""

from __future__ import annotations

import json
import random
import time
from pathlib import Path

import pytest

from jupyter_konduktor.backends.files import read_piece
from jupyter_konduktor.backends.protocol import LogChunk
from jupyter_konduktor.runner.stream import MARK, display_lines
from jupyter_konduktor.server import logs
from jupyter_konduktor.server.logs import Log, Tail

NONCE = "0123456789abcdef"


def log(data: bytes, *, ended: bool = True, nonce: str = NONCE) -> Log:
    def read(offset: int, limit: int) -> LogChunk:
        start = max(0, len(data) + offset) if offset < 0 else offset
        piece = data[start : start + limit]
        end = start + len(piece)
        return LogChunk(piece, end, ended and end >= len(data))

    return Log(read, nonce)


def partial(text: bytes, kind: bytes = b"p") -> bytes:
    return MARK + NONCE.encode() + kind + text + b"\n"


def display(text: str, identity: str = "1", filler: int = 0) -> bytes:
    record = {"type": "display", "data": {"text/plain": text, "image/png": "A" * filler}}
    return b"".join(display_lines(NONCE, identity, json.dumps(record).encode()))


def pages(found: Log, limit: int) -> list[str]:
    texts, offset = [], 0
    while True:
        page = found.page(offset, limit)
        assert page["start"] == offset
        texts.append(page["text"])
        offset = page["offset"]
        if page["ended"]:
            return texts


def whole(found: Log) -> str:
    return b"".join(found.pieces()).decode()


MIXED = (
    b"one\n" + partial(b"pro") + partial(b"mpt> ") + b"answer\n" + display("a figure", filler=30_000)
    + b"\xe6\xbc\xa2\xe5\xad\x97 two\n" + partial(b" 10 %", b"r") + partial(b" 20 %", b"r")
    + b"\nthree\n" + partial(b"tail")
)  # fmt: skip
TEXT = "one\nprompt> answer\na figure\n漢字 two\n 10 %\r 20 %\r\nthree\ntail"


@pytest.mark.parametrize("limit", [1, 7, 60, 4000, 4001, 10_000, 1 << 20])
def test_pages_hang_together_whatever_their_size(limit: int) -> None:
    assert "".join(pages(log(MIXED), limit)) == TEXT
    assert whole(log(MIXED)) == TEXT


def test_rich_output_stands_once_in_the_page_of_its_last_piece() -> None:
    data = b"before\n" + display("the figure", filler=30_000) + b"after\n"
    texts = pages(log(data), 5000)
    assert sum("the figure" in text for text in texts) == 1
    assert texts[0] == "before\n"
    last = data.rindex(MARK)
    assert log(data).page(last, 1 << 20)["text"] == "the figure\nafter\n"


def test_two_rich_outputs_whose_pieces_are_mixed() -> None:
    lines = zip(
        display("A", "a", 20_000).splitlines(keepends=True), display("B", "b", 20_000).splitlines(keepends=True)
    )
    data = b"".join(line for pair in lines for line in pair)
    for limit in (3000, 4100, 9000):
        assert "".join(pages(log(data), limit)) == "A\nB\n"


def test_any_offset_is_moved_to_a_line() -> None:
    data = b"".join(b"line %d\n" % number for number in range(1000))
    starts = {0, *(at + 1 for at in range(len(data)) if data[at] == 0x0A)}
    found = log(data)
    chance = random.Random(1)
    for _ in range(200):
        offset = chance.randrange(-len(data) - 10, len(data) + 10)
        page = found.page(offset, 300)
        assert page["start"] in starts
        assert page["offset"] in starts
        aimed = max(0, len(data) + offset) if offset < 0 else min(offset, len(data))
        assert -10 < page["start"] - aimed < 10


def test_from_the_end_the_last_line_is_always_left() -> None:
    data = b"first\n" + b"x" * 5000 + b"\n"
    assert log(data).page(-10, 1 << 20)["text"] == "x" * 5000 + "\n"
    assert log(b"only").page(-2, 100)["text"] == "only"
    assert log(b"").page(-2, 100) == {"text": "", "start": 0, "offset": 0, "size": 0, "ended": True}


def test_unfinished_line_waits_until_nothing_follows() -> None:
    page = log(b"one\ntw", ended=False).page(0, 100)
    assert (page["text"], page["offset"], page["size"], page["ended"]) == ("one\n", 4, 6, False)
    page = log(b"one\ntw").page(0, 100)
    assert (page["text"], page["ended"]) == ("one\ntw", True)


def test_line_longer_than_a_page_and_than_all_patience(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logs, "LONGEST", 5000)
    data = b"a" * 3000 + b"\n" + b"b" * 22_000 + b"\nend\n"
    texts = pages(log(data), 1000)
    assert texts[0] == "a" * 3000 + "\n"
    assert "".join(texts) == data.decode()


def test_log_of_another_client_has_no_marked_lines() -> None:
    data = b"\x1ep is text here\nnext\n"
    assert log(data, nonce="").page(0, 100)["text"] == "p is text here\nnext\n"


def test_tail_gives_the_same_text_in_pieces_of_any_size() -> None:
    for limit in (1, 3, 50, 5000):
        texts = []
        tail = Tail(log(MIXED), 0)
        for _ in range(len(MIXED) + 10):
            piece = tail.read(limit)
            texts.append(piece["text"])
            if piece["ended"] and not tail.behind:
                break
        if limit > 100:
            assert "".join(texts) == TEXT
        assert "".join(texts).replace("\ufffd", "").startswith("one\nprompt> answer\n")


def test_search_finds_lines_with_their_offset_and_number() -> None:
    found = log(MIXED).search("T")
    assert [(match["line"], match["text"]) for match in found["matches"]] == [
        (2, "prompt> answer"),
        (3, "漢字 two"),
        (5, "three"),
        (6, "tail"),
    ]
    for match in found["matches"]:
        page = log(MIXED).page(match["offset"], 1 << 20)
        assert page["start"] == match["offset"]
        assert match["text"] in page["text"].split("\n")[0] + page["text"]


def test_search_across_pieces_and_its_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logs, "_SCAN", 1000)
    data = b"".join(b"line %d %s\n" % (n, b"x" * 40 + b"\x1b[1m" * (n % 3 == 0)) for n in range(1, 3000))
    found = log(data).search("LINE 2")
    assert [match["line"] for match in found["matches"]] == [n for n in range(1, 3000) if str(n).startswith("2")][:1000]
    assert found["more"]
    assert [data[m["offset"] : m["offset"] + 5] for m in found["matches"]] == [b"line "] * 1000
    assert not log(data).search("line 2999")["more"]


def test_search_of_two_million_lines_takes_seconds(tmp_path: Path) -> None:
    path = tmp_path / "log"
    line = (
        b"step %07d loss 0.123456 lr 1e-4 and so on until the line is as long as one of a log usually is, 100 bytes\n"
    )
    with path.open("wb") as file:
        for start in range(0, 2_000_000, 100_000):
            file.write(b"".join(line % number for number in range(start, start + 100_000)))

    def read(offset: int, limit: int) -> LogChunk:
        data, end, at_end = read_piece(path, offset, limit)
        return LogChunk(data, end, at_end)

    started = time.process_time()
    found = Log(read, NONCE).search("STEP 1999999")
    assert time.process_time() - started < 5
    assert [match["line"] for match in found["matches"]] == [2_000_000]
    assert not found["more"]
