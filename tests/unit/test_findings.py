"""What the doctor looks at is looked at together: nothing that is slow or broken holds up the rest."""

from __future__ import annotations

import threading
import time

from jupyter_konduktor.backends.findings import gather
from jupyter_konduktor.backends.protocol import Finding
from jupyter_konduktor.errors import ConfigError


def found(what: str, after: threading.Event | None = None) -> list[Finding]:
    if after is not None:
        after.wait(10)
    return [Finding(what, True, "fine")]


def test_findings_come_in_the_order_they_are_asked_for() -> None:
    late = threading.Event()
    looks = [("a", lambda: found("a", late)), ("b", lambda: found("b")), ("c", lambda: found("c"))]
    threading.Timer(0.05, late.set).start()
    assert [item.what for item in gather(looks)] == ["a", "b", "c"]


def test_one_that_is_slow_comes_when_it_comes() -> None:
    late = threading.Event()
    looks = [("a", lambda: found("a", late)), ("b", lambda: found("b")), ("c", lambda: found("c"))]
    told = gather(looks, slow=0.05)
    assert [next(told).what, next(told).what] == ["b", "c"]
    late.set()
    assert [item.what for item in told] == ["a"]


def test_one_that_never_answers_is_told_in_the_end() -> None:
    never, begun = threading.Event(), time.monotonic()
    told = list(gather([("a", lambda: found("a", never)), ("b", lambda: found("b"))], slow=0.01, patience=0.1))
    assert [(item.what, item.ok) for item in told] == [("b", True), ("a", None)]
    assert told[1].found == "no answer within 0.1 s"
    assert time.monotonic() - begun < 5
    never.set()


def test_what_goes_wrong_is_a_finding() -> None:
    def refuse() -> list[Finding]:
        raise ConfigError("it is wrong", advice="Mend it.")

    def break_down() -> list[Finding]:
        raise KeyError("metadata")

    told = list(gather([("a", refuse), ("b", break_down)]))
    assert told[0] == Finding("a", False, "it is wrong", "Mend it.")
    assert told[1].ok is None
    assert "KeyError" in told[1].found
