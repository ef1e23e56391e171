"""Cells of a real kernel as jobs on a real cluster."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator

import pytest

from tests.kernel.conftest import Kernel, Shown
from tests.testbed.cluster import Cluster, Namespace

CORES = 0.5


@pytest.fixture(scope="module")
def place(cluster: Cluster) -> Iterator[Namespace]:
    with cluster.new_namespace({"cpu": str(CORES), "memory": "2Gi", "gpu": 1}) as made:
        yield made


@pytest.fixture(scope="module")
def kernel(place: Namespace, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kernel]:
    made = Kernel(
        tmp_path_factory.mktemp("work"),
        KUBECONFIG=str(place.kubeconfig),
        JUPYTER_DATA_DIR=str(tmp_path_factory.mktemp("data")),
        JUPYTER_KONDUKTOR_BACKEND="kubernetes",
        JUPYTER_KONDUKTOR_IMAGE=place.cluster.image,
        JUPYTER_KONDUKTOR_CPUS="100m",
        JUPYTER_KONDUKTOR_GRACE="1",
    )
    yield made
    made.close()


def job_of(shown: Shown) -> str:
    """The name of the job that our lines speak of."""
    found = re.search(r"konduktor: (?:interrupted; )?([a-z]+-[a-z0-9]{5})", shown.text)
    assert found, shown.text
    return found[1]


def test_the_first_job_does_not_wait_for_imports(kernel: Kernel) -> None:
    """Loading the extension imports no client; with a cluster set, that is done while the user goes on."""
    end = time.monotonic() + 60
    while kernel.value("'kubernetes.client' in __import__('sys').modules") != "True":
        assert time.monotonic() < end
        time.sleep(0.1)


def test_output_comes_as_it_is_written_and_in_order(kernel: Kernel) -> None:
    seen: list[float] = []

    def first_line(shown: Shown) -> bool:
        if "first" in shown.stream():
            seen.append(time.monotonic())
        return bool(seen)

    shown = kernel.run(
        """
%%konduktor --name ordered
import time
print("first")
display({"text/plain": "a picture"}, raw=True)
time.sleep(2)
print("last")
answer = 42
""",
        during=first_line,
    )
    assert shown.ok, shown.text
    assert time.monotonic() - seen[0] > 0.5  # what is shown at the end comes together
    lines = [line for line in shown.text.splitlines() if line and not line.startswith("konduktor:")]
    assert lines == ["first", "a picture", "last"]
    assert re.search(r"konduktor: ordered-\w+ succeeded in \d+ s -> answer$", shown.text), shown.text
    assert kernel.value("answer") == "42"


def test_a_cell_may_write_where_it_runs(kernel: Kernel) -> None:
    """The image's own directory is `/` here, and not for the user that the pod runs as."""
    shown = kernel.run(
        """
%%konduktor
import os
size = open("x.txt", "w").write("abc")
here = os.path.abspath("x.txt"), os.getuid()
"""
    )
    assert shown.ok, shown.text
    assert kernel.value("here") == "('/konduktor/work/x.txt', 1000)"


def test_an_exception_has_the_lines_of_the_cell(kernel: Kernel) -> None:
    shown = kernel.run(
        """
%%konduktor
def half(n):
    return n / 0

half(1)
"""
    )
    number = shown.reply["execution_count"]
    assert not shown.ok
    assert f"Cell In[{number}], line 5" in shown.error
    assert f"Cell In[{number}], line 3, in half(n)" in shown.error
    assert "ZeroDivisionError: division by zero" in shown.error
    assert "ZeroDivisionError" not in shown.stream()  # it is told once


def test_the_status_line_says_why_a_job_waits(kernel: Kernel, place: Namespace) -> None:
    kernel.run(
        f"""
import time
import jupyter_konduktor as jk
holder = jk.launch(jk.Task.create(name="holder", command=["sleep", "600"], cpus={CORES}))
while holder.state != "Running":
    time.sleep(0.1)
"""
    )
    holder = kernel.value("str(holder)").strip("'")
    lines: list[str] = []

    def waiting(shown: Shown) -> bool:
        lines.extend(line for line in shown.text.splitlines() if "next in" in line and "waits for capacity" in line)
        if lines:
            place.api.delete(f"{place.jobsets}/{holder}")
        return bool(lines)

    shown = kernel.run("%%konduktor --name turn\nturn = 1", during=waiting)
    assert shown.ok, shown.text
    assert re.fullmatch(
        r"konduktor: turn-\w+ Queued [\d.]+ s, next in user-queue: "
        r"waits for capacity: 0\.1 more cpu are needed in flavor default",
        lines[0],
    ), lines
    assert kernel.value("turn") == "1"
    assert "Queued" not in shown.text.splitlines()[-1]


def test_a_job_outlives_an_interrupt_and_the_kernel(kernel: Kernel) -> None:
    """Attaching in the next kernel shows its whole log, once, and brings its value."""

    def interrupt(shown: Shown) -> bool:
        if "step 2\n" in shown.stream():
            kernel.manager.interrupt_kernel()
            return True
        return False

    shown = kernel.run(
        """
%%konduktor --name lasting --out steps
import time
steps = 0
for steps in range(15):
    print("step", steps, flush=True)
    time.sleep(0.3)
""",
        during=interrupt,
    )
    assert shown.reply["ename"] == "KeyboardInterrupt"
    name = job_of(shown)
    assert f"{name} goes on" in shown.stream("stderr")
    kernel.restart()
    attached = kernel.run(f"%konduktor attach {name}")
    assert attached.ok, attached.text
    assert attached.stream() == "".join(f"step {number}\n" for number in range(15))
    assert kernel.value("steps") == "14"
