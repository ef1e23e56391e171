"""How runner and payload get into a pod: what the container is started with, and the objects it is given.

The container runs ``python3 -c BOOT SPEC``. BOOT checks the runner's archive against the SHA-256 that the spec names,
and starts it; the runner does the same with the payload. So both are what this kernel made, or nothing runs. The
command line is no place for secrets: every process of the pod can read it. The spec is the one of
``runner/README.md``, with places and rank left to the pod.
"""

from __future__ import annotations

import base64
import functools
import hashlib
import json
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from jupyter_konduktor.backends.kubernetes import words
from jupyter_konduktor.backends.kubernetes.sending import archive
from jupyter_konduktor.backends.kubernetes.sending.manifest.environment import host
from jupyter_konduktor.errors import InputTooLargeError
from jupyter_konduktor.payload.limits import size_text
from jupyter_konduktor.payload.piece import Piece
from jupyter_konduktor.runner import bundle, link

if TYPE_CHECKING:
    from jupyter_konduktor.payload import Payload
    from jupyter_konduktor.payload.workdir import Workdir
    from jupyter_konduktor.task import Task

INLINE = 32 << 10
"""Characters of a payload that stands in the pod's environment: each is written to etcd some 27 times."""
INLINE_NODES = 4
"""Nodes up to which a payload may stand there: all pods of a job have it."""
INLINE_MOST = 96 << 10
"""As `INLINE`, where there is no other way; Linux takes 128 KiB for one variable."""
SECRET_MOST = 1 << 20
"""Bytes that the data of a Secret may have."""
APART = 320
"""Buffers that lie in a store each by itself: a Secret holds that many URLs, with those for the results."""
PAYLOAD_KEY = "payload"
RUNNER_VARIABLE = "KONDUKTOR_PAYLOAD_RUNNER"
_WORTH_TRYING = 32 << 20  # bytes up to which compressing may bring a payload below any of these
_WORTH_TRYING_WITH_STORE = 4 << 20  # where there is another way, which takes what was sent before for granted
_WORTH_IT = 0.9

_HEAD = """\
import sys;sys.path[:]=filter(None,sys.path)
import json,os
try:
 try:from _sha2 import sha256
 except ImportError:from _sha256 import sha256
except ImportError:from hashlib import sha256
s=json.loads(sys.argv[1]);f,h=s["runner"]
"""
_TAIL = """\
if sha256(d).hexdigest()!=h:
 open(s["termination_file"],"w").write('{"exit":70}')
 print("konduktor: the runner is not the one this job was made with");sys.exit(70)
%sm=type(sys)("_konduktor_runner");m.__path__=[f];sys.modules[m.__name__]=m
import _konduktor_runner.__main__
"""
BOOT = _HEAD + 'with open(f,"rb")as o:d=o.read()\n' + _TAIL % ""
"""Starts the runner from a mounted archive, on any Python 3; the runner refuses one that is too old."""
BOOT_INLINE = (
    _HEAD
    + f'import base64,zlib;d=zlib.decompress(base64.b64decode(os.environ.pop("{RUNNER_VARIABLE}")))\n'
    + _TAIL % 'with open(f,"wb")as o:o.write(d)\n'
)
"""Starts it from the environment, by way of a file in the job's directory."""


@dataclass(frozen=True, slots=True)
class Delivery:
    """How something gets into the pods of a job.

    Attributes
    ----------
    spec : dict
        Its part of the spec.
    env : dict of str to str
        Variables of the container.
    secret : dict or None
        The Secret to create, without a name and an owner, and to mount at `words.PAYLOAD_DIR`.
    bytes : int
        What travels.
    objects : dict of str to Piece
        What is to be in the store, by SHA-256.
    """

    spec: dict[str, Any] = field(default_factory=dict)
    env: dict[str, str] = field(default_factory=dict)
    secret: dict[str, Any] | None = None
    bytes: int = 0
    objects: dict[str, Piece] = field(default_factory=dict)


# --- the runner


def runner_name() -> str:
    """Name the ConfigMap that holds this kernel's runner."""
    return f"konduktor-runner-{_digest(archive.archive())[:10]}"


