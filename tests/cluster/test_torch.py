"""Training on two nodes with a real torch: gloo between containers that find each other by name."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

import jupyter_konduktor as jk
from jupyter_konduktor import session
from jupyter_konduktor.errors import JobFailedError
from tests.cluster.test_jobs import configured
from tests.cluster.training import fails, train
from tests.testbed.cluster import Cluster, Namespace

TORCH = "3.11-torch"

pytestmark = [pytest.mark.image(TORCH), pytest.mark.timeout(300)]


@pytest.fixture(scope="module", autouse=True)
def place(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Namespace]:
    made = cluster.new_namespace({"cpu": "1900m", "memory": "4Gi"})
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("JUPYTER_DATA_DIR", str(tmp_path_factory.mktemp("data")))
        where = {"backend": "kubernetes", "kubeconfig": str(made.kubeconfig), "grace": 1}
        with configured(**where, image=cluster.fetch_image(TORCH), cpus="500m"):
            yield made
            session.close()
    made.remove()


def test_two_nodes_train_one_model() -> None:
    job = jk.remote(nodes=2, launcher="torchrun")(train).submit(30)
    found = job.result(240)
    assert found["rank"] == 0
    assert found["losses"][-1] < 0.01 * found["losses"][0]
    assert found["weights"] == pytest.approx([3.0, 3.0], abs=0.1)
    assert found["weights"][0] == found["weights"][1], "both ranks hold one model"
    assert [f"rank {node} of 2: loss" in job.logs(node=node) for node in (0, 1)] == [True, True]


@pytest.mark.parametrize(("how", "code", "said"), [("raise", 1, "ValueError: on purpose"), ("exit", 7, "exit code 7")])
def test_the_rank_that_fails_is_named(how: str, code: int, said: str) -> None:
    job = jk.remote(nodes=2, launcher="torchrun")(fails).submit(how)
    with pytest.raises(JobFailedError) as caught:
        job.result(240)
    text = str(caught.value)
    assert said in text
    assert "node 1" in text
    assert "last words of rank 1" in text
    assert f"rank 1 failed: exit code {code}" in text
    assert job.record.exit_code == code
    assert job.record.failed_node == 1
