"""What a test has of the cluster: namespaces of its own, clients, users, and parts to stop.

With KONDUKTOR_TEST_KUBECONFIG it is a cluster that someone else runs: its parts cannot be stopped, users are service
accounts, and KONDUKTOR_IMAGE names the image.
"""

from __future__ import annotations

import base64
import http.client
import itertools
import json
import os
import secrets
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import pytest

from tests.testbed import control, environment, images, lifecycle, node, objects, pki, places
from tests.testbed.api import Api, ApiError
from tests.testbed.objects import QUEUE, Rules
from tests.testbed.parts import Part, wait_for

JOBSETS = "/apis/jobset.x-k8s.io/v1alpha2"
SMALL = {"cpu": "1500m", "memory": "2Gi", "gpu": 8}
# They would take up to a minute to notice that the API server is there again. The kubelet comes last: what calls a node
# lost after 20 s may have done so, and a kubelet goes by what it last saw of its node until it lists anew.
WATCHING = ("kube-controller-manager", "kube-scheduler", "coredns", "jobset", "kueue", "kubelet")


@dataclass(frozen=True)
class Namespace:
    """A namespace with a queue and a user of its own; as a context, it is removed at the end."""

    cluster: Cluster
    name: str
    user: str
    kubeconfig: Path
    queue: str = QUEUE

    @property
    def api(self) -> Api:
        """A client as the namespace's user."""
        return Api(self.kubeconfig)

    @property
    def core(self) -> str:
        """The path of Kubernetes' own objects in this namespace."""
        return f"/api/v1/namespaces/{self.name}"

    @property
    def jobsets(self) -> str:
        """The path of its JobSets."""
        return f"{JOBSETS}/namespaces/{self.name}/jobsets"

    @property
    def kueue(self) -> str:
        """The path of its Kueue objects."""
        return f"{objects.KUEUE}/namespaces/{self.name}"

    def pods(self, jobset: str) -> list[dict[str, Any]]:
        """The pods of a JobSet, in the order of their index."""
        selector = f"jobset.sigs.k8s.io/jobset-name={jobset}"
        found = self.cluster.admin.get(f"{self.core}/pods?labelSelector={selector}")["items"]
        index = "batch.kubernetes.io/job-completion-index"
        return sorted(found, key=lambda pod: int(pod["metadata"]["labels"].get(index, 0)))

    def __enter__(self) -> Namespace:
        return self

    def __exit__(self, *_: object) -> None:
        self.remove()

    def remove(self) -> None:
        """Take the namespace and its queue away, and wait for neither."""
        self.cluster.remove(self)


class _Images(dict[str, str]):
    """The images of a cluster that someone else runs."""

    def __missing__(self, name: str) -> str:
        pytest.skip(f"KONDUKTOR_TEST_KUBECONFIG names a cluster that has no image {name} of the testbed")


