"""Tab completion on the magic line; the cell's body keeps IPython's own."""

from __future__ import annotations

import time
import types
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from IPython.core.completer import CompletionContext, SimpleCompletion, SimpleMatcherResult, context_matcher

from jupyter_konduktor.config import Settings
from jupyter_konduktor.errors import KonduktorError
from jupyter_konduktor.magics.options import CELL_OPTIONS, COMMANDS, HELP, Option
from jupyter_konduktor.resources import ACCELERATORS
from jupyter_konduktor.spelling import TOPOLOGIES

MAX_AGE = 5.0
"""Seconds for which names of jobs and queues are offered before they are looked up again."""

_PATHS = ("--config", "--save", "--workdir")


def matcher(shell: Any) -> Callable[[CompletionContext], SimpleMatcherResult]:
    """Make the matcher of a shell."""
    known = _Known()

    @context_matcher(identifier="konduktor")  # type: ignore[untyped-decorator]
    def konduktor(context: CompletionContext) -> SimpleMatcherResult:
        line = context.line_with_cursor[: context.cursor_position]
        magic, space, rest = line.lstrip().partition(" ")
        is_cell = magic == "%%konduktor" and context.cursor_line == 0
        if not space or not (is_cell or magic == "%konduktor"):
            return {"completions": [], "suppress": False}
        *before, word = rest.split(" ")
        before = [item for item in before if item]
        found = _cell(shell, known, before, word) if is_cell else _command(known, before, word)
        if found is None:
            return {"completions": [], "suppress": False}
        fragment, candidates, kind = found
        # IPython drops the Python names only if something is offered; what was typed already changes nothing.
        matches = [candidate for candidate in candidates if candidate.startswith(fragment)] or [fragment]
        return {
            "completions": [SimpleCompletion(text=match, type=kind) for match in matches if match],
            "matched_fragment": fragment,
            "suppress": True,
            "ordered": True,
        }

    return konduktor  # type: ignore[no-any-return]


_Found = tuple[str, Iterable[str], str] | None


def _cell(shell: Any, known: _Known, before: Sequence[str], word: str) -> _Found:
    flag, fragment = _value_of(before, word, CELL_OPTIONS)
    if flag in _PATHS:
        return None  # IPython completes paths
    if flag in ("--in", "--out"):
        fragment = fragment.rpartition(",")[2].lstrip("+-")
        return fragment, _variables(shell), "variable"
    if flag:
        values = {
            "--backend": ["local", "kubernetes"],
            "--gpus": [*ACCELERATORS],
            "--queue": known.queues,
            "--topology": [kind if kind == "unconstrained" else f"{kind}:" for kind in TOPOLOGIES],
        }.get(flag, [])
        return fragment, values, "value"
    return word, _unused(CELL_OPTIONS, before), "option"


def _command(known: _Known, before: Sequence[str], word: str) -> _Found:
    if not before:
        return word, [command.name for command in COMMANDS], "command"
    command = next((command for command in COMMANDS if command.name == before[0]), None)
    if command is None:
        return word, [], "command"
    flag, fragment = _value_of(before, word, command.options)
    if flag in _PATHS:
        return None
    if flag or word.startswith("-"):
        return fragment, [] if flag else _unused((*command.options, HELP), before), "option"
    values = {"[COMMAND]": [c.name for c in COMMANDS], "[KEY]": [*Settings.__dataclass_fields__]}
    return word, known.jobs if "NAME" in command.argument else values.get(command.argument, []), "name"


def _value_of(before: Sequence[str], word: str, options: Iterable[Option]) -> tuple[str, str]:
    """Say which option's value stands at the cursor, if one does, and how much of it."""
    takers = {option.flag for option in options if option.metavar}
    if before and before[-1] in takers and not word.startswith("--"):
        return before[-1], word
    flag, equals, value = word.partition("=")
    return (flag, value) if equals and flag in takers else ("", word)


def _unused(options: Iterable[Option], before: Sequence[str]) -> list[str]:
    used = {word.partition("=")[0] for word in before}
    return [option.flag for option in options if option.repeat or option.flag not in used]


def _variables(shell: Any) -> list[str]:
    hidden = shell.user_ns_hidden
    return sorted(
        name
        for name, value in shell.user_ns.items()
        if not name.startswith("_") and name not in hidden and not isinstance(value, types.ModuleType)
    )


class _Known:
    """Names of jobs and queues. They are looked up here only on the local backend, which answers in milliseconds."""

    def __init__(self) -> None:
        self._jobs: list[str] = []
        self._queues: list[str] = []
        self._at = float("-inf")

    @property
    def jobs(self) -> list[str]:
        """Newest first."""
        self._refresh()
        return self._jobs

    @property
    def queues(self) -> list[str]:
        self._refresh()
        return self._queues

    def _refresh(self) -> None:
        if time.monotonic() - self._at < MAX_AGE:
            return
        self._at = time.monotonic()
        from jupyter_konduktor import session  # not at %load_ext, which should be quick

        try:
            settings = Settings.load()
            if settings.backend == "local":
                backend = session.tracker(settings).backend
                self._jobs = [record.name for record in reversed(backend.list())]
                self._queues = [queue.name for queue in backend.queues()]
        except KonduktorError:
            return  # a key press is no place for an error; the command itself will tell