def runner_config_map(namespace: str) -> dict[str, Any]:
    """Make the ConfigMap of the runner, to be mounted at `words.RUNNER_DIR`; all jobs of the namespace share it."""
    from jupyter_konduktor import __version__

    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {
            "name": runner_name(),
            "namespace": namespace,
            "labels": {words.RUNNER: __version__.replace("+", "_")[:63]},
        },
        "immutable": True,
        "binaryData": {archive.FILE: base64.b64encode(archive.archive()).decode("ascii")},
    }


def deliver_runner(payload: Payload | None, *, inline: bool) -> Delivery:
    """Say how the runner gets into the pods.

    Parameters
    ----------
    payload : Payload or None
        What it is to load.
    inline : bool
        Whether it stands in the environment, for want of a ConfigMap.
    """
    if not inline:
        data = archive.archive()
        return Delivery({"runner": [archive.MOUNTED, _digest(data)]}, bytes=len(data))
    needs_cloudpickle = payload is not None and bool(payload.pack.header["cloudpickle"])
    data = archive.sources(cloudpickle=needs_cloudpickle)
    text = _squeezed(data)
    spec = {"runner": [f"{words.WORK_DIR}/{archive.FILE}", _digest(data)]}
    return Delivery(spec, {RUNNER_VARIABLE: text}, bytes=len(text))


@functools.lru_cache(maxsize=2)
def _squeezed(data: bytes) -> str:
    return base64.b64encode(zlib.compress(data, 9)).decode("ascii")


# --- the payload


@dataclass(frozen=True, slots=True)
class _Cargo:
    """What is to get into the pods: the payload, if there is one, and the working directory, if one is sent."""

    payload: Payload | None
    workdir: Workdir | None

    @property
    def data(self) -> bytes:
        """The pack."""
        return self.payload.data if self.payload is not None else b""

    @property
    def objects(self) -> dict[str, Piece]:
        """All buffers and files by their SHA-256."""
        found = {digest: Piece.of(view) for digest, view in self.payload.objects.items()} if self.payload else {}
        return {**found, **(self.workdir.objects if self.workdir is not None else {})}

    @property
    def size(self) -> int:
        """Bytes of all of it."""
        return len(self.data) + sum(piece.nbytes for piece in self.objects.values())


