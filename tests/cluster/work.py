"""What the jobs of these tests run; it travels with them, so it imports nothing that an image may lack."""

from __future__ import annotations

import os
import pickle
import signal
import time
from typing import Any


def add(x: int, y: int = 1) -> int:
    print("adding", x, y)
    return x + y


def large(count: int) -> bytes:
    return bytes(range(256)) * count


def fails(text: str) -> None:
    raise ValueError(text)


def eats() -> int:
    return len(bytearray(400 << 20))


def slow(seconds: float = 60.0) -> str:
    print("ready", flush=True)
    time.sleep(seconds)
    return "done"


def bumped(data: Any) -> Any:
    """Change the first byte in place; give it back beside the pickle, as arrays are, though without any package."""
    data[0] ^= 255
    return pickle.PickleBuffer(data)


def pause(x: int, seconds: float = 0.1) -> int:
    time.sleep(seconds)
    return x


def picky(x: int) -> int:
    if x == 3:
        raise ValueError(x)
    if x == 5:
        os.kill(os.getpid(), signal.SIGSEGV)
    return x
