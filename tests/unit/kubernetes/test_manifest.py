"""The JobSet that a task becomes, against files that hold it whole.

``WRITE_GOLDEN=1 pytest ...`` writes the files anew; then read their diff.
"""

from __future__ import annotations

import difflib
import json
import os
from pathlib import Path
from typing import Any

import pytest
import yaml

from jupyter_konduktor.backends.kubernetes import rights, words
from jupyter_konduktor.backends.kubernetes.sending.manifest import Delivery, Order, User, build, template_of
from jupyter_konduktor.backends.kubernetes.sending.manifest.pod import container_of
from jupyter_konduktor.errors import ConfigError, InvalidTaskError
from jupyter_konduktor.naming import MAX_NAME
from jupyter_konduktor.spelling import MAX_NODES
from jupyter_konduktor.task import Task

GOLDEN = Path(__file__).parent / "golden"


def order(name: str = "train-7fq2x", **changes: Any) -> Order:
    options = {"kind": "cell", "name": "train", "image": "ghcr.io/team/train:v1"}
    task = changes.pop("task", {})
    made = task if isinstance(task, Task) else Task.create(**{**options, **task})
    values: dict[str, Any] = {
        "task": made,
        "name": name,
        "namespace": "team",
        "user": User.of("alice@example.com"),
        "image": made.image,
        "queue": "user-queue",
        "key": "ab" * 32,
        "submitted_ns": 1_760_000_000_000_000_000,
        "nonce": "0123456789abcdef",
        "origin": {"notebook": "train.ipynb", "cell": "c1"},
        "grace": 10.0,
        "command": ["python3", "-c", "BOOT", '{"v":1}'],
    }
    return Order(**{**values, **changes})


def env_of(jobset: dict[str, Any]) -> dict[str, Any]:
    return {item["name"]: item.get("value", item.get("valueFrom")) for item in container(jobset)["env"]}


def container(jobset: dict[str, Any]) -> dict[str, Any]:
    return container_of(template_of(jobset))


H100 = {
    "H100": {
        "nodeSelector": {"nvidia.com/gpu.product": "NVIDIA-H100-80GB-HBM3"},
        "tolerations": [{"key": "team", "operator": "Equal", "value": "research", "effect": "NoSchedule"}],
        "pod_config": {"spec": {"containers": [{"resources": {"limits": {"rdma/ib": 1}}}]}},
    }
}
RICH = {
    "metadata": {"labels": {"cost-center": "42"}, "annotations": {"example.com/team": "research"}},
    "spec": {
        "serviceAccountName": "trainer",
        "imagePullSecrets": [{"name": "registry"}],
        "runtimeClassName": "nvidia",
        "hostNetwork": True,
        "terminationGracePeriodSeconds": 60,
        "securityContext": {"runAsUser": 5000, "fsGroup": None},
        "tolerations": [{"key": "spot", "operator": "Exists"}],
        "volumes": [
            {"name": "dshm", "emptyDir": {"medium": "Memory", "sizeLimit": "64Gi"}},
            {"name": "data", "persistentVolumeClaim": {"claimName": "shared"}},
        ],
        "containers": [
            {
                "imagePullPolicy": "Never",
                "securityContext": {"capabilities": {"add": ["IPC_LOCK"]}},
                "env": [{"name": "NCCL_DEBUG", "value": "INFO"}, {"name": "PYTHONUNBUFFERED", "value": "1"}],
                "resources": {"requests": {"cpu": "4"}},
                "volumeMounts": [
                    {"name": "dshm", "mountPath": "/dev/shm"},
                    {"name": "data", "mountPath": "/data"},
                ],
            },
            {"name": "exporter", "image": "exporter:1", "args": ["--port=$(PORT)"]},
        ],
    },
}
ORDERS = {
    "cell": lambda: order(delivery=Delivery({"KONDUKTOR_PAYLOAD": "UEFZ"}, config_map="konduktor-runner-1a2b")),
    "gang": lambda: order(
        task={
            "gpus": "H100:8",
            "nodes": 2,
            "cpus": 96,
            "memory": "512Gi",
            "priority": "high-priority",
            "timeout": "90.5",
            "max_restarts": 3,
            "env": {"LR": "1e-3", "PRICE": "$5 $(HOME) $$"},
            "secrets": {"HF_TOKEN": "hub/token"},
            "volumes": {"datasets": "/data"},
            "topology": ["required:cloud.provider.com/topology-block", "exclusive:cloud.provider.com/topology-rack"],
        },
        accelerators=H100,
        delivery=Delivery(secret="train-7fq2x-payload"),
        shm=16 << 30,
    ),
    "no-queue": lambda: order(
        queue=None, task={"timeout": "1h", "cpus": 0.5, "priority": "high-priority", "max_restarts": 1}
    ),
    "pod-config": lambda: order(pod_config=RICH, task={"env": {"NCCL_DEBUG": "WARN"}}),
    "map": lambda: order(task={"kind": "map", "items": 1000, "max_parallel": 4, "retries": 2, "max_restarts": 3}),
    "amd": lambda: order(task={"gpus": "MI300X:8", "kind": "command", "command": ["./train.sh", "$HOME"]}, cpus=None),
}


