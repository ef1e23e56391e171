"""The files of a job, written before its row so that a row always has all of them."""

from __future__ import annotations

import json
import os
import secrets
import shutil
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jupyter_konduktor.backends.files import PRIVATE_DIR, write_private
from jupyter_konduktor.backends.local.layout import Layout
from jupyter_konduktor.backends.local.process import JOB_UID, host
from jupyter_konduktor.task import Task

if TYPE_CHECKING:
    from jupyter_konduktor.payload import Payload

LOCALHOST = "127.0.0.1"


@dataclass(frozen=True, slots=True)
class Terms:
    """What a job runs under beside its task.

    Attributes
    ----------
    name, uid : str
    nonce : str
        Marks our own lines in its output.
    grace : float
        Seconds between telling it to end and killing it.
    hide_gpus : bool
        Whether it sees only the GPUs that it is given.
    installer : mapping
        Where its packages come from, as in the spec.
    """

    name: str
    uid: str
    nonce: str
    grace: float
    hide_gpus: bool
    installer: Mapping[str, Any]


def write_job(layout: Layout, task: Task, payload: Payload | None, terms: Terms) -> None:
    """Write everything that the job's supervisor will need.

    Raises
    ------
    FileExistsError
        If there is a job of that name.
    OSError
        If it cannot be written; nothing is left of the job then.
    """
    folder = Path(layout.job(terms.name))
    folder.mkdir(mode=PRIVATE_DIR)
    try:
        if payload is not None:
            for sha256, data in payload.objects.items():
                _write_object(layout, sha256, data)
            write_private(str(folder / "payload.pack"), payload.data)
        spec = _spec(layout, task, payload, terms)
        write_private(str(folder / "spec.json"), _json(spec))
        write_private(str(folder / "launch.json"), _json({"python": sys.executable, "env": _environment()}))
        (folder / "attempts").mkdir(mode=PRIVATE_DIR)
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise


def discard_job(layout: Layout, name: str) -> None:
    """Remove the files of a job that got no row."""
    shutil.rmtree(layout.job(name), ignore_errors=True)


def new_nonce() -> str:
    """Make the word that marks our own lines in a job's output."""
    return secrets.token_hex(8)


def _write_object(layout: Layout, sha256: str, data: memoryview) -> None:
    path = Path(layout.object(sha256))
    try:
        if path.stat().st_size == data.nbytes:
            os.utime(path)  # what was used of late is not collected before the job has its row
            return
    except FileNotFoundError:
        path.parent.mkdir(mode=PRIVATE_DIR, exist_ok=True)
    write_private(str(path), data)


def _environment() -> dict[str, str]:
    """Give this process's environment, without what another job has put there."""
    return {name: value for name, value in os.environ.items() if name != JOB_UID}


def _spec(layout: Layout, task: Task, payload: Payload | None, terms: Terms) -> dict[str, Any]:
    resources, nodes = task.resources, task.resources.nodes
    together = 1 if task.kind == "map" else nodes  # the workers of a map are no group, as torch would take them for
    workdir = str(Path(task.workdir).expanduser().absolute()) if task.workdir else _working_directory()
    return {
        "v": 1,
        "name": terms.name,
        "uid": terms.uid,
        "kind": task.kind,
        "nonce": terms.nonce,
        "nodes": nodes,
        "payload": str(Path(layout.job(terms.name)) / "payload.pack") if payload is not None else None,
        "sha256": payload.sha256 if payload is not None else None,
        "objects": layout.objects,
        "command": list(task.command) if task.command is not None else None,
        "cwd": workdir,
        "sys_path": list(sys.path) if payload is not None else None,
        "grace": terms.grace,
        "timeout": task.timeout,
        "max_restarts": task.max_restarts,
        "items": task.items,
        "retries": task.retries,
        "launcher": task.launcher,
        "setup": list(task.setup),
        "packages": list(task.packages),
        "packages_dir": layout.packages,  # an identical set is installed once on this machine
        "installer": terms.installer,
        "hide_gpus": terms.hide_gpus,
        "env": {
            "KONDUKTOR_JOB_NAME": terms.name,
            "KONDUKTOR_NODENAME": host(),
            "KONDUKTOR_NAMESPACE": "local",
            "KONDUKTOR_ACCELERATOR_TYPE": (resources.gpus.kind or "") if resources.gpus else "",
            "NODE_HOST_IPS": ",".join([LOCALHOST] * together),
            "MASTER_ADDR": LOCALHOST,
            "LOCAL_ADDR": LOCALHOST,
            "NUM_NODES": str(together),
            "NUM_GPUS_PER_NODE": str(resources.gpus.count if resources.gpus else 0),
            "PET_NNODES": str(together),
            "PET_NPROC_PER_NODE": str(resources.gpus.count if resources.gpus else 1),
            "PET_MASTER_ADDR": LOCALHOST,
            **({"WORLD_SIZE": str(together)} if together > 1 else {}),
            "PYTHONUNBUFFERED": "0",  # Konduktor's own spelling; any text at all means unbuffered
            **task.env,
        },
    }


def _working_directory() -> str:
    try:
        return str(Path.cwd())
    except FileNotFoundError:
        return str(Path.home())  # the directory this process is in was deleted


def _json(value: Mapping[str, Any]) -> bytes:
    # Paths and variables may hold bytes that are no UTF-8; JSON's escapes carry them as the surrogates Python uses.
    return json.dumps(value).encode("ascii")
