"""Bad inputs: each is a typed error of one screen without a frame of ours, and nothing is made."""

from __future__ import annotations

import math
import os
import pickle
import socket
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import jupyter_konduktor as jk
from jupyter_konduktor.errors import (
    InputTooLargeError,
    InvalidTaskError,
    KonduktorError,
    PayloadError,
    SecretFoundError,
)

if TYPE_CHECKING:
    from tests.faults.conftest import Home

SCREEN = 24 * 100


def shown(error: BaseException) -> str:
    """Give what a notebook shows of an error of ours, checked to be a screen at most."""
    assert isinstance(error, KonduktorError)
    text = "\n".join(error._render_traceback_())
    assert len(text) <= SCREEN
    assert text.count("\n") < 24
    assert "Traceback" not in text
    return text


OPTIONS: list[tuple[dict[str, Any], str]] = [
    *(({"name": name}, "name") for name in ("A_b", "x" * 64, "-x", "../x", "", "x\n", "$(id)")),
    *(({"gpus": gpus}, "gpus") for gpus in (0, -1, 1.5, "lots", 10**9, "H100:10000000000", [], math.nan)),
    *(({"memory": memory}, "memory") for memory in ("10GB", "1e9", "", "-1Gi", math.nan, math.inf)),
    *(({"timeout": timeout}, "timeout") for timeout in ("nan", math.inf, -1, 0, "", "soon")),
    *(({"nodes": nodes}, "nodes") for nodes in (0, -1, 10**6, 1000, 1.5, "two")),
    *(({"cpus": cpus}, "cpus") for cpus in (0, -1, math.nan, math.inf, "all")),
    *(({"image": image}, "image") for image in ("$(id)", "a b", "x" * 5000, "", "a\nb")),
    *(({"env": env}, "env") for env in ({"A=B": "x"}, {"": "x"}, {"A": "x\0y"}, ["A"])),
    ({"queue": "no such\nqueue"}, "queue"),
    ({"workdir": "/no/such/directory"}, "workdir"),
    ({"secrets": ["NOT_SET_ANYWHERE"]}, "secrets"),
    ({"packages": ["a; rm -rf /"]}, "packages"),
    ({"volumes": ["data:/a/../b"]}, "volumes"),
    ({"max_restarts": -1}, "max_restarts"),
]


@pytest.mark.parametrize(
    ("options", "field"), OPTIONS, ids=[f"{next(iter(o))}-{i}" for i, (o, _) in enumerate(OPTIONS)]
)
def test_an_option_that_cannot_be_is_refused_by_its_name(
    home: Home, nothing_made: None, options: dict[str, Any], field: str
) -> None:
    for submit in (
        lambda: jk.launch(jk.Task.create(command=["true"], **options)),
        lambda: jk.remote(**options)(abs).submit(1),
    ):
        with pytest.raises(InvalidTaskError) as caught:
            submit()
        assert caught.value.field == field
        assert field in shown(caught.value)


def _recursive_class() -> Any:
    class Node:
        lock = threading.Lock()

        def me(self) -> Any:
            return Node

    return Node


def _deep() -> Any:
    value: list[Any] = []
    for _ in range(5000):
        value = [value]
    return value


class Raises:
    def __reduce__(self) -> Any:
        raise ValueError("no pickling today")


VALUES: dict[str, tuple[Callable[[], Any], str]] = {
    "a lock": (threading.Lock, "lock"),
    "a generator": (lambda: (i for i in range(3)), "generator"),
    "a socket": (socket.socket, "socket"),
    "sys.modules": (lambda: sys.modules, ""),
    "a thread-local": (threading.local, "local"),
    "a class around itself": (_recursive_class, "lock"),
    "a deep list": (_deep, "nested too deep"),
    "a frame": (sys._getframe, "frame"),
    "a class whose __reduce__ raises": (Raises, "Raises.__reduce__() raised ValueError: no pickling today"),
}


@pytest.mark.parametrize(("make", "said"), VALUES.values(), ids=VALUES.keys())
def test_a_value_that_cannot_travel_is_refused_by_its_kind(
    home: Home, nothing_made: None, make: Callable[[], Any], said: str
) -> None:
    value = make()
    with pytest.raises(PayloadError) as caught:
        jk.remote(len).submit([value])
    assert said in shown(caught.value)
    if isinstance(value, socket.socket):
        value.close()


def test_a_dict_that_holds_itself_travels(home: Home) -> None:
    value: dict[str, Any] = {}
    value["self"] = value
    back = jk.remote(lambda d: d).submit(value).result(20)
    assert back["self"] is back


def test_thirty_megabytes_by_accident_are_refused_with_the_largest(home: Home, nothing_made: None) -> None:
    held = np.zeros(5_000_000)
    with pytest.raises(InputTooLargeError, match="closure") as caught:
        jk.remote(lambda: held.sum() + 1).submit()
    assert "30 MiB" in shown(caught.value)


