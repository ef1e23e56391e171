"""What the cluster says no with, as an error of ours."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from jupyter_konduktor.backends.kubernetes.api.contexts import Target
from jupyter_konduktor.errors import AccessDeniedError, ApiError, UnreachableError

_NO_TLS = b"Client sent an HTTP request to an HTTPS server"
_LONGEST = 2000  # a webhook may say anything


def refusal(status: int, data: bytes, target: Target) -> ApiError | UnreachableError:
    """Make an error of an answer's status and content."""
    if status == 400 and data.startswith(_NO_TLS):
        return UnreachableError(
            f"The server of context {target.context!r} ({target.server}) wants TLS",
            advice="Its address has to begin with https://: correct server in the kubeconfig.",
        )
    try:
        content = json.loads(data)
    except (ValueError, RecursionError):
        content = None
    if isinstance(content, dict) and content.get("kind") == "Status":
        return _of_status(status, content, target)
    return of_text(status, data.decode("utf-8", "replace"), target)


def of_event(content: Mapping[str, Any], target: Target) -> ApiError | UnreachableError:
    """Make an error of the object of a watch's ERROR event."""
    return _of_status(int(content.get("code") or 500), content, target)


def of_text(status: int, text: str, target: Target) -> ApiError:
    """Make an error of an answer that is not the API's own, as of a proxy on the way."""
    try:
        phrase = HTTPStatus(status).phrase
    except ValueError:
        phrase = "no known status"
    said = "" if "<" in text else re.sub(r"\s+", " ", text).strip()[:200]
    return _error(status, f"{target.server} answered {status} ({phrase})" + (f": {said}" if said else ""), "", target)


def _of_status(status: int, content: Mapping[str, Any], target: Target) -> ApiError:
    message = str(content.get("message") or content.get("reason") or f"status {status}")[:_LONGEST]
    return _error(status, message, str(content.get("reason") or ""), target)


def _error(status: int, message: str, reason: str, target: Target) -> ApiError:
    if status == 401:
        return ApiError(
            f"The cluster does not accept the credentials of context {target.context!r}{_expired(target)}",
            advice="Log in to the cluster again; what the kubeconfig says then is used without a restart.",
            status=status,
            reason=reason or "Unauthorized",
        )
    kind = AccessDeniedError if status == 403 else ApiError
    return kind(message, status=status, reason=reason)


def _expired(target: Target) -> str:
    """Say that the client's certificate has expired, if it has."""
    import time

    from jupyter_konduktor.backends.kubernetes.api.kubeconfig import certificate_end

    end = certificate_end(target)
    if end is None or end > time.time():
        return ""
    return f": its client certificate expired on {time.strftime('%Y-%m-%d', time.gmtime(end))}"
