"""Payloads and results of any size through a real S3 server, as a user has them."""

from __future__ import annotations

import hashlib
import json
import os
import pickle
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

import jupyter_konduktor as jk
from jupyter_konduktor import session
from jupyter_konduktor.backends.kubernetes import words
from jupyter_konduktor.errors import InputTooLargeError, IntegrityError, JobLostError, StoreError
from jupyter_konduktor.store.store import Store
from tests.cluster.test_jobs import backend, configured
from tests.cluster.work import bumped
from tests.testbed.cluster import Cluster, Namespace

MIB = 1 << 20


@pytest.fixture(scope="module")
def place(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Namespace]:
    made = cluster.new_namespace({"cpu": "1900m", "memory": "4Gi"})
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("JUPYTER_DATA_DIR", str(tmp_path_factory.mktemp("data")))
        for name, value in cluster.store.items():
            patch.setenv(name, value)
        with configured(
            backend="kubernetes",
            kubeconfig=str(made.kubeconfig),
            image=cluster.image,
            cpus="100m",
            grace=2,
            store=f"s3://store/{made.name}",
        ):
            yield made
            session.close()
    made.remove()


@pytest.fixture
def store(place: Namespace) -> Store:
    return Store(f"s3://store/{place.name}")


def keys(store: Store, prefix: str) -> dict[str, int]:
    return {kept.key: kept.size for kept in store.scan(prefix)}


def buffer(size: int) -> pickle.PickleBuffer:
    """What travels beside the pickle, as an array does."""
    return pickle.PickleBuffer(bytearray(os.urandom(size)))


def expected(data: pickle.PickleBuffer) -> bytes:
    raw = data.raw()
    return bytes([raw[0] ^ 255]) + bytes(raw[1:])


def test_a_large_value_goes_there_and_back(place: Namespace, store: Store) -> None:
    data = buffer(40 * MIB)
    job = jk.remote(bumped).submit(data)
    assert job.result(120) == expected(data)
    assert not job.result(10).readonly
    sent = keys(store, "objects")
    assert 40 * MIB in sent.values()
    assert sum(keys(store, f"results/{job.record.uid}").values()) >= 40 * MIB
    (owner,) = place.api.get(f"{place.core}/secrets/{job}-links")["metadata"]["ownerReferences"]
    assert owner["name"] == job
    # The same value once more: only what stands around it is sent again.
    again = jk.remote(bumped).submit(data)
    assert again.result(120) == expected(data)
    new = {key: size for key, size in keys(store, "objects").items() if key not in sent}
    assert sum(new.values()) < MIB


def test_a_job_with_nothing_large_leaves_nothing_there(place: Namespace, store: Store) -> None:
    job = jk.remote(len).submit(b"abc")
    assert job.result(60) == 3
    assert keys(store, f"results/{job.record.uid}") == {}


