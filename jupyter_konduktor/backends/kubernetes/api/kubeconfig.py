"""Access to a cluster by the official client: its reading of credentials, its headers, its pool of connections.

Nothing else of this package imports ``kubernetes``; importing it takes 0.3 to 0.5 s, so that happens in a function.
"""

from __future__ import annotations

import base64
import ipaddress
import logging
import os
import re
import socket
import ssl
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

from jupyter_konduktor.backends.kubernetes.api import contexts, plugin
from jupyter_konduktor.backends.kubernetes.api.contexts import Target
from jupyter_konduktor.errors import ConfigError

if TYPE_CHECKING:
    import urllib3

POOL = 64
"""Connections that are kept; more are made when needed, and nobody waits for one."""

_EARLY = 60.0  # a credential is renewed so many seconds before it expires
_TOKEN_FILE = 60.0  # a token file is read again after so many seconds
_PAUSE = 10.0  # between two runs of a program that renews a credential

_log = logging.getLogger(__name__)


class Access:
    """Who one is on a cluster, kept fresh; usable from any thread.

    Parameters
    ----------
    target : Target
    find : callable
        Gives the target anew, when the cluster does not accept what it said.

    Attributes
    ----------
    target : Target
    generation : int
        Counts how often the credentials were renewed.
    """

    def __init__(self, target: Target, find: Callable[[], Target]) -> None:
        self._find = find
        self._lock = threading.Lock()
        self._due = float("inf")
        self._renewed = float("-inf")
        self.generation = 0
        self._load(target)

    def headers(self) -> list[tuple[str, str]]:
        """Give the headers that say who one is; a credential that is about to expire is renewed first."""
        # Who finds that someone else is renewing it goes on with what there is.
        if time.time() >= self._due and self._lock.acquire(blocking=False):
            try:
                self._load(self.target)
            except ConfigError as error:
                self._due = time.time() + _PAUSE
                _log.info("konduktor: %s", error)
            finally:
                self._lock.release()
        return [*_authorization(self._configuration), *_impersonation(self.target.user)]

    def renew(self, generation: int) -> bool:
        """Read and ask for everything anew, unless that was done since; gives whether another try makes sense.

        Raises
        ------
        ConfigError
            If there are no new credentials to be had.
        """
        with self._lock:
            if self.generation != generation:
                return True
            if time.monotonic() - self._renewed < _PAUSE and ("exec" in self.target.user):
                return False
            self._renewed = time.monotonic()
            found = self._find()
            if found.server == self.target.server:  # else the file is about another cluster by now
                self._load(replace(found, namespace=self.target.namespace))
            return True

    def manager(self) -> urllib3.PoolManager:
        """Give a new pool of connections with the credentials as they are."""
        from kubernetes.client.rest import RESTClientObject

        manager: urllib3.PoolManager = RESTClientObject(self._configuration).pool_manager
        options = manager.connection_pool_kw
        options["socket_options"] = _socket_options()
        options["maxsize"] = POOL
        if self._context is not None:
            # Made once and not from files for each connection: those of the official client are temporary.
            for key in ("ca_certs", "ca_cert_data", "cert_file", "key_file"):
                options.pop(key, None)
            options["ssl_context"] = self._context
        return manager

    def _load(self, target: Target) -> None:
        from kubernetes.client import Configuration

        due, certificate, user = float("inf"), None, dict(target.user)
        if "tokenFile" in user:
            user["token"] = _read_token(user.pop("tokenFile"), target)
            due = time.time() + _TOKEN_FILE
        elif "exec" in user and not user.get("token"):
            given = plugin.run(target)
            user = {"token": given.token} if given.token else {}
            certificate = (given.certificate, given.key) if given.certificate else None
            # By a clock that is ahead it may have expired already: the cluster will say so.
            if given.expires is not None and given.expires > time.time():
                due = max(given.expires - _EARLY, (given.expires + time.time()) / 2)
        configuration = Configuration()
        _configure(configuration, target, user)
        context = None
        if target.server.startswith("https:"):
            context = _tls_context(target)
            _load_certificate(context, target, certificate)
        configuration.connection_pool_maxsize = POOL
        # 31 knows neither the proxy of a kubeconfig nor that of the environment; later ones know another NO_PROXY.
        proxy = proxy_of(target, os.environ)
        configuration.proxy, configuration.no_proxy = proxy, ""
        if proxy and "@" in proxy:
            from urllib3.util import make_headers

            parts = urlsplit(proxy)
            login = f"{unquote(parts.username or '')}:{unquote(parts.password or '')}"
            configuration.proxy_headers = make_headers(proxy_basic_auth=login)
        _check(configuration, target)
        self._configuration, self._context, self.target, self._due = configuration, context, target, due
        self.generation += 1


