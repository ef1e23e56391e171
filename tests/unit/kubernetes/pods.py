"""Containers without a cluster: the argv, environment and files that a pod has, in a process of this machine."""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from jupyter_konduktor.backends.kubernetes import words
from jupyter_konduktor.backends.kubernetes.sending import archive, runtime
from jupyter_konduktor.backends.kubernetes.sending.runtime import Delivery
from jupyter_konduktor.runner import codec, parcel, slots
from jupyter_konduktor.runner.envelope import KEY, MISSING, Envelope, parse
from jupyter_konduktor.runner.stream import Artifact, CarrierDecoder, Control, Item, StreamDecoder
from jupyter_konduktor.store.keys import checkpoint_key, object_key, result_key
from jupyter_konduktor.store.sending import send
from jupyter_konduktor.task import Task

NONCE = "0123456789abcdef"
UID = "11111111-2222-3333-4444-555555555555"


def payload_of(pack: codec.Pack) -> Any:
    """Give what `deliver` needs of a payload."""
    rows = [SimpleNamespace(name=frame.name, size=frame.size, via=frame.via or "") for frame in pack.frames]
    return SimpleNamespace(pack=pack, data=pack.data, objects=pack.buffers, report=SimpleNamespace(rows=rows))


class Pod:
    """One container that runs to its end.

    Parameters
    ----------
    folder : Path
    pack : codec.Pack, optional
    python : str, optional
        The image's.
    inline : bool, default False
        Whether the runner stands in the environment.
    secret : bool, default False
        Whether the payload comes as a Secret.
    rank, nodes : int, optional
    env : mapping, optional
    changed : mapping, optional
        Keys of the spec that are other than they are made.
    store : Store, optional
        Where it gets its payload from if that is large, and leaves what it gives back.
    life : timedelta, optional
        How long its URLs are good for.
    task
        Fields of the task.
    """

    def __init__(
        self,
        folder: Path,
        pack: codec.Pack | None = None,
        *,
        python: str = sys.executable,
        inline: bool = False,
        secret: bool = False,
        rank: int | None = None,
        nodes: int = 1,
        env: Mapping[str, str] | None = None,
        changed: Mapping[str, Any] | None = None,
        store: Any = None,
        life: timedelta = timedelta(hours=1),
        wait: bool = True,
        **task: Any,
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        for name in ("work", "output", "runner", "payload"):
            (folder / name).mkdir(exist_ok=True)
        payload = payload_of(pack) if pack is not None else None
        kind = pack.header["meta"]["kind"] if pack is not None else "command"
        runner = runtime.deliver_runner(payload, inline=inline)
        delivery = runtime.deliver(
            payload, nodes=9 if secret else 1, inline_only=False, secrets=True, store=store is not None
        )
        self.spec = runtime.spec_of(
            Task.create(kind=kind, nodes=nodes, items=pack.header["meta"].get("count") if pack else None, **task),
            name="job-x",
            nonce=NONCE,
            grace=5,
            runner=runner,
            payload=delivery,
        )
        self.argv = [python, *runtime.command_of(self.spec)[1:]]
        self.termination = folder / "termination"
        self.spec.update(
            job_dir=str(folder / "work"), output_dir=str(folder / "output"), termination_file=str(self.termination)
        )
        if "cwd" in self.spec:
            self.spec["cwd"] = self.spec["cwd"].replace(words.WORK_DIR, str(folder / "work"))
        self.spec["runner"] = [str(folder / ("work" if inline else "runner") / archive.FILE), self.spec["runner"][1]]
        if not inline:
            Path(self.spec["runner"][0]).write_bytes(archive.archive())
        if delivery.secret is not None:
            data = base64.b64decode(delivery.secret["data"][runtime.PAYLOAD_KEY])
            self.spec["bundle"]["path"] = str(folder / "payload" / runtime.PAYLOAD_KEY)
            Path(self.spec["bundle"]["path"]).write_bytes(data)
        if store is not None:
            self.spec["links"] = str(folder / "payload" / "urls")
            send(store, NONCE, delivery.objects, fresh=timedelta(days=1))
            self.sign(store, list(delivery.objects), life)
        self.spec.update(changed or {})
        self.argv[-1] = json.dumps(self.spec)
        self.delivery: Delivery = delivery
        environ = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
        environ |= {"HOME": str(folder / "work"), "TMPDIR": str(folder / "work")}
        environ |= {**runner.env, **delivery.env, **(env or {})}
        if rank is not None:
            environ["JOB_COMPLETION_INDEX"] = str(rank)
        with (folder / "log").open("wb") as log:
            self.process = subprocess.Popen(self.argv, stdout=log, stderr=log, cwd=folder, env=environ)
        if wait:
            self.process.wait(60)

    def sign(self, store: Any, digests: list[str], life: timedelta = timedelta(hours=1)) -> None:
        """Write the URLs, as its Secret has them."""
        checkpoints = {name: checkpoint_key(UID, name) for name in slots.NAMES}

        def signed(method: str, keys: dict[str, str]) -> dict[str, str]:
            return dict(zip(keys, store.sign(method, list(keys.values()), life), strict=True))

        links = {
            "get": signed("GET", {**{digest: object_key(digest) for digest in digests}, **checkpoints}),
            "put": signed("PUT", {**{name: result_key(UID, name) for name in parcel.NAMES}, **checkpoints}),
        }
        Path(self.spec["links"]).write_text(json.dumps(links))

    @property
    def code(self) -> int | None:
        return self.process.returncode

    @property
    def log(self) -> bytes:
        return (self.folder / "log").read_bytes()

    @property
    def records(self) -> list[Control | Artifact | Item]:
        return CarrierDecoder(NONCE).feed(self.log)[1]

    @property
    def text(self) -> str:
        decoder = StreamDecoder(NONCE)
        parts = [*decoder.feed(CarrierDecoder(NONCE).feed(self.log)[0]), *decoder.flush()]
        return b"".join(part for part in parts if isinstance(part, bytes)).decode()

    @property
    def envelope(self) -> Envelope:
        data = self.termination.read_bytes()
        assert len(data) <= 4096
        return parse(data)

    @property
    def artifacts(self) -> dict[str, bytes]:
        found: dict[str, list[bytes]] = {}
        for record in self.records:
            if isinstance(record, Artifact):
                pieces = found.setdefault(str(record.identity), [])
                assert record.number == len(pieces) + 1
                pieces.append(record.data)
        return {digest: b"".join(pieces) for digest, pieces in found.items()}

    def read(self, value: Any) -> bytes:
        reference = value[KEY]
        return base64.b64decode(reference["data"]) if "data" in reference else self.artifacts[reference["sha256"]]

    def load(self, value: Any = MISSING, main: dict[str, Any] | None = None) -> codec.Loaded:
        value = self.envelope.value if value is MISSING else value
        artifacts = self.artifacts
        return codec.load(
            self.read(value), lambda digest, size: bytearray(artifacts[digest]), {} if main is None else main
        )

    @property
    def outputs(self) -> dict[str, Any]:
        return self.load().values

    @property
    def error(self) -> dict[str, Any]:
        document: dict[str, Any] = json.loads(self.read(self.envelope.value))
        return document
