"""What the maps of these tests run; it travels with them, so it imports nothing that an image may lack."""

from __future__ import annotations

import os
import time
from typing import Any


def square(x: int) -> int:
    return x * x


def behaves(x: int) -> Any:
    """Fail, crash or do well, each by its number."""
    if x % 6 == 1:
        raise ValueError(x)
    if x % 6 == 3:
        os.abort()
    if x % 6 == 4:
        return bytes([x]) * 10_000
    return x


def reversed_twice(data: bytes) -> tuple[bytes, bytes]:
    return data[::-1], data


def repeated(data: bytes, count: int) -> bytes:
    return data * count


def second_time(x: int) -> int:
    """Do well once this process has seen the item before."""
    if x % 2:
        tries[x] = tries.get(x, 0) + 1
        if tries[x] < 2:
            raise ValueError(x)
    return x


tries: dict[int, int] = {}


def who(x: int) -> list[Any]:
    """Say which worker runs it, and which group that is in, as torch sees it."""
    time.sleep(1)
    names = ("RANK", "NUM_NODES", "PET_NNODES", "PET_NODE_RANK", "WORLD_SIZE", "MASTER_ADDR", "NODE_HOST_IPS")
    return [os.environ["JOB_COMPLETION_INDEX"], *(os.environ.get(name) for name in names)]
