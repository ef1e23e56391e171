"""Logs of real containers: live, cut off, in a flood, rotated, denied, and of pods that go away."""

from __future__ import annotations

import hashlib
import os
import re
import resource
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import yaml

from jupyter_konduktor.backends.kubernetes.api.client import Client
from jupyter_konduktor.backends.kubernetes.logs.follower import LogFollower
from jupyter_konduktor.backends.kubernetes.logs.logfile import LogFile
from jupyter_konduktor.backends.kubernetes.shelf.shelf import Shelf
from jupyter_konduktor.runner.stream import carrier_lines, control_line
from tests.testbed.cluster import Cluster, Namespace
from tests.testbed.objects import rule
from tests.testbed.parts import wait_for

NONCE = "0123456789abcdef"
CONTAINER = "konduktor-container"


class Place:
    """Pods of one test, and their logs on the way to a shelf."""

    def __init__(self, namespace: Namespace, root: Path) -> None:
        self.namespace = namespace
        self.shelf = Shelf.open("cluster", "team", base=root)
        self.growth: list[float] = []
        self.left = ExitStack()

    def client(self, kubeconfig: Path | None = None) -> Client:
        found = Client.connect(kubeconfig=str(kubeconfig or self.namespace.kubeconfig))
        self.left.callback(found.close)
        return found

    def start(self, code: str, name: str = "pod") -> dict[str, Any]:
        """Run Python code in a pod, and wait until its container has started."""
        container = {
            "name": CONTAINER,
            "image": self.namespace.cluster.image,
            "imagePullPolicy": "IfNotPresent",
            "command": ["python3", "-u", "-c", code],
        }
        spec = {"restartPolicy": "Never", "terminationGracePeriodSeconds": 1, "containers": [container]}
        self.namespace.api.create(f"{self.namespace.core}/pods", {"metadata": {"name": name}, "spec": spec})
        wait_for(lambda: set(self.state(name)) & {"running", "terminated"}, f"pod {name} to start", 60)
        return self.pod(name)

    def pod(self, name: str = "pod") -> dict[str, Any]:
        return self.namespace.api.get(f"{self.namespace.core}/pods/{name}")

    def state(self, name: str = "pod") -> dict[str, Any]:
        statuses = self.pod(name)["status"].get("containerStatuses") or [{"state": {}}]
        return statuses[0]["state"]

    def file(self, attempt: int = 0) -> LogFile:
        return self.shelf.keep("uid", "job").log(attempt, 0)

    def follow(self, client: Client, file: LogFile, *, nonce: str = "", name: str = "pod") -> LogFollower:
        follower = LogFollower(
            client,
            self.namespace.name,
            name,
            "uid",
            file,
            nonce,
            on_growth=lambda: self.growth.append(time.monotonic()),
            on_record=lambda record: None,
        )
        self.left.callback(follower.close)
        return follower

    def finish(self, follower: LogFollower, name: str = "pod", timeout: float = 100) -> None:
        wait_for(lambda: "terminated" in self.state(name), f"pod {name} to end", timeout)
        follower.terminated()
        wait_for(follower.ended, "the log to end", 60)


@pytest.fixture
def place(namespace: Namespace, tmp_path: Path) -> Iterator[Place]:
    made = Place(namespace, tmp_path)
    yield made
    made.left.close()


def content(file: LogFile) -> bytes:
    return file.read(0, 1 << 30).data


class Proxy:
    """Passes connections on to the API server, until they are cut."""

    def __init__(self, kubeconfig: Path, place: Path) -> None:
        config = yaml.safe_load(kubeconfig.read_text())
        cluster = config["clusters"][0]["cluster"]
        server = urlsplit(cluster["server"])
        self._target = server.hostname, server.port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._pairs: list[socket.socket] = []
        cluster["server"] = f"https://127.0.0.1:{self._listener.getsockname()[1]}"
        self.kubeconfig = place / "proxied.kubeconfig"
        self.kubeconfig.write_text(yaml.safe_dump(config))
        self.made = 0
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                near, _ = self._listener.accept()
            except OSError:
                return
            far = socket.create_connection(self._target)
            self.made += 1
            self._pairs += [near, far]
            for source, sink in ((near, far), (far, near)):
                threading.Thread(target=_pump, args=(source, sink), daemon=True).start()

    def cut(self) -> None:
        """End all connections, as a router does that forgets them."""
        pairs, self._pairs = self._pairs, []
        for one in pairs:
            with closing(one):
                try:
                    one.shutdown(socket.SHUT_RDWR)
                except OSError:
                    pass

    def close(self) -> None:
        self._listener.close()
        self.cut()


def _pump(source: socket.socket, sink: socket.socket) -> None:
    try:
        while data := source.recv(65536):
            sink.sendall(data)
        sink.shutdown(socket.SHUT_WR)
    except OSError:
        return


