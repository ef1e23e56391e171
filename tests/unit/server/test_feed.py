"""The numbered changes of the list, and how an event loop is told of them."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest

from jupyter_konduktor.server import announcer as announcer_module
from jupyter_konduktor.server import feed as feed_module
from jupyter_konduktor.server.announcer import Announcer
from jupyter_konduktor.server.feed import Feed


def make() -> tuple[Feed, list[tuple[str, int]]]:
    told: list[tuple[str, int]] = []
    return Feed(lambda identity, seq: told.append((identity, seq))), told


def test_only_what_is_newer_is_given() -> None:
    feed, told = make()
    for name in "abc":
        feed.put(name, name.encode(), mine=True)
    assert feed.since().rows == [b"a", b"b", b"c"]
    seen = feed.since().seq
    feed.put("a", b"A", mine=True)
    feed.drop("b")
    feed.put("c", b"c", mine=True)  # nothing new
    changes = feed.since(feed.epoch, seen)
    assert (changes.full, changes.rows, changes.gone) == (False, [b"A"], ["b"])
    assert told == [("a", 1), ("b", 2), ("c", 3), ("a", 4), ("b", 5)]
    feed.drop("b")
    assert len(told) == 5


def test_job_that_comes_back_is_not_gone() -> None:
    feed, _ = make()
    feed.put("a", b"1", mine=True)
    seen = feed.since().seq
    feed.drop("a")
    feed.put("a", b"2", mine=True)
    changes = feed.since(feed.epoch, seen)
    assert (changes.rows, changes.gone) == ([b"2"], [])


def test_number_of_another_epoch_or_none_gives_all() -> None:
    feed, _ = make()
    feed.put("a", b"a", mine=True)
    for epoch, seq in (("other", 1), (feed.epoch, 0), (feed.epoch, 99)):
        assert feed.since(epoch, seq).full


def test_jobs_of_others_only_for_who_asks() -> None:
    feed, _ = make()
    feed.put("a", b"mine", mine=True)
    feed.put("b", b"theirs", mine=False)
    assert feed.since().rows == [b"mine"]
    assert feed.since(everyone=True).rows == [b"mine", b"theirs"]
    assert feed.since(feed.epoch, 1).rows == []
    assert feed.since(feed.epoch, 1, everyone=True).rows == [b"theirs"]


def test_stir_counts_and_may_ask_for_a_whole_list() -> None:
    feed, told = make()
    feed.put("a", b"a", mine=True)
    feed.stir()
    assert told[-1] == ("", 2)
    assert not feed.since(feed.epoch, 1).full
    feed.stir(whole=True)
    assert feed.since(feed.epoch, 2).full
    assert not feed.since(feed.epoch, 3).full


def test_gone_ids_are_bounded_and_who_missed_one_is_given_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feed_module, "GONE_KEPT", 3)
    feed, _ = make()
    for number in range(5):
        feed.put(str(number), b"", mine=True)
    for number in range(5):
        feed.drop(str(number))  # 6 to 10
    assert len(feed._gone) == 3
    assert feed.since(feed.epoch, 6).full
    assert feed.since(feed.epoch, 7).gone == ["4", "3", "2"]


def test_burst_from_threads_is_announced_a_few_times_with_the_last_number() -> None:
    told: list[tuple[str, int]] = []

    async def main() -> None:
        announcer = Announcer(asyncio.get_running_loop(), lambda *what: told.append(what))

        def burst(part: int) -> None:
            for number in range(part, 4000, 4):
                announcer.note(f"job-{number}", number)

        threads = [threading.Thread(target=burst, args=(part,)) for part in range(4)]
        for thread in threads:
            thread.start()
        await asyncio.sleep(0.35)
        for thread in threads:
            thread.join()
        await asyncio.sleep(0.15)
        announcer.close()
        announcer.note("late", 5000)
        await asyncio.sleep(0.15)

    asyncio.run(main())
    assert 1 <= len(told) <= 7
    assert told[-1] == ("job-3999", 3999)


def test_first_change_is_announced_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(announcer_module, "PAUSE", 60.0)

    async def main() -> None:
        loop = asyncio.get_running_loop()
        told: Any = loop.create_future()
        announcer = Announcer(loop, lambda *what: told.set_result(what))
        announcer.note("a", 1)
        assert await asyncio.wait_for(told, 20) == ("a", 1)
        announcer.close()

    asyncio.run(main())
