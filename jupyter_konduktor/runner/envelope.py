"""The envelope in which a job's value leaves it: three shapes, at most 4,096 bytes, the same as Konduktor's.

    {"exit":N,"value":V}     {"exit":N}     {"exit":N,"error":"ResultTooLarge","size":S}

``error`` may also be ``"MalformedResult"``: the job wrote a ``result.json`` that is no JSON. V has at most `BUDGET`
bytes. A value that JSON brings back exactly stands there as itself; anything else as one key, `KEY`, with

    {"v":1,"codec":"cloudpickle","data":BASE64,"sha256":..,"size":..}    a pack of `codec`
    {"v":1,"codec":"cloudpickle","uri":"artifact:SHA256","sha256":..,"size":..}    a pack that is an artifact
    either of these with "lost":WHY    artifacts that it needs could not be sent
    {"v":1,"codec":"error","data" or "uri" as above}    an error document of `failure`
    {"v":1,"codec":"json","value":V}    a value of the user's that has the key itself
"""

from __future__ import annotations

import json
import math
import os
import stat

from .digest import sha256

TYPE_CHECKING = False
if TYPE_CHECKING:  # importing typing costs a job 3 ms
    from collections.abc import Callable
    from typing import Any

KEY = "$konduktor"
BUDGET = 3500
"""Bytes of UTF-8 that a value may have in an envelope."""
RESULT_FILE = "result.json"
_WRAPPING = 144  # bytes around what is inline: its codec, digest and size
_REASON = 240  # characters of the reason for a loss
_SPACIOUS = 1 << 16  # bytes that are read of a result: blanks around the value do not count


class _Missing:
    def __repr__(self) -> str:
        return "MISSING"


MISSING: Any = _Missing()
"""Stands for no value, where None is one."""


class Envelope:
    """What an envelope says.

    Attributes
    ----------
    exit : int
    value : object
        The value as JSON, `MISSING` if there is none.
    error : str or None
        ``"ResultTooLarge"``, ``"MalformedResult"``.
    size : int or None
        Bytes of a result that was too large.
    """

    __slots__ = ("error", "exit", "size", "value")

    def __init__(
        self,
        exit: int,  # noqa: A002  the envelope's own word
        value: Any = MISSING,
        error: str | None = None,
        size: int | None = None,
    ) -> None:
        self.exit = exit
        self.value = value
        self.error = error
        self.size = size

    def __repr__(self) -> str:
        return f"Envelope({self.exit!r}, {self.value!r}, {self.error!r}, {self.size!r})"


def parse(data: bytes) -> Envelope:
    """Read an envelope; raises ValueError for bytes that are none."""
    try:
        found = json.loads(data.decode("utf-8"))
    except RecursionError:
        raise ValueError("its JSON is nested too deeply") from None
    if not isinstance(found, dict) or type(found.get("exit")) is not int:
        raise ValueError("it has no exit code")
    error, size = found.get("error"), found.get("size")
    if (error is not None and not isinstance(error, str)) or (size is not None and type(size) is not int):
        raise ValueError("its error or size is of the wrong type")
    return Envelope(found["exit"], found.get("value", MISSING), error, size)


def build(code: int, value: bytes | None = None) -> bytes:
    """Write an envelope around a value that is JSON already."""
    return b'{"exit":%d}' % code if value is None else b'{"exit":%d,"value":%s}' % (code, value)


def with_loss(data: bytes, why: str) -> bytes:
    """Note in an envelope why artifacts that its value may need are not to be had."""
    found = parse(data)
    inner = found.value.get(KEY) if isinstance(found.value, dict) else None
    if not inner or inner["codec"] != "cloudpickle":
        return data
    inner["lost"] = why[:_REASON]
    return build(found.exit, json.dumps(found.value, separators=(",", ":")).encode("ascii"))


