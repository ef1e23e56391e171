"""Removing finished jobs that are old or too large together, and files that belong to no job."""

from __future__ import annotations

import json
import os
import shutil
import time
from collections import Counter
from pathlib import Path

from jupyter_konduktor.backends.local.store import FINAL, Store

GRACE = 3600.0
"""Seconds for which files without a row are left alone: their job may be about to get it."""

INTERVAL = 6 * 3600.0
"""Seconds between two collections that nobody asked for."""


def is_due(store: Store) -> bool:
    """Whether the last collection was long ago."""
    row = store.row("SELECT value FROM facts WHERE key = 'collected'")
    return row is None or abs(time.time() - row[0]) > INTERVAL


def collect(store: Store, *, keep_days: float, keep_bytes: int, dry_run: bool = False) -> tuple[int, int]:
    """Remove finished jobs beyond the retention, then what is left of none.

    Parameters
    ----------
    store : Store
    keep_days : float
        Days after its end for which a job is kept.
    keep_bytes : int
        Bytes that all finished jobs may take together; the oldest go first.
    dry_run : bool, default False

    Returns
    -------
    jobs, bytes : int
        What was removed, or would be.
    """
    before = time.time() - keep_days * 86400
    chosen, size = _choose(store, before, keep_bytes)
    if dry_run:
        return len(chosen), size + sum(_size(path) for path in (*_strays(store), *_unused_packages(store, before)))
    trash: list[Path] = []
    with store.transaction():
        for name in chosen:
            store.connection.execute(f"DELETE FROM jobs WHERE name = ? AND state IN {FINAL}", (name,))  # noqa: S608
        store.connection.execute("INSERT OR REPLACE INTO facts VALUES ('collected', ?)", (time.time(),))
        # While this has the lock no job gets its row. A large tree takes long to delete, so it is only put aside now.
        for path in (*_strays(store, just_deleted=set(chosen)), *_unused_packages(store, before)):
            aside = Path(store.layout.jobs) / f".trash-{os.getpid()}-{len(trash)}"
            path.rename(aside)
            trash.append(aside)
    removed = 0
    for path in trash:
        removed += _size(path)
        _remove(path)
    return len(chosen), removed


def _choose(store: Store, before: float, keep_bytes: int) -> tuple[list[str], int]:
    """Choose the jobs to remove, oldest first; gives their names and how many bytes that frees."""
    query = f"""SELECT name, state, objects, (SELECT max(time) FROM history WHERE job = jobs.seq) AS ended
        FROM jobs ORDER BY state IN {FINAL} DESC, ended"""  # noqa: S608
    rows = store.rows(query)
    users = Counter(sha256 for row in rows for sha256 in set(row["objects"].split()))
    objects = {sha256: _size(Path(store.layout.object(sha256))) for sha256 in users}
    sizes = {row["name"]: _size(Path(store.layout.job(row["name"]))) for row in rows}
    total = sum(objects.values()) + sum(sizes.values())
    chosen, freed = [], 0
    for row in rows:
        if row["state"] not in FINAL or ((row["ended"] or 0) >= before and total - freed <= keep_bytes):
            break
        chosen.append(row["name"])
        freed += sizes[row["name"]]
        for sha256 in set(row["objects"].split()):
            users[sha256] -= 1
            freed += objects[sha256] if users[sha256] == 0 else 0
    return chosen, freed


def _strays(store: Store, just_deleted: set[str] | None = None) -> list[Path]:
    """Find what lies in the root and belongs to no job."""
    names, used = set(), set()
    for row in store.rows("SELECT name, objects FROM jobs"):
        names.add(row["name"])
        used.update(row["objects"].split())
    old = time.time() - GRACE
    folders = [p for p in Path(store.layout.jobs).iterdir() if p.name not in names]
    objects = [p for p in Path(store.layout.objects).glob("*/*") if p.name not in used]
    just_deleted = just_deleted or set()
    return [p for p in (*folders, *objects) if p.name in just_deleted or _changed(p) < old]


def _unused_packages(store: Store, before: float) -> list[Path]:
    """Find the packages that no job has used since then; none while a job that has any may still load them."""
    rows = store.rows(f"SELECT spec FROM jobs WHERE state NOT IN {FINAL}")  # noqa: S608
    if any(json.loads(row["spec"]).get("packages") for row in rows):
        return []
    used = {path.stem for path in Path(store.layout.packages).glob("*.done") if _changed(path) >= before}
    return [path for path in Path(store.layout.packages).glob("*") if path.name.partition(".")[0] not in used]


def _changed(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except FileNotFoundError:
        return float("inf")  # someone else removed it


def _size(path: Path) -> int:
    """Count the bytes of a file, or of all files under a directory."""
    if not path.is_dir():
        return path.stat().st_size if path.exists() else 0
    return sum((Path(folder) / file).lstat().st_size for folder, _, files in os.walk(path) for file in files)


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)
