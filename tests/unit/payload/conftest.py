"""A notebook without a kernel: cells that run in one namespace, with file names and sources as IPython gives them."""

from __future__ import annotations

import linecache
import types
from typing import Any

import pytest

from jupyter_konduktor.payload import Payload, capture_call, capture_cell
from jupyter_konduktor.runner import codec


class Notebook:
    """Runs cells, and captures them as jobs would be."""

    def __init__(self) -> None:
        self.module = types.ModuleType("__main__")
        self.namespace: dict[str, Any] = self.module.__dict__
        self.cells: dict[str, int | None] = {}

    def run(self, source: str) -> None:
        number = len(self.cells) + 1
        filename = f"/tmp/ipykernel_1/{id(self)}{number}.py"
        self.cells[filename] = number
        linecache.cache[filename] = (len(source), None, source.splitlines(keepends=True), filename)
        exec(compile(source, filename, "exec"), self.namespace)

    def capture(self, source: str, **options: Any) -> Payload:
        return capture_cell(source, source, self.namespace, cells=self.cells, **{"environ": {}, **options})

    def call(self, function: Any, *args: Any, **kwargs: Any) -> Payload:
        return capture_call(function, args, kwargs, namespace=self.namespace, cells=self.cells, environ={})

    def in_job(self, payload: Payload) -> dict[str, Any]:
        """Load a payload into a new namespace and run its code there, as a job does."""
        job: dict[str, Any] = {"__name__": "__main__"}
        loaded = codec.load(payload.data, lambda sha256, size: bytearray(payload.objects[sha256]), job)
        job.update({**loaded.indirect, **loaded.values})
        exec(loaded.header["meta"]["cell"]["code"], job)
        return job


@pytest.fixture
def notebook() -> Notebook:
    return Notebook()
