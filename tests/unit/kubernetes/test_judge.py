"""What is said of real jobs' lives, step by step and to someone who looks only once."""

from __future__ import annotations

from itertools import pairwise

import pytest

from jupyter_konduktor.state import JobState
from tests.unit.kubernetes.lives import NAMES, Watcher, life, shown

PLAIN = ["Queued 0 Submitted", "Starting 0 Admitted", "Running 0 Started", "Succeeded 0 Completed"]
FAILED = [*PLAIN[:3], "Failed 0 Error"]

HISTORIES = {
    "success": PLAIN,
    "no-queue": PLAIN,
    "failure": FAILED,
    "rank-fails": FAILED,
    "segfault": FAILED,
    "oom": [*PLAIN[:3], "Failed 0 OOMKilled"],
    "no-python": [*PLAIN[:2], "Failed 0 StartError"],
    "deadline": [*PLAIN[:3], "Failed 0 DeadlineExceeded"],
    "restarts": [
        *PLAIN[:3],
        *("Starting 1 Restarted", "Running 1 Started", "Starting 2 Restarted", "Running 2 Started"),
        "Succeeded 2 Completed",
    ],
    "used-up": [*PLAIN[:3], "Starting 1 Restarted", "Running 1 Started", "Failed 1 Error"],
    "preempted": [
        *PLAIN[:3],
        *("Queued 1 Preempted", "Starting 1 Admitted", "Running 1 Started", "Succeeded 1 Completed"),
    ],
    "stop-resume": [
        *PLAIN[:3],
        *("Stopped 0 Deactivated", "Queued 1 Resumed", "Starting 1 Admitted", "Running 1 Started"),
        "Succeeded 1 Completed",
    ],
    "stop-queued": [
        *("Queued 0 Pending", "Stopped 0 Deactivated", "Queued 0 Pending", "Starting 0 Admitted", "Running 0 Started"),
        "Succeeded 0 Completed",
    ],
    "max-exec": [
        *("Queued 0 Submitted", "Starting 0 MaximumExecutionTimeExceeded", "Running 0 Started"),
        "Stopped 0 MaximumExecutionTimeExceeded",
    ],
    "konduktor-stop": [*PLAIN[:3], "Stopped 0 StoppedByUser"],
    "drained": [*PLAIN[:3], "Queued 1 LocalQueueStopped"],
    "replaced": [
        *PLAIN[:3],
        *("Queued 1 Disrupted", "Starting 1 Admitted", "Running 1 Started", "Succeeded 1 Completed"),
    ],
    "cancelled": [*PLAIN[:3], "Cancelled 0 CancelledByUser"],
    "check-rejected": ["Queued 0 QuotaReserved", "Stopped 0 AdmissionCheck"],
}

STUCK = {
    "image-missing": ("ImagePullBackOff", 'image localhost:1/nothing/here:1 cannot be pulled: Head "'),
    "image-never": ("ErrImageNeverPull", "is not on the node, and its pull policy is Never"),
    "image-invalid": ("InvalidImageName", "'Bad Image' is not the name of an image"),
    "config-error": ("CreateContainerConfigError", 'secret "absent" not found'),
    "mount-error": ("FailedMount", 'configmap "absent" not found'),
    "unschedulable": ("Unschedulable", "no node can take its pod: 0/1 nodes are available: 1 node(s) didn't match"),
    "pod-security": ("FailedCreate", "the namespace's Pod Security (restricted:latest) refuses its pods: allowPriv"),
    "resource-quota": ("FailedCreate", "ResourceQuota few-pods refuses its pods: requested: pods=1, used: pods=0"),
}

