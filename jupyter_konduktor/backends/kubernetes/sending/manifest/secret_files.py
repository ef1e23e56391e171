"""Secrets as files: those that a task names, and the credentials of clouds that the settings name.

What stands in a pod is where a Secret is and where its files go; what is in it is the kubelet's and the pod's alone.
"""

from __future__ import annotations

import posixpath
from collections.abc import Mapping
from typing import Any

from jupyter_konduktor.backends.kubernetes import words
from jupyter_konduktor.errors import ConfigError, InvalidTaskError

CREDENTIALS = {"aws": ".aws", "gcloud": ".config/gcloud"}
"""Where the clouds' own tools look for credentials, below the home directory."""

_MODE = 0o440  # for the job's group: the files are root's, and the job is not
_OWN = (words.OUTPUT_DIR, words.RUNNER_DIR, words.PAYLOAD_DIR, "/proc", "/sys")

Part = dict[str, Any]


def split(secrets: Mapping[str, str]) -> tuple[dict[str, str], dict[str, str]]:
    """Tell the secrets that become environment variables from those that become files."""
    files = {name: target for name, target in secrets.items() if not name.isidentifier()}
    return {name: target for name, target in secrets.items() if name not in files}, files


def volumes(files: Mapping[str, str], credentials: Mapping[str, Any]) -> tuple[list[Part], list[Part]]:
    """Make the volumes and their mounts.

    Parameters
    ----------
    files : mapping of str to str
        Path to ``secret/key``; ``~`` is the job's home.
    credentials : mapping
        The setting of this name: a Secret for each cloud, whose keys are the names of files.

    Raises
    ------
    InvalidTaskError, ConfigError
        For a path that is the job's own, and a cloud that is not known.
    """
    made: list[Part] = []
    mounts: list[Part] = []
    for index, (path, target) in enumerate(files.items()):
        secret, _, key = target.partition("/")
        place = _place(path)
        made.append(_volume(f"secret-{index}", secret, items=[{"key": key, "path": "file"}]))
        mounts.append({"name": f"secret-{index}", "mountPath": place, "subPath": "file", "readOnly": True})
    for cloud, secret in credentials.items():
        if cloud not in CREDENTIALS or not isinstance(secret, str):
            raise ConfigError(
                f"credentials: {cloud} = {secret!r} is not understood",
                advice=f'It is a table of {" and ".join(CREDENTIALS)} to the name of a Secret: {{aws = "my-keys"}}.',
            )
        made.append(_volume(f"credentials-{cloud}", secret))
        place = posixpath.join(words.WORK_DIR, CREDENTIALS[cloud])
        mounts.append({"name": f"credentials-{cloud}", "mountPath": place, "readOnly": True})
    return made, mounts


def _volume(name: str, secret: str, **more: Any) -> Part:
    return {"name": name, "secret": {"secretName": secret, "defaultMode": _MODE, **more}}


def _place(path: str) -> str:
    place = posixpath.normpath(posixpath.join(words.WORK_DIR, path[2:]) if path.startswith("~/") else path)
    if place in ("/", words.WORK_DIR) or any(place == own or place.startswith(own + "/") for own in _OWN):
        raise InvalidTaskError(
            f"secrets: {path} is not allowed; {place} is the job's own",
            advice="Put the file elsewhere, as in /run/secrets/NAME=secret/key.",
            field="secrets",
            value=path,
        )
    return place
