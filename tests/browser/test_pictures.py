"""The README's pictures, each from a real run; `make pictures` puts them into notebooks/images."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from tests.browser.lab import LOAD, Lab
from tests.browser.server import ROOT, Server
from tests.testbed.cluster import Cluster

PICTURES = Path(os.environ.get("KONDUKTOR_TEST_PICTURES", ROOT / "build/pictures"))
OTHERS = """
import jupyter_konduktor as jk
def launch(name, *command, cpus=1):
    return jk.launch(jk.Task.create(name=name, command=command, cpus=cpus))
launch("tokenize", "true").wait()
launch("evaluate", "python3", "-c", "raise SystemExit('no checkpoint in runs/7')").wait()
launch("features", "sleep", "300")
"""
DATA = """
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

digits = load_digits()
train_x, test_x, train_y, test_y = train_test_split(digits.data / 16, digits.target)
""".strip()
DIGITS = """
%%konduktor --name digits --out model,score
from sklearn.neural_network import MLPClassifier

model = MLPClassifier(hidden_layer_sizes=(64,))
for epoch in range(1, 401):
    model.partial_fit(train_x, train_y, classes=range(10))
    if epoch % 100 == 0:
        print(f"epoch {epoch}: loss {model.loss_:.3f}", flush=True)

score = model.score(test_x, test_y)
""".strip()
HOLD = """
import time
import jupyter_konduktor as jk

command = ["sleep", "300"]
pretrain = jk.launch(jk.Task.create(name="pretrain", command=command, gpus=6, cpus=0.2))
while pretrain.state != "Running":
    time.sleep(0.1)
""".strip()
TRAIN = """
%%konduktor --name train --gpus 4 --cpus 0.2 --out weight
weight, rate = 5.0, 0.3
for step in range(1, 7):
    slope = 2 * (weight - 3)
    weight -= rate * slope
    print(f"step {step}: loss {(weight - 3) ** 2:.4f}", flush=True)
""".strip()


@pytest.fixture
def page(page: Page) -> Page:
    page.set_viewport_size({"width": 1160, "height": 640})
    return page


def test_a_cell_with_its_widget_and_the_sidebar(lab: Lab) -> None:
    subprocess.run([sys.executable, "-c", OTHERS], env=lab.server.environ, cwd=lab.server.work, check=True)
    lab.open(LOAD, DATA, DIGITS, name="digits.ipynb")
    lab.open_sidebar()
    lab.run(0)
    lab.run(1)
    lab.start(2)
    expect(lab.output(2)).to_contain_text("epoch 100")
    expect(lab.widget(2)).to_contain_text("Running")
    expect(lab.row("digits")).to_contain_text("Running")
    lab.picture(PICTURES / "cell.png")
    lab.wait_for_cell(2, timeout=60)
    lab.show("job", "evaluate")
    expect(lab.detail).to_contain_text("exit code 1")
    lab.picture(PICTURES / "sidebar.png")


class TestOnTheCluster:
    @pytest.fixture
    def server(self, cluster: Cluster, tmp_path: Path) -> Iterator[Server]:
        with cluster.new_namespace() as place:
            environ = {
                "KUBECONFIG": str(place.kubeconfig),
                "JUPYTER_KONDUKTOR_BACKEND": "kubernetes",
                "JUPYTER_KONDUKTOR_IMAGE": cluster.image,
            }
            with Server(tmp_path, environ=environ) as made:
                yield made

    def test_a_queued_job_that_says_why(self, lab: Lab) -> None:
        lab.open(LOAD, HOLD, TRAIN, name="train.ipynb")
        lab.open_sidebar()
        lab.run(0)
        lab.run(1, timeout=60)
        lab.start(2)
        expect(lab.widget(2)).to_contain_text("waits for capacity")
        expect(lab.row("train")).to_contain_text("waits for capacity")
        lab.picture(PICTURES / "cluster.png")
        lab.cancel("pretrain")
        lab.wait_for_cell(2, timeout=60)