WAITING = {
    "never-fits": (
        "Pending",
        "can never fit: it asks for 16 nvidia.com/gpu, and queue user-queue has 8 in flavor default",
    ),
    "no-queue-there": (
        "Inadmissible",
        "queue absent does not exist; cancel the job and choose another, or have it made",
    ),
    "check-pending": (
        "QuotaReserved",
        "has its quota, and waits for the admission check budget (Pending): the team's budget is asked for",
    ),
    "drained": (
        "LocalQueueStopped",
        (
            "evicted: its queue was stopped; queue user-queue takes no jobs at the moment: "
            "it, or the ClusterQueue behind it, is stopped or not ready"
        ),
    ),
}

ENDS = {
    "success": (0, None, ""),
    "restarts": (0, None, ""),
    "failure": (3, 0, "exit code 3"),
    "rank-fails": (5, 1, "exit code 5 on node 1"),
    "used-up": (4, 0, "exit code 4; its restart is used up"),
    "segfault": (139, 0, "ended by SIGSEGV (segmentation fault)"),
    "oom": (137, 0, "out of memory: it needed more than its limit of 64 MiB; ask for more with --memory"),
    "no-python": (
        128,
        0,
        "the image localhost/konduktor-test/python:3.11 has no python9; jobs need Python 3.8 or later in it",
    ),
    "deadline": (137, None, "ran longer than its limit of 2 s"),
    "cancelled": (None, None, "cancelled by alice"),
}


@pytest.mark.parametrize("table", [False, True], ids=["whole", "table"])
@pytest.mark.parametrize("name", HISTORIES)
def test_history_of_a_life_that_was_watched(name: str, table: bool) -> None:
    assert Watcher(table=table).tell(life(name)).states() == HISTORIES[name]


@pytest.mark.parametrize("name", sorted(set(HISTORIES) - {"replaced", "stop-queued"}))
def test_history_is_the_same_for_who_looks_only_at_the_end(name: str) -> None:
    watcher = Watcher().tell(life(name))
    first = watcher.first()
    assert first is not None
    told = [line.rpartition(" ")[0] for line in HISTORIES[name]]
    if name == "stop-resume":
        told.remove("Stopped 0")  # only that it was queued again can be seen
    assert [line.rpartition(" ")[0] for line in shown(first)] == told
    assert (first.state, first.attempt, first.exit_code, first.failed_node) == (
        watcher.record.state,
        watcher.record.attempt,
        watcher.record.exit_code,
        watcher.record.failed_node,
    )
    assert first.message == watcher.record.message or name == "check-rejected"


@pytest.mark.parametrize("name", ENDS)
def test_end_is_told_with_its_cause(name: str) -> None:
    record = Watcher(table=True).tell(life(name)).record
    assert (record.exit_code, record.failed_node, record.message) == ENDS[name]


@pytest.mark.parametrize("name", STUCK)
def test_start_that_does_not_succeed_says_why(name: str) -> None:
    record = Watcher(table=True).tell(life(name)).record
    reason, text = STUCK[name]
    assert (record.state, record.reason) == (JobState.STARTING, reason)
    assert text in record.message


def test_image_that_cannot_be_pulled_is_one_trouble_though_its_reason_changes() -> None:
    changes = Watcher().tell(life("image-missing")).changes()
    assert [change for change in changes if change[2] == "ImagePullBackOff"] == [("Starting", 0, "ImagePullBackOff")]


@pytest.mark.parametrize("name", WAITING)
def test_waiting_says_what_for(name: str) -> None:
    record = Watcher(table=True).tell(life(name)).record
    assert (record.state, record.reason, record.message) == (JobState.QUEUED, *WAITING[name])


def test_preemption_is_named_and_the_job_waits_again() -> None:
    watcher = Watcher().tell(life("preempted"))
    queued = [record for record in watcher.records if record.state is JobState.QUEUED and record.attempt == 1]
    assert queued[-1].message == (
        "preempted by a job of higher priority in its queue; "
        "waits for capacity: 0.6 more cpu are needed in flavor default"
    )
    watcher = Watcher().tell(life("borrower"))
    assert any("another queue of the cohort has taken its own quota back" in r.message for r in watcher.records)


