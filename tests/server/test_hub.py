"""The routes under JupyterHub's single-user server: the hub says who someone is, and whose server it is."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from tests.browser.server import ROOT
from tests.environments import python_with

pytestmark = pytest.mark.timeout(300)  # the first time an environment is made

PREFIX = "/user/ada/"
ACCESS = "access:servers!server=ada/"
ADA, BOB, OWN = "token-of-ada", "token-of-bob", "token-of-the-server"
USERS = {
    ADA: {"kind": "user", "name": "ada", "scopes": [ACCESS]},
    BOB: {"kind": "user", "name": "bob", "scopes": ["access:servers!server=bob/"]},
    OWN: {"kind": "user", "name": "ada", "scopes": [ACCESS]},
}


class Hub(BaseHTTPRequestHandler):
    """As much of a hub's API as a single-user server asks for."""

    def do_GET(self) -> None:
        token = (self.headers["Authorization"] or "").partition(" ")[2]
        if not self.path.startswith("/hub/api/user"):
            self._answer(200, {"version": "5.0"})
        elif token in USERS:
            self._answer(200, USERS[token])
        else:
            self._answer(403, {"message": "who is that?"})

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"] or 0))
        self._answer(200, {})

    def _answer(self, status: int, body: Any) -> None:
        data = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture
def hub() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/hub/api"
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def ask(hub: str, tmp_path: Path) -> Iterator[Callable[..., tuple[int, Any]]]:
    """Ask ada's server with a token or none; gives status and JSON."""
    python = python_with("jupyterhub", "jupyter_server")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{probe.getsockname()[1]}{PREFIX}"
    (tmp_path / "config").mkdir()
    settings = {"ServerApp": {"jpserver_extensions": {"jupyter_konduktor": True}, "allow_root": True}}
    (tmp_path / "config/jupyter_server_config.json").write_text(json.dumps(settings))
    environ = {
        **os.environ,
        "JUPYTER_CONFIG_DIR": str(tmp_path / "config"),
        "JUPYTERHUB_ACTIVITY_URL": f"{hub}/users/ada/activity",
        "JUPYTERHUB_API_TOKEN": OWN,
        "JUPYTERHUB_API_URL": hub,
        "JUPYTERHUB_BASE_URL": "/",
        "JUPYTERHUB_CLIENT_ID": "jupyterhub-user-ada",
        "JUPYTERHUB_OAUTH_CALLBACK_URL": f"{PREFIX}oauth_callback",
        "JUPYTERHUB_OAUTH_SCOPES": json.dumps([ACCESS]),
        "JUPYTERHUB_SERVICE_PREFIX": PREFIX,
        "JUPYTERHUB_SERVICE_URL": url,
        "JUPYTERHUB_USER": "ada",
        "PYTHONPATH": str(ROOT),
    }

    def call(route: str, token: str = "", method: str = "GET") -> tuple[int, Any]:
        headers = {"Authorization": f"token {token}"} if token else {}
        data = b"{}" if method == "POST" else None
        request = urllib.request.Request(url + route, data, headers, method=method)
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:
                return answer.status, json.load(answer)
        except urllib.error.HTTPError as error:
            return error.code, None

    log = tmp_path / "server.log"
    with log.open("wb") as output:
        server = subprocess.Popen([python, "-m", "jupyterhub.singleuser"], env=environ, stdout=output, stderr=output)
    try:
        end = time.monotonic() + 60
        while True:
            try:
                call("api/status")
                break
            except OSError:
                assert server.poll() is None, log.read_text()
                assert time.monotonic() < end, log.read_text()
                time.sleep(0.1)
        yield call
    finally:
        server.terminate()
        server.wait(30)


def test_who_the_hub_lets_in_gets_answers_and_nobody_else(ask: Callable[..., tuple[int, Any]]) -> None:
    routes = ["about", "jobs", "queues", "settings"]
    assert {route: ask(f"konduktor/{route}", ADA)[0] for route in routes} == dict.fromkeys(routes, 200)
    assert ask("konduktor/about", ADA)[1]["user"] == "ada"
    for token in ("", BOB, "of-nobody"):
        assert {route: ask(f"konduktor/{route}", token)[0] for route in routes} == dict.fromkeys(routes, 403)
        assert ask("konduktor/jobs/local/a/cancel", token, "POST")[0] == 403
    assert ask("konduktor/jobs/local/a/cancel", ADA, "POST")[0] == 404
