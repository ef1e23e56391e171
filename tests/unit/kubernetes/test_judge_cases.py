"""What cannot be brought about at will in a cluster, made from lives that were recorded."""

from __future__ import annotations

import base64
import copy
import json
from dataclasses import replace
from datetime import datetime
from typing import Any

import pytest

from jupyter_konduktor.backends.kubernetes import words
from jupyter_konduktor.backends.kubernetes.judging.judge import Sight, deleted, judge
from jupyter_konduktor.state import JobRecord, JobState
from jupyter_konduktor.summary import status
from tests.unit.kubernetes.lives import Watcher, life, part, shown


def sight_of(name: str, until: JobState | None = None) -> Sight:
    """What was seen of a life, whole or up to a state; to be changed at will."""
    watcher = Watcher()
    for happening in life(name):
        watcher.tell([happening])
        if until is not None and watcher.records and watcher.record.state is until:
            break
    return copy.deepcopy(watcher.sight)


def judged(sight: Sight, held: JobRecord | None = None) -> JobRecord:
    record = judge(sight, held)
    assert record is not None
    return record


def ended(code: int, message: str = "", **more: Any) -> JobRecord:
    """A job of one node whose container ended like that."""
    sight = sight_of("failure")
    state = sight.pods[0]["status"]["containerStatuses"][0]["state"]["terminated"]
    state.update({"exitCode": code, "message": message, **more})
    return judged(sight)


def condition(sight: Sight, index: int, kind: str, **what: str) -> None:
    conditions = sight.pods[index]["status"]["conditions"]
    conditions[:] = [item for item in conditions if item["type"] != kind] + [{"type": kind, **what}]


# --- ends


def test_exception_of_the_code_is_named() -> None:
    document = json.dumps({"ename": "ValueError", "evalue": "no\nsuch file", "traceback": "..."}).encode()
    inner = {"v": 1, "codec": "error", "data": base64.b64encode(document).decode()}
    record = ended(1, json.dumps({"exit": 1, "value": {"$konduktor": inner}}))
    assert record.message == "ValueError: no such file"


@pytest.mark.parametrize(
    ("code", "text"),
    [
        (139, "ended by SIGSEGV (segmentation fault)"),
        (134, "ended by SIGABRT"),
        (127, "exit code 127"),
        (70, "exit code 70: the runner could not start what it was sent; the log says why"),
    ],
)
def test_exit_codes_are_put_into_words(code: int, text: str) -> None:
    assert ended(code, json.dumps({"exit": code})).message == text


def test_value_that_only_looks_like_an_error_does_no_harm() -> None:
    for message in (
        '{"exit":3,"value":{"$konduktor":7}}',
        '{"exit":3,"value":[',
        "\x00",
        '{"value":{"$konduktor":{}}}',
    ):
        assert ended(3, message).message == "exit code 3"


def test_failure_without_pods_says_what_the_jobset_says() -> None:
    record = judged(replace(sight_of("failure"), pods=()))
    assert (record.state, record.reason, record.exit_code) == (JobState.FAILED, "FailedJobs", None)
    assert "first failed job: failure-workers-0" in record.message
    assert "its pods are gone" in record.message


def test_first_node_that_failed_is_blamed_and_not_those_that_were_ended() -> None:
    sight = sight_of("rank-fails")
    victim, culprit = sorted(sight.pods, key=lambda pod: pod["metadata"]["labels"][words.COMPLETION_INDEX])
    assert victim["metadata"]["deletionTimestamp"]
    state = culprit["status"]["containerStatuses"][0]["state"]["terminated"]
    late = {**state, "exitCode": 137, "finishedAt": "2026-11-21T13:00:00Z"}
    victim["status"]["containerStatuses"][0]["state"] = {"terminated": late}
    record = judged(sight)
    assert (record.failed_node, record.exit_code) == (1, 5)


# --- maps


