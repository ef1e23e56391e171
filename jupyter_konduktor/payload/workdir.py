"""A folder of this machine as a job is sent it: what stands in it, and the bytes of its files by their SHA-256.

A file of `UNIT` bytes or more is an object of its own, smaller ones lie together in objects of about that size, in the
order of their paths. Where one ends is decided by the paths, so a file that is changed, added or removed changes one
object and no other: what was sent before need not be sent again, nor be read. What was read once is known by size, time
and inode, as git knows it.
"""

from __future__ import annotations

import hashlib
import json
import mmap
import os
import stat
import time
import zlib
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from jupyter_konduktor.errors import InputTooLargeError, InvalidTaskError, PayloadError
from jupyter_konduktor.runner.workdir import folded, link_fault, name_fault

from .ignored import Ignored
from .limits import size_text
from .piece import Piece
from .scan import check_secrets

UNIT = 1 << 20
"""Bytes from which on a file is an object of its own, unless there would be too many of them."""

OBJECTS = 200
"""Objects that a folder may become."""

MAX_FILES = 100_000
"""Files and links that a folder may have."""

_RACY = 2 * 10**9  # nanoseconds in which a file may change once more without another time
_MAPPED = 16 << 20  # bytes from which on a file is not read into memory
_SPREAD = 4  # one path of so many ends an object of small files that is large enough


@dataclass(frozen=True, slots=True)
class File:
    """A file as it was found.

    Attributes
    ----------
    path : str
        Below the folder, with slashes.
    size : int
        Bytes.
    mtime, inode : int
        Tell whether it has changed since; the time is in nanoseconds.
    executable : bool
    """

    path: str
    size: int
    mtime: int
    inode: int
    executable: bool


@dataclass(frozen=True, slots=True)
class Survey:
    """What of a folder is to be sent.

    Attributes
    ----------
    root : Path
    files : tuple of File
        In the order of their paths.
    links : mapping of str to str
        Symbolic links within the folder, and where they point.
    """

    root: Path
    files: tuple[File, ...]
    links: Mapping[str, str]

    @property
    def size(self) -> int:
        """Bytes of all files."""
        return sum(file.size for file in self.files)

    def __str__(self) -> str:
        count = f"{len(self.files):,} file{'' if len(self.files) == 1 else 's'}"
        return f"{count}, {size_text(self.size)}"


@dataclass(frozen=True, slots=True)
class Workdir:
    """A folder that is ready to be sent.

    Attributes
    ----------
    sha256 : str
        Of its index, which names all else by digest.
    objects : dict of str to Piece
        The index among them.
    """

    sha256: str
    objects: dict[str, Piece] = field(repr=False)

    @property
    def size(self) -> int:
        """Bytes of all objects."""
        return sum(piece.nbytes for piece in self.objects.values())


# --- what there is


def survey(folder: str, *, limit: int) -> Survey:
    """Find what of a folder is to be sent; nothing is read yet.

    Parameters
    ----------
    folder : str
    limit : int
        Bytes that all files may have.

    Raises
    ------
    InvalidTaskError
        If there is no such folder, or something in it cannot be sent.
    InputTooLargeError
        If it is too large; names the largest files.
    """
    root = Path(folder).expanduser().absolute()
    if not root.is_dir():
        raise _refused(folder, "there is no such directory on this machine")
    files: list[File] = []
    links: dict[str, str] = {}
    for entry in _walk(str(root), Ignored.of(root)):
        path = entry.path[len(str(root)) :].lstrip(os.sep).replace(os.sep, "/")
        found = entry.stat(follow_symlinks=False)
        if stat.S_ISLNK(found.st_mode):
            links[path] = _target(root, path)
        elif stat.S_ISREG(found.st_mode):
            if not os.access(entry.path, os.R_OK):
                raise _refused(folder, f"you may not read {path}", "Leave it out: name it in .konduktorignore.")
            executable = bool(found.st_mode & stat.S_IXUSR)
            files.append(File(path, found.st_size, found.st_mtime_ns, found.st_ino, executable))
        if len(files) + len(links) > MAX_FILES:
            raise _refused(folder, f"it has more than {MAX_FILES:,} files", _LEAVE_OUT)
    files.sort(key=lambda file: file.path)
    made = Survey(root, tuple(files), dict(sorted(links.items())))
    _check_received(folder, made)
    if made.size > limit:
        largest = sorted(files, key=lambda file: file.size, reverse=True)[:3]
        named = ", ".join(f"{file.path} ({size_text(file.size)})" for file in largest)
        raise InputTooLargeError(
            f"workdir: {root} has {made}; the limit (max_workdir) is {size_text(limit)}. The largest: {named}",
            advice=_LEAVE_OUT,
            variable="workdir",
        )
    return made


