"""Which jobs have a store, and what is kept of their URLs."""

from __future__ import annotations

import base64
import json
import os
import time
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from jupyter_konduktor import session
from jupyter_konduktor.backends.kubernetes.held import Held
from jupyter_konduktor.backends.kubernetes.positions import Positions
from jupyter_konduktor.backends.kubernetes.sending.depot import Depot
from jupyter_konduktor.backends.kubernetes.sending.runtime import APART
from jupyter_konduktor.backends.kubernetes.shelf.shelf import Shelf
from jupyter_konduktor.backends.kubernetes.upkeep import RENEW_EVERY, Upkeep
from jupyter_konduktor.config import Settings
from jupyter_konduktor.errors import ApiError, ConfigError, UntrustedResultError
from jupyter_konduktor.runner import parcel, slots
from jupyter_konduktor.store.keys import checkpoint_key, lease_key, object_key, result_key
from jupyter_konduktor.store.store import Store
from jupyter_konduktor.task import Task

UID = "uid-1"
DIGEST = "a" * 64


class Site:
    """A namespace in which Secrets can be changed, or not."""

    namespace = "team"

    def __init__(self, folder: Path) -> None:
        self.shelf = Shelf(folder)
        self.may = True
        self.patched: list[tuple[str, Any]] = []
        self.error: Exception | None = None
        self.rights = SimpleNamespace(allows=lambda *what: self.may)
        self.client = SimpleNamespace(patch=self._patch)

    def _patch(self, path: str, body: Any) -> None:
        if self.error is not None:
            raise self.error
        self.patched.append((path, body))


@pytest.fixture
def site(tmp_path: Path) -> Site:
    (tmp_path / "shelf").mkdir()
    return Site(tmp_path / "shelf")


@pytest.fixture
def shared(tmp_path: Path) -> Store:
    return Store((tmp_path / "shared").as_uri())


def depot(site: Site, **settings: Any) -> Depot:
    return Depot(site, Settings.load(settings, environ={}))  # type: ignore[arg-type]


def task(**options: Any) -> Task:
    return Task.create(kind="cell", **options)


def test_no_store_is_set(site: Site) -> None:
    assert depot(site).of(task()) is None
    assert depot(site).notes(task()) == []


def test_a_folder_needs_a_volume(site: Site, shared: Store) -> None:
    held = depot(site, store=shared.url)
    assert held.of(task()) is None
    (note,) = held.notes(task())
    assert note.startswith(f"store: {shared.address.folder} is on no volume of the job (--volume CLAIM:")
    on_volume = task(volumes={"data": str(shared.address.folder)})
    assert held.of(on_volume) is not None
    assert held.notes(on_volume) == []
    set_for_good = Settings.load({"volumes": [f"data:{shared.address.folder}"]}, environ={})
    assert held.of(session.make_task("cell", {}, set_for_good)) is not None
    above = {"spec": {"containers": [{"name": "x", "volumeMounts": [{"mountPath": str(shared.address.folder)}]}]}}
    assert depot(site, store=shared.url, pod_config=above).of(task()) is not None


def test_a_command_has_one_too(site: Site, shared: Store) -> None:
    """For its working directory and its checkpoints."""
    held = depot(site, store=shared.url)
    assert held.of(Task.create(command=["true"], volumes={"data": str(shared.address.folder)})) is not None


def test_without_secrets_there_is_no_way_to_it(site: Site, shared: Store) -> None:
    site.may = False
    (note,) = depot(site, store="s3://bucket").notes(task())
    assert "you may not create Secrets in team" in note


def test_what_is_no_address_is_refused(site: Site) -> None:
    with pytest.raises(ConfigError, match="store: "):
        depot(site, store="ftp://x").notes(task())


