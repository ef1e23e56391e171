"""Run the benches, or those that are named, and print one table: `make bench`, `make bench ARGS="local array"`."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

from tests.testbed import lifecycle, places

BENCHES = ["imports", "local", "queue", "idle", "array", "store", "widget", "server", "sidebar", "log"]
BENCHES += ["cluster", "cluster_idle", "cluster_log"]
IN_BROWSER = ["sidebar", "log"]
ON_CLUSTER = [name for name in BENCHES if name.startswith("cluster")]
HEAD = {"what": "what", "budget": "budget", "figure": "figure", "floor": "floor, same run", "verdict": "verdict"}
PRIVATE = ["HOME", "JUPYTER_DATA_DIR", "JUPYTER_RUNTIME_DIR", "JUPYTER_CONFIG_DIR", "IPYTHONDIR"]


def run(name: str, home: Path) -> list[dict[str, str]]:
    """Run one bench in a process and a home of its own, and give its rows; one that ends badly has failed."""
    environment = {key: value for key, value in os.environ.items() if not _is_setting(key)}
    # What the test cluster is built of is kept in the person's own cache.
    environment["KONDUKTOR_TEST_HOME"] = str(Path.home())
    environment["KONDUKTOR_TEST_CACHE"] = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    for key in PRIVATE:
        environment[key] = str(home / key.lower())
        (home / key.lower()).mkdir(mode=0o700)
    script = Path(__file__).parent / f"bench_{name}.py"
    bench = subprocess.run([sys.executable, str(script)], stdout=subprocess.PIPE, text=True, env=environment, cwd=home)
    rows: list[dict[str, str]] = [json.loads(line) for line in bench.stdout.splitlines() if line.startswith("{")]
    if bench.returncode:
        rows.append(
            {"what": name, "budget": "", "figure": f"exit {bench.returncode}", "floor": "", "verdict": "FAILED"}
        )
    return rows


def _is_setting(variable: str) -> bool:
    return variable.startswith("KONDUKTOR_") and not variable.startswith("KONDUKTOR_TEST_")


@contextmanager
def cluster(wanted: bool) -> Iterator[None]:
    """Have the cluster up where it is wanted; one that was not up before goes down again.

    It is built here, where its caches are: a bench has a home of its own.
    """
    if not wanted or "KONDUKTOR_TEST_KUBECONFIG" in os.environ:
        yield
        return
    was_up = lifecycle.up(places.default_state())
    try:
        yield
    finally:
        if not was_up:
            lifecycle.down(places.default_state())


def main(names: list[str]) -> int:
    """Run benches one after the other; 1 if a budget is not kept."""
    unknown = sorted(set(names) - set(BENCHES))
    if unknown:
        print(f"no such bench: {', '.join(unknown)}; there are {', '.join(BENCHES)}", file=sys.stderr)
        return 2
    started, rows = time.monotonic(), [HEAD]
    print(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}, Python {sys.version.split()[0]}", flush=True)
    able = "KONDUKTOR_TEST_KUBECONFIG" in os.environ or places.able()
    unable = ([] if able else ON_CLUSTER) + ([] if shutil.which("chromium") else IN_BROWSER)
    wanted = names or [name for name in BENCHES if name not in unable]
    with cluster(wanted=not set(wanted).isdisjoint(ON_CLUSTER)):
        for name in wanted:
            print(f"measuring {name} ...", file=sys.stderr, flush=True)
            home = Path(tempfile.mkdtemp(prefix="jk-bench-"))
            try:
                rows += run(name, home)
            finally:
                shutil.rmtree(home, ignore_errors=True)
    widths = [max(len(row[key]) for row in rows) for key in HEAD]
    for row in rows:
        print("  ".join(row[key].ljust(width) for key, width in zip(HEAD, widths)).rstrip())
    missed = sum(row["verdict"] != "kept" for row in rows[1:])
    print(f"{len(rows) - 1 - missed} of {len(rows) - 1} budgets kept, in {time.monotonic() - started:.0f} s")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
