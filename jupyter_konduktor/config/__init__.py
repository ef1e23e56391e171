"""Settings, and where each of them came from.

A setting is looked up in this order, and the first place that has it wins:

1. the call: an option of ``%%konduktor`` or of ``@remote``, then the file named by ``--config``;
2. ``%config KonduktorMagics.KEY = ...`` in this kernel;
3. the environment: ``JUPYTER_KONDUKTOR_<KEY>``, in capitals; an empty variable counts as not set;
4. the project: ``[tool.konduktor]`` in the nearest ``pyproject.toml``, from the working directory upwards;
5. the user: the section ``jupyter:`` of ``~/.konduktor/config.yaml``, or of the file that ``$KONDUKTOR_CONFIG`` names;
6. the default.

The user's file belongs to Konduktor, whose own client reads it too, so our keys keep to one section of it. Of
Konduktor's own keys two are used: ``kubernetes.allowed_contexts`` and ``kubernetes.pod_config``.

Files are read when settings are asked for, never at import.
"""

from __future__ import annotations

import json
import os
import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from jupyter_konduktor import requirements as _requirements
from jupyter_konduktor.config import parse, places
from jupyter_konduktor.config.parse import suggest
from jupyter_konduktor.config.places import Raw
from jupyter_konduktor.errors import ConfigError, InvalidTaskError
from jupyter_konduktor.spelling import parse_timeout

CALL = "call"
DEFAULT = "default"


def _key(default: Any, parser: Callable[[object], Any], text: str, *, adds: bool = False) -> Any:
    metadata = {"parse": parser, "help": text, "adds": adds}
    if isinstance(default, dict):
        return field(default_factory=dict, metadata=metadata)
    return field(default=default, metadata=metadata)


def _task_key(option: str, default: Any, text: str) -> Any:
    return _key(default, parse.of_task(option), text)


