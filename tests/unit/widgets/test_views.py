"""What the widget shows and does, without a front end."""

from __future__ import annotations

import re
import time
from html.parser import HTMLParser
from typing import Any

import pytest

from jupyter_konduktor.backends.protocol import Reach
from jupyter_konduktor.group import JobGroup
from jupyter_konduktor.state import JobState
from jupyter_konduktor.widgets import front_end
from jupyter_konduktor.widgets.group_view import GroupView
from jupyter_konduktor.widgets.job_view import JobView
from tests.unit.widgets.conftest import Scene, until

HOSTILE = '<img src=x onerror="alert(1)">\x1b[31m</div><script>alert(2)</script>\u202e'


class Tags(HTMLParser):
    """The tags of a text, and its words."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.words = ""
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        assert not any(name.startswith("on") for name, _ in attrs)

    def handle_data(self, data: str) -> None:
        self.words += data


def words(widget: Any) -> str:
    return re.sub(r"\s+", " ", Tags(widget.value).words).strip()


class Shown:
    """A view with what is in it by name."""

    def __init__(self, scene: Scene, **options: Any) -> None:
        self.scene, self.woken = scene, 0
        made = {"waited": False, **options}
        group = made.pop("group", None)
        self.view = (GroupView(group, wake=self.wake, **made) if group is not None else
                     JobView(scene.job, wake=self.wake, **made))  # fmt: skip
        self.status, rest = self.view.widget.children[0].children
        self.time, self.cancel, self.hold = rest.children
        self.body, self.log = self.view.widget.children[-2:]
        self.refresh()

    def wake(self) -> None:
        self.woken += 1
        self.refresh()

    def refresh(self) -> int:
        return self.view.refresh(self.scene.job.record, time.time())


@pytest.fixture(autouse=True)
def hears(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(front_end, "hears_clicks", lambda: True)


def test_the_line_says_where_it_stands_and_why(scene: Scene) -> None:
    scene.put(JobState.QUEUED, "waits for capacity: 8 of 8 H100 are in use", queue="team", position=2)
    shown = Shown(scene)
    expected = "◷ Queued train-7fq2x, 2 ahead in team: waits for capacity: 8 of 8 H100 are in use"
    assert words(shown.status) == expected
    assert shown.time.value == "0.0 s"
    assert 'role="status"' in shown.status.value
    assert shown.time.value not in shown.status.value  # a screen reader is not told every second


def test_it_says_since_when_nothing_is_known(scene: Scene) -> None:
    scene.tracker.start()
    shown = Shown(scene)
    scene.backend.tell(Reach(time.time(), "the network is gone"))
    shown.refresh()
    assert re.search(r"unknown since \d\d:\d\d:\d\d", words(shown.status))
    scene.backend.tell(Reach(None))
    shown.refresh()
    assert "unknown" not in words(shown.status)


def test_the_details_have_attempts_and_resources_and_are_closed(scene: Scene) -> None:
    scene.put(JobState.RUNNING, "Started")
    scene.put(JobState.QUEUED, "Preempted by a job of higher priority", attempt=1)
    scene.spec(resources={"gpus": {"kind": "H100", "count": 8}, "nodes": 2}, image="python:3.12")
    shown = Shown(scene)
    text = words(shown.body)
    assert "Queued, attempt 2" in text
    assert "Preempted by a job of higher priority" in text
    assert "H100:8, 2 nodes" in text
    assert "python:3.12" in text
    details = shown.view.widget.children[1].value
    assert "<details>" in details
    assert '<input readonly value="%konduktor attach train-7fq2x"' in details


def test_whatever_comes_from_a_job_or_a_cluster_is_inert(scene: Scene) -> None:
    scene.tracker.start()
    scene.put(JobState.RUNNING, HOSTILE, user=HOSTILE, queue=HOSTILE)
    scene.put(JobState.QUEUED, HOSTILE, attempt=1)
    scene.spec(image=HOSTILE, priority=HOSTILE)
    scene.put(JobState.RUNNING, HOSTILE)
    shown = Shown(scene)
    scene.write(HOSTILE.encode())
    until(lambda: bool(shown.refresh() and shown.log.value))
    scene.put(JobState.QUEUED, HOSTILE)
    shown.refresh()
    for widget in (shown.status, shown.time, shown.body, shown.log):
        assert not Tags(widget.value).tags & {"img", "script"}
        assert "\x1b" not in widget.value
        assert "\u202e" not in widget.value
    assert "<script>alert(2)</script>" in words(shown.body)


def test_nothing_is_made_anew_and_only_what_differs_is_sent(scene: Scene) -> None:
    scene.tracker.start()
    shown = Shown(scene)
    before = list(shown.view.widget.children), list(shown.view.widget.children[0].children)
    scene.put(JobState.RUNNING, "Started")
    assert 0 < shown.refresh() <= 5
    assert shown.view.refresh(scene.job.record, scene.job.record.history[-1].time) <= 1  # the time
    scene.put(JobState.STOPPED, "Held")
    shown.refresh()
    assert before == (list(shown.view.widget.children), list(shown.view.widget.children[0].children))
    assert shown.hold.description == "Resume"


def test_a_click_is_acknowledged_before_it_is_done(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    shown, seen = Shown(scene), []
    monkeypatch.setattr(scene.backend, "cancel", lambda name: seen.append((words(shown.status), shown.cancel.disabled)))
    shown.cancel.click()
    assert seen == [("◷ Queued train-7fq2x: Submitted Cancelling…", True)]
    scene.put(JobState.CANCELLED, "cancelled by you")
    shown.refresh()
    assert "Cancelling" not in words(shown.status)


def test_stop_and_resume_are_one_button(scene: Scene) -> None:
    scene.tracker.start()
    shown = Shown(scene)
    scene.put(JobState.RUNNING)
    shown.refresh()
    shown.hold.click()
    assert "Stopping…" in words(shown.status)
    scene.put(JobState.STOPPED)
    shown.refresh()
    shown.hold.click()
    assert scene.backend.asked == ["stop train-7fq2x", "resume train-7fq2x"]


def test_a_refusal_stands_in_the_line_and_the_button_works_again(scene: Scene) -> None:
    scene.backend.refusal = "You may not delete jobsets\nin team"
    shown = Shown(scene)
    shown.cancel.click()
    assert words(shown.status).endswith("You may not delete jobsets in team")
    assert not shown.cancel.disabled


def test_where_no_click_is_heard_the_button_says_so(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(front_end, "hears_clicks", lambda: False)
    waited, detached = Shown(scene, waited=True), Shown(scene)
    assert waited.cancel.disabled
    assert "interrupt the kernel first" in words(waited.status)
    assert "interrupt the kernel" not in words(detached.status)
    assert not detached.cancel.disabled  # the kernel waits for nothing
    monkeypatch.setattr(front_end, "hears_clicks", lambda: True)
    waited.refresh()
    assert not waited.cancel.disabled


def test_the_last_lines_are_read_only_when_they_grow(scene: Scene) -> None:
    scene.tracker.start()
    scene.put(JobState.RUNNING)
    shown = Shown(scene)
    scene.write(b"".join(b"line %d\n" % number for number in range(5000)))
    until(lambda: "line 4999" in (shown.refresh(), shown.log.value)[1])
    assert "line 4990" in shown.log.value
    assert "line 4989" not in shown.log.value
    reads = scene.backend.reads
    for _ in range(20):
        shown.refresh()
    assert scene.backend.reads == reads


def test_below_a_cell_that_waits_there_are_no_last_lines(scene: Scene) -> None:
    scene.tracker.start()
    scene.put(JobState.RUNNING)
    shown = Shown(scene, waited=True)
    scene.write(b"seen as the cell's output\n")
    shown.refresh()
    assert scene.backend.reads == 0


@pytest.mark.parametrize(("count", "cells"), [(3, 3), (1000, 1000), (1001, 501), (100_000, 1000)])
def test_the_field_of_a_map_is_never_large(scene: Scene, count: int, cells: int) -> None:
    scene.spec(items=count)
    scene.backend.items = [(1, b'{"exit":1}'), (0, b'{"exit":0,"value":1}'), (2, b"no envelope")]
    shown = Shown(scene, group=JobGroup(scene.job))
    legend, field = shown.view.widget.children[1:3]
    until(lambda: bool(field.value))  # the second to be set
    assert words(legend) == f"1 done 2 failed (1, 2) {count - 3} to come"
    assert field.value.count("<i") == cells
    assert len(field.value) < 20_000
    if count == 3:
        assert "<i class=d></i><i class=f></i><i class=f></i>" in field.value
