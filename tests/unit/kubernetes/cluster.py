"""A cluster that answers from a table, for what only reads objects and sends reviews and dry runs."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from jupyter_konduktor.errors import AccessDeniedError, ApiError

REVIEWS = "/apis/authorization.k8s.io/v1"
ALL = [{"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"]}]


@dataclass
class Reply:
    body: dict[str, Any]
    warnings: tuple[str, ...] = ()
    status: int = 201


@dataclass
class Cluster:
    """Stands in the place of a client; `sent` lists every request that was made."""

    objects: dict[str, Any] = field(default_factory=dict)
    rules: list[dict[str, Any]] = field(default_factory=lambda: list(ALL))
    incomplete: bool = False
    groups: dict[str, list[str]] = field(
        default_factory=lambda: {"jobset.x-k8s.io": ["v1alpha2"], "kueue.x-k8s.io": ["v1beta2", "v1beta1"]}
    )
    dry_run: Callable[[str, dict[str, Any]], Reply] = lambda path, body: Reply(body)
    allowed: Callable[[dict[str, Any]], bool] = lambda attributes: False
    identity: str = "alice"
    namespace: str = "team"
    sent: list[str] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def served(self, group: str) -> list[str]:
        return self.groups.get(group, [])

    def get(self, path: str, query: Any = None) -> dict[str, Any]:
        self._note(f"GET {path}")
        found = self.objects.get(path)
        if found is None:
            raise ApiError(f"{path} not found", status=404, reason="NotFound")
        if isinstance(found, Exception):
            raise found
        return found

    def post(self, path: str, body: dict[str, Any], query: Any = None) -> Reply:
        self._note(f"POST {path}")
        if path == f"{REVIEWS}/selfsubjectrulesreviews":
            return Reply({"status": {"resourceRules": self.rules, "incomplete": self.incomplete}})
        if path == f"{REVIEWS}/selfsubjectaccessreviews":
            return Reply({"status": {"allowed": self.allowed(body["spec"]["resourceAttributes"])}})
        assert query == {"dryRun": "All"}, "nothing is made in these tests"
        return self.dry_run(path, body)

    def count(self, part: str) -> int:
        return sum(part in request for request in self.sent)

    def _note(self, request: str) -> None:
        with self.lock:
            self.sent.append(request)


def denied(what: str = "x") -> AccessDeniedError:
    return AccessDeniedError(f"{what} is forbidden", status=403, reason="Forbidden")
