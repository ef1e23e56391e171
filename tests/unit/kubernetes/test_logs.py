"""A log on its way to the disk: every byte once, whatever becomes of connections, files and processes."""

from __future__ import annotations

import hashlib
import os
import random
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from jupyter_konduktor.backends.kubernetes.logs.follower import LogFollower
from jupyter_konduktor.backends.kubernetes.logs.logfile import LogFile
from jupyter_konduktor.backends.kubernetes.shelf.shelf import Shelf
from jupyter_konduktor.errors import AccessDeniedError, ApiError, BackendError, UnreachableError
from jupyter_konduktor.runner.stream import carrier_lines, control_line
from tests.unit.kubernetes.kubelet import Kubelet, until

PROJECT = Path(__file__).parents[3]
NONCE = "0123456789abcdef"


class Scene:
    """A kubelet, a job's shelf, and followers of its log."""

    def __init__(self, root: Path) -> None:
        self.kubelet = Kubelet()
        self.job = Shelf.open("cluster", "team", base=root).keep("uid", "job")
        self.file = self.job.log(0, 0)
        self.growth: list[float] = []
        self.records: list[Any] = []
        self.ends: list[float] = []
        self.followers: list[LogFollower] = []

    def follow(self, nonce: str = NONCE, file: LogFile | None = None) -> LogFollower:
        made = LogFollower(
            self.kubelet,  # type: ignore[arg-type]
            "team",
            "pod",
            "pod-uid",
            file or self.file,
            nonce,
            on_growth=lambda: self.growth.append(time.monotonic()),
            on_record=self.records.append,
            on_end=lambda: self.ends.append(time.monotonic()),
        )
        self.followers.append(made)
        return made

    @property
    def text(self) -> bytes:
        return self.file.read(0, 1 << 30).data

    def finish(self, follower: LogFollower) -> bytes:
        self.kubelet.end()
        follower.terminated()
        until(follower.ended)
        assert self.file.ended
        return self.text


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    made = Scene(tmp_path)
    yield made
    made.kubelet.end()
    for follower in made.followers:
        follower.close()


def start() -> bytes:
    return control_line(NONCE, {"t": "start", "python": "3.11.2", "time": 0})


def end() -> bytes:
    return control_line(NONCE, {"t": "end"})


ODD = [b"a\0b\xff\xfe\n", b"\xc2\x85\xe2\x80\xa8\n", b"1%\r2%\r\n", b"\n", b"\x1b[1mbold\n", b"\x1eff c {}\n"]


def test_bytes_come_as_they_are_and_growth_is_told(scene: Scene) -> None:
    follower = scene.follow()
    scene.kubelet.write(start(), *ODD)
    until(lambda: scene.text == b"".join(ODD))
    until(lambda: scene.growth)
    assert not scene.file.ended
    scene.kubelet.write(b"more\n", end())
    until(follower.ended)
    assert scene.text == b"".join(ODD) + b"more\n"
    assert scene.file.ended
    assert scene.ends
    assert [record.record["t"] for record in scene.records] == ["start", "end"]


def test_end_marker_ends_it_though_the_container_runs(scene: Scene) -> None:
    follower = scene.follow()
    scene.kubelet.write(start(), b"x\n", end())
    until(follower.ended)
    assert len(scene.kubelet.asked) == 1


def test_line_without_newline_at_the_end_is_kept(scene: Scene) -> None:
    follower = scene.follow()
    scene.kubelet.write(b"one\n", b"two")
    until(lambda: scene.text == b"one\n")
    assert scene.finish(follower) == b"one\ntwo"


def test_lines_that_come_in_parts_are_one_line(scene: Scene) -> None:
    follower = scene.follow("")
    scene.kubelet.write(b"a" * 16384, b"b" * 16384, b"c\n", b"d\n")
    assert scene.finish(follower) == b"a" * 16384 + b"b" * 16384 + b"c\nd\n"


def test_endless_line_is_passed_on(scene: Scene) -> None:
    scene.kubelet.answers = [None, None, 3_000_000]
    follower = scene.follow("")
    scene.kubelet.write(*[b"%016384d" % n for n in range(150)])
    until(lambda: scene.file.size > 1 << 20)
    follower.reconnect()
    scene.kubelet.write(*[b"%016384d" % n for n in range(150, 200)], b"\n", b"next\n")
    assert scene.finish(follower) == b"".join(b"%016384d" % n for n in range(200)) + b"\nnext\n"


