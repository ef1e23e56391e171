"""The supervisor sees every way a process can end, loses no output, and leaves no process behind."""

from __future__ import annotations

import contextlib
import hashlib
import os
import random
import signal
import sys
import time

import psutil
import pytest

from .conftest import NONCE, cell_pack


def sh(script):
    return {"command": ["sh", "-c", script], "kind": "command"}


def python(script, executable=sys.executable):
    return {"command": [executable, "-u", "-c", script], "kind": "command"}


def gone(pid):
    with contextlib.suppress(psutil.NoSuchProcess):
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    return True


def until(condition, timeout=20):
    deadline = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


# --- how it ends


@pytest.mark.parametrize("code", [0, 1, 3, 255])
def test_the_exit_code_of_a_command_is_kept(run, code):
    job = run(**sh(f"exit {code}"))
    assert job.process.returncode == code
    assert job.end["exit_codes"] == [code]
    assert job.end["failed_node"] == (0 if code else None)
    assert (job.folder / "envelope.json").read_bytes() == b'{"exit":%d}' % code


@pytest.mark.parametrize(
    ("name", "said"), [("SEGV", "segmentation fault"), ("KILL", "not by this runner"), ("ABRT", "SIGABRT")]
)
def test_a_signal_is_named(run, name, said):
    job = run(**sh(f"kill -{name} $$"))
    number = getattr(signal, f"SIG{name}")
    assert job.end["signal"] == number
    assert job.envelope.exit == 128 + number
    assert said in job.end["message"]


def test_a_segfault_of_python_leaves_a_traceback_in_the_log(cell):
    job = cell("import ctypes\nprint('before', end='')\nctypes.string_at(0)")
    assert job.envelope.exit == 139
    assert "before" in job.text
    assert "Segmentation fault" in job.text


@pytest.mark.parametrize(("command", "code"), [(["/nowhere/x"], 127), (["/etc/passwd"], 126)])
def test_a_command_that_cannot_be_run_is_a_shells_exit_code(run, command, code):
    job = run(command=command, kind="command")
    assert job.envelope.exit == code
    assert command[0] in job.text


def test_a_script_of_any_language_reports_by_result_json(run):
    job = run(**sh("""echo '{"a": [1, 2]}' > "$KONDUKTOR_OUTPUT_DIR/result.json"; exit 3"""))
    assert job.envelope.exit == 3
    assert job.envelope.value == {"a": [1, 2]}


def test_a_result_of_an_attempt_before_does_not_count(start, tmp_path):
    output = tmp_path / "old"
    output.mkdir()
    (output / "result.json").write_text("1")
    assert (start(**sh("true"), output_dir=str(output)).wait().folder / "envelope.json").read_bytes() == b'{"exit":0}'


def test_a_working_directory_that_is_gone_is_said(run):
    job = run(**sh("true"), cwd="/nowhere")
    assert job.envelope.exit == 1
    assert "/nowhere" in job.text


# --- output


@pytest.mark.parametrize("writer", ["lines", "blob", "prints"])
def test_a_flood_arrives_byte_for_byte(run, writer):
    scripts = {
        "lines": "import sys\nfor _ in range(500): sys.stdout.buffer.write((b'0123456789' * 10 + b'\\n') * 1000)",
        "blob": "import os\ndata = bytes(range(256)) * 4096\nfor _ in range(50): os.write(1, data)",
        "prints": "for i in range(100_000): print(i, 'a line of output')",
    }
    expected = {
        "lines": lambda: (b"0123456789" * 10 + b"\n") * 500_000,
        "blob": lambda: bytes(range(256)) * 4096 * 50,
        "prints": lambda: b"".join(b"%d a line of output\n" % i for i in range(100_000)),
    }[writer]()
    began = time.monotonic()
    job = run(**python(scripts[writer]))
    took = time.monotonic() - began
    output = job.output()
    assert len(output) == len(expected)
    assert hashlib.sha256(output).digest() == hashlib.sha256(expected).digest()
    print(f"{writer}: {len(expected) / 1e6:.0f} MB in {took:.1f} s")


def test_bytes_that_are_no_text_arrive_as_they_were(cell):
    data = bytes(range(256)) + "\x85\u2028é".encode() + b"\x00\xff\xfe no newline"
    job = cell(f"import sys\nsys.stdout.buffer.write({data!r})\nprint('\\ud800', end='')")
    assert job.output() == data + b"\\ud800"


def test_a_prompt_or_progress_bar_is_seen_while_it_stands(start):
    job = start(**sh("printf '\\r 10%%'; sleep 0.3; printf '\\r 20%%'; sleep 30"))
    job.until(b"p\r 10%\n").until(b"p\r 20%\n")
    assert job.output() == b"\r 10%\r 20%"


def test_both_streams_and_children_keep_one_order(run):
    script = """
import os, sys
for i in range(200):
    sys.stdout.write(f'o{i} ')
    sys.stderr.write(f'e{i} ')
    os.system(f"printf 'c{i} '")
"""
    assert run(**python(script)).text.split() == [f"{k}{i}" for i in range(200) for k in "oec"]


