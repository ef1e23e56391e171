"""The cluster's API: requests that survive what can be survived, and errors that say what was wrong."""

from __future__ import annotations

import json
import logging
import random
import re
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from jupyter_konduktor.backends.kubernetes.api import contexts
from jupyter_konduktor.backends.kubernetes.api.refusal import refusal
from jupyter_konduktor.errors import ApiError, ConfigError, UnreachableError

if TYPE_CHECKING:
    from jupyter_konduktor.backends.kubernetes.api.kubeconfig import Access
    from jupyter_konduktor.backends.kubernetes.api.transport import Answer, Transport
    from jupyter_konduktor.backends.kubernetes.api.transport import Stream as Stream

PATIENCE = 10.0
"""Seconds within which a request is tried again."""

PAUSES = (0.1, 2.0)
"""Seconds between two tries at first and at most."""

TABLE = "application/json;as=Table;g=meta.k8s.io;v=v1"

_PASSING = (429, 500, 502, 503, 504)
_WARNING = re.compile(r'\d{3} \S+ "((?:[^"\\]|\\.)*)"')
_PATCH = "application/merge-patch+json"

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Reply:
    """What the cluster made of an object.

    Attributes
    ----------
    status : int
    body : dict
    warnings : tuple of str
        What the API warned of.
    """

    status: int
    body: dict[str, Any]
    warnings: tuple[str, ...]


