"""The widget below a cell, as the messages of a real kernel: when it comes, how it is clicked, what is left of it."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

WIDGET = "application/vnd.jupyter.widget-view+json"


def widgets(shown: Any) -> list[dict[str, Any]]:
    return [content["data"] for kind, content in shown.outputs if WIDGET in content.get("data", {})]


def opened(shown: Any, model: str) -> dict[str, dict[str, Any]]:
    """Find the widgets of a kind that a cell has made, with their values, by id."""
    states = {c["comm_id"]: c["data"]["state"] for kind, c in shown.comms if kind == "comm_open"}
    return {comm: state for comm, state in states.items() if state["_model_name"] == model}


def test_a_cell_that_takes_long_has_a_widget_and_leaves_text(kernel: Any) -> None:
    seen: list[Any] = []

    def during(shown: Any) -> bool:
        seen[:] = [content["data"] for kind, content in shown.outputs if kind == "display_data"]
        return bool(widgets(shown))

    shown = kernel.run("%%konduktor --name slow\nimport time\ntime.sleep(2.5)\nx = 1", person=True, during=during)
    saved, widget = seen
    assert WIDGET not in saved
    assert "submitted" in saved["text/plain"]
    assert "%konduktor attach slow-" in saved["text/plain"]
    assert widget["text/plain"] == ""
    assert "jupyterlab_widgets" in widget["text/html"], "for a JupyterLab that cannot show widgets"
    assert widgets(shown) == []
    (left,) = shown.displays
    assert left["text/plain"].startswith("konduktor: slow-")
    assert left["text/plain"].endswith(" -> x")
    assert "Running" in left["text/html"]  # the timeline
    made = [content["comm_id"] for kind, content in shown.comms if kind == "comm_open"]
    ended = [content["comm_id"] for kind, content in shown.comms if kind == "comm_close"]
    assert sorted(made) == sorted(ended)


def test_a_quick_cell_has_none(kernel: Any) -> None:
    shown = kernel.run("%%konduktor\nx = 2", person=True)
    assert shown.ok
    assert shown.comms == []
    assert list(shown.displays[0]) == ["text/plain"]


def test_what_runs_a_notebook_to_its_end_gets_text(kernel: Any) -> None:
    shown = kernel.run("%%konduktor\nimport time\ntime.sleep(3)")
    assert shown.ok
    assert shown.comms == []
    shown = kernel.run("%%konduktor --detach\nx = 1")
    assert shown.comms == []
    assert [kind for kind, _ in shown.outputs] == ["execute_result"]


def test_a_quiet_cell_has_none(kernel: Any) -> None:
    shown = kernel.run("%%konduktor --quiet\nimport time\ntime.sleep(2)", person=True)
    assert shown.comms == []
    assert shown.outputs == []


def test_a_click_is_heard_while_the_cell_waits(kernel: Any) -> None:
    """The message names a subshell, as JupyterLab's do; the shell itself runs the cell."""
    client = kernel.client
    client.control_channel.send(client.session.msg("create_subshell_request"))
    subshell = client.get_control_msg(timeout=10)["content"]["subshell_id"]

    def during(shown: Any) -> bool:
        if not widgets(shown):
            return False
        buttons = opened(shown, "ButtonModel")
        comm = next(comm for comm, state in buttons.items() if state["description"] == "Cancel")
        content = {"comm_id": comm, "data": {"method": "custom", "content": {"event": "click"}}}
        message = client.session.msg("comm_msg", content)
        message["header"]["subshell_id"] = subshell
        time.sleep(1)  # it has just been made, and rests
        client.shell_channel.send(message)
        return True

    started = time.monotonic()
    shown = kernel.run("%%konduktor --name long\nimport time\ntime.sleep(50)", person=True, during=during)
    client.control_channel.send(client.session.msg("delete_subshell_request", {"subshell_id": subshell}))
    assert time.monotonic() - started < 20
    assert "JobCancelledError" in shown.error
    assert widgets(shown) == []
    assert any("Cancelling…" in str(content) for kind, content in shown.comms if kind == "comm_msg")


