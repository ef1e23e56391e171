"""What the cluster needs of the system, installed with apt where it is missing."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

# Debian's package for each program, and for the folder of CNI plugins.
PROGRAMS = {
    "containerd": "containerd",
    "ctr": "containerd",
    "runc": "runc",
    "ip": "iproute2",
    "iptables": "iptables",
    "openssl": "openssl",
}
PLUGINS = "containernetworking-plugins"
PLUGIN_FOLDERS = ("/usr/lib/cni", "/opt/cni/bin", "/usr/libexec/cni")


def plugins() -> Path | None:
    """The folder of the CNI plugins."""
    return next((Path(place) for place in PLUGIN_FOLDERS if (Path(place) / "bridge").exists()), None)


def missing() -> list[str]:
    """The packages to install."""
    path = f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"
    packages = {package for name, package in PROGRAMS.items() if not shutil.which(name, path=path)}
    return sorted(packages | (set() if plugins() else {PLUGINS}))


def install() -> None:
    """Install what is missing."""
    packages = missing()
    if not packages:
        return
    if not shutil.which("apt-get"):
        message = f"the testbed needs {', '.join(packages)}, and this machine has no apt-get"
        raise RuntimeError(message)
    print(f"Installing {', '.join(packages)}", file=sys.stderr)
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    for command in (["update", "-qq"], ["install", "-qq", "-y", "--no-install-recommends", *packages]):
        done = subprocess.run(["apt-get", *command], env=environment, capture_output=True, text=True)
        if done.returncode:
            message = f"apt-get {' '.join(command)} failed:\n{(done.stdout + done.stderr)[-3000:]}"
            raise RuntimeError(message)
