"""Requests that are refused for a while, for good, or answered by something that is no API server."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from jupyter_konduktor.backends.kubernetes.api import client as clients
from jupyter_konduktor.backends.kubernetes.api.client import Client
from jupyter_konduktor.backends.kubernetes.api.reflector import Reflector
from jupyter_konduktor.backends.kubernetes.api.table import Rows
from jupyter_konduktor.backends.kubernetes.api.transport import Clock
from jupyter_konduktor.errors import AccessDeniedError, ApiError, BackendError, UnreachableError
from tests.unit.kubernetes.server import Answer, Server, kubeconfig


@pytest.fixture
def server() -> Iterator[Server]:
    made = Server()
    yield made
    made.close()


@pytest.fixture
def client(server: Server, tmp_path: Path) -> Iterator[Client]:
    made = Client.connect(kubeconfig=kubeconfig(tmp_path / "config", server.url, user={"token": "abc"}))
    yield made
    made.close()


def status(code: int, reason: str = "", message: str = "no", **headers: str) -> Answer:
    body = {"kind": "Status", "code": code, "reason": reason, "message": message}
    return Answer(code, body, headers)


def methods(server: Server) -> list[str]:
    return [request[0] for request in server.requests]


@pytest.mark.parametrize("code", [429, 500, 502, 503, 504])
def test_what_can_be_asked_twice_is(client: Client, server: Server, code: int) -> None:
    for ask in (lambda: client.get("/x"), lambda: client.patch("/x", {}), lambda: client.delete("/x", uid="u")):
        server.answers = [status(code)]
        ask()
    assert methods(server) == ["GET", "GET", "PATCH", "PATCH", "DELETE", "DELETE"]


def test_a_post_is_repeated_only_if_the_server_has_not_run_it(client: Client, server: Server) -> None:
    server.answers = [status(429)]
    client.post("/x", {})
    server.answers = [status(503)]
    with pytest.raises(ApiError) as caught:
        client.post("/x", {})
    assert caught.value.status == 503
    assert methods(server) == ["POST"] * 3


def test_a_post_that_changes_nothing_is_repeated(client: Client, server: Server) -> None:
    server.answers = [status(503)]
    client.post("/x", {}, {"dryRun": "All"})
    server.answers = [status(503)]
    client.post("/apis/authorization.k8s.io/v1/selfsubjectrulesreviews", {})
    assert len(server.requests) == 4


def test_a_wait_that_the_server_asks_for_is_kept(client: Client, server: Server) -> None:
    server.answers = [status(429, **{"Retry-After": "1"})]
    began = time.monotonic()
    client.get("/x")
    assert 1 <= time.monotonic() - began < 8


def test_a_wait_that_is_too_long_is_not(client: Client, server: Server) -> None:
    server.answers = [status(503, message="busy", **{"Retry-After": "3600"})]
    with pytest.raises(ApiError, match="busy"):
        client.get("/x")
    assert len(server.requests) == 1


def test_trying_again_ends(client: Client, server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clients, "PATIENCE", 0.5)
    server.answers = [status(503)] * 50
    with pytest.raises(ApiError):
        client.get("/x")
    assert 2 <= len(server.requests) < 8


def test_a_webhook_that_is_down_is_told_and_not_asked_again(client: Client, server: Server) -> None:
    server.answers = [status(500, "InternalError", 'failed calling webhook "x": connection refused')]
    with pytest.raises(ApiError, match="failed calling webhook"):
        client.patch("/x", {})
    assert len(server.requests) == 1


def test_refusals_keep_status_reason_and_text(client: Client, server: Server) -> None:
    server.answers = [status(403, "Forbidden", 'cannot create resource "jobsets"')]
    with pytest.raises(AccessDeniedError, match="cannot create resource") as caught:
        client.post("/x", {})
    assert (caught.value.status, caught.value.reason) == (403, "Forbidden")
    server.answers = [Answer(418, b"<html><h1>a portal</h1></html>")]
    with pytest.raises(ApiError, match=r"answered 418 \(I'm a Teapot\)$"):
        client.get("/x")
    server.answers = [Answer(200, b"<html>please log in</html>")]
    with pytest.raises(ApiError, match="not JSON"):
        client.get("/x")


def test_warnings_lose_their_quotes(client: Client, server: Server) -> None:
    server.answers = [Answer(201, {}, {"Warning": '299 - "unknown field \\"spec.x\\"", 299 - "another"'})]
    assert client.post("/x", {}).warnings == ('unknown field "spec.x"', "another")


def test_a_query_is_written_as_an_api_reads_it(client: Client, server: Server) -> None:
    client.get("/x", {"labelSelector": "a in (b,c),d=e f", "limit": 5})
    assert server.requests[0][1] == "/x?labelSelector=a+in+%28b%2Cc%29%2Cd%3De+f&limit=5"


def test_an_answer_in_pieces_is_split_at_newlines_only(client: Client, server: Server) -> None:
    text = "one\u2028still one\r\ntwo\x85\x00\n\nlast".encode()
    server.answers = [Answer(200, text)]
    with client.stream("/log", read_timeout=5) as stream:
        assert list(stream.lines()) == text.split(b"\n")


def test_a_stream_waits_once_if_it_is_told_to(client: Client, server: Server) -> None:
    server.answers = [status(429, **{"Retry-After": "1"}), Answer(200, b"here")]
    with client.stream("/log", read_timeout=5) as stream:
        assert b"".join(stream) == b"here"
    server.answers = [status(404, "NotFound", "no such pod")]
    with pytest.raises(ApiError, match="no such pod"):
        list(client.stream("/log", read_timeout=5))


def test_a_clock_is_known_the_better_the_more_answers_there_are() -> None:
    clock = Clock()
    for moment in (100.0, 103.3, 107.7, 110.95):  # the other clock is an hour and 0.2 s ahead, and told in seconds
        told = time.gmtime(int(moment + 3600.2))
        clock.note(time.strftime("%a, %d %b %Y %H:%M:%S GMT", told), moment, moment + 0.01)
    assert clock.skew == pytest.approx(3600.2, abs=0.15)
    clock.note("Thu, 01 Jan 1970 00:01:00 GMT", 60.2, 60.3)  # one of them was set
    assert abs(clock.skew) < 1
    clock.note("nonsense", 60.2, 60.3)
    assert abs(clock.skew) < 1


def test_cells_are_found_by_the_names_of_their_columns_whatever_their_types() -> None:
    names = ["Name", "TerminalState", "Restarts", "Completed", "Suspended", "Age"]
    rows = Rows()

    def row(*cells: Any) -> dict[str, Any]:
        fields = [{"subresource": "status", "time": "2026-01-01T00:00:00Z"}, {"time": "2026-01-02T00:00:00Z"}]
        return {"cells": list(cells), "object": {"metadata": {"name": cells[0], "managedFields": fields}}}

    table = {"columnDefinitions": [{"name": name} for name in names], "rows": [row("a", "Failed", 2, None, "true", "")]}
    ended = [{"type": "Failed", "status": "True", "lastTransitionTime": "2026-01-01T00:00:00Z"}]
    status = {"terminalState": "Failed", "restarts": 2, "conditions": ended}
    assert rows.of(table) == [{"metadata": {"name": "a"}, "spec": {"suspend": True}, "status": status}]
    later = {"columnDefinitions": None, "rows": [row("b", None, "1", None, False, "")]}
    assert rows.of(later) == [{"metadata": {"name": "b"}, "spec": {"suspend": False}, "status": {"restarts": 1}}]


# --- what a real API server does not send


class Sink:
    def __init__(self) -> None:
        self.told: list[Any] = []
        self.ready = threading.Event()

    def replaced(self, kind: str, objects: list[dict[str, Any]]) -> None:
        self.told.append([item["metadata"]["uid"] for item in objects])
        if len([each for each in self.told if isinstance(each, list)]) == 2:
            self.ready.set()

    def changed(self, kind: str, event: str, obj: dict[str, Any]) -> None:
        self.told.append((event, obj["metadata"]["uid"]))

    def reach(self, kind: str, trouble: BackendError | None) -> None:
        self.told.append(trouble)


def thing(uid: str, version: int) -> dict[str, Any]:
    return {"metadata": {"uid": uid, "resourceVersion": str(version)}}


def page(*objects: dict[str, Any], version: int, rest: str = "") -> Answer:
    return Answer(200, {"metadata": {"resourceVersion": str(version), "continue": rest}, "items": list(objects)})


def events(*told: tuple[str, dict[str, Any]]) -> Answer:
    return Answer(200, b"".join(json.dumps({"type": kind, "object": obj}).encode() + b"\n" for kind, obj in told))


@pytest.mark.parametrize(
    "bad",
    [
        events(("ERROR", {"kind": "Status", "code": 410, "reason": "Expired", "message": "too old"})),
        status(410, "Expired", "too old"),
        Answer(200, b'{"type": "ADDED", "obj\n'),
        Answer(200, b"[" * 100_000 + b"\n"),
        events(("ADDED", {"metadata": {}})),
    ],
    ids=["ERROR event", "410", "cut JSON", "deep JSON", "no version"],
)
def test_a_watch_that_goes_wrong_is_followed_by_a_list(client: Client, server: Server, bad: Answer) -> None:
    server.answers = [page(thing("a", 1), version=5), bad, page(thing("a", 1), thing("b", 7), version=9)]
    sink = Sink()
    reflector = Reflector(client, "things", "/things", sink)
    reflector.target("", relist=True)
    assert sink.ready.wait(30)
    reflector.close()
    reflector._thread.join(30)
    assert [each for each in sink.told if each][:2] == [["a"], ["a", "b"]]


def test_a_list_whose_rest_has_expired_is_read_in_one_go(client: Client, server: Server) -> None:
    server.answers = [
        page(thing("a", 1), version=5, rest="more"),
        status(410, "Expired", "the token is too old"),
        page(thing("a", 1), thing("b", 2), version=9),
    ]
    sink = Sink()
    reflector = Reflector(client, "things", "/things", sink)
    reflector.target("", relist=True)
    deadline = time.monotonic() + 30
    while not sink.told and time.monotonic() < deadline:
        time.sleep(0.01)
    reflector.close()
    assert sink.told[0] == ["a", "b"]
    assert [request[1] for request in server.requests[:3]] == [
        "/things?limit=500",
        "/things?limit=500&continue=more",
        "/things?limit=0",
    ]


def test_what_was_told_is_not_told_again(client: Client, server: Server) -> None:
    server.answers = [
        page(thing("a", 3), version=5),
        events(
            ("ADDED", thing("a", 3)), ("MODIFIED", thing("a", 6)), ("BOOKMARK", {"metadata": {"resourceVersion": "8"}})
        ),
        events(("MODIFIED", thing("a", 6)), ("DELETED", thing("a", 9))),
        status(410, "Expired"),
        page(version=9),
    ]
    sink = Sink()
    reflector = Reflector(client, "things", "/things", sink)
    reflector.target("", relist=True)
    assert sink.ready.wait(30)
    reflector.close()
    assert sink.told[:4] == [["a"], ("MODIFIED", "a"), ("DELETED", "a"), []]
    watches = [request[1] for request in server.requests if "watch" in request[1]]
    assert "resourceVersion=5" in watches[0]
    assert "resourceVersion=8" in watches[1]


def test_a_server_that_ends_every_watch_at_once_is_not_flooded(client: Client, server: Server) -> None:
    server.answers = [page(version=5), *[Answer(200, b"")] * 100]
    reflector = Reflector(client, "things", "/things", Sink())
    reflector.target("", relist=True)
    time.sleep(1.0)
    reflector.close()
    assert len(server.requests) < 10


def test_an_address_where_nothing_listens_is_told_in_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clients, "PATIENCE", 0.0)
    client = Client.connect(kubeconfig=kubeconfig(tmp_path / "config", "https://127.0.0.1:1"))
    with pytest.raises(UnreachableError, match=r"context 'here' \(https://127.0.0.1:1\) does not answer: conn") as told:
        client.get("/x")
    assert "\n" not in told.value.message
    nowhere = Client.connect(kubeconfig=kubeconfig(tmp_path / "config", "https://no-such-host.invalid"))
    with pytest.raises(UnreachableError, match=r"the name no-such-host.invalid is not known"):
        nowhere.get("/x")
