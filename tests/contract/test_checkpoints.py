"""What an attempt keeps, and the next one finds."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from jupyter_konduktor.state import JobState

if TYPE_CHECKING:
    from tests.contract.conftest import Harness

CRASHES_ONCE = """\
cd $KONDUKTOR_CHECKPOINT_DIR || mkdir -p $KONDUKTOR_CHECKPOINT_DIR && cd $KONDUKTOR_CHECKPOINT_DIR
echo "attempt $RESTART_ATTEMPT finds: $(ls)"
[ -e model ] && exec cat model
echo "of attempt $RESTART_ATTEMPT" > model
exit 3
"""


@pytest.fixture(autouse=True)
def _store(jobs: Harness, monkeypatch: pytest.MonkeyPatch) -> None:
    jobs.with_store(monkeypatch)


def test_the_next_attempt_finds_what_one_has_kept(jobs: Harness) -> None:
    record = jobs.run(CRASHES_ONCE, max_restarts=1)
    assert record.state is JobState.SUCCEEDED
    assert (record.attempt, jobs.output(record).splitlines()[-2:]) == (1, [b"attempt 1 finds: model", b"of attempt 0"])


def test_a_job_that_was_stopped_finds_it_when_it_is_resumed(jobs: Harness) -> None:
    script = CRASHES_ONCE.replace("exit 3", "echo kept; sleep 600")
    record = jobs.submit(script)
    jobs.wait_output(record, b"kept\n")
    jobs.backend.stop(record.name)
    jobs.wait(record, JobState.STOPPED)
    jobs.backend.resume(record.name)
    assert jobs.wait(record).state is JobState.SUCCEEDED
    assert jobs.output(record).splitlines()[-1] == b"of attempt 0"
