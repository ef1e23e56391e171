"""The packages of a job: installed into a directory that goes before the image's own packages, which stay as they are.

uv does it where the image has it, else pip. It is asked twice: what is missing beside the packages of the image, then
to put just that into the directory. So a job that wants a small package does not fetch the image's torch again. The
directory is named by all that decides what is in it, and made once: a later attempt, on one machine also a later job,
finds it complete or not at all.

spec keys read here    packages, installer, packages_dir, job_dir, sys_path; set: site
"""

from __future__ import annotations

import fcntl
import json
import os
import re
import shutil
import sys
import time
from contextlib import contextmanager
from importlib import metadata, util

from . import context
from .digest import sha256
from .following import follow

TYPE_CHECKING = False
if TYPE_CHECKING:  # importing typing costs a job 3 ms
    from collections.abc import Iterator, Mapping, Sequence
    from typing import Any

_ENVIRONMENT = {
    "PIP_USER": "0",
    "PIP_REQUIRE_VIRTUALENV": "0",
    "PIP_BREAK_SYSTEM_PACKAGES": "1",  # nothing is installed there; Debian's pip will not even say what is missing
    "UV_BREAK_SYSTEM_PACKAGES": "1",
    "PIP_ROOT_USER_ACTION": "ignore",
    "PIP_DISABLE_PIP_VERSION_CHECK": "1",
    "PIP_NO_INPUT": "1",
    "PIP_NO_WARN_SCRIPT_LOCATION": "1",
    "UV_NO_PROGRESS": "1",
    "NO_COLOR": "1",
}
_TROUBLE = ("UV_SYSTEM_PYTHON", "FORCE_COLOR", "CLICOLOR_FORCE")  # a kernel sets the last two
_PLAIN = re.compile(r"([A-Za-z0-9][A-Za-z0-9._-]*?)\s*([<>=!~][^;@\[]*)?")
_COUNT = re.compile(r"^Would install (\d+) ", re.MULTILINE)
_WOULD_INSTALL = re.compile(r"^ [+~] (\S+?)(?: @ (\S+)| \(from (\S+)\))?$", re.MULTILINE)
_CREDENTIALS = re.compile(rb"(?<=://)[^/@\s]+@")


class InstallError(Exception):
    """The packages of a job cannot be had.

    Attributes
    ----------
    code : int
        The installer's exit code, 1 if there was none.
    output : bytes
        The last that it wrote.
    """

    def __init__(self, message: str, code: int = 1, output: bytes = b"") -> None:
        super().__init__(message)
        self.code = code
        self.output = _CREDENTIALS.sub(b"****@", output)


def provide(spec: dict[str, Any]) -> None:
    """See to it that the packages of a job are there, for this process and for those that it starts.

    Raises
    ------
    InstallError
    """
    path = spec.get("sys_path") or sys.path
    wanted = [requirement for requirement in spec["packages"] if not _is_there(requirement, path)]
    if not wanted:
        return
    base = spec.get("packages_dir") or os.path.join(spec["job_dir"], "packages")
    os.makedirs(base, mode=0o700, exist_ok=True)
    installer = spec.get("installer") or {}
    folder = os.path.join(base, _digest(wanted, installer, path))
    done = folder + ".done"
    with _locked(folder + ".lock"):
        if not os.path.exists(done):
            shutil.rmtree(folder, ignore_errors=True)  # of an attempt that was ended as it installed
            _install(wanted, folder, installer)
            os.close(os.open(done, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600))
    os.utime(done)  # what was not used for long is collected
    spec["site"] = folder
    for variable, place in (("PYTHONPATH", folder), ("PATH", os.path.join(folder, "bin"))):
        before = os.environ.get(variable)
        os.environ[variable] = place + os.pathsep + before if before else place


def put_on_path(spec: Mapping[str, Any]) -> None:
    """Have imports look into the job's packages before those of the image, after the user's own and Python's."""
    folder = spec.get("site")
    if not folder:
        return
    rest = [entry for entry in sys.path if entry != folder]
    names = ("site-packages", "dist-packages")
    first = next((i for i, entry in enumerate(rest) if os.path.basename(entry) in names), len(rest))
    sys.path[:] = [*rest[:first], folder, *rest[first:]]


def _is_there(requirement: str, path: Sequence[str]) -> bool:
    """Whether the image has what is wanted, as far as that can be told without the installer."""
    match = _PLAIN.fullmatch(requirement)
    found = next(iter(metadata.distributions(name=match.group(1), path=list(path))), None) if match else None
    if match is None or found is None:
        return False
    if match.group(2) is None or match.group(2).replace(" ", "") == "==" + found.version:
        return True
    try:
        from packaging.specifiers import SpecifierSet

        return bool(SpecifierSet(match.group(2)).contains(found.version, prereleases=True))
    except (ImportError, ValueError):
        return False
    finally:
        # What is to be installed may be another version of it, and then the user's code must get that one.
        for name in [name for name in sys.modules if name.partition(".")[0] == "packaging"]:
            del sys.modules[name]


