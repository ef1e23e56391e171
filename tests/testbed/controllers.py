"""JobSet and Kueue as plain processes, and what the API server has to know of them."""

from __future__ import annotations

import base64
import json
import os
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from tests.testbed import build, places
from tests.testbed.api import Api, healthy
from tests.testbed.parts import Part, wait_for
from tests.testbed.pki import Authority

CONVERTED = {"workloads", "clusterqueues", "localqueues", "cohorts", "multikueueclusters"}
KUEUE_HOOKS = ("jobset", "clusterqueue", "resourceflavor", "workload", "cohort")
PODS_OF_JOBSETS = {"matchExpressions": [{"key": "jobset.sigs.k8s.io/jobset-name", "operator": "Exists"}]}
CRDS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
# Where a process in a pod finds its account; Kueue's visibility server looks nowhere else.
ACCOUNT = "var/run/secrets/kubernetes.io/serviceaccount"


def parts(state: Path, authority: Authority) -> list[Part]:
    """The two controllers."""
    in_pod = {"KUBERNETES_SERVICE_HOST": "127.0.0.1", "KUBERNETES_SERVICE_PORT": str(places.API_PORT)}
    return [
        Part(
            "jobset",
            state,
            lambda: _jobset(state, authority),
            lambda: healthy(f"http://127.0.0.1:{places.JOBSET_HEALTH_PORT}/readyz"),
            prepare=lambda: _write_jobset(state, authority),
        ),
        Part(
            "kueue",
            state,
            # In a root of its own, for some of its paths are hard-coded and would be litter in that of the machine.
            lambda: ["chroot", str(state / "kueue"), "/kueue", "--config=/config.json", "--kubeconfig=/kubeconfig"],
            lambda: healthy(f"http://127.0.0.1:{places.KUEUE_HEALTH_PORT}/readyz"),
            environment=in_pod,
            prepare=lambda: _write_kueue(state / "kueue", authority),
        ),
    ]


def _jobset(state: Path, authority: Authority) -> list[str]:
    admin = authority.place / "admin.kubeconfig"
    limits = ["--kube-api-qps=200", "--kube-api-burst=400"]
    return [str(build.program("jobset")), f"--config={state}/jobset.json", f"--kubeconfig={admin}", *limits]


def _write_jobset(state: Path, authority: Authority) -> None:
    _copy_certificate(authority, state / "jobset")
    config = {
        "apiVersion": "config.jobset.x-k8s.io/v1alpha1",
        "kind": "Configuration",
        "leaderElection": {"leaderElect": False},
        "internalCertManagement": {"enable": False},
        "webhook": {"host": "127.0.0.1", "port": places.JOBSET_WEBHOOK_PORT, "certDir": str(state / "jobset")},
        "metrics": {"bindAddress": "0"},
        "health": {"healthProbeBindAddress": f"127.0.0.1:{places.JOBSET_HEALTH_PORT}"},
    }
    (state / "jobset.json").write_text(json.dumps(config))


def _write_kueue(root: Path, authority: Authority) -> None:
    for folder in ("webhook", "etc/kueue/metrics/certs", "visibility"):
        _copy_certificate(authority, root / folder)
    for folder in (ACCOUNT, "tmp"):
        (root / folder).mkdir(parents=True, exist_ok=True)
    (root / ACCOUNT / "token").write_text((authority.place / "tokens.csv").read_text().partition(",")[0])
    shutil.copy(authority.certificate, root / ACCOUNT / "ca.crt")
    shutil.copy(authority.place / "admin.kubeconfig", root / "kubeconfig")
    if not (root / "kueue").exists():
        try:
            os.link(build.program("kueue"), root / "kueue")
        except OSError:  # the cache is on another disk
            shutil.copy2(build.program("kueue"), root / "kueue")
    config = {
        "apiVersion": "config.kueue.x-k8s.io/v1beta2",
        "kind": "Configuration",
        "namespace": "kueue-system",
        "leaderElection": {"leaderElect": False},
        "internalCertManagement": {"enable": False},
        "webhook": {"host": "127.0.0.1", "port": places.KUEUE_WEBHOOK_PORT, "certDir": "/webhook"},
        "metrics": {"bindAddress": "0"},
        "health": {"healthProbeBindAddress": f"127.0.0.1:{places.KUEUE_HEALTH_PORT}"},
        "integrations": {"frameworks": ["jobset.x-k8s.io/jobset"]},
        "clientConnection": {"qps": 200, "burst": 400},
    }
    (root / "config.json").write_text(json.dumps(config))


