"""What the widget sends and costs while a job changes a hundred times a second, and what the field of a map costs."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Any

import ipywidgets
from harness import row, seconds

import jupyter_konduktor as jk
from jupyter_konduktor.widgets import front_end, shown
from jupyter_konduktor.widgets.group_view import grid, legend

SECONDS, OFFERED, ITEMS = 5, 100, 1000
front_end.shows_widgets = lambda: True
front_end.hears_clicks = lambda: True
front_end.publish = lambda *args, **options: None


def asleep() -> None:
    import time

    time.sleep(600)


sent: list[float] = []
send = ipywidgets.Widget._send


def counted(self: Any, msg: Any, buffers: Any = None) -> None:
    sent.append(time.monotonic())
    send(self, msg, buffers)


ipywidgets.Widget._send = counted
job = jk.remote(asleep).submit()
while job.state != jk.JobState.RUNNING:
    time.sleep(0.05)
live = shown.show(job)
assert live is not None
time.sleep(1)
sent.clear()
spent, record = time.process_time(), job.record
for number in range(SECONDS * OFFERED):
    message = f"at step {number}"
    changed = replace(record.history[-1], message=message)
    history = (*record.history[:-1], changed)
    job._tracker._on_event(replace(record, history=history, message=message, version=record.version + number + 1))
    time.sleep(1 / OFFERED)
spent = time.process_time() - spent
busiest = max(sum(start <= at < start + 1 for at in sent) for start in sent)
live.withdraw()
job.cancel()

plain = ipywidgets.HTML()
values = iter(f"<b>{number}</b>" for number in range(1000))
floor = seconds(lambda: [plain.set_trait("value", value) for value in values]) / 1000
row(
    f"widget, {OFFERED} updates a second offered",
    "10 messages a second",
    f"{busiest} in the busiest second, {100 * spent / SECONDS:.1f} % of a core",
    f"a value of a bare ipywidgets.HTML {floor * 1e6:.0f} us",
    kept=0 < busiest <= 10,
)

items = [(None, True, False)[number % 3] for number in range(ITEMS)]
took = min(seconds(lambda: (grid(items), legend(items))) for _ in range(20))
size = len(grid(items)) + len(legend(items))
texts = iter([f"{number}{'x' * size}" for number in range(20)])
floor = min(seconds(lambda: plain.set_trait("value", next(texts))) for _ in range(20))
row(
    f"field of a map of {ITEMS:,} items",
    "5 ms, 32 KB",
    f"{took * 1e3:.2f} ms, {size / 1e3:.0f} KB",
    f"to send as much {floor * 1e3:.2f} ms",
    kept=took <= 0.005 and size <= 32_000,
)