def test_a_secret_is_refused_by_its_name_alone(home: Home, nothing_made: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOME_API_KEY", "swordfish-swordfish")
    for value in ("swordfish-swordfish", dict(os.environ)):
        with pytest.raises(SecretFoundError, match="SOME_API_KEY") as caught:
            jk.remote(len).submit(value)
        assert "swordfish" not in shown(caught.value)


def test_a_value_that_runs_code_when_it_is_pickled_makes_no_half_job(home: Home, nothing_made: None) -> None:
    class Ends:
        def __getstate__(self) -> Any:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        jk.remote(len).submit([Ends()])


@pytest.mark.parametrize("size", [3_499, 3_500, 3_501, 1_000_000])
def test_a_value_comes_whole_whatever_its_size(home: Home, size: int) -> None:
    """As JSON it has two quotation marks more, and the envelope takes 3,500 bytes; what is larger goes another way."""
    job = jk.remote(lambda n: ("é" * (n // 2) + "x" * (n % 2))[:n]).submit(size - 2)
    value = job.result(20)
    assert len(value.encode()) == size - 2
    assert len(home.backend.read_envelope(job.name) or b"") <= 4096


@pytest.mark.parametrize("size", [3_500, 3_501])
def test_a_scripts_result_is_whole_or_told_to_be_too_large(home: Home, size: int) -> None:
    job = home.script(
        f"python3 -c \"print('\\\"' + 'x' * {size - 2} + '\\\"', end='')\" > $KONDUKTOR_OUTPUT_DIR/result.json"
    )
    if size == 3_500:
        assert job.result(20) == "x" * 3_498
    else:
        with pytest.raises(jk.errors.ResultTooLargeError, match="3,501"):
            job.result(20)


def test_a_handle_can_be_kept_in_every_way_and_is_still_the_job(home: Home) -> None:
    job = home.script("true")
    again = pickle.loads(pickle.dumps(job))
    assert again == job == str(job)
    assert hash(again) == hash(job)
    assert {again: 1}[job] == 1
    assert repr(again) == repr(job)
    assert again.wait(20) == job.wait(20) == "succeeded"
    assert pickle.loads(pickle.dumps(again)).state is job.state


# --- cells and magic lines

REFUSED = [
    "%%konduktor --gpu 8\nx = 1",
    "%%konduktor --gpus 1 --gpus 2\nx = 1",
    "%%konduktor --queue 'a\nx = 1",
    "%%konduktor --name {__import__('os')}\nx = 1",
    "%%konduktor --name A_b\nx = 1",
    "%%konduktor --name ../x\nx = 1",
    "%%konduktor --memory 10GB\nx = 1",
    "%%konduktor --timeout nan\nx = 1",
    "%%konduktor --nodes 1000000\nx = 1",
    "%%konduktor --image $(id)\nx = 1",
    "%%konduktor --image 'a b'\nx = 1",
    "%%konduktor --workdir /no/such\nx = 1",
    "%%konduktor --backend nowhere\nx = 1",
    "%%konduktor --config /no/such.toml\nx = 1",
    "%%konduktor",
    "%%konduktor\n\n# only a comment\n",
    "%%konduktor\nx = = 1",
    "%%konduktor\n%%konduktor\nx = 1",
    "%%konduktor\n%pip install x",
    "%%konduktor\nx = not_defined_anywhere + 1",
    "%%konduktor\nuse(a_lock)",
    "%%konduktor\nuse(a_generator)",
    "%%konduktor\nIn",
    "%%konduktor --in not_defined_anywhere\nx = 1",
    "%%konduktor --out 1x\nx = 1",
]


def test_cells_that_cannot_run_are_refused_in_one_line_before_anything_is_made(kernel: Any) -> None:
    kernel.run(
        "import os, threading\na_lock = threading.Lock()\na_generator = (i for i in ())\nuse = print\n"
        "os.environ['SOME_API_KEY'] = 'swordfish-swordfish'\nimport jupyter_konduktor as jk"
    )
    before = kernel.value("len(jk.jobs())")
    for cell in REFUSED:
        refused = kernel.run(cell, timeout=20)
        assert not refused.ok, cell
        text = refused.text.strip()
        assert len(text) < SCREEN, cell
        assert "/jupyter_konduktor/" not in refused.error, text
        assert "Traceback" not in text, text
        assert "swordfish" not in text
        if cell != "%%konduktor":
            assert refused.reply["ename"] == "UsageError", (cell, text)
            assert "\n" not in text, text
    assert kernel.value("len(jk.jobs())") == before


def test_a_module_that_the_job_does_not_have_is_named_with_advice(kernel: Any) -> None:
    missing = kernel.run("%%konduktor\nimport certainly_not_installed")
    assert missing.reply["ename"] == "RemoteError"
    assert "certainly_not_installed" in missing.text
    assert "/jupyter_konduktor/" not in missing.error


HOSTILE = "<img src=x onerror=alert(1)></script>javascript:x\x1b]8;;http://x\x07\x1b]52;c;eA==\x07" + "\x1b[0m" * 10


def test_hostile_text_is_inert_wherever_it_is_shown(home: Home) -> None:
    def fail(text: str) -> None:
        raise ValueError(text)

    job = jk.remote(fail).submit(HOSTILE)
    job.wait(20)
    html = job._repr_mimebundle_()["text/html"] + jk.jobs()._repr_html_()
    plain = job._repr_mimebundle_()["text/plain"] + repr(jk.jobs())
    assert "<img" not in html
    assert "</script" not in html
    assert "\x1b" not in html + plain
    assert "ValueError" in html


# --- the store


@pytest.mark.parametrize("kind", ["a file", "another user's", "below a file"])
def test_a_place_that_cannot_hold_jobs_is_a_clear_refusal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    from jupyter_konduktor import session

    place = tmp_path / "place"
    if kind == "another user's":
        if os.geteuid():
            pytest.skip("only root can give a directory away")
        place.mkdir()
        os.chown(place, 12345, -1)
    else:
        place.write_text("x")
    monkeypatch.setenv("JUPYTER_KONDUKTOR_LOCAL_DIR", str(place / "below" if kind == "below a file" else place))
    with pytest.raises(jk.errors.StoreError) as caught:
        jk.launch(jk.Task.create(command=["true"]))
    assert "local_dir" in shown(caught.value)
    session.close()
    if kind != "another user's":
        assert place.read_text() == "x"
