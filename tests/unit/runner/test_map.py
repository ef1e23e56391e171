"""The items of a map, on one worker or several: each has an outcome of its own, whatever becomes of others."""

from __future__ import annotations

import os
import signal
import socket
import threading
import time
from pathlib import Path

import pytest

from jupyter_konduktor.runner import link
from jupyter_konduktor.runner.items import Board

from .conftest import NONCE, map_pack


def items(source, count, name="f"):
    return map_pack(source, name, [(number,) for number in range(count)])


def test_the_items_of_a_map_come_one_by_one_and_in_full(run):
    job = run(map_pack("def f(x):\n    print('item', x)\n    return {'x': x}", "f", [(i,) for i in range(20)]))
    assert job.envelope.value == {"items": 20, "failed": 0}
    assert {i: e.value for i, e in job.items.items()} == {i: {"x": i} for i in range(20)}


def test_an_item_that_fails_does_not_stop_the_others(run):
    job = run(map_pack("def f(x):\n    return 1 / x", "f", [(1,), (0,), (2,)]))
    assert job.envelope.exit == 1
    assert job.envelope.value == {"items": 3, "failed": 1}
    assert [job.items[i].exit for i in range(3)] == [0, 1, 0]
    error = job.error(job.items[1].value)
    assert (error["ename"], error["item"]) == ("ZeroDivisionError", 1)
    assert "item 1:\n" in job.text


def test_an_item_that_exits_fails_with_its_code(run):
    job = run(map_pack("def f(x):\n    raise SystemExit(x)", "f", [(0,), (7,)]))
    assert [job.items[i].exit for i in range(2)] == [0, 7]


def test_large_items_are_artifacts(run):
    job = run(map_pack("def f(x):\n    return bytes(x)", "f", [(10_000,), (20_000,)]))
    assert [len(job.load(job.items[i].value).values["value"]) for i in range(2)] == [10_000, 20_000]


@pytest.mark.parametrize(
    ("how", "code", "said"),
    [
        ("os.abort()", 134, "SIGABRT"),
        ("os.kill(os.getpid(), 9)", 137, "SIGKILL"),
        ("os.kill(os.getpid(), 15)", 143, "SIGTERM"),
        ("os._exit(7)", 7, "exit code 7"),
        ("os._exit(0)", 1, "exit code 0"),
        ("os.closerange(3, 100)", 1, "exit code 1"),
    ],
)
def test_an_item_that_ends_its_process_fails_and_the_others_run_in_a_new_one(run, how, code, said):
    job = run(items(f"def f(x):\n    import os\n    if x == 1:\n        {how}\n    return x", 4))
    assert [job.items[i].exit for i in range(4)] == [0, code, 0, 0]
    assert [job.items[i].value for i in (0, 2, 3)] == [0, 2, 3]
    error = job.error(job.items[1].value)
    assert (error["ename"], error["item"]) == ("ItemError", 1)
    assert said in error["evalue"]
    assert job.envelope.exit == 1
    assert job.envelope.value == {"items": 4, "failed": 1}
    assert job.end["exit_codes"] == [0]


def test_what_is_kept_in_a_global_is_there_for_the_next_item(run):
    source = "import os\nseen = []\ndef f(x):\n    seen.append(x)\n    if x == 2: os._exit(1)\n    return list(seen)"
    job = run(items(source, 4))
    assert [job.items[i].value for i in (0, 1, 3)] == [[0], [0, 1], [3]]


def test_what_a_process_leaves_behind_ends_with_it(run):
    source = (
        "import os, subprocess, time\n"
        "def f(x):\n"
        "    if x == 0:\n"
        "        p = subprocess.Popen(['sleep', '600'])\n"
        "        open('pid', 'w').write(str(p.pid))\n"
        "        os._exit(1)\n"
        "    return os.path.exists('/proc/' + open('pid').read())"
    )
    assert run(items(source, 2)).items[1].value is False


def test_a_failed_item_is_run_again_as_often_as_it_may_be(run):
    source = (
        "import os\n"
        "def f(x):\n"
        "    with open(f'tries-{x}', 'a') as file: file.write('x')\n"
        "    tries = os.path.getsize(f'tries-{x}')\n"
        "    if x == 1 and tries < 3: raise ValueError(tries)\n"
        "    if x == 2 and tries < 2: os.abort()\n"
        "    if x == 3: raise ValueError(tries)\n"
        "    return tries"
    )
    job = run(items(source, 4), retries=2)
    assert [job.items[i].value for i in range(3)] == [1, 3, 2]
    assert job.error(job.items[3].value)["evalue"] == "3"
    assert job.envelope.value == {"items": 4, "failed": 1}
    assert "konduktor: item 1 has failed and is run again (2 of 2)\n" in job.text
    assert job.text.count("is run again") == 2 + 1 + 2


def test_a_payload_that_cannot_be_loaded_is_the_failure_of_the_job(run):
    job = run(items("def f(x):\n    return x", 2), sha256="0" * 64)
    assert job.error()["ename"] == "IntegrityError"
    assert (job.envelope.exit, job.end["exit_codes"]) == (1, [1])


