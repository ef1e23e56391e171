"""Which results of the items of a map count, where a job has run them in several attempts."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

_WELL = (b'{"exit":0}', b'{"exit":0,')


def standing(results: Iterable[tuple[int, bytes]]) -> list[tuple[int, bytes]]:
    """Leave out the results of items that had ended well before: what one gave once stays what it gave.

    Parameters
    ----------
    results : iterable of (int, bytes)
        Index and envelope in the order in which they came, an attempt after the other.

    Returns
    -------
    list of (int, bytes)
        Of an item that comes more than once the last one counts; whatever comes later is added at the end.
    """
    found, well = [], set()
    for index, envelope in results:
        if index not in well:
            found.append((index, envelope))
            if envelope.startswith(_WELL):
                well.add(index)
    return found
