"""From a cell or a call to the bytes of a job, or to an error before anything is made."""

from __future__ import annotations

import hashlib
import linecache
import os
import re
import sys
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from types import ModuleType
from typing import Any

from jupyter_konduktor.errors import PayloadError
from jupyter_konduktor.runner import codec
from jupyter_konduktor.runner.pack import FrameError, Pack

from .analysis import CellAnalysis, analyse
from .drift import find_drift, without_file
from .installed import installed
from .limits import check_sizes
from .modules import ModuleFiles, own_modules
from .payload import Payload, Rules
from .report import HOW, CaptureReport, Row
from .scan import Part, check_secrets, parts, secret_values
from .selection import (
    MODULE_NAMES,
    REFUSED,
    Selection,
    assigned_globals,
    choose_inputs,
    choose_outputs,
    codes_of,
    history_used,
    jobs_own,
    undefined_after_dynamic,
)
from .sharing import find_sharing


def capture_cell(
    source: str,
    code: str,
    namespace: dict[str, Any],
    *,
    inputs: Selection | str | Iterable[str] | None = None,
    outputs: Selection | str | Iterable[str] | None = None,
    number: int | None = None,
    filename: str = "",
    transform: Callable[[str], str] = str,
    future: Collection[str] = (),
    **rules: Any,
) -> Payload:
    """Capture a cell and the variables that it reads.

    Parameters
    ----------
    source : str
        The cell as typed.
    code : str
        The Python that IPython makes of it, with the same lines.
    namespace : dict
        The notebook's variables.
    inputs, outputs : str or iterable of str, optional
        ``a,b`` (all names), ``+a`` or ``-a``, as in ``--in`` and ``--out``.
    number : int, optional
        The cell's ``In[number]``.
    filename : str, optional
        What tracebacks know the cell by.
    transform : callable, optional
        IPython's transformation, for code inside of ``%%time``.
    future : collection of str, optional
        What earlier cells took from ``__future__``; a kernel keeps that for all cells after them.
    **rules
        See `Rules`.

    Raises
    ------
    PayloadError
        If the cell cannot run as a job, reads what is not defined, or a variable cannot be sent.
    """
    held = Rules(**rules)
    analysis = analyse(code, transform, future)
    if analysis.problems:
        raise PayloadError("; ".join(f"line {line}: {problem}" for line, problem in analysis.problems))
    selected = Selection.parse("--in", inputs)
    names = choose_inputs(analysis, namespace, selected, held.imported)
    out = choose_outputs(analysis, Selection.parse("--out", outputs), names, held.limits.max_output)
    values = {name: namespace[name] for name in names}
    maybe = {name for name in names if name in analysis.assigned and name not in analysis.required}
    maybe -= {*(selected.names or ()), *selected.add}
    capture = _Capture(namespace, held, analysis)
    capture.pickle(values, skip=_settled(analysis, values).union(selected.drop), optional=maybe)
    label = f"Cell In[{number}]" if number is not None else "Cell"
    out["auto"] += capture.assigned_by_functions(analysis.assigned)
    cell = {
        "source": source,
        "code": code,
        "number": number,
        "filename": filename or _file_name(label, source),
        "future": sorted(future),
    }
    meta = {
        "kind": "cell",
        "label": label,
        "cell": cell,
        "out": out,
        "inputs": [name for name in names if name not in capture.left_out],
    }
    return capture.finish(meta, [("the cell", [source.encode("utf-8", "surrogatepass")])], identity=(code, out))


def capture_call(
    function: Callable[..., Any],
    args: Sequence[Any],
    kwargs: Mapping[str, Any],
    *,
    namespace: dict[str, Any] | None = None,
    **rules: Any,
) -> Payload:
    """Capture the call of a function.

    Parameters
    ----------
    function : callable
    args, kwargs
        What it is called with.
    namespace : dict, optional
        The notebook's variables; by default those of ``__main__``.
    **rules
        See `Rules`.
    """
    capture = _Capture(namespace, Rules(**rules))
    capture.pickle_call({"__call__": (function, tuple(args), dict(kwargs))}, function)
    name = function_name(function)
    return capture.finish({"kind": "function", "function": name, "label": name}, identity=(name,))


