"""Nothing of a job's text reaches the page but its characters and their colours."""

from __future__ import annotations

import re

import pytest

from jupyter_konduktor.widgets.ansi import to_html

BOLD, UNDERLINE = "jp-KonduktorJob-bold", "jp-KonduktorJob-underline"
RED = '<span style="color:var(--jp-KonduktorJob-red)">'


@pytest.mark.parametrize(
    ("text", "html"),
    [
        ("plain\ntext\t1", "plain\ntext\t1"),
        ("\x1b[31mred\x1b[0m not", f"{RED}red</span> not"),
        ("\x1b[91mred\x1b[39m not", f"{RED}red</span> not"),
        ("\x1b[31mone\ntwo", f"{RED}one</span>\n{RED}two</span>"),
        (
            "\x1b[1;4mx\x1b[22my\x1b[24mz",
            f'<span class="{BOLD} {UNDERLINE}">x</span><span class="{UNDERLINE}">y</span>z',
        ),
        ("\x1b[38;5;196mx", '<span style="color:rgb(255,0,0)">x</span>'),
        ("\x1b[38;5;250mx", '<span style="color:rgb(188,188,188)">x</span>'),
        ("\x1b[48;2;1;2;300mx", '<span style="background:rgb(1,2,255)">x</span>'),
        ("\x1b[38;5mx\x1b[38;2;1mx\x1b[999999mx\x1b[;;mx\x1b[77mx", "xxxxx"),
        (" 1%\r 2%\r100%\ndone\r", "100%\ndone"),
        ("<script>alert(1)</script> & 'q' \"", "&lt;script&gt;alert(1)&lt;/script&gt; &amp; &#x27;q&#x27; &quot;"),
        ("\x1b]8;;javascript:alert(1)\x07link\x1b]8;;\x1b\\ \x1b]0;title\x9c.", "link ."),
        ("\x1b[2J\x1b[10;10H\x1b[?25l\x1bc\x1b(Bx\x9b31my", "xy"),
        ("\x1bPsixel\x1b\\a\x1b_apc\x07b", "ab"),
        ("a\x00\x08\x7f\u202e\u2066b\x1b", "ab"),
        ("half \x1b[3", "half "),
        ("half \x1b]0;tit", "half "),
    ],
)
def test_text_becomes(text: str, html: str) -> None:
    assert to_html(text) == html


def test_no_sequence_gets_a_tag_or_a_quote_through() -> None:
    """Every way to put a piece of markup into, before and after a control is text or nothing."""
    for piece in ('"><img src=x onerror=alert(1)>', "';x:url(1)", "</span><script>", "expression(1)"):
        for control in ("\x1b[{}m", "\x1b[38;2;{}m", "\x1b]{}\x07", "\x1bP{}\x1b\\", "\x1b{}", "{}\x1b[31m", "\x9b{}m"):
            html = to_html(control.format(piece) + "end")
            assert set(re.findall(r"<[^>]*>", html)) <= {RED, "</span>"}, html
