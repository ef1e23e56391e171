"""What a carriage return writes over is not sent, and what is too large for a notebook is named."""

from __future__ import annotations

import pytest

from jupyter_konduktor.magics.screen import RICH, _collapsed, _fitted, _lasting


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain\n", "plain\n"),
        ("\r 1%\r 2%\r 3%", "\r 3%"),
        ("start 0%\r 1%\r 2%", "start 0%\r 2%"),
        ("\rlong text\rab", "\rabng text"),
        ("\r10%\r20%\r", "\r20%\r"),
        ("a\rb\rc\nd\re\rf", "a\rc\nd\rf"),
        ("one\r\ntwo\r\n", "one\r\ntwo\r\n"),
        ("\r\x1b[A1\r\x1b[A2\r\x1b[A3", "\r\x1b[A1\r\x1b[A2\r\x1b[A3"),
    ],
)
def test_superseded_updates_are_left_out(text: str, shown: str) -> None:
    assert _collapsed(text) == shown


def test_a_progress_bar_uses_nothing_of_the_limit() -> None:
    assert _lasting("\r 1%\r 2%") == 0
    assert _lasting("\r 1%\r100%\n") == 5
    assert _lasting("abc\n") == 4


def test_the_largest_form_goes_first_and_is_named() -> None:
    data, metadata = _fitted(
        {"image/png": "x" * (RICH + 1), "text/html": "<b>", "text/plain": "<Figure>"},
        {"image/png": {"width": 1}, "isolated": True},
    )
    assert set(data) == {"text/html", "text/plain"}
    assert data["text/plain"] == "<Figure>\n(image/png of 1.5 MB: too large to be shown in a notebook)"
    assert metadata == {"isolated": True}


def test_a_text_that_is_too_large_is_named_too() -> None:
    data, _ = _fitted({"text/plain": "x" * (RICH + 1)}, {})
    assert data == {"text/plain": "(text/plain of 1.5 MB: too large to be shown in a notebook)"}