def test_log_comes_live_and_byte_for_byte(place: Place) -> None:
    odd = b"a\0b\xff\xfe\n\xc2\x85\xe2\x80\xa8\n10%\r20%\r \n\n\x1b[1mbold\n" + b"x" * 40000 + b"\n"
    artifact = os.urandom(60_000)
    sha256 = hashlib.sha256(artifact).hexdigest()
    carried = b"".join(carrier_lines(NONCE, "a", sha256, artifact))
    code = f"""
import sys, time
out = sys.stdout.buffer
def say(data):
    out.write(data); out.flush()
say({control_line(NONCE, {"t": "start"})!r})
say(b"first\\n")
time.sleep(1)
say({odd!r})
say({carried!r})
say(b"last\\n")
say({control_line(NONCE, {"t": "end"})!r})
time.sleep(30)
"""
    place.start(code)
    file = place.file()
    follower = place.follow(place.client(), file, nonce=NONCE)
    wait_for(lambda: content(file).startswith(b"first\n"), "the first line", 60)
    wait_for(follower.ended, "the end marker", 60)
    assert content(file) == b"first\n" + odd + b"last\n"
    assert bytes(place.shelf.keep("uid", "job").artifact(sha256) or b"") == artifact


def test_connections_that_are_cut_cost_and_double_nothing(place: Place, tmp_path: Path) -> None:
    code = "import time\nfor n in range(4000):\n    print(n, 'x' * (n % 100)); time.sleep(0.001)\nprint('end', end='')"
    place.start(code)
    proxy = Proxy(place.namespace.kubeconfig, tmp_path)
    place.left.callback(proxy.close)
    file = place.file()
    follower = place.follow(place.client(proxy.kubeconfig), file)
    for _ in range(12):
        time.sleep(0.25)
        proxy.cut()
    place.finish(follower)
    assert content(file) == b"".join(b"%d %s\n" % (n, b"x" * (n % 100)) for n in range(4000)) + b"end"
    assert proxy.made > 5


def test_flood_is_taken_in_as_fast_as_it_is_served(place: Place) -> None:
    """The kubelet serves no file that was rotated: what is missing then is said, and nothing comes twice."""
    count = 400_000
    place.start(f"import sys\nfor n in range({count}): sys.stdout.write('%08d %s\\n' % (n, 'y' * 91))", "flood")
    file = place.file()
    before, began = resource.getrusage(resource.RUSAGE_SELF), time.monotonic()
    follower = place.follow(place.client(), file, name="flood")
    place.finish(follower, "flood")
    after, took = resource.getrusage(resource.RUSAGE_SELF), time.monotonic() - began
    cpu = after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime
    print(
        f"{file.size / 1e6 / took:.0f} MB/s, {file.size / 1e6 / cpu:.0f} MB per CPU second, {len(place.growth)} calls"
    )
    complete_or_said(content(file), count)
    assert after.ru_maxrss - before.ru_maxrss < 64 * 1024
    assert len(place.growth) <= 20 * took + 5


def complete_or_said(text: bytes, count: int) -> int:
    """Check that every number is there once and in order, but for gaps that are marked; gives how many gaps."""
    lines = [line for line in text.splitlines() if not line.startswith(b"[konduktor: ")]
    numbers = [int(line[:8]) for line in lines if re.fullmatch(rb"\d{8} [yz]+", line)]
    assert numbers == sorted(set(numbers))
    gaps = len(re.findall(rb"^\[konduktor: .* could not be read\]$", text, re.MULTILINE))
    missing = sum(after != before + 1 for before, after in zip([-1, *numbers], [*numbers, count], strict=True))
    assert missing <= gaps
    assert len(lines) - len(numbers) <= gaps  # a file may begin within a line
    return gaps


def test_denied_log_ends_and_names_what_is_missing(place: Place, cluster: Cluster) -> None:
    place.start("print(1)")
    rules = [rule("", "pods", "get list watch")]
    kubeconfig = cluster.new_user(f"{place.namespace.name}-blind", place.namespace.name, rules)
    file = place.file()
    follower = place.follow(place.client(kubeconfig), file)
    wait_for(follower.ended, "the follower to give up", 60)
    assert "log" in file.problem
    place.finish(place.follow(place.client(), file))
    assert (content(file), file.problem) == (b"1\n", "")


def test_pod_that_is_deleted_leaves_what_it_wrote(place: Place) -> None:
    place.start("import time\nprint('here')\nprint('half', end='')\ntime.sleep(60)")
    file = place.file()
    follower = place.follow(place.client(), file)
    wait_for(lambda: content(file) == b"here\n", "the first line", 60)
    place.namespace.api.delete(f"{place.namespace.core}/pods/pod")
    wait_for(follower.ended, "the log to end", 60)
    assert content(file).startswith(b"here\n")
    assert file.ended


@pytest.mark.alone
def test_rotation_is_complete_or_said(place: Place, cluster: Cluster) -> None:
    count = 300_000
    settings = {"containerLogMaxSize": "1Mi", "containerLogMonitorInterval": "3s"}
    counted = control_line(NONCE, {"t": "lines", "n": 0}).decode().replace("0}", "%d}")
    code = f"""
import sys, time
sys.stdout.write({control_line(NONCE, {"t": "start"}).decode()!r})
for n in range({count}):
    sys.stdout.write('%08d %s\\n' % (n, 'z' * 41))
    if n % 1000 == 999: sys.stdout.write({counted!r} % (n + 1))
    if n % 30000 == 0: time.sleep(0.7)
"""
    with cluster.kubelet_settings(**settings):
        place.start(code, "rotated")
        file = place.file()
        follower = place.follow(place.client(), file, nonce=NONCE, name="rotated")
        place.finish(follower, "rotated")
    gaps = complete_or_said(content(file), count)
    print(f"{gaps} gaps, {file.size} bytes of {count * 51}")
