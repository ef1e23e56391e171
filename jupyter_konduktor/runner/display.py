"""Rich output: turns objects into mime bundles as IPython does, and writes them as records into the job's stream."""

from __future__ import annotations

import binascii
import json
import re
import select
import sys

from . import context
from .digest import sha256
from .stream import LINE_LIMIT, display_lines

TYPE_CHECKING = False
if TYPE_CHECKING:  # importing typing costs a job 3 ms
    from typing import Any

BUDGET = 5 << 20
"""Bytes of records that a job writes into its stream; beyond that they become artifacts."""
_METHODS = (
    ("text/html", "_repr_html_"),
    ("text/markdown", "_repr_markdown_"),
    ("image/svg+xml", "_repr_svg_"),
    ("image/png", "_repr_png_"),
    ("application/pdf", "_repr_pdf_"),
    ("image/jpeg", "_repr_jpeg_"),
    ("text/latex", "_repr_latex_"),
    ("application/json", "_repr_json_"),
    ("application/javascript", "_repr_javascript_"),
)
_CANARY = "_ipython_canary_method_should_not_exist_"
_STANDARD_REPRS: tuple[object, ...] = (object.__repr__, list.__repr__, tuple.__repr__, dict.__repr__)
_LINE = 79
_PLAIN_LIMIT = 1000  # items of a container that are shown, as IPython has it
_written = 0
_count = 0


# --- what user code calls --------------------------------------------------------------------------------------------


class DisplayHandle:
    """Shows something else in the place of what was displayed."""

    def __init__(self, display_id: str) -> None:
        self.display_id = display_id

    def display(self, obj: Any, **kwargs: Any) -> None:
        """Show an object in a new place that has the same id."""
        display(obj, display_id=self.display_id, **kwargs)

    def update(self, obj: Any, **kwargs: Any) -> None:
        """Show an object in the place of what was shown."""
        update_display(obj, display_id=self.display_id, **kwargs)

    def __repr__(self) -> str:
        return f"<DisplayHandle display_id={self.display_id}>"


def display(
    *objs: Any,
    include: Any = None,
    exclude: Any = None,
    metadata: dict[str, Any] | None = None,
    transient: dict[str, Any] | None = None,
    display_id: Any = None,
    raw: bool = False,
    clear: bool = False,
    **kwargs: Any,
) -> DisplayHandle | None:
    """Show objects, as IPython's ``display`` does."""
    handle = None
    if display_id is not None:
        handle = DisplayHandle(_new_id() if display_id is True else str(display_id))
    elif transient and transient.get("display_id"):
        handle = DisplayHandle(str(transient["display_id"]))
    if clear:
        clear_output(wait=True)
    kind = "update_display" if kwargs.get("update") else "display"
    for obj in objs:
        if raw:
            _write(kind, obj, metadata or {}, handle)
            continue
        found = mimebundle(obj, include, exclude)
        if found is not None:
            data, extra = found
            _write(kind, data, dict(extra, **(metadata or {})), handle)
    return handle


def update_display(obj: Any, *, display_id: Any, **kwargs: Any) -> None:
    """Show an object in the place of what was displayed under an id."""
    kwargs["update"] = True
    display(obj, display_id=display_id, **kwargs)


def clear_output(wait: bool = False) -> None:
    """Clear what was shown; with ``wait``, once there is something new."""
    _record({"type": "clear_output", "wait": bool(wait)})


def publish_display_data(
    data: dict[str, Any],
    metadata: dict[str, Any] | None = None,
    *args: Any,
    transient: dict[str, Any] | None = None,
    **kwargs: Any,
) -> None:
    """Show a mime bundle."""
    display_id = (transient or {}).get("display_id")
    handle = DisplayHandle(str(display_id)) if display_id else None
    _write("update_display" if kwargs.get("update") else "display", data, metadata or {}, handle)


def show_result(value: Any) -> None:
    """Show the value of a cell's last expression."""
    found = mimebundle(value, None, None)
    if found is not None:
        _write("execute_result", found[0], found[1], None)


def announce_traceback(size: int) -> None:
    """Say that the next bytes of the stream are the traceback of the job's error, for whoever shows that himself."""
    _record({"type": "traceback", "size": size})


# --- objects to bundles ----------------------------------------------------------------------------------------------


def mimebundle(obj: Any, include: Any, exclude: Any) -> tuple[dict[str, Any], dict[str, Any]] | None:
    """Make the mime bundle and metadata of an object; None if it has shown itself."""
    own = _method(obj, "_ipython_display_")
    if own is not None:
        try:
            own()
        except NotImplementedError:
            pass
        except Exception as error:  # noqa: BLE001  a display that fails does not end a cell
            _complain(error)
        else:
            return None
    data: dict[str, Any] = {}
    metadata: dict[str, Any] = {}
    bundle = _method(obj, "_repr_mimebundle_")
    if bundle is not None:
        try:
            found = bundle(include=include, exclude=exclude)
            if isinstance(found, tuple) and len(found) == 2:
                data, metadata = dict(found[0]), dict(found[1])
            elif isinstance(found, dict):
                data = dict(found)
        except NotImplementedError:
            pass
        except Exception as error:  # noqa: BLE001
            _complain(error)
    for mime, name in _METHODS:
        if mime not in data:
            _add(data, metadata, mime, _method(obj, name))
    figures = sys.modules.get("matplotlib.figure")
    if figures is not None and isinstance(obj, figures.Figure) and "image/png" not in data:
        from .figures import png

        _add(data, metadata, "image/png", lambda: png(obj))
    if "text/plain" not in data:
        data["text/plain"] = plain(obj)
    if include:
        data = {mime: part for mime, part in data.items() if mime in include}
    if exclude:
        data = {mime: part for mime, part in data.items() if mime not in exclude}
    return data, metadata


