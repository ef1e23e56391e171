"""Payload and results by way of a store, as the process of a pod has them: with URLs, and no keys."""

from __future__ import annotations

import hashlib
import os
import time
from datetime import timedelta
from types import SimpleNamespace

import numpy as np
import pytest

from jupyter_konduktor.backends.kubernetes.sending.depot import Depot
from jupyter_konduktor.backends.kubernetes.shelf.shelf import Shelf
from jupyter_konduktor.backends.wording import damaged
from jupyter_konduktor.config import Settings
from jupyter_konduktor.errors import IntegrityError, JobLostError, RemoteError, StoreError
from jupyter_konduktor.result import Decoder
from jupyter_konduktor.runner import codec, parcel
from jupyter_konduktor.store.keys import object_key
from jupyter_konduktor.store.results import Results
from jupyter_konduktor.store.store import Store
from tests.store.conftest import ACCESS, SECRET
from tests.unit.kubernetes.pods import NONCE, UID, Pod
from tests.unit.runner.conftest import cell_pack, function_pack, map_pack
from tests.unit.runner.test_pythons import interpreter

VERSIONS = ["3.8", "3.11", "3.13"]
LARGE = np.random.default_rng(0).integers(0, 256, 20 << 20, dtype=np.uint8)
SMALL = np.random.default_rng(1).integers(0, 256, 2 << 20, dtype=np.uint8)


@pytest.fixture
def pod(tmp_path, store):
    pods = []

    def pod(pack=None, **options):
        options.setdefault("store", store)
        env = {name: "" for name in os.environ if name.startswith("AWS_")} | options.pop("env", {})
        pods.append(Pod(tmp_path / f"pod-{len(pods)}", pack, env=env, **options))
        return pods[-1]

    yield pod
    for one in pods:
        if one.process.poll() is None:
            one.process.kill()
            one.process.wait()


def returning(expression: str) -> codec.Pack:
    return function_pack(f"def f():\n    return {expression}\n", "f()")


def decoder(store: Store) -> Decoder:
    results = Results(store, UID)

    def fetch(reference):
        found = results.read(reference["sha256"], reference["size"])
        if found is None:
            raise JobLostError("it is gone", job="job-x")
        return found

    return Decoder("job-x", fetch, {})


def outputs(store: Store, pod: Pod) -> dict:
    return decoder(store).decode(pod.envelope).value


@pytest.mark.parametrize("version", VERSIONS)
def test_large_values_go_there_and_back(pod, store, version):
    job = pod(
        cell_pack("z = y[::-1]; x[0] = 7", out=["x", "z"], inputs={"x": bytearray(LARGE), "y": bytes(SMALL)}),
        python=interpreter(version),
    )
    assert job.code == 0, job.text
    found = outputs(store, job)
    assert found["z"] == bytes(SMALL)[::-1]
    assert found["x"][0] == 7
    assert found["x"][1:] == bytes(LARGE)[1:]
    assert job.artifacts == {}


def test_arrays_can_be_written_to_on_both_sides(pod, store):
    job = pod(cell_pack("x += 1", out=["x"], inputs={"x": LARGE}))
    assert job.code == 0, job.text
    found = outputs(store, job)["x"]
    assert np.array_equal(found, LARGE + 1)
    found[:] = 0


def test_an_input_that_comes_back_as_it_went(pod, store):
    job = pod(cell_pack("y = x", out=["y"], inputs={"x": LARGE}))
    assert job.code == 0, job.text
    assert np.array_equal(outputs(store, job)["y"], LARGE)


def test_more_buffers_than_there_are_urls(pod, store, monkeypatch):
    monkeypatch.setattr("jupyter_konduktor.backends.kubernetes.sending.runtime.APART", 3)
    values = [np.full(1 << 20, number, dtype=np.uint8) for number in range(20)]
    job = pod(cell_pack("y = [v + 1 for v in x]", out=["y"], inputs={"x": values}))
    assert job.code == 0, job.text
    assert len(job.delivery.objects) == 4
    for number, value in enumerate(outputs(store, job)["y"]):
        assert (value == number + 1).all()


def test_small_results_need_one_request(gateway, pod, store):
    job = pod(returning("'x' * 10_000"))
    assert job.code == 0, job.text
    assert outputs(store, job) == "x" * 10_000
    assert len(gateway.requests("PUT", "/results/")) == 1
    assert job.delivery.objects == {}


def test_what_fits_into_the_envelope_needs_none(gateway, pod, store):
    job = pod(returning("42"))
    assert job.envelope.value == 42
    assert gateway.requests("", "/results/") == []


def test_a_long_traceback_comes_too(pod, store):
    job = pod(cell_pack("raise ValueError('no' * 9000)"))
    assert job.code == 1
    error = decoder(store).failure(job.envelope, "failed")
    assert isinstance(error, RemoteError)
    assert error.evalue == "no" * 9000


