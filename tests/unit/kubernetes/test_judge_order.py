"""Whatever order a job's objects become known in, repeated or missing, nothing wrong is said of it."""

from __future__ import annotations

import random
from itertools import pairwise

import pytest

from jupyter_konduktor.backends.kubernetes.judging.judge import judge
from jupyter_konduktor.state import JobState
from tests.unit.kubernetes.lives import NAMES, Happening, Watcher, life

ENDS = {"Completed": JobState.SUCCEEDED, "Failed": JobState.FAILED}
ROUNDS = 10
LAG = 4
"""Places by which an event may come late: some hundreds of milliseconds."""


def true_end(events: list[Happening]) -> JobState | None:
    """What the JobSet itself said in the end."""
    ends = [(obj.get("status") or {}).get("terminalState") for kind, _, obj in events if kind == "jobset"]
    return next((ENDS[end] for end in ends if end), None)


def interleaved(events: list[Happening], chance: random.Random) -> list[Happening]:
    """Each kind in its order, as each watch tells it, with nothing known of how they stand to each other."""
    kinds = {kind: [event for event in events if event[0] == kind] for kind in ("jobset", "workload", "pod", "event")}
    found = []
    while any(kinds.values()):
        kind = chance.choice([kind for kind, left in kinds.items() if left])
        count = chance.randint(1, 6)
        found += kinds[kind][:count]
        del kinds[kind][:count]
    return found


def lagging(events: list[Happening], chance: random.Random) -> list[Happening]:
    """Each kind in its order, and no event more than a few places late."""
    times: dict[str, float] = {}
    late = []
    for index, event in enumerate(events):
        times[event[0]] = max(times.get(event[0], 0.0), index + chance.uniform(0, LAG))
        late.append((times[event[0]], index, event))
    return [event for _, _, event in sorted(late, key=lambda item: item[:2])]


def check(watcher: Watcher, end: JobState | None) -> None:
    """What holds however little is known."""
    records = watcher.records
    for before, after in pairwise(records):
        times = [change.time for change in after.history]
        assert times == sorted(times)
        assert after.version >= before.version
        assert after.attempt >= before.attempt
        assert len(after.history) >= len(before.history)
        kept = [(change.time, change.state, change.attempt) for change in after.history]
        assert kept[: len(before.history)] == [(c.time, c.state, c.attempt) for c in before.history]
        if before.state.final:
            assert after.state is before.state
            # Its cause may become known later, where nothing but the end was.
            assert after.history == before.history or before.exit_code is None
    for record in records:
        if record.state in (JobState.SUCCEEDED, JobState.FAILED):
            assert record.state is end


@pytest.mark.parametrize("name", NAMES)
def test_watches_that_run_ahead_of_each_other(name: str) -> None:
    for seed in range(ROUNDS):
        print(f"{name}, seed {seed}")
        events = interleaved(life(name), random.Random(seed))
        watcher = Watcher(table=seed % 2 == 0).tell(events)
        check(watcher, true_end(events))
        in_order = Watcher().tell(life(name))
        if in_order.lost or name in ("cancelled", "konduktor-stop"):
            continue
        assert watcher.record.state is in_order.record.state


@pytest.mark.parametrize("name", NAMES)
def test_watches_that_lag_a_little_tell_of_every_attempt(name: str) -> None:
    in_order = Watcher().tell(life(name))
    for seed in range(ROUNDS):
        print(f"{name}, seed {seed}")
        events = lagging(life(name), random.Random(seed))
        watcher = Watcher(table=seed % 2 == 0).tell(events)
        check(watcher, true_end(events))
        if not in_order.lost:
            assert (watcher.record.state, watcher.record.attempt) == (in_order.record.state, in_order.record.attempt)


@pytest.mark.parametrize("name", NAMES)
def test_sights_in_any_order_repeated_and_missing(name: str) -> None:
    for seed in range(ROUNDS):
        print(f"{name}, seed {seed}")
        chance = random.Random(seed)
        events = [event for event in life(name) if event[1] != "DELETED" or event[0] == "pod"]
        told = chance.choices(events, k=len(events))
        watcher = Watcher(table=seed % 2 == 0).tell(told)
        check(watcher, true_end(events))


@pytest.mark.parametrize("name", NAMES)
def test_every_moment_can_be_the_first(name: str) -> None:
    """Who starts to look in the middle comes to the same end, and says nothing final before."""
    events = life(name)
    in_order = Watcher().tell(events)
    for start in range(len(events)):
        watcher = Watcher()
        for event in events[:start]:
            watcher.take(event)
        watcher.tell(events[start:])
        check(watcher, true_end(events))
        if watcher.records and not in_order.lost:
            assert watcher.record.state is in_order.record.state
            if in_order.record.state.final and name != "replaced":
                assert watcher.record.attempt == in_order.record.attempt


@pytest.mark.parametrize("name", NAMES)
def test_judging_again_changes_nothing(name: str) -> None:
    watcher = Watcher(table=True)
    for event in life(name):
        watcher.tell([event])
        if watcher.records and not watcher.lost:
            assert judge(watcher.sight, watcher.record) == watcher.record
