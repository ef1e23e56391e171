"""Very many JobSets, put into etcd as the API server itself would: past its webhooks, which take 10 ms for each."""

from __future__ import annotations

import base64
import json
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from jupyter_konduktor.backends.kubernetes import words
from tests.testbed.cluster import Cluster, Namespace

NOBODY = "jupyter-konduktor.example/nobody"
"""Whom `spec.managedBy` names, so that no controller does anything about them."""

_AT_ONCE = 100  # operations of one transaction; etcd takes 128


def jobset(namespace: str, name: str, user: str) -> dict[str, Any]:
    """Write a held JobSet of ours, as small as it can be."""
    task = {"name": "many", "kind": "command", "command": ["true"], "image": "none"}
    container = {"name": words.CONTAINER, "image": "none", "command": ["true"]}
    pod = {"spec": {"restartPolicy": "Never", "containers": [container]}}
    job = {"parallelism": 1, "completions": 1, "template": pod}
    return {
        "apiVersion": f"{words.JOBSET_GROUP}/{words.JOBSET_VERSION}",
        "kind": "JobSet",
        "metadata": {
            "name": name,
            "namespace": namespace,
            "uid": str(uuid.uuid4()),
            "generation": 1,
            "creationTimestamp": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
            "labels": {words.MANAGED: "true", words.JOB_NAME: name, words.USER_ID: user, words.USERNAME: user},
            "annotations": {words.TASK: json.dumps(task), words.ORIGIN: "{}"},
        },
        "spec": {
            "managedBy": NOBODY,
            "suspend": True,
            "network": {"enableDNSHostnames": False, "publishNotReadyAddresses": True},
            "replicatedJobs": [{"name": words.REPLICATED_JOB_NAME, "replicas": 1, "template": {"spec": job}}],
        },
    }


@contextmanager
def crowd(cluster: Cluster, namespace: Namespace, count: int, user: str) -> Iterator[list[str]]:
    """That many JobSets of a user for a while; gives their names."""
    cluster.part("etcd")  # skips where the cluster is someone else's
    names = [f"{user}-{number:05d}" for number in range(count)]
    place = f"/registry/{words.JOBSET_GROUP}/jobsets/{namespace.name}/{user}-"
    puts = []
    for name in names:
        value = json.dumps(jobset(namespace.name, name, user))
        puts.append({"requestPut": {"key": _text(place + name[-5:]), "value": _text(value)}})
    try:
        for start in range(0, count, _AT_ONCE):
            cluster._etcd("/v3/kv/txn", {"success": puts[start : start + _AT_ONCE]})
        yield names
    finally:
        cluster._etcd("/v3/kv/deleterange", {"key": _text(place), "range_end": _text(place + "\x7f")})


def _text(text: str) -> str:
    return base64.b64encode(text.encode()).decode("ascii")
