"""Where settings are written down: the environment, a project's file, the user's file.

Each reader gives the values as they stand there, with a source that a person can open, and judges no value.
"""

from __future__ import annotations

import difflib
import re
import tomllib
from collections.abc import Collection, Iterator, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

from jupyter_konduktor.config.parse import suggest
from jupyter_konduktor.errors import ConfigError

ENV_PREFIX = "JUPYTER_KONDUKTOR_"

_SECTION = "jupyter"
# Konduktor's own keys at the top level of its file: known, so no typo of ours, and but for one not read.
_FOREIGN = (
    *("allowed_clouds", "kubernetes", "jobs", "logs", "hub", "tailscale", "ssh", "apt", "serving", "nvidia_gpus"),
    "admin_policy",
)
_KUBERNETES = {"allowed_contexts": "context", "pod_config": "pod_config"}
_KUBERNETES_UNUSED = ("jobset_config", "custom_metadata", "provision_timeout", "autoscaler", "remote_identity")


class Raw(NamedTuple):
    """A value as it was written.

    Attributes
    ----------
    value : object
    source : str
        Where, for a person: ``project /home/me/work/pyproject.toml:12``.
    folder : Path or None
        Where relative paths in it begin.
    """

    value: Any
    source: str
    folder: Path | None = None


Layer = dict[str, Raw]


def environment(environ: Mapping[str, str], known: Collection[str]) -> Layer:
    """Read the variables with our prefix; an empty one counts as not set."""
    layer: Layer = {}
    for variable, value in environ.items():
        if variable.startswith(ENV_PREFIX) and value:
            name = variable.removeprefix(ENV_PREFIX).lower()
            if name not in known:
                meant = suggest(variable, [ENV_PREFIX + key.upper() for key in known])
                raise ConfigError(f"{variable} in the environment is not a setting{meant}")
            layer[name] = Raw(value, f"environment {variable}")
    return layer


def project(start: Path) -> Layer:
    """Read ``[tool.konduktor]`` of the nearest ``pyproject.toml``, from a folder upwards."""
    for folder in (start, *start.parents):
        if (folder / "pyproject.toml").is_file():
            return file(folder / "pyproject.toml", ())
    return {}


def user(environ: Mapping[str, str], known: Collection[str]) -> Layer:
    """Read the user's file: the one that ``$KONDUKTOR_CONFIG`` names, else ``~/.konduktor/config.yaml``."""
    named = environ.get("KONDUKTOR_CONFIG")
    path = Path(named or "~/.konduktor/config.yaml").expanduser()
    return file(path, known) if named or path.exists() else {}


def file(path: Path, known: Collection[str]) -> Layer:
    """Read one file: ``.toml`` as a project's, everything else as the user's YAML."""
    try:
        stat = path.stat()
        return _read(path, stat.st_mtime_ns, stat.st_size, tuple(known))
    except FileNotFoundError:
        raise ConfigError(f"there is no settings file {path}") from None
    except OSError as error:
        raise ConfigError(f"the settings file {path} cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"the settings file {path} is not UTF-8: {error.reason} at byte {error.start}") from error


@lru_cache(maxsize=16)
def _read(path: Path, mtime_ns: int, length: int, known: tuple[str, ...]) -> Layer:
    """Parse a file; the time and the length are there so that a file that changed is read again."""
    content = path.read_text(encoding="utf-8")
    return _read_toml(path, content) if path.suffix == ".toml" else _read_yaml(path, content, known)


def _read_toml(path: Path, content: str) -> Layer:
    try:
        document = tomllib.loads(content)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{path} is not valid TOML: {error}") from None
    table = document.get("tool", {}).get("konduktor", {})
    if not isinstance(table, dict):
        raise ConfigError(f"tool.konduktor in {path} must be a table")
    lines = dict(_toml_lines(content))
    return {name: Raw(value, _at(f"project {path}", lines.get(name)), path.parent) for name, value in table.items()}


def _toml_lines(content: str) -> Iterator[tuple[str, int]]:
    """Find the line of each key of ``[tool.konduktor]``; tomllib does not tell."""
    section = ""
    for number, line in enumerate(content.splitlines(), 1):
        header = re.match(r"\s*\[\s*([\w.-]+)\s*\]", line)
        assignment = re.match(r"\s*([\w-]+)[\w.\s-]*=", line)
        if header:
            section = header[1]
            if section.startswith("tool.konduktor."):
                yield section.split(".")[2], number
        elif assignment and section == "tool.konduktor":
            yield assignment[1], number


def _read_yaml(path: Path, content: str, known: tuple[str, ...]) -> Layer:
    import yaml  # 10 ms, and most users have no such file

    who = f"user {path}"
    loader = yaml.SafeLoader(content)
    try:
        node = loader.get_single_node()
        document = loader.construct_document(node) if node is not None else None
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f"{path}:{mark.line + 1}" if mark else str(path)
        raise ConfigError(f"{where} is not valid YAML: {getattr(error, 'problem', None) or error}") from None
    finally:
        loader.dispose()
    if document is None:
        return {}
    if not isinstance(document, dict):
        raise ConfigError(f"{path} must be a mapping of keys to values")
    lines = _yaml_lines(node)
    for name in document:
        source = _at(who, lines.get((name,)))
        if name in known:
            raise ConfigError(f"{name} ({source}) belongs into the section `{_SECTION}:`")
        if name != _SECTION and name not in _FOREIGN:
            raise ConfigError(f"{name} ({source}) is not a setting{suggest(str(name), (_SECTION, *_FOREIGN))}")
    layer = _kubernetes(_section(document, "kubernetes", path), path, lines)
    for name, value in _section(document, _SECTION, path).items():
        layer[name] = Raw(value, _at(who, lines.get((_SECTION, name))), path.parent)
    return layer


def _section(document: Mapping[str, Any], name: str, path: Path) -> Mapping[str, Any]:
    section = document.get(name)
    if section is not None and not isinstance(section, dict):
        raise ConfigError(f"{name} in {path} must be a mapping of keys to values")
    return section or {}


def _kubernetes(section: Mapping[str, Any], path: Path, lines: Mapping[tuple[str, ...], int]) -> Layer:
    """Take the two keys that we use from Konduktor's own section.

    Its other keys are its own business, but a misspelling of these two would silently be another cluster.
    """
    layer: Layer = {}
    for name, value in section.items():
        source = f"{_at(f'user {path}', lines.get(('kubernetes', name)))} kubernetes.{name}"
        if name == "allowed_contexts":
            if not isinstance(value, list) or len(value) > 1:
                raise ConfigError(f"allowed_contexts ({source}) must be a list with one context")
            value = value[0] if value else None
        elif name != "pod_config":
            if name not in _KUBERNETES_UNUSED and difflib.get_close_matches(str(name), _KUBERNETES, cutoff=0.8):
                raise ConfigError(f"{name} ({source}) is not a setting{suggest(str(name), _KUBERNETES)}")
            continue
        layer[_KUBERNETES[name]] = Raw(value, source, path.parent)
    return layer


def _yaml_lines(node: Any, depth: int = 2) -> dict[tuple[str, ...], int]:
    """Give the line of each key, down to the second level."""
    lines: dict[tuple[str, ...], int] = {}
    for key, value in node.value:
        lines[(key.value,)] = key.start_mark.line + 1
        if depth > 1 and value.id == "mapping":
            lines.update({(key.value, *inner): line for inner, line in _yaml_lines(value, depth - 1).items()})
    return lines


def _at(who: str, line: int | None) -> str:
    return f"{who}:{line}" if line else who
