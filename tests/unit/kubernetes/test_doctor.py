"""What the doctor says of clusters that lack something, as a cluster of answers."""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from jupyter_konduktor.backends.kubernetes import doctor, words
from jupyter_konduktor.backends.kubernetes.rights import Rights
from jupyter_konduktor.backends.protocol import Finding
from jupyter_konduktor.config import Settings
from jupyter_konduktor.errors import AccessDeniedError, ApiError, UnreachableError
from jupyter_konduktor.state import QueueInfo

HERE = f"{sys.version_info.major}.{sys.version_info.minor}"
ALL = [{"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"]}]
QUEUES = words.kueue("v1beta2", "localqueues", "team")
FLAVORS = words.kueue("v1beta2", "resourceflavors")


class Answers:
    """A client that gives what a test says; an error stands for a refusal."""

    server, context, namespace, user, identity = "https://10.0.0.1:6443", "lab", "team", "alice", "alice@lab"

    def __init__(self) -> None:
        self.skew = 0.4
        self.rules: list[dict[str, Any]] = ALL
        self.groups = {
            words.JOBSET_GROUP: ["v1alpha2"],
            words.KUEUE_GROUP: ["v1beta2", "v1beta1"],
            words.VISIBILITY_GROUP: ["v1beta2"],
        }
        queue = {"metadata": {"name": "user-queue"}, "spec": {"clusterQueue": "gpus"}}
        self.objects: dict[str, Any] = {
            "/version": {"gitVersion": "v1.34.2"},
            "/api/v1/namespaces/team": {"status": {"phase": "Active"}},
            doctor._CONTROLLERS["JobSet"]: {
                "spec": {
                    "template": {"spec": {"containers": [{"image": "registry.k8s.io/jobset/jobset:v0.10.1@sha256:0"}]}}
                }
            },
            QUEUES: {"items": [queue]},
            words.kueue("v1beta2", "clusterqueues", name="gpus"): {"metadata": {"name": "gpus"}, "spec": {}},
            FLAVORS: {"items": [{"metadata": {"name": "h100"}, "spec": {"nodeLabels": {"gpu": "H100"}}}]},
        }
        self.posted: list[tuple[str, Any]] = []
        self.refusals: dict[str, ApiError] = {}

    def get(self, path: str, query: Any = None, **_: Any) -> Any:
        found = self.objects.get(path, ApiError(f"{path} is not there", status=404, reason="NotFound"))
        if isinstance(found, Exception):
            raise found
        return found

    def post(self, path: str, body: Any, query: Any = None) -> Any:
        self.posted.append((path, query))
        if path.endswith("selfsubjectrulesreviews"):
            return SimpleNamespace(body={"status": {"resourceRules": self.rules}}, warnings=())
        if path in self.refusals:
            raise self.refusals[path]
        return SimpleNamespace(body=body, warnings=())

    def served(self, group: str) -> list[str]:
        return self.groups.get(group, [])