class Client:
    """A namespace of a cluster, as one user; usable from any thread. `connect` makes one.

    Every method raises `ApiError` if the cluster refuses (`AccessDeniedError` for want of a right), and
    `UnreachableError` if there is no answer. What can be asked twice is tried again for ten seconds first.

    Attributes
    ----------
    server, context, namespace : str
    user : str
        The kubeconfig's name of the user, for messages only.
    cluster_id : str
        Tells this cluster from every other one.
    """

    def __init__(self, access: Access, transport: Transport) -> None:
        target = access.target
        self.server = target.server
        self.context = target.context
        self.namespace = target.namespace
        self.user = target.user_name
        self.cluster_id = target.cluster_id
        self._access = access
        self._transport = transport
        self._lock = threading.Lock()
        self._identity: str | None = None
        self._served: dict[str, list[str]] = {}

    @classmethod
    def connect(
        cls, *, kubeconfig: str | None = None, context: str | None = None, namespace: str | None = None
    ) -> Client:
        """Find the cluster and this user's credentials; nothing is asked of the cluster yet.

        Parameters
        ----------
        kubeconfig, context, namespace : str, optional
            In place of what the environment and the kubeconfig say.

        Raises
        ------
        ConfigError
            If there is no cluster, or no credentials that can be used.
        """
        from jupyter_konduktor.backends.kubernetes.api.kubeconfig import Access
        from jupyter_konduktor.backends.kubernetes.api.transport import Transport

        target = contexts.find(kubeconfig, context, namespace)
        # By name from now on: the current context may be switched while this goes on.
        name = None if target.in_cluster else target.context
        access = Access(target, partial(contexts.find, kubeconfig, name, namespace))
        return cls(access, Transport(access))

    @property
    def target(self) -> contexts.Target:
        """What the kubeconfig says of the cluster and of this user."""
        return self._access.target

    @property
    def skew(self) -> float:
        """The seconds that the cluster's clock is ahead of this machine's."""
        return self._transport.clock.skew

    @property
    def identity(self) -> str:
        """The cluster's own name of this user; empty if it does not tell."""
        if self._identity is None:
            body = {"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"}
            try:
                review = self.post("/apis/authentication.k8s.io/v1/selfsubjectreviews", body).body
                self._identity = str(review["status"]["userInfo"]["username"])
            except (ApiError, KeyError) as error:
                if isinstance(error, ApiError) and error.status not in (403, 404):
                    raise
                self._identity = ""
        return self._identity

    def served(self, group: str) -> list[str]:
        """List the versions of an API group that the cluster serves, the preferred one first; none if it has none."""
        if group not in self._served:
            try:
                found = self.get(f"/apis/{group}")
            except ApiError as error:
                if error.status == 404:
                    return []
                raise
            preferred = found.get("preferredVersion", {}).get("version")
            versions = [str(item["version"]) for item in found.get("versions", ())]
            self._served[group] = sorted(versions, key=lambda version: version != preferred)
        return self._served[group]

    def get(
        self, path: str, query: Mapping[str, Any] | None = None, *, accept: str | None = None, timeout: float = 30.0
    ) -> dict[str, Any]:
        """Read an object or a list."""
        headers = {"Accept": accept or "application/json"}
        return _json(self._send("GET", path, query, headers=headers, timeout=timeout))

    def get_text(self, path: str, query: Mapping[str, Any] | None = None, *, timeout: float = 30.0) -> bytes:
        """Read what is not JSON, as a log."""
        return self._send("GET", path, query, headers={"Accept": "*/*"}, timeout=timeout).data

    def pages(
        self, path: str, query: Mapping[str, Any] | None = None, *, table: bool = False, limit: int = 500
    ) -> Iterator[dict[str, Any]]:
        """Read a list page by page.

        Raises
        ------
        ApiError
            With status 410 if it took so long that the cluster does not know the rest any more.
        """
        full: dict[str, Any] = {**(query or {}), "limit": limit}
        if table:
            full["includeObject"] = "Metadata"
        while True:
            page = self.get(path, full, accept=TABLE if table else None)
            yield page
            rest = page.get("metadata", {}).get("continue")
            if not rest:
                return
            full["continue"] = rest

    def post(self, path: str, body: Mapping[str, Any], query: Mapping[str, Any] | None = None) -> Reply:
        """Create an object; it is sent twice only if the cluster cannot have acted on it the first time."""
        return _reply(self._send("POST", path, query, body))

    def patch(self, path: str, body: Mapping[str, Any], query: Mapping[str, Any] | None = None) -> Reply:
        """Change an object by a merge patch, which must come to the same if it is applied twice."""
        return _reply(self._send("PATCH", path, query, body, headers={"Content-Type": _PATCH}))

    def delete(
        self, path: str, *, propagation: str = "Background", uid: str | None = None, grace: int | None = None
    ) -> Reply:
        """Delete an object; with ``uid`` only if it is that one, and no other that has taken its name."""
        body: dict[str, Any] = {"apiVersion": "v1", "kind": "DeleteOptions", "propagationPolicy": propagation}
        if uid is not None:
            body["preconditions"] = {"uid": uid}
        if grace is not None:
            body["gracePeriodSeconds"] = grace
        return _reply(self._send("DELETE", path, None, body))

    def stream(
        self,
        path: str,
        query: Mapping[str, Any] | None = None,
        *,
        read_timeout: float,
        answer_timeout: float | None = None,
        accept: str = "*/*",
    ) -> Stream:
        """Read an answer while it is being written, as a watch or a log that is followed.

        Nothing is sent before reading begins, and what goes wrong is raised there.

        Parameters
        ----------
        path, query
        read_timeout : float
            Seconds without a byte after which the connection counts as dead.
        answer_timeout : float, optional
            The same until the answer begins; a log's begins with its first byte.
        accept : str
        """
        from jupyter_konduktor.backends.kubernetes.api.transport import Stream, target_url

        url, headers = target_url(path, query), {"Accept": accept}

        def begin(timeout: float) -> Any:
            renewed = waited = False
            while True:
                generation = self._access.generation
                response = self._transport.begin(url, headers, timeout)
                if response.status < 400:
                    return response
                refused = self._transport.rest(response)
                wait = _retry_after(refused)
                if refused.status == 401 and not renewed and self._renew(generation):
                    renewed = True
                elif not waited and 0 < wait <= PATIENCE:
                    waited = True
                    time.sleep(wait)
                else:
                    raise self._refusal(refused)

        return Stream(begin, self.target, answer_timeout=answer_timeout or read_timeout, read_timeout=read_timeout)

    def close(self) -> None:
        """Release the connections."""
        self._transport.close()

    def _send(
        self,
        method: str,
        path: str,
        query: Mapping[str, Any] | None,
        body: Mapping[str, Any] | None = None,
        *,
        headers: Mapping[str, str] | None = None,
        timeout: float = 30.0,
    ) -> Answer:
        """Send a request, again where that makes sense, until there is a good answer or time is up."""
        from jupyter_konduktor.backends.kubernetes.api.transport import NeverSentError, target_url

        url = target_url(path, query)
        data = None if body is None else json.dumps(body).encode()
        full = {
            "Accept": "application/json",
            **({"Content-Type": "application/json"} if data else {}),
            **(headers or {}),
        }
        repeatable = method != "POST" or _changes_nothing(path, query)
        until, pause, renewed = time.monotonic() + PATIENCE, PAUSES[0], False
        while True:
            generation, wait = self._access.generation, pause * random.uniform(0.5, 1.0)
            trouble: ApiError | UnreachableError
            try:
                answer = self._transport.exchange(method, url, data, full, timeout)
            except UnreachableError as error:
                if not (repeatable or isinstance(error, NeverSentError)):
                    raise
                trouble = error
            else:
                if answer.status < 400:
                    return answer
                trouble = self._refusal(answer)
                if answer.status == 401 and not renewed and self._renew(generation):
                    renewed = True
                    continue
                if not (_is_passing(answer) and (repeatable or answer.status == 429)):
                    raise trouble
                wait = max(wait, _retry_after(answer))
            if time.monotonic() + wait > until:
                raise trouble
            time.sleep(wait)
            pause = min(2 * pause, PAUSES[1])

    def _renew(self, generation: int) -> bool:
        """Get new credentials after the cluster did not accept the ones of a generation."""
        try:
            return self._access.renew(generation)
        except ConfigError as error:
            raise ApiError(
                f"The cluster does not accept the credentials of context {self.context!r}, "
                f"and there are no new ones: {error.message}",
                advice=error.advice or "Log in to the cluster again.",
                status=401,
                reason="Unauthorized",
            ) from None

    def _refusal(self, answer: Answer) -> ApiError | UnreachableError:
        return refusal(answer.status, answer.data, self.target)


def _changes_nothing(path: str, query: Mapping[str, Any] | None) -> bool:
    """Whether a POST may be sent twice: a dry run, or a question such as a SelfSubjectAccessReview."""
    return bool((query or {}).get("dryRun")) or path.endswith("reviews")


def _is_passing(answer: Answer) -> bool:
    """Whether a refusal may be over soon; that of an admission webhook that is down is the caller's to know."""
    return answer.status in _PASSING and b"failed calling webhook" not in answer.data


def _retry_after(answer: Answer) -> float:
    text = answer.headers.get("Retry-After") or ""
    return float(text) * random.uniform(1.0, 1.1) if text.isdecimal() else 0.0


def _json(answer: Answer) -> dict[str, Any]:
    try:
        found = json.loads(answer.data)
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise ApiError(
            "The cluster's answer is not JSON",
            advice="Is the server's address that of an API server?",
            status=answer.status,
        )
    return found


def _reply(answer: Answer) -> Reply:
    texts = [match[1] for text in answer.warnings for match in _WARNING.finditer(text)]
    return Reply(answer.status, _json(answer), tuple(re.sub(r"\\(.)", r"\1", text) for text in texts))
