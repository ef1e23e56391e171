"""Real jobs for the tests of the runner: a supervisor in a process of its own, as a backend would start it."""

from __future__ import annotations

import base64
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from jupyter_konduktor.runner import codec
from jupyter_konduktor.runner.envelope import KEY, MISSING, Envelope, parse
from jupyter_konduktor.runner.stream import Display, StreamDecoder

NONCE = "0123456789abcdef"
FILENAME = "<konduktor cell 1>"
DRIVER = Path(__file__).with_name("driver.py")


class Job:
    """One attempt of a job.

    Parameters
    ----------
    folder : Path
    pack : codec.Pack, optional
        The payload.
    python : str, optional
        Which interpreter runs it.
    driver : Path, optional
    environ : mapping, optional
        Added to the supervisor's environment.
    spec
        Added to the spec.
    """

    def __init__(
        self,
        folder: Path,
        pack: codec.Pack | None = None,
        *,
        python: str = sys.executable,
        driver: Path = DRIVER,
        environ: Mapping[str, str] | None = None,
        **spec: Any,
    ) -> None:
        folder.mkdir(exist_ok=True)
        self.folder = folder
        self.spec = {
            "v": 1,
            "name": "job-x",
            "uid": "u",
            "nonce": NONCE,
            "nodes": 1,
            "grace": 5,
            "cwd": str(folder),
            "env": {"PYTHONDONTWRITEBYTECODE": "1"},
            "job_dir": str(folder),
            "report_dir": str(folder),
            "output_dir": str(folder / "output"),
            "artifacts": str(folder / "artifacts"),
            "objects": str(folder / "objects"),
            "termination_file": str(folder / "termination"),
            **spec,
        }
        if pack is not None:
            (folder / "payload.pack").write_bytes(pack.data)
            self.spec = {
                "payload": str(folder / "payload.pack"),
                "sha256": pack.sha256,
                "kind": pack.header["meta"]["kind"],
                "items": pack.header["meta"].get("count", 0),
                **self.spec,
            }
            for digest, buffer in pack.buffers.items():
                self.add_object(digest, buffer)
        (folder / "spec.json").write_text(json.dumps(self.spec))
        self.stdout = (folder / "stdout").open("wb")
        self.stderr = (folder / "stderr").open("wb")
        self.process = subprocess.Popen(
            [python, str(driver), str(folder / "spec.json")],
            stdout=self.stdout,
            stderr=self.stderr,
            env={**os.environ, **(environ or {})},
            start_new_session=True,
        )

    def add_object(self, digest: str, data: Any) -> None:
        path = self.folder / "objects" / digest[:2] / digest
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)

    def wait(self, timeout: float = 60) -> Job:
        self.process.wait(timeout)
        return self

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGKILL)
            self.process.wait()
        self.stdout.close()
        self.stderr.close()

    @property
    def pids(self) -> list[int]:
        """Of the user's processes, once they run."""
        return [int(line.split()[1]) for line in (self.folder / "started").read_text().splitlines()]

    def until(self, text: bytes, timeout: float = 30) -> Job:
        """Wait for a text in the output of node 0."""
        deadline = time.monotonic() + timeout
        while text not in self.raw():
            assert time.monotonic() < deadline, self.raw()
            time.sleep(0.01)
        return self

    def raw(self, node: int = 0) -> bytes:
        """The stream as it was written."""
        path = self.folder / f"node-{node}.log"
        return path.read_bytes() if path.exists() else b""

    def parts(self, node: int = 0) -> list[bytes | Display]:
        decoder = StreamDecoder(NONCE)
        return decoder.feed(self.raw(node)) + decoder.flush()

    def output(self, node: int = 0) -> bytes:
        """What the user's processes wrote."""
        return b"".join(part for part in self.parts(node) if isinstance(part, bytes))

    @property
    def text(self) -> str:
        return self.output().decode()

    @property
    def displays(self) -> list[dict[str, Any]]:
        return [part.record for part in self.parts() if isinstance(part, Display)]

    @property
    def end(self) -> dict[str, Any]:
        end: dict[str, Any] = json.loads((self.folder / "end.json").read_text())
        return end

    @property
    def envelope(self) -> Envelope:
        return parse((self.folder / "envelope.json").read_bytes())

    @property
    def items(self) -> dict[int, Envelope]:
        lines = (self.folder / "items.jsonl").read_bytes().splitlines()
        return {int(line.split(b" ", 1)[0]): parse(line.split(b" ", 1)[1]) for line in lines}

    def read(self, value: Any) -> bytes:
        """The bytes behind a reference of an envelope."""
        reference = value[KEY]
        if "data" in reference:
            return base64.b64decode(reference["data"])
        return (self.folder / "artifacts" / reference["sha256"]).read_bytes()

    def load(self, value: Any = MISSING, main: dict[str, Any] | None = None) -> codec.Loaded:
        value = self.envelope.value if value is MISSING else value
        return codec.load(
            self.read(value),
            lambda digest, size: bytearray((self.folder / "artifacts" / digest).read_bytes()),
            {} if main is None else main,
        )

    @property
    def outputs(self) -> dict[str, Any]:
        return self.load().values

    @property
    def meta(self) -> dict[str, Any]:
        meta: dict[str, Any] = self.load().header["meta"]
        return meta

    def error(self, value: Any = MISSING) -> dict[str, Any]:
        value = self.envelope.value if value is MISSING else value
        assert value[KEY]["codec"] == "error"
        document: dict[str, Any] = json.loads(self.read(value))
        return document


