"""The bridge that pods hang on, and the traces that containers leave in the network."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

from tests.testbed.places import BRIDGE, BRIDGE_ADDRESS, POD_RANGE

NETWORK = "konduktor-testbed"
# A machine with Docker drops what is forwarded, and lets that rule see traffic inside a bridge too.
FORWARD = ["FORWARD", "-i", BRIDGE, "-o", BRIDGE, "-j", "ACCEPT"]
SEEN_BY_IPTABLES = Path("/proc/sys/net/bridge/bridge-nf-call-iptables")


def make(state: Path) -> None:
    """Make the bridge, and the configuration by which pods get their interfaces on it."""
    if not Path(f"/sys/class/net/{BRIDGE}").exists():
        _run("ip", "link", "add", BRIDGE, "type", "bridge")
        _run("ip", "address", "add", f"{BRIDGE_ADDRESS}/{POD_RANGE.partition('/')[2]}", "dev", BRIDGE)
    _run("ip", "link", "set", BRIDGE, "up")
    dropped = SEEN_BY_IPTABLES.exists() and SEEN_BY_IPTABLES.read_text().strip() == "1"
    if dropped and subprocess.run(["iptables", "-C", *FORWARD], capture_output=True).returncode:
        _run("iptables", "-I", *FORWARD)
    (state / "cni").mkdir(exist_ok=True)
    addresses = {"type": "host-local", "ranges": [[{"subnet": POD_RANGE}]], "dataDir": str(state / "addresses")}
    bridge = {"type": "bridge", "bridge": BRIDGE, "isGateway": True, "ipMasq": False, "ipam": addresses}
    config = {"cniVersion": "0.4.0", "name": NETWORK, "plugins": [bridge]}
    (state / "cni" / "10-konduktor.conflist").write_text(json.dumps(config))


def remove() -> None:
    """Remove the bridge and what the plugins keep elsewhere; the pods must be gone."""
    while shutil.which("iptables") and not subprocess.run(["iptables", "-D", *FORWARD], capture_output=True).returncode:
        pass
    if Path(f"/sys/class/net/{BRIDGE}").exists():
        _run("ip", "link", "delete", BRIDGE)
    for result in Path("/var/lib/cni/results").glob(f"{NETWORK}-*"):
        result.unlink()
    for namespace in Path("/run/netns").glob("cni-*"):
        # A namespace that nothing is in any more cannot be unmounted twice, and another's holds another bridge's pods.
        if not _has_other_pods(namespace):
            subprocess.run(["umount", namespace], capture_output=True)
            namespace.unlink(missing_ok=True)


def _has_other_pods(namespace: Path) -> bool:
    shown = subprocess.run(
        ["nsenter", f"--net={namespace}", "ip", "-4", "-o", "address", "show"], capture_output=True, text=True
    )
    addresses = [line for line in shown.stdout.splitlines() if " lo " not in line]
    return bool(addresses) and not all(
        f"inet {BRIDGE_ADDRESS.rpartition('.')[0].rpartition('.')[0]}." in each for each in addresses
    )


def _run(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        message = f"{' '.join(command)} failed: {done.stderr.strip()}"
        raise RuntimeError(message)
