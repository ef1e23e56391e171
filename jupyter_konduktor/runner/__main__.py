"""Runs one attempt of a job in a container: ``python RUNNER SPEC``, or imported by `BOOT` of the kubernetes backend.

RUNNER is the runner's folder or its archive. SPEC is JSON, or the name of a file with it. This module, unlike all
others, works on any Python 3, so that it can say that this one is too old.
"""

import os
import sys


def _refuse():  # type: ignore[no-untyped-def]  # annotations as the other modules have them need Python 3.7
    import base64
    import hashlib
    import json

    said = "the image has Python {} ({}), and jobs need 3.8 or later".format(sys.version.split()[0], sys.executable)  # noqa: UP032
    print("konduktor: " + said)
    text = sys.argv[-1]
    if not text.startswith("{"):
        with open(text) as file:  # noqa: PLW1514, UP015, RUF100
            text = file.read()
    error = {"ename": "VersionMismatchError", "evalue": said, "traceback": said, "refused": "version"}
    data = json.dumps(error).encode()
    value = {"v": 1, "codec": "error", "sha256": hashlib.sha256(data).hexdigest(), "size": len(data)}
    value["data"] = base64.b64encode(data).decode()
    with open(json.loads(text)["termination_file"], "w") as file:
        file.write(json.dumps({"exit": 70, "value": {"$konduktor": value}}))
    sys.exit(70)


if sys.version_info < (3, 8):  # noqa: UP036
    _refuse()

if __package__:
    from .pod import main
else:
    # Run by its path: give it a name that its modules can import each other by, and take it off the search path, where
    # its modules would stand before the user's.
    _folder = os.path.dirname(os.path.abspath(__file__))
    _package = type(sys)("_konduktor_runner")
    _package.__path__ = [_folder]
    sys.modules["_konduktor_runner"] = _package
    sys.path[:] = [entry for entry in sys.path if not entry or os.path.abspath(entry) != _folder]
    from _konduktor_runner.pod import main  # type: ignore[import-not-found,no-redef]

main(sys.argv[1:])
