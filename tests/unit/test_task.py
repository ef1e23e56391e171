"""Tasks take the spellings a person uses and refuse the rest with one clear error."""

from __future__ import annotations

import math
import re

import pytest

from jupyter_konduktor.errors import InvalidTaskError
from jupyter_konduktor.naming import MAX_NAME, name_from, new_name
from jupyter_konduktor.resources import Gpus
from jupyter_konduktor.spelling import parse_gpus, parse_memory
from jupyter_konduktor.task import Task


def make(**options):
    return Task.create(command=["true"], **options)


@pytest.mark.parametrize(
    ("spelled", "gpus"),
    [
        ("H100:8", Gpus("H100", 8)),
        ("h100:8", Gpus("H100", 8)),
        ("H100", Gpus("H100", 1)),
        ("8", Gpus(None, 8)),
        (8, Gpus(None, 8)),
        ("A100-80GB:2", Gpus("A100-80GB", 2)),
        ("X9000:4", Gpus("X9000", 4)),
        (None, None),
    ],
)
def test_gpus_are_read_in_every_spelling(spelled, gpus):
    assert parse_gpus(spelled) == gpus


@pytest.mark.parametrize(
    ("spelled", "size"),
    [("16Gi", 16 << 30), (16, 16 << 30), (0.5, 1 << 29), ("512Mi", 512 << 20), ("1Ti", 1 << 40), ("2", 2 << 30)],
)
def test_memory_is_gib_unless_it_has_a_unit(spelled, size):
    assert parse_memory(spelled) == size


@pytest.mark.parametrize(
    ("options", "field", "hint"),
    [
        ({"gpus": 0}, "gpus", "leave gpus out"),
        ({"gpus": -1}, "gpus", "count from 1"),
        ({"gpus": 1.5}, "gpus", "H100:8"),
        ({"gpus": True}, "gpus", "H100:8"),
        ({"gpus": "lots"}, "gpus", "known kinds"),
        ({"gpus": "H100:"}, "gpus", "KIND:COUNT"),
        ({"gpus": "H100:0"}, "gpus", "leave gpus out"),
        ({"gpus": "$(id):1"}, "gpus", "KIND:COUNT"),
        ({"memory": "10GB"}, "memory", 'did you mean "10Gi"?'),
        ({"memory": "1e9"}, "memory", "Ki, Mi, Gi or Ti"),
        ({"memory": ""}, "memory", "number of GiB"),
        ({"memory": 0}, "memory", "between"),
        ({"cpus": 0}, "cpus", "above 0"),
        ({"cpus": "many"}, "cpus", "above 0"),
        ({"cpus": math.nan}, "cpus", "above 0"),
        ({"timeout": "nan"}, "timeout", "above 0"),
        ({"timeout": math.inf}, "timeout", "above 0"),
        ({"timeout": -1}, "timeout", "above 0"),
        ({"timeout": 0}, "timeout", "above 0"),
        ({"nodes": 0}, "nodes", "1 to"),
        ({"nodes": 10**6}, "nodes", "1 to"),
        ({"max_restarts": -1}, "max_restarts", "0 to"),
        ({"name": "A_b"}, "name", '"a-b"'),
        ({"name": "x" * 64}, "name", f"at most {MAX_NAME}"),
        ({"name": "-x"}, "name", '"x"'),
        ({"name": "../x"}, "name", "begins with a letter"),
        ({"name": "x\n"}, "name", "lower-case"),
        ({"image": "$(id)"}, "image", "reference"),
        ({"image": "a b"}, "image", "reference"),
        ({"image": "x" * 5000}, "image", "reference"),
        ({"queue": "A queue"}, "queue", "lower-case"),
        ({"queue": "x" * 64}, "queue", "63"),
        ({"env": ["A"]}, "env", "A=1"),
        ({"env": {"1A": "x"}}, "env", "NAME=VALUE"),
        ({"env": {"KONDUKTOR_JOB_NAME": "x"}}, "env", "the job's own"),
        ({"env": ["A=1", "A=2"]}, "env", "twice"),
        ({"secrets": ["HF_TOKEN=nokey"]}, "secrets", "NAME=secret/key"),
        ({"secrets": ["relative/path=s/k"]}, "secrets", "/path=secret/key"),
        ({"secrets": ["/file"]}, "secrets", "/path=secret/key"),
        ({"secrets": ["T=s/k/x"]}, "secrets", "NAME=secret/key"),
        ({"packages": ["a; rm -rf /"]}, "packages", "requirement"),
        ({"volumes": ["data:relative"]}, "volumes", "absolute"),
        ({"volumes": ["data:/a/../b"]}, "volumes", "absolute"),
        ({"volumes": 3}, "volumes", "CLAIM:/path"),
        ({"workdir": ""}, "workdir", "path"),
        ({"topology": 1}, "topology", "required:LABEL"),
        ({"topology": "require:cloud/rack"}, "topology", 'did you mean "required:cloud/rack"?'),
        ({"topology": "required"}, "topology", 'did you mean "required:LABEL"?'),
        ({"topology": "unconstrained:rack"}, "topology", 'did you mean "unconstrained"?'),
        ({"topology": "required:"}, "topology", "key of a label"),
        ({"topology": ["preferred:cloud/a rack"]}, "topology", "key of a label"),
        ({"topology": "exclusive:Cloud/rack"}, "topology", "key of a label"),
        ({"topology": "required:cloud/" + "x" * 64}, "topology", "key of a label"),
        ({"topology": f"required:{'x' * 254}/rack"}, "topology", "key of a label"),
        ({"topology": ["required:rack", "preferred:rack"]}, "topology", "is given once"),
        ({"topology": "exclusive:rack,exclusive:zone"}, "topology", "exclusive is given once"),
    ],
)
def test_a_wrong_value_names_field_value_and_what_is_allowed(options, field, hint):
    with pytest.raises(InvalidTaskError) as caught:
        make(**options)
    assert caught.value.field == field
    assert str(caught.value).startswith(field)
    assert hint in str(caught.value)
    assert len(str(caught.value)) < 500, "an error is one screen even if the value is not"