def test_keys_and_signatures_stand_in_the_secret_alone(
    place: Namespace, cluster: Cluster, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    job = jk.remote(bumped).submit(buffer(8 * MIB))
    job.result(120)
    secret = place.api.get(f"{place.core}/secrets/{job}-links")
    said = {
        path: json.dumps(place.api.get(path)) for path in (place.jobsets, f"{place.core}/pods", f"{place.core}/events")
    }
    said |= {"repr": repr(job) + repr(job.record), "log": job.logs(), "here": "".join(capfd.readouterr())}
    folder = Path(os.environ["JUPYTER_DATA_DIR"])
    said |= {str(path): path.read_bytes().decode("latin-1") for path in folder.rglob("*") if path.is_file()}
    said |= {
        key: value.decode("latin-1")
        for key, value in cluster.etcd_dump().items()
        if key != f"/registry/secrets/{place.name}/{job}-links" and f"/{place.name}/" in key
        if not key.startswith("/registry/secrets/")
    }
    assert len(said) > 20
    access, key = cluster.store["AWS_ACCESS_KEY_ID"], cluster.store["AWS_SECRET_ACCESS_KEY"]
    for canary in (key, "X-Amz-Signature", f"X-Amz-Credential={access}"):
        assert [where for where, text in said.items() if canary in text] == []
    assert key not in json.dumps(secret)


def test_no_job_is_made_where_the_store_is_none(place: Namespace, monkeypatch: pytest.MonkeyPatch) -> None:
    before = len(place.api.get(place.jobsets)["items"])
    with configured(store="s3://absent/x"), pytest.raises(StoreError, match="no such bucket"):
        jk.remote(len).submit(b"abc")
    with configured(store=f"s3://store/{place.name}/other"):
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong")
        with pytest.raises(StoreError, match="does not accept the credentials"):
            jk.remote(len).submit(b"abc")
    assert len(place.api.get(place.jobsets)["items"]) == before


def test_a_result_that_is_changed_or_removed_is_not_loaded(place: Namespace, store: Store) -> None:
    job = jk.remote(bumped).submit(buffer(5 * MIB))
    assert job.wait(120) == "succeeded"
    key = f"results/{job.record.uid}/0/0"
    store.put(key, b"\0" * 5 * MIB)
    with pytest.raises(IntegrityError):
        job.result(10)
    store.delete([key])
    with pytest.raises(JobLostError, match="is not in its store"):
        job.result(10)


def test_another_machine_reads_the_result(place: Namespace, cluster: Cluster, tmp_path: Path) -> None:
    data = buffer(6 * MIB)
    job = jk.remote(bumped).submit(data)
    assert job.wait(120) == "succeeded"
    script = f"""
import hashlib, jupyter_konduktor as jk
job = jk.attach({str(job)!r})
print(hashlib.sha256(job.result(60, trust=True)).hexdigest())
"""
    assert _elsewhere(place, tmp_path, script) == hashlib.sha256(expected(data)).hexdigest()


def test_urls_are_renewed_while_a_job_waits(place: Namespace) -> None:
    job = jk.remote(bumped).submit(buffer(5 * MIB))
    path = f"{place.core}/secrets/{job}-links"
    before = place.api.get(path)["data"]
    kept = backend().site.shelf.keep(job.record.uid, str(job))
    depot = backend()._submission.depot
    depot.renew(kept)
    assert place.api.get(path)["data"] == before
    long_ago = time.time() - 86_400
    os.utime(kept.folder / "links.json", (long_ago, long_ago))
    time.sleep(1.1)  # signatures of the same second are the same
    depot.renew(kept)
    assert place.api.get(path)["data"] != before
    assert job.result(120).nbytes == 5 * MIB


@pytest.mark.timeout(300)
def test_what_is_large_needs_little_more_than_its_own_size(place: Namespace, tmp_path: Path) -> None:
    """The pod has 2.2 times the value, and 60 MiB for Python; what the page cache holds counts, and gives way."""
    script = """
import os, pickle, resource, jupyter_konduktor as jk
from tests.cluster.work import bumped
size = 200 << 20
jk.remote(bumped)(pickle.PickleBuffer(bytearray(6 << 20)))
peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10
base = peak()
data = bytearray(size)
for start in range(0, size, 1 << 20):
    data[start : start + (1 << 20)] = os.urandom(1 << 20)
job = jk.remote(bumped, memory="500Mi").submit(pickle.PickleBuffer(data))
sent = (peak() - base) / size
first, last = data[:1000], data[-1000:]
del data
back = job.result(200)
assert bytes(back[1:1000]) == first[1:] and bytes(back[-1000:]) == last and back[0] == first[0] ^ 255
print(sent, (peak() - base) / size)
"""
    assert float(_elsewhere(place, tmp_path, script)) < 2.2


def test_a_folder_on_a_volume(place: Namespace, tmp_path: Path) -> None:
    """The same path here and in the pod, whose user may write there."""
    shared = tmp_path / "shared"
    shared.mkdir()
    shared.chmod(0o777)
    for folder in (tmp_path, *tmp_path.parents[:2]):
        folder.chmod(folder.stat().st_mode | 0o011)
    mounted = {
        "spec": {
            "volumes": [{"name": "shared", "hostPath": {"path": str(shared)}}],
            "containers": [{"name": words.CONTAINER, "volumeMounts": [{"name": "shared", "mountPath": str(shared)}]}],
        }
    }
    data = buffer(6 * MIB)
    with configured(store=str(shared), pod_config=mounted):
        job = jk.remote(bumped).submit(data)
        assert job.result(120) == expected(data)
        assert any((shared / "results" / job.record.uid).rglob("*"))
    with configured(store=str(shared)), pytest.raises(InputTooLargeError, match="a job on the cluster takes"):
        jk.remote(bumped).submit(data)


def test_old_results_and_objects_go(place: Namespace, store: Store) -> None:
    job = jk.remote(bumped).submit(buffer(5 * MIB))
    assert job.result(120).nbytes == 5 * MIB
    time.sleep(9.0)
    with configured(keep_days=0.0001):
        found = backend().collect_stored(dry_run=True)
        assert found is not None
        assert found.place == store.url
        assert found.jobs == 0, "their JobSets are there, and their URLs are good"
        assert found.objects == 0
        place.api.delete(f"{place.jobsets}/{job}")
        store.delete([kept.key for kept in store.scan("leases")])
        found = backend().collect_stored(dry_run=True)
        assert found is not None
        assert found.jobs == 1
        assert backend().collect_stored() == found
    assert keys(store, f"results/{job.record.uid}") == {}
    assert keys(store, "objects") == {}
    assert backend().collect_stored(dry_run=True).objects == 0


def _elsewhere(place: Namespace, folder: Path, script: str) -> str:
    """Run a script with the same settings and nothing that is kept here."""
    environment = {
        **os.environ,
        "JUPYTER_DATA_DIR": str(folder / "elsewhere"),
        "JUPYTER_KONDUKTOR_BACKEND": "kubernetes",
        "JUPYTER_KONDUKTOR_KUBECONFIG": str(place.kubeconfig),
        "JUPYTER_KONDUKTOR_IMAGE": place.cluster.image,
        "JUPYTER_KONDUKTOR_CPUS": "100m",
        "JUPYTER_KONDUKTOR_STORE": f"s3://store/{place.name}",
        "PYTHONPATH": str(Path.cwd()),
    }
    done = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr
    return done.stdout.split()[-1]
