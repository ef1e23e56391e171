"""The parts of a pack, and the checks that come before anything is unpickled."""

from __future__ import annotations

import json
import sys

from .digest import sha256

TYPE_CHECKING = False
if TYPE_CHECKING:  # importing typing costs a job 3 ms
    from collections.abc import Mapping
    from typing import Any

    Buffer = bytes | bytearray | memoryview

FORMAT = "konduktor-pack"
VERSION = 1
PYTHON = ".".join(map(str, sys.version_info[:2]))


class CodecError(Exception):
    """Bytes that must not be unpickled.

    ``kind`` is ``"format"``, ``"integrity"`` or ``"version"``; ``"store"`` if they could not even be fetched.
    ``digest`` is the SHA-256 by which an object was asked for that turned out to be another one; empty if none was.
    """

    def __init__(self, kind: str, message: str, digest: str = "") -> None:
        super().__init__(kind, message, digest)
        self.kind = kind
        self.message = message
        self.digest = digest

    def __str__(self) -> str:
        return self.message


class FrameError(Exception):
    """A value that cannot be pickled.

    Attributes
    ----------
    name : str
        The name it was to travel under.
    via : str or None
        The name whose function or class refers to it, when it was not asked for itself.
    cause : BaseException
    """

    def __init__(self, name: str, via: str | None, cause: BaseException) -> None:
        super().__init__(name, via, cause)
        self.name = name
        self.via = via
        self.cause = cause

    def __str__(self) -> str:
        return f"{self.name}: {type(self.cause).__name__}: {self.cause}"


class Frame:
    """One name in a pack.

    Attributes
    ----------
    name : str
    type : str
        Qualified name of the value's type.
    size : int
        Bytes, out-of-band buffers included.
    via : str or None
        The name through which a notebook function or class reaches this one; None for what was asked for.
    how : str
        ``"value"``, ``"source"`` (a function or class of the notebook) or ``"name"`` (an importable object).
    end : int
        Where its bytes end in the stream.
    """

    __slots__ = ("end", "how", "name", "size", "type", "via")

    def __init__(self, name: str, type: str, size: int, via: str | None, how: str, end: int) -> None:  # noqa: A002
        self.name = name
        self.type = type
        self.size = size
        self.via = via
        self.how = how
        self.end = end

    def to_json(self) -> dict[str, Any]:
        """Give the frame as it stands in the header."""
        return {slot: getattr(self, slot) for slot in ("name", "type", "size", "via", "how", "end")}


class Pack:
    """The bytes of some named values.

    Attributes
    ----------
    header : dict
    data : bytes
        Header line and stream.
    buffers : dict of str to memoryview
        Out-of-band buffers by their SHA-256; they refer to the live objects.
    frames : list of Frame
    failed : dict of str to Exception
        What was left out, if ``best_effort`` was asked for.
    modules : set of str
        Modules that are needed to load it.
    """

    __slots__ = ("buffers", "data", "failed", "frames", "header", "modules")

    def __init__(
        self,
        header: dict[str, Any],
        data: bytes,
        buffers: dict[str, memoryview],
        frames: list[Frame],
        failed: dict[str, BaseException],
        modules: set[str],
    ) -> None:
        self.header = header
        self.data = data
        self.buffers = buffers
        self.frames = frames
        self.failed = failed
        self.modules = modules

    @property
    def sha256(self) -> str:
        """Digest of `data`; the digests of the buffers stand in it."""
        return str(sha256(self.data).hexdigest())

    @property
    def size(self) -> int:
        """All bytes, the buffers included."""
        return len(self.data) + sum(b.nbytes for b in self.buffers.values())


class Loaded:
    """The values of a pack.

    Attributes
    ----------
    header : dict
    values : dict of str to object
        What was asked for when it was dumped.
    indirect : dict of str to object
        What functions and classes among the values refer to.
    notes : list of str
        One line each for what is not quite as it was (package versions, devices).
    """

    __slots__ = ("header", "indirect", "notes", "values")

    def __init__(
        self, header: dict[str, Any], values: dict[str, Any], indirect: dict[str, Any], notes: list[str]
    ) -> None:
        self.header = header
        self.values = values
        self.indirect = indirect
        self.notes = notes


def read_header(data: Buffer) -> dict[str, Any]:
    """Check a pack without unpickling any of it, and give its header.

    Raises
    ------
    CodecError
        If the format is not ours or newer, a length is wrong or a digest does not match.
    """
    view = memoryview(data)
    line = bytes(view[: 1 << 16])
    end = line.find(b"\n")
    if end < 0:
        line = bytes(view)
        end = line.find(b"\n")
    try:
        header = json.loads(line[:end].decode("ascii")) if end >= 0 else None
    except ValueError:
        header = None
    if not isinstance(header, dict) or header.get("format") != FORMAT:
        raise CodecError("format", f"these bytes are no {FORMAT}")
    if header.get("v") != VERSION:
        raise CodecError("version", "the pack has format {}, this side reads {}".format(header.get("v"), VERSION))
    stream = view[end + 1 :]
    if stream.nbytes != header["length"]:
        message = "the pack holds {} bytes, its header says {}".format(stream.nbytes, header["length"])
        raise CodecError("integrity", message)
    if sha256(stream).hexdigest() != header["sha256"]:
        raise CodecError("integrity", "the pack's bytes do not have the digest its header names")
    return dict(header, _start=end + 1)


def check_versions(header: Mapping[str, Any]) -> list[str]:
    """Compare the versions a pack was made with to those here, before anything is unpickled.

    Returns
    -------
    list of str
        A note for each package that differs in its minor version.

    Raises
    ------
    CodecError
        If code objects of another Python travel, if cloudpickle is another, or if a package is missing or differs in
        its major version.
    """
    if header["code"] and header["python"] != PYTHON:
        raise CodecError(
            "version",
            "code objects pickled by Python {} cannot be loaded by Python {} ({}, {})".format(
                header["python"], PYTHON, sys.version.split()[0], sys.executable
            ),
        )
    notes = []
    for package, there in sorted(header["packages"].items()):
        try:
            module = __import__(package)
        except ImportError as error:
            message = f"{package} {there} is needed and cannot be imported here: {error}"
            raise CodecError("version", message) from None
        here = getattr(module, "__version__", there)
        if here != there:
            difference = f"{package} is {here} here and {there} where it was pickled"
            if str(here).partition(".")[0] != there.partition(".")[0]:
                raise CodecError("version", difference)
            notes.append(difference)
    if header["cloudpickle"]:
        import cloudpickle

        here, there = cloudpickle.__version__, header["cloudpickle"]
        if here.split(".")[:2] != there.split(".")[:2]:
            raise CodecError("version", f"cloudpickle is {here} here and {there} where it was pickled")
    return notes
