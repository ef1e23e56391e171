"""JSON that is parsed when it is first read."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any


class LazyJson(Mapping[str, Any]):
    """A JSON object that is parsed when it is first read: a list of a thousand jobs reads few of them."""

    __slots__ = ("_data", "_text")

    def __init__(self, text: str) -> None:
        self._text = text
        self._data: dict[str, Any] | None = None

    def _parsed(self) -> dict[str, Any]:
        if self._data is None:
            try:
                found = json.loads(self._text)
            except ValueError:
                found = {}  # the record that holds it is flagged
            self._data = found if isinstance(found, dict) else {}
        return self._data

    def __getitem__(self, key: str) -> Any:
        return self._parsed()[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._parsed())

    def __len__(self) -> int:
        return len(self._parsed())

    def __repr__(self) -> str:
        return repr(self._parsed())

    def __reduce__(self) -> tuple[Any, ...]:
        return dict, (self._parsed(),)
