"""How large inputs may be, and which of them are too large."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from jupyter_konduktor.errors import InputTooLargeError
from jupyter_konduktor.runner.pack import Frame


@dataclass(frozen=True, slots=True)
class Limits:
    """Sizes in bytes; the names are those of the settings.

    Attributes
    ----------
    warn_input : int
        An input that the cell or call names warns beyond this.
    warn_indirect : int
        What is reached only through functions, all of it together, warns beyond this.
    max_indirect : int
        And is refused beyond this.
    max_output : int
        An output that was not asked for by name is left out beyond this.
    """

    warn_input: int = 100 << 20
    warn_indirect: int = 1 << 20
    max_indirect: int = 30 << 20
    max_output: int = 1 << 30


def check_sizes(frames: Sequence[Frame], limits: Limits, *, carried: int = 0, carrier: str = "") -> list[str]:
    """Compare what would be sent with the limits.

    Parameters
    ----------
    frames : sequence of Frame
    limits : Limits
    carried : int, default 0
        Bytes that a called function carries in its closure and defaults.
    carrier : str, optional
        Its name.

    Returns
    -------
    list of str
        One line for each warning.

    Raises
    ------
    InputTooLargeError
        If what is reached only through functions exceeds ``max_indirect``.
    """
    # A function's own frame is its closure and its defaults: nobody named those either.
    indirect = [(frame.size, frame.name, frame.via) for frame in frames if frame.via or frame.how == "source"]
    if carried:
        indirect.append((carried, carrier, None))
    indirect.sort(key=lambda entry: entry[0], reverse=True)
    total = sum(size for size, _, _ in indirect)
    top = ", ".join(
        f"`{name}` ({size_text(size)}, used by `{via}`)" if via else f"the closure of `{name}` ({size_text(size)})"
        for size, name, via in indirect[:3]
    )
    if total > limits.max_indirect:
        raise InputTooLargeError(
            f"Functions would take {size_text(total)} along; the limit (max_indirect) is "
            f"{size_text(limits.max_indirect)}. The largest: {top}",
            advice="Name what you mean to send with --in +name or pass it as an argument, or load it inside the job.",
            variable=indirect[0][1],
        )
    warnings = [
        f"`{frame.name}` is {size_text(frame.size)}; inputs beyond {size_text(limits.warn_input)} take time to send"
        for frame in frames
        if not frame.via and frame.size > limits.warn_input and not frame.name.startswith("__call__")
    ]
    if total > limits.warn_indirect:
        warnings.append(f"functions take {size_text(total)} along: {top}")
    return warnings


def size_text(size: int) -> str:
    """Write a number of bytes the way a person says it."""
    if size < 1024:
        return f"{size} B"
    amount, units = size / 1024, ["KiB", "MiB", "GiB", "TiB"]
    while amount >= 999.5 and len(units) > 1:
        amount, units = amount / 1024, units[1:]
    return f"{amount:.0f} {units[0]}" if amount >= 9.95 else f"{amount:.1f} {units[0]}"