def _method(obj: Any, name: str) -> Any:
    """Find a display method; classes and objects that answer to every name have none."""
    if isinstance(obj, type):
        return None
    try:
        if getattr(obj, _CANARY, None) is not None:
            return None
        found = getattr(obj, name, None)
    except Exception:  # noqa: BLE001  whatever __getattr__ does
        return None
    return found if callable(found) else None


def _add(data: dict[str, Any], metadata: dict[str, Any], mime: str, method: Any) -> None:
    if method is None:
        return
    try:
        found = method()
    except NotImplementedError:
        return
    except Exception as error:  # noqa: BLE001
        _complain(error)
        return
    if isinstance(found, tuple) and len(found) == 2 and isinstance(found[1], dict):
        found, metadata[mime] = found
    if found is not None:
        data[mime] = found


def _complain(error: BaseException) -> None:
    import traceback

    traceback.print_exception(type(error), error, error.__traceback__)


def plain(obj: Any) -> str:
    """Give the text of an object, near to how IPython prints it."""
    try:
        if isinstance(obj, type) and type(obj).__repr__ is type.__repr__:
            module = obj.__module__
            return obj.__qualname__ if module in ("builtins", "exceptions") else module + "." + obj.__qualname__
        if type(obj).__name__ == "function" and callable(obj):
            return _function(obj)
        text = repr(obj)
        if getattr(type(obj), "__repr__", None) in _STANDARD_REPRS:
            text = re.sub(r" object at (0x[0-9a-f]+>)", r" at \1", text)  # IPython's way
        if type(obj) in (list, tuple, dict, set, frozenset) and len(text) > _LINE:
            return _long(obj, text)
    except Exception as error:  # noqa: BLE001
        _complain(error)
        return object.__repr__(obj)
    return text


def _function(obj: Any) -> str:
    import inspect

    try:
        return f"<function {obj.__module__}.{obj.__qualname__}{inspect.signature(obj)}>"
    except ValueError:
        return repr(obj)


def _long(obj: Any, text: str) -> str:
    if len(obj) > _PLAIN_LIMIT:
        import itertools

        some = list(itertools.islice(obj.items() if isinstance(obj, dict) else obj, _PLAIN_LIMIT))
        shown = _long(dict(some) if isinstance(obj, dict) else type(obj)(some), "")
        return shown[:-1] + ",\n ..." + shown[-1:]
    import pprint

    keep_order = {} if sys.version_info < (3, 8) else {"sort_dicts": False}
    return pprint.pformat(obj, width=_LINE, **keep_order)


# --- bundles to the stream -------------------------------------------------------------------------------------------


def _new_id() -> str:
    import os

    return binascii.hexlify(os.urandom(16)).decode("ascii")


def _write(kind: str, data: Any, metadata: dict[str, Any], handle: DisplayHandle | None) -> None:
    if not isinstance(data, dict):
        raise TypeError(f"display data must be a dict of mime type to content, not {type(data).__name__}")
    record: dict[str, Any] = {"type": kind, "data": {mime: _content(part) for mime, part in data.items()}}
    if metadata:
        record["metadata"] = metadata
    if handle is not None:
        record["display_id"] = handle.display_id
    _record(record)


def _content(part: Any) -> Any:
    """Give what stands in a bundle: binary content in base64, as in a notebook."""
    if isinstance(part, (bytes, bytearray, memoryview)):
        return binascii.b2a_base64(bytes(part), newline=False).decode("ascii")
    return part


def _record(record: dict[str, Any]) -> None:
    """Write a record where the output stands now."""
    global _written, _count
    job = context.current
    if job is None:
        print(record.get("data", {}).get("text/plain", ""))
        return
    text = json.dumps(record, separators=(",", ":"), default=repr).encode("ascii")
    if _written + len(text) > int(job.spec.get("display_limit") or BUDGET) and "data" in record:
        text = _beyond(job, record, text)
    _written += len(text)
    _count += 1
    import os

    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()  # the user's code may have put a buffering one there
        except (AttributeError, OSError, ValueError):
            continue  # or none, or a closed one
    identity = f"{os.getpid()}.{_count}"
    try:
        for line in display_lines(job.spec["nonce"], identity, text, min(LINE_LIMIT, select.PIPE_BUF)):
            job.write_log(line)
    except OSError:
        # The code has closed the pipe under us; what it calls its standard output is all there is.
        print(record.get("data", {}).get("text/plain", ""))


def _beyond(job: context.Context, record: dict[str, Any], text: bytes) -> bytes:
    """Shorten a record that is too much for the stream: its text, and an artifact with all of it."""
    digest = sha256(text).hexdigest()
    text_plain = str(record["data"].get("text/plain", ""))[:2000]
    short = dict(record, data={"text/plain": text_plain + "\n[more rich output than a job may show: only its text]"})
    try:
        job.save(digest, text, leave=0.5)  # the value of the job matters more
        short["artifact"] = {"sha256": digest, "size": len(text)}
    except OSError:
        pass  # no place for it: the text has to do
    short.pop("metadata", None)
    return json.dumps(short, separators=(",", ":")).encode("ascii")
