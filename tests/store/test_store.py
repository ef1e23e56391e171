"""A store by itself, against a real S3 server and a folder: what it does, and how it fails."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from datetime import UTC, datetime, timedelta

import pytest

from jupyter_konduktor.errors import ConfigError, StoreError
from jupyter_konduktor.payload.piece import Piece
from jupyter_konduktor.store import keys, progress
from jupyter_konduktor.store.address import Address
from jupyter_konduktor.store.gc import find
from jupyter_konduktor.store.sending import lease, send
from jupyter_konduktor.store.store import PIECE, Store
from tests.store.conftest import BUCKET, SECRET

DAY = timedelta(days=1)


def named(*values: bytes) -> dict[str, Piece]:
    return {hashlib.sha256(value).hexdigest(): Piece.of(value) for value in values}


@pytest.fixture(params=["s3", "file"])
def any_store(request, tmp_path):
    if request.param == "file":
        return Store((tmp_path / "shared folder").as_uri())
    return request.getfixturevalue("store")


# --- addresses


@pytest.mark.parametrize(
    ("text", "url", "kind"),
    [
        ("s3://bucket", "s3://bucket", "s3"),
        (" s3://bucket/a/b/ ", "s3://bucket/a/b", "s3"),
        ("gs://bucket/x", "gs://bucket/x", "gs"),
        ("az://container", "az://container", "az"),
        ("file:///shared/jobs", "file:///shared/jobs", "file"),
        ("/shared/a b", "file:///shared/a%20b", "file"),
    ],
)
def test_addresses(text, url, kind):
    found = Address.parse(text)
    assert (found.url, found.kind) == (url, kind)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "bucket",
        "s3://",
        "s3:///x",
        "http://host/x",
        "ftp://x/y",
        "file://host/x",
        "file:///",
        "s3://a:b@c",
        "s3://a?x",
    ],
)
def test_what_names_no_store_is_refused(text):
    with pytest.raises(ConfigError, match="store: ") as caught:
        Address.parse(text)
    assert "s3://bucket/prefix" in caught.value.advice


def test_a_key_in_an_address_is_not_repeated():
    with pytest.raises(ConfigError) as caught:
        Address.parse("s3://key:very-secret@bucket")
    assert "very-secret" not in str(caught.value)


# --- what it does


def test_objects_are_written_read_listed_and_removed(any_store):
    large = os.urandom(2 * PIECE + 5)
    any_store.check()
    any_store.put("objects/a", b"")
    any_store.put("objects/b", large)
    assert any_store.look("objects/b").size == len(large)
    assert any_store.look("objects/c") is None
    assert any_store.get("objects/c") is None
    assert bytes(any_store.get("objects/b", 10)) == large[:10]
    into = memoryview(bytearray(len(large) - 3))
    assert any_store.read("objects/b", 3, into)
    assert into == large[3:]
    assert not any_store.read("objects/c", 0, into)
    assert {kept.key: kept.size for kept in any_store.scan("objects")} == {"objects/a": 0, "objects/b": len(large)}
    any_store.delete(["objects/a", "objects/c"])
    assert [kept.key for kept in any_store.scan("objects")] == ["objects/b"]


def test_what_an_object_does_not_have_stays_as_it_is(any_store):
    any_store.put("short", b"12345")
    into = memoryview(bytearray(8))
    assert any_store.read("short", 0, into)
    assert bytes(into) == b"12345\0\0\0"
    assert any_store.read("short", 100, into)


def test_signed_urls_do_one_thing_for_some_time(store):
    store.put("x", b"data")
    (get,) = store.sign("GET", ["x"], timedelta(seconds=1))
    (put,) = store.sign("PUT", ["y"])
    assert urllib.request.urlopen(get).read() == b"data"
    assert SECRET not in get
    with pytest.raises(urllib.error.HTTPError, match="403"):
        urllib.request.urlopen(urllib.request.Request(get, data=b"other", method="PUT"))
    urllib.request.urlopen(urllib.request.Request(put, data=b"new", method="PUT")).close()
    assert bytes(store.get("y")) == b"new"
    time.sleep(2.1)
    with pytest.raises(urllib.error.HTTPError, match="403"):
        urllib.request.urlopen(get)


def test_nothing_of_it_is_imported_where_none_is_set():
    script = (
        "import sys, jupyter_konduktor.cli, jupyter_konduktor.magics, jupyter_konduktor.session\n"
        "import jupyter_konduktor.backends.kubernetes.backend\n"
        "sys.exit('obstore' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", script]).returncode == 0


# --- what is sent


def test_the_same_bytes_are_sent_once(gateway, store):
    values = named(b"a" * 100, b"b" * 200, os.urandom(2 * PIECE))
    assert send(store, "n1", values, fresh=DAY) == 300 + 2 * PIECE
    before = len(gateway.requests("PUT", "/objects/"))
    assert send(store, "n2", {**values, **named(b"c" * 10)}, fresh=DAY) == 10
    assert len(gateway.requests("PUT", "/objects/")) == before + 1


def test_what_is_not_as_long_as_it_should_be_is_sent_again(gateway, store):
    values = named(b"a" * 100)
    (sha256,) = values
    send(store, "n1", values, fresh=DAY)
    (gateway.files / keys.object_key(sha256)).write_bytes(b"a" * 50)
    assert send(store, "n2", values, fresh=DAY) == 100
    assert bytes(store.get(keys.object_key(sha256))) == b"a" * 100


def test_what_is_old_is_sent_again_before_it_can_be_removed(gateway, store):
    values = named(b"a" * 100)
    (sha256,) = values
    send(store, "n1", values, fresh=DAY)
    _age(gateway.files / keys.object_key(sha256), days=2)
    assert send(store, "n2", values, fresh=DAY) == 100


def test_a_long_transfer_shows_how_far_it_is(store, capsys, monkeypatch):
    monkeypatch.setattr(progress, "AFTER", 0.0)
    send(store, "n1", named(os.urandom(3 * PIECE)), fresh=DAY)
    said = capsys.readouterr().err
    assert f"\rkonduktor: sending 48.0 MiB to {store.url}: " in said
    assert said.endswith(": done\n")
    send(store, "n2", named(os.urandom(3 * PIECE)), fresh=DAY, quiet=True)
    assert capsys.readouterr().err == ""


def test_a_server_that_goes_and_comes_back_costs_only_time(gateway, store):
    data = os.urandom(12 * PIECE)
    killer = threading.Timer(0.15, gateway.kill)
    reviver = threading.Timer(2.0, gateway.start)
    for timer in (killer, reviver):
        timer.start()
    begin = time.monotonic()
    send(store, "n1", named(data), fresh=DAY)
    assert time.monotonic() - begin > 1.8, "it was there before the server went"
    reviver.join()
    into = memoryview(bytearray(len(data)))
    store.read(keys.object_key(hashlib.sha256(data).hexdigest()), 0, into)
    assert into == data


# --- how it fails


def test_wrong_keys(gateway, monkeypatch):
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong-canary")
    with pytest.raises(StoreError, match="does not accept the credentials") as caught:
        Store(f"s3://{BUCKET}").check()
    assert "AWS_ACCESS_KEY_ID" in caught.value.advice
    assert "wrong-canary" not in str(caught.value)


def test_keys_that_were_mended_are_used_at_once(gateway, monkeypatch):
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong")
    store = Store(f"s3://{BUCKET}")
    with pytest.raises(StoreError):
        store.check()
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    store.check()
    store.put("x", b"data")
    assert bytes(store.get("x")) == b"data"


def test_no_keys(gateway, monkeypatch):
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    with pytest.raises(StoreError, match=r"no credentials|does not accept"):
        Store(f"s3://{BUCKET}").check()


def test_no_such_bucket(gateway):
    absent = Store("s3://absent/x")
    for attempt in (absent.check, lambda: list(absent.scan("")), lambda: absent.put("a", b"")):
        with pytest.raises(StoreError, match="no such bucket"):
            attempt()
    with pytest.raises(StoreError, match="no such bucket"):
        absent.get("a")


def test_a_server_that_is_not_there_is_said_within_seconds(gateway):
    gateway.kill()
    begin = time.monotonic()
    with pytest.raises(StoreError, match="does not answer") as caught:
        Store(f"s3://{BUCKET}").check()
    assert time.monotonic() - begin < 15
    assert "AWS_ENDPOINT_URL" in caught.value.advice


def test_a_folder_that_cannot_be_written_to(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="cannot be"):
        Store((tmp_path / "file" / "below").as_uri()).check()


def test_it_is_looked_at_once_in_a_while(gateway, store):
    for _ in range(3):
        store.check()
    assert len(gateway.requests("PUT", keys.PROBE)) == 1


# --- what is old


def test_what_is_old_and_not_needed_is_found(gateway, store):
    values = named(b"old", b"new", b"leased")
    old, _, leased = values
    send(store, "n0", values, fresh=DAY)
    store.delete([keys.lease_key("n0")])
    lease(store, "n1", [leased])
    lease(store, "n2", [old])
    for uid in ("gone", "there", "young"):
        store.put(keys.result_key(uid, "0/index"), b"12345")
    aged = [keys.object_key(old), keys.object_key(leased), keys.lease_key("n2")]
    aged += [keys.result_key("gone", "0/index"), keys.result_key("there", "0/index")]
    for key in aged:
        _age(gateway.files / key, days=8)
    found = find(store, keep=timedelta(days=7), alive={"there"})
    assert set(found.names) == {keys.object_key(old), keys.lease_key("n2"), keys.result_key("gone", "0/index")}
    assert (found.jobs, found.objects) == ({"gone"}, 1)
    assert store.look(keys.object_key(old)) is not None
    store.delete(found.names)
    assert store.look(keys.object_key(old)) is None
    assert store.look(keys.object_key(leased)) is not None
    assert find(store, keep=timedelta(days=7), alive={"there"}).names == []


def test_a_lease_lasts_as_long_as_its_urls_though_things_are_kept_for_less(gateway, store):
    values = named(b"needed")
    send(store, "n1", values, fresh=DAY)
    for key in (keys.object_key(*values), keys.lease_key("n1")):
        _age(gateway.files / key, days=3)
    assert find(store, keep=DAY).names == []


def _age(path, days):
    when = (datetime.now(UTC) - timedelta(days=days)).timestamp()
    os.utime(path, (when, when))
