"""What holds for every test: a person's files stay untouched, no process stays behind, no skip hides a missing part."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from tests.testbed import fixtures, places

PRIVATE_DIRECTORIES = {
    "HOME": "home",
    "IPYTHONDIR": "ipython",
    "JUPYTER_CONFIG_DIR": "jupyter/config",
    "JUPYTER_DATA_DIR": "jupyter/data",
    "JUPYTER_RUNTIME_DIR": "jupyter/runtime",
    "XDG_CACHE_HOME": "cache",
    "XDG_CONFIG_HOME": "config",
    "XDG_DATA_HOME": "data",
    "XDG_RUNTIME_DIR": "run",
    "XDG_STATE_HOME": "state",
}
# What would lead a test somewhere else than to this machine.
FOREIGN = ("KONDUKTOR_", "JUPYTER_KONDUKTOR_", "JUPYTERHUB_", "KUBECONFIG", "AWS_")
LEFT_BEHIND = pytest.StashKey[list[str]]()


def _can_limit_memory() -> bool:
    """Whether this process may make control groups (version 1) that limit memory, below its own."""
    try:
        lines = Path("/proc/self/cgroup").read_text(encoding="ascii").splitlines()
    except OSError:
        return False
    paths = [line.split(":")[2] for line in lines if line.split(":")[1] == "memory"]
    return any(os.access(Path("/sys/fs/cgroup/memory", path.lstrip("/")), os.W_OK) for path in paths)


def _can_mount() -> bool:
    """Whether this process may make a mount namespace with a small tmpfs in it."""
    command = ["unshare", "--mount", "sh", "-c", "mount -t tmpfs -o size=64k none /mnt"]
    return bool(shutil.which("unshare")) and subprocess.run(command, capture_output=True).returncode == 0


# What a test may need and a machine may lack, though it could have it: as root, from apt or from PyPI.
# `program:NAME` and `module:NAME` need no entry here.
THINGS: dict[str, Callable[[], bool]] = {
    "cluster": lambda: "KONDUKTOR_TEST_KUBECONFIG" in os.environ or places.able(),
    "memory group": _can_limit_memory,
    "linux": lambda: sys.platform == "linux",
    "mount": _can_mount,
    "root": lambda: os.geteuid() == 0,
}


def _has(thing: str) -> bool:
    kind, _, name = thing.partition(":")
    if kind == "program":
        return shutil.which(name) is not None
    if kind == "module":
        return importlib.util.find_spec(name) is not None
    return THINGS[thing]()


def pytest_configure(config: pytest.Config) -> None:
    """Give the session, and with it every kernel and job that it starts, a home of its own."""
    config.pluginmanager.register(fixtures, "cluster")
    place = Path(tempfile.mkdtemp(prefix="jk-"))  # short: paths of sockets end at 107 bytes
    # The font list of matplotlib takes seconds to make and holds nothing of a person's.
    os.environ["MPLCONFIGDIR"] = str(config.rootpath / "build" / "matplotlib")
    # The Pythons of a person's pyenv stay where they are, and its shims ask for them.
    if (pyenv := Path.home() / ".pyenv").is_dir():
        os.environ.setdefault("PYENV_ROOT", str(pyenv))
    # What the test cluster is built of is kept for good, and the cluster may be another than the one it would build.
    os.environ.setdefault("KONDUKTOR_TEST_HOME", str(Path.home()))
    os.environ.setdefault("KONDUKTOR_TEST_CACHE", os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache"))
    if image := os.environ.get("KONDUKTOR_IMAGE"):
        os.environ.setdefault("KONDUKTOR_TEST_IMAGE", image)
    for variable, folder in PRIVATE_DIRECTORIES.items():
        (place / folder).mkdir(mode=0o700, parents=True)
        os.environ[variable] = str(place / folder)
    for variable in [name for name in os.environ if name.startswith(FOREIGN)]:
        if not variable.startswith("KONDUKTOR_TEST_"):
            del os.environ[variable]
    config.add_cleanup(lambda: shutil.rmtree(place, ignore_errors=True))


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mix the files: several browsers at once are too much for two cores, and the cluster's tests mostly wait.

    The order is what the processes of a run take their files by (`--no-loadscope-reorder`); the slow ones do not come
    last.
    """
    files: dict[Path, list[pytest.Item]] = {}
    for item in items:
        files.setdefault(item.path, []).append(item)
    kinds: dict[str, list[Path]] = {"browser": [], "cluster": [], "other": []}
    for path, found in files.items():
        kind = (
            "browser" if "browser" in path.parts else "cluster" if any(map(fixtures.uses_cluster, found)) else "other"
        )
        kinds[kind].append(path)
    place = {
        path: (number + 0.5) / len(paths) * (1.0 if kind == "other" else 0.85)
        for kind, paths in kinds.items()
        for number, path in enumerate(paths)
    }
    items.sort(key=lambda item: place[item.path])


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip a test whose `needs` this machine lacks; where CI=true that is a failure, for CI has to have them."""
    needed = [thing for marker in item.iter_markers("needs") for thing in marker.args]
    missing = [thing for thing in needed if not _has(thing)]
    if missing:
        reason = f"missing on this machine: {', '.join(missing)}"
        if os.environ.get("CI") == "true":
            pytest.fail(f"{reason}, and with CI=true nothing may be", pytrace=False)
        pytest.skip(reason)


def _processes_of_this_session() -> Iterator[psutil.Process]:
    """Every process but this one that was given this session's home, however detached it is."""
    for process in psutil.process_iter():
        try:
            if process.pid != os.getpid() and process.environ().get("HOME") == os.environ["HOME"]:
                yield process
        except (psutil.NoSuchProcess, psutil.AccessDenied, psutil.ZombieProcess):
            continue  # it is gone, or another user's


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    """End what tests left running, and call the session failed for it: jobs are detached and would run for ever."""
    deadline = time.monotonic() + 5
    while (left := list(_processes_of_this_session())) and time.monotonic() < deadline:
        time.sleep(0.1)
    session.config.stash[LEFT_BEHIND] = [f"{process.pid}: {' '.join(process.cmdline())[:200]}" for process in left]
    for process in left:
        process.kill()
    if left and session.exitstatus == pytest.ExitCode.OK:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Name the processes that tests left behind."""
    if left := config.stash.get(LEFT_BEHIND, []):
        terminalreporter.section("processes that tests left behind (killed; the run counts as failed)", red=True)
        for line in left:
            terminalreporter.line(line)
