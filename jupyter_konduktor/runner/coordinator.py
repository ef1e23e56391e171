"""Gives the items of a map to its workers, and takes what became of them: a process beside the worker of node 0.

What workers have ended is told to the supervisor of node 0 as if node 0 had run it all, artifacts included. It holds
nothing that could not be had again: one that takes its place hears from each worker what that has ended, and what it
runs.
"""

from __future__ import annotations

import os
import threading
import time

from . import failure, link
from .items import board_of

TYPE_CHECKING = False
if TYPE_CHECKING:  # importing typing costs a job 3 ms
    import socket
    from typing import BinaryIO

    from .context import Context

_LINGER = 5.0  # seconds that workers in other containers have to hear of the end
_BLOCK = 1 << 20


class Coordinator:
    """Serves the workers of a job until all items have ended.

    Parameters
    ----------
    job : Context
        Of node 0.
    listener : socket
    """

    def __init__(self, job: Context, listener: socket.socket) -> None:
        self._job = job
        self._listener = listener
        self._board = board_of(job)
        self._changed = threading.Condition()
        self._connections: dict[str, socket.socket] = {}
        self._heard: dict[str, int] = {}  # of how many items, by worker
        # In containers the job has ended when node 0 has, and nobody waits for a worker that never came.
        self._apart = job.spec.get("rank") is not None
        self._missing = set() if self._apart else set(range(int(job.spec["nodes"])))

    def run(self) -> None:
        """Serve to the end."""
        threading.Thread(target=self._accept, daemon=True).start()
        with self._changed:
            self._changed.wait_for(lambda: self._board.over)
            self._job.send(b"done")
            for connection in self._connections.values():
                _tell_over(connection)
            patience = _LINGER if self._apart else None
            self._changed.wait_for(lambda: not self._connections and not self._missing, patience)

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                time.sleep(0.1)  # too many are open
                continue
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        """Serve one connection to its end."""
        worker = ""
        try:
            reader, worker, rank = link.welcome(connection, self._job.spec["nonce"], self._heard_of)
            with self._changed:
                self._connections[worker] = connection
                self._missing.discard(rank)
                if self._board.over:
                    _tell_over(connection)
            self._listen(worker, connection, reader)
        except (OSError, ValueError):
            pass  # it is gone, or was none of ours
        finally:
            connection.close()
            with self._changed:
                if worker and self._connections.get(worker) is connection:
                    del self._connections[worker]
                    self._board.lose(worker)
                    self._changed.notify_all()

    def _heard_of(self, worker: str) -> int:
        with self._changed:
            return self._heard.get(worker, 0)

    def _listen(self, worker: str, connection: socket.socket, reader: BinaryIO) -> None:
        """Do what a worker asks for."""
        room, size = True, 0  # for all artifacts of the item that it tells of next, and their bytes
        while True:
            line = reader.readline(link.LINE_LIMIT)
            word, _, rest = line.rstrip(b"\n").partition(b" ")
            if word == b"artifact":
                digest, _, count = rest.decode().partition(" ")
                size += int(count)
                room = self._receive(reader, digest, int(count)) and room
            elif word == b"ended":
                index, failed, envelope = rest.split(b" ", 2)
                if not room:
                    failed, envelope = b"1", failure.of_item(int(index), self._too_large(size), 1, self._job)
                self._ended(worker, int(index), failed == b"1", envelope)
                room, size = True, 0
            elif word == b"next":
                self._give(worker, connection)
            elif word == b"running":
                with self._changed:
                    self._board.resume(worker, int(rest))
            elif word == b"leaving":
                with self._changed:
                    self._board.give_back(worker)
                    self._changed.notify_all()
            else:
                raise OSError("the connection has ended")

    def _give(self, worker: str, connection: socket.socket) -> None:
        """Give a worker an item as soon as there is one; nothing if all have ended, which it is told otherwise."""
        with self._changed:
            while not self._board.over:
                if self._connections.get(worker) is not connection:
                    raise OSError("it has another connection by now")
                index = self._board.take(worker)
                if index is not None:
                    connection.sendall(b"run %d\n" % index)
                    return
                self._changed.wait()

    def _too_large(self, size: int) -> str:
        """Say why there is no room for what an item gives back, and what to do."""
        from .outputs import SET_ONE, size_text

        limit, room = size_text(int(self._job.spec.get("artifact_limit") or 0)), size_text(self._job.room() or 0)
        return (
            f"the returned value is too large: value has {size_text(size)}, and all items of a job without a store "
            f"bring back no more than {limit} together ({room} of them are left); {SET_ONE}, write it to a volume, or "
            "give back less"
        )

    def _ended(self, worker: str, index: int, failed: bool, envelope: bytes) -> None:
        with self._changed:
            self._heard[worker] = self._heard.get(worker, 0) + 1
            self._board.finish(worker, index, failed, envelope)
            self._changed.notify_all()

    def _receive(self, reader: BinaryIO, digest: str, size: int) -> bool:
        """Take an artifact; False if there is no room for it."""
        if len(digest) != 64 or digest.strip("0123456789abcdef"):
            raise ValueError("an artifact is named by its SHA-256")
        path = os.path.join(self._job.spec["job_dir"], f"incoming-{threading.get_ident()}")
        with open(path, "wb") as file:
            left = size
            while left:
                data = reader.read(min(left, _BLOCK))
                if not data:
                    raise OSError("the connection has ended")
                file.write(data)
                left -= len(data)
        with self._changed:
            room = self._job.room()
            if self._job.saved(digest) or (room is not None and size > room):
                os.unlink(path)
                return self._job.saved(digest)
            folder = self._job.spec["artifacts"]
            os.makedirs(folder, mode=0o700, exist_ok=True)
            os.rename(path, os.path.join(folder, digest))
            return True


def _tell_over(connection: socket.socket) -> None:
    try:
        connection.sendall(b"over\n")
    except OSError:
        pass  # it will ask again