def _copy_certificate(authority: Authority, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copy(authority.place / "server.crt", folder / "tls.crt")
    shutil.copy(authority.place / "server.key", folder / "tls.key")


def install_types(admin: Api, authority: Authority) -> None:
    """Make the CRDs, and wait until the API server serves them: Kueue exits at once without."""
    crds = [crd for name in ("jobset", "kueue") for crd in build.manifests(name)["crds"]]
    bundle = _bundle(authority)
    for crd in crds:
        if crd["spec"]["names"]["plural"] in CONVERTED:
            client = {"url": f"https://127.0.0.1:{places.KUEUE_WEBHOOK_PORT}/convert", "caBundle": bundle}
            webhook = {"conversionReviewVersions": ["v1"], "clientConfig": client}
            crd["spec"]["conversion"] = {"strategy": "Webhook", "webhook": webhook}
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda crd: admin.ensure(CRDS, crd), crds))
    names = {crd["metadata"]["name"] for crd in crds}

    def established() -> bool:
        found = admin.get(CRDS)["items"]
        ready = {crd["metadata"]["name"] for crd in found if _is_established(crd)}
        return names <= ready

    wait_for(established, "the CRDs to be served", 30)


def _is_established(crd: dict[str, Any]) -> bool:
    conditions = crd.get("status", {}).get("conditions") or []
    return any(each["type"] == "Established" and each["status"] == "True" for each in conditions)


def install_hooks(admin: Api, authority: Authority) -> None:
    """Make the webhooks, the roles, and the visibility API."""
    bundle = _bundle(authority)
    ports = {"jobset": places.JOBSET_WEBHOOK_PORT, "kueue": places.KUEUE_WEBHOOK_PORT}
    for name, port in ports.items():
        for configuration in build.manifests(name)["webhooks"]:
            configuration["webhooks"] = [_direct(hook, name, port, bundle) for hook in _wanted(configuration, name)]
            configuration["metadata"]["name"] = f"{name}-{configuration['metadata']['name']}"
            plural = f"{configuration['kind'].lower()}s"
            admin.ensure(f"/apis/admissionregistration.k8s.io/v1/{plural}", configuration)
    for role in build.manifests("kueue")["roles"]:
        role["metadata"]["name"] = f"kueue-{role['metadata']['name']}"
        admin.ensure("/apis/rbac.authorization.k8s.io/v1/clusterroles", role)
    _install_visibility(admin, bundle)


def _wanted(configuration: dict[str, Any], name: str) -> list[dict[str, Any]]:
    """Of Kueue's hooks those for what it manages here: the others would stop every pod while Kueue is down."""
    hooks = configuration["webhooks"]
    if name == "jobset":
        return hooks
    return [hook for hook in hooks if hook["clientConfig"]["service"]["path"].endswith(KUEUE_HOOKS)]


def _direct(hook: dict[str, Any], name: str, port: int, bundle: str) -> dict[str, Any]:
    path = hook["clientConfig"]["service"]["path"]
    hook["clientConfig"] = {"url": f"https://127.0.0.1:{port}{path}", "caBundle": bundle}
    if name == "jobset" and path.endswith("-pod"):
        hook["objectSelector"] = PODS_OF_JOBSETS
    return hook


def _install_visibility(admin: Api, bundle: str) -> None:
    """Kueue's own API, behind the API server: by a name, for an address of loopback is refused."""
    service = {
        "metadata": {"name": "visibility-server"},
        "spec": {
            "type": "ExternalName",
            "externalName": "localhost",
            "ports": [{"port": places.KUEUE_VISIBILITY_PORT, "protocol": "TCP"}],
        },
    }
    admin.ensure("/api/v1/namespaces/kueue-system/services", service)
    for version in ("v1beta1", "v1beta2"):
        group = "visibility.kueue.x-k8s.io"
        spec = {
            "group": group,
            "version": version,
            "groupPriorityMinimum": 100,
            "versionPriority": 100,
            "caBundle": bundle,
            "service": {
                "name": "visibility-server",
                "namespace": "kueue-system",
                "port": places.KUEUE_VISIBILITY_PORT,
            },
        }
        body = {"metadata": {"name": f"{version}.{group}"}, "spec": spec}
        admin.ensure("/apis/apiregistration.k8s.io/v1/apiservices", body)


def _bundle(authority: Authority) -> str:
    return base64.b64encode(authority.certificate.read_bytes()).decode()
