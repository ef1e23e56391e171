"""The queues of a namespace: what they hold, what they have, and where each job stands in them."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from decimal import Decimal
from itertools import groupby
from typing import TYPE_CHECKING, Any

from jupyter_konduktor.backends.kubernetes import quantity, words
from jupyter_konduktor.errors import AccessDeniedError, ApiError
from jupyter_konduktor.state import QueueInfo, Use

if TYPE_CHECKING:
    from jupyter_konduktor.backends.kubernetes.site import Site

_PAGE = 2000  # twice what comes unasked: a thousand jobs are one request
_MOST = 10_000
"""Pending jobs of one queue up to which positions are read."""

_GPU = "gpu"
Amounts = dict[str, Decimal]
"""An amount of each resource, by our own names of them."""

_log = logging.getLogger(__name__)
_told: set[tuple[str, int]] = set()


def queues(site: Site) -> list[QueueInfo]:
    """List the LocalQueues of the namespace, with the quota of their ClusterQueues where it can be seen.

    Raises
    ------
    BackendError
        If the LocalQueues cannot be read.
    """
    if not site.kueue:
        return []
    path = words.kueue(site.kueue, "localqueues", site.namespace)
    found = [item for page in site.client.pages(path) for item in page.get("items") or ()]
    behind = {name: _cluster_queue(site, name) for name in {_cluster_queue_name(item) for item in found} if name}
    return [info(item, behind.get(_cluster_queue_name(item))) for item in sorted(found, key=_name)]


def info(queue: Mapping[str, Any], cluster_queue: Mapping[str, Any] | None) -> QueueInfo:
    """Say what a LocalQueue holds; what is used of a ClusterQueue's quota includes the jobs of its other queues."""
    status = queue.get("status") or {}
    quota = _nominal(cluster_queue) if cluster_queue is not None else None
    taken = _reserved((cluster_queue if cluster_queue is not None else queue).get("status") or {})
    flavors = {
        flavor: _use(taken.get(flavor, {}), None if quota is None else quota[flavor])
        for flavor in (taken if quota is None else quota)
    }
    return QueueInfo(
        name=_name(queue),
        running=int(status.get("admittedWorkloads") or 0),
        pending=int(status.get("pendingWorkloads") or 0),
        resources=_use(_sum(taken.values()), None if quota is None else _sum(quota.values())),
        message=_message(queue),
        flavors=flavors,
    )


def positions(site: Site, queue: str) -> dict[str, int]:
    """Give the position of each pending Workload of a LocalQueue by its name, from 0; empty where it cannot be seen."""
    served = site.client.served(words.VISIBILITY_GROUP)
    version = next((version for version in words.KUEUE_VERSIONS if version in served), "")
    if not version:
        return _unseen(queue, 404)
    path = words.pending(version, site.namespace, queue)
    pending: list[Mapping[str, Any]] = []
    for offset in range(0, _MOST, _PAGE):
        try:
            items = site.client.get(path, {"limit": str(_PAGE), "offset": str(offset)}).get("items") or ()
        except ApiError as error:
            if error.status not in (403, 404, 503):
                raise
            return _unseen(queue, error.status)
        pending += items
        if len(items) < _PAGE:
            break
    found: dict[str, int] = {}
    for _, tied in groupby(sorted(pending, key=_position), key=_rank):
        equal = list(tied)
        # Kueue tells those that are equal in another order each time; that is no news.
        found.update(zip(sorted(map(_name, equal)), map(_position, equal), strict=True))
    return found


def _position(item: Mapping[str, Any]) -> int:
    return int(item["positionInLocalQueue"])


def _rank(item: Mapping[str, Any]) -> tuple[Any, Any]:
    """Give what Kueue orders by, in the whole seconds that it tells."""
    return item.get("priority"), item["metadata"].get("creationTimestamp") or _name(item)


