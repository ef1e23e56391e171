"""Runner and payload in a container: what it is given, what it does with it, and what leaves it."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pytest

from jupyter_konduktor.backends.kubernetes import words
from jupyter_konduktor.backends.kubernetes.sending import archive, runtime
from jupyter_konduktor.errors import InputTooLargeError
from jupyter_konduktor.runner.stream import Artifact, Control, Item
from tests.unit.kubernetes.pods import NONCE, Pod, payload_of
from tests.unit.runner.conftest import cell_pack, function_pack, map_pack
from tests.unit.runner.test_pythons import interpreter

ROOT = Path(__file__).parents[3]
HERE = ".".join(map(str, sys.version_info[:2]))
VERSIONS = ["3.8", "3.9", "3.10", "3.11", "3.12", "3.13", "3.14"]
NOISE = random.Random(0).randbytes(3 << 20)
"""Does not get smaller."""


@pytest.fixture
def pod(tmp_path):
    pods = []

    def pod(pack=None, **options):
        pods.append(Pod(tmp_path / f"pod-{len(pods)}", pack, **options))
        return pods[-1]

    yield pod
    for one in pods:
        if one.process.poll() is None:
            one.process.kill()
            one.process.wait()


# --- the runner's archive


def test_the_config_map_is_the_same_in_every_process():
    script = (
        "import {imports}\nfrom jupyter_konduktor.backends.kubernetes.sending import runtime\n"
        "import hashlib, json; made = runtime.runner_config_map('team')\n"
        "print(made['metadata']['name'], hashlib.sha256(json.dumps(made).encode()).hexdigest())"
    )
    said = {
        subprocess.run(
            [sys.executable, "-c", script.format(imports=imports)], cwd=ROOT, capture_output=True, text=True, check=True
        ).stdout
        for imports in ("sys", "asyncio, unittest, decimal, typing")
    }
    made = runtime.runner_config_map("team")
    assert said == {f"{made['metadata']['name']} {hashlib.sha256(json.dumps(made).encode()).hexdigest()}\n"}
    assert made["immutable"]
    assert len(base64.b64decode(made["binaryData"]["runner.zip"])) < 1 << 20
    assert made["metadata"]["name"].startswith("konduktor-runner-")


def test_stripping_changes_nothing_that_runs():
    source = (
        '"""Doc."""\nx = """a # no\n\n  comment"""  # yes\n\n\n'
        'def f():\n    """Doc."""\n\n\nclass A:\n    """D\n\n    oc."""\n\n    y = "#"\n'
    )
    assert archive.bare(source) == 'x = """a # no\n\n  comment"""\ndef f():\n    0\nclass A:\n    y = "#"\n'
    assert archive.bare(source, keep=1).startswith('"""Doc."""\nx')


def test_the_licence_of_cloudpickle_travels_with_it():
    assert b"Redistribution and use in source and binary forms" in archive.sources(cloudpickle=True)


def test_what_stands_in_every_pod_is_short():
    pack = cell_pack("x = 1", auto=["x"])
    runner, payload = (
        runtime.deliver_runner(payload_of(pack), inline=False),
        runtime.deliver(payload_of(pack), nodes=1, inline_only=False, secrets=True),
    )
    from jupyter_konduktor.task import Task

    spec = runtime.spec_of(Task.create(kind="cell"), name="job", nonce=NONCE, grace=30, runner=runner, payload=payload)
    assert sum(map(len, runtime.command_of(spec))) < 1000
    inline = runtime.deliver_runner(payload_of(pack), inline=True)
    assert max(map(len, inline.env.values())) < 90_000
    assert len(runtime._squeezed(archive.sources(cloudpickle=True))) < 120_000  # Linux takes 128 KiB
    assert len(archive.archive()) < 1_000_000  # a ConfigMap takes 1 MiB


# --- a job in a container


