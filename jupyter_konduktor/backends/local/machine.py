"""What this machine has for jobs: cores, memory and GPUs."""

from __future__ import annotations

import os
import shutil
import subprocess
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import psutil

from jupyter_konduktor.backends.local.admission import Capacity

NVIDIA_SMI_SECONDS = 20
_UNLIMITED = 2**60  # cgroup v1 writes a huge number for no limit


@dataclass(frozen=True, slots=True)
class Gpu:
    """A GPU, as ``nvidia-smi`` lists it."""

    index: str
    uuid: str
    name: str


def capacity() -> Capacity:
    """Give what jobs may use together, within the limits set for this process."""
    return Capacity(cores(), memory(), [gpu.index for gpu in gpus()])


def cores() -> float:
    """Count the cores that this process may run on, within the quota of its control group."""
    count: float = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    for folder in _control_groups("cpu"):
        quota, period = _words(folder / "cpu.max"), ["100000"]
        if not quota:
            quota, period = _words(folder / "cpu.cfs_quota_us"), _words(folder / "cpu.cfs_period_us")
        limits = [*quota, *period]
        if len(limits) >= 2 and limits[0].isdigit() and limits[1].isdigit():
            count = min(count, int(limits[0]) / int(limits[1]))
    return max(count, 0.001)


def memory() -> int:
    """Give the bytes of memory that this process may use, within the limit of its control group."""
    size = int(psutil.virtual_memory().total)
    for folder in _control_groups("memory"):
        for name in ("memory.max", "memory.limit_in_bytes"):
            words = _words(folder / name)
            if words and words[0].isdigit() and int(words[0]) < _UNLIMITED:
                size = min(size, int(words[0]))
    return size


def _control_groups(controller: str) -> list[Path]:
    """Give the directories of this process's control group and those above it, for version 2 and 1."""
    try:
        lines = Path("/proc/self/cgroup").read_text(encoding="utf-8").splitlines()
    except OSError:
        return []  # not Linux, or /proc is hidden
    mount = Path("/sys/fs/cgroup")
    folders = []
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers and controller not in controllers.split(","):
            continue
        base = mount / controller if controllers else mount
        group = base / path.lstrip("/")
        # In a container the path may be that of the host, and what is mounted is the group itself.
        folders += [folder for folder in (group, *group.parents) if folder.is_relative_to(base) and folder.is_dir()]
    return folders


def _words(file: Path) -> list[str]:
    try:
        return file.read_text(encoding="ascii").split()
    except OSError:
        return []  # the controller is not there


def gpus() -> tuple[Gpu, ...]:
    """List the GPUs that this process may use."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    found = _all_gpus(shutil.which("nvidia-smi"))
    if visible is None:
        return found
    chosen = []
    for word in visible.split(","):
        wanted = word.strip()
        named = [gpu for gpu in found if wanted and (gpu.index == wanted or gpu.uuid.startswith(wanted))]
        if not named:
            break  # CUDA, too, sees none from the first unknown one on
        chosen.append(named[0])
    return tuple(chosen)


@lru_cache(maxsize=4)
def _all_gpus(program: str | None) -> tuple[Gpu, ...]:
    """Ask ``nvidia-smi``, once in this process: it may take a second."""
    if program is None:
        return ()
    command = [program, "--query-gpu=index,uuid,name", "--format=csv,noheader"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=NVIDIA_SMI_SECONDS, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ()  # a driver that does not answer has no GPUs to give
    if done.returncode != 0:
        return ()
    rows = [[word.strip() for word in line.split(",", 2)] for line in done.stdout.splitlines()]
    return tuple(Gpu(*row) for row in rows if len(row) == 3)
