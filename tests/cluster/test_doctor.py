"""The doctor on a real cluster, and the roles it asks for."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from jupyter_konduktor.backends.kubernetes.backend import KubernetesBackend
from jupyter_konduktor.backends.protocol import Finding
from jupyter_konduktor.config import Settings
from tests.testbed.cluster import Cluster, Namespace
from tests.testbed.parts import wait_for

ROOT = Path(__file__).resolve().parents[2]
PLURALS = {
    "Role": "roles",
    "ClusterRole": "clusterroles",
    "RoleBinding": "rolebindings",
    "ClusterRoleBinding": "clusterrolebindings",
}


def examine(kubeconfig: Path, **settings: str) -> list[Finding]:
    backend = KubernetesBackend(Settings.load({"kubeconfig": str(kubeconfig), **settings}))
    try:
        return list(backend.examine())
    finally:
        backend.close()


def rights(kubeconfig: Path) -> list[Finding]:
    return [item for item in examine(kubeconfig) if item.what == "rights"]


def cli(*words: str, **environ: str) -> subprocess.CompletedProcess[str]:
    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH", "")]))
    return subprocess.run(
        [sys.executable, "-m", "jupyter_konduktor.cli", *words],
        env={**os.environ, "PYTHONPATH": path, **environ},
        capture_output=True,
        text=True,
        timeout=100,
    )


@pytest.fixture
def stranger(cluster: Cluster, namespace: Namespace) -> Iterator[Path]:
    """The kubeconfig of a user who may do nothing in the namespace, and nothing of the cluster."""
    yield cluster.new_user(f"{namespace.name}-stranger", namespace.name, [], [])
    group = "/apis/rbac.authorization.k8s.io/v1"
    for kind in ("clusterroles", "clusterrolebindings"):
        for item in cluster.admin.get(f"{group}/{kind}")["items"]:
            if item["metadata"]["name"].startswith(namespace.name) and "-quota" in item["metadata"]["name"]:
                cluster.admin.delete(f"{group}/{kind}/{item['metadata']['name']}")


def test_a_cluster_where_jobs_can_run_has_nothing_wrong(cluster: Cluster, namespace: Namespace) -> None:
    found = {item.what: item for item in examine(namespace.kubeconfig, image=cluster.image)}
    assert [item for item in found.values() if item.ok is False] == []
    for what in ("context", "server", "identity", "JobSet", "Kueue", "rights", "queues", "queue", "runner", "clock"):
        assert found[what].ok, found[what]
    assert re.search(r"Kubernetes v1\.\d+\.\d+.*, answers in \d+ ms", found["server"].found)
    assert "v1alpha2" in found["JobSet"].found
    assert re.fullmatch(r"user-queue: .*gpu 8 of 8 free.*, 0 waiting", found["queues"].found)
    assert f"user-queue (ClusterQueue {namespace.name})" in found["queue"].found
    assert namespace.api.get(f"{namespace.core}/configmaps")["items"][1:] == [], "only the cluster's own"


def test_the_printed_roles_give_a_user_what_is_missing(cluster: Cluster, namespace: Namespace, stranger: Path) -> None:
    missing = rights(stranger)[0]
    assert missing.ok is False
    words = re.search(r"jupyter konduktor (rbac .*) \| kubectl", missing.advice)
    assert words, missing.advice
    printed = cli(*words[1].split(), "--name", namespace.name)
    assert printed.returncode == 0, printed.stderr
    for document in yaml.safe_load_all(printed.stdout):
        within = document["metadata"].get("namespace")
        place = f"/namespaces/{within}" if within else ""
        cluster.admin.create(f"/apis/{document['apiVersion']}{place}/{PLURALS[document['kind']]}", document)
    wait_for(lambda: rights(stranger)[0].ok, "the rights to be given", 60)


def test_the_command_ends_with_a_real_job(cluster: Cluster, namespace: Namespace) -> None:
    environ = {"JUPYTER_KONDUKTOR_KUBECONFIG": str(namespace.kubeconfig), "JUPYTER_KONDUKTOR_IMAGE": cluster.image}
    done = cli("doctor", "--backend", "kubernetes", **environ)
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(r"✓ backend +kubernetes \(--backend\)", done.stdout)
    assert re.search(r"✓ a small job +succeeded in [\d.]+ s \(doctor-\w{5}\); its image has Python 3\.11", done.stdout)


def test_a_cluster_that_is_not_there_is_one_finding(namespace: Namespace, tmp_path: Path) -> None:
    document = yaml.safe_load(namespace.kubeconfig.read_text())
    document["clusters"][0]["cluster"]["server"] = "https://127.0.0.1:1"
    (tmp_path / "kubeconfig").write_text(yaml.safe_dump(document))
    *_, last = examine(tmp_path / "kubeconfig")
    assert (last.what, last.ok) == ("server", False)
    done = cli("doctor", JUPYTER_KONDUKTOR_BACKEND="kubernetes", JUPYTER_KONDUKTOR_KUBECONFIG=str(tmp_path / "absent"))
    assert done.returncode == 1
    assert "✗ backend" in done.stdout
    assert "Traceback" not in done.stderr
