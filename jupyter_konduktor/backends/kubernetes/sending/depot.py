"""The store of a job: whether it has one, what is sent there for it, and the URLs by which its pods get at it."""

from __future__ import annotations

import base64
import json
import logging
import time
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jupyter_konduktor.backends.kubernetes import words
from jupyter_konduktor.backends.kubernetes.api.table import Rows
from jupyter_konduktor.backends.kubernetes.shelf.shelf import JobShelf
from jupyter_konduktor.backends.kubernetes.site import Site
from jupyter_konduktor.backends.protocol import Stored, StoredGroup
from jupyter_konduktor.errors import ApiError, ConfigError, StoreError, UntrustedResultError
from jupyter_konduktor.runner import parcel, slots
from jupyter_konduktor.task import Task

if TYPE_CHECKING:
    from jupyter_konduktor.config import Settings
    from jupyter_konduktor.payload.piece import Piece
    from jupyter_konduktor.store.gc import Group, Old
    from jupyter_konduktor.store.results import Results
    from jupyter_konduktor.store.store import Store

RENEW_AFTER = 12 * 3600.0
"""Seconds after which URLs are signed anew, though they are good for a week: a job may wait for long."""

_REMEMBERED = 8
"""Jobs whose indexes are kept: a result may be made of many objects."""

_GONE = 404
_log = logging.getLogger(__name__)


class Depot:
    """What the store that is set does for the jobs of a site; any thread may use it.

    Parameters
    ----------
    site : Site
    settings : Settings
        ``store``, ``keep_days``, ``pod_config`` and ``quiet`` are used.
    """

    def __init__(self, site: Site, settings: Settings) -> None:
        self._site = site
        self._settings = settings
        self._results: dict[str, Results] = {}

    def of(self, task: Task) -> Store | None:
        """Give the store that a job of the task has, once it is known to work; None if it has none.

        Raises
        ------
        ConfigError, StoreError
            If what is set is no address, or no store that can be written to.
        """
        if not self._settings.store or self._obstacle(task):
            return None
        store = _open(self._settings.store)
        store.check()
        return store

    def notes(self, task: Task) -> list[str]:
        """Say why a job does without the store that is set; raises as `of`."""
        if not self._settings.store:
            return []
        obstacle = self._obstacle(task)
        if obstacle:
            return [f"store: {obstacle}; results of up to 4 MiB come back"]
        self.of(task)
        return []

    def _obstacle(self, task: Task) -> str:
        if not self._site.rights.allows("create", "", "secrets"):
            return f"you may not create Secrets in {self._site.namespace}, and a job needs one to get at its store"
        folder = _open(str(self._settings.store)).address.folder
        if folder is not None:
            mounted = [*task.volumes.values(), *_mount_paths(self._settings.pod_config)]
            if not any(folder.is_relative_to(path) for path in mounted):
                return f"{folder} is on no volume of the job (--volume CLAIM:{folder}, or the setting volumes)"
        return ""

    def send(self, store: Store, nonce: str, objects: Mapping[str, Piece]) -> None:
        """Bring what a job needs into the store."""
        from jupyter_konduktor.store.sending import send

        fresh = timedelta(days=self._settings.keep_days / 2)
        send(store, nonce, objects, fresh=fresh, quiet=self._settings.quiet)

    def drop(self, kept: JobShelf, digest: str, *, before: float) -> None:
        """Remove an object that a job has found damaged; else it is taken for sent, by its name and size, ever after.

        Parameters
        ----------
        kept : JobShelf
        digest : str
            As the job tells it; nothing is removed but what it was sent from here.
        before : float
            When the job ended. What was written since has been sent anew.
        """
        from jupyter_konduktor.store.keys import object_key

        links = kept.links()
        if links is None or digest not in links[0]["objects"]:
            return
        key = object_key(digest)
        try:
            store = _open(links[0]["store"])
            store.check()  # which soon gives up on a store that does not answer
            found = store.look(key)
            if found is not None and found.modified.timestamp() <= before:
                store.delete([key])
        except (ConfigError, StoreError) as error:
            _log.warning("konduktor: what %s has found damaged is still in its store: %s", kept.name, error.message)

    def read(self, kept: JobShelf, url: str, reference: Mapping[str, Any]) -> memoryview | None:
        """Read what a job left in its store; None if it has no store, or that is not there.

        Raises
        ------
        StoreError
            If the store cannot be read.
        UntrustedResultError
            If a job of someone else's names another store than the one that is set here.
        """
        if not url:
            return None
        if not kept.submitted and (not self._settings.store or _open(self._settings.store).url != url):
            raise UntrustedResultError(
                f"{kept.name} has left a value in {url}, which is not the store that is set here",
                advice=f'It was not submitted from here; store = "{url}" reads it with your credentials.',
            )
        results = self._results.get(kept.uid)
        if results is None:
            from jupyter_konduktor.store.results import Results

            while len(self._results) >= _REMEMBERED:
                self._results.pop(next(iter(self._results)), None)
            results = self._results[kept.uid] = Results(_open(url), kept.uid)
        return results.read(str(reference.get("sha256", "")), int(reference.get("size", 0)))

    def collect(self, *, dry_run: bool) -> Stored | None:
        """Remove what is old in the store; None if none is set."""
        if not self._settings.store:
            return None
        from jupyter_konduktor.store.gc import find

        store = _open(self._settings.store)
        pages = self._site.client.pages(words.jobsets(self._site.namespace), table=True)
        rows = Rows()
        alive = {str(jobset["metadata"]["uid"]) for page in pages for jobset in rows.of(page)}
        old = find(store, keep=timedelta(days=self._settings.keep_days), alive=alive)
        if not dry_run:
            store.delete(old.names)
        return Stored(store.url, len(old.jobs), len(old.names), old.bytes, self._groups(old))

    def _groups(self, old: Old) -> tuple[StoredGroup, ...]:
        """Name what is old for a person; of a job that is not kept here only the uid is known."""
        from jupyter_konduktor.store import keys

        jobs, now = {job.uid: job.name for job in self._site.shelf.jobs()}, datetime.now(UTC)

        def named(group: Group) -> StoredGroup:
            what = {
                keys.OBJECTS: f"input {group.name[:12]}",
                keys.LEASES: "lists of inputs",
                keys.RESULTS: f"job {jobs.get(group.name, group.name)}",
            }[group.prefix]
            return StoredGroup(what, group.count, group.bytes, (now - group.modified).total_seconds())

        return tuple(map(named, sorted(old.groups.values(), key=lambda group: group.bytes, reverse=True)))

    # --- the URLs

    def secret(self, store: Store, uid: str, digests: Sequence[str]) -> dict[str, Any]:
        """Make the Secret with the URLs of a job, without a name and an owner."""
        return {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {},
            "type": "Opaque",
            "data": {Path(words.LINKS).name: _links(store, uid, digests)},
        }

    def note(self, kept: JobShelf, store: Store, secret: str, nonce: str, digests: Sequence[str]) -> None:
        """Remember what it takes to sign the URLs of a job anew."""
        kept.save_links({"store": store.url, "secret": secret, "nonce": nonce, "objects": list(digests)})

    def renew(self, kept: JobShelf) -> None:
        """Sign the URLs of a job anew, if they were signed long ago.

        Raises
        ------
        ConfigError, StoreError, ApiError
            If that cannot be done; they are good for some time yet.
        """
        from jupyter_konduktor.store.sending import lease

        found = kept.links()
        if found is None or time.time() - found[1] < RENEW_AFTER:
            return
        told = found[0]
        store = _open(told["store"])
        if told["objects"]:
            lease(store, told["nonce"], told["objects"])
        data = {Path(words.LINKS).name: _links(store, kept.uid, told["objects"])}
        try:
            self._site.client.patch(words.core(self._site.namespace, "secrets", told["secret"]), {"data": data})
        except ApiError as error:
            if error.status != _GONE:
                raise
            _log.info("konduktor: %s", error)  # the job has just been deleted
            return
        kept.save_links(told)