class Cluster:
    """The cluster that tests run on: ours, or the one that KONDUKTOR_TEST_KUBECONFIG names."""

    def __init__(self, state: Path | None = None) -> None:
        foreign = os.environ.get("KONDUKTOR_TEST_KUBECONFIG")
        self.foreign = Path(foreign) if foreign else None
        self.state = state or places.default_state()
        self.authority = pki.Authority(self.state / "pki")
        self.parts = {} if self.foreign else lifecycle.all_parts(self.state)
        self._place = tempfile.TemporaryDirectory()
        self._numbers = itertools.count(1)
        self._run = secrets.token_hex(2)
        self._lock = threading.Lock()

    @cached_property
    def admin(self) -> Api:
        """A client that may do everything."""
        return Api(self.kubeconfig("admin"))

    @property
    def images(self) -> dict[str, str]:
        """The images by what is in them: 3.11, 3.11-numpy, 3.13, none (no Python)."""
        if self.foreign:
            image = os.environ.get("KONDUKTOR_TEST_IMAGE") or os.environ["KONDUKTOR_IMAGE"]
            return _Images({"3.11": image})
        return {name: image.reference for name, image in images.IMAGES.items() if name != "pause"}

    def fetch_image(self, name: str) -> str:
        """The image of this name, also one that is made and imported only now: 3.11-torch.

        A test that takes such a one says so (`pytest.mark.image`), for making it takes longer than a test may.
        """
        if name in self.images:
            return self.images[name]
        if self.foreign:
            given = os.environ.get("KONDUKTOR_TEST_TORCH_IMAGE")
            return given or pytest.skip("KONDUKTOR_TEST_TORCH_IMAGE names no image with torch for this cluster")
        image = images.named(name)
        node.import_image(self.state, image)
        return image.reference

    @property
    def image(self) -> str:
        """The image with Python 3.11."""
        return self.images["3.11"]

    @property
    def store(self) -> dict[str, str]:
        """Environment variables of the S3 server."""
        if self.foreign:
            pytest.skip("KONDUKTOR_TEST_KUBECONFIG names a cluster without the testbed's S3 server")
        return environment.store()

    @property
    def address(self) -> str:
        """An address of this machine that pods reach."""
        if self.foreign:
            pytest.skip("KONDUKTOR_TEST_KUBECONFIG names a cluster whose pods need not reach this machine")
        return places.BRIDGE_ADDRESS

    @property
    def start_time(self) -> float:
        """How many seconds the cluster took to come up."""
        return float((self.state / "up").read_text())

    def kubeconfig(self, user: str) -> Path:
        """The kubeconfig of a user: admin, alice, bob, or one of a namespace made here."""
        if self.foreign and user == "admin":
            return self.foreign
        path = self.authority.place / f"{user}.kubeconfig"
        if not path.exists():
            message = f"no user {user} is known to the cluster"
            raise KeyError(message)
        return path

    def part(self, name: str) -> Part:
        """A part, to stop, start, kill, pause or resume it."""
        if self.foreign:
            pytest.skip("KONDUKTOR_TEST_KUBECONFIG names a cluster whose parts a test must not stop")
        return self.parts[name]

    @contextmanager
    def stopped(self, *names: str, how: str = "stop") -> Iterator[None]:
        """Without these parts (`how` is stop, kill or pause) inside the block; they are ready again after it."""
        self.part(names[0])
        parts = [part for part in self.parts.values() if part.name in names]  # in the order that they start
        try:
            for part in parts:
                getattr(part, how)()
            yield
        finally:
            for part in parts:
                if part.paused:
                    part.resume()
                part.start()
            if "kube-apiserver" in names:
                for name in WATCHING:
                    self.part(name).restart()

    @contextmanager
    def kubelet_settings(self, **settings: Any) -> Iterator[None]:
        """A kubelet with other settings (as of its configuration file) inside the block; it is restarted twice."""
        kubelet = self.part("kubelet")
        changed = self.state / "kubelet-settings.json"
        try:
            changed.write_text(json.dumps(settings))
            kubelet.restart()
            yield
        finally:
            changed.unlink(missing_ok=True)
            kubelet.restart()

    def compact(self) -> int:
        """Compact etcd up to now, and give the revision.

        A watch from an older one is refused with 410 once the API server has lost its cache too, as after a restart.
        """
        self.part("etcd")
        etcd = self._etcd
        now = self.etcd_revision()
        etcd("/v3/kv/compaction", {"revision": str(now), "physical": True})
        return now

    def etcd_revision(self) -> int:
        """Give the number of etcd's latest write."""
        return int(self._etcd("/v3/kv/range", {"key": "AA=="})["header"]["revision"])

    def etcd_written(self, since: int) -> Counter[str]:
        """Give how many bytes were written after a revision, by key."""
        mark = f"/mark/{secrets.token_hex(4)}"
        self._etcd("/v3/kv/put", {"key": base64.b64encode(mark.encode()).decode(), "value": ""})
        connection = http.client.HTTPSConnection("127.0.0.1", places.ETCD_PORT, timeout=60, context=self.admin.context)
        written: Counter[str] = Counter()
        watch = {"key": "AA==", "range_end": "AA==", "start_revision": str(since + 1)}
        try:
            connection.request("POST", "/v3/watch", json.dumps({"create_request": watch}))
            for line in connection.getresponse():
                for event in json.loads(line)["result"].get("events", ()):
                    key = base64.b64decode(event["kv"]["key"]).decode()
                    if key == mark:
                        return written
                    written[key] += len(key) + len(base64.b64decode(event["kv"].get("value", "")))
        finally:
            connection.close()
        raise EOFError("etcd ended its watch")

    def etcd_dump(self) -> dict[str, bytes]:
        """Give everything that etcd holds, by its key."""
        self.part("etcd")
        found = self._etcd("/v3/kv/range", {"key": "AA==", "range_end": "AA=="}).get("kvs", ())
        return {base64.b64decode(kv["key"]).decode(): base64.b64decode(kv.get("value", "")) for kv in found}

    def _etcd(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        connection = http.client.HTTPSConnection("127.0.0.1", places.ETCD_PORT, timeout=60, context=self.admin.context)
        connection.request("POST", path, json.dumps(body))
        with connection.getresponse() as response:
            content = json.loads(response.read())
        connection.close()
        return content

    def new_namespace(
        self,
        quota: Mapping[str, str | int] | None = None,
        *,
        strategy: str = "StrictFIFO",
        cohort: str | None = None,
        preemption: Mapping[str, Any] | None = None,
        labels: Mapping[str, str] | None = None,
        rules: Rules | None = None,
        cluster_rules: Rules | None = None,
        flavor: str = objects.FLAVOR,
    ) -> Namespace:
        """Make a namespace with a queue, and a user who has these rights in it (without: all) and of the cluster."""
        with self._lock:
            name = f"test-{self._run}-{next(self._numbers)}"
        admin = self.admin
        kinds = {"strategy": strategy, "cohort": cohort, "preemption": preemption, "labels": labels, "flavor": flavor}
        objects.make_namespace(admin, name, quota or SMALL, **kinds)
        kubeconfig = self.new_user(name, name, rules, cluster_rules)
        made = Namespace(self, name, name, kubeconfig)
        wait_for(lambda: _is_active(admin.get(f"{made.kueue}/localqueues/{QUEUE}")), f"the queue of {name}", 60)
        return made

    def new_user(
        self, name: str, namespace: str, rules: Rules | None = None, cluster_rules: Rules | None = None
    ) -> Path:
        """Make a user with these rights in a namespace, and give the kubeconfig."""
        subject, path = self._identity(name, namespace)
        admin = self.admin
        everywhere = objects.CLUSTER_READER_RULES if cluster_rules is None else cluster_rules
        for place, granted in ((namespace, objects.ADMIN_RULES if rules is None else rules), (None, everywhere)):
            if granted:
                role = f"{name}-{'in' if place else 'of'}-{namespace}"
                admin.ensure(f"{objects.RBAC}/clusterroles", {"metadata": {"name": role}, "rules": granted})
                objects.bind(admin, place, name, role, subject)
        return path

    def _identity(self, name: str, namespace: str) -> tuple[dict[str, str], Path]:
        """A user with a certificate; where the authority is another's, a service account."""
        if not self.foreign:
            self.authority.client(name, name)
            return objects.user(name), self.authority.kubeconfig(name, namespace)
        admin = self.admin
        admin.ensure(f"/api/v1/namespaces/{namespace}/serviceaccounts", {"metadata": {"name": name}})
        user = {"token": self.token(namespace, name, 6 * 3600)}
        path = Path(self._place.name) / f"{name}.kubeconfig"
        authority = path.with_suffix(".crt")
        authority.write_text(admin.authority or "")
        server = admin.cluster["server"]
        pki.write_kubeconfig(path, server, authority, user, name, namespace)
        return {"kind": "ServiceAccount", "name": name, "namespace": namespace}, path

    def token(self, namespace: str, account: str, seconds: int) -> str:
        """A token of a service account; below ten minutes, which no API server grants, it is signed here."""
        path = f"/api/v1/namespaces/{namespace}/serviceaccounts/{account}"
        if seconds < 600 and not self.foreign:
            uid = self.admin.get(path)["metadata"]["uid"]
            return self.authority.sign_token(pki.claims(namespace, account, uid, control.ISSUER, seconds))
        body = {
            "apiVersion": "authentication.k8s.io/v1",
            "kind": "TokenRequest",
            "spec": {"expirationSeconds": seconds},
        }
        return self.admin.create(f"{path}/token", body)["status"]["token"]

    def remove(self, namespace: Namespace) -> None:
        """Take a namespace away with all that `new_namespace` made; its pods get no time to end."""
        admin = self.admin
        admin.delete(namespace.jobsets)
        admin.delete(f"{namespace.core}/pods", grace=0)
        admin.delete(f"/api/v1/namespaces/{namespace.name}")
        admin.delete(f"{objects.KUEUE}/clusterqueues/{namespace.name}")
        roles = admin.get(f"{objects.RBAC}/clusterroles")["items"]
        for role in (role["metadata"]["name"] for role in roles):
            if role.endswith((f"-in-{namespace.name}", f"-of-{namespace.name}")):
                user = role[: -len(f"-in-{namespace.name}")]
                admin.delete(f"{objects.RBAC}/clusterroles/{role}")
                admin.delete(f"{objects.RBAC}/clusterrolebindings/{user}-{role}")

    def wait_gone(self, namespace: Namespace, timeout: float = 60) -> None:
        """Wait until nothing of a removed namespace is left."""
        admin = self.admin
        wait_for(lambda: admin.find(f"/api/v1/namespaces/{namespace.name}") is None, f"{namespace.name} to go", timeout)


def wait_jobset(api: Api, path: str, timeout: float = 60) -> dict[str, Any]:
    """Wait until a JobSet has ended, and give it."""
    deadline = time.monotonic() + timeout
    while True:
        found = api.get(path)
        if found.get("status", {}).get("terminalState"):
            return found
        if time.monotonic() > deadline:
            message = f"{path} has not ended after {timeout} s: {json.dumps(found.get('status'))}"
            raise TimeoutError(message)
        time.sleep(0.05)


def _is_active(queue: dict[str, Any]) -> bool:
    conditions = queue.get("status", {}).get("conditions") or []
    return any(each["type"] == "Active" and each["status"] == "True" for each in conditions)


__all__ = ["ApiError", "Cluster", "Namespace", "wait_jobset"]