def preload() -> None:
    """Import the official client, which whoever connects would wait for."""
    import kubernetes.client
    import kubernetes.config  # noqa: F401


def _tls_context(target: Target) -> ssl.SSLContext:
    file = contexts.SERVICE_ACCOUNT / "ca.crt" if target.in_cluster else target.cluster.get("certificate-authority")
    data = target.cluster.get("certificate-authority-data")
    try:
        text = base64.b64decode(data).decode("ascii") if data else None
        context = ssl.create_default_context(cafile=file, cadata=text)
    except (ssl.SSLError, OSError, ValueError):
        where = file or f"certificate-authority-data in {target.source}"
        raise ConfigError(
            f"The certificate authority of context {target.context!r} is not a certificate ({where})"
        ) from None
    # As kubectl does: many clusters' authorities lack extensions that Python's strict mode asks for since 3.13.
    context.verify_flags &= ~ssl.VERIFY_X509_STRICT
    if target.cluster.get("insecure-skip-tls-verify"):
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context


def certificate_end(target: Target) -> float | None:
    """Give the time at which the kubeconfig's client certificate ends; None if there is none."""
    user = target.user
    if not (user.get("client-certificate-data") or user.get("client-certificate")):
        return None
    try:
        data = ssl.PEM_cert_to_DER_cert(_content(user, "client-certificate").decode("ascii"))
    except (OSError, ValueError):
        return None
    # A certificate's first two times are the ends of its validity: UTCTime (tag 23) or GeneralizedTime (tag 24).
    times = re.findall(rb"\x17\x0d(\d{12}Z)|\x18\x0f(\d{14}Z)", data)
    if len(times) < 2:
        return None
    short, long = (text.decode() for text in times[1])
    return (
        datetime.strptime(short or long, "%y%m%d%H%M%SZ" if short else "%Y%m%d%H%M%SZ").replace(tzinfo=UTC).timestamp()
    )


def proxy_of(target: Target, environ: Mapping[str, str]) -> str | None:
    """Give the proxy on the way to a target: the kubeconfig's, or the environment's unless NO_PROXY has the server."""
    if target.cluster.get("proxy-url"):
        return str(target.cluster["proxy-url"])
    parts = urlsplit(target.server)
    name = f"{parts.scheme}_proxy"
    proxy = environ.get(name) or environ.get(name.upper())
    host = (parts.hostname or "").lower()
    if not proxy or _is_loopback(host):
        return None
    for rule in (environ.get("no_proxy") or environ.get("NO_PROXY") or "").lower().split(","):
        rule = rule.strip()
        if rule and (rule == "*" or _matches(host, parts.port or 443, rule)):
            return None
    return proxy if "://" in proxy else f"http://{proxy}"


def _matches(host: str, port: int, rule: str) -> bool:
    """Whether a rule of NO_PROXY means this server: a domain, an address, a network; maybe with a port."""
    try:
        return ipaddress.ip_address(host) in ipaddress.ip_network(rule, strict=False)
    except ValueError:
        pass
    name, _, given = rule.rpartition(":")
    if name and given.isdecimal():
        if int(given) != port:
            return False
        rule = name
    rule = rule.removeprefix("*").removeprefix(".")
    return host == rule or host.endswith(f".{rule}")


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _configure(configuration: Any, target: Target, user: Mapping[str, Any]) -> None:
    """Have the official client fill its configuration."""
    from kubernetes import config as untyped
    from kubernetes.config.config_exception import ConfigException

    config: Any = untyped
    try:
        if target.in_cluster:
            config.load_incluster_config(client_configuration=configuration)
        elif "auth-provider" in user:
            # It is renewed by the official client alone, which writes what it got into the file.
            config.load_kube_config(target.source, target.context, client_configuration=configuration)
        else:
            # Certificates are loaded here, see `_load_certificate`: a file of the official client may go.
            known = {key: user[key] for key in ("token", "username", "password") if user.get(key)}
            content = {
                "apiVersion": "v1",
                "kind": "Config",
                "clusters": [{"name": "cluster", "cluster": {"server": target.server, **_tls(target)}}],
                "users": [{"name": "user", "user": known}],
                "contexts": [{"name": target.context, "context": {"cluster": "cluster", "user": "user"}}],
                "current-context": target.context,
            }
            config.load_kube_config_from_dict(content, target.context, client_configuration=configuration)
    except ConfigException as error:
        raise ConfigError(f"Context {target.context!r} cannot be used: {error}") from None
    except (KeyError, TypeError, ValueError, AttributeError, OSError) as error:
        raise ConfigError(
            f"The user of context {target.context!r} cannot be understood: {type(error).__name__}: {error}"
        ) from None


