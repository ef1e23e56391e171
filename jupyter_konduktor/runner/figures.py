"""The matplotlib backend of a job: figures are drawn by Agg, and shown as PNG in the job's output."""

from __future__ import annotations

import io
from typing import Any

from matplotlib._pylab_helpers import Gcf
from matplotlib.backend_bases import FigureManagerBase
from matplotlib.backends.backend_agg import FigureCanvasAgg

from .display import display


def png(figure: Any) -> bytes | None:
    """Draw a figure as a notebook does, its margins cut to what is drawn; None for an empty one."""
    if not figure.axes and not getattr(figure, "lines", None) and not getattr(figure, "subfigs", None):
        return None
    buffer = io.BytesIO()
    if figure.canvas is None:
        FigureCanvasAgg(figure)
    figure.canvas.print_figure(
        buffer, format="png", bbox_inches="tight", dpi=figure.dpi, facecolor=figure.get_facecolor()
    )
    return buffer.getvalue()


def show(*args: Any, **kwargs: Any) -> None:
    """Show all open figures and close them (``plt.show()``)."""
    managers = Gcf.get_all_fig_managers()
    try:
        for manager in managers:
            display(manager.canvas.figure)
    finally:
        Gcf.destroy_all()


def flush() -> None:
    """Show what is still open when a cell ends."""
    if Gcf.get_all_fig_managers():
        show()


class FigureManager(FigureManagerBase):
    """A figure that pyplot knows of."""

    def show(self) -> None:
        """Show this figure now; it stays open (``fig.show()``)."""
        display(self.canvas.figure)

    @classmethod
    def pyplot_show(cls, *args: Any, **kwargs: Any) -> None:
        """Show all open figures and close them."""
        show()


class FigureCanvas(FigureCanvasAgg):
    """The canvas of a job's figures."""

    manager_class = FigureManager
