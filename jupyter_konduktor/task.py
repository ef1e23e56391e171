"""What a user asks for: a task, validated and free of any backend."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any, Literal

from jupyter_konduktor import requirements, spelling
from jupyter_konduktor.errors import InvalidTaskError
from jupyter_konduktor.resources import Gpus, Resources

Kind = Literal["cell", "function", "map", "command"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """One thing to run: what it is called, what it needs, and under which conditions.

    `Task.create` takes the spellings a person would use (``gpus="H100:8"``, ``memory="16Gi"`` or GiB as a number,
    ``timeout="2h"`` or seconds); the task holds the exact values.

    Attributes
    ----------
    kind : {"cell", "function", "map", "command"}
    name : str
        Prefix of the job's name: lower-case letters, digits and ``-``, at most 36, beginning with a letter.
    resources : Resources
        Per node; the nodes of a map are its workers.
    image, queue, priority : str, optional
    env : mapping of str to str
    secrets : mapping of str to str
        Environment name, or absolute path of a file (``~/`` is the job's home), to ``secret/key``; an empty string
        takes an environment name from where the backend keeps secrets.
    packages : sequence of str
        Requirements in pip's spelling, installed for the job; ``sync`` stands for what its code imports.
    setup : sequence of str
        Shell commands that each node runs before that.
    workdir : str, optional
        Folder of this machine that the job runs in; on a cluster its files are sent.
    volumes : mapping of str to str
        Claim to the path it is mounted at.
    timeout : float, optional
        Seconds of admitted run time.
    max_restarts : int, default 0
    command : sequence of str, optional
        What to run in place of a payload.
    items : int, default 0
        How many items a map has.
    launcher : str, optional
        ``"torchrun"`` runs it under torchrun on every node, one process for each GPU.
    topology : sequence of str
        How its nodes lie: ``required:LABEL`` (all where this label of their nodes has one value), ``preferred:LABEL``
        or ``unconstrained``; and ``exclusive:LABEL`` (no other such job there).
    retries : int, default 0
        How often an item of a map that fails is run again.
    """

    kind: Kind = "command"
    name: str = "job"
    resources: Resources = field(default_factory=Resources)
    image: str | None = None
    queue: str | None = None
    priority: str | None = None
    env: Mapping[str, str] = field(default_factory=dict)
    secrets: Mapping[str, str] = field(default_factory=dict)
    packages: tuple[str, ...] = ()
    setup: tuple[str, ...] = ()
    workdir: str | None = None
    volumes: Mapping[str, str] = field(default_factory=dict)
    timeout: float | None = None
    max_restarts: int = 0
    command: tuple[str, ...] | None = None
    items: int = 0
    launcher: str | None = None
    topology: tuple[str, ...] = ()
    retries: int = 0

    @classmethod
    def create(
        cls,
        *,
        gpus: Gpus | str | int | None = None,
        nodes: int | str | None = None,
        cpus: float | str | None = None,
        memory: int | float | str | None = None,
        max_parallel: int | str | None = None,
        **options: Any,
    ) -> Task:
        """Make a task from loosely spelled options; options that are None are left at their defaults.

        ``max_parallel`` and ``retries`` are of a map, and of no account elsewhere: a function has them for its map.
        ``max_restarts`` is of no account for a map, whose items are run again one by one.

        Raises
        ------
        InvalidTaskError
            Names the field, the value, what is allowed and the nearest valid spelling.
        """
        known = {f.name for f in fields(cls)} - {"resources"}
        for option in options:
            if option not in known:
                raise spelling.unknown_option(option, known | {"gpus", "nodes", "cpus", "memory", "max_parallel"})
        given = {key: value for key, value in options.items() if value is not None}
        most = spelling.MAX_NODES
        workers = spelling.parse_int("max_parallel", max_parallel, 1, most) if max_parallel is not None else 1
        resources = Resources(
            gpus=spelling.parse_gpus(gpus),
            nodes=spelling.parse_int("nodes", nodes, 1, most) if nodes is not None else 1,
            cpus=spelling.parse_cpus(cpus),
            memory=spelling.parse_memory(memory),
        )
        parsers: dict[str, Any] = {
            "name": spelling.parse_name,
            "image": spelling.parse_image,
            "queue": lambda v: spelling.parse_label("queue", v),
            "priority": lambda v: spelling.parse_label("priority", str(v)),
            "env": spelling.parse_env,
            "secrets": spelling.parse_secrets,
            "packages": requirements.parse,
            "setup": spelling.parse_setup,
            "workdir": lambda v: spelling.parse_text("workdir", v),
            "volumes": spelling.parse_volumes,
            "timeout": spelling.parse_timeout,
            "max_restarts": lambda v: spelling.parse_int("max_restarts", v, 0, 1000),
            "command": spelling.parse_command,
            "items": lambda v: spelling.parse_int("items", v, 0, 10_000_000),
            "launcher": spelling.parse_launcher,
            "topology": spelling.parse_topology,
            "retries": lambda v: spelling.parse_int("retries", v, 0, 1000),
        }
        values = {key: parsers[key](value) if key in parsers else value for key, value in given.items()}
        task = cls(resources=resources, **values)
        task = task._as_map(workers) if task.kind == "map" else replace(task, retries=0)
        if (task.kind == "command") != (task.command is not None):
            raise InvalidTaskError(
                f"command: a task of kind {task.kind!r} has {'no ' if task.command is None else 'a '}command",
                advice='Give command=["python", "train.py"], or a cell or function.',
                field="command",
                value=task.command,
            )
        if task.command is not None and requirements.SYNC in task.packages:
            raise InvalidTaskError(
                f"packages: {requirements.SYNC} looks at what a cell or function imports, and this is a command",
                advice="Name its packages, or a file of them with requirements.",
                field="packages",
                value=requirements.SYNC,
            )
        if task.launcher and task.kind == "map":
            raise InvalidTaskError(
                f"launcher: the items of a map are not run by {task.launcher}",
                advice="Call the function once for each item, or leave the launcher out.",
                field="launcher",
                value=task.launcher,
            )
        return task

    def _as_map(self, workers: int) -> Task:
        """Give the task with a worker for each node, no more of them than there are items."""
        if self.resources.nodes > 1:
            raise InvalidTaskError(
                f"nodes: an item of a map runs on one node, not on {self.resources.nodes}",
                advice="max_parallel says how many items run at the same time, each on a node of its own. A function "
                "that needs several nodes is called once for each item.",
                field="nodes",
                value=self.resources.nodes,
            )
        nodes = max(1, min(workers, self.items))
        return replace(self, resources=replace(self.resources, nodes=nodes), max_restarts=0)

    def options(self, **changes: Any) -> Task:
        """Make the same task with other options, spelled as in `create`."""
        mine: dict[str, Any] = {f.name: getattr(self, f.name) for f in fields(self) if f.name != "resources"}
        r = self.resources
        mine.update({"gpus": r.gpus, "max_parallel" if self.kind == "map" else "nodes": r.nodes, "cpus": r.cpus})
        exact = None if "memory" in changes else r.memory
        mine.update(changes)
        task = Task.create(**mine)
        return replace(task, resources=replace(task.resources, memory=exact)) if exact is not None else task

    def to_json(self) -> dict[str, Any]:
        """Give the task as plain JSON; None and empty values are left out."""
        found = asdict(self)
        found["resources"] = {k: v for k, v in found["resources"].items() if v is not None}
        return {k: v for k, v in found.items() if v not in (None, {}, (), 0)}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Task:
        """Read what `to_json` gave; keys of a newer version are ignored."""
        known = {f.name for f in fields(cls)}
        values = {k: v for k, v in data.items() if k in known}
        r = dict(values.get("resources", {}))
        if r.get("gpus"):
            r["gpus"] = Gpus(**r["gpus"])
        values["resources"] = Resources(**r)
        for key in ("packages", "setup", "command", "topology"):
            if values.get(key) is not None:
                values[key] = tuple(values[key])
        return cls(**values)
