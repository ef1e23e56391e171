"""From a notebook's code and variables to the bytes of a job."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .analysis import CellAnalysis, analyse
    from .capture import capture_call, capture_cell, capture_map
    from .limits import Limits
    from .payload import Payload, Rules
    from .report import CaptureReport, Row
    from .selection import Selection

__all__ = [
    "CaptureReport",
    "CellAnalysis",
    "Limits",
    "Payload",
    "Row",
    "Rules",
    "Selection",
    "analyse",
    "capture_call",
    "capture_cell",
    "capture_map",
]

_HOMES = {
    "CaptureReport": "report",
    "CellAnalysis": "analysis",
    "Limits": "limits",
    "Payload": "payload",
    "Row": "report",
    "Rules": "payload",
    "Selection": "selection",
    "analyse": "analysis",
    "capture_call": "capture",
    "capture_cell": "capture",
    "capture_map": "capture",
}


def __getattr__(name: str) -> Any:
    # Loading an extension imports this package; capturing, which needs the rest, comes later.
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    globals()[name] = value
    return value