def _tls(target: Target) -> dict[str, Any]:
    return {
        key: target.cluster[key] for key in ("insecure-skip-tls-verify", "tls-server-name") if key in target.cluster
    }


def _load_certificate(context: ssl.SSLContext, target: Target, given: tuple[str, str] | None) -> None:
    """Load the certificate that says who one is, if there is one."""
    user = target.user
    try:
        if given is not None:
            _load_pair(context, given[0].encode(), given[1].encode())
        elif user.get("client-certificate-data") or user.get("client-certificate"):
            _load_pair(context, _content(user, "client-certificate"), _content(user, "client-key"))
    except (ssl.SSLError, OSError, ValueError) as error:
        what = error.reason if isinstance(error, ssl.SSLError) and error.reason else type(error).__name__
        raise ConfigError(
            f"The client certificate of context {target.context!r} and its key cannot be used: {what}",
            advice="Have the cluster's login command write them again.",
        ) from None


def _content(user: Mapping[str, Any], key: str) -> bytes:
    if data := user.get(f"{key}-data"):
        return base64.b64decode(data)
    return Path(user[key]).read_bytes()


def _load_pair(context: ssl.SSLContext, certificate: bytes, key: bytes) -> None:
    """Load a certificate and its key, which Python takes from a file only; the file is gone after it."""
    import tempfile

    with tempfile.NamedTemporaryFile(suffix=".pem") as file:
        file.write(certificate + b"\n" + key)
        file.flush()
        # Without a password that fails, OpenSSL would ask for one on the terminal.
        context.load_cert_chain(file.name, password="")


def _read_token(path: str, target: Target) -> str:
    try:
        token = Path(path).read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"tokenFile of context {target.context!r} cannot be read: {error}") from None
    if not token:
        raise ConfigError(f"tokenFile of context {target.context!r} is empty: {path}")
    return token


def _authorization(configuration: Any) -> list[tuple[str, str]]:
    # This much of the official client is the same from 31 to 37; it renews what has expired.
    settings = configuration.auth_settings().values()
    return [
        (item["key"].title(), item["value"].strip()) for item in settings if item["in"] == "header" and item["value"]
    ]


def _impersonation(user: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Give the headers of ``as``, ``as-uid`` and ``as-groups``, which the official client leaves out."""
    found = [(f"Impersonate-{name}", user[key]) for key, name in (("as", "User"), ("as-uid", "Uid")) if user.get(key)]
    return found + [("Impersonate-Group", group) for group in user.get("as-groups") or ()]


def _check(configuration: Any, target: Target) -> None:
    """Refuse credentials that cannot be sent, or would be sent for all to read."""
    for _, value in [*_authorization(configuration), *_impersonation(target.user)]:
        if not value.isascii() or not value.isprintable():
            raise ConfigError(f"The token of context {target.context!r} has characters that no token has")
        if target.server.startswith("http:") and not _is_loopback(urlsplit(target.server).hostname or ""):
            raise ConfigError(
                f"The server of context {target.context!r} is {target.server}: credentials are not sent without TLS",
                advice="An API server's address begins with https://.",
            )


def _socket_options() -> list[tuple[int, int, int]]:
    """Have the kernel find out within a minute that the other side is gone."""
    options = [(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1), (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)]
    for name, value in (("TCP_KEEPIDLE", 30), ("TCP_KEEPALIVE", 30), ("TCP_KEEPINTVL", 10), ("TCP_KEEPCNT", 3)):
        if hasattr(socket, name):
            options.append((socket.IPPROTO_TCP, getattr(socket, name), value))
    return options
