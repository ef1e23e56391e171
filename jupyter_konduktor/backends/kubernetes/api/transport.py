"""Requests over the pool of connections, each with its timeouts; what goes wrong becomes an error of ours."""

from __future__ import annotations

import http.client
import logging
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import urlencode, urlsplit

import urllib3
from urllib3.exceptions import ConnectTimeoutError, HTTPError, NewConnectionError, ProxyError
from urllib3.exceptions import TimeoutError as PoolTimeoutError

from jupyter_konduktor import __version__
from jupyter_konduktor.errors import UnreachableError

if TYPE_CHECKING:
    from urllib3 import BaseHTTPResponse

    from jupyter_konduktor.backends.kubernetes.api.contexts import Target
    from jupyter_konduktor.backends.kubernetes.api.kubeconfig import Access

CONNECT = 5.0
"""Seconds that making a connection may take."""

_SILENCE = 60.0  # without any answer for so long, what connections are idle may be dead: a laptop slept
_CHUNK = 1 << 16

_log = logging.getLogger(__name__)
_thread = threading.local()


class NeverSentError(UnreachableError):
    """No connection was made, so the cluster has not seen the request."""


class Answer(NamedTuple):
    """What the cluster answered."""

    status: int
    headers: Mapping[str, str]
    warnings: list[str]
    data: bytes


class Transport:
    """Sends one request and gives its answer; usable from any thread.

    Parameters
    ----------
    access : Access

    Attributes
    ----------
    clock : Clock
        The cluster's clock beside ours.
    """

    def __init__(self, access: Access) -> None:
        self.access = access
        self.clock = Clock()
        self._lock = threading.Lock()
        self._generation = -1
        self._heard = time.time()
        self._manager: urllib3.PoolManager | None = None
        if access.target.cluster.get("insecure-skip-tls-verify"):
            urllib3.disable_warnings(urllib3.exceptions.InsecureRequestWarning)

    def exchange(self, method: str, url: str, body: bytes | None, headers: Mapping[str, str], timeout: float) -> Answer:
        """Send a request, and read its answer to the end.

        Raises
        ------
        UnreachableError
            If there was no whole answer; as a `NeverSentError` if the cluster cannot have seen the request.
        """
        try:
            response = self._begin(method, url, body, {"Accept-Encoding": "gzip", **headers}, timeout)
            try:
                data = response.read(decode_content=True)
            except BaseException:
                response.close()
                raise
            response.release_conn()
        except (HTTPError, http.client.HTTPException, OSError) as error:
            raise explain(error, self.access.target, timeout) from None
        warnings = urllib3.HTTPHeaderDict(response.headers).getlist("Warning")
        return Answer(response.status, response.headers, warnings, data)

    def begin(self, url: str, headers: Mapping[str, str], timeout: float) -> BaseHTTPResponse:
        """Send a GET, and give the answer as soon as it begins."""
        try:
            return self._begin("GET", url, None, headers, timeout)
        except (HTTPError, http.client.HTTPException, OSError) as error:
            raise explain(error, self.access.target, timeout) from None

    def rest(self, response: BaseHTTPResponse) -> Answer:
        """Read an answer that has begun to its end."""
        try:
            data = response.read(decode_content=True)
        except (HTTPError, http.client.HTTPException, OSError) as error:
            raise explain(error, self.access.target, CONNECT) from None
        finally:
            response.close()
        return Answer(response.status, response.headers, [], data)

    def close(self) -> None:
        """Close the connections that are idle; nothing more can be sent."""
        with self._lock:
            if self._manager is not None:
                self._manager.clear()

    def _begin(
        self, method: str, url: str, body: bytes | None, headers: Mapping[str, str], timeout: float
    ) -> BaseHTTPResponse:
        everything = urllib3.HTTPHeaderDict({"User-Agent": f"jupyter-konduktor/{__version__}", **headers})
        for name, value in self.access.headers():
            everything.add(name, value)
        manager, sent = self._fresh_manager(), time.time()
        try:
            response = manager.request(
                method,
                self.access.target.server + url,
                body=body,
                headers=everything,
                timeout=urllib3.Timeout(connect=CONNECT, read=timeout),
                retries=False,
                redirect=False,
                preload_content=False,
            )
        except PoolTimeoutError:
            self._heard = 0.0  # the next one must not wait for another dead connection as long
            raise
        self._heard = time.time()
        self.clock.note(response.headers.get("Date"), sent, self._heard)
        return response

    def _fresh_manager(self) -> urllib3.PoolManager:
        with self._lock:
            silent = not 0 <= time.time() - self._heard < _SILENCE
            if self._manager is None or silent or self._generation != self.access.generation:
                if self._manager is not None:
                    self._manager.clear()
                self._generation = self.access.generation
                self._manager = _abortable(self.access.manager())
            return self._manager


