"""The magic line: what it accepts, and the one line that says what is wrong with it."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from IPython.core.error import UsageError

from jupyter_konduktor.magics.options import CELL_OPTIONS, COMMANDS, cell_help, command_help, parse_cell, parse_command

NAMESPACE: dict[str, Any] = {"lr": 0.1, "queue": "user queue", "out": Path("/data"), "model": object(), "hidden": 1}


def parsed(line: str) -> dict[str, Any]:
    return parse_cell(line, NAMESPACE, {"hidden"}).values


def refused(line: str) -> str:
    with pytest.raises(UsageError) as caught:
        parse_cell(line, NAMESPACE)
    assert type(caught.value) is UsageError, "IPython prints a traceback for a subclass"
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize(
    ("line", "values"),
    [
        ("", {}),
        ("--gpus H100:8 --nodes 2", {"gpus": "H100:8", "nodes": "2"}),
        ("--gpus=8   --detach", {"gpus": "8", "detach": True}),
        ("""--queue 'a b' --name="c d" """, {"queue": "a b", "name": "c d"}),
        ("--env A=1 --env 'B=two words' --env=C=--x", {"env": ["A=1", "B=two words", "C=--x"]}),
        ("--in -a,-b --in +c --out x,y", {"in": ["-a,-b", "+c"], "out": ["x,y"]}),
        ("--max-restarts 3 --dry-run", {"max_restarts": "3", "dry_run": True}),
        ("-h", {"help": True}),
        ("--workdir C:\\data\\x --nodes 1", {"workdir": "C:\\data\\x", "nodes": "1"}),
        ('--packages "torch>=2,<3 numpy"', {"packages": ["torch>=2,<3 numpy"]}),
        ('--packages "torch>=2.4" polars --quiet', {"packages": ["torch>=2.4", "polars"], "quiet": True}),
        ('--packages sync --setup "make all" --setup=ls', {"packages": ["sync"], "setup": ["make all", "ls"]}),
    ],
)
def test_a_line_is_taken_apart_as_a_shell_would(line: str, values: dict[str, Any]) -> None:
    assert parsed(line) == values


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("--gpu 8", "--gpu is not an option of %%konduktor; did you mean --gpus?"),
        ("-gpus 8", "did you mean --gpus?"),
        ("gpus 8", "gpus is not an option of %%konduktor; did you mean --gpus?"),
        ("--xyzzy", "--help lists them"),
        ("--detach=yes", "--detach takes no value"),
        ("--gpus", "--gpus needs a value: --gpus KIND:COUNT"),
        ("--gpus --detach", "--gpus needs a value"),
        ("--gpus 1 --gpus 2", "--gpus is given twice"),
        ("--detach --detach", "--detach is given twice"),
        ("--queue 'a", "a quote is opened and not closed in: --queue 'a"),
        ("--gpus 1 \\", "a trailing \\ does not continue this line"),
        ("--gpus 1 # two", "# is not an option"),
        ("--name {model}", "{model} is of type object; only texts, numbers and paths"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(line: str, message: str) -> None:
    assert message in refused(line)


@pytest.mark.parametrize(
    ("word", "value"),
    [
        ("{lr}", "0.1"),
        ("$lr", "0.1"),
        ("x-{lr}-$lr", "x-0.1-0.1"),
        ("$queue", "user queue"),
        ("{out}/x", "/data/x"),
        ("$HOME", "$HOME"),
        ("{absent}", "{absent}"),
        ("{1+1}", "{1+1}"),
        ("{lr.real}", "{lr.real}"),
        ("{__import__('os')}", "{__import__(os)}"),
        ("$hidden", "$hidden"),
        ("{}", "{}"),
    ],
)
def test_only_existing_variables_are_put_in_never_expressions(word: str, value: str) -> None:
    """A value with spaces stays one word: what a variable holds can add no option."""
    assert parsed(f"--name {word}") == {"name": value}


CELLS = Path(__file__).parents[2] / "labextension/src/cells"


@pytest.mark.parametrize(("line", "values"), json.loads((CELLS / "__tests__/lines.json").read_text()))
def test_the_form_in_jupyterlab_reads_a_line_as_the_kernel_does(line: str, values: dict[str, Any] | None) -> None:
    """These very lines are read by the extension's own tests."""
    if values is None:
        refused(line)
    else:
        assert parse_cell(line, {}).values == values


def test_the_form_in_jupyterlab_knows_which_options_take_no_value() -> None:
    listed = re.search(r"SWITCHES = \[(.*?)\]", (CELLS / "line.ts").read_text())
    assert listed is not None
    assert re.findall(r"'(--[a-z-]+)'", listed[1]) == [item.flag for item in CELL_OPTIONS if not item.metavar]
    written = re.search(r"FLAGS = \[(.*?)\]", (CELLS / "fields.ts").read_text(), re.DOTALL)
    assert written is not None
    assert set(re.findall(r"'(--[a-z-]+)'", written[1])) <= {item.flag for item in CELL_OPTIONS}


def test_every_option_is_in_the_help() -> None:
    for option in CELL_OPTIONS:
        assert f"{option.flag} {option.metavar}".rstrip() in cell_help()
    for command in COMMANDS:
        assert command.name in command_help()
        assert command.text in command_help(command.name)


def test_commands_take_their_arguments() -> None:
    command, values = parse_command("logs digits-7fq2x --tail 5", {})
    assert (command.name, values.arguments, values.values) == ("logs", ["digits-7fq2x"], {"tail": "5"})
    assert parse_command("cancel a b", {})[1].arguments == ["a", "b"]
    assert parse_command("cancel $job", {"job": "digits-7fq2x"})[1].arguments == ["digits-7fq2x"]
    assert parse_command("", {})[0].name == "status"
    assert parse_command("-h", {})[0].name == "help"


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("jobz", "jobz is not a command of %konduktor; did you mean jobs?"),
        ("xyzzy", "commands: status, jobs, logs"),
        ("logs", "%konduktor logs needs NAME, the name of a job"),
        ("logs a b", "b is not an option of %konduktor logs"),
        ("logs a --tali 3", "did you mean --tail?"),
        ("--gpus 8", "options without a command belong to %%konduktor, at the top of a cell"),
        ("jobs --all", "did you mean --all-users?"),
    ],
)
def test_a_wrong_command_is_said_in_one_line(line: str, message: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_command(line, {})
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
