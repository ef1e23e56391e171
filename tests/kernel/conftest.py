"""A real IPython kernel, driven as a notebook drives one."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from jupyter_client.manager import KernelManager

ROOT = Path(__file__).resolve().parents[2]
ANSI = re.compile(r"\x1b\[[0-9;]*m")


@dataclass
class Shown:
    """What a cell gave: its reply, and what it put under itself, in order.

    Attributes
    ----------
    outputs : list of (str, content)
        Message type and content. A stream's neighbouring messages are one; an updated display stands where it was.
    messages : int
        How many messages there were.
    comms : list of (str, content)
        What was sent to widgets.
    """

    reply: dict[str, Any] = field(default_factory=dict)
    outputs: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    messages: int = 0
    comms: list[tuple[str, dict[str, Any]]] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        return self.reply.get("status") == "ok"

    def stream(self, name: str = "stdout") -> str:
        return "".join(c["text"] for kind, c in self.outputs if kind == "stream" and c["name"] == name)

    @property
    def displays(self) -> list[dict[str, Any]]:
        """What was displayed; an output without content is not seen."""
        shown = [c["data"] for kind, c in self.outputs if kind in ("display_data", "execute_result")]
        return [data for data in shown if any(data.values())]

    @property
    def last_line(self) -> str:
        """The text of the last output, which is our final line if it is a display."""
        kind, content = self.outputs[-1] if self.outputs else ("", {})
        return str(content["data"]["text/plain"]) if kind == "display_data" else ""

    @property
    def text(self) -> str:
        """All text, the way a reader sees it."""
        parts = []
        for kind, content in self.outputs:
            if kind == "error":
                parts.append("\n".join(content["traceback"]))
            else:
                parts.append(content["text"] if kind == "stream" else str(content["data"].get("text/plain", "")))
        return ANSI.sub("", "\n".join(parts))

    @property
    def error(self) -> str:
        return ANSI.sub("", "\n".join(self.reply.get("traceback", [])))

    def add(self, kind: str, content: dict[str, Any]) -> None:
        self.messages += 1
        last = self.outputs[-1] if self.outputs else ("", {})
        if kind == "stream" and last[0] == "stream" and last[1]["name"] == content["name"]:
            last[1]["text"] += content["text"]
        elif kind == "update_display_data":
            for _, shown in self.outputs:
                if shown.get("transient", {}).get("display_id") == content["transient"]["display_id"]:
                    shown.update(data=content["data"])
        elif kind == "clear_output":
            self.outputs.clear()
        elif kind in ("stream", "display_data", "execute_result", "error"):
            self.outputs.append((kind, dict(content)))
        elif kind.startswith("comm_"):
            self.comms.append((kind, content))


class Kernel:
    """One kernel with the extension loaded, in a working directory of its own."""

    def __init__(self, cwd: Path, **environ: str) -> None:
        self.cwd = cwd
        self.manager = KernelManager(kernel_name="python3")
        path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH", "")]))
        self.environ = {**os.environ, "PYTHONPATH": path, **environ}
        self.manager.start_kernel(cwd=str(cwd), env=self.environ)
        self._connect()

    def _connect(self) -> None:
        self.client = self.manager.blocking_client()
        self.client.start_channels()
        self.client.wait_for_ready(timeout=60)
        self.run("%load_ext jupyter_konduktor")

    def restart(self) -> None:
        self.client.stop_channels()
        self.manager.restart_kernel(now=True, env=self.environ)
        self._connect()

    def close(self) -> None:
        self.client.stop_channels()
        self.manager.shutdown_kernel(now=True)

    def run(
        self,
        code: str,
        timeout: float = 60,
        during: Callable[[Shown], bool] | None = None,
        cell_id: str | None = None,
        person: bool = False,
    ) -> Shown:
        """Run a cell; ``during`` is called after each message until it returns True.

        With ``person`` it is run as a front end does it that can ask, and show widgets.
        """
        code = code.strip("\n")
        content = {"code": code, "silent": False, "store_history": True, "allow_stdin": person, "stop_on_error": True}
        metadata = {"cellId": cell_id} if cell_id else {}
        message = self.client.session.msg("execute_request", content, metadata=metadata)
        self.client.shell_channel.send(message)
        request = message["header"]["msg_id"]
        shown, end = Shown(), time.monotonic() + timeout
        while True:
            left = end - time.monotonic()
            assert left > 0, f"the cell has not ended within {timeout} s:\n{code}\n---\n{shown.text}"
            message = self.client.get_iopub_msg(timeout=left)
            if message["parent_header"].get("msg_id") != request:
                continue
            kind, content = message["msg_type"], message["content"]
            if kind == "status" and content["execution_state"] == "idle":
                break
            shown.add(kind, content)
            if during is not None and during(shown):
                during = None
        while True:
            reply = self.client.get_shell_msg(timeout=10)
            if reply["parent_header"].get("msg_id") == request:
                shown.reply = reply["content"]
                return shown

    def value(self, expression: str) -> str:
        """Give the repr of an expression."""
        reply = self.client.execute(
            "", silent=True, user_expressions={"it": expression}, allow_stdin=False, store_history=False
        )
        while True:
            message = self.client.get_shell_msg(timeout=30)
            if message["parent_header"].get("msg_id") == reply:
                found = message["content"]["user_expressions"]["it"]
                return str(found["data"]["text/plain"] if found["status"] == "ok" else found["ename"])

    def complete(self, code: str, cursor: int | None = None) -> list[str]:
        content = self.client.complete(code, len(code) if cursor is None else cursor, reply=True, timeout=30)["content"]
        return list(content["matches"])


@pytest.fixture(scope="module")
def kernel(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kernel]:
    made = Kernel(tmp_path_factory.mktemp("work"))
    yield made
    made.close()
