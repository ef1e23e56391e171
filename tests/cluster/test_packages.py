"""Packages of a cell on a real cluster, whose images have neither uv nor pip."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.contract.test_preparing import FETCH
from tests.kernel.conftest import Kernel
from tests.testbed.cluster import Cluster
from tests.wheels import served, wheel


@pytest.fixture(scope="module")
def url(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("served")
    wheel(folder, "small", "2.0")
    (folder / "uv").symlink_to(Path(sys.executable).parent / "uv")
    with served(folder, cluster.address) as address:
        yield address


@pytest.fixture(scope="module")
def kernel(cluster: Cluster, url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kernel]:
    with cluster.new_namespace({"cpu": "1", "memory": "2Gi"}) as place:
        made = Kernel(
            tmp_path_factory.mktemp("work"),
            KUBECONFIG=str(place.kubeconfig),
            JUPYTER_DATA_DIR=str(tmp_path_factory.mktemp("data")),
            JUPYTER_KONDUKTOR_BACKEND="kubernetes",
            JUPYTER_KONDUKTOR_IMAGE=cluster.image,
            JUPYTER_KONDUKTOR_CPUS="1",
            JUPYTER_KONDUKTOR_PACKAGE_INDEX="none",
            JUPYTER_KONDUKTOR_PACKAGE_WHEELS=url,
        )
        yield made
        made.close()


def test_without_an_installer_the_error_says_what_to_do(kernel: Kernel) -> None:
    shown = kernel.run("%%konduktor --packages small\nx = 1", timeout=120)
    assert shown.reply["ename"] == "PackagesError"
    assert "neither uv nor pip is there for /usr/bin/python3" in shown.error
    assert "python3 -m ensurepip" in shown.error


def test_a_setup_command_may_bring_one(kernel: Kernel, url: str) -> None:
    kernel.run(f"fetch = {FETCH.format(url=url)!r}")
    cell = "%%konduktor --packages small sync --setup {fetch}\nimport small\nwhere = small.VERSION, small.__file__"
    shown = kernel.run(cell, timeout=240)
    assert shown.ok, shown.text
    assert "konduktor: installing small\n" in shown.text
    assert kernel.value("where").startswith("('2.0', '/konduktor/work/packages/")
