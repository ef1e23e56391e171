"""What becomes of a job: its states, its exit, its result, its environment."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

import pytest

from jupyter_konduktor.errors import BackendError, InvalidTaskError, JobLostError, JobNotFoundError
from jupyter_konduktor.runner.envelope import MISSING
from jupyter_konduktor.state import JobRecord, JobState

if TYPE_CHECKING:
    from tests.contract.conftest import Harness


def test_submit_gives_a_record_that_get_and_list_know(jobs: Harness) -> None:
    record = jobs.backend.submit(jobs.task("true", name="train"), None, key="k", origin={"cell": 3})
    assert record.name.startswith("train-")
    assert record.backend == jobs.backend.name
    assert record.kind == "command"
    assert record.spec["command"] == ["sh", "-c", "true"]
    assert record.origin["cell"] == 3
    assert record.history[0].state is JobState.QUEUED
    assert abs(record.created - time.time()) < 60
    assert jobs.backend.get(record.name).uid == record.uid
    assert [found.uid for found in jobs.backend.list()] == [record.uid]


def test_list_is_in_order_of_submission(jobs: Harness) -> None:
    made = [jobs.submit("true").name for _ in range(4)]
    assert [record.name for record in jobs.backend.list()] == made


def test_unknown_job_is_an_error_of_its_own(jobs: Harness) -> None:
    for ask in (jobs.backend.get, jobs.backend.cancel, jobs.backend.stop, jobs.backend.resume, jobs.backend.read_log):
        with pytest.raises(JobNotFoundError, match="nobody-xyz"):
            ask("nobody-xyz")


def test_success_passes_through_the_states_in_order(jobs: Harness) -> None:
    record = jobs.run("sleep 1.2")  # clusters tell times in whole seconds
    assert record.state is JobState.SUCCEEDED
    assert record.exit_code == 0
    states = [change.state for change in record.history]
    assert states == [JobState.QUEUED, JobState.STARTING, JobState.RUNNING, JobState.SUCCEEDED]
    times = [change.time for change in record.history]
    assert times == sorted(times)
    assert record.started is not None
    assert record.finished is not None
    assert record.finished - record.started >= 0.2


def test_result_json_comes_back_as_the_value(jobs: Harness) -> None:
    record = jobs.run("""printf '{"loss": 0.25}' > "$KONDUKTOR_OUTPUT_DIR/result.json" """)
    envelope = jobs.envelope(record)
    assert (envelope.exit, envelope.value) == (0, {"loss": 0.25})


def test_no_result_is_an_envelope_without_a_value(jobs: Harness) -> None:
    assert jobs.envelope(jobs.run("true")).value is MISSING


def test_exit_code_fails_the_job_and_keeps_its_value(jobs: Harness) -> None:
    record = jobs.run("""echo 7 > "$KONDUKTOR_OUTPUT_DIR/result.json"; exit 3""")
    assert record.state is JobState.FAILED
    assert record.exit_code == 3
    assert "3" in record.message
    envelope = jobs.envelope(record)
    assert (envelope.exit, envelope.value) == (3, 7)


def test_death_by_a_signal_is_named(jobs: Harness) -> None:
    record = jobs.run("kill -SEGV $$")
    assert record.state is JobState.FAILED
    assert record.exit_code == 139
    assert "SIGSEGV" in record.message


def test_command_that_does_not_exist_fails_with_127(jobs: Harness) -> None:
    task = jobs.task("").options(command=["no-such-program-anywhere"])
    record = jobs.wait(jobs.backend.submit(task, None, key="k"))
    assert (record.state, record.exit_code) == (JobState.FAILED, 127)
    assert b"no-such-program-anywhere" in jobs.output(record)


def test_environment_of_the_task_arrives_as_it_is(jobs: Harness) -> None:
    record = jobs.run('printf %s "$A"', env={"A": "a b $HOME $(id) \u00e4"})
    assert jobs.output(record).decode() == "a b $HOME $(id) \u00e4"


def test_nodes_know_their_rank_and_each_other(jobs: Harness) -> None:
    script = (
        'echo $RANK $JOB_COMPLETION_INDEX $NUM_NODES $RESTART_ATTEMPT $NUM_GPUS_PER_NODE "$MASTER_ADDR:$MASTER_PORT"'
    )
    record = jobs.run(script, nodes=2)
    assert record.state is JobState.SUCCEEDED
    lines = [jobs.output(record, node=node).decode().split() for node in (0, 1)]
    assert [line[:5] for line in lines] == [["0", "0", "2", "0", "0"], ["1", "1", "2", "0", "0"]]
    host, port = lines[0][5].split(":")
    assert host
    assert 0 < int(port) < 65536
    assert lines[0][5] == lines[1][5]


def test_torchrun_finds_its_own_names(jobs: Harness) -> None:
    """As `torchrun` reads them where it is given no options."""
    script = 'echo $PET_NNODES $PET_NODE_RANK $PET_NPROC_PER_NODE "$PET_MASTER_ADDR:$PET_MASTER_PORT" $MASTER_ADDR'
    record = jobs.run(script, nodes=2)
    lines = [jobs.output(record, node=node).decode().split() for node in (0, 1)]
    assert [line[:3] for line in lines] == [["2", "0", "1"], ["2", "1", "1"]]
    assert lines[0][3:] == lines[1][3:]
    host, port = lines[0][3].split(":")
    assert host == lines[0][4]
    assert 0 < int(port) < 65536


def test_konduktor_variables_are_set(jobs: Harness) -> None:
    script = 'echo "$KONDUKTOR_JOB_NAME"; test -d "$KONDUKTOR_OUTPUT_DIR" -a -n "$KONDUKTOR_NODENAME"'
    record = jobs.run(script)
    assert record.state is JobState.SUCCEEDED
    assert jobs.output(record).decode().strip() == record.name


def test_node_that_fails_ends_the_others_and_is_named(jobs: Harness) -> None:
    begun = time.monotonic()
    record = jobs.run('if [ "$RANK" = 1 ]; then exit 5; fi; sleep 600', nodes=2)
    assert record.state is JobState.FAILED
    assert "node 1" in record.message
    assert "5" in record.message
    assert time.monotonic() - begun < 30


def test_only_node_0_reports_a_value(jobs: Harness) -> None:
    record = jobs.run('echo $RANK > "$KONDUKTOR_OUTPUT_DIR/result.json"', nodes=2)
    assert jobs.envelope(record).value == 0


def test_envelope_is_there_only_when_the_job_has_ended(jobs: Harness) -> None:
    record = jobs.wait(jobs.submit("exec sleep 600"), JobState.RUNNING)
    assert jobs.backend.read_envelope(record.name) is None


def test_failed_attempts_are_repeated_up_to_max_restarts(jobs: Harness) -> None:
    record = jobs.run('echo "attempt $RESTART_ATTEMPT"; [ "$RESTART_ATTEMPT" = 2 ]', max_restarts=3)
    assert record.state is JobState.SUCCEEDED
    assert record.attempt == 2
    outputs = [jobs.output(record, attempt=attempt) for attempt in range(3)]
    assert outputs == [b"attempt 0\n", b"attempt 1\n", b"attempt 2\n"]
    assert [change.attempt for change in record.history if change.state is JobState.RUNNING] == [0, 1, 2]


def test_job_fails_when_its_restarts_are_used_up(jobs: Harness) -> None:
    record = jobs.run("exit 4", max_restarts=1)
    assert (record.state, record.attempt, record.exit_code) == (JobState.FAILED, 1, 4)
    assert jobs.envelope(record).exit == 4


def test_timeout_stops_the_job_and_says_so(jobs: Harness) -> None:
    record = jobs.wait(jobs.submit("sleep 600", timeout=0.5, max_restarts=5), JobState.STOPPED, JobState.FAILED)
    assert record.state is JobState.STOPPED
    assert record.reason == "MaximumExecutionTimeExceeded"
    assert record.attempt == 0


def test_timeout_counts_over_all_attempts(jobs: Harness) -> None:
    begun = time.monotonic()
    record = jobs.wait(
        jobs.submit("sleep 0.4; exit 1", timeout=1, max_restarts=1000), JobState.STOPPED, JobState.FAILED
    )
    assert record.state is JobState.STOPPED
    assert time.monotonic() - begun < 20


def test_same_key_is_the_same_job(jobs: Harness) -> None:
    first = jobs.submit("echo once", key="the key")
    jobs.wait(first)
    again = jobs.another().submit(jobs.task("echo twice", name="other"), None, key="the key")
    assert again.uid == first.uid
    assert len(jobs.backend.list()) == 1


def test_same_key_from_many_threads_at_once_makes_one_job(jobs: Harness) -> None:
    backends = [jobs.backend, jobs.another()]
    start, made = threading.Barrier(8), []

    def submit(number: int) -> None:
        start.wait()
        made.append(backends[number % 2].submit(jobs.task("true"), None, key="the key"))

    threads = [threading.Thread(target=submit, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({record.uid for record in made}) == 1
    assert len(made) == 8
    assert len(jobs.backend.list()) == 1


def test_impossible_task_is_refused_before_anything_is_made(jobs: Harness) -> None:
    task = jobs.task("true", gpus=999_999_999)
    with pytest.raises(InvalidTaskError) as caught:
        jobs.backend.check(task)
    assert caught.value.field == "gpus"
    with pytest.raises(InvalidTaskError):
        jobs.backend.submit(task, None, key="k")
    assert jobs.backend.list() == []


def test_possible_task_is_checked_without_notes(jobs: Harness) -> None:
    assert jobs.backend.check(jobs.task("true")) == []


@pytest.mark.parametrize("sha256", ["0" * 64, "../../../../etc/passwd", ""])
def test_artifact_that_is_not_there_is_lost(jobs: Harness, sha256: str) -> None:
    record = jobs.run("true")
    with pytest.raises(JobLostError):
        jobs.backend.read_artifact(record.name, {"sha256": sha256, "size": 1, "uri": f"artifact:{sha256}"})


def test_what_is_final_never_changes_again(jobs: Harness) -> None:
    def told(record: JobRecord) -> tuple[object, ...]:
        return record.uid, record.state, record.history, record.exit_code

    for record in (jobs.run("true"), jobs.run("exit 1")):
        before = told(record)
        jobs.backend.cancel(record.name)
        jobs.backend.stop(record.name)
        with pytest.raises(BackendError, match=record.name):
            jobs.backend.resume(record.name)
        assert told(jobs.backend.get(record.name)) == before


def test_jobs_outlive_the_client(jobs: Harness) -> None:
    other = jobs.another()
    record = other.submit(jobs.task("sleep 0.5; echo done"), None, key="k")
    other.close()
    jobs.wait(record)
    assert jobs.output(record) == b"done\n"


def test_nothing_recent_is_garbage(jobs: Harness) -> None:
    record = jobs.run("true")
    assert jobs.backend.collect_garbage(dry_run=True)[0] == 0
    assert jobs.backend.collect_garbage()[0] == 0
    assert jobs.backend.get(record.name).state is JobState.SUCCEEDED
