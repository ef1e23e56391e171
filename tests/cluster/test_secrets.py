"""Secrets reach the job, as variables and as files, and nothing else that anyone can read."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Iterator
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

import jupyter_konduktor as jk
from jupyter_konduktor import session
from jupyter_konduktor.store.store import Store
from tests.cluster.test_jobs import configured
from tests.testbed.cluster import Cluster, Namespace

CANARY = "canary-f3b1c7d29e"
SECRETS = {"mine": ("token", "netrc"), "aws": ("credentials",), "gcp": ("key.json",)}
SEEN = """
import hashlib, os, pathlib, stat
def seen():
    home = pathlib.Path.home()
    files = ["/run/keys/token", home / ".netrc", home / ".aws" / "credentials", home / ".config/gcloud/key.json"]
    found = [os.environ["TOKEN"], *(pathlib.Path(path).read_text() for path in files)]
    modes = {stat.S_IMODE(os.stat(path).st_mode) for path in files}
    return [hashlib.sha256(text.encode()).hexdigest() for text in found], [oct(mode) for mode in modes]
"""


@pytest.fixture
def place(cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Namespace]:
    monkeypatch.setenv("JUPYTER_DATA_DIR", str(tmp_path / "data"))
    with cluster.new_namespace() as made:
        values = {name: f"{CANARY}-{name}" for name in ("token", "netrc", "credentials", "key.json")}
        for name, keys in SECRETS.items():
            data = {key: base64.b64encode(values[key].encode()).decode() for key in keys}
            body = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, "data": data}
            made.api.create(f"{made.core}/secrets", body)
        for name, value in cluster.store.items():
            monkeypatch.setenv(name, value)
        where = {"kubeconfig": str(made.kubeconfig), "image": cluster.image, "cpus": "100m", "grace": 1}
        where["store"] = store_of(made)
        with configured(backend="kubernetes", credentials={"aws": "aws", "gcloud": "gcp"}, **where):
            yield made
            session.close()


def test_a_secret_is_seen_by_the_job_and_by_nobody_else(place: Namespace, cluster: Cluster, tmp_path: Path) -> None:
    names: dict[str, object] = {"__name__": "__main__"}
    exec(SEEN, names)
    secrets = {"TOKEN": "mine/token", "/run/keys/token": "mine/token", "~/.netrc": "mine/netrc"}
    job = jk.remote(secrets=secrets)(names["seen"]).submit()
    digests, modes = job.result(90)
    expected = [f"{CANARY}-{name}" for name in ("token", "token", "netrc", "credentials", "key.json")]
    assert digests == [hashlib.sha256(text.encode()).hexdigest() for text in expected]
    assert modes == ["0o440"]

    job.logs()
    said = {"repr": repr(job) + repr(job.record), "rows": json.dumps([str(change) for change in job.history])}
    assert_unseen(said | everywhere(place, cluster, tmp_path))


def test_a_saved_notebook_and_the_store_hold_none(
    place: Namespace, cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What goes in and comes back is too large for the cluster itself."""
    settings = {"backend": "kubernetes", "image": cluster.image, "cpus": "100m", "store": store_of(place)}
    for name, value in settings.items():
        monkeypatch.setenv(f"JUPYTER_KONDUKTOR_{name.upper()}", value)
    monkeypatch.setenv("KUBECONFIG", str(place.kubeconfig))
    secrets = "--secret TOKEN=mine/token --secret ~/.netrc=mine/netrc"
    cells = [
        "%load_ext jupyter_konduktor\nimport os\nlarge = os.urandom(6 << 20)",
        f"%%konduktor {secrets} --out back,length\nimport os\nback = large[::-1]\nlength = len(os.environ['TOKEN'])",
        "assert back == large[::-1]\nlength",
        f"%%konduktor {secrets}\nimport os, pathlib\n1 / (len(os.environ['TOKEN']) - {len(CANARY) + len('-token')})",
    ]
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells])
    NotebookClient(notebook, allow_errors=True, timeout=120, kernel_name="python3").execute()
    saved = nbformat.writes(notebook)
    assert notebook.cells[2].outputs[0]["data"]["text/plain"] == str(len(f"{CANARY}-token"))
    assert "ZeroDivisionError" in saved
    found = everywhere(place, cluster, tmp_path)
    assert sum(where.startswith("results/") for where in found) > 0
    assert sum(where.startswith("objects/") for where in found) > 0
    assert_unseen({"notebook": saved} | found)


def store_of(place: Namespace) -> str:
    return f"s3://store/{place.name}"


def everywhere(place: Namespace, cluster: Cluster, tmp_path: Path) -> dict[str, str]:
    """What can be read of the jobs: on the cluster and in its etcd, on this machine, and in the store."""
    said = {
        path: json.dumps(place.api.get(path)) for path in (place.jobsets, f"{place.core}/pods", f"{place.core}/events")
    }
    said |= {
        str(path): path.read_bytes().decode("latin-1") for path in (tmp_path / "data").rglob("*") if path.is_file()
    }
    theirs = [f"/registry/secrets/{place.name}/{name}" for name in SECRETS]
    said |= {key: value.decode("latin-1") for key, value in cluster.etcd_dump().items() if key not in theirs}
    assert any(key.startswith(f"/registry/secrets/{place.name}/") for key in said), "our own Secrets are looked at too"
    store = Store(store_of(place))
    for prefix in ("objects", "results"):
        for kept in store.scan(prefix):
            data = store.get(kept.key, 1 << 30)
            said[kept.key] = bytes(data or b"").decode("latin-1")
    assert len(said) > 100
    return said


def assert_unseen(said: dict[str, str]) -> None:
    for encoded in (CANARY, base64.b64encode(CANARY.encode()).decode()[:20]):
        assert [where for where, text in said.items() if encoded in text] == []
