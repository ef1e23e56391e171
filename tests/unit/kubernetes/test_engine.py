"""The thread that follows all jobs: what it notices by itself, and how it ends."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from jupyter_konduktor.backends.kubernetes import engine as engines
from jupyter_konduktor.backends.kubernetes.api.reflector import Reflector
from jupyter_konduktor.backends.kubernetes.engine import CLOCK_JUMP, TICK, Engine
from jupyter_konduktor.backends.kubernetes.shelf.shelf import Shelf
from jupyter_konduktor.backends.kubernetes.site import Site
from jupyter_konduktor.errors import UnreachableError


class Silence(SimpleNamespace):
    """A client of a cluster that does not answer."""

    namespace, skew, identity = "team", 0.0, "alice"

    def served(self, group: str) -> list[str]:
        raise UnreachableError("nobody there")


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    site = Site(Silence(), Shelf.open("cluster", "team", base=tmp_path))  # type: ignore[arg-type]
    made = Engine(site, stuck_after=300.0, give_up=None, renew=lambda kept: None, grace=1.0)
    yield made
    made.close()
    site.shelf.close()


def until(holds: Callable[[], object]) -> None:
    end = time.monotonic() + 5
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.01)


def test_a_machine_that_slept_makes_all_connections_anew(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """The monotonic clock stands still meanwhile; the one that does not is as if it had gone on."""
    made: list[Reflector] = []

    def reconnect(reflector: Reflector) -> None:
        made.append(reflector)

    monkeypatch.setattr(Reflector, "reconnect", reconnect)
    engine.touch("nothing")
    time.sleep(0.2)
    assert made == []
    for name in ("clock_gettime", "time"):
        slept = getattr(time, name)
        monkeypatch.setattr(engines.time, name, lambda *clock, slept=slept: slept(*clock) + TICK + CLOCK_JUMP + 1)
    engine.touch("nothing")
    until(lambda: len(made) == 2)
    engine.touch("nothing")
    time.sleep(0.2)
    assert len(made) == 2, "it slept once"


DEAD = """
import pathlib, sys, time
from jupyter_konduktor.backends.kubernetes.engine import Engine
from jupyter_konduktor.backends.kubernetes.shelf.shelf import Shelf
from jupyter_konduktor.backends.kubernetes.site import Site
from tests.unit.kubernetes.test_engine import Silence

class Dead(Silence):
    def served(self, group):
        print("asked", flush=True)
        time.sleep(60)

site = Site(Dead(), Shelf.open("cluster", "team", base=pathlib.Path(sys.argv[1])))
engine = Engine(site, stuck_after=300.0, give_up=None, renew=lambda kept: None, grace=1.0)
time.sleep(0.5)
began = time.monotonic()
engine.close()
print(time.monotonic() - began)
"""


def test_a_process_ends_though_the_cluster_does_not_answer(tmp_path: Path) -> None:
    ended = subprocess.run([sys.executable, "-c", DEAD, tmp_path], capture_output=True, text=True, timeout=30)
    assert ended.stderr == ""
    asked, took = ended.stdout.split()
    assert asked == "asked"
    assert float(took) < engines.CLOSING + 1
