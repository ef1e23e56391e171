"""Values to bytes and back, in the kernel and in the job alike.

A *pack* is one line of JSON, the header, then one pickle stream with a frame for each name. All frames come from one
pickler and share its memo, so objects that two names share stay shared, while size and blame stay per name. Buffers of
64 KiB and more stand beside the stream, addressed by their SHA-256.

What differs from plain cloudpickle:

* Functions and classes of the notebook get *the main namespace* of wherever they are loaded as their globals. What they
  read from it travels as frames of their own (``via``), so that the namespace of the job looks like the kernel's.
* Loading never touches a class that exists: it is recognised by cloudpickle's tracker, or by its name and definition.
* Everything is checked before it is unpickled: format, Python minor (when code objects travel), lengths and digests.

This module runs on Python 3.8 with the standard library alone; cloudpickle is imported when a value needs it.
"""

from __future__ import annotations

import io
import json
import pickle
import sys

from .digest import of_buffers, sha256
from .names import Loading
from .pack import FORMAT, PYTHON, VERSION, CodecError, FrameError, Loaded, Pack, check_versions, read_header
from .pickler import CloudpickleNeededError, Dumper, how, type_name

TYPE_CHECKING = False
if TYPE_CHECKING:  # importing typing costs a job 3 ms
    from collections.abc import Callable, Container, Mapping
    from typing import Any

    from .pack import Buffer

__all__ = [
    "CodecError",
    "FrameError",
    "Loaded",
    "Pack",
    "dump",
    "fingerprint",
    "how",
    "load",
    "read_header",
    "refusal",
    "type_name",
    "with_meta",
]

OUT_OF_BAND = 64 * 1024
"""Buffers of this many bytes and more are kept out of the pickle stream."""


def dump(
    values: Mapping[str, Any],
    *,
    main: dict[str, Any] | None = None,
    meta: Mapping[str, Any] | None = None,
    best_effort: bool = False,
    follow: bool = True,
    skip: Container[str] = (),
    inband: int = OUT_OF_BAND,
) -> Pack:
    """Pickle named values into one pack.

    Parameters
    ----------
    values : mapping of str to object
        One frame each, in this order.
    main : dict, optional
        The namespace whose functions and classes get the main namespace of the other side.
    meta : mapping, optional
        JSON that goes into the header.
    best_effort : bool, default False
        Leave out what cannot be pickled (``pack.failed``) where otherwise `FrameError` is raised.
    follow : bool, default True
        Send what functions and classes of ``main`` refer to.
    skip : container of str, optional
        Names of ``main`` that are never followed.
    inband : int, default 65536
        Buffers of fewer bytes stay in the stream.

    Raises
    ------
    FrameError
        If a value cannot be pickled.
    """
    left = dict(values)
    failed: dict[str, BaseException] = {}
    skipped = {name for name in (main or ()) if name in skip}
    use_cloudpickle = hasattr(sys.modules.get("cloudpickle.cloudpickle"), "Pickler")  # an old one has none
    while True:
        dumper = Dumper(main, follow, skipped, use_cloudpickle, inband)
        try:
            dumper.run(left)
        except CloudpickleNeededError:
            use_cloudpickle = True
        except FrameError as error:
            if not use_cloudpickle:
                use_cloudpickle = True
            elif not best_effort:
                raise
            elif error.name in left:
                failed[error.name] = error.cause
                del left[error.name]
            else:
                failed[error.name] = error.cause
                skipped.add(error.name)
        else:
            return _finish(dumper, meta or {}, failed)
        finally:
            dumper.close()


