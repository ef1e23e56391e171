"""What a terminal is given of a hostile text."""

from __future__ import annotations

import random
import re
import time

import pytest

from jupyter_konduktor.server.terminal import harmless, plain


@pytest.mark.parametrize(
    "text",
    [
        "plain ünïcode 漢字 🎉\ttab\r\nand a newline\n",
        "\x1b[1;31mbold red\x1b[0m",
        "\x1b[38;2;1;2;3mtrue colour\x1b[38:5:1m\x1b[m",
        "50 %\r\x1b[K60 %\x1b[2A\x1b[10C\x1b[3;4H\x1b[2J\x1b[s\x1b[u\x1b7\x1b8",
        "back\b\bspace",
    ],
)
def test_colours_and_the_cursor_stay(text: str) -> None:
    assert harmless(text) == text


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("\x1b]0;title\x07a", "a"),
        ("\x1b]52;c;cm0gLXJm\x1b\\a", "a"),
        ("\x1b]8;;http://evil\x1b\\good\x1b]8;;\x1b\\", "good"),
        ("\x1b]0;no end\nnext line", "\nnext line"),
        ("\x1bPq#0;2\x1b\\a", "a"),
        ("\x1b_app\x1b\\\x1b^pm\x1b\\\x1bXsos\x1b\\a", "a"),
        ("\x1b[c\x1b[>c\x1b[6n\x1b[?6n\x1b[5n\x1b[21t\x1b[>q\x1b[?1$p\x1b[x", ""),
        ("\x1b[?1049h\x1b[?1000h\x1b[?2004h\x1b[4h\x1b[20l", ""),
        ("\x1b[3J", ""),
        ("\x1bc\x1b(0\x1b#8\x1bD\x1b=", ""),
        ("\x1b[1000000000b", ""),
        ("a\x07\x05\x00\x0e\x0f\x7fb", "ab"),
        ("\x9b6n\x9d0;t\x9c\x85", "6n0;t"),
        ("end\x1b", "end"),
        ("end\x1b[", "end"),
        ("end\x1b[31", "end"),
    ],
)
def test_everything_else_goes(text: str, left: str) -> None:
    assert harmless(text) == left


def test_nothing_but_what_is_allowed_survives_chance() -> None:
    allowed = re.compile(r"(?:[^\x00-\x1f\x7f-\x9f]|[\t\n\r\b]|\x1b\[(?:[0-9;:]*[A-HKLMPSTX@dfmsu]|[0-2]?J)|\x1b[78])*")
    chance = random.Random(5)
    letters = "\x1b\x1b\x1b[]()PX^_\\?;:>=0123678JHmchlnqt \x07\x08\n\x9b\x9c\x9da"
    for _ in range(20_000):
        text = "".join(chance.choices(letters, k=chance.randrange(1, 24)))
        assert allowed.fullmatch(harmless(text)), text


def test_no_text_takes_long() -> None:
    for text in (
        "\x1b[" * 200_000,
        "\x1b]" * 200_000,
        "\x1b[" + "1;" * 500_000,
        "\x1b]" + "x" * 1_000_000,
        "\x1b" * 500_000,
    ):
        started = time.perf_counter()
        harmless(text)
        assert time.perf_counter() - started < 10


def test_plain_text_has_no_sequences() -> None:
    assert plain("\x1b[1mThe \x1b]0;t\x07\x1b[32mEnd\x1b[0m\tof\x08 it\r") == "The End\tof it"
