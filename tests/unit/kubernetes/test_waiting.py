"""Kueue's messages in plain words."""

from __future__ import annotations

import pytest

from jupyter_konduktor.backends.kubernetes.judging.waiting import Why, read, why
from tests.unit.kubernetes.lives import life

ASSIGN = "couldn't assign flavors to pod set workers: "
UNUSED = "insufficient unused quota for nvidia.com/gpu in flavor {}, 8 more needed"
MAXIMUM = (
    "insufficient quota for nvidia.com/gpu in flavor {}, previously considered podsets requests (0) + current podset "
    "request (16) > maximum capacity (8)"
)
MEMORY = (
    "insufficient quota for memory in flavor a, previously considered podsets requests (1Gi) + current podset "
    "request (2Gi) > maximum capacity (2Gi)"
)
FLAT = 'Flavor "default" does not support TopologyAwareScheduling'
FULL = 'topology "racks" doesn\'t allow to fit any of 2 pod(s). Total nodes: 4; excluded: resource "nvidia.com/gpu": 4'


@pytest.mark.parametrize(
    ("message", "kind", "text"),
    [
        ("", "", ""),
        (
            ASSIGN + UNUSED.format("default"),
            "capacity",
            "waits for capacity: 8 more nvidia.com/gpu are needed in flavor default",
        ),
        (
            ASSIGN + "insufficient unused quota for cpu in flavor a, 500m more needed",
            "capacity",
            "waits for capacity: 0.5 more cpu are needed in flavor a",
        ),
        (
            ASSIGN + UNUSED.format("a") + ". Pending the preemption of 2 workload(s)",
            "capacity",
            "waits for capacity: 8 more nvidia.com/gpu are needed in flavor a; 2 jobs make room for it",
        ),
        (
            ASSIGN + MAXIMUM.format("default"),
            "never",
            "can never fit: it asks for 16 nvidia.com/gpu, and queue q has 8 in flavor default",
        ),
        (
            ASSIGN + MEMORY,
            "never",
            "can never fit: it asks for 3Gi memory, and queue q has 2Gi in flavor a",
        ),
        # Another flavor can hold it, once it is free.
        (
            ASSIGN + f"{MAXIMUM.format('small')}, {UNUSED.format('large')}",
            "capacity",
            "waits for capacity: 8 more nvidia.com/gpu are needed in flavor large",
        ),
        # It may get its memory, and will never get its GPUs.
        (
            ASSIGN + f"insufficient unused quota for memory in flavor a, 1Gi more needed, {MAXIMUM.format('a')}",
            "never",
            "can never fit: it asks for 16 nvidia.com/gpu, and queue q has 8 in flavor a",
        ),
        (
            ASSIGN + "resource nvidia.com/gpu unavailable in ClusterQueue",
            "never",
            "can never fit: its ClusterQueue has no nvidia.com/gpu",
        ),
        (
            ASSIGN + "untolerated taint {gpu true NoSchedule <nil>} in flavor h100",
            "never",
            "can never fit: it does not tolerate the taint {gpu true NoSchedule <nil>} of flavor h100",
        ),
        (
            ASSIGN + "flavor h100 doesn't match node affinity, flavor a100 doesn't match node affinity",
            "never",
            (
                "can never fit: flavor h100 has no nodes that match its nodeSelector; "
                "flavor a100 has no nodes that match its nodeSelector"
            ),
        ),
        (
            f"{ASSIGN}flavor h100 doesn't match node affinity, {UNUSED.format('a100')}",
            "capacity",
            "waits for capacity: 8 more nvidia.com/gpu are needed in flavor a100",
        ),
        (ASSIGN + "flavor x not found", "never", "can never fit: flavor x of its ClusterQueue does not exist"),
        (
            ASSIGN + FLAT,
            "never",
            "can never fit: flavor default has no topology",
        ),
        (
            ASSIGN + f'{FLAT}, Flavor "racks" does not contain the requested level',
            "never",
            "can never fit: the topology of flavor racks has no level of that label; flavor default has no topology",
        ),
        (
            ASSIGN + 'Flavor "racks" supports only TopologyAwareScheduling',
            "never",
            "can never fit: flavor racks takes only jobs that ask for a topology",
        ),
        (
            ASSIGN + 'topology "racks" allows to fit only 1 out of 2 pod(s)',
            "capacity",
            "waits for capacity: topology racks has room for 1 of 2 nodes",
        ),
        # A flavor that does not suit it, and one that will have too few GPUs, do no harm beside one that is full.
        (
            f"{ASSIGN}{FLAT}, {MAXIMUM.format('small')}, {FULL}",
            "capacity",
            "waits for capacity: topology racks has room for none of 2 nodes",
        ),
        (
            "Workload no longer fits after processing another workload",
            "capacity",
            "waits for capacity: another job was let in before it",
        ),
        (
            "Workload namespace doesn't match ClusterQueue selector",
            "never",
            "can never fit: its ClusterQueue takes no jobs of this namespace",
        ),
        (
            "ClusterQueue team is inactive",
            "queue",
            "ClusterQueue team takes no jobs at the moment: it is stopped or not ready",
        ),
        ("LocalQueue q is stopped", "queue", "queue q is stopped; the job waits until it is started again"),
        (
            "LocalQueue q doesn't exist",
            "queue",
            "queue q does not exist; cancel the job and choose another, or have it made",
        ),
        ("The workload has failed admission checks", "check", "an admission check has failed"),
        ("something that later versions say", "other", "something that later versions say"),
    ],
)
def test_messages(message: str, kind: str, text: str) -> None:
    assert read(message, "q") == Why(kind, text)  # type: ignore[arg-type]


def test_several_admission_checks_are_all_named() -> None:
    checks = [
        {"name": "budget", "state": "Pending", "message": ""},
        {"name": "prov", "state": "Retry", "message": "no nodes"},
        {"name": "done", "state": "Ready", "message": "fine"},
    ]
    status = {"conditions": [{"type": "QuotaReserved", "status": "True"}], "admissionChecks": checks}
    assert why({"status": status}).text == (
        "has its quota, and waits for the admission checks budget (Pending); prov (Retry): no nodes"
    )


def test_every_message_of_recorded_lives_is_understood() -> None:
    for name in ("never-fits", "no-queue-there", "preempted", "borrower", "stop-queued", "drained", "check-pending"):
        kinds = {why(obj).kind for kind, _, obj in life(name) if kind == "workload"}
        assert "other" not in kinds
        assert len(kinds) > 1
