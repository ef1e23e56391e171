"""Kubernetes' way to write amounts: cores, bytes, devices."""

from __future__ import annotations

import re
from decimal import Decimal

_SUFFIXES = {
    "": Decimal(1),
    **{unit: Decimal(1000) ** -power for power, unit in enumerate("mun", 1)},
    **{unit: Decimal(1000) ** power for power, unit in enumerate("kMGTPE", 1)},
    **{f"{unit}i": Decimal(1024) ** power for power, unit in enumerate("KMGTPE", 1)},
}
_QUANTITY = re.compile(r"([+-]?(?:\d+\.?\d*|\.\d+))(?:[eE]([+-]?\d{1,3})|([numkMGTPE]|[KMGTPE]i))?")


def parse(text: str | float) -> Decimal:
    """Read an amount in its base unit: cores, bytes, devices.

    Raises
    ------
    ValueError
        If it is none.
    """
    match = _QUANTITY.fullmatch(str(text).strip())
    if match is None:
        raise ValueError(f"{text!r} is not a quantity")
    number, exponent, suffix = match.groups()
    return Decimal(number) * (Decimal(10) ** int(exponent) if exponent else _SUFFIXES[suffix or ""])


def cores(value: float) -> str:
    """Write cores, in thousandths where they are no whole number."""
    return str(int(value)) if value == int(value) else f"{max(1, round(value * 1000))}m"


def size(value: int) -> str:
    """Write bytes in the largest binary unit that divides them."""
    for power, unit in ((4, "Ti"), (3, "Gi"), (2, "Mi"), (1, "Ki")):
        if value and value % 1024**power == 0:
            return f"{value // 1024**power}{unit}"
    return str(value)
