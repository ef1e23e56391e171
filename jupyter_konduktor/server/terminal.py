r"""Text that a terminal may be given: colours and movements of the cursor stay, whatever else it would obey goes.

A job's output is hostile. A terminal that is given it as it is can be made to set the title and the clipboard, to make
links that say one thing and lead to another, to type answers to questions, and to hide what was written before.
"""

from __future__ import annotations

import re

_SEQUENCE = re.compile(
    r"""
      \x1b\[ (?P<csi> [0-?]* [\ -/]* [@-~]? )               # CSI: colours, the cursor, modes, questions
    | \x1b[]PX^_] [^\x07\x1b\x9c\n]* (?: \x07 | \x1b\\ | \x9c )?   # OSC, DCS, SOS, PM, APC, to their end or the line's
    | \x1b[78]                                              # the cursor's place is kept, and taken up again
    | \x1b [\ -/]* [0-~]?                                   # every other escape
    | [\x00-\x07\x0b\x0c\x0e-\x1a\x1c-\x1f\x7f-\x9f]        # every other control character
    """,
    re.VERBOSE,
)
# Without a private mark: movements, erasing (but of what was scrolled away), inserting, deleting, scrolling, colours.
_HARMLESS = re.compile(r"(?:[0-9;:]{0,64}[A-HKLMPSTX@dfmsu]|[0-2]?J)")
_COLOURS = re.compile(rb"\x1b\[[0-?]*[ -/]*[@-~]?")


def harmless(text: str) -> str:
    """Take out of a text what a terminal should not be told."""
    return _SEQUENCE.sub(_kept, text)


def _kept(match: re.Match[str]) -> str:
    found = match[0]
    if match["csi"] is not None:
        return found if _HARMLESS.fullmatch(match["csi"]) else ""
    return found if found in ("\x1b7", "\x1b8") else ""


def plain(text: str) -> str:
    """Take all sequences out of a line, so that only what can be read is left."""
    return "".join(c for c in _SEQUENCE.sub("", text) if c.isprintable() or c == "\t")


def without_colours(line: bytes) -> bytes:
    """Take the colours out of a line that is searched."""
    return _COLOURS.sub(b"", line)
