"""A small HTTP server that answers as it is told, where an API server cannot be made to; it can be a proxy too."""

from __future__ import annotations

import json
import socket
import ssl
import subprocess
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

_KEY = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-subj")


@dataclass
class Answer:
    """One answer."""

    status: int = 200
    body: Any = field(default_factory=lambda: {"kind": "Thing"})
    headers: dict[str, str] = field(default_factory=dict)


class Server:
    """Answers with what is in ``answers``, in that order, then with 200; keeps what it was asked in ``requests``."""

    def __init__(self, context: ssl.SSLContext | None = None) -> None:
        self.answers: list[Answer] = []
        self.requests: list[tuple[str, str, dict[str, str]]] = []
        self.tunnels: list[str] = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                self.rfile.read(int(self.headers.get("Content-Length") or 0))
                outer.requests.append((self.command, self.path, dict(self.headers)))
                answer = outer.answers.pop(0) if outer.answers else Answer()
                data = answer.body if isinstance(answer.body, bytes) else json.dumps(answer.body).encode()
                self.send_response(answer.status)
                for name, value in {"Content-Length": str(len(data)), **answer.headers}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(data)

            do_POST = do_PATCH = do_DELETE = do_GET  # noqa: N815

            def do_CONNECT(self) -> None:
                outer.tunnels.append(self.path)
                host, _, port = self.path.rpartition(":")
                with socket.create_connection((host, int(port))) as there:
                    self.send_response(200)
                    self.end_headers()
                    back = threading.Thread(target=_copy, args=(there, self.connection), daemon=True)
                    back.start()
                    _copy(self.connection, there)

            def log_message(self, *_: object) -> None:
                pass

        class Quiet(ThreadingHTTPServer):
            daemon_threads = True

            def handle_error(self, *_: object) -> None:
                pass  # a client that does not trust this server

        self._http = Quiet(("127.0.0.1", 0), Handler)
        if context is not None:
            self._http.socket = context.wrap_socket(self._http.socket, server_side=True, do_handshake_on_connect=False)
        self.port = self._http.server_address[1]
        self.url = f"{'https' if context else 'http'}://127.0.0.1:{self.port}"
        threading.Thread(target=self._http.serve_forever, args=(0.02,), daemon=True).start()

    def close(self) -> None:
        self._http.shutdown()
        self._http.server_close()


def _copy(source: socket.socket, to: socket.socket) -> None:
    try:
        while data := source.recv(65536):
            to.sendall(data)
        to.shutdown(socket.SHUT_RDWR)
    except OSError:
        pass


def certificate(place: Path, name: str, *, address: str = "127.0.0.1") -> tuple[Path, Path]:
    """Make a certificate that vouches for itself, and its key."""
    crt, key = place / f"{name}.crt", place / f"{name}.key"
    more = ("-addext", f"subjectAltName=IP:{address}", "-keyout", key, "-out", crt)
    subprocess.run(["openssl", "req", "-x509", *_KEY, f"/CN={name}", *more], check=True, capture_output=True)
    return crt, key


def expired_certificate(place: Path, name: str) -> None:
    """Make a certificate that ended with the year 2020, and its key."""
    (place / "index.txt").touch()
    (place / "ca.cnf").write_text(
        f"[ca]\ndefault_ca=here\n[here]\ndatabase={place}/index.txt\nnew_certs_dir={place}\ndefault_md=sha256\n"
        "policy=any\nrand_serial=yes\n[any]\ncommonName=supplied\n"
    )
    crt, key, request = (place / f"{name}.{end}" for end in ("crt", "key", "csr"))
    signed = ["-config", place / "ca.cnf", "-startdate", "20200101000000Z", "-enddate", "20210101000000Z"]
    for command in (
        ["req", *_KEY, f"/CN={name}", "-keyout", key, "-out", request],
        ["ca", "-batch", "-notext", "-selfsign", "-keyfile", key, *signed, "-in", request, "-out", crt],
    ):
        subprocess.run(["openssl", *command], check=True, capture_output=True)


def secure(pair: tuple[Path, Path]) -> ssl.SSLContext:
    """Make a TLS context for a server."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*pair)
    return context


def kubeconfig(
    path: Path,
    server: str,
    *,
    user: dict[str, Any] | None = None,
    cluster: dict[str, Any] | None = None,
    context: dict[str, Any] | None = None,
) -> str:
    """Write a kubeconfig with one context, ``here``."""
    content = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "c", "cluster": {"server": server, **(cluster or {})}}],
        "users": [{"name": "u", "user": user or {}}],
        "contexts": [{"name": "here", "context": {"cluster": "c", "user": "u", **(context or {})}}],
        "current-context": "here",
    }
    path.write_text(json.dumps(content))
    return str(path)
