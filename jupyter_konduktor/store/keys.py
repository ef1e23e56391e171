"""The names of what lies in a store."""

from __future__ import annotations

OBJECTS, LEASES, RESULTS, CHECKPOINTS = "objects", "leases", "results", "checkpoints"
PROBE = "writable"
"""Written to see whether one may."""


def object_key(sha256: str) -> str:
    """Name the object that has these bytes."""
    return f"{OBJECTS}/{sha256[:2]}/{sha256}"


def lease_key(nonce: str) -> str:
    """Name the list of what a job needs, by the job's nonce."""
    return f"{LEASES}/{nonce}"


def result_key(uid: str, name: str) -> str:
    """Name a piece of what a job has left, by its place in `jupyter_konduktor.runner.parcel.NAMES`."""
    return f"{RESULTS}/{uid}/{name}"


def checkpoint_key(uid: str, name: str) -> str:
    """Name a piece of a job's checkpoint, by its place in `jupyter_konduktor.runner.slots.NAMES`."""
    return f"{CHECKPOINTS}/{uid}/{name.rpartition('/')[2]}"
