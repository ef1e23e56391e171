"""``jupyter konduktor`` in a process of its own, with real jobs on this machine."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import yaml

from jupyter_konduktor.cli import main

NAME = r"[a-z-]+-\w{5}"


def one_line(done: Any, code: int) -> str:
    """The one line of an error; nothing else was printed."""
    assert (done.returncode, done.stdout) == (code, ""), done
    assert done.stderr.startswith("jupyter konduktor")
    assert done.stderr.count("\n") == 1
    return str(done.stderr)


def test_a_run_shows_the_output_and_ends_with_the_jobs_code(terminal: Any) -> None:
    (terminal.cwd / "task.yaml").write_text("name: hello\nrun: echo out; echo err >&2; exit 7")
    done = terminal.run("run", "task.yaml")
    assert (done.returncode, done.stdout) == (7, "out\nerr\n")
    assert re.fullmatch(r"jupyter konduktor: hello-\w{5} failed after .* s: exit code 7\n", done.stderr)
    done = terminal.run("run", "-", stdin="command: [sh, -c, 'kill -9 $$']")
    assert done.returncode == 128 + signal.SIGKILL
    assert terminal.run("run", "-", stdin="run: 'true'").returncode == 0


def test_a_job_is_found_again_by_its_name(terminal: Any) -> None:
    name = terminal.detach(
        "for i in 1 2 3; do echo $i; done; echo '{\"loss\": 0.5}' > $KONDUKTOR_OUTPUT_DIR/result.json"
    )
    assert json.loads(terminal.ok("result", name)) == {"loss": 0.5}
    assert terminal.ok("logs", name) == "1\n2\n3\n"
    assert terminal.ok("logs", name, "--tail", "1") == "3\n"
    assert terminal.ok("logs", "--follow", name) == "1\n2\n3\n"
    assert terminal.ok("attach", name) == "1\n2\n3\n"
    assert re.search(r"Succeeded +Completed", terminal.ok("events", name))
    assert name in terminal.ok("jobs")
    (listed,) = json.loads(terminal.ok("jobs", "--json", "--all-users"))
    assert (listed["name"], listed["state"], listed["exit_code"]) == (name, "Succeeded", 0)
    assert "there is no node 3" in one_line(terminal.run("logs", name, "--node", "3"), 1)


def test_jobs_are_stopped_resumed_and_cancelled(terminal: Any) -> None:
    name, other = terminal.detach("sleep 600"), terminal.detach("sleep 600", cpus=1000)
    assert terminal.ok("stop", name, other).splitlines() == [
        f"{name} is being stopped; jupyter konduktor resume queues it again",
        f"{other} is being stopped; jupyter konduktor resume queues it again",
    ]
    end = time.monotonic() + 20
    while terminal.ok("jobs").count("Stopped") < 2:
        assert time.monotonic() < end
    assert "2 jobs that are stopped, without quota and kept until ended: " in terminal.ok("gc")
    assert terminal.run("attach", name).returncode == 1
    assert terminal.ok("resume", name) == f"{name} is queued again\n"
    assert terminal.ok("cancel", name, other).count("is being cancelled") == 2
    assert terminal.run("attach", name).returncode == 1
    assert "has ended already: cancelled" in terminal.ok("cancel", name)
    assert f"{name} was cancelled" in one_line(terminal.run("result", name), 1)


def test_an_interrupt_ends_the_wait_and_not_the_job(terminal: Any) -> None:
    (terminal.cwd / "task.yaml").write_text("run: echo started; sleep 600")
    process = terminal.start("run", "task.yaml", stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout.readline() == "started\n"
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=20)
    assert process.returncode == 128 + signal.SIGINT
    found = re.fullmatch(
        rf"(jupyter konduktor: .*\n)?jupyter konduktor: interrupted; ({NAME}) goes on\. jupyter konduktor attach \2 "
        r"follows it, jupyter konduktor cancel \2 ends it\n",
        said,
    )
    assert found, said
    (listed,) = json.loads(terminal.ok("jobs", "--json"))
    assert (listed["name"], listed["state"]) == (found[2], "Running")
    process = terminal.start("logs", "--follow", found[2], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout.readline() == "started\n"
    process.send_signal(signal.SIGINT)
    assert f"{found[2]} goes on" in process.communicate(timeout=20)[1]
    assert process.returncode == 128 + signal.SIGINT
    terminal.environ["JUPYTER_KONDUKTOR_ON_INTERRUPT"] = "cancel"
    process = terminal.start("attach", found[2], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout.readline() == "started\n"
    process.send_signal(signal.SIGINT)
    assert f"{found[2]} is being cancelled" in process.communicate(timeout=20)[1]


def test_a_result_that_is_a_pickle_is_not_loaded(terminal: Any, tmp_path: Path) -> None:
    code = (
        "import jupyter_konduktor as jk\n"
        "class Evil:\n    def __reduce__(self): return (open, ('loaded', 'w'))\n"
        "@jk.remote\ndef make(): return Evil()\n"
        "print(make.submit())"
    )
    (tmp_path / "script.py").write_text(code)
    done = subprocess.run(
        [sys.executable, "script.py"], cwd=tmp_path, env=terminal.environ, capture_output=True, text=True, check=True
    )
    name = done.stdout.strip()
    line = one_line(terminal.run("result", name), 1)
    assert f'jk.attach("{name}").result()' in line
    assert not (tmp_path / "loaded").exists()


def test_a_reader_that_has_enough_is_no_error(terminal: Any) -> None:
    name = terminal.detach("seq 100000")
    terminal.ok("attach", name)
    process = terminal.start("logs", name, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout.readline() == "1\n"
    process.stdout.close()
    assert process.stderr.read() == ""
    assert process.wait(20) == 128 + signal.SIGPIPE
    process.stderr.close()


def test_a_terminal_that_knows_ascii_alone_is_served_too(terminal: Any) -> None:
    name = terminal.detach("true")
    done = terminal.run("jobs", PYTHONIOENCODING="ascii")
    assert done.returncode == 0
    assert name in done.stdout


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["jobz"], "jobz is not a command; did you mean jobs?"),
        (["xyzzy"], "commands: run, jobs, logs"),
        (["run"], "the following arguments are required: FILE"),
        (["logs", "--tial", "3", "x"], "--tial is not an option of jupyter konduktor logs; did you mean --tail?"),
        (["logs", "a", "b"], "b is not an argument of jupyter konduktor logs"),
        (["logs", "a", "--node", "one"], "one must be a whole number"),
        (["jobs", "--backend", "locl"], "must be local or kubernetes; did you mean local?"),
        (["config", "quue"], "quue is not a setting; did you mean queue?"),
        (["run", "absent.yaml"], "absent.yaml cannot be read"),
        (["rbac", "--user", "a", "--group", "b"], "not allowed with argument"),
        (["rbac", "--serviceaccount", "b"], "must be NAMESPACE:NAME"),
        (["rbac", "--namespace", "A b"], "is not the name of a namespace"),
        (["rbac", "--name", "a/b"], "is not the name of a role"),
    ],
)
def test_wrong_usage_is_one_line_and_code_2(words: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    try:
        code: object = main(words)
    except SystemExit as end:
        code = end.code
    out, err = capsys.readouterr()
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert err.startswith("jupyter konduktor")
    assert message in err


def test_a_file_that_means_no_task_is_one_line_and_code_2(terminal: Any) -> None:
    line = one_line(terminal.run("run", "-", stdin="run: x\ncpus: many"), 2)
    assert "cpus is a number of cores" in line


def test_an_unknown_job_is_one_line_and_code_1(terminal: Any) -> None:
    for verb in ("logs", "events", "result", "attach", "cancel", "stop", "resume"):
        assert "there is no job 'absent-12345'" in one_line(terminal.run(verb, "absent-12345"), 1)


def test_a_setting_can_be_given_with_the_command(terminal: Any) -> None:
    table = terminal.ok("config", "namespace", "--namespace", "team")
    assert re.search(r"namespace +team +--namespace", table)
    assert "No jobs." in terminal.ok("jobs", "--backend", "local")


def test_the_doctor_tells_each_thing_and_sends_a_job(terminal: Any) -> None:
    shown = terminal.ok("doctor")
    assert re.search(r"✓ python +3\.\d+\.\d+", shown)
    assert re.search(r"✓ backend +local \(default\)", shown)
    assert re.search(r"✓ kept in +\S+/jobs \(\w+\), .* GiB free", shown)
    assert re.search(r"✓ machine +[\d.]+ cores", shown)
    assert re.search(r"✓ a small job +succeeded in [\d.]+ s \(doctor-\w{5}\)", shown)
    assert "a small job" not in terminal.ok("doctor", "--no-job")


def test_the_doctor_ends_with_1_if_something_is_wrong(terminal: Any) -> None:
    (terminal.cwd / "file").write_text("")
    done = terminal.run("doctor", JUPYTER_KONDUKTOR_LOCAL_DIR=str(terminal.cwd / "file"))
    assert done.returncode == 1
    assert re.search(r"✗ backend +local \(default\): .* is a file", done.stdout)
    assert "Set local_dir" in done.stdout


def test_the_roles_are_yaml_for_kubectl(terminal: Any) -> None:
    printed = terminal.ok("rbac", "--namespace", "team", "--serviceaccount", "hub:alice")
    role, cluster_role, binding, cluster_binding = yaml.safe_load_all(printed)
    kinds = [document["kind"] for document in (role, cluster_role, binding, cluster_binding)]
    assert kinds == ["Role", "ClusterRole", "RoleBinding", "ClusterRoleBinding"]
    assert role["metadata"]["namespace"] == binding["metadata"]["namespace"] == "team"
    assert binding["subjects"] == [{"kind": "ServiceAccount", "name": "alice", "namespace": "hub"}]
    for held, bound in ((role, binding), (cluster_role, cluster_binding)):
        assert bound["roleRef"]["name"] == held["metadata"]["name"]
        assert bound["metadata"]["name"] == f"{held['metadata']['name']}:hub:alice"
    verbs = {rule["resources"][0]: rule["verbs"] for rule in role["rules"] if rule["apiGroups"] == ["jobset.x-k8s.io"]}
    assert "create" in verbs["jobsets"]


def test_the_roles_have_the_name_that_is_given(terminal: Any) -> None:
    documents = list(yaml.safe_load_all(terminal.ok("rbac", "--name", "ml", "--user", "alice@example.com")))
    assert [document["metadata"]["name"] for document in documents] == [
        *("ml", "ml-quota"),
        *("ml:alice@example.com", "ml-quota:alice@example.com"),
    ]
    assert [document["roleRef"]["name"] for document in documents[2:]] == ["ml", "ml-quota"]


def test_roles_for_nobody_are_only_the_roles(terminal: Any) -> None:
    printed = terminal.ok("rbac")
    assert [document["kind"] for document in yaml.safe_load_all(printed)] == ["Role", "ClusterRole"]
    assert printed.startswith("# Nobody is given these roles")


def test_help_and_version_import_nothing_heavy(terminal: Any) -> None:
    code = (
        "import sys\nfrom jupyter_konduktor.cli import main\n"
        "try: main({words})\nexcept SystemExit as end: assert not end.code\n"
        "print('heavy:', sorted({{'kubernetes', 'IPython', 'yaml', 'sqlite3', 'psutil'}} & set(sys.modules)))"
    )
    for words in (["--help"], ["--version"], ["run", "--help"], []):
        done = subprocess.run(
            [sys.executable, "-c", code.format(words=words)],
            env=terminal.environ,
            capture_output=True,
            text=True,
            check=True,
        )
        assert done.stdout.rstrip().endswith("heavy: []")


def test_the_jupyter_command_finds_it(terminal: Any) -> None:
    found = shutil.which("jupyter-konduktor", path=os.path.dirname(sys.executable))  # noqa: PTH120
    assert found, "install the package anew: make test does"
    jupyter = Path(sys.executable).parent / "jupyter"
    done = subprocess.run(
        [jupyter, "konduktor", "--version"], env=terminal.environ, capture_output=True, text=True, check=True
    )
    assert done.stdout.startswith("jupyter_konduktor ")