def _finish(dumper: Dumper, meta: Mapping[str, Any], failed: dict[str, BaseException]) -> Pack:
    stream = dumper.stream.getvalue()
    digests = of_buffers(dumper.buffers)
    buffers = dict(zip(digests, dumper.buffers))
    uses_cloudpickle = b"cloudpickle.cloudpickle" in stream
    packages = _package_versions(dumper.modules)
    header = {
        "format": FORMAT,
        "v": VERSION,
        "python": PYTHON,
        "cloudpickle": packages.pop("cloudpickle", None) or _cloudpickle_version() if uses_cloudpickle else None,
        "code": dumper.code,
        "packages": packages,
        "length": len(stream),
        "sha256": sha256(stream).hexdigest(),
        "frames": [frame.to_json() for frame in dumper.frames],
        "buffers": [{"sha256": d, "size": b.nbytes} for d, b in zip(digests, dumper.buffers)],
        "meta": dict(meta),
    }
    return Pack(header, _line(header) + stream, buffers, dumper.frames, failed, dumper.modules)


def _line(header: dict[str, Any]) -> bytes:
    return json.dumps(header, separators=(",", ":")).encode("ascii") + b"\n"


def with_meta(pack: Pack, meta: Mapping[str, Any]) -> Pack:
    """Give a pack other ``meta``: what is known only once the values are pickled."""
    header = dict(pack.header, meta=dict(meta))
    stream = memoryview(pack.data)[pack.data.index(b"\n") + 1 :]
    return Pack(header, b"".join((_line(header), stream)), pack.buffers, pack.frames, pack.failed, pack.modules)


def refusal(value: Any, main: dict[str, Any] | None = None) -> BaseException | None:
    """Say why a value by itself cannot be pickled; None if it can. Nothing is digested and nothing kept."""
    dumper = Dumper(main, False, (), True, OUT_OF_BAND)
    try:
        dumper.add("", value, None)
    except FrameError as error:
        return error.cause
    finally:
        dumper.close()
    return None


def _cloudpickle_version() -> str:
    return str(sys.modules["cloudpickle"].__version__) if "cloudpickle" in sys.modules else "0"


def _package_versions(modules: set[str]) -> dict[str, str]:
    """Find the versions of the packages that modules belong to, as far as they tell it themselves."""
    versions = {}
    for root in {name.partition(".")[0] for name in modules}:
        version = getattr(sys.modules.get(root), "__version__", None)
        if isinstance(version, str) and root not in sys.builtin_module_names:
            versions[root] = version
    return dict(sorted(versions.items()))


def fingerprint(value: Any, main: dict[str, Any] | None = None) -> str | None:
    """Digest a value so that a change in place shows; None for what cannot be pickled.

    Two digests of an unchanged object agree within one process; across processes they need not.
    """
    try:
        pack = dump({"": value}, main=main, follow=False)
    except FrameError:
        return None
    return str(pack.header["sha256"]) + "".join(b["sha256"] for b in pack.header["buffers"])


def load(data: Buffer, fetch: Callable[[str, int], Buffer], main: dict[str, Any]) -> Loaded:
    """Check a pack and unpickle it.

    Parameters
    ----------
    data : bytes-like
        The pack.
    fetch : callable
        Gives the buffer of a digest (`digest.of_buffers`) and a size in bytes; it should be writable, and is checked
        here.
    main : dict
        The namespace that functions and classes of ``__main__`` get; it is not changed.

    Raises
    ------
    CodecError
        Before anything is unpickled, if a digest, a length or a version does not match.
    """
    header = read_header(data)
    notes = check_versions(header)
    buffers = [memoryview(fetch(entry["sha256"], entry["size"])) for entry in header["buffers"]]
    for entry, buffer, digest in zip(header["buffers"], buffers, of_buffers(buffers)):
        if buffer.nbytes != entry["size"] or digest != entry["sha256"]:
            message = "a buffer of {} bytes does not have its digest".format(entry["size"])
            raise CodecError("integrity", message, entry["sha256"])
    if "torch" in header["packages"]:
        from . import tensors  # noqa: F401  its functions are what the pickle names
    with Loading(main, notes):
        unpickler = pickle.Unpickler(io.BytesIO(memoryview(data)[header.pop("_start") :]), buffers=buffers)
        values: dict[str, Any] = {}
        indirect: dict[str, Any] = {}
        for frame in header["frames"]:
            (indirect if frame["via"] else values)[frame["name"]] = unpickler.load()
    return Loaded(header, values, indirect, notes)
