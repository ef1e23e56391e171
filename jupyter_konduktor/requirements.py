"""What a person may write of packages: requirements, files of them, and where an installer finds them."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from jupyter_konduktor.errors import InvalidTaskError

SYNC = "sync"
"""In place of a requirement: what the code imports, at the versions that are installed here."""
NO_INDEX = "none"
"""In place of an index: only the wheels that are named are looked at."""

_NAME = r"[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?"
_EXTRAS = r"(?:\s*\[[\w\s,.-]*\])?"
_CLAUSE = r"(?:===|==|~=|!=|<=|>=|<|>)\s*[A-Za-z0-9.*+!_-]+"
_URL = r"(?:git\+)?(?:https?|ssh|file)://[^\s;|&`$\\]+"
_MARKER = r"(?:\s*;[^;|&`$/\\]*(?:[<>=!~]=?|\bin\b)[^;|&`$/\\]*)?"
_REQUIREMENT = re.compile(rf"(?:{_NAME}{_EXTRAS}(?:\s*{_CLAUSE}(?:\s*,\s*{_CLAUSE})*|\s*@\s*{_URL})?|{_URL}){_MARKER}")
_NEXT = re.compile(r"[\s,]+(?=[A-Za-z])(?![^\[]*\])")  # a comma also stands within a requirement: torch>=2,<3
_CREDENTIALS = re.compile(r"(?<=://)[^/@\s]+@")
_PLACE = re.compile(r"(?:https?|file)://[^\s]+")
_COMMENT = re.compile(r"(^|\s)#.*$")


def parse(value: str | Iterable[Any]) -> tuple[str, ...]:
    """Read requirements in pip's spelling: a list, or one text with several.

    Raises
    ------
    InvalidTaskError
        Names the requirement, without the credentials that its URL may hold.
    """
    if not isinstance(value, str):
        return tuple(item for one in value for item in _items(one))
    return _items(value)


def read(path: str | Path) -> tuple[str, ...]:
    """Read a file of requirements, and those that it names with ``-r``.

    Raises
    ------
    InvalidTaskError
        Names the file and the line of what a job cannot be given: options of pip, and paths of this machine.
    """
    return tuple(dict.fromkeys(_lines(Path(path).expanduser(), ())))


def parse_index(value: object) -> tuple[str, ...]:
    """Read the addresses of package indexes, the main one first, or ``"none"``."""
    places = _list(value)
    for place in places:
        refuse_credentials("package_index", place)
        if not (_PLACE.fullmatch(place) or places == (NO_INDEX,)):
            raise ValueError('must be URLs such as https://pypi.org/simple, or "none"')
    return places


def parse_wheels(value: object) -> tuple[str, ...]:
    """Read folders and pages with wheels: absolute paths where the job runs, or URLs."""
    places = _list(value)
    for place in places:
        refuse_credentials("package_wheels", place)
        if not (_PLACE.fullmatch(place) or place.startswith("/")):
            raise ValueError("must be absolute paths where the job runs, or URLs")
    return places


def refuse_credentials(field: str, text: str) -> None:
    """Refuse a URL with a user or a password in it: it would stand in the job, where many can read it."""
    if _CREDENTIALS.search(text):
        shown = _CREDENTIALS.sub("****@", text)
        raise InvalidTaskError(
            f"{field}: {shown} holds credentials, and would be seen by all who can see the job",
            advice="Keep them in what the installer reads itself: a netrc or pip.conf on this machine, and on a "
            "cluster --secret PIP_INDEX_URL=SECRET/KEY (for uv, UV_INDEX_URL).",
            field=field,
            value=shown,
        )


def _items(value: Any) -> tuple[str, ...]:
    if isinstance(value, str) and _REQUIREMENT.fullmatch(value.strip()):
        refuse_credentials("packages", value)
        return (value.strip(),)
    items = _NEXT.split(value.strip()) if isinstance(value, str) and value.strip() else [value]
    if len(items) > 1:
        return tuple(found for item in items for found in _items(item))
    raise _invalid(items[0])


def _invalid(value: Any) -> InvalidTaskError:
    shown = _CREDENTIALS.sub("****@", repr(value))
    advice = ""
    if isinstance(value, str) and value.strip().startswith("-"):
        advice = "Options of pip do not travel: --requirements FILE reads a file, and package_index sets the index."
    elif isinstance(value, str) and re.match(r"[./~]|.*(/|\.whl$)", value.strip()):
        advice = "A path of this machine is not there where the job runs: name a package, or a URL."
    return InvalidTaskError(
        f"packages: {shown if len(shown) <= 80 else shown[:77] + '...'} is not allowed; "
        "a package is a requirement in pip's spelling, such as torch>=2.4",
        advice=advice,
        field="packages",
        value=_CREDENTIALS.sub("****@", value) if isinstance(value, str) else value,
    )


def _lines(path: Path, above: tuple[Path, ...]) -> Iterable[str]:
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise _unread(f"{path} cannot be read: {error.strerror}", path) from None
    except UnicodeDecodeError:
        raise _unread(f"{path} is not UTF-8", path) from None
    if path.resolve() in above:
        raise _unread(f"{path} includes itself", path)
    number, held = 0, ""
    for number, raw in enumerate(text.splitlines(), 1):
        line = held + raw
        if line.endswith("\\"):
            held = line[:-1]
            continue
        held, line = "", _COMMENT.sub("", line).strip()
        included = re.fullmatch(r"(?:-r|--requirement)[\s=]*(\S.*)", line)
        try:
            if included:
                yield from _lines(path.parent / included[1], (*above, path.resolve()))
            elif line:
                yield from _one(line)
        except InvalidTaskError as error:
            if error.field == "packages":
                raise _unread(f"{path}:{number}: {error.message.partition(': ')[2]}", path, error.advice) from None
            raise
    if held:
        raise _unread(f"{path}:{number}: the last line goes on with a \\", path)


def _one(line: str) -> tuple[str, ...]:
    """Read a line of a file, which holds one requirement."""
    if not _REQUIREMENT.fullmatch(line):
        raise _invalid(line)
    return _items(line)


def _unread(message: str, path: Path, advice: str = "") -> InvalidTaskError:
    return InvalidTaskError(f"requirements: {message}", advice=advice, field="requirements", value=str(path))


def _list(value: object) -> tuple[str, ...]:
    items = value.split(",") if isinstance(value, str) else value
    if not isinstance(items, list | tuple) or not all(isinstance(item, str) for item in items):
        raise ValueError('must be a list such as ["a", "b"] or "a,b"')
    return tuple(item.strip() for item in items if item.strip())
