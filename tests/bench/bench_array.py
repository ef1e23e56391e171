"""How fast an array of 1 GB goes to a job and comes back, and what memory each process needs for it."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
from harness import own_processes, row, seconds

import jupyter_konduktor as jk

SIZE = 10**9
ROUNDS = 3


def bump(array: np.ndarray) -> np.ndarray:
    array += 1
    return array


def kernel() -> None:
    """Send an array and take it back for each line of stdin, telling the seconds of each; numbers differ each time."""
    jk.remote(bump).submit(np.zeros(1000)).result()
    for line in sys.stdin:
        array = np.full(SIZE // 8, float(line))
        back: list[np.ndarray] = []
        print(seconds(lambda array=array, back=back: back.append(jk.remote(bump).submit(array).result())), flush=True)
        assert back[0].nbytes == SIZE
        assert back[0].flags.writeable
        assert (back[0][::1000] == float(line) + 1).all()
        del array, back  # else the next round begins with two arrays of this one


def saved_and_loaded() -> None:
    """Write the array and read it back, twice: the floor of a way there and back."""
    array = np.full(SIZE // 8, 0.5)
    place = Path.home() / "floor.npy"

    def both() -> None:
        np.save(place, array)
        np.save(place, np.load(place))
        np.load(place)

    print(seconds(both), flush=True)
    place.unlink()


class Peaks(threading.Thread):
    """The largest memory of each process of ours, by id: the high-water mark of each, read every 20 ms."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.peaks: dict[int, int] = {}
        self.ended = threading.Event()

    def run(self) -> None:
        known: dict[int, bool] = {os.getpid(): False}
        while not self.ended.wait(0.02):
            for pid in own_processes(known):
                try:
                    status = Path(f"/proc/{pid}/status").read_text()
                except OSError:
                    continue  # it ended between two looks
                for line in status.splitlines():
                    if line.startswith("VmHWM:"):
                        self.peaks[pid] = max(self.peaks.get(pid, 0), int(line.split()[1]) * 1024)


def main() -> None:
    again = [sys.executable, __file__]
    peaks = Peaks()
    peaks.start()
    floors, own = [], []
    with subprocess.Popen([*again, "kernel"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as client:
        assert client.stdin is not None
        assert client.stdout is not None
        for turn in range(ROUNDS):
            environment = {**os.environ, "HOME": str(Path.home().parent)}  # its memory is not ours
            run = subprocess.run([*again, "floor"], stdout=subprocess.PIPE, text=True, check=True, env=environment)
            floors.append(float(run.stdout))
            print(turn, file=client.stdin, flush=True)
            own.append(float(client.stdout.readline()))
        peaks.ended.set()
        peaks.join()
        client.stdin.close()
    floor, ours = statistics.median(floors), statistics.median(own)
    row(
        "array of 1 GB there and back: speed",
        "0.5 x floor",
        f"{floor / ours:.2f} x ({ours:.2f} s)",
        f"two np.save + np.load {floor:.2f} s",
        kept=ours <= 2 * floor,
    )
    kernel_peak = peaks.peaks.pop(client.pid)
    job_peak = max(peaks.peaks.values())
    row(
        "array of 1 GB there and back: memory",
        "2.2 x its size in each process",
        f"kernel {kernel_peak / SIZE:.2f} x, job {job_peak / SIZE:.2f} x",
        "the array itself 1 x",
        kept=max(kernel_peak, job_peak) <= 2.2 * SIZE,
    )


if __name__ == "__main__":
    {"kernel": kernel, "floor": saved_and_loaded}.get("".join(sys.argv[1:]), main)()
