"""Runs one attempt of a job in a container: ``python RUNNER_FOLDER SPEC.json``.

The stream goes to standard output, the envelope to the file that the spec names as ``termination_file``.
"""

from __future__ import annotations

import os
import sys

if __package__:
    from .pod import main
else:
    # Run as a folder: give it a name that its modules can import each other by, and take it off the search path, where
    # its modules would stand before the user's.
    _folder = os.path.dirname(os.path.abspath(__file__))
    _package = type(sys)("_konduktor_runner")
    _package.__path__ = [_folder]
    sys.modules["_konduktor_runner"] = _package
    sys.path[:] = [entry for entry in sys.path if not entry or os.path.abspath(entry) != _folder]
    from _konduktor_runner.pod import main  # type: ignore[import-not-found,no-redef]

main(sys.argv[1:])
