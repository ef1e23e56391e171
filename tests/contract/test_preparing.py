"""What happens before the job's code: setup commands and packages, and how their failure is told apart."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from jupyter_konduktor.errors import PackagesError, SetupError
from jupyter_konduktor.result import Decoder
from jupyter_konduktor.state import JobRecord, JobState
from tests.wheels import served, wheel

if TYPE_CHECKING:
    from tests.contract.conftest import Harness

FETCH = """\
command -v uv || python3 - <<'END'
import os, urllib.request
place = os.path.expanduser("~/.local/bin")
os.makedirs(place, exist_ok=True)
urllib.request.urlretrieve("{url}uv", place + "/uv")
os.chmod(place + "/uv", 0o755)
END
"""
"""The images of these tests have neither uv nor pip."""
SLOW = {"cpus": "200m", "env": {"UV_HTTP_TIMEOUT": "120", "UV_HTTP_CONNECT_TIMEOUT": "120"}}
"""All that the queue has, and patience: with a tenth of a core uv gives a server up that answers at once."""


@pytest.fixture
def host(request: pytest.FixtureRequest, jobs: Harness, tmp_path: Path) -> Iterator[str]:
    """The URL of wheels, which the settings name, and of a program to install them."""
    folder = tmp_path / "served"
    wheel(folder, "small", "2.0")
    wheel(folder, "large", "1.0", needs=["small"])
    (folder / "uv").symlink_to(Path(sys.executable).parent / "uv")
    here = request.getfixturevalue("cluster").address if jobs.backend.name == "kubernetes" else "127.0.0.1"
    with served(folder, here) as url:
        jobs.backend = jobs.another(package_index="none", package_wheels=[url])
        yield url


def error(jobs: Harness, record: JobRecord) -> Exception:
    """Give the error that the job's result is."""
    decoder = Decoder(record.name, lambda reference: jobs.backend.read_artifact(record.name, reference), {})
    with pytest.raises(Exception) as caught:  # noqa: PT011
        decoder.outcome(jobs.backend.get(record.name), jobs.backend.read_envelope(record.name))
    return caught.value


def test_setup_runs_before_the_command_with_its_environment(jobs: Harness) -> None:
    record = jobs.run(
        "cat $PLACE; rm $PLACE",
        setup=['echo "made for $KONDUKTOR_JOB_NAME" > $PLACE'],
        env={"PLACE": "/tmp/made-by-setup"},
    )
    assert record.state is JobState.SUCCEEDED
    assert jobs.output(record).decode().splitlines()[-1] == f"made for {record.name}"


def test_a_failed_setup_is_its_own_reason_and_error(jobs: Harness) -> None:
    record = jobs.run("echo never", setup=["echo looking; echo nothing there >&2; exit 9"])
    assert (record.state, record.reason, record.exit_code) == (JobState.FAILED, "SetupFailed", 9)
    assert record.message == "`echo looking; echo nothing there >&2; exit 9` ended with exit code 9"
    assert b"never" not in jobs.output(record)
    said = error(jobs, record)
    assert isinstance(said, SetupError)
    assert str(said).splitlines()[-2:] == ["looking", "nothing there"]
    assert said.exit_code == 9


def test_a_setup_that_fails_on_one_node_is_told_by_its_number(jobs: Harness) -> None:
    record = jobs.run("sleep 60", nodes=2, setup=['[ "$JOB_COMPLETION_INDEX" = 0 ] || { sleep 1; exit 9; }'])
    assert (record.state, record.reason, record.failed_node) == (JobState.FAILED, "SetupFailed", 1)
    assert record.message.startswith("node 1: `[ ")
    assert isinstance(error(jobs, record), SetupError)


def test_each_attempt_is_set_up(jobs: Harness) -> None:
    record = jobs.run("true", setup=['echo "attempt $RESTART_ATTEMPT"; [ "$RESTART_ATTEMPT" = 1 ]'], max_restarts=1)
    assert record.state is JobState.SUCCEEDED
    assert b"attempt 1\n" in jobs.output(record)


def test_a_job_is_cancelled_as_it_is_set_up(jobs: Harness) -> None:
    record = jobs.submit("true", setup=["echo begun; exec sleep 600"])
    jobs.wait_output(record, b"begun\n")
    jobs.backend.cancel(record.name)
    assert jobs.wait(record).state is JobState.CANCELLED


def test_packages_are_installed_for_the_job(jobs: Harness, host: str) -> None:
    script = "small; python3 -c 'import large, small; print(large.VERSION, small.VERSION)'"
    record = jobs.run(script, setup=[FETCH.format(url=host)], packages=["large"], **SLOW)
    output = jobs.output(record).decode().splitlines()
    assert record.state is JobState.SUCCEEDED, "\n".join(output)
    assert "konduktor: installing large" in output
    assert output[-3].startswith("konduktor: installed 2 packages with uv in ")
    assert output[-2:] == ["2.0", "1.0 2.0"]


def test_a_package_that_is_nowhere_is_its_own_reason_and_error(jobs: Harness, host: str) -> None:
    record = jobs.run("echo never", setup=[FETCH.format(url=host)], packages=["no-such-thing>=2"], **SLOW)
    assert (record.state, record.reason) == (JobState.FAILED, "PackagesFailed")
    assert record.message.startswith("uv could not install no-such-thing>=2 (exit code ")
    assert b"never" not in jobs.output(record)
    said = error(jobs, record)
    assert isinstance(said, PackagesError)
    assert "no-such-thing was not found" in str(said)