def mapped(name: str, code: int, value: str, kind: str = "map") -> Sight:
    """A life as that of a map, whose worker 0 ended like that."""
    sight = sight_of(name)
    annotations = (sight.jobset or {})["metadata"]["annotations"]
    annotations[words.TASK] = json.dumps({**json.loads(annotations[words.TASK]), "kind": kind})
    for pod in sight.pods:
        if pod["metadata"]["labels"][words.COMPLETION_INDEX] == "0":
            state = pod["status"]["containerStatuses"][0]["state"]["terminated"]
            state.update({"exitCode": code, "message": value})
    return sight


def test_items_that_failed_fail_a_map_whose_pods_ended_well() -> None:
    failed = '{"exit":1,"value":{"items":9,"failed":2}}'
    record = judged(mapped("success", 0, failed))
    assert (record.state, record.reason, record.exit_code) == (JobState.FAILED, "ItemsFailed", 1)
    assert record.message == "2 of 9 items failed"
    assert judged(mapped("success", 0, failed, kind="function")).state is JobState.SUCCEEDED
    assert judged(mapped("success", 0, '{"exit":0,"value":{"items":9,"failed":0}}')).state is JobState.SUCCEEDED


def test_items_that_ended_well_make_up_for_a_worker_that_did_not() -> None:
    record = judged(mapped("rank-fails", 0, '{"exit":0,"value":{"items":9,"failed":0}}'))
    assert (record.state, record.reason, record.exit_code) == (JobState.SUCCEEDED, "Completed", 0)
    record = judged(mapped("rank-fails", 0, '{"exit":1,"value":{"items":9,"failed":1}}'))
    assert (record.state, record.message, record.failed_node) == (JobState.FAILED, "1 of 9 items failed", None)


@pytest.mark.parametrize("left", ["", "{", '{"exit":137}', '{"exit":1,"value":3}'])
def test_map_that_tells_nothing_of_its_items_ended_as_its_jobset_says(left: str) -> None:
    record = judged(mapped("failure", 3, left))
    assert (record.state, record.message) == (JobState.FAILED, "exit code 3")


def test_items_are_told_of_before_the_jobset_has_ended() -> None:
    sight = mapped("success", 0, '{"exit":1,"value":{"items":9,"failed":2}}')
    jobset: Any = sight.jobset
    jobset["status"] = {"restarts": 0}
    assert judged(sight).message == "2 of 9 items failed"


# --- ends that may not be ends


def test_kill_from_outside_is_not_final_before_the_jobset_says_so() -> None:
    sight = sight_of("failure")
    jobset = part(dict(sight.jobset or {}))
    del jobset["status"]["terminalState"]
    sight = replace(sight, jobset=jobset)
    assert judged(sight).state is JobState.FAILED
    terminated = sight.pods[0]["status"]["containerStatuses"][0]["state"]["terminated"]
    terminated["exitCode"] = 137
    assert judged(sight).state is JobState.RUNNING
    terminated["reason"] = "OOMKilled"
    assert judged(sight).state is JobState.FAILED


@pytest.mark.parametrize(
    "change", ["deleting", "disrupted", "suspended", "cancelled", "two nodes", "stranger", "impostor", "inactive"]
)
def test_exit_0_is_no_success_yet_if_it_may_run_again(change: str) -> None:
    sight = sight_of("success")
    jobset: Any = part(dict(sight.jobset or {}))
    del jobset["status"]["terminalState"]
    workload: Any = sight.workload
    workload["status"]["conditions"] = [
        {"type": "Admitted", "status": "True", "lastTransitionTime": "2026-11-21T13:12:18Z"}
    ]
    sight = replace(sight, jobset=jobset)
    assert judged(sight).state is JobState.SUCCEEDED
    if change == "deleting":
        sight.pods[0]["metadata"]["deletionTimestamp"] = "2026-11-21T13:12:33Z"
    elif change == "disrupted":
        condition(sight, 0, "DisruptionTarget", status="True", reason="PreemptionByScheduler")
    elif change == "suspended":
        jobset["spec"]["suspend"] = True
    elif change == "cancelled":
        jobset["metadata"]["annotations"][words.CANCELLED_BY] = "alice-1a2b3c4d"
    elif change == "two nodes":
        workload["spec"]["podSets"][0]["count"] = 2
    elif change == "stranger":
        sight.pods[0]["metadata"]["ownerReferences"][0]["name"] = "other-workers-0"
    elif change == "impostor":
        sight = replace(sight, owners={sight.pods[0]["metadata"]["ownerReferences"][0]["uid"]: ""})
    else:
        workload["spec"]["active"] = False
    assert not judged(sight).state.final