class Stream:
    """An answer that is read while it is being written; it is asked for when reading begins.

    Iterating gives the bytes as they come. It ends when the answer does, or when the stream is closed.

    Parameters
    ----------
    begin : callable
        Asks for the answer; given the seconds until it must begin.
    target : Target
    answer_timeout, read_timeout : float
        Seconds until the answer must begin, and that may pass between two pieces of it.
    """

    def __init__(
        self, begin: Callable[[float], BaseHTTPResponse], target: Target, *, answer_timeout: float, read_timeout: float
    ) -> None:
        self._begin = begin
        self._target = target
        self._answer_timeout = answer_timeout
        self._read_timeout = read_timeout
        self._socket: Any = None
        self._response: BaseHTTPResponse | None = None
        self._whole = False
        self._ended = threading.Event()

    @property
    def closed(self) -> bool:
        """Whether it was closed, which any thread may do at any time."""
        return self._ended.is_set()

    def open(self) -> Stream:
        """Wait until the answer begins; iterating does so too.

        Raises
        ------
        BackendError
            If it is no answer, or a refusal. A stream that was closed is just empty.
        """
        if self._response is None and not self.closed:
            _thread.stream = self
            try:
                self._response = self._begin(self._answer_timeout)
                self._socket.settimeout(self._read_timeout)
            except UnreachableError:
                if not self.closed:
                    raise
            finally:
                _thread.stream = None
        return self

    def __iter__(self) -> Iterator[bytes]:
        self.open()
        response = self._response
        if response is None or self._ended.is_set():
            return
        try:
            for data in response.stream(_CHUNK, decode_content=False):
                if self._ended.is_set():
                    return
                yield data
            self._whole = True
        except (HTTPError, http.client.HTTPException, OSError, ValueError, AttributeError) as error:
            # Of a socket that another thread has shut down, whatever its layers make of it.
            if self._ended.is_set():
                return
            if isinstance(error, ValueError | AttributeError):
                raise
            raise explain(error, self._target, self._read_timeout) from None

    def lines(self) -> Iterator[bytes]:
        r"""Give the lines, without their end: only ``b"\n"`` ends one."""
        rest: list[bytes] = []
        for data in self:
            first, *more = data.split(b"\n")
            rest.append(first)
            if more:
                yield b"".join(rest)
                yield from more[:-1]
                rest = [more[-1]]
        if last := b"".join(rest):
            yield last

    def close(self) -> None:
        """End it, from any thread; a thread that reads it stops at once."""
        self._ended.set()
        if self._socket is not None and not self._whole:
            # Below the TLS of a connection through a proxy there is another socket.
            sock = getattr(self._socket, "socket", self._socket)
            try:
                # Not by SSLSocket's own method, which takes the TLS layer from under the thread that reads.
                socket.socket.shutdown(sock, socket.SHUT_RDWR)
            except OSError:
                pass  # it has ended already

    def attach(self, sock: Any) -> None:
        """Take note of the socket over which the answer comes, or break it off if it is not wanted any more."""
        self._socket = sock
        if self.closed:
            raise ConnectionAbortedError("closed from this side")

    def __enter__(self) -> Stream:
        return self

    def __exit__(self, *_: object) -> None:
        if self._response is None:
            self.close()
        elif self._whole:
            self._response.release_conn()
        else:
            self.close()
            self._response.close()


class Clock:
    """How far another clock is ahead of ours, by the times that its answers bear.

    Each time of whole seconds bounds the difference from both sides; the bounds of many answers are taken together.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._bounds: tuple[float, float] | None = None

    @property
    def skew(self) -> float:
        """The seconds it is ahead; 0 if nothing is known."""
        return sum(self._bounds) / 2 if self._bounds else 0.0

    def note(self, date: str | None, sent: float, received: float) -> None:
        """Take note of an answer's ``Date``, between the request and the answer by our clock."""
        if not date or received < sent:
            return
        from email.utils import parsedate_to_datetime

        try:
            told = parsedate_to_datetime(date).timestamp()
        except ValueError:
            return
        low, high = told - received, told + 1 - sent
        with self._lock:
            if self._bounds is not None:
                together = max(low, self._bounds[0]), min(high, self._bounds[1])
                # If they exclude each other, one of the clocks was set.
                if together[0] <= together[1]:
                    low, high = together
            self._bounds = low, high


