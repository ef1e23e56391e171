"""Task files: our keys, Konduktor's keys, and the line that says what is wrong with one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from jupyter_konduktor.cli import taskfile
from jupyter_konduktor.errors import InvalidTaskError
from jupyter_konduktor.task import Task

OURS = """
name: train
command: [python, train.py, --lr, "1e-3"]
gpus: H100:8
nodes: 2
memory: 16Gi
env: {SEED: 1}
timeout: 2h
secrets: {HF_TOKEN: hub/token}
"""

KONDUKTOR = """
name: train
num_nodes: 2
resources:
  cpus: 4
  memory: 16
  accelerators: H100:8
  image_id: docker:ghcr.io/team/train:v1
  disk_size: 100
  labels:
    kueue.x-k8s.io/queue-name: user-queue
    kueue.x-k8s.io/priority-class: low-priority
    maxRunDurationSeconds: 3600
  job_config: {max_restarts: 3}
envs: {SEED: 1}
run: |
  echo one
  echo two
"""


def options(tmp_path: Path, text: str, name: str = "task.yaml") -> dict[str, Any]:
    (tmp_path / name).write_text(text)
    return taskfile.read(str(tmp_path / name))


def refused(tmp_path: Path, text: str, name: str = "task.yaml") -> str:
    with pytest.raises(InvalidTaskError) as caught:
        options(tmp_path, text, name)
    return str(caught.value)


def test_our_keys_are_the_options_of_a_task(tmp_path: Path) -> None:
    task = Task.create(**options(tmp_path, OURS))
    assert task.command == ("python", "train.py", "--lr", "1e-3")
    assert (str(task.resources.gpus), task.resources.nodes, task.resources.memory) == ("H100:8", 2, 16 << 30)
    assert (task.timeout, task.env, task.secrets) == (7200, {"SEED": "1"}, {"HF_TOKEN": "hub/token"})


def test_a_konduktor_task_means_the_same_here(tmp_path: Path) -> None:
    task = Task.create(**options(tmp_path, KONDUKTOR))
    assert task.command == ("bash", "-c", "echo one\necho two\n")
    assert task.image == "ghcr.io/team/train:v1"
    assert (str(task.resources.gpus), task.resources.nodes) == ("H100:8", 2)
    assert (task.resources.cpus, task.resources.memory) == (4, 16 << 30)
    assert (task.queue, task.priority, task.timeout, task.max_restarts) == ("user-queue", "low-priority", 3600, 3)
    assert task.env == {"SEED": "1"}


def test_json_is_read_too(tmp_path: Path) -> None:
    assert options(tmp_path, '{"command": ["true"], "name": null}', "task.json") == {"command": ["true"]}


def test_a_table_of_one_accelerator_is_kind_and_count(tmp_path: Path) -> None:
    found = options(tmp_path, "run: 'true'\nresources: {accelerators: {H100: 8}, image_id: python:3.12}")
    assert (found["gpus"], found["image"]) == ("H100:8", "python:3.12")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("comand: [x]", "comand is not a key of a task file; did you mean command?"),
        ("run: x\nresources: {acelerators: 1}", "resources.acelerators is not a key of a task file; did you mean acc"),
        ("run: x\nkind: map", "kind is not a key"),
        ("name: x", "there is nothing to run"),
        ("run: x\ncommand: [x]", "run and command say the same thing"),
        ("run: x\nnodes: 1\nnum_nodes: 2", "nodes and num_nodes say the same thing"),
        ("run: [x]", "run must be a shell script"),
        ("run: x\nfile_mounts: {}", "files of this machine are not sent"),
        ("run: x\nresources: 8", "resources must be a table"),
        ("run: x\nresources: {labels: {team: a}}", "resources.labels: team is not used here"),
        ("run: x\nresources: {job_config: {completions: 2}}", "completions is not used here"),
        ("run: x\nresources: {accelerators: {H100: 1, A100: 1}}", "must name one kind"),
        ("- a", "must be a table of keys"),
        ("", "must be a table of keys"),
        ("a: b: c", "task.yaml:1 is not valid YAML"),
        ("a: !!python/object/apply:os.system [true]", "is not valid YAML"),
    ],
)
def test_what_is_wrong_names_the_file_and_the_key(tmp_path: Path, text: str, message: str) -> None:
    error = refused(tmp_path, text)
    assert "task.yaml" in error
    assert message in error


def test_what_cannot_be_read_is_said(tmp_path: Path) -> None:
    with pytest.raises(InvalidTaskError, match="cannot be read: No such file"):
        taskfile.read(str(tmp_path / "absent.yaml"))
    with pytest.raises(InvalidTaskError, match="cannot be read: Is a directory"):
        taskfile.read(str(tmp_path))
    (tmp_path / "task.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InvalidTaskError, match="is not UTF-8"):
        taskfile.read(str(tmp_path / "task.yaml"))
    assert "is not valid JSON" in refused(tmp_path, "{", "task.json")
    assert "nested too deeply" in refused(tmp_path, "[" * 10000)
