"""One process of the cluster: start, stop, kill, pause, resume, and wait until it is ready.

Nothing supervises the processes. They have a session and an environment of their own, so they outlive the command that
started them, and are found again by the pid and start time in the state folder.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import psutil

READY_AFTER = 60.0
STOP_AFTER = 5.0  # the API server would wait for its watches
POLL = 0.05


@dataclass
class Part:
    """A process by its name; `prepare` is run before each start, `ready` and `settle` say when it is of use."""

    name: str
    state: Path
    command: Callable[[], list[str]]
    ready: Callable[[], bool]
    environment: dict[str, str] = field(default_factory=dict)
    prepare: Callable[[], None] = lambda: None
    settle: Callable[[float], None] = lambda started: None

    @property
    def log(self) -> Path:
        """What the process writes; it grows over restarts."""
        return self.state / "logs" / f"{self.name}.log"

    @property
    def _pid_file(self) -> Path:
        return self.state / "pids" / self.name

    def process(self) -> psutil.Process | None:
        """The process while it lives; a number that now belongs to another one is not it."""
        try:
            noted = json.loads(self._pid_file.read_text())
            process = psutil.Process(noted["pid"])
            same = noted["started"] == _started(noted["pid"])
            return process if same and process.status() != psutil.STATUS_ZOMBIE else None
        except (OSError, ValueError, psutil.NoSuchProcess):
            return None

    @property
    def running(self) -> bool:
        """Whether the process lives, be it paused."""
        return self.process() is not None

    @property
    def paused(self) -> bool:
        """Whether the process is stopped by a signal."""
        process = self.process()
        return process is not None and process.status() == psutil.STATUS_STOPPED

    def start(self, *, wait: bool = True) -> None:
        """Start the process, unless it runs, and wait until it is ready."""
        began = time.time()
        if not self.running:
            self.launch()
        if wait:
            self.wait()
            self.settle(began)

    def launch(self) -> None:
        """Start the process, and wait for nothing."""
        self.prepare()
        for place in (self.log.parent, self._pid_file.parent, self.state / "home"):
            place.mkdir(parents=True, exist_ok=True)
        number = self._pid_file.with_suffix(".new")
        number.unlink(missing_ok=True)
        # A grandchild: it is nobody's zombie when it ends, and no caller's child to wait for.
        shell = ["setsid", "--fork", "sh", "-c", 'echo $$ > "$0.part"; mv "$0.part" "$0"; exec "$@"', str(number)]
        environment = {
            "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
            "HOME": str(self.state / "home"),
            **self.environment,
        }
        with self.log.open("ab") as log:
            subprocess.run(
                [*shell, *self.command()],
                check=True,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=environment,
                cwd="/",
            )
        wait_for(number.exists, f"{self.name} to start", 10)
        pid = int(number.read_text())
        number.write_text(json.dumps({"pid": pid, "started": _started(pid)}))
        number.rename(self._pid_file)

    def wait(self, timeout: float = READY_AFTER) -> None:
        """Wait until the process is ready, and say what its log ends with if it does not get there."""

        def is_ready() -> bool:
            if not self.running:
                message = f"{self.name} ended\n{self.tail()}"
                raise RuntimeError(message)
            try:
                return self.ready()
            except OSError:
                return False

        try:
            wait_for(is_ready, f"{self.name} to be ready", timeout)
        except TimeoutError as error:
            message = f"{error}\n{self.tail()}"
            raise TimeoutError(message) from None

    def tail(self, lines: int = 15) -> str:
        """The end of the log."""
        text = self.log.read_text(errors="replace") if self.log.exists() else ""
        return f"{self.log}:\n" + "\n".join(line[:400] for line in text.splitlines()[-lines:])

    def stop(self) -> None:
        """End the process as a machine that shuts down does, by force when it takes too long."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """End the process with SIGKILL."""
        self._end(signal.SIGKILL)

    def restart(self) -> None:
        """Stop and start."""
        self.stop()
        self.start()

    def pause(self) -> None:
        """Freeze the process: its connections stay open and nothing answers."""
        self._signal(signal.SIGSTOP)
        wait_for(lambda: self.paused, f"{self.name} to be paused", 5)

    def resume(self) -> None:
        """Go on after a pause."""
        self._signal(signal.SIGCONT)

    def _signal(self, number: int) -> None:
        process = self.process()
        if process is None:
            message = f"{self.name} does not run"
            raise RuntimeError(message)
        os.kill(process.pid, number)

    def _end(self, number: int) -> None:
        process = self.process()
        if process is None:
            return
        end_process(process, number)
        self._pid_file.unlink(missing_ok=True)


def end_process(process: psutil.Process, number: int = signal.SIGTERM, patience: float = STOP_AFTER) -> None:
    """End a process, by SIGKILL when another signal has no effect in time."""

    def gone() -> bool:
        """The first thread may be a zombie while others still hold the ports."""
        try:
            threads = len(os.listdir(f"/proc/{process.pid}/task"))  # noqa: PTH208 - names are enough
            return not process.is_running() or (process.status() == psutil.STATUS_ZOMBIE and threads == 1)
        except (psutil.NoSuchProcess, FileNotFoundError):
            return True

    try:
        process.send_signal(number)
        process.send_signal(signal.SIGCONT)  # one that is paused hears of it only now
        wait_for(gone, f"{process.pid} to end", patience)
    except TimeoutError:
        process.kill()
        wait_for(gone, f"{process.pid} to be killed", 10)
    except psutil.NoSuchProcess:
        pass


def _started(pid: int) -> str:
    """When a process started: in ticks since the machine did, for the time of day may be set anew while it runs."""
    try:
        ticks = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
    except OSError:
        return ""
    return f"{Path('/proc/sys/kernel/random/boot_id').read_text().strip()} {ticks}"


def wait_for(condition: Callable[[], bool], what: str, timeout: float) -> None:
    """Ask until the answer is yes."""
    deadline = time.monotonic() + timeout
    while not condition():
        if time.monotonic() > deadline:
            message = f"waited {timeout:.0f} s for {what}"
            raise TimeoutError(message)
        time.sleep(POLL)