@pytest.mark.parametrize("inline", [False, True], ids=["mounted", "inline"])
@pytest.mark.parametrize("version", VERSIONS)
def test_a_cell_runs_on_every_python(pod, version, inline):
    code = "import sys\nprint('hello')\nm.append(2)\nx = {'a': (1, 2)}\nclass A: pass\nf = lambda: A()\nsys.path, x"
    job = pod(
        cell_pack(code, auto=["x", "f"], inputs={"m": [1]}),
        python=interpreter(version),
        inline=inline,
        env={"PYTHONPATH": "/somewhere", "PYTHONDONTWRITEBYTECODE": "1"},
    )
    assert job.code == 0, job.log
    assert job.text == "hello\n"
    start, *_, end = job.records
    assert start.record["python"].startswith(version + ".")
    assert (start.record["attempt"], start.record["time"]) == (None, pytest.approx(time.time(), abs=60))
    assert end == Control({"t": "end"})
    if version == HERE:
        loaded = job.load()
        # With the payload alone there is no cloudpickle unless it needs one.
        assert set(loaded.values) | {"f"} == {"m", "x", "f"}
        assert inline or "f" in loaded.values
        assert loaded.values["x"] == {"a": (1, 2)}
    shown = json.loads(job.log.split(b"1/1 ", 1)[1].split(b"\n")[0])["data"]["text/plain"]
    assert "/somewhere" in shown
    assert "konduktor" not in shown
    assert "runner" not in shown


@pytest.mark.parametrize("version", ["3.6", "3.7"])
@pytest.mark.parametrize("inline", [False, True])
def test_a_python_that_is_too_old_says_so(pod, version, inline):
    job = pod(cell_pack("x = 1"), python=interpreter(version), inline=inline)
    assert job.code == job.envelope.exit == 70
    assert job.error["refused"] == "version"
    assert f"the image has Python {version}." in job.error["evalue"]
    assert job.log.count(b"\n") == 1
    assert b"need 3.8" in job.log


@pytest.mark.parametrize("inline", [False, True])
def test_a_runner_that_is_another_one_does_not_start(pod, inline):
    digest = hashlib.sha256(b"").hexdigest()
    runner = [str(ROOT / "nowhere") if inline else __file__, digest]
    job = pod(cell_pack("x = 1"), inline=inline, changed={"runner": runner})
    assert (job.code, job.termination.read_bytes()) == (70, b'{"exit":70}')
    assert job.log == b"konduktor: the runner is not the one this job was made with\n"


@pytest.mark.parametrize("secret", [False, True])
def test_a_payload_that_is_another_one_is_not_loaded(pod, secret):
    job = pod(
        cell_pack("print(1)"),
        secret=secret,
        changed={"bundle": {"sha256": "0" * 64, "path": __file__ if secret else None}},
    )
    assert (job.code, job.error["refused"]) == (1, "integrity")
    assert "SHA-256" in job.error["evalue"]


def test_code_of_another_python_is_refused_before_it_is_loaded(pod):
    version = "3.13" if sys.version_info[:2] != (3, 13) else "3.12"
    python = interpreter(version)
    job = pod(function_pack("class A: pass\ndef f(): return A()", "f()"), python=python)
    assert job.error["refused"] == "version"
    assert f"pickled by Python {HERE} cannot be loaded by Python {version} ({version}." in job.error["evalue"]
    assert python in job.error["evalue"]


def test_the_environment_and_the_path_hold_nothing_of_ours(pod):
    code = (
        "import os, sys\nfacts = [sorted(v for v in os.environ if 'PAYLOAD' in v), sys.path[0], sys.argv,"
        " [m for m in sys.modules if m == 'jupyter_konduktor']]"
    )
    for inline in (False, True):
        job = pod(cell_pack(code, auto=["facts"]), inline=inline)
        assert job.outputs == {"facts": [[], "", ["job-x"], ["jupyter_konduktor"]]}


def test_modules_of_the_image_do_not_stand_before_those_of_python_for_the_runner(tmp_path, pod):
    (tmp_path / "pod-0").mkdir()
    (tmp_path / "pod-0" / "json.py").write_text("raise SystemExit('mine')")
    assert pod(command=["true"]).code == 0


def test_a_traceback_shows_the_user_s_code_alone(pod):
    job = pod(cell_pack("def f(x):\n    return 1 / x\nf(0)"))
    assert job.code == 1
    assert "Cell In[3], line 2, in f(x)\n" in job.error["traceback"]
    assert "konduktor" not in job.error["traceback"]


def test_large_inputs_come_with_a_secret_and_can_be_written_to(pod):
    inputs = {"x": np.frombuffer(NOISE[:200_000], "u1").copy(), "y": np.zeros(100_000)}
    job = pod(cell_pack("x[0] = 7; y[1] = 8\nz = x.sum()", auto=["z"], inputs=inputs), secret=True)
    assert job.delivery.env == {}
    assert job.outputs["z"] == inputs["x"][1:].sum() + 7
    assert job.outputs["x"][0] == 7
    assert job.outputs["y"].sum() == 8