def cell_pack(
    code: str,
    *,
    source: str | None = None,
    out: list[str] | None = None,
    auto: list[str] | None = None,
    inputs: dict[str, Any] | None = None,
    main: dict[str, Any] | None = None,
    future: list[str] | None = None,
    **out_meta: Any,
) -> codec.Pack:
    """Make the payload of a cell; ``out`` is ``--out``."""
    meta = {
        "kind": "cell",
        "cell": {"source": source or code, "code": code, "number": 3, "filename": FILENAME, "future": future or []},
        "out": {
            "strict": out is not None,
            "names": out or [],
            "add": [],
            "drop": [],
            "auto": auto or [],
            "limit": 1 << 30,
            **out_meta,
        },
        "inputs": list(inputs or {}),
        "sources": {},
        "modules": {"buffer": None, "names": []},
        "label": "Cell In[3]",
    }
    return codec.dump(inputs or {}, main={} if main is None else main, meta=meta)


def function_pack(source: str, call: str) -> codec.Pack:
    """Make the payload of a call of functions that a notebook defines."""
    main: dict[str, Any] = {"__name__": "__main__"}
    exec(compile(source, FILENAME, "exec"), main)
    meta = {
        "kind": "function",
        "function": call.split("(")[0],
        "sources": {FILENAME: {"number": 2, "source": source}},
        "modules": {"buffer": None, "names": []},
    }
    name, arguments = call[:-1].split("(", 1)
    value = (main[name], eval(f"(lambda *args: args)({arguments})", main), {})
    return codec.dump({"__call__": value}, main=main, meta=meta)


def map_pack(source: str, name: str, items: list[tuple[Any, ...]]) -> codec.Pack:
    """Make the payload of a map."""
    main: dict[str, Any] = {"__name__": "__main__"}
    exec(compile(source, FILENAME, "exec"), main)
    meta = {
        "kind": "map",
        "function": name,
        "count": len(items),
        "sources": {FILENAME: {"number": 2, "source": source}},
        "modules": {"buffer": None, "names": []},
    }
    values = {"__call__": (main[name], {}), **{f"item-{i}": args for i, args in enumerate(items)}}
    return codec.dump(values, main=main, meta=meta)


Start = Callable[..., Job]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Start jobs, and end them with the test."""
    jobs: list[Job] = []

    def start(pack: codec.Pack | None = None, **options: Any) -> Job:
        jobs.append(Job(tmp_path / f"job-{len(jobs)}", pack, **options))
        return jobs[-1]

    yield start
    for job in jobs:
        job.close()


@pytest.fixture
def run(start: Start) -> Start:
    """Run a job to its end."""
    return lambda *args, **options: start(*args, **options).wait()


@pytest.fixture
def cell(run: Start) -> Callable[..., Job]:
    """Run a cell to its end; options of the job go into ``job``."""

    def cell(code: str, *, job: dict[str, Any] | None = None, **options: Any) -> Job:
        return run(cell_pack(code, **options), **(job or {}))

    return cell
