"""How fast 1 GB goes through an S3 server to a job and back, what memory it takes, and what a second submit costs."""

from __future__ import annotations

import hashlib
import json
import os
import resource
import statistics
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import numpy as np
import obstore
from harness import row, seconds
from obstore.store import S3Store, from_url

sys.path.insert(0, str(Path(__file__).parents[2]))

from jupyter_konduktor.payload import capture_call
from jupyter_konduktor.payload.piece import Piece
from jupyter_konduktor.payload.workdir import prepare, survey
from jupyter_konduktor.runner import parcel
from jupyter_konduktor.store.keys import object_key, result_key
from jupyter_konduktor.store.results import Results
from jupyter_konduktor.store.sending import send
from jupyter_konduktor.store.store import Store
from tests.store.conftest import BUCKET, Gateway

SIZE = 10**9
ROUNDS = 3
FRESH = timedelta(days=1)
URL = f"s3://{BUCKET}/bench"
HOME = Path.home()

WAYS = ("up", "raw up", "down", "raw down", "pod up")

# What a pod does, in a process of its own: no library but Python's.
POD = """
import json, sys, time
from jupyter_konduktor.runner import deposit, fetch
links, folder, verb, name, size = sys.argv[1:]
started = time.perf_counter()
if verb == "get":
    fetch.fetch(links, folder, [(name, int(size))])
else:
    deposit.send(links, folder, [name], int(size))
print(time.perf_counter() - started)
"""


def links(store: Store, digest: str, uid: str) -> str:
    """Write the URLs of a job."""
    results = store.sign("PUT", [result_key(uid, name) for name in parcel.NAMES])
    found = {"get": {digest: store.sign("GET", [object_key(digest)])[0]}, "put": dict(zip(parcel.NAMES, results))}
    (HOME / "urls").write_text(json.dumps(found))
    return str(HOME / "urls")


def pod(*arguments: str) -> float:
    done = subprocess.run([sys.executable, "-c", POD, *arguments], stdout=subprocess.PIPE, check=True, text=True)
    return float(done.stdout)


def to_file(raw: S3Store) -> None:
    """Do with the library what a pod does: bring an object to the disk."""
    with (HOME / "raw").open("wb") as file:
        for block in obstore.get(raw, "raw").stream(min_chunk_size=1 << 20):
            file.write(block)
    (HOME / "raw").unlink()


def measure() -> dict[str, list[float]]:
    """Take every way in turn with the library's own, other bytes in each round."""
    store, raw = Store(URL), from_url(URL, client_options={"allow_http": True})
    took: dict[str, list[float]] = {name: [] for name in (*WAYS, "pod down", "raw to a file")}
    for turn in range(ROUNDS):
        data = np.random.default_rng(turn).bytes(SIZE)
        digest = hashlib.sha256(data).hexdigest()
        view = memoryview(data)
        took["raw up"].append(seconds(lambda view=view: obstore.put(raw, "raw", view)))
        took["up"].append(
            seconds(lambda d=digest, v=view, t=turn: send(store, f"n{t}", {d: Piece.of(v)}, fresh=FRESH, quiet=True))
        )
        path, folder = links(store, digest, f"uid-{turn}"), HOME / f"pod-{turn}"
        took["pod down"].append(pod(path, str(folder), "get", digest, str(SIZE)))
        took["pod up"].append(pod(path, str(folder / digest[:2]), "put", digest, "0"))
        took["raw to a file"].append(seconds(lambda: to_file(raw)))
        took["raw down"].append(seconds(lambda: obstore.get(raw, "raw").bytes()))
        results = Results(store, f"uid-{turn}")
        back: list[memoryview | None] = []
        took["down"].append(seconds(lambda r=results, b=back, d=digest: b.append(r.read(d, SIZE))))
        assert back[0] is not None
        assert hashlib.sha256(back[0]).hexdigest() == digest
        del back, data, view
        (folder / digest[:2] / digest).unlink()
    return took


def memory() -> None:
    """Send a value and read it back; tell the peak of this process, beside what it had before."""
    store = Store(URL)
    data = np.random.default_rng(9).bytes(SIZE)
    digest = hashlib.sha256(data).hexdigest()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    send(store, "m", {digest: Piece.of(data)}, fresh=FRESH, quiet=True)
    path = links(store, digest, "memory")
    folder = HOME / "memory" / digest[:2]
    folder.mkdir(parents=True)
    (folder / digest).write_bytes(data)
    pod(path, str(folder), "put", digest, "0")
    del data
    Results(store, "memory").read(digest, SIZE)
    print(json.dumps([before, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss]))


def again(store: Store) -> tuple[float, float]:
    """Submit a variable and a folder a second time, up to where the JobSet would be made."""
    array = np.random.default_rng(7).random(SIZE // 8)

    def variable() -> None:
        payload = capture_call(len, (array,), {})
        objects = {digest: Piece.of(view) for digest, view in payload.objects.items()}
        send(store, "v", objects, fresh=FRESH, quiet=True)

    folder = HOME / "project"
    folder.mkdir()
    for number in range(10):
        (folder / f"{number}.bin").write_bytes(os.urandom(SIZE // 10))
        os.utime(folder / f"{number}.bin", (1e9, 1e9))

    def workdir() -> None:
        made = prepare(survey(str(folder), limit=2 * SIZE), cache=HOME / "known.json")
        send(store, "w", made.objects, fresh=FRESH, quiet=True)

    for first in (variable, workdir):
        first()
    return min(seconds(variable) for _ in range(ROUNDS)), min(seconds(workdir) for _ in range(ROUNDS))


def main() -> None:
    gateway = Gateway(HOME / "gateway")
    os.environ.update(gateway.environment)
    try:
        took = {name: statistics.median(times) for name, times in measure().items()}
        for way, floor in (("up", "raw up"), ("down", "raw down"), ("pod up", "raw up"), ("pod down", "raw to a file")):
            ratio = took[way] / took[floor]
            figure = f"{SIZE / took[way] / 1e6:.0f} MB/s, {ratio:.2f} x"
            budget = "1.5 x the library's own time"
            row(f"store: 1 GB {way}", budget, figure, f"{SIZE / took[floor] / 1e6:.0f} MB/s", kept=ratio <= 1.5)
        said = subprocess.run([sys.executable, __file__, "memory"], stdout=subprocess.PIPE, check=True, text=True)
        before, peak = (kib * 1024 / SIZE for kib in json.loads(said.stdout))
        row("store: memory of the kernel", "2.2 x the value", f"{peak:.2f} x", f"{before:.2f} x", kept=peak <= 2.2)
        hashed = seconds(lambda data=bytes(SIZE): hashlib.sha256(data).hexdigest())
        for what, again_took in zip(("variable", "workdir"), again(Store(URL))):
            figure, floor = f"{again_took:.2f} s", f"SHA-256 of 1 GB on one core: {hashed:.2f} s"
            row(f"store: the same 1 GB {what} again", "1 s", figure, floor, kept=again_took <= 1)
    finally:
        gateway.kill()


if __name__ == "__main__":
    memory() if sys.argv[1:] == ["memory"] else main()
