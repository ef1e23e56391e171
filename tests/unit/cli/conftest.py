"""The command line as a terminal has it: a process, with jobs of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[3]


@dataclass
class Terminal:
    """A working directory, and an environment that keeps its jobs apart."""

    cwd: Path
    environ: dict[str, str]

    def command(self, *words: str) -> list[str]:
        return [sys.executable, "-m", "jupyter_konduktor.cli", *words]

    def run(self, *words: str, stdin: str = "", **environ: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            self.command(*words),
            cwd=self.cwd,
            env={**self.environ, **environ},
            input=stdin,
            capture_output=True,
            text=True,
            encoding="utf-8",
            timeout=60,
        )

    def start(self, *words: str, **options: Any) -> subprocess.Popen[str]:
        return subprocess.Popen(self.command(*words), cwd=self.cwd, env=self.environ, text=True, **options)

    def ok(self, *words: str, stdin: str = "") -> str:
        done = self.run(*words, stdin=stdin)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def detach(self, script: str, **options: Any) -> str:
        return self.ok("run", "--detach", "-", stdin=json.dumps({"run": script, **options})).strip()


@pytest.fixture
def terminal(tmp_path: Path) -> Iterator[Terminal]:
    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH", "")]))
    place = tmp_path / "jobs"
    found = Terminal(tmp_path, {**os.environ, "PYTHONPATH": path, "JUPYTER_KONDUKTOR_LOCAL_DIR": str(place)})
    yield found
    if place.exists():
        from jupyter_konduktor.backends.local.backend import LocalBackend

        backend = LocalBackend(place)
        for record in backend.list():
            backend.cancel(record.name)
        backend.close()
