"""Setup commands run before the job's code, and fail as themselves."""

from __future__ import annotations

import signal
from collections.abc import Callable

from tests.unit.runner.conftest import Job, cell_pack

Run = Callable[..., Job]


def test_they_run_in_order_in_the_jobs_directory_with_its_environment(run: Run) -> None:
    setup = ["echo $GREETING > made", "cat made; pwd"]
    job = run(cell_pack("x = open('made').read()", auto=["x"]), setup=setup, env={"GREETING": "hello"})
    assert job.outputs == {"x": "hello\n"}
    assert job.text.splitlines() == [
        "konduktor: setup: echo $GREETING > made",
        "konduktor: setup: cat made; pwd",
        "hello",
        str(job.folder),
    ]


def test_every_node_runs_them(run: Run) -> None:
    job = run(
        command=["true"], kind="command", nodes=2, setup=["echo node $RANK"], node_env=[{"RANK": "0"}, {"RANK": "1"}]
    )
    assert [f"node {node}\n".encode() in job.output(node) for node in range(2)] == [True, True]


def test_a_failure_is_the_setups_and_nothing_else_runs(run: Run) -> None:
    job = run(command=["echo", "the job"], kind="command", setup=["echo one; echo two >&2; exit 7", "echo never"])
    error = job.error()
    assert (error["refused"], error["ename"]) == ("setup", "SetupError")
    assert error["evalue"] == "`echo one; echo two >&2; exit 7` ended with exit code 7"
    assert error["traceback"] == "one\ntwo"
    assert job.envelope.exit == 7
    assert "never" not in job.text
    assert "the job" not in job.text
    assert job.text.endswith("konduktor: the setup failed: `echo one; echo two >&2; exit 7` ended with exit code 7\n")


def test_death_by_a_signal_is_a_failure(run: Run) -> None:
    job = run(command=["true"], kind="command", setup=["kill -9 $$"])
    assert job.envelope.exit == 137
    assert job.error()["refused"] == "setup"


def test_the_failure_of_one_node_is_the_jobs(run: Run) -> None:
    env = [{"RANK": "0"}, {"RANK": "1"}]
    job = run(command=["sleep", "60"], kind="command", nodes=2, setup=["exit $((RANK * 5))"], node_env=env)
    assert (job.end["failed_node"], job.error()["node"], job.envelope.exit) == (1, 1, 5)


def test_last_lines_are_short_and_plain(run: Run) -> None:
    noisy = "for i in $(seq 3000); do printf '\\033[31mline %s\\033[0m \\303\\244\\n' $i; done; exit 1"
    job = run(command=["true"], kind="command", setup=[noisy])
    assert (job.folder / "envelope.json").stat().st_size <= 4096
    assert job.error()["traceback"].splitlines()[-1] == "line 3000 ä"
    assert job.text.count("line") > 3000


def test_a_service_may_stay_and_is_heard(run: Run) -> None:
    service = "(sleep 0.5; echo from the service; sleep 60) &"
    job = run(command=["sh", "-c", "sleep 1.5; echo done"], kind="command", setup=[service], timeout=30)
    assert job.end["exit_codes"] == [0]
    assert job.text.splitlines()[-2:] == ["from the service", "done"]


def test_ending_the_job_ends_them(start: Run) -> None:
    job = start(command=["true"], kind="command", setup=["echo begun; exec sleep 600"]).until(b"begun")
    job.process.send_signal(signal.SIGTERM)
    job.wait(30)
    assert job.end["ended_by"] == "SIGTERM"
    assert job.envelope.exit == 143


def test_a_setup_that_reads_finds_nothing(run: Run) -> None:
    assert run(command=["true"], kind="command", setup=["cat"]).envelope.exit == 0
