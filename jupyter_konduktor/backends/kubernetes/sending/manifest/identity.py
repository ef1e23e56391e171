"""Who a job belongs to and how it is found again: names, labels and annotations, held to Kubernetes' limits."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass

from jupyter_konduktor.backends.kubernetes import words
from jupyter_konduktor.errors import InvalidTaskError
from jupyter_konduktor.resources import Gpus

MAX_LABEL = 63
MAX_ANNOTATIONS = 256 * 1024
"""Bytes of all keys and values together that Kubernetes allows in the annotations of one object."""

_HASH = 8
_LABEL = re.compile(r"([A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?)?")
_DNS_LABEL = re.compile(r"[a-z]([-a-z0-9]*[a-z0-9])?")


@dataclass(frozen=True, slots=True)
class User:
    """Who submits, in the form that labels allow.

    Attributes
    ----------
    id : str
        Tells users apart: their name and a hash of how it is really written.
    name : str
        For people.
    """

    id: str
    name: str

    @classmethod
    def of(cls, name: str) -> User:
        """Make it from a name as it is written anywhere (``me@example.com``, ``system:serviceaccount:a:b``)."""
        digest = hashlib.sha256(name.encode()).hexdigest()[:_HASH]
        return cls(f"{_sanitized(name, MAX_LABEL - _HASH - 1)}-{digest}", _sanitized(name, MAX_LABEL))


def job_labels(name: str, user: User, gpus: Gpus | None) -> dict[str, str]:
    """Give the labels that a JobSet and its pods have in common."""
    labels = {
        words.PARENT[0]: words.PARENT[1],
        words.MANAGED: "true",
        words.JOB_NAME: name,
        words.USER_ID: user.id,
        words.USERNAME: user.name,
    }
    if gpus is not None:
        labels[words.NUM_ACCELERATORS] = str(gpus.count)
        if gpus.kind:
            labels[words.ACCELERATOR] = gpus.kind
    return labels


def check_name(name: str, nodes: int) -> None:
    """Refuse a name with which a pod's name or a host name would be too long."""
    longest = f"{name}-{words.REPLICATED_JOB_NAME}-0-{nodes - 1}-abcde"
    if len(longest) > MAX_LABEL or not _DNS_LABEL.fullmatch(name):
        room = MAX_LABEL - len(longest) + len(name)
        raise InvalidTaskError(
            f"name: {name!r} is not allowed; it is lower-case letters, digits and '-', begins with a letter, and has "
            f"at most {room} characters, because its pods are named like {longest}",
            field="name",
            value=name,
        )


def check_label(field: str, value: str) -> str:
    """Give the value of a field back if a label may have it."""
    if len(value) > MAX_LABEL or not value or not _LABEL.fullmatch(value):
        shown = value if len(value) <= 80 else value[:77] + "..."
        raise InvalidTaskError(
            f"{field}: {shown!r} is not allowed; it becomes a label, which has letters, digits, '-', '_' and '.', "
            f"begins and ends with a letter or digit, and has at most {MAX_LABEL} characters",
            field=field,
            value=value,
        )
    return value


def check_annotations(annotations: Mapping[str, str], fields: Mapping[str, str]) -> None:
    """Refuse annotations that are too long together.

    Parameters
    ----------
    annotations : mapping of str to str
    fields : mapping of str to str
        Which field of the task each of them was made from.
    """
    sizes = {key: len(key.encode()) + len(value.encode()) for key, value in annotations.items()}
    if sum(sizes.values()) > MAX_ANNOTATIONS:
        largest = max(sizes, key=lambda key: sizes[key])
        field = fields.get(largest, largest)
        raise InvalidTaskError(
            f"{field}: {sizes[largest]:,} bytes as the annotation {largest}; Kubernetes allows {MAX_ANNOTATIONS:,} "
            "for all annotations of an object",
            advice="Send what is large as data: in a variable of the cell, in a file on a volume, or in the image.",
            field=field,
        )


def _sanitized(name: str, length: int) -> str:
    return re.sub(r"[^A-Za-z0-9_.]+", "-", name)[:length].strip("-_.") or "user"