def test_preemption_between_the_end_and_the_word_of_it_is_told_and_changes_nothing() -> None:
    sight = sight_of("success")
    jobset: Any = part(dict(sight.jobset or {}))
    del jobset["status"]["terminalState"]
    workload: Any = sight.workload
    admitted = {"type": "Admitted", "status": "True", "lastTransitionTime": "2026-11-21T13:12:18Z"}
    workload["status"]["conditions"] = [admitted]
    sight = replace(sight, jobset=jobset)
    first = judged(sight)
    assert (first.state, first.message) == (JobState.SUCCEEDED, "")
    evicted = {"type": "Evicted", "status": "True", "reason": "Preempted", "lastTransitionTime": "2026-11-21T13:12:39Z"}
    workload["status"]["conditions"].append(evicted)
    assert judged(sight, first) == first, "what was seen before is not news"
    workload["metadata"]["resourceVersion"] = str(first.version + 1)
    jobset["spec"]["suspend"] = True
    record = judged(replace(sight, pods=()), first)
    assert record.message == (
        "preempted by another job just as it ended: the cluster runs it once more, and what it gave first stands"
    )
    assert (record.state, record.exit_code, record.history[-1].message) == (JobState.SUCCEEDED, 0, record.message)
    assert record.version > first.version
    assert judged(replace(sight, pods=()), record) == record
    assert judged(sight_of("success"), first) == first
    evicted["lastTransitionTime"] = "2026-11-21T13:12:10Z"
    assert judged(sight, first) == first, "that was before it was let in"


# --- on the way


def test_node_that_is_silent_is_told_and_is_no_failure() -> None:
    sight = sight_of("success", JobState.RUNNING)
    condition(sight, 0, "Ready", status="False")
    condition(sight, 0, "ContainersReady", status="True")
    record = judged(sight)
    assert (record.state, record.reason) == (JobState.RUNNING, "NodeLost")
    assert record.message.startswith("node unreachable: nothing is heard of konduktor")
    condition(sight, 0, "DisruptionTarget", status="True", reason="DeletionByTaintManager")
    assert judged(sight).reason == "NodeLost"


def test_a_queue_that_takes_no_jobs_is_why_they_wait() -> None:
    """Kueue does not always write it on the Workloads that wait."""
    said = "takes no jobs: its ClusterQueue q is stopped or not ready"
    record = judged(replace(sight_of("never-fits"), closed=said))
    assert (record.reason, record.message) == ("QueueClosed", f"queue user-queue {said}")


def test_no_workload_is_told_after_a_while() -> None:
    sight = replace(sight_of("never-fits"), workload=None)
    assert judged(sight).message == ""
    record = judged(replace(sight, missing_workload=31.0))
    assert record.reason == "NoWorkload"
    why = "Kueue does not run, or does not manage JobSets in this namespace"
    assert record.message == f"no controller has acted for 30 s: {why}"
    jobset: Any = sight.jobset
    jobset["metadata"]["labels"][words.PRIORITY_CLASS] = "urgent"
    record = judged(replace(sight, missing_workload=125.0))
    assert record.message == f"no controller has acted for 2 min: {why}, or there is no priority class urgent"


def starting(seconds: float) -> Sight:
    """What is seen so long after a job was let in, as long as nothing has come of it."""
    sight = sight_of("success", JobState.STARTING)
    workload: Any = sight.workload
    (admitted,) = (item for item in workload["status"]["conditions"] if item["type"] == "Admitted")
    return replace(sight, pods=(), now=datetime.fromisoformat(admitted["lastTransitionTime"]).timestamp() + seconds)


