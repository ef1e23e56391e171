"""The extension of a Jupyter server: adds the routes, tells of changes on the event bus, and ends with the server."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

from jupyter_server.extension.application import ExtensionApp
from tornado.ioloop import IOLoop

from jupyter_konduktor.server.routes.handlers import handlers
from jupyter_konduktor.server.service import Service

WARM_AFTER = 1.0
"""Seconds after the server's start when the jobs of this machine are read: it has other things to do first."""

EVENT = "https://events.jupyter.org/jupyter_konduktor/job/v1"
_SCHEMA = Path(__file__).parent.parent / "job_changed.yaml"


class KonduktorExtension(ExtensionApp):
    """Jobs for the clients of a Jupyter server."""

    name = "jupyter_konduktor"
    service: Service | None = None

    def initialize_settings(self) -> None:
        """Make what answers, and make known what it tells."""
        server: Any = self.serverapp  # which is there from the link on, whatever its type says
        self.events = server.event_logger
        if self.service is None:  # a server may load its extensions twice
            self.service = Service(str(server.root_dir or ""), self._announce)
        if EVENT not in self.events.schemas:
            self.events.register_event_schema(_SCHEMA)

    def initialize_handlers(self) -> None:
        """Add the routes."""
        self.handlers = handlers(self.service)
        if self.service is not None:
            warm = self.service.warm
            IOLoop.current().call_later(WARM_AFTER, lambda: asyncio.ensure_future(warm()))

    async def stop_extension(self) -> None:
        """End the watches; jobs go on."""
        if self.service is not None:
            await self.service.close()

    def _announce(self, job: str, epoch: str, seq: int) -> None:
        self.events.emit(schema_id=EVENT, data={"job": job, "epoch": epoch, "seq": seq})
