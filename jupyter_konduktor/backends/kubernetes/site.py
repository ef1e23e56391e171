"""A namespace of a cluster as one user sees it: the client, the rights, what is kept here of its jobs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from typing import Any

from jupyter_konduktor.backends.kubernetes import words
from jupyter_konduktor.backends.kubernetes.api.client import Client
from jupyter_konduktor.backends.kubernetes.judging.judge import Sight
from jupyter_konduktor.backends.kubernetes.owners import Owners
from jupyter_konduktor.backends.kubernetes.results import terminated
from jupyter_konduktor.backends.kubernetes.rights import Rights, user_id
from jupyter_konduktor.backends.kubernetes.shelf.shelf import JobShelf, Shelf
from jupyter_konduktor.errors import AccessDeniedError, ApiError, JobNotFoundError

CHUNK = 200
"""Uids in one selector: a URL may not be arbitrarily long."""


class Site:
    """What every part of the backend works with.

    Parameters
    ----------
    client : Client
    shelf : Shelf
    """

    def __init__(self, client: Client, shelf: Shelf) -> None:
        self.client = client
        self.shelf = shelf
        self.rights = Rights(client)
        self.owners = Owners(client, self.rights)

    @property
    def namespace(self) -> str:
        """Where the jobs are."""
        return self.client.namespace

    @cached_property
    def user(self) -> str:
        """The label by which this user's jobs are found."""
        return user_id(self.client)

    @cached_property
    def kueue(self) -> str:
        """The version of Kueue's API that is spoken here; empty if there is none that is understood."""
        served = self.client.served(words.KUEUE_GROUP)
        return next((version for version in words.KUEUE_VERSIONS if version in served), "")

    def jobset(self, name: str) -> dict[str, Any]:
        """Read one JobSet; raises `JobNotFoundError`."""
        try:
            return self.client.get(words.jobsets(self.namespace, name))
        except ApiError as error:
            if error.status == 404:
                raise JobNotFoundError(
                    f"There is no job {name!r} in namespace {self.namespace}",
                    advice="%konduktor jobs --all-users lists what there is.",
                ) from None
            raise

    def find(self, name: str) -> dict[str, Any] | None:
        """Read one JobSet, also where this user may only list them; None if there is none."""
        try:
            return self.jobset(name)
        except JobNotFoundError:
            return None
        except AccessDeniedError:
            found = self.client.get(words.jobsets(self.namespace), {"fieldSelector": f"metadata.name={name}"})
            return next(iter(found["items"]), None)

    def keep(self, jobset: Mapping[str, Any]) -> JobShelf:
        """Give what is kept here of a job; one that was made from here and not noted any more is noted now."""
        metadata = jobset["metadata"]
        kept = self.shelf.keep(metadata["uid"], metadata["name"])
        key = (metadata.get("annotations") or {}).get(words.KEY)
        if key and not kept.submitted and self.shelf.awaits(key, kept.name):
            kept.mark_submitted()
        return kept

    def look(self, jobsets: Iterable[Mapping[str, Any]]) -> list[Sight]:
        """See what belongs to some JobSets, in as few requests as there can be."""
        objects = list(jobsets)
        uids = [str(item["metadata"]["uid"]) for item in objects]
        workloads: dict[str, Mapping[str, Any]] = {}
        if self.kueue:
            path = words.kueue(self.kueue, "workloads", self.namespace)
            for found in self._select(path, words.JOB_UID, uids):
                workloads[found["metadata"]["labels"][words.JOB_UID]] = found
        pods: dict[str, list[Mapping[str, Any]]] = {}
        for found in self._select(words.core(self.namespace, "pods"), words.JOBSET_UID, uids):
            pods.setdefault(found["metadata"]["labels"][words.JOBSET_UID], []).append(found)
            if terminated(found) is not None:
                self.owners.settle([found])  # it may be what the job's end is read from
        return [
            Sight(jobset=item, workload=workloads.get(uid), pods=pods.get(uid, ()), owners=self.owners.known)
            for item, uid in zip(objects, uids, strict=True)
        ]

    def _select(self, path: str, label: str, uids: Sequence[str]) -> Iterable[dict[str, Any]]:
        """List what has one of these values of a label; nothing where this user may not look."""
        for start in range(0, len(uids), CHUNK):
            try:
                for page in self.client.pages(path, {"labelSelector": among(label, uids[start : start + CHUNK])}):
                    yield from page["items"]
            except AccessDeniedError:
                return


def among(label: str, values: Iterable[str]) -> str:
    """Write a label selector for one of some values."""
    return f"{label} in ({','.join(values)})"
