"""Unpacks a folder that was sent with a job, and refuses one that would write anywhere else.

An index in JSON says what stands where; the spec names its SHA-256, and it names those of all objects::

    {"objects":[["e3b0...",98304],...],"files":[["src/train.py",0,0,4096,1187],...],"links":[["data","../in"],...]}

Of a file it tells the path, whether it is executable, the object that its bytes are in, where they begin there, and how
many they are.

spec keys read here    workdir, job_dir
"""

from __future__ import annotations

import json
import os
import shutil
import unicodedata

from .digest import sha256
from .pack import CodecError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Collection
    from typing import Any

MAX_ENTRIES = 100_000
MAX_BYTES = 1 << 40

_BLOCK = 1 << 20


def extract(index: Any, digest: str, folder: str, find: Callable[[str], Any]) -> None:
    """Unpack a folder, all of it or nothing.

    Parameters
    ----------
    index : bytes-like
    digest : str
        Its SHA-256.
    folder : str
        Where to; what an attempt before this one has left there stays.
    find : callable
        Gives an object by its SHA-256: bytes, or the path of a file.

    Raises
    ------
    CodecError
        If anything of it is not what its digest says, or unsafe; nothing is left of it then.
    """
    if sha256(index).hexdigest() != digest:
        raise CodecError("integrity", "the index of the working directory does not have the SHA-256 that the job names")
    if os.path.isdir(folder):
        return
    found = _read(bytes(index))
    temporary = f"{folder}.{os.getpid()}.part"
    try:
        os.makedirs(temporary, mode=0o700)
        by_object: dict[int, list[Any]] = {}
        for entry in found["files"]:
            by_object.setdefault(entry[2], []).append(entry)
        for number, (name, size) in enumerate(found["objects"]):
            _write(temporary, by_object.get(number, []), name, size, find(name))
        for path, target in found["links"]:  # last: no file is written through one
            place = _place(temporary, path)
            os.symlink(target, place)
        try:
            os.rename(temporary, folder)
        except OSError:
            if not os.path.isdir(folder):
                raise
            shutil.rmtree(temporary)  # another process of this node was faster
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise


def _read(data: bytes) -> dict[str, Any]:
    """Read an index, and refuse it unless every entry is within the folder, under a name of its own."""
    try:
        found = json.loads(data.decode("ascii"))
        objects, files, links = found["objects"], found["files"], found["links"]
        sizes = [int(size) for _, size in objects]
        if len(files) + len(links) > MAX_ENTRIES or sum(sizes) > MAX_BYTES:
            raise _unsafe(f"it has {len(files) + len(links)} entries of {sum(sizes)} bytes")
        kinds: dict[str, tuple[str, bool]] = {}
        for path, _, number, offset, size in files:
            _refuse(name_fault(path, kinds))
            if not 0 <= number < len(objects) or offset < 0 or size < 0 or offset + size > sizes[number]:
                raise _unsafe(f"{path!r} lies outside of what was sent")
        for path, _ in links:
            _refuse(name_fault(path, kinds))
        places = {folded(path) for path, _ in links}
        for path, target in links:
            _refuse(link_fault(path, target, places))
        if len({entry[0] for entry in (*files, *links)}) != len(files) + len(links):
            raise _unsafe("it has two entries of one name")
    except (AttributeError, KeyError, TypeError, ValueError, RecursionError) as error:
        raise _unsafe(f"its index cannot be read ({error})") from None
    return dict(found)


def name_fault(path: str, kinds: dict[str, tuple[str, bool]]) -> str:
    """Say why an entry may not have a name: it would lie elsewhere, or take the place of another on some systems.

    Parameters
    ----------
    path : str
    kinds : dict
        What is known of the entries before it, by their folded paths: path, and whether it is a folder. The path and
        its folders are added.

    Returns
    -------
    str
        Empty if it may.
    """
    parts = path.split("/")
    if any(part in ("", ".", "..") or part[1:2] == ":" for part in parts) or "\0" in path or "\\" in path:
        return f"it has an entry with the unsafe name {path!r}"
    for end in range(1, len(parts) + 1):
        here = "/".join(parts[:end])
        known, is_folder = kinds.setdefault(folded(here), (here, end < len(parts)))
        if known != here:
            return f"{known!r} and {here!r} are one on some systems"
        if is_folder is not (end < len(parts)):
            return f"{path!r} lies below an entry that is no folder, or is one"
    return ""


def link_fault(path: str, target: str, links: Collection[str]) -> str:
    """Say why a link may not point where it does; empty if it may.

    Parameters
    ----------
    path, target : str
    links : collection of str
        The folded paths of all links.
    """
    if os.path.isabs(target) or "\0" in target or "\\" in target:
        return f"{path!r} is a link out of it"
    place, followed = path.split("/")[:-1], False
    for part in target.split("/"):
        if part == "..":
            if not place:
                return f"{path!r} is a link out of it"
            if followed:
                # Up from where that link leads, which its name does not tell.
                return f"{path!r} is a link that goes up from another link"
            place.pop()
        elif part not in ("", "."):
            place.append(part)
            followed = followed or folded("/".join(place)) in links
    return ""


def folded(path: str) -> str:
    """Give what two paths have in common that are one where case or composition does not count."""
    return path.casefold() if path.isascii() else unicodedata.normalize("NFC", path).casefold()


def _refuse(fault: str) -> None:
    if fault:
        raise _unsafe(fault)


def _unsafe(said: str) -> CodecError:
    return CodecError("integrity", f"the working directory is refused: {said}")


def _write(folder: str, files: list[Any], name: str, size: int, source: Any) -> None:
    """Write the files of one object, once it is known to be what its digest says."""
    if isinstance(source, str):
        with open(source, "rb") as file:
            _check(name, size, os.fstat(file.fileno()).st_size, iter(lambda: file.read(_BLOCK), b""))
            for path, executable, _, offset, length in files:
                file.seek(offset)
                with _new(folder, path, executable) as target:
                    _copy(file, target, length)
        return
    view = memoryview(source)
    _check(name, size, view.nbytes, [view])
    for path, executable, _, offset, length in files:
        with _new(folder, path, executable) as target:
            target.write(view[offset : offset + length])


def _check(name: str, size: int, found: int, blocks: Any) -> None:
    digest = sha256()
    for block in blocks:
        digest.update(block)
    if found != size or digest.hexdigest() != name:
        said = "a part of the working directory does not have the SHA-256 that the job names"
        raise CodecError("integrity", said, name)


def _copy(source: Any, target: Any, length: int) -> None:
    while length:
        block = source.read(min(length, _BLOCK))
        target.write(block)
        length -= len(block)


def _new(folder: str, path: str, executable: int) -> Any:
    """Open a file that is not there yet."""
    place = _place(folder, path)
    fd = os.open(
        place, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o755 if executable else 0o644
    )
    return os.fdopen(fd, "wb")


def _place(folder: str, path: str) -> str:
    place = os.path.join(folder, *path.split("/"))
    os.makedirs(os.path.dirname(place), exist_ok=True)
    return place
