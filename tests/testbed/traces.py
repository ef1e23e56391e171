"""What containers and the kubelet leave outside of the state folder, found and removed."""

from __future__ import annotations

import contextlib
import subprocess
from pathlib import Path

import psutil

# Paths that have no setting.
LOG_LINKS = Path("/var/log/containers")
DEVICE_PLUGINS = Path("/var/lib/kubelet/device-plugins")
CNI_RESULTS = Path("/var/lib/cni/results")
SHIM_SOCKETS = "/run/containerd/s/"
TASKS = "containerd-run/io.containerd.runtime.v2.task/k8s.io"


def containers(state: Path) -> list[psutil.Process]:
    """The shims of our containerd, and whatever has its root on a disk that it made."""
    found = []
    for process in psutil.process_iter():
        try:
            command = process.cmdline()
            mounts = Path(f"/proc/{process.pid}/mountinfo").read_text()
        except (OSError, psutil.Error):
            continue
        shim = any(Path(word).name.startswith("containerd-shim") for word in command[:1])
        root = next((line for line in mounts.splitlines() if line.split()[4] == "/"), "")
        if (shim and f"{state}/containerd.sock" in command) or f"{state}/containerd/" in root:
            found.append(process)
    return found


def remove(state: Path) -> None:
    """Remove sockets, links, groups and mounts; the containers have ended."""
    for task in (state / TASKS).glob("*"):
        socket = task / "address"
        path = socket.read_text().strip().removeprefix("unix://") if socket.exists() else ""
        if path.startswith(SHIM_SOCKETS):
            Path(path).unlink(missing_ok=True)
        for result in CNI_RESULTS.glob(f"*-{task.name}-*"):
            result.unlink()
    _unmount(state)
    _remove_cgroups()
    _remove_log_links(state)
    _remove_plugin_folder()


def _unmount(state: Path) -> None:
    mounts = [line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines()]
    for mount in reversed(mounts):
        if mount.startswith(f"{state}/"):
            subprocess.run(["umount", "--lazy", mount], capture_output=True)


def _remove_cgroups() -> None:
    """Remove empty groups that containers had; a group that is in use cannot be removed."""
    for top in (*Path("/sys/fs/cgroup").glob("k8s.io"), *Path("/sys/fs/cgroup").glob("*/k8s.io")):
        for folder in sorted((each for each in top.glob("**/") if each.is_dir()), reverse=True):
            with contextlib.suppress(OSError):
                folder.rmdir()


def _remove_log_links(state: Path) -> None:
    if not LOG_LINKS.is_dir():
        return
    for link in LOG_LINKS.iterdir():
        if link.is_symlink() and str(link.readlink()).startswith(f"{state}/"):
            link.unlink()
    with contextlib.suppress(OSError):
        LOG_LINKS.rmdir()


def _remove_plugin_folder() -> None:
    """Remove the folder that a kubelet makes for device plugins, unless there are any."""
    made = {"DEPRECATION", "kubelet.sock"}
    if DEVICE_PLUGINS.is_dir() and {each.name for each in DEVICE_PLUGINS.iterdir()} <= made:
        for name in made:
            (DEVICE_PLUGINS / name).unlink(missing_ok=True)
        with contextlib.suppress(OSError):
            DEVICE_PLUGINS.rmdir()
            DEVICE_PLUGINS.parent.rmdir()
