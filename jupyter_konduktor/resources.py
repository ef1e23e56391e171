"""What each node of a job is given."""

from __future__ import annotations

from dataclasses import dataclass

ACCELERATORS = (
    *("A100", "A100-80GB", "B200", "B300", "GB200", "GB300", "H100", "H100-MEGA-80GB", "H200"),
    *("L40", "L40S", "T4", "RTX-PRO-6000", "MI300X", "MI355X"),
)
"""Accelerators that Konduktor knows; others may be named too."""


@dataclass(frozen=True, slots=True)
class Gpus:
    """A number of GPUs, perhaps of one kind.

    Attributes
    ----------
    kind : str or None
        ``"H100"``; None for any.
    count : int
        Per node, at least 1.
    """

    kind: str | None
    count: int

    def __str__(self) -> str:
        return f"{self.kind}:{self.count}" if self.kind else str(self.count)


@dataclass(frozen=True, slots=True)
class Resources:
    """What each node of a job needs.

    Attributes
    ----------
    gpus : Gpus or None
    nodes : int
    cpus : float or None
        Cores per node; None leaves it to the backend.
    memory : int or None
        Bytes per node.
    """

    gpus: Gpus | None = None
    nodes: int = 1
    cpus: float | None = None
    memory: int | None = None
