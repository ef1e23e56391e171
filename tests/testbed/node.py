"""The node: containerd and the kubelet, with their configuration, and cores and GPUs that are only a number."""

from __future__ import annotations

import json
import subprocess
from datetime import datetime
from pathlib import Path

from tests.testbed import images, packages, places
from tests.testbed.api import Api, healthy
from tests.testbed.build import program
from tests.testbed.parts import Part, wait_for
from tests.testbed.pki import Authority
from tests.testbed.places import locked

CORES = 16
GPUS = 16
# What the node says it has, whatever the machine has: tests of several processes together ask for more than two cores,
# and mostly wait. Containers are limited as they say all the same.
ASSERTED = {"cpu": str(CORES), "nvidia.com/gpu": str(GPUS)}
ADMISSION = "/apis/admissionregistration.k8s.io/v1beta1"
CONTAINERD = """version = 2
root = "{state}/containerd"
state = "{state}/containerd-run"
[grpc]
  address = "{state}/containerd.sock"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "{pause}"
  disable_apparmor = true
  # Without CAP_SYS_RESOURCE a lower oom_score_adj is refused, and every sandbox with it.
  restrict_oom_score_adj = true
  stream_server_address = "127.0.0.1"
  [plugins."io.containerd.grpc.v1.cri".containerd]
    snapshotter = "{snapshotter}"
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
      runtime_type = "io.containerd.runc.v2"
      [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
        SystemdCgroup = false
        Root = "{state}/runc"
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "{plugins}"
    conf_dir = "{state}/cni"
"""


def parts(state: Path, authority: Authority) -> list[Part]:
    """The parts of the node, in the order they are started."""
    return [
        Part(
            "containerd",
            state,
            lambda: ["containerd", "--config", str(state / "containerd.toml")],
            lambda: ctr(state, "version").returncode == 0,
            prepare=lambda: _write_containerd(state),
        ),
        Part(
            "kubelet",
            state,
            lambda: _kubelet(state, authority),
            lambda: healthy("http://127.0.0.1:10248/healthz"),
            prepare=lambda: _write_kubelet(state, authority),
            settle=lambda began: _settle(authority, began),
        ),
    ]


def ctr(state: Path, *arguments: str, timeout: float = 60) -> subprocess.CompletedProcess[str]:
    """Run containerd's own client in the namespace of Kubernetes."""
    command = ["ctr", "--address", f"{state}/containerd.sock", "--namespace", "k8s.io", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=timeout)


def import_images(state: Path) -> None:
    """Put the images into containerd."""
    for image in images.IMAGES.values():
        import_image(state, image)


def import_image(state: Path, image: images.Image) -> None:
    """Make an image if it is not there, and put it into containerd unless it is in it."""
    archive = images.archive(image)
    imported = state / "images" / archive.name
    with locked(state / "images" / "lock"):
        if imported.exists():
            return
        done = ctr(state, "images", "import", str(archive), timeout=300)
        if done.returncode:
            message = f"importing {archive} failed: {done.stderr}"
            raise RuntimeError(message)
        imported.touch()


def _write_containerd(state: Path) -> None:
    kind = subprocess.run(["stat", "-f", "-c", "%T", state], capture_output=True, text=True).stdout.strip()
    text = CONTAINERD.format(
        state=state,
        pause=images.PAUSE,
        plugins=packages.plugins(),
        # An overlay cannot lie on an overlay, as a container's disk is one.
        snapshotter="native" if kind == "overlayfs" else "overlayfs",
    )
    (state / "containerd.toml").write_text(text)


