"""What the doctor says of a cluster: whether jobs can run there, and what to do where they cannot."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Iterator, Mapping
from importlib import metadata
from typing import TYPE_CHECKING, Any

from jupyter_konduktor.backends.findings import gather
from jupyter_konduktor.backends.kubernetes import queues, words
from jupyter_konduktor.backends.kubernetes.rights import USES, Use
from jupyter_konduktor.backends.kubernetes.sending.choice import NO_QUEUE, Chooser
from jupyter_konduktor.backends.kubernetes.sending.manifest.accelerators import accelerator
from jupyter_konduktor.backends.kubernetes.sending.runtime import runner_config_map
from jupyter_konduktor.backends.protocol import Finding
from jupyter_konduktor.errors import AccessDeniedError, ApiError, ConfigError, KonduktorError
from jupyter_konduktor.resources import Gpus
from jupyter_konduktor.task import Task

if TYPE_CHECKING:
    from jupyter_konduktor.backends.kubernetes.api.client import Client
    from jupyter_konduktor.backends.kubernetes.site import Site
    from jupyter_konduktor.config import Settings
    from jupyter_konduktor.state import QueueInfo

SKEW = 30.0
"""Seconds that the clocks may differ: beyond that, times of a job's history and its output are out of order."""

_CONTROLLERS = {
    "JobSet": "/apis/apps/v1/namespaces/jobset-system/deployments/jobset-controller-manager",
    "Kueue": "/apis/apps/v1/namespaces/kueue-system/deployments/kueue-controller-manager",
}
"""Where their releases put them."""


def examine(site: Site, settings: Settings) -> Iterator[Finding]:
    """Look at a cluster; nothing is made there, and nothing raised.

    Parameters
    ----------
    site : Site
    settings : Settings
        ``accelerators``, ``image``, ``queue`` and ``store`` are used.
    """
    client = site.client
    yield Finding("context", True, f"{client.context}, user {client.user}" if client.context else client.user)
    server = _server(client)
    yield server
    if not server.ok:
        return
    yield from gather([
        ("identity", lambda: _identity(client)),
        ("JobSet", lambda: _jobset(client)),
        ("Kueue", lambda: _kueue(site)),
        ("rights", lambda: _rights(site)),
        ("namespace", lambda: _namespace(client)),
        ("queues", lambda: _queues(site)),
        ("queue", lambda: _queue(site, settings)),
        ("image", lambda: _image(site, settings)),
        ("runner", lambda: _runner(client)),
        ("clock", lambda: _clock(client)),
        ("store", lambda: _store(settings)),
        ("accelerators", lambda: _accelerators(site, settings)),
        ("client", _client_version),
    ])  # fmt: skip


def _server(client: Client) -> Finding:
    started = time.monotonic()
    try:
        version = client.get("/version", timeout=10.0).get("gitVersion", "of an unknown version")
    except KonduktorError as error:
        return Finding("server", False, f"{client.server}: {error.message}", error.advice)
    took = (time.monotonic() - started) * 1000
    return Finding("server", True, f"{client.server}, Kubernetes {version}, answers in {took:.0f} ms")


def _identity(client: Client) -> Iterable[Finding]:
    if client.identity:
        yield Finding("identity", True, client.identity)
    else:
        yield Finding("identity", None, "the cluster does not say who you are to it")


def _jobset(client: Client) -> Iterable[Finding]:
    served = client.served(words.JOBSET_GROUP)
    found = f"{', '.join(served) or 'not installed'}{_controller(client, 'JobSet')}"
    if words.JOBSET_VERSION in served:
        yield Finding("JobSet", True, found)
    else:
        advice = f"Jobs need {words.JOBSET_GROUP}/{words.JOBSET_VERSION}: whoever runs the cluster can install JobSet."
        yield Finding("JobSet", False, found, advice)


def _kueue(site: Site) -> Iterable[Finding]:
    served = site.client.served(words.KUEUE_GROUP)
    found = f"{', '.join(served) or 'not installed'}{_controller(site.client, 'Kueue')}"
    if not site.kueue:
        advice = f"Queues need {words.KUEUE_GROUP} {' or '.join(words.KUEUE_VERSIONS)}: whoever runs the cluster can "
        yield Finding("Kueue", False, found, f'{advice}install it; queue = "{NO_QUEUE}" runs jobs past any queue.')
        return
    yield Finding("Kueue", True, found)
    visible = site.client.served(words.VISIBILITY_GROUP)
    if not visible:
        advice = "Kueue's feature VisibilityOnDemand gives them."
        yield Finding("positions", None, "the place of a job in its queue cannot be seen", advice)


