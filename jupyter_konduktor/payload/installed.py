"""Which installed packages the code of a job imports, as requirements at the versions that are installed here."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable
from importlib import metadata

_CARRIED = ("jupyter_konduktor", "cloudpickle")  # what every job has without an installer


def installed(modules: Iterable[str]) -> tuple[tuple[str, ...], list[str]]:
    """Find the packages of modules.

    Parameters
    ----------
    modules : iterable of str
        Topmost names; the standard library and what no package brings are passed over.

    Returns
    -------
    tuple of str, list of str
        Requirements, and one line for each package that a job cannot install.
    """
    brought_by = metadata.packages_distributions()
    names = {
        name
        for module in modules
        if module not in sys.stdlib_module_names and module not in _CARRIED
        for name in brought_by.get(module, ())
    }
    found, lacking = [], []
    for name in sorted(names, key=str.lower):
        requirement = _requirement(metadata.distribution(name))
        if requirement:
            found.append(requirement)
        else:
            lacking.append(f"{name} was installed from a folder or file of this machine; the job does not install it")
    return tuple(found), lacking


def _requirement(package: metadata.Distribution) -> str:
    """Write what installs the same; empty if it came from this machine's own disk."""
    name = package.metadata["Name"]
    origin = json.loads(package.read_text("direct_url.json") or "null")
    if origin is None:
        # No index has a version with a local part (2.4.0+cu121), and pip takes one for the version before it.
        return f"{name}=={package.version.partition('+')[0]}"
    if "vcs_info" in origin:
        return f"{name} @ {origin['vcs_info']['vcs']}+{origin['url']}@{origin['vcs_info']['commit_id']}"
    return f"{name} @ {origin['url']}" if origin["url"].startswith("http") else ""
