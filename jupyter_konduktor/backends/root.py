"""A directory of this user's on this machine, and whether jobs can be kept there."""

from __future__ import annotations

import os
import stat
import sys
import tempfile
from collections.abc import Collection
from pathlib import Path

import psutil

from jupyter_konduktor.backends.files import PRIVATE_DIR
from jupyter_konduktor.errors import StoreError

NETWORK = frozenset(
    (
        *("9p", "afpfs", "afs", "beegfs", "ceph", "cifs", "fuse.glusterfs", "fuse.sshfs", "glusterfs", "gpfs"),
        *("lustre", "nfs", "nfs3", "nfs4", "ocfs2", "prl_fs", "smb2", "smb3", "smbfs", "vboxsf", "virtiofs"),
        *("webdav", "wekafs"),
    )
)
"""File systems on which locks do not hold, or other machines see the same files."""


def default_root() -> Path:
    """Give the directory that is used unless the settings name one."""
    from jupyter_core.paths import jupyter_data_dir  # 30 ms

    return Path(jupyter_data_dir()) / "konduktor"


def open_directory(root: Path, *, advice: str, network: Collection[str] = NETWORK) -> tuple[Path, list[str]]:
    """Make a private directory, or one on this machine if the path lies on a network.

    Parameters
    ----------
    root : Path
    advice : str
        What to do if it cannot be used.
    network : collection of str
        The types of file systems that count as a network's.

    Returns
    -------
    root : Path
        Absolute.
    notes : list of str
        One line for the person, if the jobs are kept somewhere else.

    Raises
    ------
    StoreError
        If the path is no directory, is another user's, or cannot be written.
    """
    root = Path(os.path.abspath(root.expanduser()))  # noqa: PTH100  (resolve() would follow links that the user made)
    kind = filesystem(root)
    notes = []
    if kind in network:
        elsewhere = local_root()
        notes.append(
            f"{root} is on a network file system ({kind}), where locks do not hold: jobs are kept in {elsewhere}"
        )
        root = elsewhere
    make_private(root, advice=advice)
    return root, notes


def local_root() -> Path:
    """Give a directory of this user that is on this machine wherever the home directory is."""
    base = Path("/var/tmp")  # noqa: S108  (kept over a restart; what lies in it is checked to be ours alone)
    if not (base.is_dir() and os.access(base, os.W_OK)) or sys.platform != "linux":
        base = Path(tempfile.gettempdir())
    return base / f"konduktor-{os.geteuid()}"


def filesystem(path: Path) -> str:
    """Give the type of the file system that a path is on or would be on."""
    while not path.exists() and path != path.parent:
        path = path.parent
    path = path.resolve()
    best, kind = -1, ""
    for mount in psutil.disk_partitions(all=True):
        # Of two mounts at one point the later one covers the other.
        if len(mount.mountpoint) >= best and path.is_relative_to(mount.mountpoint):
            best, kind = len(mount.mountpoint), mount.fstype
    return kind


def make_private(folder: Path, *, advice: str) -> None:
    """Make a directory, with those above it, that only this user can look into; raises `StoreError` if it cannot be."""
    try:
        folder.mkdir(mode=PRIVATE_DIR, parents=True, exist_ok=True)
        status = folder.stat()
    except FileExistsError:
        raise StoreError(f"{folder} is a file, and jobs are to be kept in a directory there", advice=advice) from None
    except NotADirectoryError:
        raise StoreError(f"{folder} cannot be made: a file stands in its path", advice=advice) from None
    except OSError as error:
        raise StoreError(f"{folder} cannot be made: {error.strerror}", advice=advice) from error
    if status.st_uid != os.geteuid():
        raise StoreError(f"{folder} belongs to another user (uid {status.st_uid})", advice=advice)
    if stat.S_IMODE(status.st_mode) != PRIVATE_DIR:
        try:
            folder.chmod(PRIVATE_DIR)
        except OSError as error:
            raise StoreError(f"{folder} cannot be made private: {error.strerror}", advice=advice) from error
    if not os.access(folder, os.W_OK | os.X_OK):
        raise StoreError(f"{folder} cannot be written", advice=advice)
