"""Where the local backend keeps its jobs."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

from jupyter_konduktor.backends.local.layout import Layout
from jupyter_konduktor.backends.root import NETWORK, make_private, open_directory

_ADVICE = "Set local_dir to a directory of yours on this machine."


def open_root(root: Path, network: Collection[str] = NETWORK) -> tuple[Layout, list[str]]:
    """Make the directories of a root, or of one on this machine if the root lies on a network.

    Parameters
    ----------
    root : Path
    network : collection of str
        The types of file systems that count as a network's.

    Returns
    -------
    layout : Layout
    notes : list of str
        One line for the person, if the jobs are kept somewhere else.

    Raises
    ------
    StoreError
        If the root is no directory, is another user's, or cannot be written.
    """
    root, notes = open_directory(root, advice=_ADVICE, network=network)
    layout = Layout(str(root))
    for folder in (layout.jobs, layout.objects, layout.watch):
        make_private(Path(folder), advice=_ADVICE)
    return layout, notes
