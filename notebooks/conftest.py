"""In tests, 04_cluster.ipynb runs on the cluster that tests/cluster uses, and the other notebooks on this machine."""

from __future__ import annotations

import os
from collections.abc import Generator
from contextlib import ExitStack

import pytest

from tests.testbed import fixtures

CLUSTER_NOTEBOOK = "04_cluster.ipynb"
OURS = ("JUPYTER_KONDUKTOR_", "KUBECONFIG", "AWS_")
"""What decides where a job runs; a person's own settings are none of a test's."""

_NAMESPACE = pytest.StashKey[ExitStack]()
_SETTINGS = pytest.StashKey[dict[str, str]]()


def pytest_itemcollected(item: pytest.Item) -> None:
    """Have the cluster ready for its notebook."""
    if item.path.name == CLUSTER_NOTEBOOK:
        item.add_marker(pytest.mark.needs("cluster"))


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> Generator[None]:
    """Set the environment of a notebook while its kernel is started, and leave none of it to what runs after it."""
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.startswith(OURS)]:
            patch.delenv(name)
        for name, value in _settings(item).items():
            patch.setenv(name, value)
        return (yield)


def _settings(item: pytest.Item) -> dict[str, str]:
    if item.path.name != CLUSTER_NOTEBOOK:
        return {}
    if _SETTINGS not in item.config.stash:
        cluster = fixtures.the_cluster(item.config)
        held = item.config.stash[_NAMESPACE] = ExitStack()
        made = held.enter_context(cluster.new_namespace())
        item.config.stash[_SETTINGS] = {
            "KUBECONFIG": str(made.kubeconfig),
            "JUPYTER_KONDUKTOR_BACKEND": "kubernetes",
            "JUPYTER_KONDUKTOR_IMAGE": cluster.image,
        }
    return item.config.stash[_SETTINGS]


@pytest.hookimpl(tryfirst=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    """Take away what was made for the notebook."""
    if _NAMESPACE in session.config.stash:
        session.config.stash[_NAMESPACE].close()