@pytest.mark.parametrize("name", ORDERS)
def test_jobset(name: str) -> None:
    compare(f"{name}.yaml", build(ORDERS[name]()))


def test_a_job_with_a_store_has_its_urls_mounted() -> None:
    made = build(order(delivery=Delivery(links="train-7fq2x-links"), store="s3://bucket/prefix"))
    assert template_of(made)["spec"]["terminationGracePeriodSeconds"] == 10 + 30, "time to send the last checkpoint"
    assert {"name": words.LINKS_VOLUME, "secret": {"secretName": "train-7fq2x-links"}} in template_of(made)["spec"][
        "volumes"
    ]
    mount = {"name": words.LINKS_VOLUME, "mountPath": words.LINKS_DIR, "readOnly": True}
    assert mount in container(made)["volumeMounts"]
    assert json.loads(made["metadata"]["annotations"][words.TASK])["store"] == "s3://bucket/prefix"


def test_roles() -> None:
    group = {"kind": "Group", "name": "researchers"}
    documents = [rights.role("team"), rights.cluster_role(), *rights.bindings("team", group)]
    compare("roles.yaml", *documents)


def compare(file: str, *documents: dict[str, Any]) -> None:
    """Compare documents with a file; what differs is told as a diff."""
    found = yaml.safe_dump_all(documents, sort_keys=True, width=1000)
    path = GOLDEN / file
    if os.environ.get("WRITE_GOLDEN"):
        path.write_text(found)
    held = path.read_text()
    diff = difflib.unified_diff(held.splitlines(), found.splitlines(), str(path), "now", lineterm="")
    assert found == held, "\n" + "\n".join(diff)


def test_nothing_given_is_changed() -> None:
    before = json.dumps([RICH, H100])
    build(ORDERS["pod-config"]())
    build(ORDERS["gang"]())
    assert json.dumps([RICH, H100]) == before


def test_every_dollar_comes_out_as_it_went_in() -> None:
    jobset = build(order(task={"env": {"A": "$(HOME)$$x$"}}, command=["python3", "-c", "a = '$(PATH)'"]))
    assert env_of(jobset)["A"] == "$$(HOME)$$$$x$$"
    assert container(jobset)["command"][2] == "a = '$$(PATH)'"


def test_who_sets_a_variable_last() -> None:
    config = {
        "spec": {"containers": [{"env": [{"name": "A", "value": "config"}, {"name": "MASTER_PORT", "value": "1"}]}]}
    }
    found = env_of(build(order(task={"env": {"A": "task"}}, pod_config=config)))
    assert (found["A"], found["MASTER_PORT"], found["NUM_NODES"]) == ("task", "1", "1")