def test_the_secret_has_a_url_for_each_thing(site: Site, shared: Store) -> None:
    secret = depot(site).secret(shared, UID, [DIGEST])
    links = json.loads(base64.b64decode(secret["data"]["urls"]))
    checkpoints = {name: f"{shared.url}/{checkpoint_key(UID, name)}" for name in slots.NAMES}
    results = {name: f"{shared.url}/{result_key(UID, name)}" for name in parcel.NAMES}
    assert links["get"] == {DIGEST: f"{shared.url}/{object_key(DIGEST)}", **checkpoints}
    assert links["put"] == {**results, **checkpoints}


def test_all_urls_fit_into_a_secret(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """As long as URLs get: with a long bucket, and a token of temporary credentials."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "A" * 20)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "s" * 40)
    monkeypatch.setenv("AWS_SESSION_TOKEN", "t" * 1000)
    store = Store(f"s3://{'b' * 63}/{'p' * 40}")
    digests = [f"{number:064x}" for number in range(APART + 1)]
    data = base64.b64decode(depot(site).secret(store, UID, digests)["data"]["urls"])
    assert len(data) < 1 << 20


def test_urls_are_renewed_when_they_are_old(site: Site, shared: Store) -> None:
    held, kept = depot(site), site.shelf.keep(UID, "job-x")
    held.renew(kept)
    held.note(kept, shared, "job-x-links", "nonce", [DIGEST])
    held.renew(kept)
    assert site.patched == []
    _age(kept.folder / "links.json")
    site.error = ApiError("forbidden", status=403)
    with pytest.raises(ApiError):
        held.renew(kept)
    site.error = None
    held.renew(kept)
    held.renew(kept)
    ((path, body),) = site.patched
    assert path == "/api/v1/namespaces/team/secrets/job-x-links"
    assert set(body["data"]) == {"urls"}
    lease = shared.look(lease_key("nonce"))
    assert lease is not None, "what the job needs stays for as long as its URLs are good"
    assert time.time() - lease.modified.timestamp() < timedelta(minutes=5).total_seconds()


def test_whoever_watches_a_job_renews_its_urls(site: Site, shared: Store) -> None:
    kept, renewed = site.shelf.keep(UID, "job-x"), []
    upkeep = Upkeep(
        site,  # type: ignore[arg-type]
        SimpleNamespace(blind=False),  # type: ignore[arg-type]
        Positions(),
        post=lambda call: call(),
        errand=lambda call: call(),
        stuck_after=1.0,
        give_up=None,
        renew=renewed.append,
    )
    held = Held(UID, "job-x", {}, kept, None, since=0.0)  # type: ignore[arg-type]
    upkeep.check(held, 1000.0)
    assert renewed == [], "it was not submitted from here"
    kept.mark_submitted()
    upkeep.check(held, 1001.0)
    assert renewed == [], "it has no store"
    depot(site).note(kept, shared, "job-x-links", "nonce", [])
    upkeep.check(held, 1002.0)
    assert renewed == [], "it was looked at a moment ago"
    upkeep.check(held, 1002.0 + RENEW_EVERY)
    assert renewed == [kept]


def test_results_are_read_where_they_were_left(site: Site, shared: Store) -> None:
    kept = site.shelf.keep(UID, "job-x")
    shared.put(result_key(UID, "2/index"), parcel.write_index([(DIGEST, 4)], 0) + b"data")
    reference = {"sha256": DIGEST, "size": 4}
    assert depot(site).read(kept, "", reference) is None
    with pytest.raises(UntrustedResultError, match="not the store that is set here"):
        depot(site).read(kept, shared.url, reference)
    assert depot(site, store=shared.url).read(kept, shared.url, reference) == b"data"
    kept.mark_submitted()
    assert depot(site).read(kept, shared.url, reference) == b"data"
    assert depot(site).read(kept, shared.url, {"sha256": "b" * 64, "size": 4}) is None


def _age(path: Path) -> None:
    long_ago = time.time() - 86_400
    os.utime(path, (long_ago, long_ago))
