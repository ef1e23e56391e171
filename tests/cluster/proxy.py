"""A TCP proxy in front of an API server, with what networks do to connections."""

from __future__ import annotations

import json
import socket
import threading
import time
from pathlib import Path
from urllib.parse import urlsplit


class Proxy:
    """Forwards connections to a server, and breaks them as it is told; as a context, it ends with everything it has.

    It sees TLS from outside only: what is said stays between both ends.

    Parameters
    ----------
    host, port
        The server.

    Attributes
    ----------
    delay : float
        Seconds that every piece of an answer is held back.
    connections : int
        How many have been made so far.
    """

    def __init__(self, host: str, port: int) -> None:
        self._server = (host, port)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self.delay = 0.0
        self.connections = 0
        self._silent = threading.Event()
        self._lose_reply = False
        self._budget: int | None = None
        self._lock = threading.Lock()
        self._pairs: set[tuple[socket.socket, socket.socket]] = set()
        self._refusing = False
        self._closed = False
        self._accept(self._listener)

    def refuse(self) -> None:
        """Let no connection in, and close those there are."""
        self._refusing = True
        # Shut down first: a thread that waits in accept() holds the socket open.
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.cut()

    def accept(self) -> None:
        """Let connections in again, at the same port."""
        self._refusing = False
        self._listener = socket.create_server(("127.0.0.1", self.port))
        self._accept(self._listener)

    def cut(self) -> None:
        """Close all connections."""
        with self._lock:
            pairs = list(self._pairs)
        for pair in pairs:
            self._end(pair)

    def cut_after(self, size: int) -> None:
        """Close the connections once so many more bytes of answers have passed; happens once."""
        with self._lock:
            self._budget = size

    def lose_reply(self) -> None:
        """Let the next request through on a connection that is up, and close it in place of the reply; happens once."""
        with self._lock:
            self._lose_reply = True

    def hush(self) -> None:
        """Forward nothing any more on the connections there are, and on new ones, without closing any."""
        self._silent.set()

    def speak(self) -> None:
        """Forward again on new connections; the ones that were hushed stay so."""
        self._silent.clear()

    def kubeconfig(self, original: Path, place: Path) -> Path:
        """Write a kubeconfig like another one, that leads through this proxy."""
        content = json.loads(original.read_text())
        for cluster in content["clusters"]:
            cluster["cluster"]["server"] = f"https://127.0.0.1:{self.port}"
        place.write_text(json.dumps(content))
        return place

    def __enter__(self) -> Proxy:
        return self

    def __exit__(self, *_: object) -> None:
        self._closed = True
        if not self._refusing:
            self.refuse()
        self.cut()

    @classmethod
    def before(cls, kubeconfig: Path) -> Proxy:
        """Make one in front of a kubeconfig's server."""
        server = urlsplit(json.loads(kubeconfig.read_text())["clusters"][0]["cluster"]["server"])
        return cls(server.hostname or "", server.port or 443)

    def _accept(self, listener: socket.socket) -> None:
        def run() -> None:
            while True:
                try:
                    client, _ = listener.accept()
                except OSError:
                    return
                try:
                    server = socket.create_connection(self._server)
                except OSError:  # it is down: that is what the other side has to see
                    client.close()
                    continue
                self.connections += 1
                pair = (client, server)
                with self._lock:
                    self._pairs.add(pair)
                threading.Thread(target=self._pump, args=(pair, client, server, False), daemon=True).start()
                threading.Thread(target=self._pump, args=(pair, server, client, True), daemon=True).start()

        threading.Thread(target=run, daemon=True).start()

    def _pump(self, pair: tuple[socket.socket, socket.socket], source: socket.socket, to: socket.socket, answer: bool):
        hushed = False
        try:
            while data := source.recv(65536):
                hushed = hushed or self._silent.is_set()
                if hushed:
                    continue
                if answer:
                    if self.delay:
                        time.sleep(self.delay)
                    with self._lock:
                        lost, self._lose_reply = self._lose_reply, False
                        if self._budget is not None:
                            data = data[: self._budget]
                            self._budget -= len(data)
                            over = self._budget <= 0
                            self._budget = None if over else self._budget
                        else:
                            over = False
                    if lost:
                        break
                    to.sendall(data)
                    if over:
                        break
                else:
                    to.sendall(data)
        except OSError:
            pass
        self._end(pair)

    def _end(self, pair: tuple[socket.socket, socket.socket]) -> None:
        with self._lock:
            self._pairs.discard(pair)
        for each in pair:
            try:
                each.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
            each.close()


def wait_until(condition, seconds: float = 60.0) -> None:
    """Wait until something holds."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it has not come to that"
        time.sleep(0.01)