def test_a_secret_takes_the_place_of_a_variable_of_pod_config() -> None:
    config = {"spec": {"containers": [{"env": [{"name": "TOKEN", "value": "x"}]}]}}
    jobset = build(order(task={"secrets": {"TOKEN": "hub/token"}}, pod_config=config))
    entries = [item for item in container(jobset)["env"] if item["name"] == "TOKEN"]
    assert entries == [{"name": "TOKEN", "valueFrom": {"secretKeyRef": {"name": "hub", "key": "token"}}}]


def test_the_longest_name_with_the_most_nodes_fits() -> None:
    name = "a" * MAX_NAME + "-7fq2x"
    jobset = build(order(name, task={"nodes": MAX_NODES}))
    assert len(f"{name}-workers-0-{MAX_NODES - 1}-abcde") <= 63
    assert "NODE_HOST_IPS" not in env_of(jobset)
    assert all(len(value) <= 63 for value in jobset["metadata"]["labels"].values())


def test_host_names_of_several_nodes() -> None:
    found = env_of(build(order("a-00000", task={"nodes": 3})))
    assert found["NODE_HOST_IPS"].split(",")[2] == "a-00000-workers-0-2.a-00000"
    assert found["MASTER_ADDR"] == "a-00000-workers-0-0.a-00000"


@pytest.mark.parametrize(
    ("changes", "field", "said"),
    [
        ({"name": "A_b"}, "name", "lower-case"),
        ({"name": "a" * 60}, "name", "at most 45 characters"),
        ({"name": "a" * 45, "task": {"nodes": 100}}, "name", "at most 44 characters"),
        ({"queue": "q" * 64}, "queue", "at most 63"),
        ({"task": {"priority": "-5"}}, "priority", "becomes a label"),
        ({"task": {"env": {"BIG": "x" * 140_000}}}, "env", "131,072"),
        ({"task": {"env": {f"N{n}": "x" * 100_000 for n in range(3)}}}, "env", "262,144"),
        ({"origin": {"cell": "x" * 300_000}}, "origin", "262,144"),
        ({"command": ["x" * 140_000]}, "command", "131,072"),
        ({"task": {"env": {"RANK": "0"}}}, "env", "RANK is set by the job itself"),
        ({"task": {"secrets": {"KONDUKTOR_X": "a/b"}}}, "secrets", "KONDUKTOR_X is set by the job itself"),
        ({"task": {"secrets": {"TOKEN": ""}}}, "secrets", "TOKEN=secret/key"),
        ({"task": {"secrets": {"T": "a/b"}, "env": {"T": "1"}}}, "secrets", "in env as well"),
        ({"task": {"secrets": {"/proc/x": "a/b"}}}, "secrets", "/proc/x is the job's own"),
        (
            {"task": {"secrets": {"/run/../konduktor/output/x": "a/b"}}},
            "secrets",
            "/konduktor/output/x is the job's own",
        ),
        ({"task": {"secrets": {"~/": "a/b"}}}, "secrets", "the job's own"),
        ({"task": {"volumes": {"data": "/konduktor/output"}}}, "volumes", "the job's own"),
        ({"task": {"volumes": {"data": "/dev/shm/"}}}, "volumes", "the job's own"),
        ({"task": {"volumes": {"data": "/"}}}, "volumes", "the job's own"),
        ({"task": {"volumes": {"a": "/x", "b": "/x/"}}}, "volumes", "two claims"),
    ],
)
def test_what_kubernetes_would_not_take_is_named(changes: dict[str, Any], field: str, said: str) -> None:
    with pytest.raises(InvalidTaskError, match=said.replace("(", r"\(")) as caught:
        build(order(**changes))
    assert caught.value.field == field
    assert len(str(caught.value)) < 600


def test_credentials_of_an_unknown_cloud_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"credentials: azure = 'keys'") as caught:
        build(order(credentials={"azure": "keys"}))
    assert "aws and gcloud" in caught.value.advice


