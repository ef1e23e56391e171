"""What went wrong in user code, told the way IPython tells it, and carried to the kernel.

An *error document* is JSON with ename, evalue, traceback, exception, item, node and names. ``traceback`` is plain
text, trimmed to what the user's code called. ``exception`` is a pack of `codec` with one frame of that name, when the
exception can be pickled in `EXCEPTION_LIMIT` bytes. ``names`` tells what a person or a program can act on: ``module``
that could not be imported, ``name`` that was not defined. ``item`` is the index in a map, ``node`` the rank if there
are several; both may be null. ``refused`` is there if the user's code did not begin: the kind of `codec.CodecError`
if the payload was not loaded, ``setup`` or ``packages`` if these failed. ``damaged`` is there if an object that was
sent had other bytes than its name says: that name, a SHA-256. The envelope carries the document with the codec
``"error"``.
"""

from __future__ import annotations

import json
import linecache
import os
import re
import sys
import traceback as _traceback

from . import codec, envelope

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import FrameType, TracebackType
    from typing import Any

    from .context import Context

EXCEPTION_LIMIT = 64 * 1024
"""Bytes of a pickled exception that are worth their place; its text always travels."""
TEXT_LIMIT = 64 * 1024
"""Characters of a traceback, of which the beginning and the end are kept."""
_NO_PLACE = 1600  # characters of a traceback to begin with where artifacts cannot be saved
_CONTEXT = 2  # lines of source before and after the one that counts
_RULE = "-" * 75
_HERE = os.path.dirname(sys._getframe().f_code.co_filename)  # as frames name it, which may have been compiled elsewhere
_CAUSE = "The above exception was the direct cause of the following exception:"
_DURING = "During handling of the above exception, another exception occurred:"
_LAST_LINES = 12  # of what a setup command or an installer wrote
_LONGEST_LINE = 200
_ESCAPES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
_LOADING = {
    "version": "VersionMismatchError",
    "integrity": "IntegrityError",
    "format": "PayloadError",
    "store": "StoreError",
}


def of_user_code(error: BaseException, job: Context, item: int | None = None) -> dict[str, Any]:
    """Describe an exception that user code raised."""
    return _document(error, job, render(error, job), item)


def of_loading(error: BaseException, job: Context) -> dict[str, Any]:
    """Describe why the payload could not be loaded."""
    if isinstance(error, codec.CodecError):
        document = _document(error, job, str(error), None)
        document.update(ename=_LOADING[error.kind], exception=None, refused=error.kind)
        if error.digest:
            document["damaged"] = error.digest
        document["traceback"] = "{}: {}".format(document["ename"], error)
        return document
    document = _document(error, job, render(error, job), None)
    if isinstance(error, ModuleNotFoundError) and error.name:
        advice = f"{error.name} is not installed where the job runs; --packages {error.name} installs it"
        document["traceback"] += "\n" + advice
    return document


def of_preparation(kind: str, said: str, output: bytes, job: Context) -> dict[str, Any]:
    """Describe why the job's code was not begun: a setup command (``setup``) or the installer (``packages``) failed."""
    lines = _ESCAPES.sub("", output.decode("utf-8", "replace")).splitlines()
    last = [line[:_LONGEST_LINE].rstrip() for line in lines if line.strip()][-_LAST_LINES:]
    return {
        "ename": {"setup": "SetupError", "packages": "PackagesError"}[kind],
        "evalue": said,
        "traceback": "\n".join(last),
        "exception": None,
        "item": None,
        "node": job.rank if int(job.spec.get("nodes") or 1) > 1 else None,
        "names": {},
        "refused": kind,
    }


def of_item(index: int, said: str, code: int, job: Context) -> bytes:
    """Make the envelope of an item of a map that has failed without leaving one."""
    document: dict[str, Any] = {
        "ename": "ItemError",
        "evalue": said,
        "traceback": said,
        "exception": None,
        "item": index,
        "node": None,
        "names": {},
    }
    return envelope.build(code, encode(document, job))


def _document(error: BaseException, job: Context, text: str, item: int | None) -> dict[str, Any]:
    names: dict[str, str | None] = {}
    if isinstance(error, ImportError) and error.name:
        names["module"] = error.name
    elif isinstance(error, NameError) and getattr(error, "name", None):
        names["name"] = error.name  # from Python 3.10 on
    return {
        "ename": type(error).__name__,
        "evalue": _text_of(error),
        "traceback": text,
        "exception": _pickled(error, job),
        "item": item,
        "node": job.rank if int(job.spec.get("nodes") or 1) > 1 else None,
        "names": names,
    }


