"""A small client of the API server, with a user's certificate or token."""

from __future__ import annotations

import base64
import http.client
import json
import ssl
import tempfile
import time
import urllib.parse
import urllib.request
from pathlib import Path
from typing import Any

import yaml

TIMEOUT = 30.0
BUSY = 20.0
KINDS = {"merge": "application/merge-patch+json", "json": "application/json-patch+json"}


class ApiError(Exception):
    """Raised when the API server refuses."""

    def __init__(self, status: int, body: bytes) -> None:
        self.status = status
        try:
            content = json.loads(body)
            self.reason, text = content.get("reason", ""), content.get("message", "")
        except (ValueError, AttributeError):
            self.reason, text = "", body.decode(errors="replace")
        super().__init__(f"{status} {self.reason}: {text}")


class Api:
    """Requests to one API server as the user of a kubeconfig."""

    def __init__(self, kubeconfig: Path) -> None:
        self.path = kubeconfig
        config = yaml.safe_load(kubeconfig.read_text())
        context = _named(config["contexts"], config["current-context"])["context"]
        self.cluster = _named(config["clusters"], context["cluster"])["cluster"]
        self.user = _named(config["users"], context["user"])["user"]
        self.namespace = context.get("namespace", "default")
        self.server = urllib.parse.urlsplit(self.cluster["server"])
        self.authority = _content(self.cluster, "certificate-authority", self.path)
        self.context = self.tls()

    def tls(self) -> ssl.SSLContext:
        """What a connection is made with, of the certificates as they are now."""
        context = ssl.create_default_context(cadata=self.authority)
        certificate = _content(self.user, "client-certificate", self.path)
        key = _content(self.user, "client-key", self.path)
        if certificate and key:
            with tempfile.NamedTemporaryFile("w", suffix=".pem") as file:
                file.write(f"{certificate}\n{key}")
                file.flush()
                context.load_cert_chain(file.name)
        return context

    def open(self, method: str, path: str, body: Any = None, patch: str = "", timeout: float = TIMEOUT) -> Any:
        """Send a request and give the raw response; the caller closes it."""
        connection = http.client.HTTPSConnection(
            self.server.hostname or "", self.server.port or 443, timeout=timeout, context=self.context
        )
        kind = KINDS.get(patch, "application/json")
        headers = {"Accept": "application/json", "Content-Type": kind, "Connection": "close"}
        if token := self.user.get("token"):
            headers["Authorization"] = f"Bearer {token}"
        connection.request(method, self.server.path + path, None if body is None else json.dumps(body), headers)
        response = connection.getresponse()
        if response.status >= 400:
            content = response.read()
            connection.close()
            raise ApiError(response.status, content)
        return response

    def text(self, path: str, timeout: float = TIMEOUT) -> str:
        """GET something that is not JSON, as a log."""
        with self.open("GET", path, timeout=timeout) as response:
            return response.read().decode(errors="replace")

    def api(self, method: str, path: str, body: Any = None, *, patch: str = "", timeout: float = TIMEOUT) -> Any:
        """Send a request and give what came back."""
        end = time.monotonic() + BUSY
        while True:
            try:
                with self.open(method, path, body, patch, timeout) as response:
                    content = response.read()
                return json.loads(content) if content else None
            except ApiError as error:
                if error.status != 429 or time.monotonic() > end:  # a server that has just started reads its storage
                    raise
            time.sleep(0.2)

    def get(self, path: str) -> Any:
        """GET an object or a list."""
        return self.api("GET", path)

    def find(self, path: str) -> Any:
        """GET an object, or None where there is none."""
        try:
            return self.get(path)
        except ApiError as error:
            if error.status == 404:
                return None
            raise

    def create(self, path: str, body: Any) -> Any:
        """POST an object."""
        return self.api("POST", path, body)

    def ensure(self, path: str, body: Any) -> None:
        """POST an object, unless one of that name is there."""
        try:
            self.create(path, body)
        except ApiError as error:
            if error.status != 409 or error.reason != "AlreadyExists":
                raise

    def merge(self, path: str, body: Any) -> Any:
        """PATCH an object with a merge patch."""
        return self.api("PATCH", path, body, patch="merge")

    def delete(self, path: str, *, grace: int | None = None, policy: str = "Background") -> None:
        """DELETE an object or, with a list's path, all of them; one that is not there is no error."""
        options = {"apiVersion": "v1", "kind": "DeleteOptions", "propagationPolicy": policy}
        try:
            self.api("DELETE", path, options if grace is None else {**options, "gracePeriodSeconds": grace})
        except ApiError as error:
            if error.status != 404:
                raise


def healthy(url: str) -> bool:
    """Whether a health address on this machine answers 200, whoever signed its certificate."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    # No proxy of the environment is between us and this machine.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=context))
    try:
        with opener.open(url, timeout=2) as response:
            return response.status == 200
    except (OSError, http.client.HTTPException):
        return False


def _named(entries: list[dict[str, Any]], name: str) -> dict[str, Any]:
    return next(entry for entry in entries if entry["name"] == name)


def _content(entry: dict[str, Any], name: str, kubeconfig: Path) -> str | None:
    if data := entry.get(f"{name}-data"):
        return base64.b64decode(data).decode()
    return (kubeconfig.parent / entry[name]).read_text() if name in entry else None
