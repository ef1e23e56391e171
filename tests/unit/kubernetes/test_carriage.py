"""Which logs of a job are carried without being asked for, and how many at a time."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from jupyter_konduktor.backends.kubernetes import words
from jupyter_konduktor.backends.kubernetes.logs import carriage as carriages
from jupyter_konduktor.backends.kubernetes.logs.carriage import ALL_NODES, Carriage, Places
from jupyter_konduktor.backends.kubernetes.shelf.shelf import Shelf
from jupyter_konduktor.state import JobRecord, JobState
from jupyter_konduktor.task import Task
from tests.unit.kubernetes.kubelet import Kubelet, until


class Scene:
    """A kubelet with one log for all pods, and jobs that were submitted here."""

    def __init__(self, folder: Path) -> None:
        self.kubelet = Kubelet()
        self.kubelet.write(b"line\n")
        self.shelf = Shelf.open("cluster", "team", base=folder)
        self.site = SimpleNamespace(client=self.kubelet, namespace="team", shelf=self.shelf)
        self.news: list[str] = []
        self.made: list[Carriage] = []

    def job(self, name: str) -> Carriage:
        site: Any = self.site
        made = Carriage(site, f"uid-{name}", name, lambda event: None, lambda: self.news.append(name))
        made.mine = True
        self.made.append(made)
        return made

    def close(self) -> None:
        self.kubelet.end()
        for each in self.made:
            each.close()
        self.shelf.close()


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    made = Scene(tmp_path)
    yield made
    made.close()


def follow(carriage: Carriage, name: str, *pods: dict[str, Any]) -> None:
    task = Task.create(kind="command", command=["true"], name="train", image="python", nodes=max(1, len(pods)))
    record = JobRecord(name, f"uid-{name}", "kubernetes", JobState.RUNNING, spec=task.to_json())
    carriage.number(record, pods)
    carriage.follow(record, pods)


def pod(job: str, node: int = 0, *, code: int | None = None, at: int = 0) -> dict[str, Any]:
    """A pod that runs, or has ended with a code in some second."""
    ended = {"terminated": {"exitCode": code, "finishedAt": f"2026-11-21T13:12:{at:02}Z"}}
    state = {"running": {}} if code is None else ended
    name = f"{job}-workers-0-{node}-abcde"
    return {
        "metadata": {"name": name, "uid": f"uid-{name}", "labels": {words.COMPLETION_INDEX: str(node)}},
        "status": {"containerStatuses": [{"name": words.CONTAINER, "state": state}]},
    }


def logs(scene: Scene, job: str, nodes: int = 1) -> list[int]:
    """The nodes of which something has come."""
    place = scene.shelf.keep(f"uid-{job}", job)
    return [node for node in range(nodes) if place.log(0, node).size]


def test_so_many_logs_are_followed_and_others_wait_until_one_ends(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(carriages, "_places", Places(1))
    one, two, three = (scene.job(name) for name in ("one", "two", "three"))
    follow(one, "one", pod("one"))
    follow(two, "two", pod("two"))
    follow(three, "three", pod("three"))
    until(lambda: logs(scene, "one"))
    assert not logs(scene, "two")
    assert not logs(scene, "three")
    assert two.want(0), "whoever asks for it has it at once"
    follow(two, "two", pod("two"))
    until(lambda: logs(scene, "two"))
    scene.news.clear()
    one.close()
    assert scene.news == ["three"]
    follow(three, "three", pod("three"))
    until(lambda: logs(scene, "three"))


def test_the_log_of_a_container_that_has_ended_does_not_wait(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(carriages, "_places", Places(0))
    job = scene.job("one")
    follow(job, "one", pod("one"))
    scene.kubelet.end()
    follow(job, "one", pod("one", code=0))
    until(lambda: job.ended)
    assert logs(scene, "one")


def test_of_many_nodes_the_one_that_failed_first_is_carried_too(scene: Scene) -> None:
    job, nodes = scene.job("wide"), ALL_NODES + 4
    running = [pod("wide", node) for node in range(nodes)]
    follow(job, "wide", *running)
    until(lambda: logs(scene, "wide", nodes) == [0])
    victims = {node: pod("wide", node, code=143, at=1) for node in (1, 7)}
    ended = [victims.get(node, pods) for node, pods in enumerate(running)]
    ended[5] = pod("wide", 5, code=3, at=2)
    follow(job, "wide", *ended)
    until(lambda: logs(scene, "wide", nodes) == [0, 5])
