"""The real cluster for tests: found running, or brought up for the session; and whose turn it is to use it."""

from __future__ import annotations

import os
from collections.abc import Generator, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.testbed import build, images, lifecycle, objects, packages, places
from tests.testbed.cluster import Cluster, Namespace
from tests.testbed.turns import turn

NOT_READY = pytest.StashKey[str]()
STAY = pytest.StashKey[ExitStack]()
OURS = pytest.StashKey[Path]()


def uses_cluster(item: pytest.Item) -> bool:
    """Whether a test needs the cluster: by our fixture, not another one of that name, or because it says so."""
    named = any("cluster" in mark.args for mark in item.iter_markers("needs"))
    known = getattr(item, "_fixtureinfo", None)
    found = known.name2fixturedefs.get("cluster") if known is not None else None
    return named or bool(found and found[-1].func.__module__ == __name__)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Whatever uses the cluster needs a machine that can run one."""
    for item in items:
        if uses_cluster(item):
            item.add_marker(pytest.mark.needs("cluster"))


def pytest_collection_finish(session: pytest.Session) -> None:
    """Build what the cluster is made of, if a test will use it: a fixture would be ended by the test's timeout."""
    able = "KONDUKTOR_TEST_KUBECONFIG" not in os.environ and places.able()
    if not able or session.config.option.collectonly or not any(map(uses_cluster, session.items)):
        return
    capture = session.config.pluginmanager.getplugin("capturemanager")
    with capture.global_and_fixture_disabled():
        try:
            packages.install()
            build.build()
            for image in images.IMAGES.values():
                images.archive(image)
            for name in {name for item in session.items for mark in item.iter_markers("image") for name in mark.args}:
                images.archive(images.named(name))
        except (OSError, RuntimeError) as error:
            session.config.stash[NOT_READY] = str(error)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, Any, Any]:
    """Let a test that breaks parts of the cluster (`alone`) be alone on it, also among several processes."""
    if not uses_cluster(item):
        return (yield)
    alone = item.get_closest_marker("alone") is not None
    with turn(turns(), alone=alone):
        try:
            return (yield)
        finally:
            if alone and STAY in item.config.stash:
                # A test that fails may leave a part stopped, and the next one needs it.
                lifecycle.mend(places.default_state())


def the_cluster(config: pytest.Config) -> Cluster:
    """Give the cluster, up; until the end of the session nobody else takes it down."""
    if reason := config.stash.get(NOT_READY, ""):
        pytest.fail(f"the cluster's programs could not be built: {reason}", pytrace=False)
    found = Cluster()
    if not found.foreign and not places.able():
        reason = "missing on this machine: what a cluster needs (Linux, and all of root's rights)"
        if os.environ.get("CI") == "true":
            pytest.fail(f"{reason}, and with CI=true nothing may be", pytrace=False)
        pytest.skip(reason)
    if found.foreign:
        objects.install_queueing(found.admin)
    elif STAY not in config.stash:
        stay = config.stash[STAY] = ExitStack()
        stay.enter_context(turn(turns() / "sessions", alone=False))
        if not lifecycle.up(found.state):
            config.stash[OURS] = found.state
    return found


@pytest.fixture(scope="session")
def cluster(pytestconfig: pytest.Config) -> Cluster:
    """The cluster. One that ran before stays, one that was brought up here goes, unless KEEP_CLUSTER=1."""
    return the_cluster(pytestconfig)


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Take the cluster down if it was brought up here, once the other processes of this run have done with it."""
    stash = session.config.stash
    if STAY in stash:
        stash[STAY].close()
    if OURS in stash and os.environ.get("KEEP_CLUSTER") != "1":
        with turn(turns() / "sessions", alone=True):
            lifecycle.down(stash[OURS])


@pytest.fixture
def namespace(cluster: Cluster) -> Iterator[Namespace]:
    """A namespace with a queue and a user of its own, for one test."""
    with cluster.new_namespace() as made:
        yield made


def turns() -> Path:
    """Where the processes that use the cluster take turns."""
    return places.cache() / "turns"