_LEAVE_OUT = "What the job does not need is left out by .gitignore and .konduktorignore."


def _walk(folder: str, ignored: Ignored) -> Iterator[os.DirEntry[str]]:
    try:
        entries = list(os.scandir(folder))
    except OSError as error:
        said = f"{folder} cannot be read: {error.strerror}"
        raise InvalidTaskError(
            f"workdir: {said}", advice="Leave it out: name it in .konduktorignore.", field="workdir"
        ) from None
    for entry in entries:
        is_folder = entry.is_dir(follow_symlinks=False)
        if ignored.leaves_out(entry, folder=is_folder):
            continue
        if is_folder:
            yield from _walk(entry.path, ignored.below(entry.path))
        else:
            yield entry


def _target(root: Path, path: str) -> str:
    """Give where a link points; a link out of the folder would be another thing, or nothing, where the job runs."""
    target = str((root / path).readlink())
    place = PurePosixPath(os.path.normpath(PurePosixPath(path).parent / target))
    if target.startswith("/") or place.parts[:1] == ("..",):
        raise _refused(
            str(root),
            f"{path} is a link out of it, to {target}",
            "Put what it points to into the folder, or name the link in .konduktorignore.",
        )
    return target


def _check_received(folder: str, found: Survey) -> None:
    """Refuse what the job would refuse to unpack, before anything waits in a queue."""
    kinds: dict[str, tuple[str, bool]] = {}
    for path in (*(file.path for file in found.files), *found.links):
        if fault := name_fault(path, kinds):
            raise _refused(folder, fault, "Rename it, or leave it out: name it in .konduktorignore.")
    links = {folded(path) for path in found.links}
    for path, target in found.links.items():
        if fault := link_fault(path, target, links):
            advice = "Let it point straight there, or leave it out: name it in .konduktorignore."
            raise _refused(folder, f"{fault}, to {target}", advice)


def _refused(folder: str, said: str, advice: str = "") -> InvalidTaskError:
    return InvalidTaskError(f"workdir={folder!r}: {said}", advice=advice, field="workdir", value=folder)


# --- what is sent


def prepare(found: Survey, *, cache: Path | None = None, secrets: Mapping[str, bytes] | None = None) -> Workdir:
    """Make the objects of a folder, reading only what is not known.

    Parameters
    ----------
    found : Survey
    cache : Path, optional
        File that keeps what is known of the folder.
    secrets : mapping of str to bytes, optional
        Values that may stand in no small file that is read.

    Raises
    ------
    PayloadError
        If a file changes as it is read.
    SecretFoundError
        If one of the secrets is in it.
    """
    known, learnt = _known(cache), {}
    settled = time.time_ns() - _RACY
    objects: dict[str, Piece] = {}
    places: list[list[Any]] = []  # of each file: path, executable, object, offset, size
    numbers: dict[str, int] = {}
    for group in _groups(found.files):
        key = _key(group)
        digest = known.get(key) or _digest(found.root, group, secrets or {})
        if all(file.mtime < settled for file in group):
            learnt[key] = digest
        objects[digest] = _piece(found.root, group, digest)
        number, offset = numbers.setdefault(digest, len(numbers)), 0
        for file in group:
            places.append([file.path, int(file.executable), number, offset, file.size])
            offset += file.size
    if cache is not None and learnt != known:
        _keep(cache, learnt)
    sizes = [[digest, objects[digest].nbytes] for digest in numbers]
    index = {"objects": sizes, "files": places, "links": [list(link) for link in found.links.items()]}
    data = json.dumps(index, separators=(",", ":")).encode("ascii")
    sha256 = hashlib.sha256(data).hexdigest()
    objects[sha256] = Piece.of(data)
    return Workdir(sha256, objects)


