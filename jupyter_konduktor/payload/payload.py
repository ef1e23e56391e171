"""What a job is sent, and the rules by which it is put together."""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from .limits import Limits

if TYPE_CHECKING:
    from jupyter_konduktor.runner.pack import Pack

    from .report import CaptureReport


@dataclass(frozen=True, slots=True)
class Payload:
    """What a job is sent.

    Attributes
    ----------
    pack : Pack
    report : CaptureReport
    objects : dict of str to memoryview
        All large buffers by their SHA-256, the archive of the user's modules among them.
    identity : str
        The same for two payloads of the same code and the same values, whichever execution they come from.
    packages : tuple of str
        Requirements for what the code imports, at the versions installed here, if that was asked for.
    """

    pack: Pack
    report: CaptureReport
    objects: dict[str, memoryview]
    identity: str
    packages: tuple[str, ...] = ()

    @property
    def data(self) -> bytes:
        """The pack's header and stream."""
        return self.pack.data

    @property
    def sha256(self) -> str:
        """Digest of `data`, which the runner is told to expect."""
        return self.pack.sha256


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """What holds for every capture.

    Attributes
    ----------
    limits : Limits
    env : mapping of str to str
        What the task adds to the job's environment; searched for secrets too.
    allow_secrets : collection of str
        Environment variables whose values may be sent.
    cells : mapping of str to int
        The number of the cell for each file name that its code objects have.
    changed : mapping of str to str
        What to note of names that were defined by a cell that has changed since.
    imported : collection of str
        Names that cells imported in their jobs, and only there.
    environ : mapping of str to str
        This process's environment, where secrets are looked up.
    sync : bool
        Whether to find the packages of what the code imports.
    """

    limits: Limits = field(default_factory=Limits)
    env: Mapping[str, str] = field(default_factory=dict)
    allow_secrets: Collection[str] = ()
    cells: Mapping[str, int | None] = field(default_factory=dict)
    changed: Mapping[str, str] = field(default_factory=dict)
    imported: Collection[str] = ()
    environ: Mapping[str, str] = field(default_factory=lambda: os.environ)
    sync: bool = False
