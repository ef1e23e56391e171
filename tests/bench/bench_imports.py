"""What `import jupyter_konduktor` and `%load_ext jupyter_konduktor` cost a kernel."""

from __future__ import annotations

import statistics
import subprocess
import sys
import time

from harness import in_turn, row

LOAD = """
import sys, time
from IPython.core.interactiveshell import InteractiveShell
shell = InteractiveShell.instance()
started = time.perf_counter()
shell.run_line_magic("load_ext", sys.argv[1])
took = time.perf_counter() - started
assert "kubernetes" not in sys.modules
print(took)
"""


def python(code: str, *args: str) -> str:
    return subprocess.run([sys.executable, "-c", code, *args], stdout=subprocess.PIPE, text=True, check=True).stdout


def load(extension: str) -> float:
    return float(python(LOAD, extension))


python("import jupyter_konduktor")  # compile once
bare, ours = in_turn(lambda: python("pass"), lambda: python("import jupyter_konduktor"), 25)
cost = statistics.median(with_import - without for with_import, without in zip(ours, bare))
floor = statistics.median(bare)
row(
    "import jupyter_konduktor",
    "50 ms",
    f"{cost * 1e3:.1f} ms ({(cost + floor) / floor:.2f} x bare)",
    f"bare python {floor * 1e3:.0f} ms",
    kept=cost <= 0.05,
)

load("jupyter_konduktor")
floors, own = [], []
for _ in range(7):
    floors.append(load("autoreload"))
    own.append(load("jupyter_konduktor"))
started = time.perf_counter()
python("from IPython.core.interactiveshell import InteractiveShell; InteractiveShell.instance()")
ipython = time.perf_counter() - started
cost = statistics.median(own)
row(
    "%load_ext jupyter_konduktor",
    "150 ms",
    f"{cost * 1e3:.1f} ms",
    f"%load_ext autoreload {statistics.median(floors) * 1e3:.0f} ms, IPython itself {ipython * 1e3:.0f} ms",
    kept=cost <= 0.15,
)
