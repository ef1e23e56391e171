"""Packs what a cell gives back: strictly what ``--out`` names, or as much as possible of what it assigned."""

from __future__ import annotations

import json

from . import codec, envelope
from .context import OutputError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

    from .context import Context

LIMIT = 1 << 30
"""Bytes of an output that is brought back unasked."""

SET_ONE = 'set one (store = "s3://bucket/prefix" in [tool.konduktor])'
"""What to do where a job without a store brings back no more."""


def pack_outputs(
    job: Context,
    names: list[str],
    changed: list[str],
    left_out: dict[str, str],
    reported: bytes | envelope.Envelope | None,
) -> bytes | None:
    """Give the value of a cell's envelope.

    Parameters
    ----------
    job : Context
    names : list of str
        What to bring back.
    changed : list of str
        Those of them that were inputs and changed in place.
    left_out : dict
        What does not come back, with the reason; more is added here.
    reported : bytes or Envelope or None
        What the code has reported itself.

    Returns
    -------
    bytes or None
        None if there is nothing but what was reported.

    Raises
    ------
    OutputError
        If ``--out`` names what cannot be brought back.
    """
    out = job.meta["out"]
    if out["strict"]:
        pack = _strictly(job, names, _meta(job, changed, left_out, reported))
    else:
        pack = _best_effort(job, names, changed, left_out, reported)
    if reported is not None and not pack.frames and not left_out:
        return None
    return encode(job, pack)


def _strictly(job: Context, names: list[str], meta: dict[str, Any]) -> codec.Pack:
    missing = [name for name in names if name not in job.namespace]
    if missing:
        raise OutputError(f"--out names {_listed(missing)}, which the cell did not assign")
    try:
        pack = codec.dump({name: job.namespace[name] for name in names}, main=job.namespace, meta=meta)
        if missing_room(job, pack):
            raise OutputError(f"--out names what is too large: {too_large(job, pack)}")
        return pack
    except codec.FrameError as error:
        via = f" (through {error.via})" if error.via else ""
        said = f"{type(error.cause).__name__}: {error.cause}"
        raise OutputError(f"--out names {error.name}{via}, which cannot be pickled: {said}") from None
    except ModuleNotFoundError as error:
        raise OutputError(
            "--out names what only cloudpickle can pickle, and the job has none; --packages cloudpickle installs it"
        ) from error


def _best_effort(
    job: Context,
    names: list[str],
    changed: list[str],
    left_out: dict[str, str],
    reported: bytes | envelope.Envelope | None,
) -> codec.Pack:
    limit = int(job.meta["out"].get("limit") or LIMIT)
    asked = set(job.meta["out"].get("add") or ())
    values = {name: job.namespace[name] for name in names}
    while True:
        meta = _meta(job, [name for name in changed if name in values], left_out, reported)
        try:
            pack = codec.dump(values, main=job.namespace, meta=meta, best_effort=True)
        except ModuleNotFoundError:
            if not values:
                raise  # a cloudpickle that cannot be imported
            for name in _unpicklable_here(job, values):
                left_out[name] = "it cannot be pickled without cloudpickle; --packages cloudpickle installs that"
                del values[name]
            continue
        refused = {name: f"it cannot be pickled: {type(e).__name__}: {e}" for name, e in pack.failed.items()}
        for frame in pack.frames:
            if frame.size > limit and frame.name in values and frame.name not in asked:
                refused[frame.name] = (
                    f"it has {size_text(frame.size)}, more than {size_text(limit)}; --out +{frame.name} brings it back"
                )
        if not refused and values and missing_room(job, pack):
            sizes = {frame.name: frame.size for frame in pack.frames if frame.name in values}
            # What was asked for goes last, and among the others the largest first.
            name = min(values, key=lambda name: (name in asked, -sizes[name]))
            room = size_text(int(job.spec.get("artifact_limit") or 0))
            refused[name] = (
                f"it has {size_text(sizes[name])}, and a job without a store brings back no more than {room}; {SET_ONE}"
            )
        if not refused:
            return pack
        for name, reason in refused.items():
            left_out[name] = _one_line(reason)
            values.pop(name, None)
        if not any(name in names for name in refused):
            return pack  # only what functions refer to; it was skipped already


def _unpicklable_here(job: Context, values: dict[str, Any]) -> list[str]:
    """List the values that need cloudpickle where there is none."""
    found = []
    for name, value in values.items():
        try:
            codec.dump({name: value}, main=job.namespace, meta={})
        except (ModuleNotFoundError, codec.FrameError):
            found.append(name)
    return found


def _meta(
    job: Context, changed: list[str], left_out: dict[str, str], reported: bytes | envelope.Envelope | None
) -> dict[str, Any]:
    meta: dict[str, Any] = {
        "kind": "outputs",
        "changed": changed,
        "left_out": left_out,
        "lines": [
            *job.notes,
            *(f"{name}: changed in place" for name in changed),
            *("{} was left out: {}".format(*item) for item in left_out.items()),
        ],
    }
    if isinstance(reported, bytes):
        meta["reported"] = json.loads(reported.decode("utf-8"))
    return meta


def missing_room(job: Context, pack: codec.Pack) -> int:
    """Count the bytes of artifacts that a pack needs beyond those there is room for."""
    room = job.room()
    if room is None:
        return 0
    needed = sum(buffer.nbytes for digest, buffer in pack.buffers.items() if not job.saved(digest))
    if not envelope.fits(len(pack.data)):
        needed += len(pack.data)
    return max(0, needed - room)


def too_large(job: Context, pack: codec.Pack) -> str:
    """Say why there is no room for a pack, and what to do."""
    frames = sorted(pack.frames, key=lambda frame: -frame.size)[:3]
    parts = _listed(f"{frame.name} has {size_text(frame.size)}" for frame in frames if not frame.via)
    limit, room = int(job.spec.get("artifact_limit") or 0), job.room() or 0
    left = f" ({size_text(room)} of them are left)" if room < limit else ""
    return (
        f"{parts}, and a job without a store brings back no more than {size_text(limit)}{left}; {SET_ONE}, "
        "write it to a volume, or give back less"
    )


def encode(job: Context, pack: codec.Pack) -> bytes:
    """Write a pack as the value of an envelope, its buffers and, if it is large, itself as artifacts."""
    for digest, buffer in pack.buffers.items():
        job.save(digest, buffer)
    return envelope.encode_bytes("cloudpickle", pack.data, job.save)


def _listed(names: Iterable[str]) -> str:
    return ", ".join(names)


def _one_line(text: str) -> str:
    text = " ".join(text.split())
    return text if len(text) <= 300 else text[:299] + "…"


def size_text(count: int) -> str:
    """Write a number of bytes for a person."""
    for unit, name in ((1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")):
        if count >= unit:
            return f"{count / unit:.1f} {name}"
    return f"{count} bytes"