def capture_map(
    function: Callable[..., Any],
    items: Sequence[tuple[Any, ...]],
    kwargs: Mapping[str, Any],
    *,
    namespace: dict[str, Any] | None = None,
    **rules: Any,
) -> Payload:
    """Capture the calls of a function on many items, each a tuple of arguments."""
    capture = _Capture(namespace, Rules(**rules))
    frames: dict[str, Any] = {"__call__": (function, dict(kwargs))}
    frames.update((f"item-{number}", tuple(item)) for number, item in enumerate(items))
    capture.pickle_call(frames, function)
    name = function_name(function)
    meta = {"kind": "map", "function": name, "label": name, "count": len(items)}
    return capture.finish(meta, identity=(name,))


def _file_name(label: str, source: str) -> str:
    """Name what warnings and tracebacks know a cell by: readable, and not that of another cell with its number."""
    return f"<{label} {hashlib.sha256(source.encode('utf-8', 'surrogatepass')).hexdigest()[:8]}>"


def function_name(function: Any) -> str:
    """Give the name of a function, also of one inside of partials."""
    while hasattr(function, "func") and not hasattr(function, "__name__"):
        function = function.func
    return str(getattr(function, "__name__", type(function).__name__))


class _Capture:
    """One capture: pickles, checks, adds files and sources, reports."""

    def __init__(self, namespace: dict[str, Any] | None, rules: Rules, analysis: CellAnalysis | None = None) -> None:
        self.main = sys.modules["__main__"].__dict__ if namespace is None else namespace
        self.rules = rules
        self.analysis = analysis or CellAnalysis()
        self.left_out: dict[str, str] = {}
        self.warnings: list[str] = []
        self.values: dict[str, Any] = {}
        self.carried = 0
        self.carrier = ""
        self.pack: Pack

    def pickle(self, values: dict[str, Any], skip: Collection[str] = (), optional: Collection[str] = ()) -> None:
        """Pickle variables; an optional one that cannot be pickled is left out, since the cell assigns it as well."""
        self.values = dict(values)
        never = REFUSED | MODULE_NAMES | jobs_own(self.main) | set(skip)
        while True:
            self._refuse_known()
            try:
                self.pack = codec.dump(self.values, main=self.main, skip=never)
                return
            except FrameError as error:
                if error.name not in optional:
                    raise self._blame(error) from None
                self.left_out[error.name] = "it cannot be sent, and the cell assigns it itself"
                del self.values[error.name]

    def pickle_call(self, frames: dict[str, Any], function: Any) -> None:
        """Pickle a call, and measure what the function carries with it."""
        self.pickle(frames)
        self.carrier = function_name(function)
        if self.pack.size > self.rules.limits.warn_indirect:
            # The frame of a call holds function and arguments; nobody named what stands in a closure.
            self.carried = codec.dump({"": function}, main=self.main, follow=False).size

    def _refuse_known(self) -> None:
        """Refuse what pickle would send, and should not."""
        for name, value in self.values.items():
            if value is sys.modules:
                raise self._blame(FrameError(name, None, TypeError("cannot pickle sys.modules")))

    def _blame(self, error: FrameError) -> PayloadError:
        from .blame import cannot_send

        value = self.values.get(error.name, self.main.get(error.name))
        if error.name == "__call__" or error.name.startswith("item-"):
            return self._blame_call(error, value)
        line = self.analysis.reads.get(error.name)
        return cannot_send(error.name, value, error.cause, via=error.via or "", main=self.main, line=line)

    def _blame_call(self, error: FrameError, value: Any) -> PayloadError:
        """Find the argument that cannot be sent."""
        from .blame import cannot_send

        if error.name == "__call__":
            function, *rest = value
            named = [(function_name(function), function)]
            for part in rest:
                if isinstance(part, dict):
                    named += part.items()
                else:
                    named += [(f"args[{number}]", argument) for number, argument in enumerate(part)]
        else:
            item = error.name.replace("-", "[") + "]"
            named = [(f"{item}[{number}]" if len(value) > 1 else item, part) for number, part in enumerate(value)]
        for name, part in named:
            cause = codec.refusal(part, self.main)
            if cause is not None:
                return cannot_send(name, part, cause, main=self.main)
        return cannot_send(error.name, value, error.cause, main=self.main)

    def finish(self, meta: dict[str, Any], texts: Sequence[Part] = (), *, identity: tuple[Any, ...]) -> Payload:
        """Check what was pickled, add files and sources, and make the payload."""
        rules, pack = self.rules, self.pack
        self.warnings += check_sizes(pack.frames, rules.limits, carried=self.carried, carrier=self.carrier)
        submodules = sorted(set(_submodules(self.analysis.attributes, self._sent_values())))
        files = own_modules({*pack.modules, *submodules, *self._imported()})
        packages: tuple[str, ...] = ()
        if rules.sync:
            packages, lacking = installed(files.others)
            self.warnings += lacking
        sources = self._sources()
        self._check_secrets(texts, files, sources)
        self._refuse_after_scan()
        archive = files.archive()
        objects = dict(pack.buffers)
        if archive is not None:
            objects[archive[0]] = archive[1]
        stream_digest = pack.header["sha256"], [buffer["sha256"] for buffer in pack.header["buffers"]]
        meta["sources"] = sources
        meta["submodules"] = submodules
        meta["modules"] = {"buffer": archive[0] if archive else None, "names": list(files.names)}
        pack = codec.with_meta(pack, meta)
        digest = hashlib.sha256(repr((meta["kind"], identity, stream_digest, archive and archive[0])).encode())
        return Payload(pack, self._report(meta, files, archive, packages), objects, digest.hexdigest(), packages)

    def _sent_values(self) -> dict[str, Any]:
        """Give the objects behind all frames."""
        return {frame.name: self.values.get(frame.name, self.main.get(frame.name)) for frame in self.pack.frames}

    def assigned_by_functions(self, known: Collection[str]) -> list[str]:
        """Find the names that functions of the notebook make with ``global``: not there yet, they are no input."""
        made = {name for value in self._sent_values().values() for name in assigned_globals(value)}
        there = {*self.main, *known, *REFUSED}
        return sorted(name for name in made - there if not name.startswith("_"))

    def _imported(self) -> Iterator[str]:
        """Give the modules that the cell, and functions of the notebook, import when they run."""
        yield from self.analysis.modules
        for name, value in self._sent_values().items():
            for code in codes_of(_called(value) if name == "__call__" else value):
                yield from _imports(code)

    def _sources(self) -> dict[str, dict[str, Any]]:
        """Give the source of each cell whose code objects travel, for tracebacks."""
        if not self.pack.header["code"] or not self.rules.cells:
            return {}
        names = sorted(self.rules.cells, key=len, reverse=True)
        pattern = re.compile(b"|".join(re.escape(name.encode("utf-8", "surrogatepass")) for name in names))
        found = {match.decode("utf-8", "surrogatepass") for match in pattern.findall(self.pack.data)}
        return {
            name: {"number": self.rules.cells[name], "source": "".join(linecache.getlines(name))}
            for name in sorted(found)
            if linecache.getlines(name)
        }

    def _check_secrets(self, texts: Sequence[Part], files: ModuleFiles, sources: Mapping[str, Any]) -> None:
        secrets = secret_values(self.rules.environ, self.rules.allow_secrets)
        if not secrets:
            return
        sent: list[Part] = [*texts]
        sent += [(f"env {name}", [os.fsencode(value)]) for name, value in self.rules.env.items()]
        sent += [(f"In[{s['number']}]", [s["source"].encode("utf-8", "surrogatepass")]) for s in sources.values()]
        sent += [(f"the file {path}", [data]) for path, data in files.files.items()]
        check_secrets([*parts(self.pack), *sent], secrets)

    def _refuse_after_scan(self) -> None:
        """Refuse what is better called by its name when it held a secret."""
        for name, value in self._sent_values().items():
            if value is os.environ:
                via = next(frame.via for frame in self.pack.frames if frame.name == name)
                raise self._blame(FrameError(name, via, TypeError("cannot pickle os.environ")))
            used = history_used(value) & self.main.keys()
            if used:
                raise PayloadError(
                    f"`{name}` uses `{min(used)}`, which belongs to this kernel and is not sent",
                    advice="Pass the value that it needs as an argument.",
                    variable=min(used),
                )

    def _report(
        self,
        meta: Mapping[str, Any],
        files: ModuleFiles,
        archive: tuple[str, memoryview] | None,
        packages: tuple[str, ...],
    ) -> CaptureReport:
        analysis = self.analysis
        self.warnings += [f"line {line}: {text}" for line, text in analysis.warnings]
        self.warnings += undefined_after_dynamic(analysis, self.main)
        self.warnings += [f"`{name}` is not sent: {why}" for name, why in self.left_out.items()]
        self.warnings += files.notes
        self.warnings += find_drift(files.files)
        self.warnings += [
            f"the module {name} exists in memory only; the job cannot import it"
            for name in without_file(self.pack.modules)
        ]
        rows = [self._row(frame) for frame in self.pack.frames]
        if archive is not None:
            count = f"{len(files.files)} file" + "s" * (len(files.files) > 1)
            rows.append(Row(", ".join(files.names), "modules", archive[1].nbytes, HOW["files"], notes=(count,)))
        out = meta.get("out", {"strict": False, "names": (), "add": (), "drop": (), "auto": ()})
        names = out["names"] if out["strict"] else dict.fromkeys((*out["auto"], *out["add"]))
        shared = {name: value for name, value in self._sent_values().items() if not isinstance(value, ModuleType)}
        return CaptureReport(
            rows=tuple(rows),
            size=self.pack.size + (archive[1].nbytes if archive else 0),
            outputs=tuple(name for name in names if name not in out["drop"]),
            strict=out["strict"],
            excluded=dict(analysis.excluded),
            packages=packages,
            warnings=tuple(self.warnings),
            find_sharing=lambda: find_sharing(shared),
        )

    def _row(self, frame: Any) -> Row:
        note = self.rules.changed.get(frame.name)
        return Row(frame.name, frame.type, frame.size, HOW[frame.how], frame.via or "", (note,) if note else ())