def _text_of(error: BaseException) -> str:
    try:
        return str(error)
    except Exception as second:  # noqa: BLE001  it is the user's class
        return f"<its text cannot be made: {type(second).__name__}>"


def _pickled(error: BaseException, job: Context) -> str | None:
    import binascii

    try:
        pack = codec.dump({"exception": error}, main=job.namespace, meta={}, inband=EXCEPTION_LIMIT)
    except Exception:  # noqa: BLE001  whatever its class does: the text tells of it
        return None
    if pack.buffers or len(pack.data) > EXCEPTION_LIMIT:
        return None
    return binascii.b2a_base64(pack.data, newline=False).decode("ascii")


def send(job: Context, document: dict[str, Any]) -> None:
    """Make a failure the value of the job, and leave its traceback in the log."""
    job.send_failure(encode(document, job))
    log(document)


def log(document: dict[str, Any]) -> None:
    """Leave a traceback in the log, announced so that whoever raises the error can leave it out there."""
    from .display import announce_traceback

    text = document["traceback"] + "\n"
    if document["item"] is not None:
        text = f"item {document['item']}:\n{text}"
    try:
        sys.stderr.flush()
    except (AttributeError, OSError, ValueError):
        return  # the user's code has closed it; the job's value tells of the failure in any case
    announce_traceback(len(text.encode("utf-8", "backslashreplace")))
    print(text, end="", file=sys.stderr)


def encode(document: dict[str, Any], job: Context) -> bytes:
    """Write a document as the value of an envelope, shortened if there is no place for all of it."""
    # What a state is told by must stand in the envelope.
    short, room = document, TEXT_LIMIT if not document.get("refused") else _NO_PLACE
    while True:
        try:
            return envelope.encode_bytes("error", _encode(short), job.save if room > _NO_PLACE else _refuse)
        except OSError:
            room = _NO_PLACE if room > _NO_PLACE else room // 2
            short = dict(document, exception=None, evalue=document["evalue"][:300])
            short["traceback"] = _shorten(document["traceback"], room)


def _refuse(digest: str, data: bytes) -> None:
    raise OSError("only what fits into the envelope has a place")


def _encode(document: dict[str, Any]) -> bytes:
    return json.dumps(document, separators=(",", ":")).encode("ascii")


# --- the text --------------------------------------------------------------------------------------------------------


def render(error: BaseException, job: Context) -> str:
    """Write a traceback as IPython does: `Cell In[n], line k`, source around it, chained causes."""
    register_sources(job)
    name = type(error).__name__
    lines = [_RULE, name + "Traceback (most recent call last)".rjust(75 - len(name))]
    lines += _chain(error, job, set())
    return _shorten("\n".join(lines), TEXT_LIMIT)


def register_sources(job: Context) -> None:
    """Have `linecache` know the source of the notebook's code."""
    for filename, source in job.sources.items():
        text = source["source"]
        linecache.cache[filename] = (len(text), None, text.splitlines(keepends=True), filename)


def _chain(error: BaseException, job: Context, seen: set[int]) -> list[str]:
    seen.add(id(error))
    lines = []
    cause = error.__cause__
    link = _CAUSE
    if cause is None and not error.__suppress_context__:
        cause, link = error.__context__, _DURING
    if cause is not None and id(cause) not in seen:
        lines += [*_chain(cause, job, seen), "", link, ""]
    frames = _frames(error.__traceback__, job)
    lines += _frame_lines(frames, job)
    lines += _message(error, job)
    members = getattr(error, "exceptions", None)
    if isinstance(members, (tuple, list)) and all(isinstance(member, BaseException) for member in members):
        for number, member in enumerate(members, 1):
            lines.append(f"  +-+---------------- {number} ----------------")
            if id(member) not in seen:
                lines += ["    | " + line for part in _chain(member, job, seen) for line in part.split("\n")]
        lines.append("    +------------------------------------")
    return lines