def _write_kubelet(state: Path, authority: Authority) -> None:
    (state / "resolv.conf").write_text(f"nameserver {places.BRIDGE_ADDRESS}\n")
    changed = state / "kubelet-settings.json"
    config = {
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "address": places.BRIDGE_ADDRESS,
        "authentication": {
            "anonymous": {"enabled": False},
            "webhook": {"enabled": True},
            "x509": {"clientCAFile": str(authority.certificate)},
        },
        "authorization": {"mode": "Webhook"},
        "tlsCertFile": str(authority.place / "server.crt"),
        "tlsPrivateKeyFile": str(authority.place / "server.key"),
        "containerRuntimeEndpoint": f"unix://{state}/containerd.sock",
        "podLogsDir": str(state / "pod-logs"),
        "volumePluginDir": str(state / "volume-plugins"),
        "resolvConf": str(state / "resolv.conf"),
        "clusterDNS": [places.BRIDGE_ADDRESS],
        "clusterDomain": "cluster.local",
        # Groups below ours would need all of the machine's; limits of containers hold without them.
        "failCgroupV1": False,
        "cgroupDriver": "cgroupfs",
        "cgroupsPerQOS": False,
        "enforceNodeAllocatable": [],
        "localStorageCapacityIsolation": False,
        "failSwapOn": False,
        "makeIPTablesUtilChains": False,
        "oomScoreAdj": 0,
        # A full disk of the machine evicts no pod and costs no image.
        "evictionHard": {"memory.available": "0%", "nodefs.available": "0%", "imagefs.available": "0%"},
        "imageGCHighThresholdPercent": 100,
        "nodeLeaseDurationSeconds": 8,
        "maxPods": 250,
        "registryPullQPS": 0,
        "eventRecordQPS": 0,
        "kubeAPIQPS": 100,
        "kubeAPIBurst": 200,
        "shutdownGracePeriod": "0s",
        **(json.loads(changed.read_text()) if changed.exists() else {}),
    }
    (state / "kubelet.json").write_text(json.dumps(config, indent=1))


def _kubelet(state: Path, authority: Authority) -> list[str]:
    flags = {
        "config": state / "kubelet.json",
        "kubeconfig": authority.place / "admin.kubeconfig",
        "root-dir": state / "kubelet",
        "cert-dir": state / "kubelet" / "pki",
        "hostname-override": places.NODE,
        "node-ip": places.BRIDGE_ADDRESS,
    }
    return [str(program("kubelet")), *(f"--{name}={value}" for name, value in flags.items())]


def _settle(authority: Authority, began: float) -> None:
    """Wait until this kubelet, not the one before, has called its node ready for pods, with all it is said to have."""
    admin = Api(authority.place / "admin.kubeconfig")

    def is_ready() -> bool:
        found = admin.find(f"/api/v1/nodes/{places.NODE}")
        conditions = (found.get("status", {}).get("conditions") or []) if found else []
        ready = next((each for each in conditions if each["type"] == "Ready"), {})
        if ready.get("status") != "True" or found["spec"].get("taints"):
            return False
        return datetime.fromisoformat(ready["lastHeartbeatTime"]).timestamp() >= int(began)

    wait_for(is_ready, "the node to be ready", 60)
    path = f"/api/v1/nodes/{places.NODE}"

    def has_it_all() -> bool:
        status = admin.get(path)["status"]
        if all(ASSERTED.items() <= status[kind].items() for kind in ("capacity", "allocatable")):
            return True
        # The API server takes a second to act by a new policy.
        admin.merge(f"{path}/status", {"status": {"capacity": ASSERTED, "allocatable": ASSERTED}})
        return False

    wait_for(has_it_all, "the node to have its cores and GPUs", 30)


def install_capacity(admin: Api) -> None:
    """Have the API server write into the node's status what it is said to have, whenever the kubelet writes it anew."""
    patches = [
        f"JSONPatch{{op: 'add', path: '/status/{kind}/' + jsonpatch.escapeKey('{name}'), value: '{amount}'}}"
        for kind in ("capacity", "allocatable")
        for name, amount in ASSERTED.items()
    ]
    match = {
        "apiGroups": [""],
        "apiVersions": ["v1"],
        "operations": ["CREATE", "UPDATE"],
        "resources": ["nodes", "nodes/status"],
    }
    policy = {
        "metadata": {"name": "node-capacity"},
        "spec": {
            "failurePolicy": "Ignore",
            "reinvocationPolicy": "Never",
            "matchConstraints": {"resourceRules": [match]},
            "matchConditions": [
                {"name": "has-status", "expression": "has(object.status.capacity) && has(object.status.allocatable)"}
            ],
            "mutations": [{"patchType": "JSONPatch", "jsonPatch": {"expression": f"[{', '.join(patches)}]"}}],
        },
    }
    binding = {"metadata": {"name": "node-capacity"}, "spec": {"policyName": "node-capacity"}}
    admin.ensure(f"{ADMISSION}/mutatingadmissionpolicies", policy)
    admin.ensure(f"{ADMISSION}/mutatingadmissionpolicybindings", binding)