def test_items_are_told_of_when_their_values_are_there(pod, store):
    job = pod(map_pack("def f(n):\n    return bytes([n]) * (3 << 20)\n", "f", [(n,) for n in range(4)]))
    assert job.code == 0, job.text
    items = {record.identity: record for record in job.records if type(record).__name__ == "Item"}
    assert sorted(items) == [0, 1, 2, 3]
    assert len(job.artifacts) == 1, "the log has room for one"
    reader = decoder(store)
    for index in (1, 2, 3):
        assert reader.decode(reader.parse(items[index].data)).value == bytes([index]) * (3 << 20)


def test_items_come_while_the_map_runs_and_are_not_lost_with_it(pod, store):
    """What the log has no room for is sent now and then, and what was read before is there still."""
    source = "import time\ndef f(n):\n    time.sleep(0.6)\n    return bytes([n]) * (3 << 20)\n"
    job = pod(map_pack(source, "f", [(n,) for n in range(60)]), wait=False)
    reader, seen, end = decoder(store), set(), time.monotonic() + 90
    while len(seen) < 12:
        assert job.process.poll() is None, job.text
        assert time.monotonic() < end, seen
        time.sleep(0.2)
        items = {record.identity: record for record in job.records if type(record).__name__ == "Item"}
        for index in items.keys() - seen - {0}:  # the first one came with the log
            assert reader.decode(reader.parse(items[index].data)).value == bytes([index]) * (3 << 20)
        seen |= items.keys()
    job.process.kill()
    later = decoder(store)
    for index in seen - {0}:
        assert later.decode(later.parse(items[index].data)).value == bytes([index]) * (3 << 20)


def test_more_than_was_expected_is_sent_at_the_end(pod, store):
    """The first items are small: the place that is chosen then has no room for the last ones."""
    source = "import time\ndef f(n):\n    time.sleep(0.4)\n    return bytes([n]) * (300_000 if n < 25 else 150 << 20)\n"
    job = pod(map_pack(source, "f", [(n,) for n in range(28)]))
    assert job.code == 0, job.text
    items = {record.identity: record for record in job.records if type(record).__name__ == "Item"}
    reader = decoder(store)
    assert len(items) == 28
    for index in (20, 25, 26, 27):
        size = 300_000 if index < 25 else 150 << 20
        assert reader.decode(reader.parse(items[index].data)).value == bytes([index]) * size


