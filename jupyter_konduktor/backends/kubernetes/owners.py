"""Whose the Jobs are that pods name as their controllers: labels and names are anyone's to choose."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from jupyter_konduktor.backends.kubernetes import words
from jupyter_konduktor.backends.kubernetes.results import controller, is_own
from jupyter_konduktor.errors import AccessDeniedError, ApiError

if TYPE_CHECKING:
    from jupyter_konduktor.backends.kubernetes.api.client import Client
    from jupyter_konduktor.backends.kubernetes.rights import Rights


class Owners:
    """Reads each Job once; any thread may ask.

    Parameters
    ----------
    client : Client
    rights : Rights

    Attributes
    ----------
    known : dict of str to str or None
        By the uid of a Job that of the JobSet which controls it, empty if none does or there is no such Job. None where
        this user may not read Jobs: then names and labels are all there is to go by.
    """

    def __init__(self, client: Client, rights: Rights) -> None:
        self.known: dict[str, str | None] = {}
        self._client = client
        self._rights = rights

    def unknown(self, pods: Iterable[Mapping[str, Any]]) -> dict[str, str]:
        """Give the uids, and the names, of the Jobs of some pods that have not been read yet."""
        found = (controller(pod) for pod in pods)
        jobs = {str(job.get("uid")): str(job.get("name")) for job in found if job is not None}
        return {uid: name for uid, name in jobs.items() if uid not in self.known}

    def own(self, jobset: Mapping[str, Any], pods: Iterable[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
        """Give the pods that are a JobSet's own, and for all that can be known are no one else's."""
        return [pod for pod in pods if is_own(jobset, pod, self.known) and not self.unknown([pod])]

    def settle(self, pods: Iterable[Mapping[str, Any]]) -> None:
        """Read what is not known yet; raises as `read`."""
        for uid, name in self.unknown(pods).items():
            self.read(uid, name)

    def read(self, uid: str, name: str) -> None:
        """Read a Job; raises `BackendError` if nothing can be found out at the moment."""
        if not self._rights.allows("get", words.BATCH_GROUP, "jobs"):
            self.known[uid] = None
            return
        try:
            job = self._client.get(words.job(self._client.namespace, name))
        except AccessDeniedError:
            self.known[uid] = None
            return
        except ApiError as error:
            if error.status != 404:
                raise
            job = {"metadata": {}}
        above = controller(job) or {}
        ours = job["metadata"].get("uid") == uid and above.get("kind") == "JobSet"
        self.known[uid] = str(above.get("uid")) if ours else ""
