"""Secrets reach the job, as variables and as files, and nothing else that anyone can read."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

import jupyter_konduktor as jk
from jupyter_konduktor import session
from tests.cluster.test_jobs import configured
from tests.testbed.cluster import Cluster, Namespace

CANARY = "canary-f3b1c7d29e"
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
        for name, keys in {"mine": ("token", "netrc"), "aws": ("credentials",), "gcp": ("key.json",)}.items():
            data = {key: base64.b64encode(values[key].encode()).decode() for key in keys}
            body = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, "data": data}
            made.api.create(f"{made.core}/secrets", body)
        where = {"kubeconfig": str(made.kubeconfig), "image": cluster.image, "cpus": "100m", "grace": 1}
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
    said |= {
        path: json.dumps(place.api.get(path)) for path in (place.jobsets, f"{place.core}/pods", f"{place.core}/events")
    }
    said |= {
        str(path): path.read_bytes().decode("latin-1") for path in (tmp_path / "data").rglob("*") if path.is_file()
    }
    said |= {
        key: value.decode("latin-1")
        for key, value in cluster.etcd_dump().items()
        if not key.startswith("/registry/secrets/")
    }
    assert len(said) > 100
    for encoded in (CANARY, base64.b64encode(CANARY.encode()).decode()[:20]):
        assert [where for where, text in said.items() if encoded in text] == []
