"""Why a Workload waits: Kueue's messages as one short sentence, and told apart by what can be done about it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Literal

from jupyter_konduktor.backends.kubernetes import quantity
from jupyter_konduktor.backends.kubernetes.judging.objects import condition

Kind = Literal["", "capacity", "never", "queue", "check", "other"]

_UNUSED = re.compile(
    r"insufficient unused quota for (?P<resource>\S+) in flavor (?P<flavor>[^\s,;]+), (?P<more>\S+) more needed"
)
_MAXIMUM = re.compile(
    r"insufficient quota for (?P<resource>\S+) in flavor (?P<flavor>[^\s,;]+), previously considered podsets requests "
    r"\((?P<before>[^)]*)\) \+ current podset request \((?P<now>[^)]*)\) > maximum capacity \((?P<most>[^)]*)\)"
)
_UNCOVERED = re.compile(r"resource (\S+) unavailable in ClusterQueue")
_TAINT = re.compile(r"untolerated taint (.+?) in flavor ([^\s,;]+)")
_AFFINITY = re.compile(r"flavor ([^\s,;]+) doesn't match node affinity")
_NO_FLAVOR = re.compile(r"flavor ([^\s,;]+) not found")
_TOPOLOGY = re.compile(r"no topology domains at level: ([^\s,;]+)")
_NO_LEVEL = re.compile(r'Flavor "([^"]+)" does not contain the requested level')
_NO_TOPOLOGY = re.compile(r'Flavor "([^"]+)" does not support TopologyAwareScheduling')
_ONLY_TOPOLOGY = re.compile(r'Flavor "([^"]+)" supports only TopologyAwareScheduling')
_NO_ROOM = re.compile(
    r"topology \"(?P<topology>[^\"]+)\" (?:allows to fit only (?P<fit>\d+) out of|doesn't allow to fit any of) "
    r"(?P<pods>\d+) pod\(s\)"
)
_PREEMPTING = re.compile(r"\. Pending the preemption of (\d+) workload\(s\)$")
_QUEUE = re.compile(r"(LocalQueue|ClusterQueue) (\S+) (?:doesn't exist|not found|is inactive|is stopped)")
_RESET = "Reset to Pending after eviction"

_SENTENCES: dict[str, tuple[Kind, str]] = {
    "Workload no longer fits after processing another workload": (
        "capacity",
        "waits for capacity: another job was let in before it",
    ),
    "Workload has overlapping preemption targets with another workload": (
        "capacity",
        "waits for capacity: what it could take the place of makes room for another job",
    ),
    "Workload namespace doesn't match ClusterQueue selector": (
        "never",
        "can never fit: its ClusterQueue takes no jobs of this namespace",
    ),
    "The workload has failed admission checks": ("check", "an admission check has failed"),
}


@dataclass(frozen=True, slots=True)
class Why:
    """Why a Workload has not been admitted.

    Attributes
    ----------
    kind : str
        ``"capacity"``: others have to end first; ``"never"``: it asks for more than there ever is; ``"queue"``: the
        queue is missing or stopped; ``"check"``: an admission check has not let it pass; ``"other"``; empty if nothing
        is known.
    text : str
    """

    kind: Kind = ""
    text: str = ""


def why(workload: Mapping[str, Any]) -> Why:
    """Say why a Workload waits."""
    status = workload.get("status") or {}
    reserved, evicted = condition(workload, "QuotaReserved"), condition(workload, "Evicted")
    if reserved.get("status") == "True":
        return _checks(status)
    message = str(reserved.get("message") or "")
    # Right after an eviction it only says that once more.
    if message == evicted.get("message") or reserved.get("reason") == "Finished":
        return Why()
    return read(message, str((workload.get("spec") or {}).get("queueName") or ""))


def read(message: str, queue: str = "") -> Why:
    """Understand one message of the condition QuotaReserved; one of an unknown shape stays as it is."""
    if not message:
        return Why()
    preempting = _PREEMPTING.search(message)
    found = _read(message[: preempting.start()] if preempting else message, queue)
    if not preempting:
        return found
    count = int(preempting[1])
    jobs = "1 job makes" if count == 1 else f"{count} jobs make"
    return Why(found.kind, f"{found.text}; {jobs} room for it")


def _read(message: str, queue: str) -> Why:
    for text, (kind, sentence) in _SENTENCES.items():
        if message.startswith(text):
            return Why(kind, sentence)
    stopped = _QUEUE.match(message)
    if stopped:
        return _of_queue(message, stopped[1], stopped[2])
    never, capacity = _refusals(message, queue)
    rooms = _rooms(message)
    # What one flavor cannot hold another may: it is over only for a resource that none of them will ever have.
    hopeless = [text for resource, texts in never.items() if resource not in capacity for text in texts]
    if hopeless and not rooms:
        return Why("never", f"can never fit: {_joined(hopeless)}")
    if capacity or rooms:
        texts = [*(text for texts in capacity.values() for text in texts), *rooms]
        return Why("capacity", f"waits for capacity: {_joined(texts)}")
    unfit = _unfit(message)
    if unfit:
        return Why("never", f"can never fit: {_joined(unfit)}")
    if "topology" in message:
        return Why("capacity", f"waits for capacity: {message}")
    return Why("other", message)


def _refusals(message: str, queue: str) -> tuple[dict[str, list[str]], dict[str, list[str]]]:
    """Collect what is too much for ever, and what is too much at the moment, by resource."""
    never: dict[str, list[str]] = {}
    capacity: dict[str, list[str]] = {}
    for match in _UNUSED.finditer(message):
        resource = match["resource"]
        more = _amount(resource, match["more"])
        text = f"{more} more {resource} {'is' if more == '1' else 'are'} needed in flavor {match['flavor']}"
        capacity.setdefault(resource, []).append(text)
    for match in _MAXIMUM.finditer(message):
        resource = match["resource"]
        asked = _sum(resource, match["before"], match["now"])
        has = f"queue {queue}" if queue else "its queue"
        text = f"it asks for {asked} {resource}, and {has} has {_amount(resource, match['most'])} in flavor "
        never.setdefault(resource, []).append(text + match["flavor"])
    for match in _UNCOVERED.finditer(message):
        never.setdefault(match[1], []).append(f"its ClusterQueue has no {match[1]}")
    return never, capacity


def _rooms(message: str) -> list[str]:
    """Collect where the quota is there, and the nodes that are close enough to each other are taken."""
    return [
        f"topology {match['topology']} has room for {match['fit'] or 'none'} of {match['pods']} nodes"
        for match in _NO_ROOM.finditer(message)
    ]


def _unfit(message: str) -> list[str]:
    """Collect why flavors do not suit its pods."""
    found = [f"it does not tolerate the taint {taint} of flavor {flavor}" for taint, flavor in _TAINT.findall(message)]
    found += [f"flavor {flavor} has no nodes that match its nodeSelector" for flavor in _AFFINITY.findall(message)]
    found += [f"flavor {flavor} of its ClusterQueue does not exist" for flavor in _NO_FLAVOR.findall(message)]
    found += [f"no nodes have the topology level {level}" for level in _TOPOLOGY.findall(message)]
    found += [f"the topology of flavor {flavor} has no level of that label" for flavor in _NO_LEVEL.findall(message)]
    found += [f"flavor {flavor} has no topology" for flavor in _NO_TOPOLOGY.findall(message)]
    found += [f"flavor {flavor} takes only jobs that ask for a topology" for flavor in _ONLY_TOPOLOGY.findall(message)]
    return found


def _of_queue(message: str, kind: str, name: str) -> Why:
    title = f"queue {name}" if kind == "LocalQueue" else f"ClusterQueue {name}"
    if "doesn't exist" in message or "not found" in message:
        return Why("queue", f"{title} does not exist; cancel the job and choose another, or have it made")
    if "is stopped" in message:
        return Why("queue", f"{title} is stopped; the job waits until it is started again")
    it = "it, or the ClusterQueue behind it," if kind == "LocalQueue" else "it"
    return Why("queue", f"{title} takes no jobs at the moment: {it} is stopped or not ready")


def _checks(status: Mapping[str, Any]) -> Why:
    """Say which admission checks a Workload with quota waits for."""
    waiting = [check for check in status.get("admissionChecks") or () if check.get("state") != "Ready"]
    nominated = [str(name) for name in status.get("nominatedClusterNames") or ()]
    if nominated:
        return Why("check", f"offered to {_clusters(nominated)}; the first that has room takes it")
    if not waiting:
        return Why()
    texts = []
    for check in waiting:
        said = str(check.get("message") or "")
        said = "" if said.startswith(_RESET) else said
        texts.append(f"{check.get('name')} ({check.get('state')})" + (f": {said}" if said else ""))
    checks = "check" if len(texts) == 1 else "checks"
    return Why("check", f"has its quota, and waits for the admission {checks} {'; '.join(texts)}")


def _clusters(names: list[str]) -> str:
    return f"cluster {names[0]}" if len(names) == 1 else f"clusters {', '.join(names)}"


def _joined(texts: Iterable[str]) -> str:
    return "; ".join(dict.fromkeys(texts))


def _sum(resource: str, before: str, now: str) -> str:
    try:
        total = quantity.parse(before or "0") + quantity.parse(now)
    except ValueError:
        return now
    return _amount(resource, now) if not quantity.parse(before or "0") else _shown(resource, total)


def _amount(resource: str, text: str) -> str:
    """Write an amount for a person: cores as a number, the rest as Kueue has it."""
    try:
        return _shown(resource, quantity.parse(text)) if resource == "cpu" else text
    except ValueError:
        return text


def _shown(resource: str, amount: Decimal) -> str:
    if resource in ("memory", "ephemeral-storage") and amount == int(amount):
        return quantity.size(int(amount))
    return f"{amount.normalize():f}"
