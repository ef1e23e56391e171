"""Requests and watches through a network that breaks, against a real API server."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from jupyter_konduktor.backends.kubernetes import words
from jupyter_konduktor.backends.kubernetes.api import reflector as reflecting
from jupyter_konduktor.backends.kubernetes.api.client import Client
from jupyter_konduktor.backends.kubernetes.api.reflector import Reflector
from jupyter_konduktor.errors import AccessDeniedError, ApiError, BackendError, UnreachableError
from tests.cluster.proxy import Proxy, wait_until
from tests.testbed.cluster import Cluster, Namespace


class Recorder:
    """A sink that remembers."""

    def __init__(self) -> None:
        self.objects: dict[str, dict[str, Any]] = {}
        self.lists: list[list[str]] = []
        self.events: list[tuple[str, str, str]] = []
        self.reached: list[BackendError | None] = []

    def replaced(self, kind: str, objects: list[dict[str, Any]]) -> None:
        self.objects = {obj["metadata"]["name"]: obj for obj in objects}
        self.lists.append(sorted(self.objects))

    def changed(self, kind: str, event: str, obj: dict[str, Any]) -> None:
        metadata = obj["metadata"]
        self.objects[metadata["name"]] = obj
        self.events.append((event, metadata["name"], metadata["resourceVersion"]))

    def reach(self, kind: str, trouble: BackendError | None) -> None:
        self.reached.append(trouble)

    def seen(self, event: str, name: str) -> bool:
        return any(each[:2] == (event, name) for each in self.events)


@pytest.fixture(scope="module")
def place(cluster: Cluster) -> Iterator[Namespace]:
    with cluster.new_namespace() as made:
        yield made


@pytest.fixture
def direct(place: Namespace) -> Iterator[Client]:
    client = Client.connect(kubeconfig=str(place.kubeconfig))
    yield client
    for name in [item["metadata"]["name"] for item in client.get(maps(client), {"labelSelector": "of=test"})["items"]]:
        client.delete(maps(client, name))
    client.close()


@pytest.fixture
def proxy(place: Namespace) -> Iterator[Proxy]:
    with Proxy.before(place.kubeconfig) as made:
        yield made


@pytest.fixture
def client(proxy: Proxy, place: Namespace, tmp_path: Path) -> Iterator[Client]:
    made = Client.connect(kubeconfig=str(proxy.kubeconfig(place.kubeconfig, tmp_path / "kubeconfig")))
    yield made
    made.close()


@pytest.fixture
def watch(client: Client) -> Iterator[tuple[Reflector, Recorder]]:
    sink = Recorder()
    reflector = Reflector(client, "maps", maps(client), sink)
    yield reflector, sink
    end(reflector)


def end(reflector: Reflector) -> None:
    reflector.close()
    reflector._thread.join(30)
    assert not reflector._thread.is_alive()


def maps(client: Client, name: str = "") -> str:
    return words.core(client.namespace, "configmaps", name)


def make(client: Client, name: str, **labels: str) -> dict[str, Any]:
    return client.post(maps(client), {"metadata": {"name": name, "labels": {"of": "test", **labels}}}).body


def touch(client: Client, name: str, text: str) -> dict[str, Any]:
    return client.patch(maps(client, name), {"data": {"text": text}}).body


def begin(watch: tuple[Reflector, Recorder], selector: str = "of=test") -> Recorder:
    reflector, sink = watch
    reflector.target(selector, relist=True)
    wait_until(lambda: sink.lists and reflector._stream is not None and reflector._stream._response is not None)
    return sink


# --- the client


def test_objects_are_made_read_changed_listed_and_deleted(direct: Client) -> None:
    made = make(direct, "plain")
    assert direct.get(maps(direct, "plain"))["metadata"]["uid"] == made["metadata"]["uid"]
    assert touch(direct, "plain", "new")["data"] == {"text": "new"}
    with pytest.raises(ApiError) as caught:
        direct.delete(maps(direct, "plain"), uid="00000000-0000-0000-0000-000000000000")
    assert (caught.value.status, caught.value.reason) == (409, "Conflict")
    assert direct.delete(maps(direct, "plain"), uid=made["metadata"]["uid"]).status == 200
    with pytest.raises(ApiError, match='configmaps "plain" not found') as caught:
        direct.get(maps(direct, "plain"))
    assert caught.value.status == 404


def test_a_list_comes_in_pages(direct: Client) -> None:
    for number in range(5):
        make(direct, f"page-{number}", part="pages")
    pages = list(direct.pages(maps(direct), {"labelSelector": "part=pages"}, limit=2))
    names = [item["metadata"]["name"] for page in pages for item in page["items"]]
    assert len(pages) == 3
    assert names == [f"page-{number}" for number in range(5)]


def test_the_cluster_says_who_one_is_what_it_serves_and_what_time_it_is(direct: Client, place: Namespace) -> None:
    assert direct.identity == place.user
    assert direct.served(words.KUEUE_GROUP)[0] in words.KUEUE_VERSIONS
    assert direct.served("nothing.example.com") == []
    assert abs(direct.skew) < 5


def test_what_the_api_warns_of_is_passed_on(direct: Client) -> None:
    body = {
        "metadata": {"name": "warned"},
        "spec": {"containers": [{"name": "a", "image": "b"}, {"name": "c", "image": "d", "env": [{"name": "X"}] * 2}]},
    }
    reply = direct.post(words.core(direct.namespace, "pods"), body, {"dryRun": "All"})
    assert any("hides previous definition" in text for text in reply.warnings)


def test_a_refusal_names_verb_and_resource(direct: Client) -> None:
    with pytest.raises(AccessDeniedError, match="cannot list resource") as caught:
        direct.get("/api/v1/namespaces/kube-system/secrets")
    assert caught.value.status == 403


def test_a_server_that_refuses_connections_is_waited_for(client: Client, proxy: Proxy) -> None:
    client.get("/version")
    proxy.refuse()
    threading.Timer(0.7, proxy.accept).start()
    assert client.get("/version")["major"]


def test_a_server_that_stays_away_is_an_error_within_the_time_that_is_set(
    client: Client, proxy: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("jupyter_konduktor.backends.kubernetes.api.client.PATIENCE", 1.0)
    proxy.refuse()
    began = time.monotonic()
    with pytest.raises(UnreachableError, match="connection refused"):
        client.get("/version")
    assert time.monotonic() - began < 8  # ten if it were not set


def test_a_post_that_never_left_is_sent_again(client: Client, proxy: Proxy, direct: Client) -> None:
    proxy.refuse()
    threading.Timer(0.5, proxy.accept).start()
    assert make(client, "patient")["metadata"]["name"] == "patient"


def test_a_post_whose_reply_was_lost_is_not_sent_again_and_was_carried_out_once(
    client: Client, proxy: Proxy, direct: Client
) -> None:
    client.get("/version")
    proxy.lose_reply()
    with pytest.raises(UnreachableError, match="broke the connection off"):
        make(client, "once")
    made = direct.get(maps(direct, "once"))["metadata"]
    with pytest.raises(ApiError) as caught:
        make(client, "once")
    assert (caught.value.status, caught.value.reason) == (409, "AlreadyExists")
    assert direct.get(maps(direct, "once"))["metadata"]["uid"] == made["uid"]


def test_a_patch_and_a_delete_whose_reply_was_lost_are_sent_again(client: Client, proxy: Proxy, direct: Client) -> None:
    make(client, "twice")
    proxy.lose_reply()
    assert touch(client, "twice", "kept")["data"] == {"text": "kept"}
    proxy.lose_reply()
    with pytest.raises(ApiError, match="not found"):  # the first one was carried out
        client.delete(maps(client, "twice"))


def test_an_answer_that_is_cut_in_the_middle_is_asked_for_again(client: Client, proxy: Proxy, direct: Client) -> None:
    direct.post(maps(direct), {"metadata": {"name": "large", "labels": {"of": "test"}}, "data": {"x": "y" * 300_000}})
    client.get("/version")
    proxy.cut_after(200)
    assert len(client.get(maps(client, "large"))["data"]["x"]) == 300_000


def test_a_connection_that_has_gone_silent_is_given_up_and_the_next_is_used(client: Client, proxy: Proxy) -> None:
    client.get("/version")
    proxy.hush()
    threading.Timer(0.3, proxy.speak).start()
    assert client.get("/version", timeout=1.5)["major"]


def test_after_a_sleep_the_connections_from_before_are_not_used(
    client: Client, proxy: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    client.get("/version")
    proxy.hush()
    proxy.speak()  # for new ones: the one there is goes nowhere any more
    client._transport._heard -= 600
    before = proxy.connections
    began = time.monotonic()
    client.get("/version", timeout=60)
    assert proxy.connections == before + 1
    assert time.monotonic() - began < 30


def test_many_threads_use_one_client(direct: Client) -> None:
    failed: list[BaseException] = []

    def read() -> None:
        try:
            for _ in range(5):
                direct.get(maps(direct))
        except BaseException as error:
            failed.append(error)

    threads = [threading.Thread(target=read) for _ in range(30)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failed


# --- streams


def test_closing_a_stream_ends_a_blocked_read_at_once(client: Client) -> None:
    stream = client.stream(maps(client), {"watch": "true", "labelSelector": "of=nothing"}, read_timeout=60)
    ended = []

    def read() -> None:
        with stream:
            ended.append(list(stream))

    thread = threading.Thread(target=read)
    thread.start()
    wait_until(lambda: stream._response is not None)
    time.sleep(0.1)  # until it is inside the read
    stream.close()
    thread.join(20)  # the read would wait for a minute
    assert ended == [[]]


def test_closing_a_stream_ends_the_wait_for_an_answer_that_does_not_begin(client: Client, proxy: Proxy) -> None:
    client.get("/version")
    proxy.hush()
    stream = client.stream(maps(client), {"watch": "true"}, read_timeout=60)
    thread = threading.Thread(target=lambda: list(stream))
    thread.start()
    wait_until(lambda: stream._socket is not None)
    stream.close()
    thread.join(20)  # the answer would be waited for a minute
    assert not thread.is_alive()


def test_a_stream_that_goes_silent_ends_after_its_read_timeout(client: Client, proxy: Proxy) -> None:
    stream = client.stream(maps(client), {"watch": "true"}, read_timeout=0.5, answer_timeout=60).open()
    proxy.hush()
    with stream, pytest.raises(UnreachableError, match=r"for 0\.5 s"):
        list(stream)


# --- the reflector


def test_a_list_then_every_change_once(watch: tuple[Reflector, Recorder], direct: Client) -> None:
    make(direct, "before")
    sink = begin(watch)
    assert sink.lists == [["before"]]
    make(direct, "later")
    touch(direct, "later", "1")
    direct.delete(maps(direct, "later"))
    wait_until(lambda: sink.seen("DELETED", "later"))
    assert [event[:2] for event in sink.events] == [("ADDED", "later"), ("MODIFIED", "later"), ("DELETED", "later")]
    assert sink.reached == []


def test_a_cut_connection_is_made_anew_and_nothing_is_told_twice(
    watch: tuple[Reflector, Recorder], direct: Client, proxy: Proxy
) -> None:
    sink = begin(watch)
    make(direct, "cut")
    wait_until(lambda: sink.seen("ADDED", "cut"))
    for number in range(5):
        proxy.cut()
        touch(direct, "cut", str(number))
    wait_until(lambda: sink.objects["cut"].get("data") == {"text": "4"})
    versions = [event[2] for event in sink.events]
    assert len(versions) == len(set(versions)) == 6
    assert len(sink.lists) == 1
    assert sink.reached == []


def test_a_server_that_is_away_is_told_once_and_so_is_its_return(
    watch: tuple[Reflector, Recorder], direct: Client, proxy: Proxy
) -> None:
    sink = begin(watch)
    proxy.refuse()
    make(direct, "meanwhile")
    wait_until(lambda: sink.reached)
    time.sleep(1)
    (trouble,) = sink.reached
    assert isinstance(trouble, UnreachableError)
    assert "connection refused" in trouble.message
    proxy.accept()
    wait_until(lambda: sink.seen("ADDED", "meanwhile"))
    assert sink.reached == [trouble, None]
    assert len(sink.lists) == 1


def test_a_dead_connection_is_found_out_while_someone_waits(
    watch: tuple[Reflector, Recorder], direct: Client, proxy: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reflecting, "HURRIED", 1.5)
    monkeypatch.setattr(reflecting, "_MARGIN", 0.5)
    sink = begin(watch)
    watch[0].hurry(True)
    time.sleep(0.3)
    proxy.hush()
    make(direct, "unseen")
    time.sleep(0.2)
    proxy.speak()
    began = time.monotonic()
    wait_until(lambda: sink.seen("ADDED", "unseen"))
    assert time.monotonic() - began < 30
    assert len(sink.lists) == 1


def test_a_watch_that_the_server_ends_goes_on_without_noise(
    watch: tuple[Reflector, Recorder], direct: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reflecting, "PATIENT", 2.0)
    monkeypatch.setattr(reflecting, "_MARGIN", 1.0)
    sink = begin(watch)
    time.sleep(2.2)
    make(direct, "after")
    wait_until(lambda: sink.seen("ADDED", "after"))
    assert len(sink.lists) == 1
    assert sink.reached == []


def test_another_selector_goes_on_from_where_the_old_one_was(watch: tuple[Reflector, Recorder], direct: Client) -> None:
    make(direct, "old-b", group="b")
    sink = begin(watch, "group in (a)")
    make(direct, "new-b", group="b")
    watch[0].target("group in (a,b)", relist=False)
    wait_until(lambda: sink.seen("ADDED", "new-b"))
    assert not sink.seen("ADDED", "old-b")
    assert len(sink.lists) == 1
    watch[0].target("group in (a,b)", relist=True)
    wait_until(lambda: len(sink.lists) == 2)
    assert sink.lists[1] == ["new-b", "old-b"]


def test_kin_made_before_the_selector_changed_is_found_from_an_older_version(
    watch: tuple[Reflector, Recorder], direct: Client
) -> None:
    sink = begin(watch, "group in (a)")
    since = make(direct, "parent")["metadata"]["resourceVersion"]
    make(direct, "kin", group="b")
    make(direct, "other", group="a")  # takes the watch past what it did not see
    wait_until(lambda: sink.seen("ADDED", "other"))
    watch[0].target("group in (a,b)", relist=False, since=since)
    wait_until(lambda: sink.seen("ADDED", "kin"))
    assert [event[1] for event in sink.events] == ["other", "kin"]


def test_without_a_selector_nothing_is_watched(watch: tuple[Reflector, Recorder], direct: Client) -> None:
    sink = begin(watch)
    watch[0].target(None, relist=False)
    make(direct, "unwatched")
    time.sleep(0.3)
    assert sink.events == []
    watch[0].target("of=test", relist=False)
    wait_until(lambda: sink.seen("ADDED", "unwatched"))


def test_many_targets_in_a_row_end_at_the_last_one(watch: tuple[Reflector, Recorder], direct: Client) -> None:
    sink = begin(watch, "group in (none)")
    for number in range(50):
        watch[0].target(f"group in (g{number})", relist=number % 10 == 0)
    make(direct, "last", group="g49")
    wait_until(lambda: "last" in sink.objects)


def test_a_version_that_is_too_old_is_followed_by_a_list(watch: tuple[Reflector, Recorder], direct: Client) -> None:
    sink = begin(watch)
    make(direct, "fresh")
    wait_until(lambda: sink.seen("ADDED", "fresh"))
    with watch[0]._changed:
        watch[0]._version = "1"
    watch[0].reconnect()
    wait_until(lambda: len(sink.lists) == 2)
    assert sink.lists[1] == ["fresh"]
    assert sink.reached == []
    touch(direct, "fresh", "x")
    wait_until(lambda: sink.seen("MODIFIED", "fresh"))


def test_a_sink_that_raises_ends_nothing(client: Client, direct: Client, caplog: pytest.LogCaptureFixture) -> None:
    class Bad(Recorder):
        def changed(self, kind: str, event: str, obj: dict[str, Any]) -> None:
            super().changed(kind, event, obj)
            raise ValueError("no good")

    sink = Bad()
    reflector = Reflector(client, "maps", maps(client), sink)
    reflector.target("of=test", relist=True)
    wait_until(lambda: sink.lists)
    make(direct, "first")
    make(direct, "second")
    wait_until(lambda: sink.seen("ADDED", "second"))
    end(reflector)
    assert "no good" in caplog.text


def test_what_may_not_be_seen_is_told_once_and_asked_for_seldom(client: Client) -> None:
    sink = Recorder()
    reflector = Reflector(client, "secrets", "/api/v1/namespaces/kube-system/secrets", sink)
    reflector.target("", relist=True)
    wait_until(lambda: sink.reached)
    time.sleep(0.5)
    (trouble,) = sink.reached
    assert isinstance(trouble, AccessDeniedError)
    end(reflector)


def test_jobsets_come_as_rows_of_a_table(place: Namespace, client: Client, direct: Client, cluster: Cluster) -> None:
    def jobset(name: str, suspend: bool) -> dict[str, Any]:
        pod = {
            "restartPolicy": "Never",
            "containers": [{"name": "c", "image": cluster.image, "imagePullPolicy": "Never", "command": ["true"]}],
        }
        job = {"template": {"spec": {"template": {"spec": pod}}}, "name": "workers"}
        return {
            "apiVersion": "jobset.x-k8s.io/v1alpha2",
            "kind": "JobSet",
            "metadata": {"name": name, "labels": {"of": "table"}, "annotations": {"big": "x" * 1000}},
            "spec": {"suspend": suspend, "replicatedJobs": [job]},
        }

    path = words.jobsets(place.name)
    direct.post(path, jobset("held", True))
    sink = Recorder()
    reflector = Reflector(client, "jobsets", path, sink, table=True)
    reflector.target("of=table", relist=True)
    wait_until(lambda: sink.lists)
    assert sink.objects["held"]["spec"] == {"suspend": True}
    assert sink.objects["held"]["metadata"]["annotations"]["big"] == "x" * 1000
    assert "managedFields" not in sink.objects["held"]["metadata"]
    direct.post(path, jobset("free", False))
    wait_until(lambda: sink.seen("ADDED", "free"))
    assert sink.objects["free"]["spec"] == {"suspend": False}
    direct.patch(f"{path}/held", {"metadata": {"annotations": {"more": "1"}}})
    wait_until(lambda: sink.seen("MODIFIED", "held"))
    assert sink.objects["held"]["spec"] == {"suspend": True}
    for name in ("held", "free"):
        direct.delete(f"{path}/{name}")
    wait_until(lambda: sink.seen("DELETED", "held") and sink.seen("DELETED", "free"))
    end(reflector)
