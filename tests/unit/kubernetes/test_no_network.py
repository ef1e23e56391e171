"""The command line of a pod where there is no network at all, not even loopback."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.unit.kubernetes.pods import Pod
from tests.unit.runner.conftest import cell_pack

pytestmark = [pytest.mark.needs("linux", "root", "program:unshare")]
CELL = """
import socket
try:
    socket.create_connection(("127.0.0.1", 1), timeout=5)
except OSError as error:
    why = error.errno
print("hello")
x = m + [2]
"""
UNREACHABLE = 101


@pytest.mark.parametrize(("inline", "secret"), [(True, False), (False, True)])
def test_the_runner_needs_no_network_unless_there_is_a_store(tmp_path: Path, inline: bool, secret: bool) -> None:
    isolated = tmp_path / "python"
    isolated.write_text(f'#!/bin/sh\nexec unshare --net {sys.executable} "$@"\n')
    isolated.chmod(0o755)
    if subprocess.run([isolated, "-c", ""], capture_output=True).returncode:
        pytest.skip("this machine lets no process have a network of its own")
    pack = cell_pack(CELL, auto=["x", "why"], inputs={"m": [1]})
    pod = Pod(tmp_path / "pod", pack, python=str(isolated), inline=inline, secret=secret)
    assert pod.code == 0, pod.log
    assert pod.load().values == {"x": [1, 2], "why": UNREACHABLE, "m": [1]} or pod.load().values == {
        "x": [1, 2],
        "why": UNREACHABLE,
    }
    assert pod.text == "hello\n"
