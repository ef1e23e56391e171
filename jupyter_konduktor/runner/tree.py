"""The processes below this one: finding them, signalling them, and being handed those whose parents have ended."""

from __future__ import annotations

import os
import sys

_PR_SET_CHILD_SUBREAPER = 36


def adopt_orphans() -> None:
    """Have the kernel make orphans among the descendants children of this process, where it can."""
    if sys.platform == "linux" and os.getpid() != 1:  # they go to process 1 anyway
        import ctypes

        ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def signal_group(group: int, signal: int) -> bool:
    """Signal a process group; False if it has no members that can be signalled."""
    try:
        os.killpg(group, signal)
    except (ProcessLookupError, PermissionError):
        return False  # macOS forbids to signal zombies; and a process may have become another user's
    return True


def signal_others(groups: set[int], signal: int) -> None:
    """Signal the descendants of this process that are in none of the groups: they have made sessions of their own."""
    for pid in descendants(os.getpid()):
        try:
            if os.getpgid(pid) not in groups:
                os.kill(pid, signal)
        except (ProcessLookupError, PermissionError):
            continue  # it has ended meanwhile


def descendants(pid: int) -> list[int]:
    """List the processes that descend from one; empty where /proc does not tell."""
    found: list[int] = []
    try:
        threads = os.listdir(f"/proc/{pid}/task")
    except OSError:
        return found
    for thread in threads:
        try:
            with open(f"/proc/{pid}/task/{thread}/children", "rb") as file:
                children = [int(child) for child in file.read().split()]
        except OSError:
            continue  # the thread or the process has ended
        for child in children:
            found.append(child)
            found += descendants(child)
    return found


def out_of_memory_kills() -> int:
    """Count the processes that this machine has killed for want of memory; 0 where it does not tell."""
    try:
        with open("/proc/vmstat", "rb") as file:
            for line in file:
                if line.startswith(b"oom_kill "):
                    return int(line.split()[1])
    except OSError:
        return 0
    return 0


def cause(signal: int, kills: int | None) -> str:
    """Say in brackets why a signal has ended a process, as far as that is known.

    Parameters
    ----------
    signal : int
    kills : int or None
        What `out_of_memory_kills` gave while it ran; None if it tells nothing of its end.
    """
    import _signal  # type: ignore[import-not-found]  # `signal` costs a millisecond more

    if signal == _signal.SIGSEGV:
        return " (segmentation fault)"
    if signal == _signal.SIGKILL and kills is not None:
        starved = out_of_memory_kills() > kills
        return " (out of memory)" if starved else " (not by this runner: maybe out of memory)"
    return ""


def signal_name(number: int) -> str:
    """Name a signal (``"SIGKILL"``)."""
    import signal

    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