def test_modules_of_the_user_come_with_the_payload(pod):
    from tests.unit.runner.test_modules import archive as zipped

    data = zipped(("mine/__init__.py", "def f():\n    return 5\n"))
    digest = hashlib.sha256(data).hexdigest()
    pack = cell_pack("import mine\nx = mine.f()", auto=["x"])
    pack.header["meta"]["modules"] = {"buffer": digest, "names": ["mine"]}
    pack.data = json.dumps(pack.header).encode() + b"\n" + pack.data.split(b"\n", 1)[1]
    pack.buffers[digest] = memoryview(data)
    assert pod(pack).outputs == {"x": 5}


@pytest.mark.parametrize("inline", [False, True])
@pytest.mark.parametrize("method", ["spawn", "forkserver"])
def test_processes_that_are_spawned_find_the_notebook_s_code(pod, tmp_path, method, inline):
    from tests.unit.runner.test_spawn import POOL, WORK

    bare = tmp_path / "python"
    bare.write_text(f'#!/bin/sh\nexec "{sys.executable}" -S "$@"\n')  # without site-packages: cloudpickle is ours
    bare.chmod(0o755)
    body = "\n".join("    " + line for line in POOL.format(method=method).splitlines())
    pack = function_pack(WORK + "def f():\n" + body + "\n    return facts", "f()")
    # A path of a socket ends at 107 bytes; a pod's is short, a test's may not be.
    with tempfile.TemporaryDirectory(prefix="jk-") as short:
        job = pod(pack, python=str(bare), inline=inline, env={"TMPDIR": short})
        assert job.envelope.value == [True, True], job.log
    assert job.text == ""


def test_the_image_s_cloudpickle_stays_unless_the_payload_needs_ours(pod, tmp_path):
    import cloudpickle

    there = shutil.copytree(Path(cloudpickle.__path__[0]), tmp_path / "cloudpickle") / "__init__.py"
    there.write_text(there.read_text() + "\n__version__ = '1.0'\n")
    env = {"PYTHONPATH": str(tmp_path)}
    job = pod(cell_pack("import cloudpickle\nx = cloudpickle.__version__", auto=["x"]), env=env)
    assert job.outputs == {"x": "1.0"}
    source = "class A: pass\ndef f(a=A()):\n    import cloudpickle\n    return cloudpickle.__version__"
    assert pod(function_pack(source, "f()"), env=env).envelope.value == cloudpickle.__version__


def test_an_old_cloudpickle_of_the_image_does_no_harm(pod, tmp_path):
    (tmp_path / "cloudpickle").mkdir()
    (tmp_path / "cloudpickle" / "__init__.py").write_text("__version__ = '1.0'")
    (tmp_path / "cloudpickle" / "cloudpickle.py").write_text("class CloudPickler: pass")
    env = {"PYTHONPATH": str(tmp_path)}
    assert set(pod(cell_pack("f = lambda: 1", auto=["f"]), env=env).outputs) == {"f"}
    loaded = pod(cell_pack("import cloudpickle\nf = lambda: 1\nx = 1", auto=["f", "x"]), env=env).load()
    assert set(loaded.values) == {"x"}
    assert "cloudpickle" in loaded.header["meta"]["left_out"]["f"]


def test_a_command_runs_and_reports(pod):
    command = ["sh", "-c", 'echo hi; echo "$0"; echo 5 > "$KONDUKTOR_OUTPUT_DIR/result.json"; exit 3', "$(HOME)"]
    job = pod(command=command)
    assert (job.code, job.termination.read_bytes()) == (3, b'{"exit":3,"value":5}')
    assert job.text == "hi\n$(HOME)\n"


def test_sigterm_ends_the_job_and_the_envelope_is_written(pod):
    job = pod(cell_pack("import time\nprint('up')\ntime.sleep(60)"), wait=False)
    while b"up" not in job.log:
        time.sleep(0.01)
    job.process.send_signal(signal.SIGTERM)
    assert job.process.wait(20) == 143
    assert job.envelope.exit == 143
    assert job.records[-1] == Control({"t": "end"})


# --- several nodes