def _open(url: str) -> Store:
    from jupyter_konduktor.store.store import (
        open_store,
    )  # it takes some 15 ms, which a job without a store does not owe

    return open_store(url)


def _links(store: Store, uid: str, digests: Sequence[str]) -> str:
    from jupyter_konduktor.store.keys import checkpoint_key, object_key, result_key

    objects = {sha256: object_key(sha256) for sha256 in digests}
    checkpoints = {name: checkpoint_key(uid, name) for name in slots.NAMES}
    results = {name: result_key(uid, name) for name in parcel.NAMES}

    def signed(method: str, keys: Mapping[str, str]) -> dict[str, str]:
        return dict(zip(keys, store.sign(method, list(keys.values())), strict=True))

    links = {
        "get": signed("GET", {**objects, **checkpoints}),
        "put": signed("PUT", {**results, **checkpoints}),
        "headers": store.put_headers,
    }
    return base64.b64encode(json.dumps(links, separators=(",", ":")).encode("ascii")).decode("ascii")


def _mount_paths(value: Any) -> Iterator[str]:
    """Find where pod_config mounts volumes."""
    if isinstance(value, Mapping):
        if isinstance(value.get("mountPath"), str):
            yield value["mountPath"]
        for inner in value.values():
            yield from _mount_paths(inner)
    elif isinstance(value, list | tuple):
        for inner in value:
            yield from _mount_paths(inner)
