"""What became of a map: its items tell, whatever its JobSet says of the pods that ran them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from jupyter_konduktor.backends.kubernetes.judging.ends import End
from jupyter_konduktor.backends.kubernetes.judging.nodes import Node
from jupyter_konduktor.backends.wording import ITEMS_FAILED, items_failed
from jupyter_konduktor.runner.envelope import Envelope, parse


def by_items(end: End | None, nodes: Sequence[Node]) -> End | None:
    """Say how a map ended that the cluster says has ended.

    Parameters
    ----------
    end : End or None
        What the cluster says.
    nodes : sequence of Node
        Of the last attempt.

    Returns
    -------
    End or None
        The cluster's own word where worker 0 has not told of the items: it was killed, or its pod is gone.
    """
    if end is None:
        return None
    for node in reversed(nodes):
        told = str(node.terminated.get("message") or "").encode() if node.speaks else b""
        found = _envelope(told)
        if found is None or not isinstance(found.value, dict) or set(found.value) != {"items", "failed"}:
            continue
        if failed := items_failed(told):
            return replace(end, succeeded=False, reason=ITEMS_FAILED, message=failed, exit_code=1, failed_node=None)
        return End(True, "Completed", time=end.time, exit_code=0)
    return end


def _envelope(data: bytes) -> Envelope | None:
    try:
        return parse(data)
    except ValueError:
        return None
