"""A gate in front of an API server that is too busy now and then, as its priority and fairness make it."""

from __future__ import annotations

import json
import threading
from collections import Counter
from http.client import HTTPSConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from tests.testbed.api import Api

STATUS = {"kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": "TooManyRequests", "code": 429}
PASSED_ON = ("Accept", "Content-Type")


class Busy:
    """Passes requests on as a kubeconfig's user, and refuses each for the first time with 429; as a context, it ends.

    Parameters
    ----------
    kubeconfig : Path
    wait : int
        Seconds that it asks to wait.

    Attributes
    ----------
    refused, passed : Counter
        How often each request, by its method and path, was refused and let through.
    """

    def __init__(self, kubeconfig: Path, wait: int = 1) -> None:
        self.api = Api(kubeconfig)
        self.wait = wait
        self.refused: Counter[str] = Counter()
        self.passed: Counter[str] = Counter()
        self.lock = threading.Lock()
        gate = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def handle_one(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0)) or None
                what = f"{self.command} {self.path.partition('?')[0]}"
                with gate.lock:
                    refuse = gate.refused[what] == 0
                    (gate.refused if refuse else gate.passed)[what] += 1
                if refuse:
                    self.say(429, json.dumps(STATUS).encode(), "application/json")
                else:
                    gate.forward(self, body)

            def say(self, status: int, content: bytes, kind: str) -> None:
                self.send_response(status)
                if status == 429:
                    self.send_header("Retry-After", str(gate.wait))
                self.send_header("Content-Type", kind)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, *_: object) -> None:
                pass

            do_GET = do_POST = do_PATCH = do_DELETE = handle_one  # noqa: N815

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def forward(self, request: BaseHTTPRequestHandler, body: bytes | None) -> None:
        """Pass one request on, and its answer back as it comes."""
        server = self.api.server
        connection = HTTPSConnection(server.hostname or "", server.port or 443, timeout=300, context=self.api.context)
        headers = {name: request.headers[name] for name in PASSED_ON if name in request.headers}
        try:
            connection.request(request.command, request.path, body, headers)
            answer = connection.getresponse()
            request.send_response(answer.status)
            for name in ("Content-Type", "Date", "Warning"):
                if value := answer.getheader(name):
                    request.send_header(name, value)
            request.send_header("Connection", "close")
            request.close_connection = True
            request.end_headers()
            while data := answer.read1(65536):
                request.wfile.write(data)
                request.wfile.flush()
        except OSError:
            request.close_connection = True  # one of both sides has gone
        finally:
            connection.close()

    def kubeconfig(self, original: Path, place: Path) -> Path:
        """Write a kubeconfig like another one, that leads through this gate."""
        content = json.loads(original.read_text())
        for cluster in content["clusters"]:
            cluster["cluster"] = {"server": f"http://127.0.0.1:{self.server.server_port}"}
        for user in content["users"]:
            user["user"] = {}
        place.write_text(json.dumps(content))
        return place

    def __enter__(self) -> Busy:
        return self

    def __exit__(self, *_: object) -> None:
        self.server.shutdown()
        self.server.server_close()