def _called(value: Any) -> Any:
    function = value[0]
    while hasattr(function, "func"):
        function = function.func
    return function


def _settled(analysis: CellAnalysis, values: Mapping[str, Any]) -> frozenset[str]:
    """Find the names that the cell has assigned before any function it is sent can look at them."""
    settled: frozenset[str] | None = None
    for name, value in values.items():
        if isinstance(value, (ModuleType, str, bytes, int, float, type(None))):
            continue
        here = analysis.settled.get(name, frozenset())
        settled = here if settled is None else settled & here
    return (settled or frozenset()) - values.keys()


def _submodules(dotted: Iterable[str], values: Mapping[str, Any]) -> Iterator[str]:
    """Find the submodules of sent modules that the code spells out; importing the package need not import them."""
    for name in dotted:
        root, *rest = name.split(".")
        module = values.get(root)
        for part in rest:
            child = vars(module).get(part) if isinstance(module, ModuleType) else None
            if not isinstance(child, ModuleType) or child.__name__ != f"{getattr(module, '__name__', '')}.{part}":
                break
            yield child.__name__
            module = child


def _imports(code: Any) -> Iterator[str]:
    """Give the modules that a code object imports, and what it takes from them."""
    import dis

    base = ""
    for instruction in dis.get_instructions(code):
        if instruction.opname == "IMPORT_NAME":
            base = str(instruction.argval)
            yield base
        elif instruction.opname == "IMPORT_FROM":
            yield f"{base}.{instruction.argval}"
