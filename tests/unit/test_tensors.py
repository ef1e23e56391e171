"""Tensors of torch cross with their storages shared, and their bytes beside the pickle."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import cloudpickle
import pytest

ROOT = Path(__file__).resolve().parents[2]
PROGRAM = """
import torch
from jupyter_konduktor.runner import codec

class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.big, self.small = torch.nn.Linear(300, 200), torch.nn.Linear(2, 2)

net = Net()
optimizer = torch.optim.Adam(net.parameters())
net.big(torch.randn(10, 300)).sum().backward()
optimizer.step()
base = torch.zeros(100_000)
sent = {"net": net, "optimizer": optimizer, "base": base, "view": base[10:20], "empty": torch.empty(0),
        "half": torch.ones(3, dtype=torch.float16), "whole": torch.arange(5)}
main = globals()
pack = codec.dump(sent, main=main)
assert len(pack.data) < 20_000, len(pack.data)
held = {digest: bytearray(view) for digest, view in pack.buffers.items()}
came = codec.load(pack.data, lambda digest, size: held[digest], main).values
assert type(came["net"]) is Net
assert torch.equal(came["net"].big.weight, net.big.weight) and came["net"].big.weight.requires_grad
held_by_optimizer = [p for group in came["optimizer"].param_groups for p in group["params"]]
assert any(p is came["net"].big.weight for p in held_by_optimizer), "the optimizer lost its model"
came["view"][0] = 7
assert came["base"][10] == 7 and base[10] == 0, "a view is not one of the same storage"
assert came["half"].dtype is torch.float16 and came["whole"].tolist() == [0, 1, 2, 3, 4] and came["empty"].numel() == 0
averages = [o.state[n.big.weight]["exp_avg"] for o, n in ((optimizer, net), (came["optimizer"], came["net"]))]
assert torch.equal(*averages)

# A storage of a device that this machine lacks is on the CPU, and one line says so.
from jupyter_konduktor.runner.names import Loading
from jupyter_konduktor.runner.tensors import make_storage
notes = []
with Loading({}, notes):
    assert make_storage(bytearray(8), "xpu:0").device.type == "cpu"
    make_storage(bytearray(8), "xpu:0")
assert len(notes) == 1 and "xpu:0" in notes[0], notes
print("as sent")
"""


@pytest.fixture
def python_with_torch():
    for python in (sys.executable, "/usr/bin/python3"):
        if (
            Path(python).exists()
            and subprocess.run([python, "-c", "import torch"], capture_output=True).returncode == 0
        ):
            return python
    reason = "no torch here; as root on Debian, make test installs python3-torch"
    if os.environ.get("CI") == "true":
        pytest.fail(reason)
    pytest.skip(reason)


def test_a_model_and_its_optimizer_come_back_as_one(python_with_torch, tmp_path):
    # Only what the runner needs of this environment, which may be of another Python than torch's.
    shutil.copytree(Path(cloudpickle.__file__).parent, tmp_path / "cloudpickle")
    program = f"import sys; sys.path += [{str(ROOT)!r}, {str(tmp_path)!r}]\n{PROGRAM}"
    run = subprocess.run([python_with_torch, "-c", program], capture_output=True, text=True, timeout=110)
    assert run.stdout == "as sent\n", run.stderr
