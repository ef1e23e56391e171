"""Where an envelope comes from, and from which pod it may come."""

from __future__ import annotations

import json
from typing import Any

import pytest

from jupyter_konduktor.backends.kubernetes import words
from jupyter_konduktor.backends.kubernetes.judging.judge import noted
from jupyter_konduktor.backends.kubernetes.results import envelope, is_own, outcome, worker
from jupyter_konduktor.errors import (
    JobFailedError,
    JobLostError,
    MalformedResultError,
    NoResultReportedError,
    ResultTooLargeError,
)
from jupyter_konduktor.result import Decoder
from jupyter_konduktor.state import JobRecord, JobState, Transition

VALUE = b'{"exit":0,"value":42}'


def jobset(*, condition: tuple[str, Any] | None = None, restarts: int = 0, max_restarts: int = 0, **spec: Any) -> Any:
    conditions = [{"type": "Completed", "status": "True"}]
    if condition is not None:
        reason, message = condition
        text = message if isinstance(message, str) else json.dumps(message)
        conditions.append({"type": "KonduktorResult", "status": "True", "reason": reason, "message": text})
    workers = {"name": "workers", "replicas": 1, "template": {"spec": {"parallelism": 1, "completions": 1}}}
    return {
        "metadata": {"name": "js", "uid": "js-uid"},
        "spec": {"replicatedJobs": [workers], "failurePolicy": {"maxRestarts": max_restarts}, **spec},
        "status": {"conditions": conditions, "restarts": restarts},
    }


def pod(message: bytes | str | None = VALUE, code: int = 0, **changes: Any) -> Any:
    text = message.decode() if isinstance(message, bytes) else message
    ended: dict[str, Any] = {"exitCode": code, "reason": changes.pop("reason", "Completed" if code == 0 else "Error")}
    ended |= {"message": text} if text is not None else {}
    labels = {
        "jobset.sigs.k8s.io/jobset-uid": "js-uid",
        "jobset.sigs.k8s.io/jobset-name": "js",
        "jobset.sigs.k8s.io/replicatedjob-name": "workers",
        "jobset.sigs.k8s.io/job-index": "0",
        "jobset.sigs.k8s.io/restart-attempt": str(changes.pop("attempt", 0)),
        "batch.kubernetes.io/job-completion-index": str(changes.pop("node", 0)),
    }
    labels |= changes.pop("labels", {})
    owner = {"kind": "Job", "name": "js-workers-0", "uid": "job-uid", "controller": True, **changes.pop("owner", {})}
    containers = [
        {"name": "a-sidecar", "state": {"terminated": {"exitCode": 0, "message": '{"exit":0,"value":"sidecar"}'}}},
        {"name": "konduktor-container", "state": {"terminated": ended}},
    ]
    conditions = [{"type": "DisruptionTarget", "status": "True"}] if changes.pop("disrupted", False) else []
    metadata = {
        "name": changes.pop("name", "js-workers-0-0-abcde"),
        "uid": "pod-uid",
        "labels": labels,
        "ownerReferences": [owner],
        "creationTimestamp": changes.pop("created", "2024-01-01T00:00:00Z"),
    }
    if changes.pop("deleted", False):
        metadata["deletionTimestamp"] = "2024-01-01T00:00:00Z"
    running = changes.pop("running", False)
    assert not changes
    if running:
        containers[1]["state"] = {"running": {}}
    return {"metadata": metadata, "status": {"containerStatuses": containers, "conditions": conditions}}


def test_envelope_is_the_termination_message_of_our_container() -> None:
    found = outcome(jobset(), [pod()])
    assert (found.data, found.source) == (VALUE, "pod")


@pytest.mark.parametrize(
    ("condition", "expected"),
    [
        (("Succeeded", {"a": [1, "ü"]}), {"exit": 0, "value": {"a": [1, "ü"]}}),
        (("Succeeded", "null"), {"exit": 0, "value": None}),
        (("Succeeded", {"error": "NoResult"}), {"exit": 0}),
        (("Failed", {"exit": 3}), {"exit": 3}),
        (("ResultTooLarge", {"size": 5000}), {"exit": 0, "error": "ResultTooLarge", "size": 5000}),
        (("MalformedResult", {"reason": "no JSON"}), {"exit": 0, "error": "MalformedResult"}),
    ],
)
def test_condition_is_an_envelope_as_well(condition: tuple[str, Any], expected: Any) -> None:
    found = outcome(jobset(condition=condition), [])
    assert found.source == "condition"
    assert json.loads(found.data or b"") == expected


def test_condition_goes_before_the_pod_but_not_for_a_failure() -> None:
    assert envelope(jobset(condition=("Succeeded", "1")), [pod()]) == b'{"exit":0,"value":1}'
    error = b'{"exit":3,"value":{"$konduktor":{"codec":"error"}}}'
    assert envelope(jobset(condition=("Failed", {"exit": 3})), [pod(error, 3)]) == error
    assert envelope(jobset(condition=("Failed", {"error": "Failed", "reason": "x"})), [pod(error, 3)]) == error
    assert envelope(jobset(condition=("Failed", {"error": "Failed", "reason": "x"})), []) is None


@pytest.mark.parametrize("message", ["", "{", "[" * 100_000, "{'a': 1}"])
def test_condition_that_cannot_be_read_is_none(message: str) -> None:
    assert envelope(jobset(condition=("Succeeded", message)), [pod()]) == VALUE