def _groups(files: Collection[File]) -> list[list[File]]:
    """Part the files into those of one object each."""
    unit = UNIT
    while True:
        groups = list(_cut(files, unit))
        if len(groups) <= OBJECTS:
            return groups
        unit *= 2


def _cut(files: Collection[File], unit: int) -> Iterator[list[File]]:
    group: list[File] = []
    size = 0
    for file in files:
        if file.size >= unit:
            yield [file]
            continue
        group.append(file)
        size += file.size
        ends = zlib.crc32(os.fsencode(file.path)) % _SPREAD == 0
        if (size >= unit and ends) or size >= _SPREAD * unit:
            yield group
            group, size = [], 0
    if group:
        yield group


def _key(group: list[File]) -> str:
    told = json.dumps([[file.path, file.size, file.mtime, file.inode] for file in group])
    return hashlib.sha256(told.encode("ascii")).hexdigest()[:32]


def _digest(root: Path, group: list[File], secrets: Mapping[str, bytes]) -> str:
    """Read files and give the SHA-256 of what they are together."""
    if len(group) == 1 and group[0].size >= _MAPPED:
        with (root / group[0].path).open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        _check_unchanged(root, group)
        return digest
    contents = [_content(root, file) for file in group]
    check_secrets(((f"the file {file.path}", [content]) for file, content in zip(group, contents)), secrets)
    return hashlib.sha256(b"".join(contents)).hexdigest()


def _piece(root: Path, group: list[File], digest: str) -> Piece:
    size = sum(file.size for file in group)

    def read() -> memoryview:
        data = b"".join(_content(root, file) for file in group)
        if hashlib.sha256(data).hexdigest() != digest:
            raise _changed(root / group[0].path)
        return memoryview(data)

    def read_mapped() -> memoryview:
        _check_unchanged(root, group)
        with (root / group[0].path).open("rb") as file:
            return memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))

    if size >= _MAPPED and len(group) == 1:
        return Piece(size, read_mapped, lambda: _check_unchanged(root, group))
    return Piece(size, read)


def _content(root: Path, file: File) -> bytes:
    try:
        data = (root / file.path).read_bytes()
    except OSError:
        raise _changed(root / file.path) from None
    if len(data) != file.size:
        raise _changed(root / file.path)
    return data


def _check_unchanged(root: Path, group: list[File]) -> None:
    for file in group:
        try:
            found = (root / file.path).stat()
        except OSError:
            raise _changed(root / file.path) from None
        if (found.st_size, found.st_mtime_ns, found.st_ino) != (file.size, file.mtime, file.inode):
            raise _changed(root / file.path)


def _changed(path: Path) -> PayloadError:
    return PayloadError(
        f"workdir: {path} has changed as it was sent",
        advice="Submit again once nothing writes to it, or leave it out: name it in .konduktorignore.",
        variable="workdir",
    )


def _known(cache: Path | None) -> dict[str, str]:
    """Read what is known of a folder; of a file that cannot be read nothing is."""
    try:
        found = json.loads(cache.read_bytes()) if cache is not None else {}
        return {str(key): str(digest) for key, digest in found.items()}
    except (OSError, ValueError, AttributeError):
        return {}


def _keep(cache: Path, known: Mapping[str, str]) -> None:
    temporary = cache.with_name(f"{cache.name}.{os.getpid()}.part")
    try:
        cache.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        temporary.write_text(json.dumps(known))
        temporary.replace(cache)
    except OSError:
        temporary.unlink(missing_ok=True)  # a full disk makes the next submit slower, and nothing else