class Lab:
    """A site on those answers."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.client = Answers()
        self.images: dict[str, tuple[str, str]] = {}
        self.queues: list[QueueInfo] | Exception = [
            QueueInfo("user-queue", running=1, pending=2, resources={"gpu": (5, 8), "memory": (2**30, 4 * 2**30)})
        ]
        monkeypatch.setattr(doctor.queues, "queues", self._queues)

    def _queues(self, site: Any) -> list[QueueInfo]:
        if isinstance(self.queues, Exception):
            raise self.queues
        return self.queues

    def look(self, **settings: Any) -> list[Finding]:
        served = self.client.groups.get(words.KUEUE_GROUP, [])
        site: Any = SimpleNamespace(
            client=self.client,
            rights=Rights(self.client),  # type: ignore[arg-type]
            namespace="team",
            kueue=next((version for version in words.KUEUE_VERSIONS if version in served), ""),
            shelf=SimpleNamespace(images=lambda: self.images),
        )
        return list(doctor.examine(site, Settings.load(settings, environ={})))

    def one(self, what: str, **settings: Any) -> Finding:
        (found,) = (item for item in self.look(**settings) if item.what == what)
        return found


@pytest.fixture
def lab(monkeypatch: pytest.MonkeyPatch) -> Lab:
    return Lab(monkeypatch)


def test_a_cluster_with_all_there_is(lab: Lab, tmp_path: Path) -> None:
    seen = lab.look(image="python:3.12", accelerators={"H100": {}}, store=str(tmp_path))
    found = {item.what: item for item in seen}
    assert [what for what, item in found.items() if not item.ok] == []
    assert found["store"].found == f"{tmp_path} can be written to"
    assert found["context"].found == "lab, user alice"
    assert found["server"].found.startswith("https://10.0.0.1:6443, Kubernetes v1.34.2, answers in ")
    assert found["identity"].found == "alice@lab"
    assert found["JobSet"].found == "v1alpha2, controller v0.10.1"
    assert found["Kueue"].found == "v1beta2, v1beta1", "a controller that cannot be seen is no matter"
    assert found["queues"].found == "user-queue: gpu 3 of 8 free, memory 3 of 4 GiB free, 2 waiting"
    assert found["queue"].found == "a job that names none goes into user-queue (ClusterQueue gpus)"
    assert found["image"].found == "python:3.12 (call); no job has run in it from here yet"
    assert found["accelerators"].found == "H100: nvidia.com/gpu on any node"


def test_a_store_that_is_none_is_said(lab: Lab) -> None:
    found = lab.one("store", store="ftp://host/x")
    assert not found.ok
    assert "s3://bucket/prefix" in found.advice


def test_nothing_is_made(lab: Lab) -> None:
    lab.look(image="python:3.12")
    made = [(path, query) for path, query in lab.client.posted if "selfsubject" not in path]
    assert made
    assert all(query == {"dryRun": "All"} for _, query in made)


def test_a_server_that_does_not_answer_is_the_last_thing_that_is_told(lab: Lab) -> None:
    lab.client.objects["/version"] = UnreachableError("no answer within 10 s", advice="Is the VPN up?")
    *_, last = found = lab.look()
    assert len(found) == 2
    assert (last.ok, last.advice) == (False, "Is the VPN up?")
    assert last.found == "https://10.0.0.1:6443: no answer within 10 s"


def test_each_right_that_is_missing_says_what_does_not_work_without_it(lab: Lab) -> None:
    lab.client.rules = [
        {"verbs": ["create", "get", "list", "watch"], "apiGroups": ["jobset.x-k8s.io"], "resources": ["jobsets"]},
        {"verbs": ["get", "list", "watch"], "apiGroups": ["*"], "resources": ["*", "*/*"]},
    ]
    found = [item for item in lab.look() if item.what == "rights"]
    assert found[0].ok is False
    assert found[0].found == "you cannot make, follow and cancel jobs: patch, delete jobsets.jobset.x-k8s.io is denied"
    assert found[0].advice.endswith("rbac --namespace team --user alice@lab | kubectl apply -f -")
    assert "you cannot stop and resume jobs: patch workloads.kueue.x-k8s.io is denied" in [i.found for i in found]
    assert {(item.ok, item.advice) for item in found[1:]} == {(None, "")}


def test_the_roles_of_a_service_account_are_asked_for_by_its_name(lab: Lab) -> None:
    lab.client.rules = []
    lab.client.identity = "system:serviceaccount:hub:alice"
    (advice,) = {item.advice for item in lab.look() if item.what == "rights"} - {""}
    assert "--serviceaccount hub:alice" in advice


@pytest.mark.parametrize(("group", "what"), [(words.JOBSET_GROUP, "JobSet"), (words.KUEUE_GROUP, "Kueue")])
def test_what_is_not_installed_is_said(lab: Lab, group: str, what: str) -> None:
    del lab.client.groups[group]
    found = lab.one(what)
    assert found.ok is False
    assert found.found.startswith("not installed")
    assert group in found.advice
    assert next(item for item in lab.look() if item.what == "queue").ok is False


def test_positions_that_cannot_be_seen_are_no_harm(lab: Lab) -> None:
    del lab.client.groups[words.VISIBILITY_GROUP]
    assert lab.one("positions").ok is None


def test_a_namespace_that_is_not_there_is_told_from_one_that_cannot_be_seen(lab: Lab) -> None:
    path = "/api/v1/namespaces/team"
    lab.client.objects[path] = AccessDeniedError("no", status=403)
    assert lab.one("namespace").ok is None
    del lab.client.objects[path]
    assert lab.one("namespace").found == "team does not exist"
    lab.client.objects[path] = {"status": {"phase": "Terminating"}}
    assert lab.one("namespace") == Finding("namespace", False, "team is Terminating")


def test_a_queue_that_takes_nothing_is_wrong_if_there_is_no_other(lab: Lab) -> None:
    stopped, open_ = QueueInfo("a", message="it is stopped"), QueueInfo("b")
    lab.queues = [stopped]
    assert lab.one("queues") == Finding("queues", False, "a: 0 waiting; it is stopped")
    lab.queues = [stopped, open_]
    assert [item.ok for item in lab.look() if item.what == "queues"] == [None, True]
    lab.queues = []
    assert lab.one("queues").found == "team has none"
    lab.queues = AccessDeniedError("no", status=403)
    assert lab.one("queues").ok is None


def test_a_choice_between_queues_is_left_to_the_user(lab: Lab) -> None:
    items = [{"metadata": {"name": name}, "spec": {"clusterQueue": "gpus"}} for name in ("fast", "slow")]
    lab.client.objects[QUEUES] = {"items": items}
    found = lab.one("queue")
    assert (found.ok, "fast, slow" in found.found) == (False, True)
    assert "goes into slow (ClusterQueue gpus)" in lab.one("queue", queue="slow").found


def test_the_python_of_the_image_is_held_against_ours(lab: Lab) -> None:
    assert (lab.one("image").ok, lab.one("image").found) == (None, "not set")
    lab.images["python:3.12"] = ("sha256:0", f"{HERE}.7")
    assert lab.one("image", image="python:3.12") == Finding("image", True, f"python:3.12 (call), Python {HERE}.7")
    lab.images["python:3.12"] = ("sha256:0", "3.8.1")
    found = lab.one("image", image="python:3.12")
    assert (found.ok, f"This is Python {HERE}" in found.advice) == (None, True)


def test_a_runner_that_cannot_be_kept_there_travels_in_each_job(lab: Lab) -> None:
    path = words.core("team", "configmaps")
    lab.client.refusals[path] = AccessDeniedError("no", status=403)
    assert lab.one("runner").ok is None
    lab.client.refusals[path] = ApiError("there", status=409, reason="AlreadyExists")
    assert lab.one("runner").ok
    lab.client.refusals[path] = ApiError("exceeded quota: team", status=422, reason="Invalid")
    assert lab.one("runner") == Finding("runner", False, "exceeded quota: team")


def test_a_clock_that_is_wrong_is_told(lab: Lab) -> None:
    lab.client.skew = 45.2
    assert lab.one("clock").found == "this machine is 45 s behind the cluster"
    lab.client.skew = -29.0
    assert lab.one("clock") == Finding("clock", True, "within 29 s of the cluster's")


def test_kinds_of_gpus_are_held_against_the_flavors(lab: Lab) -> None:
    assert "h100 (gpu=H100)" in lab.one("accelerators").found
    wrong = lab.one("accelerators", accelerators={"H100": {"nodeSelector": {"gpu": "h100"}}})
    assert (wrong.ok, wrong.advice) == (False, "Mend accelerators.H100.")
    assert "H100: nvidia.com/gpu on gpu=h100, which no flavor has" in wrong.found
    assert lab.one("accelerators", accelerators={"H100": {"nodeSelector": {"gpu": "H100"}}}).ok
    typo = lab.one("accelerators", accelerators={"H100": {"nodeselector": {}}})
    assert (typo.ok, "did you mean nodeSelector" in typo.found) == (False, True)
    lab.client.rules = []
    assert lab.one("accelerators", accelerators={"H100": {}}).ok is None
