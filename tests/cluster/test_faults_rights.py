"""Users who may do less than they need: with exactly our roles, and with each single verb of them taken away."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from jupyter_konduktor.backends.kubernetes import rights
from jupyter_konduktor.backends.kubernetes.backend import KubernetesBackend
from jupyter_konduktor.config import Settings
from jupyter_konduktor.errors import KonduktorError
from jupyter_konduktor.payload import capture_call
from jupyter_konduktor.state import JobState
from jupyter_konduktor.task import Task
from tests.cluster.proxy import wait_until
from tests.testbed.cluster import Cluster, Namespace

pytestmark = pytest.mark.timeout(180)

TAKEN = [
    (rule["apiGroups"][0], rule["resources"][0], verb)
    for role in (rights.role(""), rights.cluster_role())
    for rule in role["rules"]
    for verb in rule["verbs"]
]
NO_IMAGE = "localhost/nobody/nothing:1"  # what need not run costs the node nothing
SCRIPT = 'echo hello; echo 5 > "$KONDUKTOR_OUTPUT_DIR/result.json"'


def without(role: dict[str, Any], taken: tuple[str, str, str] | None) -> list[dict[str, Any]]:
    """The rules of a role, less one verb."""
    found = []
    for rule in role["rules"]:
        verbs = [verb for verb in rule["verbs"] if taken != (rule["apiGroups"][0], rule["resources"][0], verb)]
        found += [{**rule, "verbs": verbs}] if verbs else []
    return found


@pytest.fixture(scope="module")
def place(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Namespace]:
    made = cluster.new_namespace({"cpu": "1"})
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("JUPYTER_DATA_DIR", str(tmp_path_factory.mktemp("data")))
        yield made
    made.remove()


class Person:
    """Somebody with some rights, and the say of what the cluster does not allow."""

    def __init__(self, place: Namespace, kubeconfig: Path) -> None:
        self.place = place
        self.backend = KubernetesBackend(
            Settings.load({"backend": "kubernetes", "kubeconfig": str(kubeconfig), "namespace": place.name, "grace": 1})
        )

    def task(self, script: str, **options: Any) -> Task:
        where = {"name": "t", "image": self.place.cluster.image, "cpus": "10m", "queue": self.place.queue}
        return Task.create(kind="command", command=["sh", "-c", script], **{**where, **options})

    def refused(self, call: Any, *arguments: Any, **options: Any) -> str:
        """What a call is refused with; empty if it is not."""
        try:
            call(*arguments, **options)
        except KonduktorError as error:
            return f"{type(error).__name__}: {error}"
        return ""

    def live(self) -> dict[str, str]:
        """Run a job to its end, stop and cancel another, and give what came of each step."""
        backend, said = self.backend, {}
        task = self.task(SCRIPT, priority="low-priority")
        try:
            said["check"] = " ".join(backend.check(task))
        except KonduktorError:
            said["check"] = ""
        said["submit"] = self.refused(backend.submit, task, None, key=uuid.uuid4().hex)
        if said["submit"]:
            return said
        job = backend.submit(task, None, key=uuid.uuid4().hex)
        try:
            wait_until(lambda: backend.get(job.name).state.final)
        except (AssertionError, KonduktorError) as error:
            return {**said, "state": f"{error!r}: {self.refused(backend.get, job.name)}"}
        said["state"] = str(backend.get(job.name).state)
        said["log"] = self.refused(backend.read_log, job.name) or backend.read_log(job.name).data.decode()
        said["result"] = self.refused(backend.read_envelope, job.name) or str(backend.read_envelope(job.name))
        said["list"] = self.refused(backend.list)
        large = capture_call(len, (os.urandom(150_000),), {})
        call = replace(self.task("true"), kind="function", command=None, image=NO_IMAGE)
        said["large"] = self.refused(backend.submit, call, large, key=uuid.uuid4().hex)
        said["unnamed"] = self.refused(backend.check, self.task("true", queue=None))
        other = backend.submit(self.task("true", image=NO_IMAGE), None, key=uuid.uuid4().hex)
        wait_until(lambda: backend.get(other.name).state is not JobState.QUEUED)
        said["stop"] = self.refused(backend.stop, other.name)
        said["cancel"] = self.refused(backend.cancel, other.name)
        return said


# What a verb that is taken away changes, and the words that have to stand there; all else goes as it should.
CHANGES: dict[tuple[str, str], dict[str, str]] = {
    ("jobsets", "create"): {"submit": "AccessDeniedError: You may not create jobsets"},
    ("jobsets", "list"): {"list": 'cannot list resource "jobsets"'},
    ("jobsets", "delete"): {"cancel": "you may not delete jobsets"},
    ("workloads", "patch"): {"stop": "you may not patch workloads"},
    ("workloads", "list"): {"stop": "you may not list workloads"},
    ("localqueues", "list"): {"unnamed": "you may not see the queues"},
    ("pods", "list"): {"result": "you may not list pods", "log": "list pods"},
    ("pods/log", "get"): {"log": 'cannot get resource "pods/log"'},
    ("secrets", "create"): {"large": "without the right to create Secrets"},
}
GOOD = {
    **dict.fromkeys(("submit", "list", "large", "unnamed", "stop", "cancel"), ""),
    "state": "Succeeded",
    "log": "hello\n",
    "result": 'b\'{"exit":0,"value":5}\'',
}
NOTED = {"clusterqueues", "resourceflavors", "workloadpriorityclasses", "jobsets"}  # others' absence is told at submit


def test_every_right_is_used_and_none_else_is_needed(place: Namespace) -> None:
    """One user with our roles, and one more for each verb of them, all at once."""

    def live(number: int, taken: tuple[str, str, str] | None) -> dict[str, str]:
        roles = (rights.role(place.name), rights.cluster_role())
        rules, of_cluster = (without(role, taken) for role in roles)
        path = place.cluster.new_user(f"{place.name}-u{number}", place.name, rules, of_cluster)
        person = Person(place, path)
        try:
            lacking = []
            if taken is not None:
                group, resource, verb = taken
                lacking = [f"{verb} on {resource}" + (f".{group}" if group else "")]
            client = person.backend.site.client
            # A role that was made just now is not in force at once.
            wait_until(lambda: [line.split(": ")[1] for line in rights.Rights(client).missing()] == lacking)
            return person.live()
        finally:
            person.backend.close()

    cases = [None, *TAKEN]
    with ThreadPoolExecutor(6) as pool:
        lives = list(pool.map(live, range(len(cases)), cases))
    wrong = []
    for taken, said in zip(cases, lives, strict=True):
        changes = CHANGES.get(taken[1:], {}) if taken is not None else {}
        for step, found in said.items():
            if step == "check":
                noted = taken is not None and taken[1] not in NOTED
                good = (f"{taken[2]} on {taken[1]}" in found) if noted and taken is not None else True
            elif step in changes:
                good = bool(found) and changes[step] in found
            else:
                good = found == GOOD[step]
            if not good:
                wrong.append(f"without {taken}: {step} gives {found!r}")
    assert not wrong, "\n".join(wrong)
