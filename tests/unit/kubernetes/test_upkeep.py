"""What is seen to of a job that does not come on, and when nobody should wait for it any longer."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

from jupyter_konduktor.backends.kubernetes.held import Held
from jupyter_konduktor.backends.kubernetes.judging.starting import SILENCE
from jupyter_konduktor.backends.kubernetes.positions import Positions
from jupyter_konduktor.backends.kubernetes.upkeep import Upkeep
from jupyter_konduktor.state import JobRecord, JobState

STUCK_AFTER = 300.0


class Roster:
    """What an `Upkeep` asks of the jobs that are followed."""

    def __init__(self) -> None:
        self.blind = False
        self.dirty: set[str] = set()
        self.unseen: set[str] = set()
        self.held: dict[str, Held] = {}
        self.again: list[str] = []

    def sees(self, kind: str) -> bool:
        return kind not in self.unseen

    def look_again(self, held: Held, kind: str) -> None:
        self.again.append(kind)


class Care:
    """An upkeep of jobs that were submitted here."""

    def __init__(self, site: Any = None) -> None:
        self.roster = Roster()
        self.given_up: list[str] = []
        self.errands: list[Any] = []
        self.upkeep = Upkeep(
            site,
            self.roster,  # type: ignore[arg-type]
            Positions(),
            post=lambda call: call(),
            errand=self.errands.append,
            stuck_after=STUCK_AFTER,
            give_up=lambda name, why: self.given_up.append(f"{name}: {why}"),
            renew=lambda kept: None,
        )

    def job(self, name: str, **fields: Any) -> Held:
        shelf = SimpleNamespace(submitted=False, cancelled=False, links=lambda: None)
        record = JobRecord(name=name, uid=name, backend="kubernetes", state=JobState.STARTING, **fields)
        held = Held(name, name, {}, shelf, SimpleNamespace(mine=True), since=0.0, record=record)  # type: ignore[arg-type]
        self.roster.held[name] = held
        return held

    def stuck(self, held: Held, now: float) -> bool:
        assert held.record is not None
        return self.upkeep.stuck(held, held.record, now).stuck

    def run_errands(self) -> None:
        while self.errands:
            self.errands.pop(0)()


@pytest.mark.parametrize(
    ("reason", "stuck_at", "is_given_up"),
    [
        *((reason, STUCK_AFTER + 1, True) for reason in ("ImagePullBackOff", "FailedCreate", "FailedMount")),
        ("Unschedulable", STUCK_AFTER + 1, False),
        *((reason, STUCK_AFTER + 1 - SILENCE, False) for reason in ("NoPods", "NotScheduled", "NotTakenUp")),
        *((reason, None, False) for reason in ("Admitted", "Pending", "ContainerCreating", "Restarted", "Dispatched")),
    ],
)
def test_only_what_was_asked_for_in_error_is_given_up(
    reason: str, stuck_at: float | None, *, is_given_up: bool
) -> None:
    """An autoscaler may bring a machine, and a controller may be started again."""
    care = Care()
    held = care.job("train", reason=reason)
    assert not care.stuck(held, 1.0)
    assert not care.stuck(held, (stuck_at or STUCK_AFTER) - 1)
    assert care.stuck(held, STUCK_AFTER + 1) is (stuck_at is not None)
    care.run_errands()
    assert care.given_up == (["train: it could not start: " + reason] if is_given_up else [])


def test_one_look_at_the_events_does_for_all_jobs() -> None:
    asked: list[Any] = []
    warnings = [event("train-workers-0-0-abcde"), event("train-workers-0-1-fghij"), event("a-workers-b-workers-0")]

    def pages(path: str, query: Any) -> list[Any]:
        asked.append((path, query))
        return [{"items": warnings[:1]}, {"items": [*warnings[1:], event("else")]}]

    allowed = SimpleNamespace(allows=lambda verb, group, resource: True)
    care = Care(SimpleNamespace(client=SimpleNamespace(pages=pages), rights=allowed, namespace="team"))
    jobs = [care.job(name) for name in ("train", "a-workers-b", *(f"job-{number}" for number in range(300)))]

    def tick(now: float) -> int:
        before = len(asked)
        for held in jobs:
            care.upkeep.check(held, now)
        care.roster.dirty.clear()
        care.upkeep.check_events(now)
        care.run_errands()
        return len(asked) - before

    assert [tick(now) for now in (100.0, 101.0, 103.0, 104.0, 108.0, 114.0)] == [0, 0, 1, 0, 0, 1]
    assert [held.events for held in jobs[:3]] == [warnings[:2], warnings[2:], []]
    assert care.roster.dirty == {held.uid for held in jobs}, "time itself may be worth a word"
    jobs.append(care.job("late"))
    assert [tick(now) for now in (115.0, 118.0)] == [0, 1], "one that is new does not wait for its turn"
    jobs[-1].gone = True
    for held in jobs[:-1]:
        held.record = replace(held.record, state=JobState.RUNNING) if held.record else None
    assert [tick(now) for now in (130.0, 150.0)] == [0, 0]


def event(name: str) -> dict[str, Any]:
    return {"type": "Warning", "reason": "FailedCreate", "involvedObject": {"name": name}}


def test_a_workload_that_does_not_come_is_told_later_in_a_burst() -> None:
    care = Care()
    first = care.job("first")

    def told(now: float) -> float | None:
        care.roster.dirty.clear()
        care.upkeep.check_workloads(now)
        assert ("first" in care.roster.dirty) is (first.unmanaged == now)
        return first.unmanaged

    assert [told(now) for now in (29.0, 31.0, 45.0, 61.0, 70.0)] == [None, 31.0, 31.0, 61.0, 61.0]
    first.unmanaged = None
    for number in range(999):
        care.job(f"job-{number}")
    assert [told(now) for now in (150.0, 231.0)] == [None, 231.0]
    first.unmanaged, first.workload = None, {}
    assert told(400.0) is None
    care.roster.unseen.add("workloads")
    care.job("late")
    care.upkeep.check_workloads(900.0)
    assert care.roster.held["late"].unmanaged is None