def deliver(
    payload: Payload | None,
    *,
    nodes: int,
    inline_only: bool,
    secrets: bool,
    store: bool = False,
    workdir: Workdir | None = None,
) -> Delivery:
    """Say how a payload and a working directory get into the pods.

    Parameters
    ----------
    payload : Payload or None
        None for a command.
    nodes : int
    inline_only : bool
        Whether nothing but the JobSet itself reaches the place where it runs (MultiKueue).
    secrets : bool
        Whether Secrets can be created.
    store : bool, default False
        Whether the job has a store, for what is too large and for what it leaves.
    workdir : Workdir, optional

    Raises
    ------
    InputTooLargeError
        If there is no way for so much.
    """
    spec: dict[str, Any] = {"links": words.LINKS, "artifact_limit": None} if store else {}
    if payload is None and workdir is None:
        return Delivery(spec)
    if workdir is not None:
        spec["workdir"] = workdir.sha256
    cargo = _Cargo(payload, workdir)
    if store and cargo.size > _WORTH_TRYING_WITH_STORE:
        return _through_store(cargo, spec)
    only_inline = inline_only or not secrets
    most = INLINE_MOST // 4 * 3 if only_inline else SECRET_MOST
    data, told = _bundle(cargo, most)
    size = -(-len(data) // 3) * 4
    if size <= (INLINE_MOST if only_inline else INLINE) and (only_inline or nodes <= INLINE_NODES):
        text = base64.b64encode(data).decode("ascii")
        return Delivery({"bundle": told, **spec}, {bundle.VARIABLE: text}, bytes=size)
    if store and len(data) > SECRET_MOST:
        return _through_store(cargo, spec)
    if only_inline or len(data) > SECRET_MOST:
        raise _too_large(cargo, len(data), most, inline_only=inline_only, secrets=secrets)
    secret = {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {},
        "type": "Opaque",
        "immutable": True,
        "data": {PAYLOAD_KEY: base64.b64encode(data).decode("ascii")},
    }
    told["path"] = f"{words.PAYLOAD_DIR}/{PAYLOAD_KEY}"
    return Delivery({"bundle": told, **spec}, secret=secret, bytes=size)


def _through_store(cargo: _Cargo, spec: dict[str, Any]) -> Delivery:
    """Have the largest buffers lie in the store each by itself, the others with the pack in one object."""
    pieces = cargo.objects
    by_size = sorted(pieces, key=lambda digest: pieces[digest].nbytes, reverse=True)
    apart = {digest: pieces[digest] for digest in by_size[:APART]}
    others = {digest: pieces[digest].read() for digest in by_size[APART:]}
    data = bundle.join(cargo.data, others, {digest: piece.nbytes for digest, piece in apart.items()})
    digest = _digest(data)
    told = {"sha256": digest, "stored": len(data)}
    return Delivery({"bundle": told, **spec}, objects={digest: Piece.of(data), **apart}, bytes=cargo.size)


def _bundle(cargo: _Cargo, most: int) -> tuple[bytes, dict[str, Any]]:
    """Make the bundle of a payload, compressed if that pays, and what the spec says of it."""
    size = cargo.size
    if size > _WORTH_TRYING:
        raise _too_large(cargo, size, most, inline_only=False, secrets=True)
    data = bundle.join(cargo.data, {digest: piece.read() for digest, piece in cargo.objects.items()})
    squeezed = zlib.compress(data, 6 if size <= SECRET_MOST else 1)
    compressed = len(squeezed) < _WORTH_IT * len(data)
    if compressed:
        data = squeezed
    return data, {"sha256": _digest(data), **({"zlib": True} if compressed else {})}


def _too_large(cargo: _Cargo, size: int, most: int, *, inline_only: bool, secrets: bool) -> InputTooLargeError:
    rows = sorted(cargo.payload.report.rows if cargo.payload else (), key=lambda row: row.size, reverse=True)
    named = [(row.size, f"`{row.name}`", f", used by `{row.via}`" if row.via else "") for row in rows]
    if cargo.workdir is not None:
        named.append((cargo.workdir.size, "the working directory", ""))
    named.sort(reverse=True)
    largest = ", ".join(f"{name} ({size_text(size)}{via})" for size, name, via in named[:3])
    if inline_only:
        why = "through MultiKueue "
    elif not secrets:
        why = "without the right to create Secrets "
    else:
        why = ""
    return InputTooLargeError(
        f"What the job is sent has {size_text(size)}; {why}a job on the cluster takes {size_text(most)}. "
        f"The largest: {largest}",
        advice='Set a store for what is larger (store = "s3://bucket/prefix" in [tool.konduktor]), load the data '
        "inside the job, from a volume (--volume) or a URL, or leave out what it does not need (--in -name).",
        variable=rows[0].name if rows else "",
    )


# --- the container


def spec_of(
    task: Task,
    *,
    name: str,
    nonce: str,
    grace: float,
    runner: Delivery,
    payload: Delivery,
    installer: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Make the spec that the container is started with.

    Parameters
    ----------
    task : Task
    name : str
        Of the job.
    nonce : str
        16 hexadecimal digits that mark our own lines in its log.
    grace : float
        Seconds that its processes have between SIGTERM and SIGKILL; less than the pod's.
    runner, payload : Delivery
    installer : mapping, optional
        Where its packages come from.
    """
    spec: dict[str, Any] = {
        "v": 1,
        "name": name,
        "kind": task.kind,
        "nonce": nonce,
        "grace": grace,
        "termination_file": words.TERMINATION_LOG,
        **runner.spec,
        **payload.spec,
    }
    if task.resources.nodes > 1:
        spec["nodes"] = task.resources.nodes
    if task.kind == "map":
        spec.update(items=task.items, retries=task.retries)
        if task.resources.nodes > 1:
            spec["coordinator"] = [host(name, 0), link.PORT]
    if task.command is not None:
        spec["command"] = list(task.command)
    if task.launcher:
        spec["launcher"] = task.launcher
    if task.setup:
        spec["setup"] = list(task.setup)
    if task.packages:
        spec.update(packages=list(task.packages), installer=dict(installer or {}))
    # A command may count on its image's own directory; Python of a notebook wants one that it can write to.
    if task.kind != "command":
        spec["cwd"] = words.WORK_DIR
    return spec


def command_of(spec: Mapping[str, Any]) -> list[str]:
    """Give the command of the container; whoever writes it into a pod doubles each ``$``."""
    boot = BOOT if spec["runner"][0] == archive.MOUNTED else BOOT_INLINE
    return ["python3", "-c", boot, json.dumps(spec, separators=(",", ":"))]


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
