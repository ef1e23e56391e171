"""Makes jobs: what is checked, what is sent, in which order, and what holds if an answer is lost on the way."""

from __future__ import annotations

import hashlib
import json
import os
import secrets
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

from jupyter_konduktor.backends.kubernetes import words
from jupyter_konduktor.backends.kubernetes.rights import user
from jupyter_konduktor.backends.kubernetes.sending import runtime
from jupyter_konduktor.backends.kubernetes.sending.choice import Chooser
from jupyter_konduktor.backends.kubernetes.sending.depot import Depot
from jupyter_konduktor.backends.kubernetes.sending.manifest import Order, build, template_of
from jupyter_konduktor.backends.kubernetes.sending.manifest.order import Delivery
from jupyter_konduktor.backends.kubernetes.shelf.shelf import JobShelf
from jupyter_konduktor.backends.kubernetes.site import Site
from jupyter_konduktor.backends.root import default_root
from jupyter_konduktor.errors import AccessDeniedError, ApiError, JobNotFoundError, SubmitError, UnreachableError
from jupyter_konduktor.task import Task

if TYPE_CHECKING:
    from jupyter_konduktor.config import Settings
    from jupyter_konduktor.payload import Payload
    from jupyter_konduktor.payload.workdir import Survey, Workdir
    from jupyter_konduktor.store.store import Store

RUNNER_KEPT = 60.0
"""Seconds for which the runner's ConfigMap is taken to be there once it was seen."""

PATIENCE = 15.0
"""Seconds in which it must be found out whether a job was made whose answer was lost."""

_LETTERS = "bcdfghjklmnpqrstvwxz2456789"