@pytest.mark.parametrize("nodes", [1, 3])
def test_a_map_of_nothing_has_ended(run, nodes):
    assert run(items("def f(x):\n    return x", 0), nodes=nodes).envelope.value == {"items": 0, "failed": 0}


def test_a_keyboard_interrupt_ends_the_job(run):
    job = run(items("def f(x):\n    if x == 1: raise KeyboardInterrupt\n    return x", 3))
    assert sorted(job.items) == [0]
    assert job.envelope.exit == 130
    assert job.error()["ename"] == "KeyboardInterrupt"


def test_a_signal_reaches_the_item_and_what_it_becomes_is_not_told(start):
    """It has the grace period; an item that fails because the job is ended has not failed."""
    source = (
        "import signal, time\n"
        "def f(x):\n"
        "    def on_term(*_):\n"
        "        time.sleep(1)\n"
        "        print('saved', flush=True)\n"
        "        raise ValueError\n"
        "    signal.signal(signal.SIGTERM, on_term)\n"
        "    print('ready', flush=True)\n"
        "    time.sleep(600)"
    )
    job = start(items(source, 2)).until(b"ready")
    job.process.send_signal(signal.SIGTERM)
    job.wait(20)
    assert "saved" in job.text
    assert job.end["exit_codes"] == [143]
    assert not (job.folder / "items.jsonl").exists()


def test_a_signal_of_the_users_reaches_the_item(start):
    source = (
        "import signal, time\n"
        "def f(x):\n"
        "    heard = []\n"
        "    signal.signal(signal.SIGUSR1, lambda *_: heard.append(1))\n"
        "    print('ready', flush=True)\n"
        "    while not heard: time.sleep(0.01)\n"
        "    return 'heard'"
    )
    job = start(items(source, 1)).until(b"ready")
    job.process.send_signal(signal.SIGUSR1)
    assert job.wait(20).items[0].value == "heard"


# --- several workers


def test_every_item_is_run_once_by_one_of_the_workers(run):
    source = "import os, time\ndef f(x):\n    time.sleep(0.02)\n    return [x, os.environ['JOB_COMPLETION_INDEX']]"
    env = [{"JOB_COMPLETION_INDEX": str(node)} for node in range(3)]
    job = run(items(source, 60), nodes=3, node_env=env)
    assert sorted(job.items[i].value[0] for i in range(60)) == list(range(60))
    assert {job.items[i].value[1] for i in range(60)} == {"0", "1", "2"}
    assert len((job.folder / "items.jsonl").read_bytes().splitlines()) == 60
    assert (job.envelope.exit, job.envelope.value) == (0, {"items": 60, "failed": 0})
    assert job.end["exit_codes"] == [0, 0, 0]


def test_a_slow_item_does_not_hold_up_the_others(run):
    source = "import time\ndef f(x):\n    began = time.time()\n    time.sleep(3 if x == 0 else 0.05)\n    return began"
    job = run(items(source, 30), nodes=2)
    began = [job.items[i].value for i in range(30)]
    assert max(began) - min(began) < 2.5


def test_failing_and_crashing_items_on_several_workers(run):
    source = (
        "import os\ndef f(x):\n    if x % 5 == 1: raise ValueError(x)\n    if x % 5 == 3: os.abort()\n    return x * x"
    )
    job = run(items(source, 20), nodes=3)
    assert [job.items[i].exit for i in range(5)] == [0, 1, 0, 134, 0]
    assert [job.items[i].value for i in range(0, 20, 5)] == [0, 25, 100, 225]
    assert (job.envelope.exit, job.envelope.value) == (1, {"items": 20, "failed": 8})
    assert job.end["exit_codes"] == [0, 0, 0]
    assert job.end["failed_node"] is None


def test_a_payload_that_one_worker_cannot_load_fails_the_job(run):
    """Not by its bytes: by what a class of it does as it is loaded."""
    source = (
        "import os\n"
        "class Thing:\n"
        "    def __reduce__(self):\n"
        "        return (eval, (\"__import__('os').environ['JOB_COMPLETION_INDEX'] == '1' and 1 / 0\",))\n"
        "thing = Thing()\n"
        "def f(x):\n"
        "    import time\n"
        "    time.sleep(600)\n"
        "    return thing"
    )
    env = [{"JOB_COMPLETION_INDEX": str(node)} for node in range(2)]
    job = run(items(source, 4), nodes=2, node_env=env)
    assert job.error()["ename"] == "ZeroDivisionError"
    assert job.end["failed_node"] == 1


def test_cancelling_ends_all_workers(start):
    job = start(items("import time\ndef f(x):\n    print('ready', flush=True)\n    time.sleep(600)", 1), nodes=3)
    until(lambda: any(b"ready" in job.raw(node) for node in range(3)))
    began = time.monotonic()
    job.process.send_signal(signal.SIGTERM)
    job.wait(20)
    assert time.monotonic() - began < 4, "workers without an item have waited for the grace period"


