"""When a widget is updated, and what is left of it."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

import ipywidgets
import pytest

from jupyter_konduktor.errors import BackendError
from jupyter_konduktor.group import JobGroup
from jupyter_konduktor.state import JobState
from jupyter_konduktor.widgets import live, shown
from tests.unit.widgets.conftest import Scene, until

WIDGET = "application/vnd.jupyter.widget-view+json"


@pytest.fixture
def messages(monkeypatch: pytest.MonkeyPatch) -> list[tuple[float, Any]]:
    """When each message about a changed value was sent, and what it said."""
    sent: list[tuple[float, Any]] = []
    send: Callable[..., None] = ipywidgets.Widget._send

    def counted(self: Any, msg: Any, buffers: Any = None) -> None:
        sent.append((time.monotonic(), msg["state"]))
        send(self, msg, buffers)

    monkeypatch.setattr(ipywidgets.Widget, "_send", counted)
    return sent


def test_of_a_hundred_changes_a_second_at_most_ten_are_sent_and_the_last_arrives(
    scene: Scene, published: dict[str, Any], messages: list[tuple[float, Any]]
) -> None:
    shown.show(scene.job)
    time.sleep(0.5)
    messages.clear()
    end = time.monotonic() + 3
    while time.monotonic() < end:
        scene.put(JobState.QUEUED, f"waits, {time.monotonic()}", position=int(time.monotonic() * 100))
        time.sleep(0.01)
    scene.put(JobState.QUEUED, "the last word", position=0)
    until(lambda: any("the last word" in str(state) for _, state in messages))
    times = [at for at, _ in messages]
    busiest = max(sum(start <= at < start + 1 for at in times) for start in times)
    assert 2 <= busiest <= 10


def test_the_time_goes_on_without_news(
    scene: Scene, published: dict[str, Any], messages: list[tuple[float, Any]]
) -> None:
    shown.show(scene.job)
    messages.clear()
    until(lambda: len(messages) >= 3)
    times = [at for at, _ in messages[-2:]]
    assert times[1] - times[0] >= live.TICK
    assert all(list(state) == ["value"] for _, state in messages)


def test_one_thread_serves_all_and_ends_with_the_last(scene: Scene, published: dict[str, Any]) -> None:
    many = [shown.show(scene.job) for _ in range(20)]
    names = [thread.name for thread in threading.enumerate()]
    assert names.count("konduktor-widgets") == 1
    assert len(scene.tracker._listeners) == 1
    for each in many:
        assert each is not None
        each.withdraw()
        each.withdraw()
    until(lambda: "konduktor-widgets" not in [thread.name for thread in threading.enumerate()])
    assert scene.tracker._listeners == {}
    assert all(bundle == shown._NOTHING for bundle in published.values())


def test_it_is_replaced_by_a_summary_when_the_job_ends(scene: Scene, published: dict[str, Any]) -> None:
    before = set(ipywidgets.widgets.widget._instances)
    shown.show(scene.job)
    saved, widget = published.values()
    assert WIDGET in widget
    assert "Queued" in saved["text/plain"]
    assert "as of" in saved["text/plain"]
    scene.put(JobState.RUNNING)
    until(lambda: "Running" in next(iter(published.values()))["text/plain"])
    scene.put(JobState.FAILED, "exit code 3")
    until(lambda: not any(WIDGET in bundle for bundle in published.values()))
    saved = next(iter(published.values()))
    assert saved["text/plain"].startswith("✗ train-7fq2x · Failed")
    assert "exit code 3" in saved["text/html"]
    assert "%konduktor attach train-7fq2x" in saved["text/plain"]
    assert set(ipywidgets.widgets.widget._instances) == before  # nothing of it is kept


def test_below_a_cell_that_waits_the_cell_has_the_last_word(scene: Scene, published: dict[str, Any]) -> None:
    live_one = shown.prepare(scene.job, waited=True)
    assert live_one is not None
    live_one.begin()
    scene.put(JobState.SUCCEEDED)
    time.sleep(0.5)
    assert any(WIDGET in bundle for bundle in published.values())
    live_one.finish("train-7fq2x succeeded in 2 s -> <x>")
    saved, widget = published.values()
    assert saved["text/plain"] == "konduktor: train-7fq2x succeeded in 2 s -> <x>"
    assert "-&gt; &lt;x&gt;" in saved["text/html"]
    assert widget == shown._NOTHING


def test_a_job_that_is_gone_is_said_to_be(scene: Scene, published: dict[str, Any]) -> None:
    from jupyter_konduktor.backends.protocol import JobGone

    shown.show(scene.job)
    scene.backend.records.clear()
    scene.backend.tell(JobGone(scene.job.name, "1"))
    until(lambda: "was deleted" in next(iter(published.values()))["text/plain"])


def test_a_job_that_has_ended_needs_no_widget(scene: Scene, published: dict[str, Any]) -> None:
    scene.put(JobState.SUCCEEDED)
    assert shown.show(scene.job) is None
    assert published == {}


def test_one_that_is_broken_does_not_stop_the_others(
    scene: Scene, published: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    broken, whole = shown.show(scene.job), shown.show(scene.job)
    assert broken is not None
    assert whole is not None
    broken.refresh = lambda: 1 // 0  # type: ignore[method-assign]
    until(lambda: "ZeroDivisionError" in caplog.text)
    scene.put(JobState.RUNNING, "goes on")
    until(lambda: "Running" in whole._view._status.value)
    assert "the widget of train-7fq2x failed" in caplog.text
    assert broken not in live.LOOP._turns
    broken.withdraw()


def test_a_read_that_takes_long_holds_up_nothing_else(
    scene: Scene, published: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    answers, read = threading.Event(), scene.backend.read_log

    def late(*args: Any, **kwargs: Any) -> Any:
        answers.wait(60)
        return read(*args, **kwargs)

    monkeypatch.setattr(scene.backend, "read_log", late)
    shown_one = shown.show(scene.job)
    assert shown_one is not None
    scene.put(JobState.RUNNING)
    scene.write(b"the last line\n")
    until(lambda: "Running" in shown_one._view._status.value)
    assert shown_one._view._lines is not None
    lines = shown_one._view._lines[1]
    assert lines.value == ""
    scene.put(JobState.STOPPED, "goes on")
    until(lambda: "Stopped" in shown_one._view._status.value)
    answers.set()
    until(lambda: "the last line" in lines.value)


def test_of_a_map_that_has_ended_the_last_word_counts_its_items(
    scene: Scene, published: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    scene.spec(items=2)
    shown.show(JobGroup(scene.job))
    scene.backend.items = [(0, b'{"exit":0,"value":1}'), (1, b'{"exit":1}')]
    scene.put(JobState.FAILED, "1 of 2 items failed")
    until(lambda: "1 done, 1 failed (1), 0 to come" in next(iter(published.values()))["text/plain"])


def test_a_map_whose_items_cannot_be_read_ends_all_the_same(
    scene: Scene, published: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(name: str, start: int = 0) -> Any:
        raise BackendError("no route")

    monkeypatch.setattr(scene.backend, "read_items", refuse)
    scene.spec(items=2)
    shown.show(JobGroup(scene.job))
    time.sleep(0.5)
    assert any(WIDGET in bundle for bundle in published.values())
    scene.put(JobState.SUCCEEDED)
    until(lambda: not any(WIDGET in bundle for bundle in published.values()))
    assert "to come" not in next(iter(published.values()))["text/plain"]


def test_ipywidgets_is_imported_only_when_a_widget_is_made() -> None:
    code = (
        "import sys; from jupyter_konduktor.magics import magic, cell, output; assert 'ipywidgets' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
