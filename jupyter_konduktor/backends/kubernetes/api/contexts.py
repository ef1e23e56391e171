"""Which cluster is meant, by which name and as whom: the kubeconfig files, or the pod this runs in."""

from __future__ import annotations

import base64
import binascii
import hashlib
import itertools
import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from jupyter_konduktor.config.parse import suggest
from jupyter_konduktor.errors import ConfigError

SERVICE_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
IN_CLUSTER = "in-cluster"

_SIZE = 8 << 20
_NODES = 200_000  # values in a kubeconfig, aliases expanded: what a YAML bomb has more of
_NAMESPACE = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
_FILES = ("certificate-authority", "client-certificate", "client-key")


@dataclass(frozen=True, slots=True)
class Target:
    """A cluster, and who one is there.

    Attributes
    ----------
    context : str
        The name of the context; ``in-cluster`` for the service account of the pod this runs in.
    namespace : str
    server : str
    cluster : mapping
        The kubeconfig's entry of the cluster, every path in it absolute; empty in a pod.
    user_name : str
    user : mapping
        The kubeconfig's entry of the user, every path in it absolute.
    folder : str
        Where the file lies that the user comes from.
    source : str
        The files, as ``KUBECONFIG`` has them; empty in a pod.
    """

    context: str
    namespace: str
    server: str
    cluster: Mapping[str, Any]
    user_name: str
    user: Mapping[str, Any]
    folder: str
    source: str

    @property
    def in_cluster(self) -> bool:
        """Whether this is the pod's own service account."""
        return not self.source

    @property
    def cluster_id(self) -> str:
        """Tell this cluster from every other one: its address, and the authority that signs for it."""
        authority = self.cluster.get("certificate-authority-data", "").encode()
        file = SERVICE_ACCOUNT / "ca.crt" if self.in_cluster else self.cluster.get("certificate-authority")
        if not authority and file:
            try:
                authority = base64.b64encode(Path(file).read_bytes())
            except OSError:
                authority = str(file).encode()
        digest = hashlib.sha256(b"%s\0%s" % (self.server.encode(), b"".join(authority.split()))).hexdigest()
        return f"{urlsplit(self.server).hostname}-{digest[:12]}"


def find(
    kubeconfig: str | None = None,
    context: str | None = None,
    namespace: str | None = None,
    environ: Mapping[str, str] | None = None,
) -> Target:
    """Find the cluster: in the file that is given, in ``KUBECONFIG``, in ``~/.kube/config``, or around this pod.

    Raises
    ------
    ConfigError
        If there is none, or the kubeconfig does not say which.
    """
    environ = os.environ if environ is None else environ
    if namespace is not None and not _NAMESPACE.fullmatch(namespace):
        raise ConfigError(f"namespace {namespace!r} is not a name that a namespace can have")
    files = _files(kubeconfig, environ)
    if files:
        return _from_files(files, context, namespace)
    if environ.get("KUBERNETES_SERVICE_HOST"):
        return _from_pod(context, namespace, environ)
    raise ConfigError(
        "No cluster is configured: there is no ~/.kube/config, and KUBECONFIG is not set",
        advice="Name a file with the setting kubeconfig, or have your cluster's login command write one.",
    )


def _files(kubeconfig: str | None, environ: Mapping[str, str]) -> list[Path]:
    if kubeconfig is not None:
        path = Path(kubeconfig).expanduser()
        if not path.exists():
            raise ConfigError(f"There is no kubeconfig {path}", advice="Correct the setting kubeconfig.")
        return [path]
    if variable := environ.get("KUBECONFIG"):
        paths = [Path(part).expanduser() for part in variable.split(os.pathsep) if part]
        found = [path for path in paths if path.exists()]
        if not found:
            raise ConfigError(f"There is no kubeconfig {variable}", advice="Correct the variable KUBECONFIG.")
        return found
    default = Path("~/.kube/config").expanduser()
    return [default] if default.exists() else []


def _from_pod(context: str | None, namespace: str | None, environ: Mapping[str, str]) -> Target:
    if context not in (None, IN_CLUSTER):
        raise ConfigError(
            f"There is no kubeconfig, so no context {context!r}: this is a pod, and only its own "
            "service account is known",
            advice="Take the setting context back, or set kubeconfig.",
        )
    if not (SERVICE_ACCOUNT / "token").is_file():
        raise ConfigError(
            f"KUBERNETES_SERVICE_HOST is set, but there is no service account token in {SERVICE_ACCOUNT}",
            advice="The pod has automountServiceAccountToken: false, or this is no pod: set kubeconfig.",
        )
    host, port = environ["KUBERNETES_SERVICE_HOST"], environ.get("KUBERNETES_SERVICE_PORT") or "443"
    if namespace is None:
        try:
            namespace = (SERVICE_ACCOUNT / "namespace").read_text(encoding="utf-8").strip()
        except OSError:
            namespace = ""
    server = f"https://[{host}]:{port}" if ":" in host else f"https://{host}:{port}"
    return Target(IN_CLUSTER, namespace or "default", server, {}, "the pod's service account", {}, "", "")


