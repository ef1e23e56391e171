"""How a job's end is put into words, the same on every backend."""

from __future__ import annotations

import base64
import binascii
import json
from typing import Any

from jupyter_konduktor.runner.tree import signal_name

ITEMS_FAILED = "ItemsFailed"
"""The reason of a map that has run all its items, some of which have failed."""
_LONGEST = 300
_NOT_BEGUN = {"setup": "SetupFailed", "packages": "PackagesFailed"}
_MEANINGS = {"SIGSEGV": "segmentation fault"}


def of_exit(code: int) -> str:
    """Say in a few words how a process ended that gave this exit code; a shell gives 128 + n for signal n."""
    if 128 < code < 128 + 65:
        name = signal_name(code - 128)
        return f"ended by {name} ({_MEANINGS[name]})" if name in _MEANINGS else f"ended by {name}"
    return f"exit code {code}"


def remote_error(envelope: bytes | None) -> tuple[str, str]:
    """Find what an envelope tells of a failure.

    Returns
    -------
    reason, message : str
        The reason only if the job's own code was not begun: ``SetupFailed``, ``PackagesFailed``. The message is one
        line; both are empty if it tells of no failure.
    """
    try:
        document = _error_document(envelope)
        reason = _NOT_BEGUN.get(document.get("refused", ""), "")
        ename, evalue = document["ename"], document["evalue"]
        text = str(evalue) if reason else f"{ename}: {evalue}".strip().rstrip(":")
    except _NO_DOCUMENT:
        return "", ""
    return reason, one_line(text)


def damaged(envelope: bytes | None) -> str:
    """Name the object, by its SHA-256, that a job was sent and found to be another one; empty if it tells of none."""
    try:
        return str(_error_document(envelope).get("damaged", ""))
    except _NO_DOCUMENT:
        return ""


_NO_DOCUMENT = (KeyError, TypeError, ValueError, RecursionError, AttributeError, binascii.Error)
"""What comes of reading a script's own value, or an error too long to stand in the envelope."""


def _error_document(envelope: bytes | None) -> dict[str, Any]:
    """Read the error document that stands in an envelope; raises one of `_NO_DOCUMENT` if there is none."""
    inner = json.loads(envelope or b"{}")["value"]["$konduktor"]
    if inner["codec"] != "error":
        raise ValueError("it is no error's")
    document: dict[str, Any] = json.loads(base64.b64decode(inner["data"]))
    return document


def items_failed(envelope: bytes | None) -> str:
    """Say of a map that has run all its items how many have failed; empty if none has, or it has not."""
    try:
        told = json.loads(envelope or b"{}")
        items, failed = int(told["value"]["items"]), int(told["value"]["failed"])
        if not told["exit"]:
            return ""  # also the value of a function that gives back such numbers
    except (KeyError, TypeError, ValueError, RecursionError, AttributeError):
        return ""
    return f"{failed} of {items} items failed" if failed else ""


def one_line(text: str, longest: int = _LONGEST) -> str:
    """Put a text on one line, cut where it is too long."""
    line = " ".join(text.split())
    return line if len(line) <= longest else line[: longest - 3] + "..."