@pytest.mark.parametrize(
    ("name", "user_id", "username"),
    [
        ("alice", "alice-2bd806c9", "alice"),
        ("system:serviceaccount:team:bot", "system-serviceaccount-team-bot-", "system-serviceaccount-team-bot"),
        ("me@example.com", "me-example.com-", "me-example.com"),
        ("Ærøskøbing", "r-sk-bing-", "r-sk-bing"),
        ("***", "user-", "user"),
        ("x" * 200, "x" * 54 + "-", "x" * 63),
    ],
)
def test_a_user_as_a_label(name: str, user_id: str, username: str) -> None:
    user = User.of(name)
    assert user.id.startswith(user_id)
    assert len(user.id.rpartition("-")[2]) == 8
    assert user.name == username
    assert len(user.id) <= 63


def test_users_who_look_alike_have_ids_of_their_own() -> None:
    assert User.of("a:b").id != User.of("a@b").id


@pytest.mark.parametrize(
    ("accelerators", "said"),
    [
        ({"H100": {"nodeselector": {}}}, "accelerators.H100.nodeselector is not a setting; did you mean nodeSelector"),
        ({"h100": {"resource": 8}}, "accelerators.h100.resource must be a text"),
        ({"H100": "gpu"}, "accelerators.H100 must be a table"),
        ({"H100": {"nodeSelector": {"a": True}}}, "accelerators.H100.nodeSelector must have texts"),
        ({"H100": {"tolerations": ["x"]}}, "accelerators.H100.tolerations must be a list of tables"),
        ({"H100": {"pod_config": {"spec": {"x": 1}}}}, "accelerators.H100.pod_config.spec.x is no field of a pod"),
    ],
)
def test_accelerators_are_checked(accelerators: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        build(order(task={"gpus": "H100"}, accelerators=accelerators))


def spec(**values: Any) -> dict[str, Any]:
    return {"spec": values}


def ours(**values: Any) -> dict[str, Any]:
    return {"spec": {"containers": [values]}}


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ({"Spec": {}}, r"pod_config.Spec is no field of a pod; did you mean spec\?"),
        (spec(nodeselector={}), r"pod_config.spec.nodeselector is no field of a pod; did you mean nodeSelector\?"),
        (spec(nodeSelector={"a": True}), r"pod_config.spec.nodeSelector must be a table of texts"),
        (spec(tolerations={}), r"pod_config.spec.tolerations must be a list"),
        (spec(hostNetwork="yes"), r"pod_config.spec.hostNetwork must be true or false"),
        (spec(restartPolicy="Always"), r"pod_config.spec.restartPolicy cannot be set: max_restarts"),
        (spec(hostname="x"), r"pod_config.spec.hostname cannot be set"),
        (spec(terminationGracePeriodSeconds=5), r"pod_config.spec.terminationGracePeriodSeconds must be at least 13"),
        (spec(volumes=["x"]), r"pod_config.spec.volumes\[0\] must be a table with a name"),
        (spec(volumes=[{"name": "konduktor-payload"}]), r"konduktor-payload is the job's own"),
        (spec(containers=["x"]), r"pod_config.spec.containers\[0\] must be a table"),
        (spec(containers=[{}, {}]), r"pod_config.spec.containers\[1\]: there are two containers konduktor-container"),
        (spec(containers=[{"name": "ray-node"}]), r"containers\[0\] is named ray-node and has no image"),
        (spec(initContainers=[{"image": "x"}]), r"initContainers\[0\] must be a table with a name"),
        (spec(imagePullSecrets=["registry"]), r"pod_config.spec.imagePullSecrets\[0\] must be a table with a name"),
        (ours(command=["sh"]), r"containers\[0\].command cannot be set"),
        (ours(image="x"), r"containers\[0\].image cannot be set: image is a setting"),
        (ours(terminationMessagePath="/x"), r"terminationMessagePath cannot be set: the result"),
        (ours(env={"A": "1"}), r"containers\[0\].env must be a list"),
        (ours(env=[{"name": "A", "value": 1}]), r"containers\[0\].env\[0\].value must be a text: put 1 in quotes"),
        (ours(env=[{"name": "RANK", "value": "1"}]), r"containers\[0\].env\[0\]: RANK is set by the job itself"),
        (ours(volumeMounts=[{"name": "x"}]), r"volumeMounts\[0\] must be a table with a mountPath"),
        (ours(volumeMounts=[{"name": "x", "mountPath": "/konduktor/output/"}]), r"/konduktor/output/ is the job's own"),
        ({"metadata": {"name": "x"}}, r"pod_config.metadata.name is no field of a pod's metadata"),
        ({"metadata": {"labels": {"kueue.x-k8s.io/queue-name": "x"}}}, r"queue-name is set by the job itself"),
        ({"metadata": {"labels": {"trainy.ai/user-id": "x"}}}, r"trainy.ai/user-id is set by the job itself"),
    ],
)
def test_pod_config_is_checked(config: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        build(order(pod_config=config))


def test_null_takes_a_key_away() -> None:
    config = spec(securityContext=None, containers=[{"securityContext": {"capabilities": None}}])
    pod = template_of(build(order(pod_config=config)))
    assert "securityContext" not in pod["spec"]
    assert container_of(pod)["securityContext"] == {"allowPrivilegeEscalation": False}


def test_tolerations_are_added_and_a_volume_is_replaced() -> None:
    toleration = {"key": "nvidia.com/gpu", "operator": "Exists"}
    config = spec(
        tolerations=[toleration, {"key": "spot", "operator": "Exists"}],
        volumes=[{"name": words.WORK_VOLUME, "emptyDir": {"sizeLimit": "1Gi"}}],
    )
    found = template_of(build(order(task={"gpus": 1}, pod_config=config)))["spec"]
    assert found["tolerations"] == [toleration, {"key": "spot", "operator": "Exists"}]
    assert [item for item in found["volumes"] if item["name"] == words.WORK_VOLUME] == config["spec"]["volumes"]


def test_what_the_task_asks_for_comes_before_pod_config() -> None:
    config = ours(resources={"requests": {"cpu": "2", "memory": "1Gi"}, "limits": {"memory": "2Gi"}})
    found = container(build(order(task={"cpus": 3, "memory": "4Gi"}, pod_config=config)))["resources"]
    assert found == {"requests": {"cpu": "3", "memory": "4Gi"}, "limits": {"memory": "4Gi"}}


@pytest.mark.parametrize(
    ("asked", "found"),
    [
        ((), {words.PREFERRED_TOPOLOGY: "rack"}),
        (("required:block",), {words.REQUIRED_TOPOLOGY: "block"}),
        (("unconstrained",), {words.UNCONSTRAINED_TOPOLOGY: "true"}),
        (("exclusive:rack",), {words.PREFERRED_TOPOLOGY: "rack"}),
    ],
)
def test_one_topology_is_asked_of_kueue(asked: tuple[str, ...], found: dict[str, str]) -> None:
    """It refuses a job with two of them."""
    config = {"metadata": {"annotations": {words.PREFERRED_TOPOLOGY: "rack"}}}
    annotations = template_of(build(order(task={"topology": asked}, pod_config=config)))["metadata"]["annotations"]
    assert {key: text for key, text in annotations.items() if "topology" in key} == found


def test_a_named_container_is_ours_at_any_place() -> None:
    config = spec(
        containers=[
            {"name": "side", "image": "x"},
            {"name": words.CONTAINER, "env": [{"name": "A", "value": "1"}]},
        ]
    )
    jobset = build(order(pod_config=config))
    assert env_of(jobset)["A"] == "1"
    assert [item["name"] for item in template_of(jobset)["spec"]["containers"]] == [words.CONTAINER, "side"]


def test_the_task_comes_back_from_its_annotation() -> None:
    made = order(task={"gpus": "H100:8", "env": {"A": "é$"}})
    annotation = build(made)["metadata"]["annotations"][words.TASK]
    assert Task.from_json(json.loads(annotation)) == made.task
    assert json.loads(annotation)["nonce"] == made.nonce
