"""Which queue a task goes to, and what is refused before anything is made."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from jupyter_konduktor.backends.kubernetes import quantity, words
from jupyter_konduktor.backends.kubernetes.rights import Rights, role
from jupyter_konduktor.backends.kubernetes.sending import choice as choosing
from jupyter_konduktor.backends.kubernetes.sending.choice import Choice, Chooser
from jupyter_konduktor.config import Settings
from jupyter_konduktor.errors import AccessDeniedError, ApiError, ConfigError, InvalidTaskError, SubmitError
from jupyter_konduktor.task import Task
from tests.unit.kubernetes.cluster import Cluster, Reply, denied

KUEUE = "/apis/kueue.x-k8s.io/v1beta2"
QUEUES = f"{KUEUE}/namespaces/team/localqueues"
NVIDIA = "nvidia.com/gpu"


def local(name: str, **spec: Any) -> dict[str, Any]:
    return {"metadata": {"name": name}, "spec": {"clusterQueue": "cq", **spec}}


def flavor(name: str, **quotas: str) -> dict[str, Any]:
    named = {"gpu": NVIDIA, "amd": "amd.com/gpu"}
    return {
        "name": name,
        "resources": [{"name": named.get(key, key), "nominalQuota": value} for key, value in quotas.items()],
    }


def cluster_queue(*flavors: dict[str, Any], **spec: Any) -> dict[str, Any]:
    covered = [item["name"] for item in flavors[0]["resources"]]
    groups = [{"coveredResources": covered, "flavors": list(flavors)}]
    return {"metadata": {"name": "cq"}, "spec": {"resourceGroups": groups, **spec}}


def listed(*items: Any) -> dict[str, Any]:
    return {"items": [item if isinstance(item, dict) else {"metadata": {"name": item}} for item in items]}


def cluster(*queues: Any, quota: dict[str, Any] | None = None, **more: Any) -> Cluster:
    objects: dict[str, Any] = {
        QUEUES: listed(*[item if isinstance(item, dict) else local(item) for item in queues]),
        f"{KUEUE}/clusterqueues/cq": quota or cluster_queue(flavor("default", cpu="8", memory="32Gi", gpu="8")),
        f"{KUEUE}/resourceflavors": listed({"metadata": {"name": "default"}, "spec": {}}),
        f"{KUEUE}/workloadpriorityclasses": listed("low-priority", "high-priority"),
        "/api/v1/namespaces/team": {"metadata": {"name": "team"}},
    }
    objects.update(more.pop("objects", {}))
    return Cluster(objects=objects, **more)


def chooser(made: Cluster, clock: list[float] | None = None, **settings: Any) -> Chooser:
    now = clock or [0.0]
    rights = Rights(made, clock=lambda: now[0])  # type: ignore[arg-type]
    held = replace(Settings(), **{"store": "s3://bucket", **settings})
    return Chooser(made, rights, held, clock=lambda: now[0])  # type: ignore[arg-type]


def task(**options: Any) -> Task:
    return Task.create(**{"kind": "cell", "name": "train", "image": "python:3.12", **options})


def choose(made: Cluster, **options: Any) -> Choice:
    return chooser(made).choose(task(**options))


# --- queues


@pytest.mark.parametrize(
    ("queues", "named", "chosen"),
    [
        (["a", "b"], "b", "b"),
        (["only"], None, "only"),
        (["a", "default"], None, "default"),
        (["a"], "none", None),
    ],
)
def test_the_queue_that_is_taken(queues: list[str], named: str | None, chosen: str | None) -> None:
    assert choose(cluster(*queues), queue=named).queue == chosen


@pytest.mark.parametrize(
    ("queues", "named", "said"),
    [
        (["user-queue", "b"], "user-queu", "did you mean user-queue? There is b, user-queue"),
        (["a", "b"], "zzz", "there is no queue zzz in namespace team; there is a, b"),
        (["a", "b"], None, "namespace team has 2: a, b"),
        ([], None, "namespace team has no queue"),
        ([], "a", "there is no queue a in namespace team\n"),
    ],
)
def test_a_queue_that_is_not_there(queues: list[str], named: str | None, said: str) -> None:
    with pytest.raises(InvalidTaskError) as caught:
        choose(cluster(*queues), queue=named)
    assert said in str(caught.value)
    assert caught.value.field == "queue"


def test_a_stopped_queue_is_a_note() -> None:
    stopped = choose(cluster(local("a", stopPolicy="Hold"))).notes
    assert stopped == ("queue: queue a is stopped (Hold); the job waits until it is started again",)
    condition = {"type": "Active", "status": "False", "reason": "ClusterQueueIsInactive", "message": "Can't submit"}
    inactive = choose(cluster({**local("a"), "status": {"conditions": [condition]}})).notes
    assert "(ClusterQueueIsInactive): Can't submit" in inactive[0]
    held = cluster_queue(flavor("default", cpu="8"), stopPolicy="HoldAndDrain")
    assert "ClusterQueue cq is stopped (HoldAndDrain)" in choose(cluster("a", quota=held)).notes[0]


def test_queues_that_cannot_be_seen() -> None:
    hidden = cluster(objects={QUEUES: denied()})
    found = choose(hidden, queue="a")
    assert found.queue == "a"
    assert "a is taken on trust" in found.notes[0]
    with pytest.raises(InvalidTaskError, match="Name one: --queue NAME"):
        choose(hidden)


def test_no_queue_where_kueue_gives_one() -> None:
    assert "into default" in choose(cluster("default"), queue="none").notes[0]


def test_priorities() -> None:
    assert choose(cluster("a"), priority="low-priority").queue == "a"
    with pytest.raises(InvalidTaskError, match="did you mean high-priority") as caught:
        choose(cluster("a"), priority="hi-priority")
    assert caught.value.field == "priority"
    assert "not used" in choose(cluster("a"), priority="x", queue="none").notes[0]
    rules = ["exclusive:rack", "preferred:rack"]
    assert "preferred:rack is not used" in choose(cluster("a"), topology=rules, queue="none").notes[0]
    unseen = cluster("a", objects={f"{KUEUE}/workloadpriorityclasses": denied()})
    assert choose(unseen, priority="x").queue == "a"


# --- what the cluster lacks


def test_what_is_not_installed_is_named() -> None:
    with pytest.raises(SubmitError, match="no JobSet") as caught:
        choose(cluster("a", groups={}))
    assert "jobset/releases/download/v0.10.1" in str(caught.value)
    with pytest.raises(SubmitError, match="no Kueue"):
        choose(cluster("a", groups={"jobset.x-k8s.io": ["v1alpha2"]}))
    with pytest.raises(SubmitError, match="as v1; understood is v1beta2 or v1beta1"):
        choose(cluster("a", groups={"jobset.x-k8s.io": ["v1alpha2"], "kueue.x-k8s.io": ["v1"]}))
    assert choose(cluster(groups={"jobset.x-k8s.io": ["v1alpha2"]}), queue="none").queue is None


def test_an_older_kueue_is_spoken_to_in_its_version() -> None:
    made = cluster("a", groups={"jobset.x-k8s.io": ["v1alpha2"], "kueue.x-k8s.io": ["v1beta1"]})
    made.objects = {path.replace("v1beta2", "v1beta1"): found for path, found in made.objects.items()}
    assert choose(made).queue == "a"


def test_an_unknown_and_a_forbidden_namespace_are_told_apart() -> None:
    unknown = cluster(objects={"/api/v1/namespaces/team": None, "/api/v1/namespaces": listed("teams", "other")})
    with pytest.raises(SubmitError, match=r"no namespace team on this cluster; did you mean teams\? There is other"):
        choose(unknown)
    forbidden = cluster("a", rules=[], objects={"/api/v1/namespaces/team": denied()})
    with pytest.raises(AccessDeniedError, match=r"create jobsets\.jobset.* in namespace team as alice") as caught:
        choose(forbidden)
    assert caught.value.advice.endswith("or set another namespace.")
    seen = cluster("a", rules=[], objects={"/api/v1/namespaces": listed("team", "teams", "other")})
    with pytest.raises(AccessDeniedError) as caught:
        choose(seen)
    assert caught.value.advice.endswith("or set another namespace: there is other, teams.")


# --- what the task lacks


def test_a_job_without_an_image_is_refused() -> None:
    made = cluster("a")
    with pytest.raises(InvalidTaskError) as caught:
        choose(made, image=None)
    assert caught.value.field == "image"
    assert made.sent == []


def test_a_store_that_is_not_set_is_noted_once() -> None:
    held = chooser(cluster("a"), store=None)
    assert held.choose(task()).notes == ("store: none is set; results of up to 4 MiB come back",)
    assert held.choose(task()).notes == ()


def test_settings_that_make_no_pod_are_named() -> None:
    with pytest.raises(ConfigError, match=r"pod_config\.spec\.nodeselector"):
        chooser(cluster("a"), pod_config={"spec": {"nodeselector": {}}}).choose(task())


def test_host_names_that_are_too_many_are_noted() -> None:
    quota = cluster_queue(flavor("default", cpu="99999"))
    assert "NODE_HOST_IPS" in choose(cluster("a", quota=quota), nodes=5000).notes[0]


# --- quota


@pytest.mark.parametrize(
    ("options", "field", "said"),
    [
        ({"gpus": 9}, "gpus", "9 is more nvidia.com/gpu than queue a (ClusterQueue cq) can ever hold: its quota is 8"),
        ({"gpus": 4, "nodes": 3}, "gpus", "3 nodes x 4 is more"),
        ({"gpus": 10**9 - 1}, "gpus", "its quota is 8"),
        (
            {"kind": "map", "items": 99, "gpus": 3, "max_parallel": 3},
            "max_parallel",
            "max_parallel=3: 3 workers x 3 is more",
        ),
        ({"kind": "map", "items": 99, "gpus": 9, "max_parallel": 3}, "gpus", "9 is more nvidia.com/gpu"),
        ({"memory": "64Gi"}, "memory", "64Gi is more memory than queue a (ClusterQueue cq) can ever hold"),
        ({"cpus": 8.5}, "cpus", "8.5 is more cpu"),
        ({"gpus": "MI300X:1"}, "gpus", "has no amd.com/gpu; it has cpu, memory, nvidia.com/gpu"),
    ],
)
def test_more_than_a_queue_can_ever_hold(options: dict[str, Any], field: str, said: str) -> None:
    with pytest.raises(InvalidTaskError) as caught:
        choose(cluster("a"), **options)
    assert said in str(caught.value)
    assert caught.value.field == field


def test_what_may_be_borrowed_counts() -> None:
    lender = cluster_queue(flavor("default", cpu="8"), cohortName="all")
    assert choose(cluster("a", quota=lender), cpus=100).queue == "a"
    lender["spec"]["resourceGroups"][0]["flavors"][0]["resources"][0]["borrowingLimit"] = "2"
    assert choose(cluster("a", quota=lender), cpus=10).queue == "a"
    with pytest.raises(InvalidTaskError, match="its quota is 10"):
        choose(cluster("a", quota=lender), cpus=11)


def test_a_queue_that_counts_no_cores_is_asked_for_none() -> None:
    made = cluster("a", quota=cluster_queue(flavor("default", gpu="8")))
    found = choose(made, gpus=1)
    assert (found.cpus, found.notes) == (None, ())
    assert "counts no cpu" in choose(made, gpus=1, cpus=2).notes[0]
    assert choose(cluster("a")).cpus == 1.0


def test_a_quota_that_cannot_be_seen_refuses_nothing() -> None:
    made = cluster("a", rules=role("team")["rules"])
    assert choose(made, gpus=1000).notes == ()
    assert made.count("clusterqueues") == 0


# --- kinds of GPU

TWO_KINDS = {
    f"{KUEUE}/resourceflavors": listed(
        {"metadata": {"name": "h100"}, "spec": {"nodeLabels": {"gpu": "NVIDIA-H100-80GB"}}},
        {"metadata": {"name": "a100"}, "spec": {"nodeLabels": {"gpu": "NVIDIA-A100"}}},
    )
}
BOTH = cluster_queue(flavor("h100", cpu="8", gpu="8"), flavor("a100", cpu="8", gpu="16"))


def test_an_unmapped_kind_among_several_is_refused_and_they_are_named() -> None:
    with pytest.raises(InvalidTaskError) as caught:
        choose(cluster("a", quota=BOTH, objects=TWO_KINDS), gpus="H100:8")
    assert "h100 (gpu=NVIDIA-H100-80GB), a100 (gpu=NVIDIA-A100)" in str(caught.value)
    assert 'accelerators = {"H100": {"nodeSelector": {...}}}' in str(caught.value)
    assert choose(cluster("a", quota=BOTH, objects=TWO_KINDS), gpus=8).notes == ()


def test_a_mapped_kind_has_the_quota_of_its_flavor() -> None:
    held = chooser(
        cluster("a", quota=BOTH, objects=TWO_KINDS),
        accelerators={"H100": {"nodeSelector": {"gpu": "NVIDIA-H100-80GB"}}, "T4": {"nodeSelector": {"gpu": "T4"}}},
    )
    assert held.choose(task(gpus="H100:8")).notes == ()
    with pytest.raises(InvalidTaskError, match="its quota is 8"):
        held.choose(task(gpus="H100:16"))
    with pytest.raises(InvalidTaskError, match="has no nodes with gpu=T4 for"):
        held.choose(task(gpus="T4:1"))


def test_an_unmapped_kind_that_is_taken_on_trust_is_noted() -> None:
    assert "the job gets the GPUs of default" in choose(cluster("a"), gpus="H100:1").notes[0]
    hidden = cluster("a", objects={f"{KUEUE}/resourceflavors": denied()})
    assert "cannot be seen here" in choose(hidden, gpus="H100:1").notes[0]
    one = {f"{KUEUE}/resourceflavors": listed({"metadata": {"name": "default"}, "spec": {"nodeLabels": {"g": "H100"}}})}
    assert choose(cluster("a", objects=one), gpus="H100:1").notes == ()


# --- the dry run


def refusing(text: str, status: int = 403) -> Any:
    def dry_run(path: str, body: dict[str, Any]) -> Reply:
        raise ApiError(text, status=status, reason="Forbidden")

    return dry_run


@pytest.mark.parametrize(
    ("text", "advice"),
    [
        ('pods "x" is forbidden: violates PodSecurity "restricted:latest": unrestricted capabilities', "pod_config"),
        ('pods "x" is forbidden: failed quota: q: must specify limits.memory for: c', "ResourceQuota"),
        ("exceeded quota: q, requested: cpu=4, used: cpu=0, limited: cpu=2", "Ask for less"),
        ("Internal error occurred: failed calling webhook x: connection refused", "webhook"),
        ('admission webhook "policy" denied the request: no image from there', ""),
    ],
)
def test_a_pod_that_would_not_be_made(text: str, advice: str) -> None:
    with pytest.raises(SubmitError) as caught:
        choose(cluster("a", dry_run=refusing(text)))
    assert text in str(caught.value)
    assert advice in caught.value.advice


def test_a_quota_that_is_used_up_is_no_refusal() -> None:
    text = (
        'pods "x" is forbidden: exceeded quota: q, requested: cpu=1,pods=1, used: cpu=2,pods=2, limited: cpu=2,pods=9'
    )
    assert "ResourceQuota q is used up" in choose(cluster("a", dry_run=refusing(text))).notes[0]


@pytest.mark.parametrize(
    "text", ['User "a" cannot create resource "pods"', "admission webhook x does not support dry run"]
)
def test_a_dry_run_that_cannot_be_made_says_nothing(text: str) -> None:
    assert choose(cluster("a", dry_run=refusing(text))).notes == ()


def test_what_is_tried_follows_from_the_rights() -> None:
    rules = role("team")["rules"]
    none = cluster("a", rules=rules)
    choose(none)
    assert none.count("POST /a") == 2  # the rules, and once for each queue whether it leads to another cluster
    warning = 'would violate PodSecurity "restricted:latest"'
    job = {"verbs": ["create"], "apiGroups": ["batch"], "resources": ["jobs"]}
    only_jobs = cluster("a", rules=[*rules, job], dry_run=lambda path, body: Reply(body, (warning,)))
    assert warning in choose(only_jobs).notes[0]
    assert only_jobs.count("POST /apis/batch/v1/namespaces/team/jobs") == 1


def test_the_pod_that_is_tried_is_like_the_real_one_and_holds_no_values() -> None:
    tried: list[dict[str, Any]] = []

    def dry_run(path: str, body: dict[str, Any]) -> Reply:
        tried.append(body)
        return Reply(body)

    choose(cluster("a", dry_run=dry_run), env={"PASSWORD": "hunter2"}, gpus=2)
    (pod,) = tried
    assert "hunter2" not in repr(pod)
    assert pod["metadata"]["labels"]["trainy.ai/user-id"].startswith("alice-")
    assert pod["metadata"]["labels"]["jobset.sigs.k8s.io/replicatedjob-name"] == "workers"
    assert pod["metadata"]["annotations"]["batch.kubernetes.io/job-completion-index"] == "0"
    assert pod["spec"]["containers"][0]["resources"]["limits"] == {NVIDIA: "2"}


def test_a_shape_is_tried_once() -> None:
    made, clock = cluster("a"), [0.0]
    held = chooser(made, clock)
    held.choose(task(env={"A": "1"}))
    held.choose(task(name="other", env={"A": "2"}, timeout=60))
    assert made.count("/pods") == 1
    held.choose(task(cpus=2))
    assert made.count("/pods") == 2
    clock[0] = 400
    held.choose(task(cpus=2))
    assert made.count("/pods") == 3


def test_a_check_and_its_submit_look_once() -> None:
    made, clock = cluster("a"), [0.0]
    held = chooser(made, clock)
    held.choose(task(gpus=1, priority="low-priority"))
    before = len(made.sent)
    assert before == 6  # rules, queues, ClusterQueue, flavors, priorities, dry run
    held.choose(task(gpus=1, priority="low-priority"))
    assert len(made.sent) == before
    clock[0] = choosing.KEEP + 1
    held.choose(task(gpus=1, priority="low-priority"))
    assert len(made.sent) == before + 4


@pytest.mark.parametrize(
    ("text", "value"),
    [("8", 8), ("500m", 0.5), ("16Gi", 16 * 2**30), ("1k", 1000), ("1e3", 1000), ("1.5", 1.5), ("100n", 1e-7)],
)
def test_quantities(text: str, value: float) -> None:
    assert float(quantity.parse(text)) == pytest.approx(value)


@pytest.mark.parametrize("text", ["", "Gi", "8 GB", "1ki", "nan", "1e", "--1"])
def test_no_quantities(text: str) -> None:
    with pytest.raises(ValueError, match="is not a quantity"):
        quantity.parse(text)


def test_amounts_as_they_are_written() -> None:
    assert [quantity.cores(value) for value in (8.0, 0.5, 0.001, 1.25)] == ["8", "500m", "1m", "1250m"]
    assert [quantity.size(value) for value in (16 << 30, 1536 << 20, 1000, 0)] == ["16Gi", "1536Mi", "1000", "0"]


# --- queues of other clusters


def _multikueue(path: str, body: dict[str, Any]) -> Reply:
    """What Kueue makes of a JobSet whose queue leads to another cluster."""
    return Reply(
        {**body, "spec": {**body["spec"], "managedBy": words.MULTIKUEUE}} if body["kind"] == "JobSet" else body
    )


CHECKED = {"admissionChecksStrategy": {"admissionChecks": [{"name": "multikueue"}]}}
CPU = flavor("default", cpu="8", memory="32Gi")


@pytest.mark.parametrize(
    ("quota", "dry_run", "asked", "elsewhere"),
    [
        (cluster_queue(CPU), _multikueue, 0, False),
        (cluster_queue(CPU, **CHECKED), _multikueue, 1, True),
        (cluster_queue(CPU, **CHECKED), lambda path, body: Reply(body), 1, False),
        (cluster_queue(CPU, admissionChecks=["multikueue"]), _multikueue, 1, True),
        (denied(), _multikueue, 1, True),
    ],
)
def test_a_queue_of_other_clusters_is_known_by_what_kueue_makes_of_a_job(
    quota: Any, dry_run: Any, asked: int, *, elsewhere: bool
) -> None:
    """Where the ClusterQueue can be seen and has no checks, nothing is asked."""
    made = cluster("a", quota=quota, dry_run=dry_run)
    choosing_one = chooser(made)
    choice = [choosing_one.choose(task()) for _ in range(3)][-1]
    assert choice.elsewhere is elsewhere
    assert any("MultiKueue" in note for note in choice.notes) is elsewhere
    assert made.sent.count(f"POST {words.jobsets('team')}") == asked