def _controller(client: Client, product: str) -> str:
    """Give the version of a controller as the end of a line; most users may not see it."""
    try:
        pod = client.get(_CONTROLLERS[product])["spec"]["template"]["spec"]
    except (ApiError, KeyError):
        return ""
    images = [str(container.get("image", "")) for container in pod.get("containers") or ()]
    tags = [image.partition("@")[0].rpartition(":")[2] for image in images if f"/{product.lower()}" in image]
    return f", controller {tags[0]}" if tags else ""


def _rights(site: Site) -> Iterable[Finding]:
    missing = [(use, verbs) for use in USES if use.granted and (verbs := _denied(site, use))]
    if not missing:
        yield Finding("rights", True, f"all that is used, in namespace {site.namespace}")
        return
    who = site.client.identity or "NAME"
    _, service_account, account = who.partition("system:serviceaccount:")
    subject = f"--serviceaccount {account}" if service_account else f"--user {who}"
    advice = (
        "Whoever runs the cluster can give what is missing: "
        f"jupyter konduktor rbac --namespace {site.namespace} {subject} | kubectl apply -f -"
    )
    for number, (use, verbs) in enumerate(sorted(missing, key=lambda item: not item[0].needed)):
        kind = use.resource + (f".{use.group}" if use.group else "")
        found = f"you cannot {use.what}: {', '.join(verbs)} {kind} is denied"
        yield Finding("rights", False if use.needed else None, found, "" if number else advice)


def _denied(site: Site, use: Use) -> list[str]:
    name, _, sub = use.resource.partition("/")
    return [verb for verb in use.verbs if not site.rights.allows(verb, use.group, name, sub)]


def _namespace(client: Client) -> Iterable[Finding]:
    try:
        phase = client.get(f"/api/v1/namespaces/{client.namespace}").get("status", {}).get("phase", "Active")
    except AccessDeniedError:
        yield Finding("namespace", None, f"{client.namespace}; whether it exists is not for you to see")
    except ApiError as error:
        if error.status != 404:
            raise
        advice = "Set namespace to one in which you have a queue, or --namespace."
        yield Finding("namespace", False, f"{client.namespace} does not exist", advice)
    else:
        found = client.namespace + (f" is {phase}" if phase != "Active" else "")
        yield Finding("namespace", phase == "Active", found)


def _queues(site: Site) -> Iterable[Finding]:
    try:
        found = queues.queues(site)
    except AccessDeniedError:
        yield Finding(
            "queues", None, f"you may not see the queues of {site.namespace}", "Name the one you were told of."
        )
        return
    if not found:
        advice = "Whoever runs the cluster can make a LocalQueue there."
        yield Finding("queues", False, f"{site.namespace} has none", advice)
    usable = any(not queue.message for queue in found)
    for queue in found:
        ok = True if not queue.message else (None if usable else False)
        yield Finding("queues", ok, _state(queue))


def _state(queue: QueueInfo) -> str:
    """Say what of a queue is free and how many wait: ``user-queue: gpu 3 of 8 free, 2 waiting``."""
    parts = []
    for name, (used, total) in queue.resources.items():
        if total is not None:
            scale, unit = (2**30, " GiB") if name == "memory" else (1, "")
            free = max(total - used, 0.0) / scale
            parts.append(f"{name} {free:.4g} of {total / scale:.4g}{unit} free")
    parts.append(f"{queue.pending} waiting")
    return f"{queue.name}: {', '.join(parts)}{f'; {queue.message}' if queue.message else ''}"


def _queue(site: Site, settings: Settings) -> Iterable[Finding]:
    """Find the queue of a job that names none, by what a submit does before it makes anything."""
    task = Task.create(name="doctor", command=["true"], image=settings.image or "python", queue=settings.queue)
    choice = Chooser(site.client, site.rights, settings).choose(task)
    said = f"{choice.queue} (ClusterQueue {choice.cluster_queue})" if choice.cluster_queue else choice.queue
    yield Finding("queue", True, f"a job that names none goes into {said}" if said else "jobs run past any queue")
    yield from (Finding("queue", None, note) for note in choice.notes)


