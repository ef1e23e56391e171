"""In tests, some notebooks run on the cluster that tests/cluster uses, and the others on this machine."""

from __future__ import annotations

import os
from collections.abc import Generator
from contextlib import ExitStack

import pytest

from tests.testbed import fixtures, places
from tests.testbed.turns import turn

ON_CLUSTER = {"04_cluster.ipynb": "3.11", "05_resume.ipynb": "3.11", "06_multinode.ipynb": "3.11-torch"}
"""The notebooks that need a cluster, and the image of each."""
OURS = ("JUPYTER_KONDUKTOR_", "KUBECONFIG", "AWS_")
"""What decides where a job runs; a person's own settings are none of a test's."""

_NAMESPACES = pytest.StashKey[ExitStack]()
_SETTINGS = pytest.StashKey[dict[str, dict[str, str]]]()


def pytest_itemcollected(item: pytest.Item) -> None:
    """Have the cluster ready for its notebook."""
    if item.path.name in ON_CLUSTER:
        item.add_marker(pytest.mark.needs("cluster"))
        item.add_marker(pytest.mark.image(ON_CLUSTER[item.path.name]))
        item.add_marker(pytest.mark.timeout(300))  # torch alone takes ten seconds to import, more on a busy machine


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
    if item.path.name not in ON_CLUSTER:
        return {}
    known = item.config.stash.setdefault(_SETTINGS, {})
    if item.path.name not in known:
        cluster = fixtures.the_cluster(item.config)
        image = cluster.fetch_image(ON_CLUSTER[item.path.name])
        held = item.config.stash.setdefault(_NAMESPACES, ExitStack())
        made = held.enter_context(cluster.new_namespace(preemption={"withinClusterQueue": "LowerPriority"}))
        known[item.path.name] = {
            **cluster.store,
            "JUPYTER_KONDUKTOR_STORE": f"s3://{places.S3_BUCKET}/{made.name}",
            "KUBECONFIG": str(made.kubeconfig),
            "JUPYTER_KONDUKTOR_BACKEND": "kubernetes",
            "JUPYTER_KONDUKTOR_IMAGE": image,
        }
    return known[item.path.name]


@pytest.hookimpl(tryfirst=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    """Take away what was made for the notebooks."""
    if _NAMESPACES in session.config.stash:
        with turn(fixtures.turns(), alone=False):  # not while another process's test has stopped the API server
            session.config.stash[_NAMESPACES].close()