def test_attempts_do_not_write_over_each_other(pod, store):
    jobs = [pod(returning(f"bytes([{n}]) * 100_000"), env={"RESTART_ATTEMPT": str(n // 2)}) for n in range(4)]
    for number, job in enumerate(jobs):
        assert outputs(store, job) == bytes([number]) * 100_000
    last = pod(returning("b'last' * 100_000"), env={"RESTART_ATTEMPT": "9"})
    assert outputs(store, last) == b"last" * 100_000


def test_a_file_store_on_a_volume(pod, tmp_path):
    shared = Store((tmp_path / "shared").as_uri())
    job = pod(cell_pack("z = x + 1; y = x", out=["z", "y"], inputs={"x": LARGE}), store=shared)
    assert job.code == 0, job.text
    found = outputs(shared, job)
    assert np.array_equal(found["z"], LARGE + 1)
    assert np.array_equal(found["y"], LARGE)


# --- what goes wrong on the way there


def refusal(store: Store, job: Pod) -> Exception:
    assert job.code == 1, job.text
    return decoder(store).failure(job.envelope, "failed")


def test_an_expired_url_is_an_error_of_its_own(pod, store):
    job = pod(cell_pack("pass", inputs={"x": LARGE}), life=timedelta(seconds=0))
    error = refusal(store, job)
    assert isinstance(error, StoreError)
    assert "403 the URL has expired" in str(error)
    assert_no_signature(job)


def test_an_object_that_is_gone(pod, store, monkeypatch):
    removed = []
    sign = Pod.sign

    def and_remove(self, store, digests, life):
        sign(self, store, digests, life)
        removed.extend(kept.key for kept in store.scan("objects"))
        store.delete(removed)

    monkeypatch.setattr(Pod, "sign", and_remove)
    error = refusal(store, pod(cell_pack("pass", inputs={"x": LARGE})))
    assert isinstance(error, StoreError)
    assert "404 NoSuchKey" in str(error)


@pytest.mark.parametrize("which", ["pack", "buffer"])
@pytest.mark.parametrize("how", ["tampered", "truncated"])
def test_an_object_that_is_another_one_is_not_loaded(pod, store, gateway, monkeypatch, which, how):
    sign = Pod.sign

    def and_spoil(self, store, digests, life):
        sign(self, store, digests, life)
        files = [path for path in (gateway.files / "objects").rglob("*") if path.is_file()]
        path = max(files, key=lambda path: path.stat().st_size * (1 if which == "buffer" else -1))
        data = bytearray(path.read_bytes())
        data[len(data) // 2] ^= 1
        path.write_bytes(data if how == "tampered" else data[:-7])

    monkeypatch.setattr(Pod, "sign", and_spoil)
    job = pod(cell_pack("print('loaded')", inputs={"x": LARGE}))
    assert isinstance(refusal(store, job), IntegrityError)
    assert "loaded\n" not in job.text


@pytest.mark.parametrize("which", ["pack", "buffer"])
def test_an_object_that_was_found_damaged_is_sent_again(tmp_path, pod, store, gateway, monkeypatch, which):
    # Those that are open are kept by their address, and each test has its gateway at another port.
    monkeypatch.setattr("jupyter_konduktor.store.store.open_store", lambda url: store)
    pack = cell_pack("print('loaded')", inputs={"x": LARGE})
    digests = list(pod(pack).delivery.objects)
    (tmp_path / "shelf").mkdir()
    shelf = Shelf(tmp_path / "shelf")
    kept, depot = shelf.keep(UID, "job-x"), Depot(SimpleNamespace(shelf=shelf), Settings())
    depot.note(kept, store, "job-x-links", NONCE, digests)
    files = {digest: gateway.files / object_key(digest) for digest in digests}
    named = max(digests, key=lambda digest: files[digest].stat().st_size * (1 if which == "buffer" else -1))
    files[named].write_bytes(flipped(bytearray(files[named].read_bytes())))
    for job in (pod(pack), pod(pack)):
        assert isinstance(refusal(store, job), IntegrityError), "it is there already, by its size"
        assert damaged(job.termination.read_bytes()) == named
    before = {digest: path.stat().st_mtime_ns for digest, path in files.items() if digest != named}
    depot.drop(kept, named, before=time.time())
    again = pod(pack)
    assert (again.code, "loaded\n" in again.text) == (0, True), again.text
    assert {digest: files[digest].stat().st_mtime_ns for digest in before} == before, "the others were not damaged"
    assert hashlib.sha256(files[named].read_bytes()).hexdigest() == named


# --- and on the way back


def spoil(gateway, name: str, change) -> None:
    path = gateway.files / "results" / UID / name
    data = bytearray(path.read_bytes())
    path.write_bytes(change(data))


def flipped(data: bytearray) -> bytes:
    data[-1] ^= 1
    return bytes(data)


@pytest.mark.parametrize("size", [100_000, 20 << 20])
@pytest.mark.parametrize("change", [flipped, lambda data: bytes(data[:-1])], ids=["tampered", "truncated"])
def test_a_result_that_is_another_one_is_not_loaded(gateway, pod, store, size, change):
    job = pod(returning(f"bytearray({size})"))
    assert job.code == 0, job.text
    spoil(gateway, "0/index" if size < parcel.INLINE else "0/1", change)
    with pytest.raises(IntegrityError):
        outputs(store, job)


@pytest.mark.parametrize("name", ["0/index", "0/0"])
def test_a_result_that_is_gone(gateway, pod, store, name):
    job = pod(returning("bytearray(20 << 20)"))
    assert job.code == 0, job.text
    (gateway.files / "results" / UID / name).unlink()
    with pytest.raises(JobLostError):
        outputs(store, job)


@pytest.mark.parametrize("index", [b"", b"nonsense", b"{}\n", b'{"part":0,"objects":[["x",-1]]}\n', b"[" * 100_000])
def test_an_index_that_someone_has_spoiled_is_none(gateway, pod, store, index):
    job = pod(returning("'x' * 10_000"))
    spoil(gateway, "0/index", lambda data: index)
    with pytest.raises(JobLostError):
        outputs(store, job)


def test_results_that_cannot_be_sent_come_with_the_log_if_they_fit(pod, store):
    job = pod(returning("'x' * 100_000"), life=timedelta(seconds=0))
    assert job.code == 0, job.text
    assert "could not be sent to its store: the store refuses to put" in job.text
    assert job.load().values["value"] == "x" * 100_000
    assert_no_signature(job)


def test_results_that_cannot_be_sent_at_all_say_why(pod, store):
    job = pod(returning("bytearray(20 << 20)"), life=timedelta(seconds=0))
    assert job.code == 0, job.text
    with pytest.raises(JobLostError, match=r"could not be sent to the store: .*expired"):
        outputs(store, job)


def test_no_key_is_in_reach_of_the_job(pod, store):
    job = pod(cell_pack("import os; y = str(dict(os.environ))", out=["y"], inputs={"x": LARGE}))
    said = outputs(store, job)["y"] + job.argv[-1] + job.log.decode(errors="replace")
    said += (job.folder / "payload" / "urls").read_text()
    assert SECRET not in said
    assert_no_signature(job)


def assert_no_signature(job: Pod) -> None:
    for place in (job.argv[-1], job.log.decode(errors="replace"), job.termination.read_text()):
        assert "X-Amz-Signature" not in place
        assert ACCESS not in place