def test_an_interrupt_leaves_what_the_job_was_and_how_to_attach(kernel: Any) -> None:
    def during(shown: Any) -> bool:
        if widgets(shown):
            kernel.manager.interrupt_kernel()
        return bool(widgets(shown))

    shown = kernel.run("%%konduktor --name left\nimport time\ntime.sleep(50)", person=True, during=during)
    assert "KeyboardInterrupt" in shown.error
    assert widgets(shown) == []
    assert "was not waited for any longer" in shown.text
    name = shown.displays[0]["text/html"].partition("%konduktor attach ")[2].partition("<")[0]
    assert kernel.run(f"%konduktor cancel {name}").ok


def test_a_detached_job_is_live_until_it_ends(kernel: Any) -> None:
    shown = kernel.run("%%konduktor --name alone --detach\nimport time\ntime.sleep(3)\nprint('the end')", person=True)
    assert len(widgets(shown)) == 1
    assert kernel.value("str(_)[:5]") == "'alone'"
    left = until_left(kernel, shown)
    assert "Succeeded" in left["text/plain"]
    assert "Succeeded" in left["text/html"]


def test_a_map_has_a_field_of_its_items(kernel: Any, tmp_path: Path) -> None:
    gate = tmp_path / "go"
    wait = f"    while not os.path.exists({str(gate)!r}):\n        time.sleep(0.1)"
    kernel.run(
        f"import os, time\nfrom jupyter_konduktor import remote\n@remote\ndef half(x):\n{wait}\n    return 1 / x"
    )
    # The cell goes on for as long as it takes the widget to say where its job stands.
    shown = kernel.run("group = half.map([0, 1, 2])\ndisplay(group)\ntime.sleep(3)", person=True)
    gate.touch()
    assert any("3 to come" in str(content) for kind, content in shown.comms if kind == "comm_msg")
    left = until_left(kernel, shown)
    assert "2 done, 1 failed (0), 0 to come" in left["text/plain"]


def test_what_the_job_clears_away_is_shown_again(kernel: Any) -> None:
    code = "%%konduktor\nimport time\nfrom IPython.display import clear_output"
    code += "\ntime.sleep(2)\nclear_output()\ntime.sleep(2)"
    count: list[int] = []
    shown = kernel.run(code, person=True, during=lambda shown: count.append(len(widgets(shown))) or False)
    changes = [now for now, before in zip(count[1:], count) if now != before]
    assert changes == [1, 0, 1, 0], changes
    assert len(shown.displays) == 1


def test_unloading_the_extension_ends_all_that_is_shown(kernel: Any) -> None:
    shown = kernel.run("%%konduktor --name kept --detach\nimport time\ntime.sleep(30)", person=True)
    name = kernel.value("str(_)").strip("'")
    unloaded = kernel.run("%unload_ext jupyter_konduktor")
    kernel.run("%load_ext jupyter_konduktor")
    made = {content["comm_id"] for kind, content in shown.comms if kind == "comm_open"}
    assert made <= {content["comm_id"] for kind, content in unloaded.comms if kind == "comm_close"}
    assert kernel.run(f"%konduktor cancel {name}").ok


def test_a_map_that_is_attached_to_has_its_field_too(kernel: Any) -> None:
    kernel.run("from jupyter_konduktor import remote\nimport time\ngroup = remote(time.sleep).map([1, 1, 1])")
    name = kernel.value("group.name").strip("'")
    shown = kernel.run(f"%konduktor attach {name}", person=True)
    assert any("to come" in str(content) for kind, content in shown.comms if kind == "comm_msg")
    assert widgets(shown) == []
    assert "succeeded in" in shown.displays[0]["text/plain"]


def until_left(kernel: Any, shown: Any, seconds: float = 30) -> dict[str, Any]:
    """Take updates that come after a cell has ended, until no widget is left; give what stands there."""
    end = time.monotonic() + seconds
    while widgets(shown):
        message = kernel.client.get_iopub_msg(timeout=max(0.1, end - time.monotonic()))
        shown.add(message["msg_type"], message["content"])
    (left,) = shown.displays
    return dict(left)