class Submission:
    """Makes the jobs of one site; any thread may.

    Parameters
    ----------
    site : Site
    settings : Settings
    """

    def __init__(self, site: Site, settings: Settings) -> None:
        self._site = site
        self._settings = settings
        self._chooser = Chooser(site.client, site.rights, settings)
        self.depot = Depot(site, settings)
        self._lock = threading.Lock()
        self._runner_at: float | None = None
        self._lacking_told = False

    def check(self, task: Task) -> list[str]:
        """Refuse a task that can never run here; gives notes on what else is worth a word."""
        choice = self._chooser.choose(task)
        return [*choice.notes, *self.depot.notes(task), *self._folder(task), *self._lacking()]

    def _folder(self, task: Task) -> list[str]:
        """Say how large the folder is that is to be sent."""
        return [f"workdir: {self._survey(task)} of {task.workdir}"] if task.workdir else []

    def _survey(self, task: Task) -> Survey:
        from jupyter_konduktor.payload.workdir import survey  # few jobs have one, and pathspec takes time to load

        return survey(str(task.workdir), limit=self._settings.max_workdir)

    def _workdir(self, task: Task) -> Workdir | None:
        """Get a folder ready to be sent."""
        if not task.workdir:
            return None
        from jupyter_konduktor.payload.scan import secret_values
        from jupyter_konduktor.payload.workdir import prepare

        found = self._survey(task)
        known = hashlib.sha256(str(found.root).encode("utf-8", "surrogateescape")).hexdigest()[:16]
        values = secret_values(os.environ, self._settings.allow_secrets)
        return prepare(found, cache=default_root() / "workdirs" / f"{known}.json", secrets=values)

    def _lacking(self) -> list[str]:
        """Say once which rights are missing in the namespace; nothing depends on those beyond it."""
        with self._lock:
            if self._lacking_told:
                return []
            self._lacking_told = True
        lacking = self._site.rights.missing(of_cluster=False)
        return [f"rights: you have none to {line} in {self._site.namespace}" for line in lacking]

    def review(self, task: Task, payload: Payload) -> list[str]:
        """Say if code objects go to an image that had another Python when a job ran in it last."""
        known = self._site.shelf.images().get(task.image or "")
        if known is None or not payload.pack.header["code"]:
            return []
        digest, python = known
        here, there = payload.pack.header["python"], ".".join(python.split(".")[:2])
        if here == there:
            return []
        note = (
            f"{task.image} has Python {there} ({digest.rpartition('@')[2][:19]}, seen when a job ran in it), and the "
            f"code objects that are sent are of Python {here}: the job will refuse them. "
            f"Use an image with Python {here}, or send plain values and no functions."
        )
        return [note]

    def submit(
        self, task: Task, payload: Payload | None, *, key: str, origin: Mapping[str, Any]
    ) -> tuple[dict[str, Any], bool]:
        """Make the job of a key, if there is none yet.

        Returns
        -------
        dict, bool
            Its JobSet, and whether it was made by this call.
        """
        choice = self._chooser.choose(task)
        digest = hashlib.sha256(key.encode()).hexdigest()
        name = self._site.shelf.reserve(digest, f"{task.name}-{_suffix(digest)}")
        if not name.startswith(f"{task.name}-"):
            try:
                return self._site.jobset(name), False  # the key's job is there, under another task's name
            except JobNotFoundError:
                pass  # its name was taken, and it was never made
        nonce = secrets.token_hex(8)
        may = self._site.rights.allows
        mounted = not choice.elsewhere and self._runner_is_there()
        runner = runtime.deliver_runner(payload, inline=not mounted)
        store = None if choice.elsewhere else self.depot.of(task)
        sent = runtime.deliver(
            payload,
            workdir=self._workdir(task),
            nodes=task.resources.nodes,
            inline_only=choice.elsewhere,
            secrets=may("create", "", "secrets"),
            store=store is not None,
        )
        if store is not None and sent.objects:
            self.depot.send(store, nonce, sent.objects)
        grace = self._settings.grace
        spec = runtime.spec_of(
            task,
            name=name,
            nonce=nonce,
            grace=grace,
            runner=runner,
            payload=sent,
            installer=self._settings.installer,
        )
        order = Order(
            task=task,
            name=name,
            namespace=self._site.namespace,
            user=user(self._site.client),
            image=task.image or "",
            queue=choice.queue,
            key=digest,
            submitted_ns=time.time_ns(),
            nonce=nonce,
            origin=origin,
            grace=grace,
            command=runtime.command_of(spec),
            delivery=Delivery(
                inline={**runner.env, **sent.env},
                secret=f"{name}-payload" if sent.secret is not None else None,
                config_map=runtime.runner_name() if mounted else None,
                links=f"{name}-links" if store is not None else None,
            ),
            store=store.url if store is not None else "",
            accelerators=self._settings.accelerators,
            credentials=self._settings.credentials,
            pod_config=self._settings.pod_config,
            cpus=choice.cpus,
        )
        jobset, made = self._create(build(order))
        kept = self._site.shelf.keep(jobset["metadata"]["uid"], name)
        if made:
            with self._or_taken_back(jobset):
                self._create_secrets(order, sent, store, jobset, kept)
        elif _waits_for(jobset, sent, store):
            # Whoever made it may have been killed before it made these. A refusal does not tell that one is absent:
            # rights and quotas are looked at before it is seen that a name is taken.
            with suppress(AccessDeniedError, SubmitError):
                self._create_secrets(order, sent, store, jobset, kept)
        kept.mark_submitted()
        return jobset, made

    def _create(self, jobset: dict[str, Any]) -> tuple[dict[str, Any], bool]:
        """Create a JobSet once, however often its answer is lost: its name stands for the key."""
        path, name = words.jobsets(self._site.namespace), jobset["metadata"]["name"]
        while True:
            try:
                made, asked_again = self._post(path, jobset)
            except UnreachableError as error:
                raise UnreachableError(
                    f"It is not known whether {name} was made: {error.message}",
                    advice=f'Once the cluster is there again, jk.attach("{name}") finds it if it was.',
                ) from error
            if made is not None:
                return made, True
            found = self._same(jobset)
            if found is not None:
                return found, asked_again  # else it was deleted in between

    def _post(self, path: str, obj: Mapping[str, Any]) -> tuple[dict[str, Any] | None, bool]:
        """Create an object, and ask again as long as it is not known whether it was made: its name is taken if it was.

        Returns
        -------
        dict or None, bool
            The object, None if its name is taken; and whether it was asked for more than once.

        Raises
        ------
        UnreachableError
            If it is not known in the end.
        """
        end, asked_again = time.monotonic() + PATIENCE, False
        while True:
            try:
                return self._site.client.post(path, obj).body, asked_again
            except ApiError as error:
                if error.reason == "AlreadyExists":
                    return None, asked_again
                if not _is_unsure(error):
                    raise _refused(error) from error
                trouble: ApiError | UnreachableError = error
            except UnreachableError as error:
                trouble = error
            asked_again = True
            if time.monotonic() > end:
                raise UnreachableError(trouble.message, advice=trouble.advice) from trouble
            time.sleep(0.3)

    def _same(self, jobset: Mapping[str, Any]) -> dict[str, Any] | None:
        """Find the JobSet that has the name already; it must be the same key's."""
        name = jobset["metadata"]["name"]
        try:
            found = self._site.jobset(name)
        except JobNotFoundError:
            return None
        if (found["metadata"].get("annotations") or {}).get(words.KEY) != jobset["metadata"]["annotations"][words.KEY]:
            raise SubmitError(f"There is another job {name} in {self._site.namespace}", advice="Submit it again.")
        return found

    def _create_secrets(
        self,
        order: Order,
        sent: runtime.Delivery,
        store: Store | None,
        jobset: Mapping[str, Any],
        kept: JobShelf,
    ) -> None:
        """Create the Secrets that the pods of a JobSet wait for, as far as they are not there."""
        if sent.secret is not None and order.delivery.secret is not None:
            self._create_secret(order.delivery.secret, sent.secret, jobset)
        if store is not None and order.delivery.links is not None:
            links, digests = order.delivery.links, list(sent.objects)
            self._create_secret(links, self.depot.secret(store, kept.uid, digests), jobset)
            if kept.links() is None:
                self.depot.note(kept, store, links, order.nonce, digests)

    def _create_secret(self, name: str, secret: Mapping[str, Any], jobset: Mapping[str, Any]) -> None:
        """Create a Secret of the job, unless it is there."""
        owner = {
            "apiVersion": jobset["apiVersion"],
            "kind": "JobSet",
            "name": jobset["metadata"]["name"],
            "uid": jobset["metadata"]["uid"],
        }
        metadata = {"name": name, "namespace": self._site.namespace, "ownerReferences": [owner]}
        self._post(
            words.core(self._site.namespace, "secrets"), {**secret, "metadata": {**secret["metadata"], **metadata}}
        )

    @contextmanager
    def _or_taken_back(self, jobset: Mapping[str, Any]) -> Iterator[None]:
        """Let no JobSet stay without what its pods wait for."""
        try:
            yield
        except BaseException:
            path = words.jobsets(self._site.namespace, jobset["metadata"]["name"])
            self._site.client.delete(path, uid=jobset["metadata"]["uid"])
            raise

    def _runner_is_there(self) -> bool:
        """Make sure of the ConfigMap that brings the runner; False where this user may not make one."""
        with self._lock:
            now = time.monotonic()
            if self._runner_at is not None and now - self._runner_at < RUNNER_KEPT:
                return True
            try:
                self._site.client.post(
                    words.core(self._site.namespace, "configmaps"), runtime.runner_config_map(self._site.namespace)
                )
            except AccessDeniedError:
                return False
            except ApiError as error:
                if error.reason != "AlreadyExists":
                    raise _refused(error) from error
            self._runner_at = now
            return True