@dataclass(frozen=True, slots=True)
class Settings:
    """All settings as they stand for one call; one line below declares everything about a key.

    What a task takes (``gpus``, ``memory``, ``timeout``, ...) is kept as it was written, for `Task.create`; other sizes
    are in bytes and other times in seconds. ``env``, ``volumes`` and ``allow_secrets`` add up over all places, the rest
    replace.

    Attributes
    ----------
    sources : mapping of str to str
        Where each value came from; a key that is not in it has its default.
    """

    backend: str = _key("local", parse.choice("local", "kubernetes"), "where jobs run: local or kubernetes")
    image: str | None = _task_key("image", None, "container image of the job")
    queue: str | None = _task_key("queue", None, "queue (a Kueue LocalQueue) the job waits in")
    priority: str | None = _task_key("priority", None, "priority class, as in low-priority")
    topology: str | Sequence[str] | None = _task_key(
        "topology", None, "how the nodes of a job lie: required:LABEL, preferred:LABEL, unconstrained, exclusive:LABEL"
    )
    gpus: str | int | None = _task_key("gpus", None, "GPUs for each node: H100:8, or 8")
    cpus: str | float | None = _task_key("cpus", None, "CPU cores for each node: 8, 0.5, 500m")
    memory: str | float | None = _task_key("memory", None, "memory for each node: 16Gi; a plain number is in GiB")
    nodes: str | int | None = _task_key("nodes", None, "nodes (pods, or processes on the local backend)")
    timeout: str | float | None = _task_key("timeout", None, "longest time the job may run: 90, 90s, 2h")
    max_restarts: str | int | None = _task_key("max_restarts", None, "how often the job starts again after it failed")
    env: Mapping[str, str] = _key({}, parse.environment, "environment variables of the job: NAME=VALUE", adds=True)
    packages: str | Sequence[str] | None = _task_key(
        "packages", None, "packages that are installed in the job; sync is what the code imports"
    )
    requirements: str | None = _key(None, parse.path, "file of packages that are installed in the job")
    setup: str | Sequence[str] | None = _task_key("setup", None, "shell commands that run in the job before its code")
    volumes: Mapping[str, str] = _key({}, parse.volumes, "volumes to mount in every job: CLAIM:/PATH", adds=True)
    package_index: tuple[str, ...] = _key(
        (), _requirements.parse_index, "package indexes the job installs from, the main one first; none: only wheels"
    )
    package_wheels: tuple[str, ...] = _key(
        (), _requirements.parse_wheels, "folders where the job runs, or pages, with wheels to install from"
    )
    package_cache: str | None = _key(None, parse.text, "folder where the job runs in which its installer keeps wheels")
    local_dir: str | None = _key(None, parse.path, "where the local backend keeps its jobs")
    local_gpus: str = _key("error", parse.choice("error", "ignore"), "GPUs that this machine lacks: error or ignore")
    on_interrupt: str = _key("keep", parse.choice("keep", "cancel"), "what an interrupt of the wait does to the job")
    unpickle: str = _key(
        "trusted", parse.choice("trusted", "never"), "load pickled results of jobs sent from here, or never"
    )
    warn_input: int = _key(100 << 20, parse.size, "an input variable beyond this size is a warning")
    warn_indirect: int = _key(1 << 20, parse.size, "a variable reached only through a function warns beyond this size")
    max_indirect: int = _key(
        30 << 20, parse.size, "a variable reached only through a function is refused beyond this size"
    )
    max_output: int = _key(1 << 30, parse.size, "an output that was not named with --out is left out beyond this size")
    max_workdir: int = _key(1 << 30, parse.size, "a folder that is sent with --workdir is refused beyond this size")
    allow_secrets: tuple[str, ...] = _key((), parse.names, "environment variables whose value may be sent", adds=True)
    keep_days: float = _key(7.0, parse.positive, "days that a finished local job is kept")
    keep_bytes: int = _key(10 * 10**9, parse.size, "size that all finished local jobs may have")
    grace: float = _key(10.0, partial(parse_timeout, field="grace"), "time a job has to end after it was told to")
    quiet: bool = _key(False, parse.flag, "no status line and no final line under the cell")
    context: str | None = _key(None, parse.text, "context of the kubeconfig")
    namespace: str | None = _key(None, parse.text, "namespace on the cluster")
    kubeconfig: str | None = _key(None, parse.path, "kubeconfig file")
    store: str | None = _key(
        None, parse.text, "where large inputs and results are kept: s3://..., gs://..., az://..., a folder"
    )
    accelerators: Mapping[str, Any] = _key(
        {}, parse.mapping, "resource key, nodeSelector and tolerations for each kind of GPU"
    )
    credentials: Mapping[str, Any] = _key(
        {}, parse.mapping, "Secrets with the files of a cloud's credentials: aws, gcloud"
    )
    pod_config: Mapping[str, Any] = _key({}, parse.mapping, "pod fields merged into every job on the cluster")
    stuck_after: float = _key(
        300.0, partial(parse_timeout, field="stuck_after"), "time without a start after which a job counts as stuck"
    )
    on_stuck: str = _key("keep", parse.choice("keep", "cancel"), "what happens to a job that is stuck")
    sources: Mapping[str, str] = field(default_factory=dict, repr=False, compare=False)

    @classmethod
    def load(
        cls,
        call: Mapping[str, Any] | None = None,
        *,
        file: str | os.PathLike[str] | None = None,
        environ: Mapping[str, str] | None = None,
        cwd: str | os.PathLike[str] | None = None,
    ) -> Settings:
        """Read every place and give the settings that hold now.

        Parameters
        ----------
        call : mapping, optional
            What the call itself says; None as a value means that it says nothing.
        file : path, optional
            One more file, ``.toml`` as a project's or ``.yaml`` as the user's, that comes right after the call.
        environ : mapping, optional
            In place of ``os.environ``.
        cwd : path, optional
            Where the search for ``pyproject.toml`` begins, in place of the working directory.

        Raises
        ------
        ConfigError
            For a key that is unknown or a value that is not allowed, with file and line where there are any.
        """
        environ = os.environ if environ is None else environ
        layers = [
            {name: Raw(value, CALL) for name, value in (call or {}).items()},
            places.file(Path(file).expanduser(), KEYS) if file is not None else {},
            _session,
            places.environment(environ, KEYS),
            places.project(Path.cwd() if cwd is None else Path(cwd)),
            places.user(environ, KEYS),
        ]
        values: dict[str, Any] = {}
        sources: dict[str, str] = {}
        for layer in reversed(layers):
            for name, raw in layer.items():
                if raw.value is None and name in KEYS:
                    continue
                value, source = parse_value(name, raw), raw.source
                if name in values and KEYS[name].adds:
                    value = {**values[name], **value} if isinstance(value, dict) else (*values[name], *value)
                    source = f"{source} + {sources[name]}"
                values[name], sources[name] = value, source
        return cls(**values, sources=sources)

    @property
    def installer(self) -> dict[str, Any]:
        """Where the packages of a job come from, as its runner is told."""
        found = {"index": self.package_index, "wheels": self.package_wheels, "cache": self.package_cache}
        return {key: value for key, value in found.items() if value}

    def source(self, key: str) -> str:
        """Say where the value of a key came from."""
        return self.sources.get(key, DEFAULT)

    def explain(self) -> list[tuple[str, str, str]]:
        """List (key, value, source) of every setting, for a person.

        The values of ``env`` are not shown: what is displayed in a notebook is soon committed.
        """
        rows = []
        for name in KEYS:
            value = getattr(self, name)
            if isinstance(value, dict) and name == "env":
                shown = ", ".join(f"{variable}=..." for variable in value)
            elif isinstance(value, dict) and name == "volumes":
                shown = shlex.join(f"{claim}:{path}" for claim, path in value.items())  # as the variable takes it
            elif isinstance(value, dict) and value:
                shown = json.dumps(value, default=str)  # as the variable and %config take it
            elif isinstance(value, tuple | list):
                shown = ", ".join(value)
            elif isinstance(value, bool):
                shown = str(value).lower()
            elif KEYS[name].parse is parse.size:
                shown = parse.size_text(value)
            else:
                shown = "" if value is None or value == {} else str(value)
            rows.append((name, shown, self.source(name)))
        return rows


class Key(NamedTuple):
    """What is declared of one setting."""

    name: str
    parse: Callable[[object], Any]
    help: str
    adds: bool


KEYS = {item.name: Key(item.name, **item.metadata) for item in fields(Settings) if item.metadata}

_session: dict[str, Raw] = {}


def set_session(key: str, value: object, source: str = "%config") -> None:
    """Set a key for this process, as ``%config`` does; None takes it back."""
    if value is None:
        _session.pop(key, None)
    else:
        raw = Raw(value, source)
        parse_value(key, raw)
        _session[key] = raw


def parse_value(key: str, raw: Raw) -> Any:
    """Give the value of a key in its proper form, or say what it must be and where it stands."""
    where = "" if raw.source == CALL else f" ({raw.source})"
    if key not in KEYS:
        raise ConfigError(f"{key}{where} is not a setting{suggest(key, KEYS)}")
    try:
        value = KEYS[key].parse(raw.value)
    except InvalidTaskError as error:
        raise ConfigError(f"{error.message}{where}", advice=error.advice) from None
    except ValueError as error:
        shown = repr(raw.value)
        shown = shown if len(shown) <= 80 else shown[:77] + "..."
        raise ConfigError(f"{key} = {shown}{where} {error}") from None
    return str(raw.folder / value) if raw.folder is not None and KEYS[key].parse is parse.path else value
