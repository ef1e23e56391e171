"""The modules of the user's own project: which they are, and their files as one archive."""

from __future__ import annotations

import ast
import hashlib
import importlib.machinery
import io
import os
import site
import sys
import sysconfig
import warnings
import zipfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import cache, lru_cache
from pathlib import Path
from types import ModuleType

_BINARIES = tuple(importlib.machinery.EXTENSION_SUFFIXES)
_DATA = frozenset((
    ".cfg", ".csv", ".css", ".html", ".ini", ".j2", ".jinja", ".js", ".json", ".sql", ".toml", ".txt", ".typed",
    ".yaml", ".yml",
))  # fmt: skip
_MAX_DATA_FILE = 1 << 20
_MAX_ARCHIVE = 32 << 20


@dataclass(frozen=True, slots=True)
class ModuleFiles:
    """The files of the user's own modules.

    Attributes
    ----------
    files : dict of str to bytes
        Contents by their path in the archive.
    names : tuple of str
        The modules and packages, the topmost of each only.
    notes : tuple of str
        One line each for what does not travel.
    others : frozenset of str
        The topmost names of all else that is imported.
    """

    files: dict[str, bytes] = field(default_factory=dict)
    names: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    others: frozenset[str] = frozenset()

    def archive(self) -> tuple[str, memoryview] | None:
        """Give the zip archive and its SHA-256; the same files give the same bytes. None if there are no files."""
        if not self.files:
            return None
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED, compresslevel=6) as archive:
            for path, data in sorted(self.files.items()):
                entry = zipfile.ZipInfo(path, date_time=(1980, 1, 1, 0, 0, 0))
                entry.external_attr = 0o644 << 16
                entry.create_system = 3
                entry.compress_type = zipfile.ZIP_DEFLATED
                archive.writestr(entry, data)
        data = buffer.getvalue()
        return hashlib.sha256(data).hexdigest(), memoryview(data)


def own_modules(names: Iterable[str]) -> ModuleFiles:
    """Find the user's own modules among some names and whatever of their own these import, and read their files.

    Nothing is imported for that. A package travels as a whole.

    Parameters
    ----------
    names : iterable of str
        Dotted names of modules, or of objects inside of modules; what does not exist is left out.
    """
    found = _Collection()
    for name in sorted(set(names)):
        found.add(name)
    return ModuleFiles(found.files, tuple(sorted(found.names)), tuple(found.notes), found.others)


def is_own(path: str | None) -> bool:
    """Tell whether a file belongs to the user's project: by its path, and by where links lead.

    Neither the standard library, nor anything in a folder for installed packages, nor this package is.
    """
    if not path or not Path(path).is_absolute():
        return False
    for known in {path, os.path.realpath(path)}:
        parts = Path(known).parts
        if "site-packages" in parts or "dist-packages" in parts or any(_lies_in(known, p) for p in _installed()):
            return False
    return True


@cache
def _installed() -> tuple[str, ...]:
    """Give the folders of the standard library, of installed packages, and of this package."""
    schemes = sysconfig.get_paths()
    folders = {schemes[key] for key in ("stdlib", "platstdlib", "purelib", "platlib")}
    folders.update(site.getsitepackages())
    folders.add(site.getusersitepackages())
    folders.add(str(Path(os.__file__).parent))
    folders.add(str(Path(__file__).parents[1]))
    return tuple(sorted({path for folder in folders for path in (folder, os.path.realpath(folder))}))


def _lies_in(path: str, folder: str) -> bool:
    return path == folder or path.startswith(folder.rstrip(os.sep) + os.sep)