def test_a_start_on_which_nothing_acts_is_told_after_a_while() -> None:
    assert (judged(starting(29)).reason, judged(starting(29)).message) == ("Admitted", "")
    record = judged(starting(31))
    assert (record.state, record.reason) == (JobState.STARTING, "NoPods")
    assert record.message == "it was let in and has had no pods for 30 s: no controller has acted"
    assert judged(starting(150)).message.endswith("for 2 min: no controller has acted")
    assert judged(replace(starting(150), sees_pods=False)).reason == "Admitted"
    pod = copy.deepcopy(sight_of("success").pods[0])
    pod["status"] = {"phase": "Pending"}
    record = judged(replace(starting(600), pods=(pod,)))
    assert (record.reason, record.message[:38]) == ("NotScheduled", "no scheduler has acted on its pod for ")
    pod["status"]["conditions"] = [{"type": "PodScheduled", "status": "True"}]
    record = judged(replace(starting(600), pods=(pod,)))
    assert record.reason == "NotTakenUp"
    assert record.message.startswith("the kubelet of konduktor")
    pod["status"]["containerStatuses"] = [
        {"name": words.CONTAINER, "state": {"waiting": {"reason": "ContainerCreating"}}}
    ]
    assert judged(replace(starting(600), pods=(pod,))).reason == "ContainerCreating"


def test_cluster_that_takes_the_job_is_named() -> None:
    sight = sight_of("check-pending")
    workload: Any = sight.workload
    jobset: Any = sight.jobset
    jobset["spec"]["managedBy"] = words.MULTIKUEUE
    workload["status"]["nominatedClusterNames"] = ["east", "west"]
    assert judged(sight).message == "offered to clusters east, west; the first that has room takes it"
    workload["status"].update(nominatedClusterNames=[], clusterName="west")
    admitted = {"type": "Admitted", "status": "True", "lastTransitionTime": "2026-11-21T13:12:30Z"}
    workload["status"]["conditions"].append(admitted)
    record = judged(sight)
    assert (record.state, record.message) == (JobState.STARTING, "on cluster west")
    jobset["status"]["replicatedJobsStatus"] = [{"name": "workers", "ready": 1}]
    record = judged(sight, record)
    assert (record.state, record.message) == (JobState.RUNNING, "on cluster west")


def test_position_is_told_only_while_it_waits() -> None:
    assert judged(replace(sight_of("never-fits"), position=3)).position == 3
    assert judged(replace(sight_of("success", JobState.RUNNING), position=3)).position is None


def test_position_that_comes_and_goes_is_a_new_version_each_time() -> None:
    sight = sight_of("never-fits")
    records = [judged(replace(sight, position=3))]
    for position in (2, 3, 3):
        records.append(judged(replace(sight, position=position), records[-1]))
    versions = [record.version - records[0].version for record in records]
    assert versions == [0, 1, 2, 2]


def test_missed_restarts_are_in_the_history_all_the_same() -> None:
    sight = sight_of("restarts")
    record = judged(
        replace(sight, pods=[pod for pod in sight.pods if pod["metadata"]["labels"][words.RESTART_ATTEMPT] == "2"])
    )
    assert [change.attempt for change in record.history if change.state is JobState.RUNNING] == [0, 1, 2]
    record = judged(replace(sight, pods=()))
    assert [change.attempt for change in record.history if change.state is JobState.RUNNING] == [0, 1, 2]


def test_restart_that_is_heard_of_after_a_stop_does_not_start_the_job() -> None:
    sight = sight_of("max-exec")
    stopped = judged(sight)
    jobset: Any = sight.jobset
    jobset["status"]["restarts"] = 2
    assert judged(sight, stopped).state is JobState.STOPPED


def test_without_pods_and_workload_the_jobset_tells_what_it_can() -> None:
    sight = replace(sight_of("success"), workload=None, pods=())
    assert [line.split()[0] for line in shown(judged(sight))] == ["Queued", "Starting", "Running", "Succeeded"]
    jobset: Any = sight.jobset
    del jobset["status"]["terminalState"]
    jobset["status"]["conditions"] = jobset["status"]["conditions"][:1]
    assert judged(sight).state is JobState.STARTING


# --- who, what and when


