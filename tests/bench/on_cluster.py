"""What the benches of a cluster share: a namespace, the smallest JobSet as the floor, what a watch saw when."""

from __future__ import annotations

import json
import sys
import threading
import time
import urllib.parse
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[2]))

import jupyter_konduktor as jk
from jupyter_konduktor.config import set_session
from tests.testbed.api import ApiError
from tests.testbed.cluster import Cluster, Namespace

REPORTS = """open("/dev/termination-log","w").write('{"exit":0,"value":2}')"""


@contextmanager
def namespace(**how: Any) -> Iterator[Namespace]:
    """A namespace whose user this process is, on the cluster that is up."""
    cluster = Cluster()
    with cluster.new_namespace(**how) as made:
        for key, value in (("kubeconfig", str(made.kubeconfig)), ("image", cluster.image), ("queue", made.queue)):
            set_session(key, value)
        set_session("backend", "kubernetes")
        yield made


def until(holds: Any, timeout: float = 30.0) -> None:
    """Wait until something holds."""
    end = time.monotonic() + timeout
    while not holds():
        if time.monotonic() > end:
            raise TimeoutError
        time.sleep(0.02)


class Floor:
    """The smallest JobSet with the image and the volumes of ours, made and watched raw."""

    def __init__(self, namespace: Namespace, like: jk.Job) -> None:
        self.api, self.namespace = namespace.api, namespace
        jobset = self.api.get(f"{namespace.jobsets}/{like}")
        template = jobset["spec"]["replicatedJobs"][0]["template"]["spec"]["template"]["spec"]
        container = template["containers"][0]
        kept = ("name", "image", "volumeMounts", "resources", "securityContext")
        self._container = {key: container[key] for key in kept if key in container}
        kept = ("restartPolicy", "automountServiceAccountToken", "enableServiceLinks", "securityContext", "volumes")
        self._pod = {key: template[key] for key in kept if key in template}

    def jobset(self, name: str, code: str) -> dict[str, Any]:
        """Write the JobSet that runs some code."""
        container = {**self._container, "command": ["python3", "-c", code]}
        job = {
            "parallelism": 1,
            "completions": 1,
            "backoffLimit": 0,
            "template": {"spec": {**self._pod, "containers": [container]}},
        }
        return {
            "apiVersion": "jobset.x-k8s.io/v1alpha2",
            "kind": "JobSet",
            "metadata": {"name": name, "labels": {"kueue.x-k8s.io/queue-name": self.namespace.queue}},
            "spec": {
                "suspend": True,
                "network": {"enableDNSHostnames": False},
                "replicatedJobs": [{"name": "workers", "replicas": 1, "template": {"spec": job}}],
            },
        }

    def run(self, code: str = REPORTS) -> tuple[str, str]:
        """Make it and wait for what its pod leaves; gives its name, and that."""
        name = f"floor-{uuid.uuid4().hex[:5]}"
        version = self.api.get(f"{self.namespace.core}/pods?limit=1")["metadata"]["resourceVersion"]
        selector = f"labelSelector=jobset.sigs.k8s.io/jobset-name%3D{name}"
        path = f"{self.namespace.core}/pods?watch=1&resourceVersion={version}&{selector}"
        with self.api.open("GET", path, timeout=60) as stream:
            self.api.create(self.namespace.jobsets, self.jobset(name, code))
            for line in stream:
                for status in json.loads(line)["object"].get("status", {}).get("containerStatuses", ()):
                    ended = status["state"].get("terminated")
                    if ended:
                        return name, str(ended.get("message", ""))
        raise TimeoutError(name)


class Tidy:
    """Takes finished jobs away and waits until nothing of them is left to do, so that each has the cluster alone."""

    def __init__(self, namespace: Namespace) -> None:
        self.api, self.namespace = namespace.api, namespace

    def __call__(self, *names: str) -> None:
        """Delete these JobSets, and wait until the quota is free and their pods are gone."""
        for name in names:
            self.api.delete(f"{self.namespace.jobsets}/{name}")
        queue = f"{self.namespace.kueue}/localqueues/{self.namespace.queue}"
        until(lambda: not self.api.get(f"{self.namespace.core}/pods?limit=1")["items"])
        until(lambda: not self.api.get(queue)["status"].get("reservingWorkloads"))


class Hops:
    """When each object of a job was first seen in a state, by watches of its own; names are those of the columns."""

    def __init__(self, namespace: Namespace) -> None:
        self.times: dict[str, float] = {}
        self._api = namespace.api
        self._streams = []
        workloads = f"{namespace.kueue}/workloads"
        for kind, path in (("jobset", namespace.jobsets), ("workload", workloads), ("pod", f"{namespace.core}/pods")):
            version = self._api.get(f"{path}?limit=1")["metadata"]["resourceVersion"]
            stream = self._api.open("GET", f"{path}?watch=1&resourceVersion={version}&timeoutSeconds=60", timeout=90)
            self._streams.append(stream)
            threading.Thread(target=self._watch, args=(kind, stream), daemon=True).start()

    def wait(self, event: str) -> float:
        """Give the time of an event, which may be on its way still."""
        until(lambda: event in self.times, 5)
        return self.times[event]

    def _watch(self, kind: str, stream: Any) -> None:
        for line in stream:
            now = time.time()
            for event in _events(kind, json.loads(line)["object"]):
                self.times.setdefault(event, now)


def _events(kind: str, obj: dict[str, Any]) -> list[str]:
    spec, status = obj.get("spec", {}), obj.get("status", {})
    if kind == "jobset":
        return ["jobset", *(["unsuspended"] if spec.get("suspend") is False else [])]
    if kind == "workload":
        admitted = any(c["type"] == "Admitted" and c["status"] == "True" for c in status.get("conditions", ()))
        return ["workload", *(["admitted"] if admitted else [])]
    found = ["pod", *(["scheduled"] if spec.get("nodeName") else [])]
    for container in status.get("containerStatuses", ()):
        found += [state for state in container["state"] if state != "waiting"]
    return found


def quoted(selector: str) -> str:
    """Write a selector into a URL."""
    return urllib.parse.quote(selector)


__all__ = ["ApiError", "Floor", "Hops", "Tidy", "namespace", "quoted", "until"]