def test_only_node_0_speaks_and_one_that_fails_says_why(pod):
    pack = function_pack("import os\ndef f():\n    return os.environ['KONDUKTOR_OUTPUT_DIR'].split('/')[-1]", "f()")
    assert pod(pack, rank=0, nodes=2).envelope.value == "output"
    other = pod(pack, rank=1, nodes=2)
    assert other.termination.read_bytes() == b'{"exit":0}'
    reported = pod(command=["sh", "-c", 'echo 5 > "$KONDUKTOR_OUTPUT_DIR/result.json"'], rank=1, nodes=2)
    assert reported.termination.read_bytes() == b'{"exit":0}'
    failed = pod(function_pack("def f():\n    raise ValueError('x' * 9000)", "f()"), rank=1, nodes=2)
    assert failed.envelope.exit == 1
    assert (failed.error["ename"], failed.error["node"]) == ("ValueError", 1)
    assert failed.artifacts == {}


# --- what leaves it in the log


def test_a_value_beyond_the_envelope_comes_through_the_log(pod):
    array = np.frombuffer(NOISE, "u1")
    job = pod(
        cell_pack("import numpy as np, random\nx = np.frombuffer(random.Random(0).randbytes(3 << 20), 'u1')", out=["x"])
    )
    assert np.array_equal(job.outputs["x"], array)
    assert all(hashlib.sha256(data).hexdigest() == digest for digest, data in job.artifacts.items())
    assert isinstance(job.records[-2], Artifact)
    assert job.text == ""


def test_what_was_sent_and_comes_back_is_carried_too(pod):
    x = np.frombuffer(NOISE[:100_000], "u1")
    assert np.array_equal(pod(cell_pack("y = x", auto=["y"], inputs={"x": x}), secret=True).outputs["y"], x)


BIG = "import numpy as np\nx = np.arange(600_000.)\ny = np.arange(300_000.)\nz = 5"


def test_too_much_is_refused_where_it_was_asked_for(pod):
    job = pod(cell_pack(BIG, out=["x", "y", "z"]))
    assert job.code == 1
    assert job.error["ename"] == "OutputError"
    assert "x has 4.6 MiB, y has 2.3 MiB" in job.error["evalue"]
    assert "no more than 4.0 MiB; set one (store = " in job.error["evalue"]
    assert job.artifacts == {}


def test_too_much_is_left_out_where_it_was_not(pod):
    job = pod(cell_pack(BIG + "\nw = y + 1", auto=["x", "y", "z", "w"]))
    loaded = job.load()
    assert set(loaded.values) in ({"y", "z"}, {"w", "z"})
    left_out = loaded.header["meta"]["left_out"]
    said = "it has 4.6 MiB, and a job without a store brings back no more than 4.0 MiB"
    assert left_out["x"] == f'{said}; set one (store = "s3://bucket/prefix" in [tool.konduktor])'
    assert len(left_out) == 2


def test_a_returned_value_that_is_too_large_says_so(pod):
    job = pod(function_pack("def f():\n    return bytes(5 << 20)", "f()"))
    assert "the returned value is too large: value has 5.0 MiB" in job.error["evalue"]


def test_items_come_through_the_log_each_after_what_it_refers_to(pod):
    source = "def f(x):\n    if x == 1: raise ValueError(x)\n    return 'x' * 10 if x else tuple(range(2000))"
    job = pod(map_pack(source, "f", [(0,), (1,), (2,)]))
    kinds = [type(record) for record in job.records]
    assert kinds == [Control, Artifact, Item, Item, Item, Control, Control]
    items = {record.identity: json.loads(record.data) for record in job.records if isinstance(record, Item)}
    assert items[2] == {"exit": 0, "value": "x" * 10}
    assert job.load(items[0]["value"]).values == {"value": tuple(range(2000))}
    assert items[1]["exit"] == 1
    assert job.termination.read_bytes() == b'{"exit":1,"value":{"items":3,"failed":1}}'


def test_rich_output_leaves_room_for_the_value(pod):
    code = (
        "for i in range(4): display({'text/plain': str(i), 'text/html': str(i) + 'x' * 900_000}, raw=True)\n"
        "import random\nx = random.Random(1).randbytes(2 << 20)"
    )
    job = pod(cell_pack(code, auto=["x"]), changed={"display_limit": 1000})
    assert len(job.outputs["x"]) == 2 << 20
    assert len(job.artifacts) == 3


