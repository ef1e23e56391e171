"""Up and down of the whole cluster, also of one that crashed half-way."""

from __future__ import annotations

import secrets
import shutil
import sys
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

from tests.testbed import build, control, controllers, images, network, node, objects, packages, places, traces
from tests.testbed.api import Api
from tests.testbed.parts import Part, end_process
from tests.testbed.pki import Authority
from tests.testbed.places import locked

USERS = {"alice": "", "bob": ""}


def all_parts(state: Path) -> dict[str, Part]:
    """Every part of the cluster by its name, in the order they start."""
    authority = Authority(state / "pki")
    found = [*control.parts(state, authority), *node.parts(state, authority), *controllers.parts(state, authority)]
    return {part.name: part for part in found}


def is_up(state: Path) -> bool:
    """Whether a cluster was brought up here and any of it still runs; nothing runs after the machine restarted."""
    return (state / "up").exists() and any(part.running for part in all_parts(state).values())


def up(state: Path) -> bool:
    """Bring the cluster up, or start what is missing of one; gives whether it was up before."""
    if not places.able():
        message = "the cluster needs Linux and all of root's rights: it makes containers, and a bridge for them"
        raise RuntimeError(message)
    packages.install()
    build.build()
    with locked(places.lock(state)):
        if is_up(state):
            mend(state)
            return True
        for image in images.IMAGES.values():
            images.archive(image)
        clean(state)
        start = time.monotonic()
        try:
            _bring_up(state)
        except BaseException:
            _stop(state)
            print(f"The cluster did not come up; its logs are in {state}/logs", file=sys.stderr)
            raise
        took = time.monotonic() - start
        (state / "up").write_text(f"{took:.2f}\n")
        print(f"The cluster is up after {took:.1f} s", file=sys.stderr)
        return False


def mend(state: Path) -> None:
    """Start what does not run, resume what is paused, and see that each part is ready."""
    network.make(state)
    for part in all_parts(state).values():
        if part.paused:
            part.resume()
        if part.running:
            part.wait()
        else:
            print(f"Starting {part.name}, which did not run", file=sys.stderr)
            part.start()


def _bring_up(state: Path) -> None:
    """Start everything, each as soon as what it needs is there."""
    state.mkdir(parents=True, exist_ok=True)
    state.chmod(0o700)
    network.make(state)
    authority = Authority(state / "pki")
    authority.make()
    write_identities(authority)
    admin_file = authority.kubeconfig("admin")
    parts = all_parts(state)
    with ThreadPoolExecutor(4) as pool:
        containers = pool.submit(_start_containers, state, parts["containerd"])
        parts["versitygw"].start(wait=False)
        parts["etcd"].start()
        parts["kube-apiserver"].start()
        for name in ("kube-controller-manager", "kube-scheduler"):
            parts[name].start(wait=False)
        admin = Api(admin_file)
        node.install_capacity(admin)
        for namespace in ("kueue-system", "jobset-system"):
            admin.ensure("/api/v1/namespaces", {"metadata": {"name": namespace}})
        controllers.install_types(admin, authority)
        for name in ("jobset", "kueue", "coredns"):
            parts[name].start(wait=False)
        controllers.install_hooks(admin, authority)
        containers.result()
        waits: list[Future[None]] = [pool.submit(parts["kubelet"].start)]
        for name in ("jobset", "kueue"):
            parts[name].wait()
        _retried(lambda: objects.install(admin))
        for wait in waits:
            wait.result()
    for part in parts.values():
        part.wait()


def _start_containers(state: Path, containerd: Part) -> None:
    containerd.start()
    node.import_images(state)


def write_identities(authority: Authority) -> None:
    """Certificates of the users, and the token by which Kueue's visibility server knows the admin."""
    tokens = authority.place / "tokens.csv"
    tokens.touch(mode=0o600)
    tokens.write_text(f'{secrets.token_hex(16)},testbed-admin,testbed-admin,"system:masters"\n')
    for user, group in USERS.items():
        authority.client(user, user, group)
        authority.kubeconfig(user, objects.TEAM)


def _retried(action: Callable[[], None]) -> None:
    """Webhooks answer a moment after their server calls itself ready."""
    deadline = time.monotonic() + 20
    while True:
        try:
            return action()
        except Exception:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.1)


def down(state: Path) -> None:
    """Stop everything that this cluster started, and remove every trace of it."""
    with locked(places.lock(state)):
        clean(state)


def clean(state: Path) -> None:
    """Stop and remove, whatever is left of the cluster."""
    _stop(state)
    traces.remove(state)
    network.remove()
    if state.exists():
        shutil.rmtree(state)


def _stop(state: Path) -> None:
    for part in reversed(all_parts(state).values()):
        part.kill()
    for process in traces.containers(state):
        end_process(process, patience=0)
