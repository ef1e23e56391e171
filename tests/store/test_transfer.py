"""What the runner fetches and sends, when the server or the URLs change under it."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import threading
import time
from datetime import timedelta

import pytest

from jupyter_konduktor.payload.piece import Piece
from jupyter_konduktor.runner import deposit, fetch, parcel, transfer
from jupyter_konduktor.runner.pack import CodecError
from jupyter_konduktor.store.keys import object_key, result_key
from jupyter_konduktor.store.results import Results
from jupyter_konduktor.store.sending import send

DATA = os.urandom(96 << 20)
SHA256 = hashlib.sha256(DATA).hexdigest()
HOUR = timedelta(hours=1)


@pytest.fixture
def links(tmp_path, store):
    def write(life=HOUR):
        made = {
            "get": {SHA256: store.sign("GET", [object_key(SHA256)], life)[0]},
            "put": {name: store.sign("PUT", [result_key("uid", name)], life)[0] for name in parcel.NAMES},
        }
        (tmp_path / "urls").write_text(json.dumps(made))
        return str(tmp_path / "urls")

    return write


@pytest.fixture
def away(gateway):
    """Have the server go for a moment, soon."""
    timers = []

    def away(after, until):
        timers.extend([threading.Timer(after, gateway.kill), threading.Timer(until, gateway.start)])
        for timer in timers:
            timer.start()

    yield away
    for timer in timers:
        timer.join()


def sent(store):
    send(store, "n", {SHA256: Piece.of(DATA)}, fresh=timedelta(days=1))


def test_a_server_that_goes_while_a_job_fetches(tmp_path, store, links, away):
    sent(store)
    path = links()
    away(0.05, 2.0)
    begin = time.monotonic()
    fetch.fetch(path, str(tmp_path / "objects"), [(SHA256, len(DATA))])
    assert time.monotonic() - begin > 1.5, "it was there before the server went"
    assert (tmp_path / "objects" / SHA256[:2] / SHA256).read_bytes() == DATA


def test_a_server_that_goes_while_a_job_sends(tmp_path, store, links, away):
    (tmp_path / SHA256).write_bytes(DATA)
    path = links()
    away(0.05, 2.0)
    begin = time.monotonic()
    deposit.send(path, str(tmp_path), [SHA256], 0)
    assert time.monotonic() - begin > 1.5, "it was there before the server went"
    assert Results(store, "uid").read(SHA256, len(DATA)) == DATA


def test_a_server_that_stays_away_is_given_up(tmp_path, gateway, store, links, monkeypatch):
    monkeypatch.setattr(transfer, "PATIENCE", 1.0)
    path = links()
    gateway.kill()
    with pytest.raises(CodecError, match="does not get") as caught:
        fetch.fetch(path, str(tmp_path / "objects"), [(SHA256, len(DATA))])
    assert caught.value.kind == "store"
    assert "X-Amz" not in str(caught.value)


def test_processes_of_a_node_fetch_once(tmp_path, gateway, store, links):
    sent(store)
    script = (
        "import sys\nfrom jupyter_konduktor.runner.fetch import fetch\n"
        "fetch(sys.argv[1], sys.argv[2], [(sys.argv[3], int(sys.argv[4]))])"
    )
    command = [sys.executable, "-c", script, links(), str(tmp_path / "objects"), SHA256, str(len(DATA))]
    started = [subprocess.Popen(command) for _ in range(3)]
    assert [process.wait(60) for process in started] == [0, 0, 0]
    assert len(gateway.requests("GET", "/objects/")) == len(DATA) // fetch.PIECE
    assert (tmp_path / "objects" / SHA256[:2] / SHA256).read_bytes() == DATA


def test_urls_that_were_renewed_are_used(tmp_path, store, links):
    sent(store)
    stale = transfer.Links(links(timedelta(seconds=0)))
    links()
    with (tmp_path / "file").open("wb") as file:
        transfer.get(stale, SHA256, 5, 100, file.fileno())
    assert (tmp_path / "file").read_bytes()[5:] == DATA[5:105]


def test_nothing_is_left_of_what_was_not_fetched(tmp_path, store, links):
    with pytest.raises(CodecError, match="404"):
        fetch.fetch(links(), str(tmp_path / "objects"), [(SHA256, len(DATA))])
    assert not (tmp_path / "objects" / SHA256[:2] / SHA256).exists()


def test_a_file_that_is_cut_while_it_is_sent(tmp_path, store, links, monkeypatch):
    monkeypatch.setattr(transfer, "PATIENCE", 0.5)
    (tmp_path / SHA256).write_bytes(DATA)
    claim = deposit._claim

    def and_cut(*arguments):
        os.truncate(tmp_path / SHA256, 10)
        return claim(*arguments)

    monkeypatch.setattr(deposit, "_claim", and_cut)
    with pytest.raises(transfer.TransferError, match="become shorter"):
        deposit.send(links(), str(tmp_path), [SHA256], 0)


def test_what_is_no_plain_file_is_not_sent(tmp_path, store, links):
    (tmp_path / ("a" * 64)).symlink_to("/etc/passwd")
    os.mkfifo(tmp_path / ("b" * 64))
    (tmp_path / ("c" * 64)).write_bytes(b"data")
    deposit.send(links(), str(tmp_path), ["a" * 64, "b" * 64, "c" * 64], 0)
    line = bytes(store.get(result_key("uid", "0/index"))).partition(b"\n")
    assert json.loads(line[0])["objects"] == [["c" * 64, 4]]
    assert line[2] == b"data"


def test_parts_hold_everything_in_its_place():
    objects = [("a", 10), ("b", 0), ("c", 25)]
    index = parcel.Index(parcel.write_index(objects, 8) + b"more")
    assert index.place("c", 25) == 10
    assert index.place("c", 24) is None
    assert index.place("d", 1) is None
    assert list(index.ranges(10, 25)) == [(1, 2, 6), (2, 0, 8), (3, 0, 8), (4, 0, 3)]


def test_more_than_a_store_takes_is_refused():
    assert parcel.part_size(parcel.INLINE) == 0
    assert parcel.part_size(parcel.PARTS * parcel.PART_MOST) == parcel.PART_MOST
    with pytest.raises(OSError, match="a store takes"):
        parcel.part_size(parcel.PARTS * parcel.PART_MOST + 1)
