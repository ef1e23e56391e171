"""The workers of a map in containers: what they have to themselves, and what comes out by way of the first of them."""

from __future__ import annotations

import json
import re
import socket
import time

import pytest

from jupyter_konduktor.runner.stream import Item
from tests.unit.kubernetes.pods import Pod
from tests.unit.runner.conftest import map_pack


@pytest.fixture
def workers(tmp_path):
    """Start the pods of a map; one that is asked for again takes the place of another."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    pods = []

    def start(pack, ranks, **options):
        made = [
            Pod(
                tmp_path / f"pod-{len(pods) + number}",
                pack,
                rank=rank,
                wait=False,
                env={"JOB_COMPLETION_INDEX": str(rank)},
                changed={"coordinator": ["127.0.0.1", port], "nodes": 3},
                **options,
            )
            for number, rank in enumerate(ranks)
        ]
        pods.extend(made)
        return made

    yield start
    for pod in pods:
        if pod.process.poll() is None:
            pod.process.kill()
            pod.process.wait()


def items_of(pod):
    return {record.identity: json.loads(record.data) for record in pod.records if isinstance(record, Item)}


def pack_of(source, count):
    return map_pack(source, "f", [(number,) for number in range(count)])


TOGETHER = (
    "import os, time\n"
    "def together():\n"
    "    os.makedirs({place!r}, exist_ok=True)\n"
    "    open(os.path.join({place!r}, os.environ['JOB_COMPLETION_INDEX']), 'w').close()\n"
    "    while len(os.listdir({place!r})) < 3: time.sleep(0.01)\n"
)
"""Has each worker wait until all three run items."""


def test_values_of_all_workers_come_with_the_log_of_the_first(workers, tmp_path):
    source = TOGETHER.format(place=str(tmp_path / "here")) + (
        "def f(x):\n"
        "    together()\n"
        "    if x % 4 == 1: raise ValueError(x)\n"
        "    return bytes([x]) * 20_000, os.environ['JOB_COMPLETION_INDEX']"
    )
    pods = workers(pack_of(source, 12), range(3))
    for pod in pods:
        assert pod.process.wait(60) == 0, pod.text
    found = items_of(pods[0])
    assert sorted(found) == list(range(12)), [pod.text for pod in pods]
    values = [pods[0].load(found[x]["value"]).values["value"] for x in range(12) if x % 4 != 1]
    assert [value[:1] for value, _ in values] == [bytes([x]) for x in range(12) if x % 4 != 1]
    assert {"0"} < {worker for _, worker in values}  # which one ran what is chance, and some items give no value
    assert pods[0].termination.read_bytes() == b'{"exit":1,"value":{"items":12,"failed":3}}'
    assert pods[1].artifacts == pods[2].artifacts == {}
    assert not items_of(pods[1])


def test_values_for_which_there_is_no_room_fail_their_items(workers, tmp_path):
    """Each has room on its own worker, and all of them have none in the log of the first."""
    source = TOGETHER.format(place=str(tmp_path / "here")) + (
        "def f(x):\n    together()\n    return os.urandom(3 << 20) if os.environ['JOB_COMPLETION_INDEX'] != '0' else x"
    )
    pods = workers(pack_of(source, 6), range(3))
    for pod in pods:
        assert pod.process.wait(60) == 0, pod.text
    found = items_of(pods[0])
    assert sorted(found) == list(range(6))
    failed = [pods[0].read(item["value"]) for item in found.values() if item["exit"]]
    assert failed
    for document in failed:
        said = json.loads(bytes(document))["evalue"]
        assert said.startswith("the returned value is too large: value has 3.0 MiB, and all items of a job without ")
        assert re.search(r"no more than 4\.0 MiB together \(.* of them are left\); set one \(store = ", said)


def test_a_worker_that_is_killed_is_missed_by_nobody(workers):
    source = (
        "import os, time\n"
        "def f(x):\n"
        "    time.sleep(0.2)\n"
        "    print('item', x, flush=True)\n"
        "    return bytes([x]) * 20_000"
    )
    pack = pack_of(source, 30)
    first, second, third = workers(pack, range(3))
    until(lambda: "item" in third.text)
    third.process.kill()
    workers(pack, [2])  # it may come too late to have anything to do; its Job would end it then
    for pod in (first, second):
        assert pod.process.wait(60) == 0, pod.text
    assert sorted(items_of(first)) == list(range(30))
    assert first.termination.read_bytes() == b'{"exit":0,"value":{"items":30,"failed":0}}'


@pytest.mark.parametrize("how", ["kill", "terminate"])
def test_what_was_done_stays_done_when_the_first_worker_is_replaced(workers, how):
    source = (
        "import time\ndef f(x):\n    time.sleep(0.1)\n    print('item', x, flush=True)\n    return bytes([x]) * 20_000"
    )
    pack = pack_of(source, 60)
    first, second, third = workers(pack, range(3))
    until(lambda: second.text.count("item") > 5 and third.text.count("item") > 5)
    getattr(first.process, how)()
    first.process.wait()
    (again,) = workers(pack, [0])
    for pod in (again, second, third):
        assert pod.process.wait(60) == 0, pod.text
    found = items_of(again)
    assert sorted(found) == list(range(60)), "those that ended before it began are told to it"
    assert [again.load(found[x]["value"]).values["value"][:1] for x in range(60)] == [bytes([x]) for x in range(60)]
    assert again.termination.read_bytes() == b'{"exit":0,"value":{"items":60,"failed":0}}'
    ran = [line for pod in (first, second, third, again) for line in pod.text.splitlines() if "item" in line]
    assert len(ran) < 60 + first.text.count("item") + 5, "what others have done is not done again"


def until(holds):
    deadline = time.monotonic() + 30
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.01)
