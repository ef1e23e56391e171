"""The oldest and the newest version of the kubernetes client that are allowed: credentials, TLS, and a real job."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from tests.testbed import places
from tests.testbed.cluster import Namespace

ROOT = Path(__file__).parents[2]
ALLOWED = next(
    found
    for found in map(Requirement, metadata.requires("jupyter-konduktor") or ())
    if found.name == "kubernetes" and found.marker is None
)
OLDEST = next(each.version for each in ALLOWED.specifier if each.operator == ">=")
JOB = """
import kubernetes
print(kubernetes.__version__, kubernetes.__file__)
import jupyter_konduktor as jk
from tests.cluster.work import add
print("value", jk.remote(add)(1))
"""


@pytest.fixture(scope="module", params=["oldest", "newest"])
def client(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with one version of the client, and with what that one needs."""
    wanted = f"kubernetes=={OLDEST}.*" if request.param == "oldest" else str(ALLOWED)
    folder = tmp_path_factory.mktemp(request.param)
    uv = Path(sys.executable).with_name("uv")
    environment = {**os.environ, "UV_CACHE_DIR": str(places.user_cache() / "uv"), "UV_HTTP_TIMEOUT": "120"}
    command = [uv, "pip", "install", "--quiet", "--python", sys.executable, "--target", folder, wanted]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    if done.returncode:
        missing = pytest.fail if os.environ.get("CI") == "true" else pytest.skip
        missing(f"{wanted} cannot be installed: {done.stderr}")
    return folder


def run(client: Path, *arguments: str, **settings: str) -> str:
    environment = {**os.environ, **settings, "PYTHONPATH": f"{client}{os.pathsep}{ROOT}"}
    command = [sys.executable, *arguments]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.timeout(240)
def test_credentials_and_connections_are_as_with_ours(client: Path) -> None:
    said = run(client, "-m", "pytest", "-q", "-p", "no:cacheprovider", "tests/unit/kubernetes/test_access.py")
    assert " passed" in said


def test_a_job_gives_its_value(client: Path, namespace: Namespace, tmp_path: Path) -> None:
    said = run(
        client,
        "-c",
        JOB,
        JUPYTER_DATA_DIR=str(tmp_path),
        JUPYTER_KONDUKTOR_BACKEND="kubernetes",
        JUPYTER_KONDUKTOR_KUBECONFIG=str(namespace.kubeconfig),
        JUPYTER_KONDUKTOR_IMAGE=namespace.cluster.image,
        JUPYTER_KONDUKTOR_CPUS="100m",
    )
    version = next(client.glob("kubernetes-*.dist-info")).name.split("-")[1].removesuffix(".dist")
    assert said.splitlines()[0].startswith(f"{version} {client}")
    assert said.splitlines()[-1] == "value 2"
