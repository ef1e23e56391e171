"""Unpacks the source files of the user's own modules, and refuses archives that would write anywhere else."""

from __future__ import annotations

import io
import os
import shutil
import stat
import unicodedata
import zipfile

from .digest import sha256

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .pack import Buffer

MAX_ENTRIES = 20_000
MAX_BYTES = 512 << 20


class ArchiveError(Exception):
    """An archive that is not unpacked."""


def extract(data: Buffer, digest: str, job_dir: str) -> str:
    """Unpack an archive of modules, all of it or nothing.

    Parameters
    ----------
    data : bytes-like
        A zip file.
    digest : str
        Its SHA-256.
    job_dir : str

    Returns
    -------
    str
        The folder to import from.

    Raises
    ------
    ArchiveError
        If the archive is not what the digest says, or any entry is unsafe; nothing is left of it then.
    """
    if sha256(data).hexdigest() != digest:
        raise ArchiveError("the modules of the job do not have the SHA-256 that its payload names")
    folder = os.path.join(job_dir, "modules-" + digest[:16])
    if os.path.isdir(folder):
        return folder  # an attempt before this one, or another node, has unpacked it
    temporary = f"{folder}.{os.getpid()}.part"
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            entries = archive.infolist()
            check(entries)
            os.makedirs(temporary, mode=0o700)
            for entry in entries:
                _extract_one(archive, entry, temporary)
        try:
            os.rename(temporary, folder)
        except OSError:
            if not os.path.isdir(folder):
                raise
            shutil.rmtree(temporary)  # another node was faster
    except zipfile.BadZipFile as error:
        raise ArchiveError(f"the modules of the job are no zip file: {error}") from None
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise
    return folder


def check(entries: list[zipfile.ZipInfo]) -> None:
    """Refuse an archive with any entry that is not a plain file within it, under a name of its own."""
    if len(entries) > MAX_ENTRIES:
        raise ArchiveError(f"the archive has {len(entries)} entries, more than {MAX_ENTRIES}")
    if sum(entry.file_size for entry in entries) > MAX_BYTES:
        raise ArchiveError(f"the archive unpacks to more than {MAX_BYTES} bytes")
    kinds: dict[str, tuple[str, bool]] = {}  # folded path -> path, whether it is a folder
    for entry in entries:
        name = entry.orig_filename
        folder = name.endswith("/")
        parts = (name[:-1] if folder else name).split("/")
        if any(part in ("", ".", "..") for part in parts) or any(char in name for char in "\\\0:"):
            raise ArchiveError(f"the archive has an entry with the unsafe name {name!r}")
        kind = stat.S_IFMT(entry.external_attr >> 16)
        if kind not in (0, stat.S_IFDIR if folder else stat.S_IFREG):
            raise ArchiveError(f"the archive has an entry {name!r} that is neither file nor folder")
        for end in range(1, len(parts) + 1):
            path, is_folder = "/".join(parts[:end]), folder or end < len(parts)
            folded = unicodedata.normalize("NFC", path).casefold()
            known = kinds.setdefault(folded, (path, is_folder))
            if known != (path, is_folder):
                raise ArchiveError(f"the archive has two entries that are one on some systems: {name!r}")
    names = [entry.orig_filename for entry in entries]
    if len(set(names)) != len(names):
        raise ArchiveError("the archive has two entries of one name")


def _extract_one(archive: zipfile.ZipFile, entry: zipfile.ZipInfo, folder: str) -> None:
    path = os.path.join(folder, *entry.orig_filename.rstrip("/").split("/"))
    if entry.orig_filename.endswith("/"):
        os.makedirs(path, mode=0o700, exist_ok=True)
        return
    os.makedirs(os.path.dirname(path), mode=0o700, exist_ok=True)
    with archive.open(entry) as source, open(path, "xb") as target:
        # zipfile gives no more than the size it was declared with, and checks its CRC.
        shutil.copyfileobj(source, target)