# --- whose pod


@pytest.mark.parametrize(
    "forged",
    [
        pod(owner={"kind": "ReplicaSet"}),
        pod(owner={"controller": False}),
        pod(owner={"name": "forged"}),
        pod(owner={"name": "js-workers-1"}),
        pod(labels={"jobset.sigs.k8s.io/jobset-uid": "another"}),
        pod(labels={"jobset.sigs.k8s.io/replicatedjob-name": "other"}, owner={"name": "js-other-0"}),
        pod(node=1),
        pod(attempt=1),
        pod(attempt=7),
    ],
)
def test_pod_that_is_not_worker_0_of_the_attempt_says_nothing(forged: Any) -> None:
    assert envelope(jobset(), [forged]) is None
    assert envelope(jobset(), [forged, pod(b'{"exit":0,"value":1}')]) == b'{"exit":0,"value":1}'


def test_forged_job_is_found_out_where_jobs_can_be_read() -> None:
    """A Job of anybody's may have the name and its pods the labels, but not our JobSet's uid as its controller's."""
    forged = pod(b'{"exit":0,"value":"forged"}', owner={"uid": "forged"}, created="2025-01-01T00:00:00Z")
    owners = {"job-uid": "js-uid", "forged": "another"}
    assert envelope(jobset(), [forged, pod()], owners) == VALUE
    assert not is_own(jobset(), forged, owners)
    assert not is_own(jobset(), forged, {"forged": ""})
    assert is_own(jobset(), forged, {"forged": None}), "where Jobs may not be read, names are all there is"
    assert not is_own(jobset(), pod(owner={"name": "js-workers-1"}), owners)


def test_last_attempt_speaks_and_in_it_the_pod_that_was_not_disrupted() -> None:
    old = pod(b'{"exit":0,"value":"old"}', attempt=0)
    new = pod(b'{"exit":0,"value":"new"}', attempt=1)
    assert envelope(jobset(restarts=1), [old, new]) == b'{"exit":0,"value":"new"}'
    drained = pod(b'{"exit":0,"value":"drained"}', disrupted=True, name="x", created="2024-01-02T00:00:00Z")
    assert envelope(jobset(), [drained, pod()]) == VALUE
    again = pod(b'{"exit":0,"value":"again"}', name="y", created="2024-01-03T00:00:00Z")
    assert envelope(jobset(), [pod(), again, drained]) == b'{"exit":0,"value":"again"}'
    assert worker(jobset(), [drained]) is drained


# --- what is left of what went wrong

DECODER = Decoder("js", lambda reference: memoryview(b""), {})


def decoded(data: bytes | None, code: int) -> Any:
    state = JobState.FAILED if code else JobState.SUCCEEDED
    return DECODER.outcome(JobRecord("js", "u", "kubernetes", state, exit_code=code, message="said"), data).value


def test_process_killed_while_it_wrote_has_left_no_result() -> None:
    found = outcome(jobset(), [pod('{"exit":0,"val', 137, reason="OOMKilled")])
    assert found.data is None
    with pytest.raises(JobFailedError) as caught:
        decoded(found.data, 137)
    assert caught.value.exit_code == 137


def test_process_killed_before_it_wrote_has_left_none_either() -> None:
    found = outcome(jobset(), [pod(None, 137, reason="OOMKilled")])
    assert found.data is None
    assert "OOMKilled, 137" in found.note


def test_exit_0_without_a_word_is_no_result_and_with_a_wrong_one_malformed() -> None:
    with pytest.raises(NoResultReportedError):
        decoded(envelope(jobset(), [pod(None)]), 0)
    with pytest.raises(MalformedResultError):
        decoded(envelope(jobset(), [pod("done!")]), 0)
    found = outcome(jobset(), [pod('{"exit":0,"value":"' + "x" * 4077)])
    assert "as long as a kubelet lets one be" in found.note
    with pytest.raises(MalformedResultError):
        decoded(found.data, 0)


def test_exit_3_with_a_result_and_a_result_that_was_too_large_are_told_apart() -> None:
    with pytest.raises(JobFailedError) as caught:
        decoded(envelope(jobset(), [pod('{"exit":3,"value":1}', 3)]), 3)
    assert caught.value.exit_code == 3
    with pytest.raises(ResultTooLargeError):
        decoded(envelope(jobset(condition=("ResultTooLarge", {"size": 5})), []), 0)


def test_nothing_there_says_why() -> None:
    assert outcome(jobset(), []).note == "pod js-workers-0-0-* is not there any more"
    assert "another cluster" in outcome(jobset(managedBy=words.MULTIKUEUE), []).note
    assert "has not ended" in outcome(jobset(), [pod(running=True)]).note


def test_a_result_that_is_gone_is_told_with_its_pod() -> None:
    history = (Transition(5.0, JobState.SUCCEEDED, "Completed"),)
    record = JobRecord("js", "u", "kubernetes", JobState.SUCCEEDED, reason="Completed", history=history)
    record = noted(record, outcome(jobset(), []).note)
    assert (record.state, record.history[-1].message) == (JobState.SUCCEEDED, record.message)
    with pytest.raises(JobLostError, match=r"its result is gone: pod js-workers-0-0-\* is not there any more"):
        DECODER.outcome(record, None)
