"""What the front end can do, found out from inside the kernel, and outputs that are changed where they stand."""

from __future__ import annotations

import sys
from typing import Any

from IPython import get_ipython
from IPython.core.display_functions import publish_display_data


def in_place() -> bool:
    """Whether a display can be updated where it stands; a terminal would print it again."""
    return hasattr(get_ipython(), "kernel")


def shows_widgets() -> bool:
    """Whether a person sits before the cell that runs, so that a widget is of use.

    What runs a notebook to its end (nbclient, nbconvert, papermill, nbval) says that it takes no input. It would keep
    the widget in the file, where it is dead.
    """
    shell = get_ipython()
    if not in_place() or not hasattr(shell, "get_parent"):
        return False
    return bool(shell.get_parent().get("content", {}).get("allow_stdin"))


def hears_clicks() -> bool:
    """Whether a click is heard while a cell runs: only where the front end has made a subshell for its widgets."""
    channel = getattr(get_ipython().kernel, "shell_channel_thread", None)
    return channel is not None and bool(channel.manager.list_subshell())


def answer_where_asked(widget: Any) -> None:
    """Have a widget's messages handled by the subshell that the front end names.

    From 7.4 on ipykernel sends them to where the widget was last changed from, which is the shell that runs the cell:
    a click would wait for it. A comm whose route is None is left out of that.
    """
    widget.comm._reply_subshell_for = None


def publish(data: dict[str, Any], metadata: dict[str, Any], display_id: str | None, *, update: bool = False) -> None:
    """Send a mime bundle, after the text that was written before it."""
    sys.stdout.flush()
    transient = {"display_id": display_id} if display_id else {}
    publish_display_data(data, metadata, transient=transient, update=update)  # type: ignore[no-untyped-call]
