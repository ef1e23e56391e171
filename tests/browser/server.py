"""A real JupyterLab server for one module of tests, with nothing of the person who runs them."""

from __future__ import annotations

import json
import os
import secrets
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import psutil

ROOT = Path(__file__).resolve().parents[2]
OPTIONS = [
    "--no-browser",
    "--ServerApp.port_retries=0",
    "--ServerApp.terminals_enabled=False",
    "--LabApp.expose_app_in_browser=True",
    "--LabApp.extension_manager=readonly",  # the other one asks PyPI
    "--LanguageServerManager.autodetect=False",
]
# What JupyterLab would ask of the network, or do on its own while a test looks.
SETTINGS = {
    "@jupyterlab/apputils-extension/notification": {"fetchNews": "false", "checkForUpdates": False},
    "@jupyterlab/docmanager-extension/plugin": {"autosave": False},
}


class Server:
    """JupyterLab on a free port, its files in a folder of its own; as a context it is stopped with all it started.

    Parameters
    ----------
    place : Path
        An empty folder. Notebooks are in ``work``, the local backend's jobs in ``jobs``.
    base_url : str
        Where the server stands below its host.
    environ : mapping, optional
        More environment variables, of the server, its kernels and their jobs.
    python : str
        The interpreter to run it with.
    """

    def __init__(
        self,
        place: Path,
        *,
        base_url: str = "/",
        environ: Mapping[str, str] | None = None,
        python: str = sys.executable,
        options: Sequence[str] = (),
    ) -> None:
        self.work, self.jobs, self.log = place / "work", place / "jobs", place / "server.log"
        self.token = secrets.token_hex(16)
        self._base_url = base_url
        self._find_port()
        for folder in ("work", "jobs", "config", "data", "run", "ipython"):
            (place / folder).mkdir(mode=0o700)
        for plugin, values in SETTINGS.items():
            file = place / f"config/lab/user-settings/{plugin}.jupyterlab-settings"
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(json.dumps(values))
        self.environ = {
            **os.environ,
            "IPYTHONDIR": str(place / "ipython"),
            "JUPYTER_CONFIG_DIR": str(place / "config"),
            "JUPYTER_DATA_DIR": str(place / "data"),
            "JUPYTER_KONDUKTOR_LOCAL_DIR": str(self.jobs),
            "JUPYTER_PREFER_ENV_PATH": "1",
            "JUPYTER_RUNTIME_DIR": str(place / "run"),
            "JUPYTER_TOKEN": self.token,
            **(environ or {}),
        }
        self._command = [
            python,
            "-m",
            "jupyterlab",
            *OPTIONS,
            *([] if os.geteuid() else ["--allow-root"]),
            f"--ServerApp.base_url={base_url}",
            f"--ServerApp.root_dir={self.work}",
            *options,
        ]
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Server:
        try:
            try:
                self.start()
            except RuntimeError:
                self._find_port()  # somebody else may have taken the one before
                self.start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def start(self) -> None:
        """Start it and wait until it answers; it comes back at the same address, with the same token."""
        with self.log.open("ab") as log:
            command = [*self._command, f"--ServerApp.port={self.port}"]
            self._process = subprocess.Popen(command, env=self.environ, stdout=log, stderr=log, cwd=self.work)
        end = time.monotonic() + 120
        while not self._answers():
            if self._process.poll() is not None or time.monotonic() > end:
                self.stop()
                message = f"JupyterLab did not start:\n{self.log.read_text()[-4000:]}"
                raise RuntimeError(message)
            time.sleep(0.1)

    def stop(self) -> None:
        """Stop the server, and with it its kernels; jobs go on."""
        if self._process is None:
            return
        self._process.send_signal(signal.SIGCONT)
        self._process.terminate()
        try:
            self._process.wait(timeout=15)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process = None

    def close(self) -> None:
        """Stop the server and every process that came of it, however detached."""
        self.stop()
        for process in self._offspring():
            process.kill()

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Have a server that takes connections and answers none."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            self._process.send_signal(signal.SIGCONT)

    @property
    def memory(self) -> int:
        """Bytes of the server process that are its own, kernels and jobs left out."""
        assert self._process is not None
        return int(psutil.Process(self._process.pid).memory_full_info().uss)

    def ask(self, route: str, method: str = "GET") -> bytes:
        """Send a request with the token and give the answer's body."""
        headers = {"Authorization": f"token {self.token}"}
        data = b"{}" if method == "POST" else None
        request = urllib.request.Request(self.url + route, data, headers, method=method)
        with urllib.request.urlopen(request, timeout=10) as answer:
            return bytes(answer.read())

    def tidy(self) -> None:
        """End every kernel and every job, so that what a test left running is not in the next one's way."""
        for session in json.loads(self.ask("api/sessions")):
            self._end(f"api/sessions/{session['id']}", "DELETE")
        for job in json.loads(self.ask("konduktor/jobs"))["jobs"]:
            if job["state"] not in ("Succeeded", "Failed", "Cancelled"):
                self._end(f"konduktor/jobs/{job['id']}/cancel", "POST")

    def _end(self, route: str, method: str) -> None:
        try:
            self.ask(route, method)
        except urllib.error.HTTPError as error:
            if error.code not in (404, 409):  # it has ended meanwhile
                raise

    def _find_port(self) -> None:
        with socket.socket() as found:
            found.bind(("127.0.0.1", 0))
            self.port = int(found.getsockname()[1])
        self.url = f"http://127.0.0.1:{self.port}{self._base_url}"

    def _answers(self) -> bool:
        try:
            return bool(self.ask("api/status"))
        except (urllib.error.URLError, OSError):
            return False

    def _offspring(self) -> Iterator[psutil.Process]:
        for process in psutil.process_iter():
            try:
                if process.environ().get("JUPYTER_TOKEN") == self.token:
                    yield process
            except psutil.Error:
                continue  # it is gone, or another user's