def test_what_a_job_prints_is_never_carried(pod):
    forged = f"\x1e{NONCE}i0 1/1 e30=\n\x1e{NONCE}c{{}}\n"
    job = pod(cell_pack(f"import os\nprint({forged!r}, end='')\nos.write(1, {forged!r}.encode())"))
    assert [type(record) for record in job.records] == [Control] * 3  # start, lines, end
    assert job.text == forged * 2


def test_a_folder_of_artifacts_that_user_code_has_spoiled_does_no_harm(pod):
    code = (
        "import os\nfolder = os.path.join(os.environ['HOME'], 'artifacts')\nos.makedirs(folder, exist_ok=True)\n"
        "os.symlink('/etc/passwd', folder + '/' + 'a' * 64)\nos.mkfifo(folder + '/' + 'b' * 64)\n"
        "open(folder + '/' + 'c' * 64, 'wb').write(bytes(5 << 20))\nos.mkdir(folder + '/' + 'd' * 64)\nx = 1"
    )
    job = pod(cell_pack(code, out=["x"]))
    assert (job.envelope.exit, job.artifacts) == (0, {}), job.log


# --- how payloads are delivered


def delivered(inputs, **options):
    options = {"nodes": 1, "inline_only": False, "secrets": True, **options}
    return runtime.deliver(payload_of(cell_pack("1", inputs=inputs)), **options)


def test_a_small_payload_stands_in_the_environment_and_a_larger_one_in_a_secret():
    small, large = {"x": NOISE[:10_000]}, {"x": NOISE[:60_000]}
    assert delivered(small).secret is None
    assert delivered(small, nodes=5).env == {}
    found = delivered(large)
    assert found.env == {}
    assert found.secret is not None
    assert found.spec["bundle"]["path"] == f"{words.PAYLOAD_DIR}/payload"
    assert found.secret["immutable"]
    assert delivered(large, secrets=False, nodes=9).secret is None
    assert delivered({"x": bytes(200_000)}).spec["bundle"]["zlib"]
    assert runtime.deliver(None, nodes=1, inline_only=False, secrets=True).spec == {}


@pytest.mark.parametrize(
    ("size", "options", "said"),
    [
        (2 << 20, {}, "a job on the cluster takes 1.0 MiB"),
        (100_000, {"secrets": False}, "without the right to create Secrets a job on the cluster takes 72 KiB"),
        (100_000, {"inline_only": True}, "through MultiKueue a job"),
        (40 << 20, {}, "has 40 MiB"),
    ],
)
def test_what_is_too_large_is_refused_by_name(size, options, said):
    with pytest.raises(InputTooLargeError, match="The largest: `big`") as caught:
        delivered({"small": 1, "big": (NOISE * (size // len(NOISE) + 1))[:size]}, **options)
    assert said in str(caught.value)
    assert caught.value.variable == "big"


def test_as_much_as_a_secret_holds_is_taken():
    found = delivered({"x": NOISE[: (1 << 20) - 2000]})
    assert found.secret is not None
    assert len(base64.b64decode(found.secret["data"]["payload"])) <= 1 << 20


def test_only_what_is_large_goes_to_a_store():
    small = delivered({"x": NOISE[:10_000]}, store=True)
    assert (small.objects, small.secret) == ({}, None)
    assert small.spec["links"] == words.LINKS
    assert small.spec["artifact_limit"] is None
    assert delivered({"x": NOISE[:60_000]}, store=True).secret is not None
    large = delivered({"x": np.zeros(5 << 20, dtype=np.uint8), "y": NOISE}, store=True)
    assert large.secret is None
    assert max(piece.nbytes for piece in large.objects.values()) == 5 << 20
    assert large.spec["bundle"]["sha256"] in large.objects
    for digest, piece in large.objects.items():
        assert hashlib.sha256(piece.read()).hexdigest() == digest


def test_nothing_of_the_user_s_is_on_the_command_line():
    pack = cell_pack("password = 'tr0ub4dor'")
    from jupyter_konduktor.task import Task

    payload = payload_of(pack)
    spec = runtime.spec_of(
        Task.create(kind="cell", env={"A": "tr0ub4dor"}),
        name="job",
        nonce=NONCE,
        grace=30,
        runner=runtime.deliver_runner(payload, inline=False),
        payload=runtime.deliver(payload, nodes=1, inline_only=False, secrets=True),
    )
    assert "tr0ub4dor" not in "".join(runtime.command_of(spec))
    assert os.fsencode(json.dumps(spec))