def _image(site: Site, settings: Settings) -> Iterable[Finding]:
    if not settings.image:
        advice = 'Set image = "python:3.12" or another with Python, for each cell has to name one otherwise.'
        yield Finding("image", None, "not set", advice)
        return
    here = f"{sys.version_info.major}.{sys.version_info.minor}"
    known = site.shelf.images().get(settings.image)
    if known is None:
        yield Finding(
            "image", True, f"{settings.image} ({settings.source('image')}); no job has run in it from here yet"
        )
        return
    _, python = known
    same = python == here or python.startswith(f"{here}.")
    found = f"{settings.image} ({settings.source('image')}), Python {python}"
    advice = f"This is Python {here}: cells run, but functions can only be sent to an image with the same."
    yield Finding("image", True if same else None, found, "" if same else advice)


def _runner(client: Client) -> Iterable[Finding]:
    """Try to make the ConfigMap that brings the runner; the cluster checks it and makes nothing."""
    path = words.core(client.namespace, "configmaps")
    try:
        client.post(path, runner_config_map(client.namespace), {"dryRun": "All"})
    except AccessDeniedError:
        yield Finding("runner", None, "its ConfigMap cannot be made; it travels in each job, which makes them larger")
        return
    except ApiError as error:
        if error.status != 409:  # then it is there already
            raise
    yield Finding("runner", True, "its ConfigMap can be made")


def _clock(client: Client) -> Iterable[Finding]:
    skew = client.skew
    if abs(skew) <= SKEW:
        yield Finding("clock", True, f"within {max(abs(skew), 1.0):.0f} s of the cluster's")
    else:
        way = "behind" if skew > 0 else "ahead of"
        yield Finding("clock", False, f"this machine is {abs(skew):.0f} s {way} the cluster", "Set its clock.")


def _store(settings: Settings) -> Iterable[Finding]:
    if settings.store:
        from jupyter_konduktor.store.store import open_store

        try:
            open_store(settings.store).check()
        except KonduktorError as error:
            yield Finding("store", False, error.message, error.advice)
        else:
            yield Finding("store", True, f"{settings.store} can be written to")
    else:
        yield Finding("store", None, "not set: results of up to 4 MiB come back with the log")


def _client_version() -> Iterable[Finding]:
    yield Finding("client", True, f"kubernetes {metadata.version('kubernetes')}")


def _accelerators(site: Site, settings: Settings) -> Iterable[Finding]:
    """Hold the kinds of GPUs in the settings against the labels of the cluster's flavors."""
    flavors = _flavors(site)
    if flavors is not None:
        there = f"the cluster's flavors: {', '.join(_labelled(*flavor) for flavor in flavors.items()) or 'none'}"
    else:
        there = "the cluster's flavors are not for you to see"
    if not settings.accelerators:
        yield Finding("accelerators", None, f"not set, so a kind in --gpus selects no nodes; {there}")
        return
    for kind in settings.accelerators:
        try:
            found = accelerator(Gpus(kind, 1), settings.accelerators)
        except ConfigError as error:
            yield Finding("accelerators", False, error.message, error.advice)
            continue
        chosen = ", ".join(f"{key}={value}" for key, value in found.node_selector.items()) or "any node"
        said = f"{kind}: {found.resource} on {chosen}"
        if flavors and not any(_fits(found.node_selector, flavor) for flavor in flavors.values()):
            yield Finding("accelerators", False, f"{said}, which no flavor has; {there}", f"Mend accelerators.{kind}.")
        else:
            yield Finding("accelerators", True if flavors is not None else None, said)


def _flavors(site: Site) -> dict[str, Mapping[str, str]] | None:
    """Give the node labels of each ResourceFlavor; None where they cannot be seen."""
    if not site.kueue or not site.rights.allows("list", words.KUEUE_GROUP, "resourceflavors"):
        return None
    listed: dict[str, Any] = site.client.get(words.kueue(site.kueue, "resourceflavors"))
    return {item["metadata"]["name"]: (item.get("spec") or {}).get("nodeLabels") or {} for item in listed["items"]}


def _labelled(name: str, labels: Mapping[str, str]) -> str:
    return f"{name} ({', '.join(f'{key}={value}' for key, value in labels.items())})" if labels else name


def _fits(selector: Mapping[str, str], labels: Mapping[str, str]) -> bool:
    """Say whether pods with a nodeSelector may have a flavor: a key that it does not name rules it not out."""
    return all(labels.get(key, value) == value for key, value in selector.items())
