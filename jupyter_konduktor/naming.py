"""Names of tasks and jobs, and which known word was meant by an unknown one."""

from __future__ import annotations

import difflib
import re
import secrets
from collections.abc import Iterable

MAX_NAME = 36
"""Longest name of a task. A pod is named ``<name>-<5>-workers-0-<index>-<5>`` and JobSet allows 63 characters."""

_SUFFIXES = "bcdfghjklmnpqrstvwxz2456789"  # no vowels: five random characters should spell nothing


def new_name(prefix: str) -> str:
    """Make a job's name: the prefix and five random characters (``train-7fq2x``)."""
    return f"{prefix}-{''.join(secrets.choice(_SUFFIXES) for _ in range(5))}"


def name_from(text: str, default: str = "job") -> str:
    """Make the nearest valid task name from any text (``Train_Model`` becomes ``train-model``)."""
    name = re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")
    name = re.sub(r"^[^a-z]+", "", name)[:MAX_NAME].strip("-")
    return name or default


def nearest(word: str, known: Iterable[str]) -> str | None:
    """Find the known word that was probably meant."""
    found = difflib.get_close_matches(word.lower(), [k.lower() for k in known], n=1, cutoff=0.6)
    return next((k for k in known if k.lower() == found[0]), None) if found else None
