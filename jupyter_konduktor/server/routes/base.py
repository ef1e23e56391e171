"""What all handlers share: who may ask, how parameters are read, and how errors are told."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from functools import wraps
from http import HTTPStatus
from typing import Any, TypeVar

from jupyter_server.auth.decorator import authorized
from jupyter_server.base.handlers import APIHandler
from tornado.iostream import StreamClosedError
from tornado.web import HTTPError, authenticated

from jupyter_konduktor.errors import KonduktorError
from jupyter_konduktor.server import problems
from jupyter_konduktor.server.service import Service

RESOURCE = "konduktor"
"""What an authorizer of the server is asked about."""

H = TypeVar("H", bound="Handler")


class Handler(APIHandler):
    """Answers with JSON; polls of an open page do not count as activity of the server's user."""

    auth_resource = RESOURCE
    _track_activity = False

    def initialize(self, service: Service) -> None:
        """Take what answers."""
        self.service = service

    def whole(self, name: str, default: int | None = None, *, low: int | None = None, high: int | None = None) -> Any:
        """Read a whole number from the query; raises `BadRequestError` for what is none or out of bounds."""
        text = self.get_query_argument(name, None)
        if text is None and default is not None:
            return default
        bounds = [f"from {low}"] if low is not None else []
        bounds += [f"up to {high}"] if high is not None else []
        try:
            value = int(text or "")
        except ValueError:
            value = None
        if value is None or (low is not None and value < low) or (high is not None and value > high):
            said = "is missing" if text is None else f"is {text[:40]!r}"
            raise problems.BadRequestError(f"{name} {said}; it must be a whole number {' '.join(bounds)}".rstrip())
        return value

    def write_error(self, status_code: int, **kwargs: Any) -> None:
        """Say what was wrong in one line; what went wrong in our own code stands in the server's log alone."""
        error = kwargs.get("exc_info", (None, None))[1]
        self.set_header("Content-Type", "application/json")
        self.finish(json.dumps({"message": _message(status_code, error)}))

    def log_exception(self, *args: Any) -> None:
        """Log what is nobody's fault but ours; the rest is an answer."""
        if not isinstance(args[1], (KonduktorError, StreamClosedError)):
            super().log_exception(*args)


def _message(status: int, error: BaseException | None) -> str:
    if isinstance(error, KonduktorError):
        return problems.line(error)
    if isinstance(error, HTTPError):
        return str(error.log_message or error.reason or HTTPStatus(status).phrase)
    return "The server has failed at this; its log tells more"


def guarded(method: Callable[..., Awaitable[None]]) -> Callable[..., Any]:
    """Let only those in who may, and give errors of this package their status."""

    @authenticated
    @authorized
    @wraps(method)
    async def verb(self: Handler, *args: Any) -> None:
        try:
            await method(self, *args)
        except KonduktorError as error:
            if self._headers_written:
                self.log.warning("konduktor: %s", problems.line(error))
                return
            self.set_status(problems.status(error))
            self.write_error(self.get_status(), exc_info=(type(error), error, None))
        except StreamClosedError:
            return  # nobody listens any more

    return verb
