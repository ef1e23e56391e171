"""The magics in a real kernel, as far as no job is needed: options, help, settings, completion, loading."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest


def usage_error(shown: Any) -> str:
    """The one line a usage error prints; the cell fails and there is no traceback."""
    assert not shown.ok
    assert shown.reply["ename"] == "UsageError"
    assert "Traceback" not in shown.text
    line = shown.stream("stderr").strip()
    assert "\n" not in line
    return str(line.removeprefix("UsageError: "))


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("--gpu 8", "--gpu is not an option of %%konduktor; did you mean --gpus?"),
        ("--gpus H100:x", "gpus: 'H100:x' is not allowed; gpus is KIND:COUNT"),
        ("--nodes 0", "nodes is a whole number from 1 to"),
        ("--name Bad_Name", 'for example "bad-name"'),
        ("--backend locl", "must be local or kubernetes; did you mean local?"),
        ("--timeout soon", "timeout is a number of seconds above 0"),
        ("--env A", "env is NAME=VALUE"),
        ("--volume claim", "volume is CLAIM:/path"),
        ("--secret 1x", "secret is NAME, NAME=secret/key or /path=secret/key"),
        ("--in absent", "--in absent: there is no such variable"),
        ("--out a.b", "--out a.b: 'a.b' is not a name"),
        ("--config absent.yaml", "there is no settings file absent.yaml"),
        ("--memory 16Gb", 'did you mean "16Gi"?'),
    ],
)
def test_a_wrong_option_is_one_line_and_fails_the_cell(kernel: Any, line: str, message: str) -> None:
    assert message in usage_error(kernel.run(f"%%konduktor {line}\nx = 1"))


def test_help_needs_no_body_and_runs_nothing(kernel: Any) -> None:
    for cell in ("%%konduktor --help", "%%konduktor -h\n", "%%konduktor --help\nnever_run = 1", "%konduktor help"):
        shown = kernel.run(cell)
        assert shown.ok
        assert "--max-restarts N" in shown.stream()
        assert ("%konduktor [command]" in shown.stream()) == (cell == "%konduktor help")
    assert "--tail N" in kernel.run("%konduktor logs --help").stream()
    assert "%konduktor logs NAME: what a job wrote" in kernel.run("%konduktor help logs").stream()
    assert kernel.value("'never_run' in globals()") == "False"


def test_the_question_mark_shows_the_options(kernel: Any) -> None:
    reply = kernel.run("%%konduktor?").reply
    assert "--max-restarts N" in str(reply["payload"])


def test_a_wrong_command_is_one_line(kernel: Any) -> None:
    assert "did you mean jobs?" in usage_error(kernel.run("%konduktor jobz"))
    assert "%konduktor logs needs NAME" in usage_error(kernel.run("%konduktor logs"))


def test_an_unknown_job_is_one_message_without_our_frames(kernel: Any) -> None:
    shown = kernel.run("%konduktor cancel absent-12345")
    assert shown.reply["ename"] == "JobNotFoundError"
    assert "absent-12345" in shown.error
    assert "/jupyter_konduktor/" not in shown.error


def test_the_doctor_fills_one_table_as_it_finds_things(kernel: Any) -> None:
    shown = kernel.run("%konduktor doctor --no-job")
    assert shown.ok
    (table,) = shown.displays
    assert shown.messages > len(table["text/plain"].splitlines()), "each finding is an update"
    for what in ("python", "backend", "kept in", "machine", "GPUs", "jobs"):
        assert f" {what} " in table["text/plain"]
    assert "a small job" not in table["text/plain"]
    assert "<td" in table["text/html"]
    assert "must be local or kubernetes" in usage_error(kernel.run("%konduktor doctor --backend locl"))


def test_the_doctor_says_why_a_backend_cannot_be_used(kernel: Any) -> None:
    (kernel.cwd / "absent").write_text("")
    assert kernel.run(f"%config KonduktorMagics.local_dir = {str(kernel.cwd / 'absent')!r}").ok
    (table,) = kernel.run("%konduktor doctor").displays
    assert kernel.run("%config KonduktorMagics.local_dir = None").ok
    assert "✗  backend  local (default): " in table["text/plain"]
    assert "Set local_dir to a directory of yours" in table["text/plain"]


def test_config_sets_a_value_for_this_kernel(kernel: Any) -> None:
    assert kernel.run("%config KonduktorMagics.queue = 'team-a'").ok
    row = kernel.run("%konduktor config queue").displays[0]
    assert "team-a" in row["text/plain"]
    assert "%config" in row["text/plain"]
    assert "<td" in row["text/html"]
    assert kernel.run("%config KonduktorMagics.queue = None").ok
    assert "default" in kernel.run("%konduktor config queue").displays[0]["text/plain"]


def test_a_wrong_config_value_is_said_and_not_kept(kernel: Any) -> None:
    kernel.run("%config KonduktorMagics.nodes = 2")
    shown = kernel.run("%config KonduktorMagics.nodes = 'many'")
    assert "nodes is a whole number" in shown.text
    assert kernel.value("get_ipython().magics_manager.registry['KonduktorMagics'].nodes") == "2"
    kernel.run("%config KonduktorMagics.nodes = None")


def test_config_shows_every_setting_with_its_source(kernel: Any) -> None:
    (kernel.cwd / "pyproject.toml").write_text('[tool.konduktor]\nimage = "python:3.12"\n')
    try:
        table = kernel.run("%konduktor config").displays[0]["text/plain"]
    finally:
        (kernel.cwd / "pyproject.toml").unlink()
    assert "python:3.12" in table
    assert "pyproject.toml:2" in table
    assert "did you mean queue?" in usage_error(kernel.run("%konduktor config quue"))


def test_a_broken_project_file_is_one_line_with_its_place(kernel: Any) -> None:
    (kernel.cwd / "pyproject.toml").write_text("[tool.konduktor]\n\nqueu = 'x'\n")
    try:
        error = usage_error(kernel.run("%%konduktor\nx = 1"))
    finally:
        (kernel.cwd / "pyproject.toml").unlink()
    assert "pyproject.toml:3) is not a setting; did you mean queue?" in error


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("x = 1\n%pip install torch", "line 3: %pip does not work in a job: name packages with --packages"),
        ("\nx = = 1", "line 3: invalid syntax: x = = 1"),
        ("%%konduktor\nx = 1", "line 2: %%konduktor does not work in a job"),
    ],
)
def test_a_cell_that_cannot_run_is_refused_by_line(kernel: Any, body: str, message: str) -> None:
    assert message in usage_error(kernel.run(f"%%konduktor\n{body}"))


def test_the_line_is_expanded_by_us_and_never_evaluated(kernel: Any) -> None:
    kernel.run("n, evil = 'Bad_{x}', []")
    assert "'Bad_{x}'" in usage_error(kernel.run("%%konduktor --name {n}\nx = 1"))
    assert "'{evil.append(1)}'" in usage_error(kernel.run("%%konduktor --name {evil.append(1)}\nx = 1"))
    assert kernel.value("evil") == "[]"


def test_options_are_completed_on_the_magic_line(kernel: Any) -> None:
    assert kernel.complete("%%konduktor --g") == ["--gpus"]
    assert set(kernel.complete("%%konduktor --gpus 1 --")) >= {"--queue", "--detach", "--env"}
    assert "--gpus" not in kernel.complete("%%konduktor --gpus 1 --"), "it may stand only once"
    assert "--env" in kernel.complete("%%konduktor --env A=1 --e")
    cell = "%%konduktor --g\nimport os"
    assert kernel.complete(cell, len("%%konduktor --g")) == ["--gpus"]


def test_values_are_completed_where_they_are_known(kernel: Any) -> None:
    assert kernel.complete("%%konduktor --backend ") == ["local", "kubernetes"]
    assert kernel.complete("%%konduktor --topology re") == ["required:"]
    assert "H100" in kernel.complete("%%konduktor --gpus H")
    assert kernel.complete("%%konduktor --gpus=H2") == ["H200"]
    kernel.run("weights_a, weights_b = 1, 2")
    assert kernel.complete("%%konduktor --in weights_a,wei") == ["weights_a", "weights_b"]
    assert kernel.complete("%konduktor ca") == ["cancel"]
    assert kernel.complete("x = 1\n%konduktor logs a --t") == ["--tail"]


def test_completion_of_the_body_is_untouched(kernel: Any) -> None:
    kernel.run("weights_a = 1")
    cell = "%%konduktor --gpus 1\nweights_"
    assert "weights_a" in kernel.complete(cell)
    assert not any(match.startswith("--") for match in kernel.complete("%%konduktor\nx = -"))


def test_loading_and_unloading_twice_changes_nothing(kernel: Any) -> None:
    count = """
    (len(get_ipython().configurables), len(get_ipython().Completer.custom_matchers),
     len(get_ipython().input_transformers_cleanup), 'konduktor' in get_ipython().magics_manager.magics['cell'])
    """.replace("\n", "")
    loaded = kernel.value(count.strip())
    kernel.run("%load_ext jupyter_konduktor")
    kernel.run("import jupyter_konduktor; jupyter_konduktor.load_ipython_extension(get_ipython())")
    assert kernel.value(count.strip()) == loaded
    kernel.run("%unload_ext jupyter_konduktor")
    assert kernel.run("jupyter_konduktor.unload_ipython_extension(get_ipython())").ok
    gone = kernel.value(count.strip())
    assert gone.endswith("False)")
    assert gone != loaded
    assert "not found" in kernel.run("%%konduktor\nx = 1").text
    kernel.run("%load_ext jupyter_konduktor")
    assert kernel.value(count.strip()) == loaded


def test_loading_is_quick_and_imports_nothing_heavy(kernel: Any) -> None:
    """The budget is 150 ms; measured in an interpreter of its own, with IPython there as in a kernel."""
    code = (
        "import time, sys, json; from IPython.core.interactiveshell import InteractiveShell as S; s = S.instance();"
        "t = time.perf_counter(); s.run_line_magic('load_ext', 'jupyter_konduktor');"
        "t = time.perf_counter() - t; print(json.dumps([t, sorted(sys.modules)]))"
    )
    times = []
    for _ in range(3):
        done = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, env=kernel.environ, check=True
        )
        took, modules = json.loads(done.stdout.splitlines()[-1])
        times.append(took)
    assert min(times) < 0.150
    heavy = {"numpy", "pandas", "kubernetes", "yaml", "cloudpickle", "ipywidgets", "tornado", "matplotlib", "psutil"}
    assert not heavy & set(modules)