def _from_files(files: list[Path], context: str | None, namespace: str | None) -> Target:
    source = os.pathsep.join(map(str, files))
    contents = [(path, _read(path)) for path in files]
    # What an earlier file says stands, as with kubectl.
    current = next((text for _, each in contents if (text := each.get("current-context"))), None)
    names = list(
        dict.fromkeys(str(item.get("name")) for path, each in contents for item in _items(each, "contexts", path))
    )
    known = f"It has: {', '.join(names)}." if names else "It has none at all."
    name = context or current
    if name is None or not isinstance(name, str):
        raise ConfigError(
            f"The kubeconfig {source} names no current context", advice=f"Set one with the setting context. {known}"
        )
    if name not in names:
        which = "context" if context else "current context"
        raise ConfigError(f"There is no {which} {name!r} in {source}{suggest(name, names)}", advice=known)
    entry, _ = _entry(contents, "context", name, name)
    if not isinstance(entry.get("cluster"), str) or not entry["cluster"]:
        raise ConfigError(f"Context {name!r} in {source} names no cluster")
    cluster, place = _entry(contents, "cluster", entry["cluster"], name)
    user_name = entry.get("user") or ""
    user, folder = _entry(contents, "user", user_name, name) if user_name else ({}, place)
    namespace = namespace or entry.get("namespace") or "default"
    if not isinstance(namespace, str) or not _NAMESPACE.fullmatch(namespace):
        raise ConfigError(f"Context {name!r} in {source} has the namespace {namespace!r}, which none can have")
    server = _server(cluster, name, source)
    return Target(
        name,
        namespace,
        server,
        _absolute(cluster, place, name),
        user_name,
        _absolute(user, folder, name),
        str(folder),
        source,
    )


def _server(cluster: Mapping[str, Any], context: str, source: str) -> str:
    server = cluster.get("server")
    try:
        parts = urlsplit(server if isinstance(server, str) else "")
        usable = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        usable = False
    if not usable:
        raise ConfigError(f"The cluster of context {context!r} in {source} has no usable server address: {server!r}")
    return str(server).rstrip("/")


def _absolute(entry: Mapping[str, Any], folder: Path, context: str) -> dict[str, Any]:
    """Give an entry with its paths absolute and its data checked."""
    found = dict(entry)
    for key in (*_FILES, "tokenFile"):
        data = found.get(f"{key}-data")
        if data:
            try:
                base64.b64decode(data, validate=False)
            except (binascii.Error, TypeError, ValueError):
                raise ConfigError(f"{key}-data of context {context!r} is not base64") from None
            found.pop(key, None)
        elif found.get(key):
            path = folder / str(found[key])
            if not path.is_file():
                raise ConfigError(f"{key} of context {context!r}: there is no file {path}")
            found[key] = str(path)
            found.pop(f"{key}-data", None)
        else:
            found.pop(key, None)
            found.pop(f"{key}-data", None)
    return found


def _entry(
    contents: list[tuple[Path, dict[str, Any]]], kind: str, name: str, context: str
) -> tuple[dict[str, Any], Path]:
    """Give a named entry and the folder of the file it stands in."""
    for path, content in contents:
        found = [item for item in _items(content, f"{kind}s", path) if item.get("name") == name]
        if len(found) > 1:
            raise ConfigError(
                f"Context {context!r} is not clear: {path} has {len(found)} {kind}s named {name!r}",
                advice="Rename or remove one of them.",
            )
        if found:
            entry = found[0].get(kind) or {}
            if not isinstance(entry, dict):
                raise ConfigError(f"The {kind} {name!r} of context {context!r} in {path} is not a mapping")
            return entry, path.absolute().parent
    raise ConfigError(f"Context {context!r} means the {kind} {name!r}, and the kubeconfig has no such {kind}")


def _items(content: Mapping[str, Any], kind: str, path: Path) -> list[dict[str, Any]]:
    items = content.get(kind) or []
    if not isinstance(items, list) or not all(isinstance(item, dict) for item in items):
        raise ConfigError(f"{kind} in the kubeconfig {path} is not a list of mappings")
    return items


def _read(path: Path) -> dict[str, Any]:
    import yaml

    try:
        with path.open("rb") as file:
            data = file.read(_SIZE + 1)
    except OSError as error:
        raise ConfigError(f"The kubeconfig {path} cannot be read: {error.strerror}") from None
    if len(data) > _SIZE:
        raise ConfigError(f"The kubeconfig {path} is larger than {_SIZE >> 20} MiB: it is not a kubeconfig")
    try:
        content = yaml.load(data, getattr(yaml, "CSafeLoader", yaml.SafeLoader))  # noqa: S506 (both are safe)
    except (yaml.YAMLError, UnicodeDecodeError, ValueError, RecursionError) as error:
        mark = getattr(error, "problem_mark", None)
        where = f", line {mark.line + 1}" if mark else ""
        raise ConfigError(f"The kubeconfig {path}{where} is not YAML") from None
    if content is None:
        raise ConfigError(f"The kubeconfig {path} is empty")
    if not isinstance(content, dict):
        raise ConfigError(f"The kubeconfig {path} is not a mapping")
    if len(list(itertools.islice(_values(content), _NODES))) == _NODES:
        raise ConfigError(f"The kubeconfig {path} has too many values: its aliases multiply")
    return content


def _values(content: Any) -> Iterable[Any]:
    """Walk all values, those behind an alias as often as they are named."""
    stack = [iter([content])]
    while stack:
        for value in stack[-1]:
            yield value
            if isinstance(value, dict):
                stack.append(iter(value.values()))
                break
            if isinstance(value, list):
                stack.append(iter(value))
                break
        else:
            stack.pop()