def collect(code: int, outcome: bytes | None, output_dir: str) -> bytes:
    """Write the envelope of a process that has ended.

    Parameters
    ----------
    code : int
        Its exit code.
    outcome : bytes or None
        What our own code in it sent as the value, encoded.
    output_dir : str
        Where ``result.json`` lies if it reported one.
    """
    if outcome is not None:
        return build(code, outcome)
    reported = read_result(output_dir)
    if not isinstance(reported, Envelope):
        return build(code, reported)
    if reported.error == "ResultTooLarge":
        return b'{"exit":%d,"error":"ResultTooLarge","size":%d}' % (code, reported.size or 0)
    return b'{"exit":%d,"error":"MalformedResult"}' % code


def read_result(output_dir: str) -> bytes | Envelope | None:
    """Read ``result.json``: its bytes, an envelope that says why not, or None where there is none."""
    try:
        # What lies there is the user's: a FIFO must not block this.
        fd = os.open(os.path.join(output_dir, RESULT_FILE), os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    except OSError:
        return Envelope(0, error="MalformedResult")
    try:
        status = os.fstat(fd)
        if not stat.S_ISREG(status.st_mode):
            return Envelope(0, error="MalformedResult")
        data = os.read(fd, _SPACIOUS)
    except OSError:
        return Envelope(0, error="MalformedResult")
    finally:
        os.close(fd)
    text = data.strip(b" \t\r\n")
    if len(text) > BUDGET or status.st_size > len(data):
        return Envelope(0, error="ResultTooLarge", size=status.st_size)
    try:
        json.loads(text.decode("utf-8"), parse_constant=_no_constant)
    except (ValueError, RecursionError):
        return Envelope(0, error="MalformedResult")
    return text


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is no JSON")


def exact_json(value: Any) -> bool:
    """Whether JSON brings a value back exactly: its types are JSON's own, its keys text, its numbers finite."""
    todo, seen = [value], 0
    while todo:
        one = todo.pop()
        seen += 1
        if seen > BUDGET:
            return False  # too long for an envelope in any case, or it contains itself
        kind = type(one)
        if kind is float:
            if not math.isfinite(one):
                return False
        elif kind is dict:
            for key, item in one.items():
                if type(key) is not str:
                    return False
                todo.append(item)
        elif kind is list:
            todo.extend(one)
        elif kind is int:
            if one.bit_length() > 8 * BUDGET:
                return False
        elif kind is not str and kind is not bool and one is not None:
            return False
    return True


def to_json(value: Any) -> bytes | None:
    """Write an exact value as JSON, None if it is too large for an envelope."""
    if isinstance(value, dict) and KEY in value:
        value = {KEY: {"v": 1, "codec": "json", "value": value}}
    try:
        data = json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode("utf-8")
    except UnicodeEncodeError:
        # Lone surrogates are no UTF-8, but JSON can spell them.
        data = json.dumps(value, separators=(",", ":")).encode("ascii")
    except (ValueError, RecursionError):
        return None  # it contains itself, is nested too deeply, or holds a number of thousands of digits
    return data if len(data) <= BUDGET else None


def fits(size: int) -> bool:
    """Whether so many bytes fit into an envelope in base64, with their digest and size."""
    return -(-size // 3) * 4 <= BUDGET - _WRAPPING


def encode_bytes(codec: str, data: bytes, save: Callable[[str, bytes], None]) -> bytes:
    """Write bytes as a value: within it if they fit, else as a reference to an artifact.

    Parameters
    ----------
    codec : str
        ``"cloudpickle"`` or ``"error"``.
    data : bytes
    save : callable
        Keeps the artifact of a SHA-256.
    """
    import binascii

    digest = sha256(data).hexdigest()
    inner = {"v": 1, "codec": codec, "sha256": digest, "size": len(data)}
    if fits(len(data)):
        inline = dict(inner, data=binascii.b2a_base64(data, newline=False).decode("ascii"))
        return json.dumps({KEY: inline}, separators=(",", ":")).encode("ascii")
    save(digest, data)
    return json.dumps({KEY: dict(inner, uri="artifact:" + digest)}, separators=(",", ":")).encode("ascii")
