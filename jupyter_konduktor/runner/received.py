"""What a job was sent: the pack and its buffers, brought here and compared with what the spec says.

spec keys read here    payload, sha256, objects, bundle, bundle_text, links
"""

from __future__ import annotations

import os

from .digest import sha256
from .pack import CodecError

TYPE_CHECKING = False
if TYPE_CHECKING:  # importing typing costs a job 3 ms
    from typing import Any

    from .context import Context

_MAP_FROM = 1 << 20
"""Buffers of this many bytes and more are mapped, not read."""


def pack(job: Context) -> Any:
    """Give the pack.

    Raises
    ------
    CodecError
        If it is not what the spec says, or cannot be fetched.
    """
    if job.spec.get("bundle"):
        return _unbundled(job)
    with open(job.spec["payload"], "rb") as file:
        data = file.read()
    if sha256(data).hexdigest() != job.spec["sha256"]:
        raise CodecError("integrity", "the payload does not have the SHA-256 that the job names")
    return data


def buffer(job: Context, digest: str, size: int) -> Any:
    """Give a buffer of the payload as memory that can be written to, which leaves the payload as it is."""
    if digest in job.objects:
        return bytearray(job.objects[digest])
    with open(job.object_path(digest), "rb") as file:
        if size >= _MAP_FROM and os.fstat(file.fileno()).st_size == size:
            import mmap

            return mmap.mmap(file.fileno(), size, access=mmap.ACCESS_COPY)
        data = bytearray(size)
        return memoryview(data)[: file.readinto(data)]


def whole(job: Context, digest: str) -> Any:
    """Give an object that is read at once, which has the digest that it is asked for by; raises `CodecError`."""
    if digest in job.objects:
        return job.objects[digest]
    with open(job.object_path(digest), "rb") as file:
        data = file.read()
    if sha256(data).hexdigest() != digest:
        raise CodecError("integrity", "what was sent does not have the SHA-256 that it is named by", digest)
    return data


def bring_workdir(job: Context) -> None:
    """Unpack the folder that was sent with the job, and go there.

    Raises
    ------
    CodecError
        If it is not what the spec says, unsafe, or cannot be fetched.
    OSError
        If it cannot be written.
    """
    from .workdir import extract

    def find(name: str) -> Any:
        return job.objects[name] if name in job.objects else job.object_path(name)

    _unbundled(job)
    digest = job.spec["workdir"]
    folder = os.path.join(job.spec["job_dir"], "workdir")
    extract(whole(job, digest), digest, folder, find)
    os.chdir(folder)


def _unbundled(job: Context) -> Any:
    """Take the bundle apart, unless that was done; gives the pack."""
    if job.pack is None:
        from . import bundle

        told = job.spec["bundle"]
        if "stored" in told:
            told = dict(told, path=_fetched(job, [(told["sha256"], told["stored"])]))
        job.pack, job.objects, elsewhere = bundle.unpack(told, job.spec["bundle_text"])
        if elsewhere:
            _fetched(job, elsewhere)
    return job.pack


def _fetched(job: Context, objects: list[tuple[str, int]]) -> str:
    """Bring objects here from the store; gives the path of the first."""
    from . import fetch

    fetch.fetch(job.spec["links"], job.spec["objects"], objects)
    return job.object_path(objects[0][0])
