"""A real S3 server for each test, as a process on loopback that can be stopped and started again."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from jupyter_konduktor.store.store import Store
from tests.testbed import build

ACCESS, SECRET = "CANARYACCESSKEY", "canary-secret-key-of-the-store"
BUCKET, PREFIX = "bucket", "some/prefix"


class Gateway:
    """An S3 server whose buckets are folders.

    Parameters
    ----------
    folder : Path
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.files = folder / "s3" / BUCKET / PREFIX
        self.files.mkdir(parents=True)
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self._log = folder / "requests.log"
        self.start()

    def start(self) -> None:
        keys = ["--access", ACCESS, "--secret", SECRET, "--port", f"127.0.0.1:{self.port}"]
        with self._log.open("ab") as log:
            self.process = subprocess.Popen(
                [build.program("versitygw"), *keys, "posix", self.folder / "s3"], stdout=log, stderr=log
            )
        end = time.monotonic() + 30
        while True:
            try:
                socket.create_connection(("127.0.0.1", self.port), timeout=1).close()
                return
            except OSError:
                assert self.process.poll() is None, self._log.read_text()
                assert time.monotonic() < end
                time.sleep(0.02)

    def kill(self) -> None:
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def requests(self, method: str = "", part: str = "") -> list[str]:
        """What it was asked for, as ``METHOD path``."""
        found = []
        for line in self._log.read_text().splitlines():
            fields = [field.strip() for field in line.split("|")]
            if len(fields) > 6 and fields[1] == "vgw" and fields[5].startswith(method) and part in fields[6]:
                found.append(f"{fields[5]} {fields[6]}")
        return found

    @property
    def environment(self) -> dict[str, str]:
        return {
            "AWS_ENDPOINT_URL": f"http://127.0.0.1:{self.port}",
            "AWS_ACCESS_KEY_ID": ACCESS,
            "AWS_SECRET_ACCESS_KEY": SECRET,
            "AWS_REGION": "us-east-1",
        }


@pytest.fixture
def gateway(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Gateway]:
    if not build.program("versitygw").exists():
        if os.environ.get("CI") == "true":
            pytest.fail("the S3 server was not built (python -m tests.testbed build)", pytrace=False)
        pytest.skip("missing on this machine: the S3 server (python -m tests.testbed build)")
    made = Gateway(tmp_path / "gateway")
    for name, value in made.environment.items():
        monkeypatch.setenv(name, value)
    yield made
    made.kill()


@pytest.fixture
def store(gateway: Gateway) -> Store:
    return Store(f"s3://{BUCKET}/{PREFIX}")