@pytest.mark.parametrize("seed", range(12))
def test_connections_that_are_lost_cost_and_double_nothing(
    scene: Scene, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("jupyter_konduktor.backends.kubernetes.logs.follower.PAUSES", (0.005, 0.02))
    rng = random.Random(seed)
    scene.kubelet.chunk = rng.choice([1, 100, 4096])
    scene.kubelet.zone = rng.choice(["Z", "+00:00"])
    scene.kubelet.answers = [rng.choice([rng.randrange(1, 60_000), rng.randrange(1, 2000)]) for _ in range(20)]
    scene.kubelet.answers.insert(3, UnreachableError("no route"))
    follower = scene.follow("")
    wrote = []
    for _ in range(60):
        some = [b"%d " % rng.randrange(10) + b"x" * rng.randrange(60) + b"\n" for _ in range(20)]
        wrote += some
        scene.kubelet.write(*some, step=rng.choice([1, 10**6, 5 * 10**8]))
        if rng.random() < 0.3:
            time.sleep(0.005)
        if rng.random() < 0.05:
            follower.reconnect()
    assert scene.finish(follower) == b"".join(wrote)


def test_rotation_at_the_end_of_an_answer_loses_nothing_that_can_be_had(scene: Scene) -> None:
    follower = scene.follow("")
    scene.kubelet.write(b"1\n", b"2\n")
    until(lambda: scene.text == b"1\n2\n")
    scene.kubelet.lines = scene.kubelet.lines[1:]
    scene.kubelet.write(b"3\n")
    assert scene.finish(follower) == b"1\n2\n3\n"


def test_gap_is_shown_as_one(scene: Scene) -> None:
    follower = scene.follow("")
    scene.kubelet.write(b"1\n", b"2\n", step=10**9)
    until(lambda: scene.text == b"1\n2\n")
    scene.kubelet.rotate()
    scene.kubelet.write(b"5\n", step=3 * 10**9)
    note = b"[konduktor: output between 22:13:22.000 and 22:13:25.000 could not be read]\n"
    assert scene.finish(follower) == b"1\n2\n" + note + b"5\n"


def counted(lines: int) -> bytes:
    return control_line(NONCE, {"t": "lines", "n": lines})


def test_lines_that_an_answer_leaves_out_are_counted(scene: Scene) -> None:
    """A kubelet that is two rotations behind goes on with the newest file, and its answer goes on too."""
    follower = scene.follow()
    first, second, third = ([b"%s %d\n" % (name, n) for n in range(50)] for name in (b"a", b"b", b"c"))
    scene.kubelet.write(
        start(), *first, counted(50), *second[:7], *second[20:], counted(100), *third, counted(150), end()
    )
    until(follower.ended)
    note = b"[konduktor: 13 lines shortly before this could not be read]\n"
    assert scene.text == b"".join([*first, *second[:7], *second[20:], note, *third])


@pytest.mark.parametrize("again", [False, True])
def test_lines_that_are_all_there_are_no_gap(scene: Scene, again: bool) -> None:
    """Also where another process goes on in the middle, and where the beginning is known to be lost."""
    lines = [b"%d\r\n" % n for n in range(40)]
    follower = scene.follow()
    scene.kubelet.write(start(), b"no newline at the e", b"nd\n", *lines, counted(41))
    until(lambda: scene.text.endswith(lines[-1]))
    if again:
        follower.close()
        follower = scene.follow()
    scene.kubelet.write(*lines, counted(81), b"last\n", counted(82), end())
    until(follower.ended)
    assert scene.text == b"".join([b"no newline at the end\n", *lines, *lines, b"last\n"])


def test_beginning_that_was_rotated_away_is_a_gap(scene: Scene) -> None:
    scene.kubelet.pod = {
        "status": {
            "containerStatuses": [
                {"name": "konduktor-container", "state": {"running": {"startedAt": "2023-11-14T22:00:00Z"}}}
            ]
        }
    }
    follower = scene.follow()
    scene.kubelet.write(b"late\n", step=10**9)
    note = b"[konduktor: output before 22:13:21.000 could not be read]\n"
    assert scene.finish(follower) == note + b"late\n"


def test_lost_beginning_is_said_as_soon_as_it_is_known(scene: Scene) -> None:
    follower = scene.follow()
    scene.kubelet.write(*[b"%0999d\n" % n for n in range(30)])
    text = scene.finish(follower)
    assert text.count(b"[konduktor: the beginning of the output could not be read]\n") == 1
    assert text.replace(b"[konduktor: the beginning of the output could not be read]\n", b"") == b"".join(
        b"%0999d\n" % n for n in range(30)
    )


def test_runner_that_could_not_start_is_no_lost_beginning(scene: Scene) -> None:
    follower = scene.follow()
    scene.kubelet.write(b"Traceback (most recent call last):\n", b"SyntaxError\n")
    assert scene.finish(follower) == b"Traceback (most recent call last):\nSyntaxError\n"


def test_words_of_the_kubelet_are_no_output(scene: Scene) -> None:
    scene.kubelet.words = b"failed to create fsnotify watcher: too many open files"
    follower = scene.follow()
    scene.kubelet.write(b"1\n")
    until(lambda: len(scene.kubelet.asked) > 2)
    assert scene.text == b"1\n"
    scene.kubelet.words = b""
    assert scene.finish(follower) == b"1\n"


@pytest.mark.parametrize(
    "trouble",
    [ApiError("container is waiting to start", status=400), ApiError("no kubelet", status=502), UnreachableError("no")],
)
def test_what_passes_is_tried_again_in_silence(scene: Scene, trouble: BackendError) -> None:
    scene.kubelet.answers = [trouble, trouble]
    scene.kubelet.write(b"1\n")
    follower = scene.follow()
    assert scene.finish(follower) == b"1\n"
    assert scene.file.problem == ""


DENIED = AccessDeniedError('User "u" cannot get resource "pods/log"', status=403)


def test_denied_log_says_which_verb_is_missing_and_is_had_later(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("jupyter_konduktor.backends.kubernetes.logs.follower.FIRST_PATIENCE", 0.0)
    scene.kubelet.answers = [DENIED]
    scene.kubelet.write(b"1\n")
    follower = scene.follow()
    until(follower.ended)
    assert "pods/log" in scene.file.problem
    assert scene.text == b""
    assert scene.finish(scene.follow()) == b"1\n"
    assert scene.file.problem == ""


@pytest.mark.parametrize("refusal", [DENIED, ApiError("pod does not exist", status=404)])
def test_a_server_that_has_just_started_refuses_for_a_moment_only(scene: Scene, refusal: ApiError) -> None:
    """An API server has not read its roles yet, a kubelet not its pods."""
    scene.kubelet.answers = [40, refusal]
    scene.kubelet.write(b"1\n", b"2\n")
    assert scene.finish(scene.follow("")) == b"1\n2\n"
    assert scene.file.problem == ""


def test_what_is_refused_for_long_is_missing(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("jupyter_konduktor.backends.kubernetes.logs.follower.LAST_PATIENCE", 0.1)
    scene.kubelet.answers = [40, *[DENIED] * 50]
    scene.kubelet.write(b"1\n", b"2\n")
    until(scene.follow("").ended)
    assert b"the rest of the output could not be read: " in scene.text


def test_pod_that_is_gone_ends_the_log_and_says_what_is_missing_once(scene: Scene) -> None:
    gone = ApiError("pods not found", status=404)
    scene.kubelet.pod = {"metadata": {"uid": "another"}}
    scene.kubelet.answers = [40, gone, gone]
    scene.kubelet.write(b"1\n", b"2\n")
    for _ in range(2):
        until(scene.follow("").ended)
        assert scene.text == b"1\n[konduktor: the rest of the output could not be read: pod pod is gone]\n"
        assert "gone" in scene.file.problem


def test_pod_that_is_gone_after_all_was_read_is_no_gap(scene: Scene) -> None:
    scene.kubelet.answers = [None, ApiError("pods not found", status=404)]
    scene.kubelet.pod = {"metadata": {"uid": "another"}}
    scene.kubelet.write(b"1\n")
    scene.kubelet.end()
    until(scene.follow("").ended)
    assert scene.text == b"1\n"


def test_bounded_patience_with_a_node_that_is_lost(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("jupyter_konduktor.backends.kubernetes.logs.follower.LAST_PATIENCE", 0.1)
    scene.kubelet.answers = [40, *[ApiError("dial tcp: refused", status=500)] * 50]
    scene.kubelet.write(b"1\n", b"2\n")
    follower = scene.follow("")
    follower.terminated()
    until(follower.ended)
    assert b"the rest of the output could not be read" in scene.text


def test_flood_is_no_flood_of_calls(scene: Scene) -> None:
    scene.kubelet.chunk = 50
    follower = scene.follow("")
    began = time.monotonic()
    while time.monotonic() < began + 0.5:
        scene.kubelet.write(*[b"x\n"] * 50)
        time.sleep(0.001)
    scene.finish(follower)
    assert 3 <= len(scene.growth) <= 20 * (time.monotonic() - began) + 3


def test_last_growth_is_told_though_nothing_follows(scene: Scene) -> None:
    scene.follow()
    scene.kubelet.write(start(), b"1\n")
    until(lambda: scene.text == b"1\n")
    scene.kubelet.write(b"2\n")
    until(lambda: scene.text == b"1\n2\n")
    written = time.monotonic()
    until(lambda: scene.growth[-1] >= written - 0.06)


# --- what comes with a log


def test_artifacts_and_items_are_kept(scene: Scene) -> None:
    data = bytes(range(256)) * 1000
    sha256 = hashlib.sha256(data).hexdigest()
    follower = scene.follow()
    scene.kubelet.write(
        start(), b"1\n", *carrier_lines(NONCE, "a", sha256, data), *carrier_lines(NONCE, "i", "7", b'{"exit":0}')
    )
    scene.kubelet.write(*carrier_lines(NONCE, "i", "3", b"long" * 9000), b"2\n", end())
    until(follower.ended)
    assert scene.text == b"1\n2\n"
    assert bytes(scene.job.artifact(sha256) or b"") == data
    assert scene.job.items() == [(7, b'{"exit":0}'), (3, b"long" * 9000)]
    assert scene.job.items(1) == [(3, b"long" * 9000)]


def test_artifact_that_is_not_what_it_says_is_not_kept(scene: Scene) -> None:
    follower = scene.follow()
    scene.kubelet.write(*carrier_lines(NONCE, "a", hashlib.sha256(b"x").hexdigest(), b"y" * 30000), end())
    until(follower.ended)
    assert scene.job.artifact(hashlib.sha256(b"x").hexdigest()) is None
    assert [path for path in scene.job.folder.rglob("*") if "artifacts" in path.parts and path.is_file()] == []


# --- several processes


def test_second_follower_reads_and_takes_over(scene: Scene) -> None:
    first = scene.follow()
    scene.kubelet.write(start(), b"1\n")
    until(lambda: scene.text == b"1\n")
    second = scene.follow(file=scene.job.log(0, 0))
    told = len(scene.growth)
    scene.kubelet.write(b"2\n")
    until(lambda: len(scene.growth) >= told + 2)
    first.close()
    scene.kubelet.write(b"3\n")
    assert scene.finish(second) == b"1\n2\n3\n"
    assert not first.ended()


def test_fork_does_not_hold_the_lock(scene: Scene) -> None:
    first = scene.follow()
    scene.kubelet.write(start(), b"1\n")
    until(lambda: scene.text == b"1\n")
    pid = os.fork()
    if pid == 0:
        time.sleep(20)
        os._exit(0)
    try:
        first.close()
        held: list[Any] = []
        until(lambda: held.extend(filter(None, [scene.file.claim()])) or held)  # the child drops it as it begins to run
        held[0].release()
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


FOLLOW = """
import sys, random, threading, time, os, signal
sys.path.insert(0, PROJECT)
from pathlib import Path
from jupyter_konduktor.backends.kubernetes.shelf.shelf import Shelf
from jupyter_konduktor.backends.kubernetes.logs.follower import LogFollower
from tests.unit.kubernetes.kubelet import Kubelet, until
kubelet = Kubelet(chunk=777)
def line(n): return b"%d " % n + b"x" * (n % 90) + (b"" if n % 50 == 49 else b"\\n")
file = Shelf.open("cluster", "team", base=Path(ROOT)).keep("uid", "job").log(0, 0)
kubelet.write(*[line(n) for n in range(20000)], step=50_000)
follower = LogFollower(kubelet, "team", "pod", "u", file, "", on_growth=lambda: None, on_record=print)
if KILL:
    until(lambda: file.size > KILL)
    os.kill(os.getpid(), signal.SIGKILL)
kubelet.end()
follower.terminated()
until(follower.ended)
"""


def test_killed_writers_have_doubled_and_lost_nothing(scene: Scene, tmp_path: Path) -> None:
    for kill in (1, 100_000, 400_000, 700_000, 0):
        code = f"PROJECT, ROOT, KILL = {str(PROJECT)!r}, {str(tmp_path)!r}, {kill}\n" + textwrap.dedent(FOLLOW)
        run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=30)
        assert run.returncode == (-signal.SIGKILL if kill else 0), run.stderr
    lines = (b"%d " % n + b"x" * (n % 90) + (b"" if n % 50 == 49 else b"\n") for n in range(20000))
    assert scene.text == b"".join(lines)


def written(file: LogFile, *texts: bytes) -> None:
    writer = file.claim()
    assert writer is not None
    for text in texts:
        writer.append(text)
    writer.forget()  # without a word on how far it had read


def test_damaged_state_costs_nothing(scene: Scene) -> None:
    follower = scene.follow()
    scene.kubelet.write(start(), b"1\n", b"2\n")
    until(lambda: scene.text == b"1\n2\n")
    follower.close()
    for damage in (b"", b"{", b"[]", b'{"size": "x"}', b'{"size":99,"tail":"","at":0,"ended":false,"problem":""}'):
        scene.file.path.with_suffix(".state").write_bytes(damage)
        again = scene.follow()
        until(lambda: scene.file.point().size == 4)
        again.close()
        assert scene.text == b"1\n2\n"


def test_half_a_write_is_completed(scene: Scene) -> None:
    written(scene.file, b"1\n", b"2")
    follower = scene.follow("")
    scene.kubelet.write(b"1\n", b"22\n", b"3\n")
    assert scene.finish(follower) == b"1\n22\n3\n"


def test_readers_see_what_the_protocol_says(scene: Scene) -> None:
    assert scene.file.read(0, 10) == scene.file.read(-5, 10)
    assert scene.file.read(7, 10).offset == 7
    follower = scene.follow("")
    scene.kubelet.write(b"one\n", b"two\n", b"three\n")
    scene.finish(follower)
    piece = scene.file.read(4, 3)
    assert (piece.data, piece.offset, piece.ended) == (b"two", 7, False)
    piece = scene.file.read(-6, 100)
    assert (piece.data, piece.offset, piece.ended) == (b"three\n", 14, True)
    assert scene.file.read(-1000, 100).data == b"one\ntwo\nthree\n"
    assert scene.file.read(14, 5).ended


def test_full_disk_costs_what_was_written_then_and_is_told_once(
    scene: Scene, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    full = False
    write: Callable[[int, Any], int] = os.write

    def limited(fd: int, data: Any) -> int:
        if full and Path(f"/proc/self/fd/{fd}").readlink().suffix == ".log":
            raise OSError(28, "No space left on device")
        return write(fd, data)

    monkeypatch.setattr(os, "write", limited)
    follower = scene.follow()
    scene.kubelet.write(start(), b"1\n")
    until(lambda: scene.text == b"1\n")
    full = True
    for _ in range(3):
        scene.kubelet.write(b"lost\n")
        time.sleep(0.01)
    until(lambda: "no space" in scene.file.problem)
    full = False
    scene.kubelet.write(b"2\n", end())
    until(follower.ended)
    assert scene.text == b"1\n[konduktor: 15 bytes could not be kept: no space was left here]\n2\n"
    assert caplog.text.count("no space left") == 1