def test_an_unknown_option_is_told_the_nearest_one():
    with pytest.raises(InvalidTaskError, match=r"did you mean gpus\?"):
        make(gpu=1)


def test_a_huge_number_of_gpus_is_left_to_the_queue_to_refuse():
    assert make(gpus=10**8).resources.gpus == Gpus(None, 10**8)


def test_a_command_is_what_a_command_task_has_and_no_other():
    with pytest.raises(InvalidTaskError, match="command"):
        Task.create(kind="command")
    with pytest.raises(InvalidTaskError, match="command"):
        Task.create(kind="cell", command=["true"])
    with pytest.raises(InvalidTaskError, match="list of words"):
        Task.create(command="echo hello")


def test_a_task_survives_json():
    resources = {"gpus": "H100:8", "nodes": 2, "cpus": "500m", "memory": "16Gi"}
    places = {"image": "python:3.12", "queue": "q", "priority": -5, "volumes": ["data:/data"]}
    rest = {"env": ["A=1=2"], "secrets": ["T", "K=s/k"], "timeout": "2h", "packages": "torch>=2.4 polars"}
    task = make(**resources, **places, **rest, max_restarts=3, topology="required:cloud/rack,exclusive:zone")
    assert Task.from_json(task.to_json()) == task
    assert task.env == {"A": "1=2"}
    assert task.topology == ("required:cloud/rack", "exclusive:zone")
    assert task.packages == ("torch>=2.4", "polars")
    assert task.timeout == 7200


def test_options_change_what_they_name_and_keep_the_rest():
    task = make(gpus="H100:8", memory="1536Mi", queue="q")
    changed = task.options(gpus="H200:4")
    assert changed.resources.gpus == Gpus("H200", 4)
    assert (changed.resources.memory, changed.queue) == (1536 << 20, "q")
    assert task.options(memory=2).resources.memory == 2 << 30


@pytest.mark.parametrize("text", ["Train_Model", "<lambda>", "9lives", "ünïcode", "", "x" * 99, "a--b"])
def test_any_text_becomes_a_valid_name(text):
    assert make(name=name_from(text)).name


def test_job_names_fit_what_jobset_makes_of_them():
    name = new_name("x" * MAX_NAME)
    assert re.fullmatch(r"x+-[a-z0-9]{5}", name)
    assert len(f"{name}-workers-0-9999-abcde") <= 63
    assert len({new_name("a") for _ in range(500)}) > 490


def test_the_nodes_of_a_map_are_its_workers():
    task = Task.create(kind="map", items=10, max_parallel="4", retries=2, max_restarts=3)
    assert (task.resources.nodes, task.retries, task.max_restarts) == (4, 2, 0)
    assert task.options(gpus=1).resources.nodes == 4
    assert Task.create(kind="map", items=3, max_parallel=4).resources.nodes == 3
    assert Task.create(kind="map", items=0, max_parallel=4).resources.nodes == 1
    with pytest.raises(InvalidTaskError, match="runs on one node, not on 2") as refused:
        Task.create(kind="map", items=10, nodes=2)
    assert "max_parallel" in str(refused.value)


def test_a_function_keeps_for_its_map_what_is_of_no_account_for_a_call():
    task = Task.create(kind="function", max_parallel=4, retries=2, nodes=3)
    assert (task.resources.nodes, task.retries) == (3, 0)
    with pytest.raises(InvalidTaskError, match="max_parallel: 0 is not allowed"):
        Task.create(kind="function", max_parallel=0)