def closed(site: Site, queue: str) -> str:
    """Say why a LocalQueue takes no jobs; empty if it does, or where that cannot be seen."""
    if not site.kueue:
        return ""
    path = words.kueue(site.kueue, "localqueues", site.namespace)
    try:
        found = site.client.get(path, {"fieldSelector": f"metadata.name={queue}"}).get("items") or ()
    except AccessDeniedError:  # found out here: a look at the rights would be one more request each time
        return ""
    return _message(found[0]) if found else ""


def _unseen(queue: str, status: int) -> dict[str, int]:
    """Note once why there are no positions: jobs run without them."""
    if (queue, status) not in _told:
        _told.add((queue, status))
        why = {403: "you may not read them", 404: "Kueue does not serve them here"}.get(status, "Kueue does not answer")
        _log.info("konduktor: positions in queue %s are not shown: %s (%d)", queue, why, status)
    return {}


def _cluster_queue(site: Site, name: str) -> Mapping[str, Any] | None:
    if not site.rights.allows("get", words.KUEUE_GROUP, "clusterqueues"):
        return None
    try:
        return site.client.get(words.kueue(site.kueue, "clusterqueues", name=name))
    except ApiError as error:
        if error.status in (403, 404):
            return None
        raise


def _nominal(cluster_queue: Mapping[str, Any]) -> dict[str, Amounts]:
    """Give the nominal quota of each flavor."""
    groups = (cluster_queue.get("spec") or {}).get("resourceGroups") or ()
    return _amounts((flavor for group in groups for flavor in group.get("flavors") or ()), "nominalQuota")


def _reserved(status: Mapping[str, Any]) -> dict[str, Amounts]:
    """Give what is taken of each flavor."""
    return _amounts(status.get("flavorsReservation") or (), "total")


def _amounts(flavors: Iterable[Mapping[str, Any]], key: str) -> dict[str, Amounts]:
    """Read what stands under a key of each resource of each flavor; GPUs of all makers count as one resource."""
    found: dict[str, Amounts] = {}
    for flavor in flavors:
        amounts = found.setdefault(_flavor(flavor), {})
        for item in flavor.get("resources") or ():
            resource = str(item.get("name"))
            plain = _GPU if resource.endswith("/gpu") else resource
            if plain in (_GPU, "cpu", "memory"):
                amounts[plain] = amounts.get(plain, Decimal(0)) + quantity.parse(item.get(key) or 0)
    return found


def _sum(flavors: Iterable[Amounts]) -> Amounts:
    total: Amounts = {}
    for amounts in flavors:
        for resource, amount in amounts.items():
            total[resource] = total.get(resource, Decimal(0)) + amount
    return total


def _use(taken: Amounts, quota: Amounts | None) -> dict[str, Use]:
    """Set what is taken against the quota; where that cannot be seen, what is taken stands alone."""
    return {
        resource: (float(taken.get(resource, 0)), None if quota is None else float(quota[resource]))
        for resource in (taken if quota is None else quota)
    }


def _flavor(flavor: Mapping[str, Any]) -> str:
    return str(flavor.get("name") or "")


def _message(queue: Mapping[str, Any]) -> str:
    """Say why a LocalQueue takes no jobs; empty if it does."""
    conditions = (queue.get("status") or {}).get("conditions") or ()
    active: Mapping[str, Any] = next((item for item in conditions if item.get("type") == "Active"), {})
    if active.get("status") != "False":
        return ""
    name = _cluster_queue_name(queue)
    said = {
        "Stopped": "is stopped: jobs wait until it is started again",
        "ClusterQueueIsInactive": f"takes no jobs: its ClusterQueue {name} is stopped or not ready",
        "ClusterQueueDoesNotExist": f"takes no jobs: there is no ClusterQueue {name}",
    }.get(str(active.get("reason")))
    return said or str(active.get("message") or active.get("reason") or "takes no jobs")


def _cluster_queue_name(queue: Mapping[str, Any]) -> str:
    return str((queue.get("spec") or {}).get("clusterQueue") or "")


def _name(item: Mapping[str, Any]) -> str:
    return str(item["metadata"]["name"])
