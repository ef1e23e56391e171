"""The cloudpickle that travels with the runner, for images that have none, or another one than the payload needs."""

from __future__ import annotations

import sys

TYPE_CHECKING = False
if TYPE_CHECKING:  # importing typing costs a job 3 ms
    from typing import Any

_PACKAGE = "cloudpickle"


class Finder:
    """Finds the package in the runner's archive, which is on no search path.

    Parameters
    ----------
    importer : zipimport.zipimporter
    """

    def __init__(self, importer: Any) -> None:
        self.importer = importer

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> Any:
        """Find the package itself; its modules are found by its path."""
        if name != _PACKAGE:
            return None
        if hasattr(self.importer, "find_spec"):
            return self.importer.find_spec(name)
        from importlib.util import spec_from_loader  # before Python 3.10

        return spec_from_loader(name, self.importer) if self.importer.find_module(name) else None


def offer(*, first: bool) -> None:
    """Have the archive's cloudpickle found, before or after the one that is installed here.

    Where the runner runs from a folder there is no archive, and the installed one is the only one.
    """
    importer: Any = globals().get("__loader__")
    if hasattr(importer, "archive"):
        sys.meta_path.insert(0 if first else len(sys.meta_path), Finder(importer))


def used() -> bool:
    """Whether the cloudpickle that was imported is the archive's."""
    archive = getattr(globals().get("__loader__"), "archive", None)
    return (
        archive is not None
        and getattr(getattr(sys.modules.get(_PACKAGE), "__loader__", None), "archive", None) == archive
    )