def test_exit_0_of_a_preempted_pod_is_no_success() -> None:
    """It traps SIGTERM and leaves a result; the job runs again."""
    events = life("preempted")
    ended = [obj for kind, _, obj in events if kind == "pod" and obj["metadata"].get("deletionTimestamp")]
    assert any("terminated" in str(obj["status"]["containerStatuses"]) for obj in ended)
    states = [(record.state, record.attempt) for record in Watcher(table=True).tell(events).records]
    assert (JobState.SUCCEEDED, 0) not in states


def test_job_that_is_being_stopped_runs_until_its_pods_have_ended() -> None:
    changes = Watcher().tell(life("stop-resume")).changes()
    index = changes.index(("Running", 0, "Stopping"))
    assert changes[index + 1] == ("Stopped", 0, "Deactivated")
    for name in ("max-exec", "konduktor-stop"):
        watcher = Watcher()
        for happening in life(name):
            watcher.tell([happening])
            if watcher.records and watcher.record.state is JobState.STOPPED:
                assert not any("running" in str(pod["status"]) for pod in watcher.pods.values())


def test_stop_names_who_did_it() -> None:
    assert Watcher().tell(life("konduktor-stop")).record.message == "stopped by bob"
    assert Watcher().tell(life("max-exec")).record.message == "ran longer than its limit of 2 s"
    rejected = "rejected by the admission check budget: no budget left"
    assert Watcher().tell(life("check-rejected")).record.message == rejected


def test_end_is_known_before_the_jobset_tells_it() -> None:
    for name in ("success", "failure", "segfault", "oom", "used-up"):
        watcher = Watcher(table=True)
        for happening in life(name):
            watcher.tell([happening])
            if watcher.records and watcher.record.state.final:
                break
        assert watcher.jobset is not None
        assert "terminalState" not in watcher.jobset["status"], name


def test_failure_is_not_told_early_while_restarts_are_left() -> None:
    for record in Watcher(table=True).tell(life("restarts")).records:
        assert record.state is not JobState.FAILED


def test_job_of_several_nodes_is_over_only_when_its_jobset_says_so() -> None:
    for table in (False, True):
        watcher = Watcher(table=table)
        for happening in life("rank-fails"):
            watcher.tell([happening])
            if watcher.records and watcher.record.state.final:
                break
        assert watcher.jobset is not None
        assert watcher.jobset["status"]["terminalState"] == "Failed"


def test_deleted_job_is_gone_unless_it_was_cancelled() -> None:
    watcher = Watcher().tell(life("deleted"))
    assert watcher.lost
    assert watcher.record.state is JobState.RUNNING
    changes = Watcher().tell(life("cancelled")).changes()
    assert changes[-2:] == [("Running", 0, "Deleting"), ("Cancelled", 0, "CancelledByUser")]


def test_restart_says_what_the_attempt_before_came_to() -> None:
    record = Watcher().tell(life("restarts")).record
    told = [change.message for change in record.history if change.reason == "Restarted"]
    assert told == ["attempt 1 failed: exit code 1", "attempt 2 failed: exit code 1"]


@pytest.mark.parametrize("name", NAMES)
def test_times_and_versions_never_decrease_and_ends_stay(name: str) -> None:
    records = Watcher(table=True).tell(life(name)).records
    for before, after in pairwise(records):
        times = [change.time for change in after.history]
        assert times == sorted(times)
        assert after.version >= before.version
        if before.state.final:
            assert after == before
        elif (before.state, before.reason, before.message) != (after.state, after.reason, after.message):
            assert after.version > before.version


@pytest.mark.parametrize("name", NAMES)
def test_last_transition_is_the_state(name: str) -> None:
    for record in Watcher().tell(life(name)).records:
        last = record.history[-1]
        assert (last.state, last.reason, last.message, last.attempt) == (
            record.state,
            record.reason,
            record.message,
            record.attempt,
        )
        assert record.created == record.history[0].time
