"""A folder as the job's working directory."""

from __future__ import annotations

import random
import zlib
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from jupyter_konduktor.errors import InvalidTaskError
from jupyter_konduktor.state import JobState

if TYPE_CHECKING:
    from tests.contract.conftest import Harness


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "project"
    (made / "src").mkdir(parents=True)
    (made / "src" / "helper.py").write_text("VALUE = 41\n")
    (made / "train.py").write_text("import sys\nsys.path.insert(0, 'src')\nimport helper\nprint(helper.VALUE + 1)\n")
    (made / "run.sh").write_text("#!/bin/sh\nexec python3 train.py\n")
    (made / "run.sh").chmod(0o755)
    (made / "latest").symlink_to("src")
    return made


def test_a_command_runs_in_the_folder(jobs: Harness, folder: Path) -> None:
    record = jobs.run("./run.sh; cat latest/helper.py; echo new > here; cat here", workdir=str(folder))
    assert record.state is JobState.SUCCEEDED
    assert jobs.output(record) == b"42\nVALUE = 41\nnew\n"


def test_setup_runs_in_the_folder_too(jobs: Harness, folder: Path) -> None:
    record = jobs.run("cat made", workdir=str(folder), setup=["sh run.sh > made"])
    assert record.state is JobState.SUCCEEDED
    assert jobs.output(record).splitlines()[-1] == b"42"


def test_each_node_has_it(jobs: Harness, folder: Path) -> None:
    record = jobs.run("./run.sh", workdir=str(folder), nodes=2)
    assert record.state is JobState.SUCCEEDED
    assert [jobs.output(record, node=node) for node in (0, 1)] == [b"42\n"] * 2


def test_what_is_too_much_for_an_environment_variable_gets_there_too(jobs: Harness, folder: Path) -> None:
    data = random.Random(1).randbytes(600_000)
    (folder / "data").write_bytes(data)
    record = jobs.run('python3 -c \'import zlib; print(zlib.crc32(open("data", "rb").read()))\'', workdir=str(folder))
    assert jobs.output(record) == f"{zlib.crc32(data)}\n".encode()


def test_a_folder_that_is_not_there_is_refused_before_anything_is_made(jobs: Harness, folder: Path) -> None:
    with pytest.raises(InvalidTaskError, match="there is no such directory on this machine"):
        jobs.backend.check(jobs.task("true", workdir=str(folder / "none")))
    assert jobs.backend.list() == []
