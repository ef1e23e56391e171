"""JobSets as the rows of a Table: what a list of many needs, without their specs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


class Rows:
    """Turns the Tables of one answer into parts of JobSets; the columns are told in its first Table only."""

    def __init__(self) -> None:
        self._columns: dict[str, int] = {}

    def of(self, table: Mapping[str, Any]) -> list[dict[str, Any]]:
        """Give an object for each row: its ``metadata``, ``spec.suspend``, and of ``status`` what columns tell."""
        if table.get("columnDefinitions"):
            self._columns = {column["name"]: index for index, column in enumerate(table["columnDefinitions"])}
        return [self._object(row) for row in table.get("rows") or ()]

    def _object(self, row: Mapping[str, Any]) -> dict[str, Any]:
        metadata = dict(row["object"]["metadata"])
        fields = metadata.pop("managedFields", None) or ()
        suspended = self._cell(row, "Suspended")
        status: dict[str, Any] = {}
        if state := self._cell(row, "TerminalState"):
            status["terminalState"] = state
            # The state is a condition's type, and the last thing its controller has written into the status.
            times = [entry["time"] for entry in fields if entry.get("subresource") == "status" and entry.get("time")]
            if times:
                status["conditions"] = [{"type": state, "status": "True", "lastTransitionTime": max(times)}]
        if (restarts := self._cell(row, "Restarts")).isdecimal():
            status["restarts"] = int(restarts)
        return {"metadata": metadata, "spec": {"suspend": suspended.lower() == "true"}, "status": status}

    def _cell(self, row: Mapping[str, Any], name: str) -> str:
        """Give a cell as text: the type of a custom resource's column is not to be relied on."""
        index = self._columns.get(name)
        value = row["cells"][index] if index is not None else None
        return "" if value is None else str(value)