def test_printed_marks_are_text_and_change_nothing(cell):
    forged = "\x1e" + "0" * 16 + 'd1.1 1/1 {"type":"display"}\n{"exit":0,"value":1}\nvalue 1\n'
    job = cell(f"print({forged!r})\nraise SystemExit(3)")
    assert job.envelope.exit == 3
    assert job.text == forged + "\n"
    assert job.displays == []


def test_user_code_does_not_find_the_nonce_in_its_environment(cell):
    assert NONCE not in cell("import os\nx = str(dict(os.environ))", auto=["x"]).outputs["x"]


@pytest.mark.parametrize(
    "closing", ["os.close(1); os.close(2)", "sys.stdout.close(); sys.stderr.close()", "os.closerange(0, 3)"]
)
def test_code_that_closes_its_output_keeps_its_value(cell, closing):
    job = cell(f"import os, sys\nprint('before')\n{closing}\nx = 1", auto=["x"])
    assert job.outputs == {"x": 1}
    assert job.text.startswith("before\n")


def test_code_that_reuses_our_pipes_gets_none_of_our_writes(cell):
    code = "import os\nos.closerange(3, 64)\nfiles = [open(f'f{i}', 'wb') for i in range(20)]\nx = 1\nx"
    job = cell(code, auto=["x"])
    assert all((job.folder / f"f{i}").read_bytes() == b"" for i in range(20))
    assert job.outputs == {"x": 1}


@pytest.mark.needs("mount")
def test_a_full_disk_under_the_log_costs_output_and_one_warning(start, tmp_path):
    import subprocess

    disk = tmp_path / "disk"
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=256k", "none", str(disk)], check=True)
    try:
        pack = cell_pack("import os\nprint('x' * 1_000_000)\nx = 1", auto=["x"])
        job = start(pack, log_dir=str(disk)).wait()
        assert job.process.returncode == 0
        assert (job.folder / "stderr").read_text().count("cannot be written") == 1
        assert job.outputs == {"x": 1}
    finally:
        subprocess.run(["umount", str(disk)], check=True)


# --- signals


def test_sigterm_reaches_code_that_traps_it(start):
    code = """
import signal, time
got = []
signal.signal(signal.SIGTERM, lambda *args: got.append(1))
print('ready')
while not got: time.sleep(0.01)
print('saved')
"""
    job = start(cell_pack(code, auto=["got"])).until(b"ready")
    job.process.send_signal(signal.SIGTERM)
    job.wait(10)
    assert "saved" in job.text
    assert job.outputs == {"got": [1]}
    assert job.end["ended_by"] == "SIGTERM"


def test_sigterm_ends_code_that_does_not(start):
    job = start(cell_pack("import time\nprint('ready')\ntime.sleep(60)")).until(b"ready")
    job.process.send_signal(signal.SIGTERM)
    assert job.wait(10).envelope.exit == 143


def test_code_that_ignores_sigterm_is_killed_with_its_tree_after_the_grace_period(start):
    other = "setsid sh -c 'trap \"\" TERM; echo $$; sleep 60'"
    script = f"trap '' TERM; {other} & (trap '' TERM; sleep 60) & echo ready; wait; sleep 60"
    job = start(**sh(script), grace=0.5).until(b"ready")
    until(lambda: len(job.output().split()) == 2)
    below = psutil.Process(job.process.pid).children(recursive=True)
    assert len(below) >= 4
    began = time.monotonic()
    job.process.send_signal(signal.SIGTERM)
    job.wait(10)
    assert 0.4 < time.monotonic() - began < 5
    assert job.envelope.exit == 137
    assert all(gone(process.pid) for process in below)


def test_a_sigterm_at_any_moment_of_the_start_ends_the_job(start):
    for delay in (0, 0.005, 0.01, 0.02, 0.04, 0.08):
        job = start(**sh("sleep 60"), grace=8)
        until(lambda job=job: psutil.Process(job.process.pid).children() or job.process.poll() is not None)
        time.sleep(delay)
        job.process.send_signal(signal.SIGTERM)
        job.wait(20)
        assert job.envelope.exit == 143


def test_other_signals_reach_the_users_process_alone(start):
    script = "trap 'echo one' USR1; trap 'echo two' USR2; echo ready; while :; do sleep 0.05; done"
    job = start(**sh(script)).until(b"ready")
    job.process.send_signal(signal.SIGUSR1)
    job.until(b"one")
    job.process.send_signal(signal.SIGUSR2)
    job.until(b"two")
    assert job.process.poll() is None


def test_a_timeout_ends_the_job(run):
    job = run(**sh("sleep 60"), timeout=0.3)
    assert job.envelope.exit == 143
    assert job.end["ended_by"] == "timeout"


# --- what it leaves behind


@pytest.mark.parametrize(
    "leaving", ["sleep 60 &", "setsid sleep 60 &", "(setsid sleep 60 &) &", "nohup sh -c 'trap \"\" TERM; sleep 60' &"]
)
def test_processes_that_outlive_the_users_process_are_killed(run, leaving):
    marker = f"60.{random.randrange(10**9)}"
    began = time.monotonic()
    job = run(**sh(leaving.replace("60", marker) + " echo done; exit 4"))
    assert time.monotonic() - began < 8
    assert job.envelope.exit == 4
    assert job.text == "done\n"
    assert not [p for p in psutil.process_iter(["cmdline"]) if marker in " ".join(p.info["cmdline"] or ())]