def _digest(wanted: Sequence[str], installer: Mapping[str, Any], path: Sequence[str]) -> str:
    """Name a set of packages by what is asked for, from where, by which Python, and beside which packages."""
    beside: set[str] = set()
    for entry in path:
        if os.path.isdir(entry):
            beside.update(name for name in os.listdir(entry) if name.endswith((".dist-info", ".egg-info")))
    told = sorted(item for item in os.environ.items() if item[0].startswith(("PIP_", "UV_")))
    decides = [sorted(wanted), installer, told, sys.version, sys.executable, sorted(beside)]
    return str(sha256(json.dumps(decides, sort_keys=True).encode()).hexdigest())[:16]


@contextmanager
def _locked(path: str) -> Iterator[None]:
    """Hold a lock, which several nodes or jobs on one machine may want at once."""
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        yield
    finally:
        os.close(fd)


def _install(wanted: Sequence[str], folder: str, installer: Mapping[str, Any]) -> None:
    tool, command = _tool()
    options = _options(installer)
    context.warn(f"installing {', '.join(wanted)}")
    began = time.monotonic()
    missing = _missing(tool, command, options, wanted, folder)
    if missing:
        _run(tool, [*command, "--target", folder, "--no-deps", *options, "--", *missing], wanted)
    count = f"{len(missing)} package{'' if len(missing) == 1 else 's'}"
    context.warn(f"installed {count} with {tool} in {time.monotonic() - began:.1f} s")


def _tool() -> tuple[str, list[str]]:
    """Find what can install: its name, and the command that begins an installation."""
    uv = shutil.which("uv") or shutil.which("uv", path=os.path.expanduser("~/.local/bin"))
    if uv or util.find_spec("uv"):
        return "uv", [*([uv] if uv else [sys.executable, "-m", "uv"]), "pip", "install", "--python", sys.executable]
    # Asked in a process of its own: a setup command may have brought it to a folder that is new to Python.
    if util.find_spec("pip") or follow([sys.executable, "-m", "pip", "--version"], shown=False)[0] == 0:
        return "pip", [sys.executable, "-m", "pip", "install"]
    raise InstallError(
        f"neither uv nor pip is there for {sys.executable}; take an image that has one of them or the packages, "
        "or bring one with a setup command, such as python3 -m ensurepip"
    )


def _options(installer: Mapping[str, Any]) -> list[str]:
    index = list(installer.get("index") or ())
    options = ["--no-index"] if index == ["none"] else []
    if index and not options:
        options += ["--index-url", index[0]]
        for other in index[1:]:
            options += ["--extra-index-url", other]
    for place in installer.get("wheels") or ():
        options += ["--find-links", place]
    if installer.get("cache"):
        options += ["--cache-dir", installer["cache"]]
    return options


def _missing(
    tool: str, command: Sequence[str], options: Sequence[str], wanted: Sequence[str], folder: str
) -> list[str]:
    """Ask what is to be installed beside what the image has; each comes with its version or its address."""
    if tool == "uv":
        output = _run(tool, [*command, "--dry-run", *options, "--", *wanted], wanted)
        text = output.decode("utf-8", "replace")
        found, count = _WOULD_INSTALL.findall(text), _COUNT.search(text)
        if len(found) != (int(count.group(1)) if count else 0) or not (found or "Would make no changes" in text):
            raise InstallError("uv does not say what it would install in the words that are known here", 1, output)
        return [f"{pin.partition('==')[0]} @ {at or origin}" if at or origin else pin for pin, at, origin in found]
    report = folder + ".json"
    _run(tool, [*command, "--dry-run", "--report", report, *options, "--", *wanted], wanted)
    with open(report, encoding="utf-8") as file:
        found = json.load(file)["install"]
    os.unlink(report)
    return [
        "{} @ {}".format(item["metadata"]["name"], _address(item["download_info"]))
        if item["is_direct"]
        else "{name}=={version}".format(**item["metadata"])
        for item in found
    ]


def _address(download: Mapping[str, Any]) -> str:
    """Write where a package comes from as a requirement does."""
    vcs = download.get("vcs_info")
    return "{}+{}@{}".format(vcs["vcs"], download["url"], vcs["commit_id"]) if vcs else str(download["url"])


def _run(tool: str, command: Sequence[str], wanted: Sequence[str]) -> bytes:
    """Run the installer, away from the user's folder, where Python would find its modules first."""
    env = {name: value for name, value in os.environ.items() if name not in _TROUBLE}
    code, output = follow(command, shown=False, cwd=os.sep, env={**env, **_ENVIRONMENT})
    if code:
        raise InstallError(f"{tool} could not install {', '.join(wanted)} (exit code {code})", code, output)
    return output