def _frames(tb: TracebackType | None, job: Context) -> list[tuple[FrameType, int]]:
    """List the frames from the user's first one on, without ours."""
    frames = []
    while tb is not None:
        frames.append((tb.tb_frame, tb.tb_lineno))
        tb = tb.tb_next
    known = job.sources

    def ours(frame: FrameType) -> bool:
        return os.path.dirname(frame.f_code.co_filename) == _HERE

    first = 0
    for place, (frame, _) in enumerate(frames):
        if ours(frame):
            first = place + 1
        elif frame.f_code.co_filename in known:
            if place >= first:
                first = place if not any(f.f_code.co_filename in known for f, _ in frames[:place]) else first
            break
    rest = [pair for pair in frames[first:] if not ours(pair[0])]
    while rest and _is_machinery(rest[0][0].f_code.co_filename):
        rest.pop(0)  # asyncio around a top-level await
    return rest


def _is_machinery(filename: str) -> bool:
    return os.path.basename(os.path.dirname(filename)) in ("asyncio", "concurrent") or filename.startswith("<frozen ")


def _frame_lines(frames: list[tuple[FrameType, int]], job: Context) -> list[str]:
    blocks: list[str] = []
    previous: tuple[str, int, str] | None = None
    repeated = 0
    for frame, line in frames:
        code = frame.f_code
        key = (code.co_filename, line, code.co_name)
        if key == previous:
            repeated += 1
            if repeated > 2:
                continue
        else:
            _note_repetition(blocks, repeated, previous, job)
            repeated = 0
        previous = key
        blocks.append(f"{_heading(frame, line, job)}\n{_excerpt(frame, line)}\n")
    _note_repetition(blocks, repeated, previous, job)
    return blocks


def _note_repetition(blocks: list[str], repeated: int, key: tuple[str, int, str] | None, job: Context) -> None:
    if repeated > 2 and key is not None:
        times = f"{key[2]} at line {key[1]} ({repeated - 2} times)"
        blocks.append(f"    [... skipping similar frames: {times}]\n")


def _heading(frame: FrameType, line: int, job: Context) -> str:
    """Say where a frame is, as IPython says it."""
    code = frame.f_code
    name = getattr(code, "co_qualname", code.co_name)  # Python 3.11
    inside = "" if code.co_name == "<module>" else f", in {name}{_arguments(frame)}"
    return place(code.co_filename, line, job) + inside


def place(filename: str, line: int | None, job: Context) -> str:
    """Name a line of the user's code: `Cell In[3], line 4` or `File pkg/module.py:4`."""
    source = job.sources.get(filename)
    if source is not None and source.get("number") is not None:
        return "Cell In[{}], line {}".format(source["number"], line)
    if source is not None:
        return f"Notebook code, line {line}"
    shown = filename
    if job.modules and filename.startswith(job.modules + os.sep):
        shown = os.path.relpath(filename, job.modules)
    elif filename.startswith(os.path.expanduser("~") + os.sep):
        shown = "~" + filename[len(os.path.expanduser("~")) :]
    return f"File {shown}:{line}"


def _arguments(frame: FrameType) -> str:
    code = frame.f_code
    count = code.co_argcount + code.co_kwonlyargcount
    names = list(code.co_varnames[:count])
    rest = list(code.co_varnames[count:])
    if code.co_flags & 0x04 and rest:
        names.append("*" + rest.pop(0))
    if code.co_flags & 0x08 and rest:
        names.append("**" + rest.pop(0))
    return "({})".format(", ".join(names))


def _excerpt(frame: FrameType, line: int) -> str:
    lines = linecache.getlines(frame.f_code.co_filename, frame.f_globals)
    if not 1 <= line <= len(lines):
        return "      (its source is not here)"
    out = []
    for number in range(max(1, line - _CONTEXT), min(len(lines), line + _CONTEXT) + 1):
        text = lines[number - 1].rstrip("\n")
        if number == line:
            label = str(number)
            out.append("-" * max(0, 5 - len(label)) + "> " + label + " " + text)
        else:
            out.append(f"{number:7d} {text}")
    return "\n".join(out)


def _message(error: BaseException, job: Context) -> list[str]:
    """Give the last lines: type and text, the place of a syntax error, notes."""
    if isinstance(error, SyntaxError) and error.filename in job.sources:
        lines = ["  " + place(error.filename, error.lineno, job)]
        shown = _traceback.format_exception_only(type(error), error)
        return [*lines, "".join(shown[1:]).rstrip("\n")]
    return ["".join(_traceback.format_exception_only(type(error), error)).rstrip("\n")]


def _shorten(text: str, limit: int) -> str:
    if len(text) <= limit:
        return text
    half = max(1, limit // 2)
    return f"{text[:half]}\n[... {len(text) - 2 * half} characters left out ...]\n{text[-half:]}"