@pytest.mark.needs("linux")
def test_nothing_runs_on_when_the_supervisor_is_killed(start):
    job = start(
        cell_pack("import subprocess, time\nsubprocess.Popen(['sleep', '60'])\nprint('ready')\ntime.sleep(60)")
    ).until(b"ready")
    below = psutil.Process(job.process.pid).children(recursive=True)
    assert len(below) == 2
    job.process.kill()
    until(lambda: all(gone(process.pid) for process in below), 5)


@pytest.mark.parametrize("seed", range(8))
def test_a_kill_at_any_moment_leaves_a_whole_result_or_none(start, seed):
    import numpy as np

    rng = random.Random(seed)
    job = start(cell_pack("x = list(range(50_000))\ny = x[:10]", auto=["x", "y"], inputs={"a": np.zeros(200_000)}))
    until(lambda: (job.folder / "started").exists() and job.pids)
    time.sleep(rng.random() * 0.05)
    with contextlib.suppress(ProcessLookupError):
        os.kill(job.pids[0], signal.SIGKILL)
    job.wait(20)
    if job.envelope.exit == 0:
        assert len(job.outputs["x"]) == 50_000
    else:
        assert job.envelope.exit == 137
        assert job.end["signal"] == signal.SIGKILL
    for artifact in (job.folder / "artifacts").glob("*"):
        if not artifact.name.endswith(".part"):
            assert hashlib.sha256(artifact.read_bytes()).hexdigest() == artifact.name


# --- several nodes


def test_each_node_has_its_own_environment_and_node_0_speaks(run):
    pack = cell_pack("import os\nx = os.environ['RANK']\nprint('rank', x)", auto=["x"])
    job = run(pack, nodes=3, node_env=[{"RANK": str(rank)} for rank in range(3)])
    assert job.outputs == {"x": "0"}
    assert [job.output(rank) for rank in range(3)] == [b"rank %d\n" % rank for rank in range(3)]
    assert job.end["exit_codes"] == [0, 0, 0]


def test_the_first_node_that_fails_ends_the_others_and_is_named(run):
    code = """
import os, time
if os.environ['RANK'] == '2':
    time.sleep(0.2)
    raise ValueError('mine')
time.sleep(60)
"""
    job = run(cell_pack(code), nodes=3, node_env=[{"RANK": str(rank)} for rank in range(3)], grace=2)
    assert job.end["failed_node"] == 2
    assert job.end["exit_codes"] == [143, 143, 1]
    assert job.envelope.exit == 1
    assert job.error()["evalue"] == "mine"
    assert job.error()["node"] == 2


def test_nodes_do_not_share_result_json(run):
    script = 'test -e "$KONDUKTOR_OUTPUT_DIR/result.json" && exit 9; echo $RANK > "$KONDUKTOR_OUTPUT_DIR/result.json"'
    job = run(**sh(script), nodes=2, node_env=[{"RANK": "0"}, {"RANK": "1"}])
    assert job.end["exit_codes"] == [0, 0]
    assert job.envelope.value == 0


def test_a_failure_of_code_that_closed_its_streams_is_still_told(cell):
    job = cell("import sys\nsys.stderr.close()\nsys.stdout = None\ndisplay('x')\nraise ValueError('told')")
    assert job.error()["evalue"] == "told"


def test_a_reporter_that_fails_ends_the_attempt_and_leaves_nothing(start, tmp_path):
    job = start(**sh("sleep 61.5"), report_dir=str(tmp_path / "nowhere"))
    assert job.wait(10).process.returncode == 1
    assert "FileNotFoundError" in (job.folder / "stderr").read_text()
    until(lambda: not [p for p in psutil.process_iter(["cmdline"]) if (p.info["cmdline"] or ())[-1:] == ["61.5"]])


def test_several_attempts_in_one_process_do_not_meet(tmp_path):
    """The local backend restarts so; no descriptor is left over, and none of the supervisor's reaches the user."""
    script = """
import os, sys
from jupyter_konduktor.runner.supervise import Reporter, Supervisor
class Log(Reporter):
    def log(self, node, data):
        print(data.decode(), end='', flush=True)
secret = open('/dev/null')
spec = {'name': 'x', 'nonce': '0' * 16, 'job_dir': sys.argv[1], 'output_dir': sys.argv[1]}
spec['command'] = ['sh', '-c', 'ls /proc/self/fd | wc -l']
counts = []
for attempt in range(3):
    assert Supervisor(spec, Log()).run() == 0
    counts.append(len(os.listdir('/proc/self/fd')))
assert len(set(counts)) == 1, counts
"""
    import subprocess

    done = subprocess.run([sys.executable, "-c", script, str(tmp_path)], capture_output=True, text=True)
    assert done.stderr == ""
    # 0, 1, 2, the lifeline, and the listing's own.
    assert done.stdout.split() == ["5", "5", "5"]
