"""From a task file to the options of a task; the keys of Konduktor's own files are understood too."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

from jupyter_konduktor.config.parse import suggest
from jupyter_konduktor.errors import InvalidTaskError
from jupyter_konduktor.task import Task

OURS = {f.name for f in fields(Task)} - {"kind", "items", "resources"} | {"gpus", "nodes", "cpus", "memory"}
"""What `Task.create` takes, but for what only a cell or a function has."""

_THEIRS = {"num_nodes": "nodes", "envs": "env"}
_RESOURCES = {"accelerators": "gpus", "image_id": "image", "cpus": "cpus", "memory": "memory"}
_LABELS = {
    "kueue.x-k8s.io/queue-name": "queue",
    "kueue.x-k8s.io/priority-class": "priority",
    "maxRunDurationSeconds": "timeout",
}
_REFUSED = {
    "file_mounts": "files of this machine are not sent: build them into the image, or mount a volume",
    "serving": "jobs end, and nothing here serves",
    "experimental": "use the settings, such as pod_config",
}
"""Keys of Konduktor's that mean something we do not do; silence would let a job run without it."""

_ALL = {*OURS, *_THEIRS, "run", "resources"}


def read(path: str) -> dict[str, Any]:
    """Read a task file and give the options of its task.

    Parameters
    ----------
    path : str
        ``-`` is standard input.

    Raises
    ------
    InvalidTaskError
        Names the file, the key and what is allowed.
    """
    where = "standard input" if path == "-" else path
    try:
        text = sys.stdin.read() if path == "-" else Path(path).expanduser().read_text(encoding="utf-8")
    except OSError as error:
        raise InvalidTaskError(f"{where} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise InvalidTaskError(f"{where} is not UTF-8") from None
    found = _parsed(text, where)
    if not isinstance(found, Mapping):
        raise InvalidTaskError(f"{where} must be a table of keys to values", advice="It needs `command` or `run`.")
    try:
        return options(found)
    except InvalidTaskError as error:
        error.message = f"{where}: {error.message}"
        raise


def options(document: Mapping[Any, Any]) -> dict[str, Any]:
    """Give the options of `Task.create` that a task file's content stands for."""
    found: dict[str, Any] = {}
    says: dict[str, str] = {}

    def put(option: str, key: str, value: Any) -> None:
        if option in says:
            raise InvalidTaskError(f"{says[option]} and {key} say the same thing", advice="Leave one of them out.")
        says[option] = key
        found[option] = value

    for key, value in document.items():
        if key in _REFUSED:
            raise InvalidTaskError(f"{key} of a Konduktor task is not supported here", advice=_REFUSED[key])
        if key not in _ALL:
            raise InvalidTaskError(f"{key} is not a key of a task file{_hint(key, _ALL)}")
        if value is None:
            continue
        if key == "run":
            put("command", key, _script(value))
        elif key == "resources":
            _resources(value, put)
        else:
            put(_THEIRS.get(key, key), key, value)
    if "command" not in found:
        raise InvalidTaskError(
            "there is nothing to run", advice="Give command: [python, train.py], or run: with a script."
        )
    return found


def _parsed(text: str, where: str) -> Any:
    if where.endswith(".json"):
        try:
            return json.loads(text)
        except ValueError as error:
            raise InvalidTaskError(f"{where} is not valid JSON: {error}") from None
    import yaml

    try:
        return yaml.safe_load(text)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f":{mark.line + 1}" if mark else ""
        raise InvalidTaskError(f"{where}{line} is not valid YAML: {getattr(error, 'problem', None) or error}") from None
    except RecursionError:
        raise InvalidTaskError(f"{where} is nested too deeply") from None


def _script(value: Any) -> list[str]:
    """Give the command of a shell script, as Konduktor runs it."""
    if not isinstance(value, str) or not value.strip():
        raise InvalidTaskError("run must be a shell script, as one text")
    return ["bash", "-c", value]


def _resources(value: Any, put: Callable[[str, str, Any], None]) -> None:
    for key, inner in _table("resources", value).items():
        name = f"resources.{key}"
        if inner is None or key == "disk_size":  # Konduktor, too, does nothing with it
            continue
        if key == "labels":
            for label, text in _table(name, inner).items():
                if label not in _LABELS:
                    raise InvalidTaskError(
                        f"{name}: {label} is not used here", advice=f"Used are {', '.join(_LABELS)}."
                    )
                put(_LABELS[label], f"{name}.{label}", text)
        elif key == "job_config":
            for setting, number in _table(name, inner).items():
                if setting != "max_restarts":
                    raise InvalidTaskError(f"{name}.{setting} is not used here", advice="Used is max_restarts.")
                put("max_restarts", f"{name}.{setting}", number)
        elif key == "image_id":
            put("image", name, str(inner).removeprefix("docker:"))
        elif key == "accelerators":
            put("gpus", name, _accelerators(inner))
        elif key in _RESOURCES:
            put(_RESOURCES[key], name, inner)
        else:
            raise InvalidTaskError(
                f"{name} is not a key of a task file{_hint(key, [*_RESOURCES, 'labels', 'job_config'])}"
            )


def _accelerators(value: Any) -> Any:
    """Give ``KIND:COUNT``, which may also be written as a table of one kind."""
    if isinstance(value, Mapping):
        if len(value) != 1:
            raise InvalidTaskError('resources.accelerators must name one kind, as in "H100:8"')
        ((kind, count),) = value.items()
        return f"{kind}:{count}"
    return value


def _table(name: str, value: Any) -> Mapping[Any, Any]:
    if not isinstance(value, Mapping):
        raise InvalidTaskError(f"{name} must be a table of keys to values")
    return value


def _hint(key: Any, known: Any) -> str:
    return suggest(str(key), sorted(known)) or f"; allowed are {', '.join(sorted(known))}"
