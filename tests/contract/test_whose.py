"""Where the jobs of a backend run, and whose they are."""

from __future__ import annotations

from typing import Any


def test_backend_says_where_it_is(jobs: Any) -> None:
    assert jobs.backend.place
    assert jobs.backend.place.isprintable()


def test_jobs_of_this_user_are_known_as_such(jobs: Any) -> None:
    record = jobs.submit("true")
    assert jobs.backend.owns(record)
    assert jobs.backend.owns(jobs.another().get(record.name))
