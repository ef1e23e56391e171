"""Environments of their own, with what this one has in another version or not at all; made once and kept."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from tests.browser.server import ROOT
from tests.testbed import places

KEPT = places.user_cache() / "jupyter_konduktor" / "environments"


def python_with(*requirements: str) -> Path:
    """Make an environment with these and what this package needs, once; gives its interpreter.

    Where that cannot be, the test is skipped; with CI=true it fails.
    """
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    place = KEPT / "-".join([*(re.sub(r"\W+", "-", each) for each in requirements), version])
    python, done = place / "bin/python", place / "done"
    with places.locked(KEPT / "lock"):
        if done.exists() and python.exists():
            return python
        uv = [sys.executable, "-m", "uv"]
        environ = {**os.environ, "UV_CACHE_DIR": str(places.user_cache() / "uv")}
        subprocess.run([*uv, "venv", "--quiet", "--clear", "--python", sys.executable, str(place)], check=True)
        needed = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
        install = [*uv, "pip", "install", "--quiet", "--python", str(python), *requirements, *needed]
        for _ in range(2):  # a download may fail once
            run = subprocess.run(install, env=environ, capture_output=True, text=True)
            if not run.returncode:
                done.touch()
                return python
    reason = f"{', '.join(requirements)} could not be installed: {run.stderr.strip().splitlines()[-1:]}"
    if os.environ.get("CI") == "true":
        pytest.fail(reason)
    pytest.skip(reason)
