"""Text of a terminal as HTML that holds nothing but the text and its colours."""

from __future__ import annotations

import re
from html import escape

# A control sequence of any kind, complete or cut off by the end; of all these only SGR (ending in m) has an effect.
_SEQUENCE = re.compile(
    r"\x1b\[(?P<sgr>[0-9;:]*)m"
    r"|(?:\x1b\[|\x9b)[0-?]*[ -/]*(?:[@-~]|$)"
    r"|(?:\x1b[\]PX^_]|[\x90\x98\x9d-\x9f])[^\x07\x1b\x9c]*(?:\x07|\x1b\\|\x9c|$)"
    r"|\x1b[ -/]*(?:[0-~]|$)"
    r"|\x1b"
)
_NAMES = ("black", "red", "green", "yellow", "blue", "magenta", "cyan", "white")
_STYLES = {1: "bold", 3: "italic", 4: "underline"}
_LEVELS = (0, 95, 135, 175, 215, 255)


def to_html(text: str) -> str:
    """Turn text into HTML: colours become spans, every other control is left out, all else is escaped.

    A carriage return writes over its line, as it does in a terminal.
    """
    out: list[str] = []
    look = _Look()
    for line in _lines(text):
        at = 0
        for found in _SEQUENCE.finditer(line):
            out.append(look.dress(line[at : found.start()]))
            if found["sgr"] is not None:
                look.change(found["sgr"])
            at = found.end()
        out.append(look.dress(line[at:]))
        out.append("\n")
    return "".join(out[:-1])


def _lines(text: str) -> list[str]:
    return [line.rstrip("\r").rpartition("\r")[2] for line in text.split("\n")]


class _Look:
    """How the text that follows looks."""

    def __init__(self) -> None:
        self.styles: set[str] = set()
        self.colours: dict[str, str] = {}

    def change(self, codes: str) -> None:
        """Obey the numbers of one SGR sequence; those that are unknown change nothing."""
        numbers = [int(code) if code and len(code) < 4 else 0 for code in re.split("[;:]", codes)]
        while numbers:
            code = numbers.pop(0)
            if code == 0:
                self.styles.clear()
                self.colours.clear()
            elif code in _STYLES:
                self.styles.add(_STYLES[code])
            elif code in (22, 23, 24):
                self.styles.discard(_STYLES[{22: 1}.get(code, code - 20)])
            elif code in (38, 48):
                self._any_colour("color" if code == 38 else "background", numbers)
            elif code in (39, 49):
                self.colours.pop("color" if code == 39 else "background", None)
            elif 30 <= code <= 47 or 90 <= code <= 107:
                part = "color" if code // 10 in (3, 9) else "background"
                self.colours[part] = _named(code % 10)

    def _any_colour(self, part: str, numbers: list[int]) -> None:
        kind = numbers.pop(0) if numbers else 0
        if kind == 5 and numbers:
            self.colours[part] = _indexed(numbers.pop(0))
        elif kind == 2 and len(numbers) >= 3:
            self.colours[part] = _rgb(*numbers[:3])
            del numbers[:3]
        else:
            numbers.clear()  # what follows is not what it seems

    def dress(self, text: str) -> str:
        """Give text as HTML that looks so."""
        shown = escape("".join(c for c in text if c.isprintable() or c == "\t"))
        if not shown or not (self.styles or self.colours):
            return shown
        classes = " ".join(f"jp-KonduktorJob-{style}" for style in sorted(self.styles))
        style = ";".join(f"{part}:{colour}" for part, colour in sorted(self.colours.items()))
        given = (f' class="{classes}"' if classes else "") + (f' style="{style}"' if style else "")
        return f"<span{given}>{shown}</span>"


def _named(number: int) -> str:
    return f"var(--jp-KonduktorJob-{_NAMES[number]})" if number < len(_NAMES) else "inherit"


def _indexed(number: int) -> str:
    """Give a colour of the 256: 16 with names, a cube of 216, 24 greys."""
    if number < 16:
        return _named(number % 8)
    if number >= 232:
        return _rgb(*[8 + 10 * (number - 232)] * 3)
    number -= 16
    return _rgb(_LEVELS[number // 36 % 6], _LEVELS[number // 6 % 6], _LEVELS[number % 6])


def _rgb(red: int, green: int, blue: int) -> str:
    return f"rgb({min(red, 255)},{min(green, 255)},{min(blue, 255)})"