def _suffix(digest: str) -> str:
    """Make the five characters of a job's name from its key."""
    number, found = int(digest[:16], 16), ""
    for _ in range(5):
        number, index = divmod(number, len(_LETTERS))
        found += _LETTERS[index]
    return found


def _waits_for(jobset: Mapping[str, Any], sent: runtime.Delivery, store: Store | None) -> bool:
    """Whether the pods of a JobSet wait for just this: another kernel's pickles of the same values may be others."""
    containers = template_of(jobset)["spec"]["containers"]
    (command,) = (container["command"] for container in containers if container["name"] == words.CONTAINER)
    spec, told = json.loads(command[-1]), json.loads(jobset["metadata"]["annotations"][words.TASK])
    same = all(spec.get(key) == sent.spec.get(key) for key in ("bundle", "workdir", "links"))
    return same and told.get("store", "") == (store.url if store is not None else "")


def _is_unsure(error: ApiError) -> bool:
    """Whether an error leaves open if the object was stored, as one of a proxy or of etcd on the way back does.

    A webhook is asked before anything is stored.
    """
    of_webhook = "failed calling webhook" in error.message or "denied the request" in error.message
    return error.status >= 500 and not of_webhook


def _refused(error: ApiError) -> ApiError | SubmitError:
    """Say that no job was made, in the cluster's own words."""
    if isinstance(error, AccessDeniedError):
        return error
    return SubmitError(f"The cluster refused the job: {error.message}", advice=error.advice)