class _Collection:
    """Follows imports from module to module and collects files."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.names: set[str] = set()
        self.notes: list[str] = []
        self._seen: set[str] = set()
        self._paths: dict[str, list[str]] = {}  # of namespace packages: the folders of their parts
        self._size = 0

    @property
    def others(self) -> frozenset[str]:
        """The topmost names of what was looked at and is not the user's own."""
        own = {name.partition(".")[0] for name in self.names}
        return frozenset({name.partition(".")[0] for name in self._seen} - own)

    def add(self, name: str) -> None:
        """Add what a dotted name leads to, from its root package on."""
        search: list[str] | None = None
        done = ""
        for part in name.split("."):
            done = f"{done}.{part}" if done else part
            if done in self._seen:
                if done in self.names:
                    return
                search = self._paths.get(done)
                if search is None:
                    return
                continue
            self._seen.add(done)
            spec = _find(done, search)
            if spec is None:
                return
            if spec.submodule_search_locations is not None and not spec.origin:
                search = self._paths[done] = list(spec.submodule_search_locations)  # a namespace: its parts count
                continue
            self._add_spec(done, spec)
            return

    def _add_spec(self, name: str, spec: importlib.machinery.ModuleSpec) -> None:
        if not spec.has_location or not is_own(spec.origin):
            return
        origin = Path(str(spec.origin))
        if origin.suffix != ".py":
            self.notes.append(f"the module {name} is no Python source ({origin.name}); the job must have it installed")
            return
        self.names.add(name)
        path = name.replace(".", "/")
        if origin.name == "__init__.py":
            self._add_package(name, path, origin.parent)
        else:
            self._add_file(f"{path}.py", origin, name)

    def _add_package(self, name: str, path: str, folder: Path) -> None:
        files = sorted(_package_files(folder))
        binaries = [file for file in files if file.name.endswith(_BINARIES)]
        if binaries:
            self.names.discard(name)
            self.notes.append(
                f"the package {name} has compiled parts ({binaries[0].name}) and does not travel; "
                "the job must have it installed"
            )
            return
        for file in files:
            inside = file.relative_to(folder).as_posix()
            if file.suffix == ".py":
                dotted = ".".join((name, *Path(inside).with_suffix("").parts)).removesuffix(".__init__")
                self._add_file(f"{path}/{inside}", file, dotted)
            elif file.suffix in _DATA and file.stat().st_size <= _MAX_DATA_FILE:
                self._keep(f"{path}/{inside}", file.read_bytes())

    def _add_file(self, path: str, file: Path, name: str) -> None:
        stat = file.stat()
        self._keep(path, file.read_bytes())
        is_package = path.endswith("/__init__.py")
        for imported in _imports(str(file), name, is_package, stat.st_mtime_ns, stat.st_size):
            self.add(imported)

    def _keep(self, path: str, data: bytes) -> None:
        self._size += len(data)
        if self._size <= _MAX_ARCHIVE:
            self.files[path] = data
        else:
            note = f"the project's files exceed {_MAX_ARCHIVE >> 20} MiB; {path} and what follows does not travel"
            if not any(existing.startswith("the project's files exceed") for existing in self.notes):
                self.notes.append(note)


def _package_files(folder: Path) -> Iterator[Path]:
    """Give the files of a package, without caches and hidden files."""
    for here, folders, files in os.walk(folder):
        folders[:] = sorted(f for f in folders if f.isidentifier() and f != "__pycache__")
        yield from (Path(here, file) for file in files if not file.startswith("."))


def _find(name: str, search: list[str] | None) -> importlib.machinery.ModuleSpec | None:
    """Find a module as ``import`` would, without importing its parent."""
    loaded = sys.modules.get(name)
    spec = getattr(loaded, "__spec__", None)
    if isinstance(loaded, ModuleType) and spec is not None:
        return spec if isinstance(spec, importlib.machinery.ModuleSpec) else None
    for finder in sys.meta_path:
        try:
            spec = finder.find_spec(name, search)
        except (ImportError, AttributeError, ValueError):
            continue
        if spec is not None:
            return spec
    return None


@lru_cache(maxsize=4096)
def _imports(path: str, name: str, is_package: bool, mtime_ns: int, size: int) -> tuple[str, ...]:
    """Give what a file imports; the time and the size are there so that a file that changed is read again."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            tree = ast.parse(Path(path).read_bytes())
    except (SyntaxError, ValueError):
        return ()  # it travels all the same, and fails in the job as it would here
    found: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                parents = name.split(".")
                parents = parents[: len(parents) - node.level + is_package]
                base = ".".join((*parents, base) if base else parents)
            found.update(f"{base}.{alias.name}" for alias in node.names if alias.name != "*")
            found.add(base)
    return tuple(sorted(found - {""}))
