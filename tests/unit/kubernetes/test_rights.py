"""What a user may do, as the cluster says it in one answer or in many."""

from __future__ import annotations

import getpass
from typing import Any

import pytest

from jupyter_konduktor.backends.kubernetes.rights import KEEP, USES, Rights, cluster_role, role, user_id
from jupyter_konduktor.backends.kubernetes.sending.manifest import User
from tests.unit.kubernetes.cluster import Cluster, denied


def rule(group: str, resources: str, verbs: str, **more: Any) -> dict[str, Any]:
    return {"apiGroups": [group], "resources": resources.split(), "verbs": verbs.split(), **more}


def rights(cluster: Cluster, clock: list[float] | None = None) -> Rights:
    now = clock or [0.0]
    return Rights(cluster, clock=lambda: now[0])  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("rules", "question", "answer"),
    [
        ([rule("", "pods", "get list")], ("list", "", "pods"), True),
        ([rule("", "pods", "get list")], ("create", "", "pods"), False),
        ([rule("", "pods", "get")], ("get", "", "pods", "log"), False),
        ([rule("", "pods/log", "get")], ("get", "", "pods", "log"), True),
        ([rule("", "*/log", "get")], ("get", "", "pods", "log"), True),
        ([rule("*", "*", "*")], ("get", "", "pods", "log"), True),
        ([rule("batch", "pods", "get")], ("get", "", "pods"), False),
        ([rule("", "secrets", "get", resourceNames=["one"])], ("get", "", "secrets"), False),
        ([{"verbs": ["get"]}], ("get", "", "pods"), False),
        ([], ("get", "", "pods"), False),
    ],
)
def test_rules_are_read_as_rbac_reads_them(
    rules: list[dict[str, Any]], question: tuple[str, ...], answer: bool
) -> None:
    assert rights(Cluster(rules=rules)).allows(*question) is answer


def test_one_request_a_minute_for_all_questions() -> None:
    cluster, clock = Cluster(), [0.0]
    asked = rights(cluster, clock)
    assert asked.missing() == []
    assert cluster.sent == ["POST /apis/authorization.k8s.io/v1/selfsubjectrulesreviews"]
    clock[0] = KEEP + 1
    asked.allows("get", "", "pods")
    assert len(cluster.sent) == 2


def test_an_authorizer_that_lists_no_rules_is_asked_each_question_once() -> None:
    asked: list[dict[str, Any]] = []

    def answer(attributes: dict[str, Any]) -> bool:
        asked.append(attributes)
        return bool(attributes["verb"] == "get")

    cluster = Cluster(rules=[rule("", "pods", "list")], incomplete=True, allowed=answer)
    held = rights(cluster)
    for _ in range(2):
        assert held.allows("list", "", "pods")
        assert held.allows("get", "kueue.x-k8s.io", "clusterqueues")
        assert not held.allows("create", "", "secrets")
        assert held.allows("get", "", "pods", "log")
    assert [item["resource"] + "/" + item["subresource"] for item in asked] == [
        "clusterqueues/",
        "secrets/",
        "pods/log",
    ]
    assert [item["namespace"] for item in asked] == ["", "team", "team"]


def test_a_cluster_without_reviews_is_taken_to_allow_what_is_tried() -> None:
    class Refusing(Cluster):
        def post(self, path: str, body: dict[str, Any], query: Any = None) -> Any:
            raise denied()

    assert rights(Refusing()).missing() == []


def test_what_is_missing_is_named_with_what_it_is_for() -> None:
    rules = [each for each in role("team")["rules"] if each["resources"] != ["pods/log"]]
    rules = [{**each, "verbs": ["get", "list", "watch"]} for each in rules]
    missing = rights(Cluster(rules=rules)).missing()
    assert missing[0] == "make, follow and cancel jobs: create, patch, delete on jobsets.jobset.x-k8s.io"
    assert "read logs: get on pods/log" in missing
    assert not any("try a pod" in line for line in missing)


def test_the_roles_give_everything_that_is_used() -> None:
    rules = role("team")["rules"] + cluster_role()["rules"]
    held = rights(Cluster(rules=rules))
    assert held.missing() == []
    assert [use.what for use in USES if not use.granted] == ["try a pod before a job is made"]
    assert not held.allows("create", "", "pods")
    assert not held.allows("get", "", "secrets")


def test_who_a_job_belongs_to(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JUPYTERHUB_USER", "me@example.com")
    assert user_id(Cluster()) == User.of("me@example.com").id  # type: ignore[arg-type]
    monkeypatch.delenv("JUPYTERHUB_USER")
    assert user_id(Cluster()) == User.of("alice").id  # type: ignore[arg-type]
    monkeypatch.setattr(getpass, "getuser", lambda: "me")
    assert user_id(Cluster(identity="")) == User.of("me").id  # type: ignore[arg-type]