def until(holds):
    deadline = time.monotonic() + 20
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def coordinator_of(job):
    """Find the child of node 0's worker that listens on the socket."""
    agent = job.pids[0]
    lines = Path("/proc/net/unix").read_text().splitlines()
    sockets = {f"socket:[{line.split()[6]}]" for line in lines if line.endswith(" coordinator")}
    for pid in Path(f"/proc/{agent}/task/{agent}/children").read_text().split():
        if any(str(fd.readlink()) in sockets for fd in Path(f"/proc/{pid}/fd").iterdir()):
            return int(pid)
    raise AssertionError("there is no coordinator")


def test_a_coordinator_that_is_killed_is_replaced_and_nothing_is_lost(start):
    source = (
        "import os, time\n"
        "def f(x):\n"
        "    print('item', x, flush=True)\n"
        "    with open(f'ran-{x}', 'a') as file: file.write('x')\n"
        "    time.sleep(1 if x > 5 else 0)\n"
        "    return x"
    )
    job = start(items(source, 10), nodes=2)
    until((job.folder / "ran-7").exists)
    os.kill(coordinator_of(job), signal.SIGKILL)
    job.wait(30)
    assert {i: job.items[i].value for i in range(10)} == {i: i for i in range(10)}
    assert len((job.folder / "items.jsonl").read_bytes().splitlines()) == 10
    assert job.envelope.value == {"items": 10, "failed": 0}
    assert all((job.folder / f"ran-{i}").read_text() == "x" for i in range(10)), "what ran went on, and ran once"


def test_a_stranger_gets_nothing_and_does_no_harm(start):
    source = "import os, time\ndef f(x):\n    while not os.path.exists('go'): time.sleep(0.01)\n    return x"
    job = start(items(source, 4), nodes=2)
    path = str(job.folder / "coordinator")
    until(lambda: Path(path).exists())
    silent, wrong = link.connect(path), link.connect(path)
    with pytest.raises(OSError, match=r"ended|reset"):
        link.greet(wrong, "f" * 16, "worker", 1)
    noise = link.connect(path)
    noise.sendall(os.urandom(5000) + b"\n")
    (job.folder / "go").touch()
    job.wait(20)
    assert {i: job.items[i].value for i in range(4)} == {i: i for i in range(4)}
    silent.close()


def test_a_worker_does_not_believe_a_stranger_either(tmp_path):
    place = tmp_path / ("x" * 100)  # more than a socket's name may have
    place.mkdir()
    listener = link.listen(str(place / "coordinator"))

    def pretend():
        made, _ = listener.accept()
        made.sendall(b"00" * 16 + b"\n")
        made.recv(500)
        made.sendall(b"0" * 64 + b" 0\n")
        made.close()

    thread = threading.Thread(target=pretend)
    thread.start()
    with pytest.raises(link.StrangerError):
        link.greet(link.connect(str(place / "coordinator")), NONCE, "worker", 1)
    thread.join()


def test_both_sides_know_each_other_over_tcp():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    listener, found = link.listen(["host", port]), []

    def welcome():
        made, _ = listener.accept()
        found.append(link.welcome(made, NONCE, lambda worker: 7)[1:])

    thread = threading.Thread(target=welcome)
    thread.start()
    assert link.greet(link.connect(["127.0.0.1", port]), NONCE, "abc", 3)[1] == 7
    thread.join()
    assert found == [("abc", 3)]


# --- who runs what


class Told:
    def __init__(self, count, retries=0):
        self.items, self.lines = [], []
        self.board = Board(count, retries, lambda *item: self.items.append(item), self.fail, self.lines.append)

    def fail(self, index, said):
        return f"{index}: {said}".encode()


def test_an_item_whose_worker_is_gone_is_run_by_another_once():
    told = Told(2)
    assert (told.board.take("a"), told.board.take("b"), told.board.take("c")) == (0, 1, None)
    told.board.lose("a")
    assert told.board.take("c") == 0
    told.board.finish("b", 1, False, b"1")
    told.board.lose("c")
    assert told.board.over
    assert told.items[1][:2] == (0, True)
    assert b"item 0" in told.items[1][2]


def test_a_worker_that_was_told_to_end_takes_nothing_down():
    told = Told(1)
    for worker in "abcd":
        assert told.board.take(worker) == 0
        told.board.give_back(worker)
        told.board.lose(worker)
    assert not told.board.over


def test_a_worker_that_comes_back_goes_on():
    told = Told(1)
    for _ in range(5):
        told.board.take("a")
        told.board.lose("a")
        told.board.resume("a", 0)
        assert told.board.take("b") is None
    told.board.finish("a", 0, False, b"x")
    assert told.items == [(0, False, b"x")]


def test_the_first_outcome_of_an_item_counts():
    told = Told(1)
    told.board.take("a")
    told.board.lose("a")
    told.board.take("b")
    told.board.finish("a", 0, False, b"a")
    told.board.finish("b", 0, True, b"b")
    assert told.items == [(0, False, b"a")]