def target_url(path: str, query: Mapping[str, Any] | None) -> str:
    """Write a path with its query."""
    return f"{path}?{urlencode(query, doseq=True)}" if query else path


def explain(error: BaseException, target: Target, timeout: float) -> UnreachableError:
    """Say in one sentence why there was no answer."""
    causes = list(_causes(error))
    unsent = any(isinstance(cause, NewConnectionError | ConnectTimeoutError) for cause in causes)
    why, advice = _reason(causes, target, timeout)
    kind = NeverSentError if unsent else UnreachableError
    return kind(f"The cluster of context {target.context!r} ({target.server}) {why}", advice=advice)


def _reason(causes: list[BaseException], target: Target, timeout: float) -> tuple[str, str]:
    for cause in causes:
        if isinstance(cause, ssl.SSLCertVerificationError):
            return f"has a certificate that is not accepted: {cause.verify_message}", _ADVICE.get(cause.verify_code, "")
        if isinstance(cause, socket.gaierror):
            name = urlsplit(target.server).hostname
            return f"cannot be found: the name {name} is not known", "Check the network, or connect to the VPN."
        if isinstance(cause, ConnectionRefusedError):
            return "does not answer: connection refused", ""
    for cause in causes:
        if isinstance(cause, ProxyError):
            return f"cannot be reached: the proxy said {cause.args[-1]}", "Check proxy-url, HTTPS_PROXY and NO_PROXY."
        if isinstance(cause, ssl.SSLEOFError | ConnectionError | http.client.HTTPException):
            return "broke the connection off", ""
        if isinstance(cause, ssl.SSLError):
            return f"does not speak TLS as it should ({cause.reason})", "Is that the address of an API server?"
        if isinstance(cause, ConnectTimeoutError):
            return f"does not answer: no connection within {CONNECT:g} s", "Check the network, or connect to the VPN."
        if isinstance(cause, PoolTimeoutError | OSError):
            if isinstance(cause, PoolTimeoutError | TimeoutError):
                return f"has not answered for {timeout:g} s", ""
            return f"cannot be reached: {cause.strerror or cause}", "Check the network, or connect to the VPN."
    return f"cannot be reached: {causes[0]}", ""


# By OpenSSL's numbers of what is wrong with a certificate.
_FOREIGN = "The certificate-authority of the kubeconfig is not the one of this server."
_DATE = "Check the clock of this machine; else the cluster's administrator has to renew it."
_NAME = "The server goes by another name: see tls-server-name in the kubeconfig."
_ADVICE = {9: _DATE, 10: _DATE, 18: _FOREIGN, 19: _FOREIGN, 20: _FOREIGN, 21: _FOREIGN, 62: _NAME, 64: _NAME}


def _causes(error: BaseException) -> Iterator[BaseException]:
    """Give an error and all those it was made of."""
    seen: list[BaseException] = []
    todo: list[object] = [error]
    while todo:
        item = todo.pop(0)
        if isinstance(item, BaseException) and item not in seen:
            seen.append(item)
            yield item
            todo += [*item.args, item.__cause__, item.__context__, getattr(item, "reason", None)]


class _Abortable:
    """A connection that gives its socket to the stream it works for, so that the stream can cut it."""

    sock: Any

    def request(self, *args: Any, **kwargs: Any) -> None:
        super().request(*args, **kwargs)  # type: ignore[misc]
        stream = getattr(_thread, "stream", None)
        if stream is not None:
            stream.attach(self.sock)


def _abortable(manager: urllib3.PoolManager) -> urllib3.PoolManager:
    """Have a manager make its connections of a kind that a stream can cut."""

    def kind(pool: Any) -> Any:
        connection = type("Connection", (_Abortable, pool.ConnectionCls), {})
        return type("Pool", (pool,), {"ConnectionCls": connection})

    manager.pool_classes_by_scheme = {scheme: kind(pool) for scheme, pool in manager.pool_classes_by_scheme.items()}
    return manager
