"""Lets `multiprocessing` spawn processes that know the notebook's functions and classes.

A spawned process rebuilds ``__main__`` from a file. A script has one; a notebook has none, and its functions could not
be found. So when a process is about to be spawned, the functions and classes that ``__main__`` holds by then are
written to a folder of the job, with a small script that loads them there.
"""

from __future__ import annotations

import os
import sys

from . import carried, codec

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from .context import Context

_PACKAGE = "_konduktor_runner"
_SCRIPT = '''"""Rebuilds a notebook's functions and classes in a process that multiprocessing has spawned."""
import sys
if {package!r} not in sys.modules:
    sys.modules[{package!r}] = type(sys)({package!r})
    sys.modules[{package!r}].__path__ = [{folder!r}]
from {package}.spawned import restore
restore({pack!r}, {carried!r}, globals())
'''


def prepare(spawn: Any, job: Context) -> None:
    """Have `multiprocessing.spawn` send the snapshot of ``__main__``."""
    original = spawn.get_preparation_data
    known: list[Any] = [None, None]  # what the last snapshot was made of, and its script

    def get_preparation_data(name: str) -> Any:
        data = original(name)
        if getattr(sys.modules.get("__main__"), "__dict__", None) is job.namespace:
            state = {key: id(value) for key, value in job.namespace.items()}
            if known[0] != state:
                known[:] = [state, _snapshot(job)]
            if known[1]:
                data["init_main_from_path"] = known[1]
        return data

    spawn.get_preparation_data = get_preparation_data


def _snapshot(job: Context) -> str | None:
    """Write the functions and classes of ``__main__``; gives the script that loads them."""
    values = {
        name: value
        for name, value in job.namespace.items()
        if isinstance(value, (type, type(_snapshot))) and getattr(value, "__module__", None) == "__main__"
    }
    if not values:
        return None
    try:
        pack = codec.dump(values, main=job.namespace, meta={"sources": job.sources}, best_effort=True)
    except ModuleNotFoundError:
        raise RuntimeError(
            "processes that are spawned get the notebook's functions by cloudpickle, and the job has none: "
            "say --packages cloudpickle, or use the start method 'fork'"
        ) from None
    folder = os.path.join(job.spec["job_dir"], "spawn")
    os.makedirs(folder, mode=0o700, exist_ok=True)
    for digest, buffer in pack.buffers.items():
        _write(os.path.join(folder, digest), buffer)
    path = os.path.join(folder, pack.sha256)
    _write(path, pack.data)
    home = os.path.dirname(os.path.abspath(__file__))
    script = _SCRIPT.format(package=_PACKAGE, folder=home, pack=path, carried=carried.used())
    _write(path + ".py", script.encode("utf-8", "surrogateescape"))
    return path + ".py"


def _write(path: str, data: Any) -> None:
    if os.path.exists(path):
        return
    temporary = f"{path}.{os.getpid()}.part"
    with open(temporary, "wb") as file:
        file.write(data)
    os.rename(temporary, path)


def restore(path: str, use_carried: bool, namespace: dict[str, Any]) -> None:
    """Load a snapshot into the main namespace of a spawned process, with the cloudpickle that it was made with."""
    import linecache

    from . import stub

    stub.install()
    namespace.pop("restore", None)
    carried.offer(first=use_carried)

    def fetch(digest: str, size: int) -> bytearray:
        with open(os.path.join(os.path.dirname(path), digest), "rb") as file:
            return bytearray(file.read())

    with open(path, "rb") as file:
        loaded = codec.load(file.read(), fetch, namespace)
    namespace.update(loaded.indirect)
    namespace.update(loaded.values)
    for filename, source in loaded.header["meta"]["sources"].items():
        text = source["source"]
        linecache.cache[filename] = (len(text), None, text.splitlines(keepends=True), filename)