def test_record_says_whose_it_is_and_what_was_asked_for() -> None:
    record = judged(sight_of("success"))
    assert (record.name, record.backend, record.kind, record.user) == ("success", "kubernetes", "command", "alice")
    assert (record.queue, record.origin["cell"], record.spec["nonce"]) == ("user-queue", 3, "0123456789abcdef")
    assert record.origin["user_id"] == "alice-1a2b3c4d"
    assert record.created == pytest.approx(1795266734.353, abs=0.001)
    assert not record.recorded
    assert replace(record, recorded=True) == judge(sight_of("success"), None, submitted=True)


def test_job_of_another_client_is_described_by_its_labels() -> None:
    record = judged(sight_of("konduktor-stop", JobState.RUNNING))
    assert (record.kind, record.user, record.queue) == ("command", "alice", "user-queue")
    assert record.spec["resources"] == {"nodes": 1, "gpus": {"kind": "H100", "count": 8}}
    assert record.spec["command"] == ["sh", "-c", "sleep 600"]
    assert status(record, record.created).startswith("Running")


@pytest.mark.parametrize(
    "text",
    [
        *("{", "[]", "7", '"x"', "null", '{"resources": 5}', '{"resources": {"nodes": "many"}}', "[" * 100_000),
        *('{"resources": {"gpus": {"kind": 3, "count": "x"}}}', '{"max_restarts": "x"}', '{"resources": {"nodes": 0}}'),
    ],
)
def test_annotations_that_cannot_be_read_do_no_harm(text: str) -> None:
    sight = sight_of("success")
    jobset: Any = sight.jobset
    for key in (words.TASK, words.ORIGIN, words.SUBMITTED):
        jobset["metadata"]["annotations"][key] = text
    record = judged(sight)
    assert record.state is JobState.SUCCEEDED
    assert record.kind == "command"
    assert status(record)


def test_objects_with_almost_nothing_in_them_can_be_judged() -> None:
    bare: Any = {"metadata": {"name": "x", "uid": "1"}, "spec": {"suspend": True}}
    record = judged(Sight(bare, None, ()))
    assert (record.state, record.version, record.history[0].time) == (JobState.QUEUED, 0, 0.0)
    odd: Any = {"metadata": {"name": "w"}, "status": {"conditions": [{"type": "Evicted", "status": "True"}]}}
    assert judged(Sight(bare, odd, ({"metadata": {"name": "p", "uid": "2"}},))).state is JobState.QUEUED


# --- what is gone


def test_cancelled_from_here_needs_no_annotation() -> None:
    sight = replace(sight_of("success", JobState.RUNNING), gone=True)
    held = judged(replace(sight, gone=False))
    assert judge(sight, held) is None
    record = judged(replace(sight, cancelled=True, now=held.history[-1].time + 60), held)
    assert (record.state, record.message) == (JobState.CANCELLED, "cancelled by alice")
    assert record.history[-1].time == held.history[-1].time + 60


def test_job_that_had_ended_before_it_was_deleted_has_ended() -> None:
    assert judged(replace(sight_of("success"), gone=True)).state is JobState.SUCCEEDED
    record = judged(sight_of("success"))
    assert judge(Sight(None, None, ()), record) == record
    assert judge(Sight(None, None, ()), replace(record, state=JobState.RUNNING)) is None


def test_last_record_of_a_deleted_job_is_final() -> None:
    held = judged(sight_of("success", JobState.RUNNING))
    record = deleted(held)
    assert (record.state, record.reason) == (JobState.CANCELLED, "Deleted")
    assert record.version > held.version
    assert record.history[:-1] == held.history


def test_another_job_of_the_same_name_is_not_taken_for_it() -> None:
    held = judged(sight_of("success", JobState.RUNNING))
    sight = sight_of("success")
    jobset: Any = sight.jobset
    jobset["metadata"]["uid"] = "another"
    assert judge(sight, held) is None


def test_cause_of_an_end_is_filled_in_when_it_becomes_known() -> None:
    sight = sight_of("failure")
    first = judged(Sight(part(dict(sight.jobset or {})), None, ()))
    assert (first.state, first.exit_code) == (JobState.FAILED, None)
    later = judged(sight, first)
    assert (later.state, later.exit_code, later.message) == (JobState.FAILED, 3, "exit code 3")
    assert [change.time for change in later.history] == [change.time for change in first.history]
    assert judged(replace(sight, pods=()), later) == later
