"""The roles that a user of this package needs on a cluster, as ``kubectl apply`` takes them."""

from __future__ import annotations

import argparse
import re
from typing import Any

import yaml

from jupyter_konduktor.backends.kubernetes import rights
from jupyter_konduktor.config import Settings
from jupyter_konduktor.errors import ConfigError

_NAMESPACE = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
_ROLE_NAME = re.compile(r"(?!\.{1,2}$)[^/%\s]+")


def documents(arguments: argparse.Namespace) -> str:
    """Write the roles, and the bindings if someone is named, as YAML documents."""
    namespace = arguments.namespace or Settings.load().namespace or "default"
    if not _NAMESPACE.fullmatch(namespace):
        raise ConfigError(f"--namespace {namespace} is not the name of a namespace")
    if arguments.name is not None and not _ROLE_NAME.fullmatch(arguments.name):
        raise ConfigError(f"--name {arguments.name} is not the name of a role", advice="It has no /, % or space.")
    subject = _subject(arguments)
    found = [rights.role(namespace), rights.cluster_role()]
    if subject is not None:
        found += rights.bindings(namespace, subject)
        for binding in found[2:]:
            # One for each subject, so that giving the roles to another takes them from nobody.
            owner = re.sub(r"[/%\s]", "-", ":".join(filter(None, (subject.get("namespace"), subject["name"]))))
            binding["metadata"]["name"] += f":{owner}"
    if arguments.name is not None:
        found = [_renamed(document, arguments.name) for document in found]
    head = (
        ""
        if subject is not None
        else "# Nobody is given these roles: --user, --group or --serviceaccount adds bindings.\n"
    )
    text: str = yaml.safe_dump_all(found, sort_keys=False, explicit_start=True)
    return head + text


def _subject(arguments: argparse.Namespace) -> dict[str, str] | None:
    """Say who is given the roles, as RBAC spells it; None for nobody."""
    if arguments.serviceaccount is not None:
        namespace, colon, name = arguments.serviceaccount.partition(":")
        if not (colon and _NAMESPACE.fullmatch(namespace) and name):
            raise ConfigError(f"--serviceaccount {arguments.serviceaccount} must be NAMESPACE:NAME")
        return {"kind": "ServiceAccount", "name": name, "namespace": namespace}
    if arguments.user is not None:
        return {"kind": "User", "name": arguments.user}
    return {"kind": "Group", "name": arguments.group} if arguments.group is not None else None


def _renamed(document: dict[str, Any], name: str) -> dict[str, Any]:
    """Give a role or a binding with our names of the roles replaced."""
    names = {rights.ROLE: name, rights.CLUSTER_ROLE: f"{name}-quota"}

    def renamed(text: str) -> str:
        old, colon, rest = text.partition(":")
        return names[old] + colon + rest

    document = {**document, "metadata": {**document["metadata"], "name": renamed(document["metadata"]["name"])}}
    if "roleRef" in document:
        document["roleRef"] = {**document["roleRef"], "name": renamed(document["roleRef"]["name"])}
    return document
