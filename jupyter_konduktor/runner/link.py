"""The way between the workers of a map and its coordinator: a socket with lines, and bytes after some of them.

Each side proves first that it knows the job's nonce. Nothing that comes this way is unpickled. Lines of a worker::

    artifact SHA256 SIZE       and so many bytes
    ended INDEX FAILED ENVELOPE
    running INDEX              it still runs this one, though its connection was broken
    next
    leaving                    it was told to end, and is not to blame for that

and of the coordinator::

    run INDEX
    over                       all items have ended
"""

from __future__ import annotations

import hmac
import os
import socket

TYPE_CHECKING = False
if TYPE_CHECKING:  # importing typing costs a job 3 ms
    from collections.abc import Callable
    from typing import Any, BinaryIO

PORT = 29600
"""Where the coordinator listens in a container."""
LINE_LIMIT = 8192
_GREETING = 10.0  # seconds for it; a stranger may say nothing at all
_CHALLENGE = 16  # random bytes
_KEEPALIVE = (("TCP_KEEPIDLE", 20), ("TCP_KEEPINTVL", 10), ("TCP_KEEPCNT", 4), ("TCP_USER_TIMEOUT", 60_000))


class StrangerError(OSError):
    """The other side does not know the nonce."""


def listen(address: Any) -> socket.socket:
    """Listen at an address: host and port, of which the port counts, or the path of a socket.

    Raises
    ------
    OSError
    """
    if not isinstance(address, str):
        if socket.has_dualstack_ipv6():
            return socket.create_server(("", address[1]), family=socket.AF_INET6, backlog=128, dualstack_ipv6=True)
        return socket.create_server(("", address[1]), backlog=128)
    try:
        os.unlink(address)  # of a coordinator before this one
    except FileNotFoundError:
        pass
    made = socket.socket(socket.AF_UNIX)
    _in_folder(address, made.bind)
    made.listen(128)
    return made


def connect(address: Any) -> socket.socket:
    """Connect to an address; raises OSError."""
    if not isinstance(address, str):
        return socket.create_connection(tuple(address), _GREETING)
    made = socket.socket(socket.AF_UNIX)
    made.settimeout(_GREETING)
    try:
        _in_folder(address, made.connect)
    except BaseException:
        made.close()
        raise
    return made


def _in_folder(path: str, call: Callable[[str], None]) -> None:
    """Do something with a socket's name alone: a path of more than some 100 bytes is none for the system."""
    here = os.open(".", os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.chdir(os.path.dirname(path))
        call(os.path.basename(path))
    finally:
        os.fchdir(here)
        os.close(here)


def greet(made: socket.socket, nonce: str, worker: str, rank: int) -> tuple[BinaryIO, int]:
    """Make oneself known to the coordinator.

    Returns
    -------
    file, int
        To read from, and how many items it has heard of that this worker has ended.

    Raises
    ------
    OSError
        If it does not answer, or as it should.
    """
    reader = made.makefile("rb")
    theirs, mine = _line(reader), os.urandom(_CHALLENGE).hex().encode()
    who = b"%s %d" % (worker.encode(), rank)
    made.sendall(b"%s %s %s\n" % (who, mine, _proof(nonce, b"worker", theirs, mine, who)))
    proof, _, count = _line(reader).partition(b" ")
    if not hmac.compare_digest(proof, _proof(nonce, b"coordinator", theirs, mine, count)):
        raise StrangerError("what answers there is not this job's")
    _lasting(made)
    return reader, int(count)


def welcome(made: socket.socket, nonce: str, heard_of: Callable[[str], int]) -> tuple[BinaryIO, str, int]:
    """Find out who a worker is.

    Returns
    -------
    file, str, int
        To read from, what tells it from all others, and its rank.

    Raises
    ------
    OSError
        If it is none of this job's.
    """
    made.settimeout(_GREETING)
    reader, mine = made.makefile("rb"), os.urandom(_CHALLENGE).hex().encode()
    made.sendall(mine + b"\n")
    who, theirs, proof = [*_line(reader).rsplit(b" ", 2), b"", b""][:3]
    if not hmac.compare_digest(proof, _proof(nonce, b"worker", mine, theirs, who)):
        raise StrangerError("it is none of this job's workers")
    worker, rank = who.decode().split(" ")
    count = b"%d" % heard_of(worker)
    made.sendall(b"%s %s\n" % (_proof(nonce, b"coordinator", mine, theirs, count), count))
    _lasting(made)
    return reader, worker, int(rank)


def _line(reader: BinaryIO) -> bytes:
    line = reader.readline(512)
    if not line.endswith(b"\n"):
        raise OSError("the connection has ended")
    return line[:-1]


def _proof(nonce: str, *said: bytes) -> bytes:
    return hmac.new(nonce.encode(), b" ".join(said), "sha256").hexdigest().encode()


def _lasting(made: socket.socket) -> None:
    """Let a connection be silent for as long as an item takes, and end when the other side is gone."""
    made.settimeout(None)
    if made.family == socket.AF_UNIX:
        return
    made.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    for name, value in _KEEPALIVE:
        if hasattr(socket, name):
            made.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
