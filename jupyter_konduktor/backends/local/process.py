"""Processes of this machine, told apart from others that have the same pid, now or later."""

from __future__ import annotations

import fcntl
import os
import signal
import sys
import time

LINUX = sys.platform == "linux"
JOB_UID = "KONDUKTOR_JOB_UID"
"""Environment variable that every process of a job is started with."""


_boot = ""


def host() -> str:
    """Give the name of this machine."""
    return os.uname().nodename


def boot() -> str:
    """Identify the time since the machine started, and the process namespace: pids mean something only within."""
    global _boot
    if not _boot and LINUX:
        with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
            _boot = f"{file.read().strip()}:{os.stat('/proc/self/ns/pid').st_ino}"
    elif not _boot:
        import psutil  # 50 ms, so only where it is needed

        _boot = str(int(psutil.boot_time()))
    return _boot


def is_here(host_name: str, boot_id: str) -> bool:
    """Whether a pid that was written down there means something to this process."""
    return host_name == host() and boot_id == boot()


def birth(pid: int) -> str | None:
    """Give the time at which a process was started; None if there is none that runs.

    Only good for comparison. On Linux it is in clock ticks since boot, which, unlike psutil's, no change of the clock
    moves.
    """
    if not LINUX:
        import psutil

        try:
            process = psutil.Process(pid)
            return None if process.status() == psutil.STATUS_ZOMBIE else repr(process.create_time())
        except psutil.NoSuchProcess:
            return None
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            # The command's name stands in parentheses and may hold anything.
            state, *numbers = file.read().rpartition(b")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return None if state in (b"Z", b"X") else numbers[18].decode()


def open_pidfd(pid: int, born: str) -> int | None:
    """Open a file descriptor that becomes readable when the process ends; None if it has ended.

    Raises
    ------
    OSError
        Where the system has no such thing.
    """
    try:
        fd = os.pidfd_open(pid)
    except ProcessLookupError:
        return None
    # The descriptor stands for one process: whoever has the pid now was born at that time, or is another one.
    if birth(pid) == born:
        return fd
    os.close(fd)
    return None


def send(pid: int, born: str, number: signal.Signals) -> bool:
    """Send a signal to a process, and never to another one that got its pid; False if it has ended."""
    if not LINUX:
        import psutil

        try:
            process = psutil.Process(pid)
            if repr(process.create_time()) != born:
                return False
            process.send_signal(number)  # checks the time again
        except psutil.NoSuchProcess:
            return False
        return True
    fd = open_pidfd(pid, born)
    if fd is None:
        return False
    try:
        signal.pidfd_send_signal(fd, number)
    except ProcessLookupError:
        return False
    finally:
        os.close(fd)
    return True


def take_lock(path: str) -> int | None:
    """Lock a file for as long as this process lives; None if another process holds it.

    The lock belongs to the process: children do not inherit it, and it ends with it however that dies. It is lost when
    the process closes *any* descriptor of the file.
    """
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.lockf(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):
        os.close(fd)
        return None
    return fd


def is_locked(path: str) -> bool:
    """Whether another process holds the lock of a file; not to be asked of a lock of one's own."""
    if not os.path.exists(path):
        return False
    fd = take_lock(path)
    if fd is None:
        return True
    os.close(fd)
    return False


def processes_of(uid: str) -> list[int]:
    """Find the pids of the processes that belong to a job: by their environment, and by the sessions of these."""
    import psutil

    found: set[int] = set()
    for process in psutil.process_iter():
        try:
            if process.pid != os.getpid() and process.environ().get(JOB_UID) == uid:
                found.add(process.pid)
        except (psutil.NoSuchProcess, psutil.AccessDenied, OSError):
            continue  # it has ended, or is another user's
    sessions = {_session(pid) for pid in found} - {None, os.getsid(0)}
    if sessions:
        found.update(p.pid for p in psutil.process_iter() if _session(p.pid) in sessions)
    return sorted(found - {os.getpid()})


def _session(pid: int) -> int | None:
    try:
        return os.getsid(pid)
    except (ProcessLookupError, PermissionError):
        return None


def kill_processes_of(uid: str, within: float = 5.0) -> int:
    """Kill what a job left behind; returns how many processes, once none is left or the time in seconds is up."""
    killed: set[tuple[int, str]] = set()
    end = time.monotonic() + within
    # Again until none is found: a process may fork while the list is read.
    while True:
        left = [(pid, born) for pid in processes_of(uid) if (born := birth(pid)) is not None]
        killed.update(key for key in left if send(*key, signal.SIGKILL))
        if not left or time.monotonic() > end:
            return len(killed)
        time.sleep(0.01)
