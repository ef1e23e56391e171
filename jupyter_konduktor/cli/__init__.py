"""``jupyter konduktor``: jobs from a terminal."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Sequence


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; gives its exit code: the job's where it waits for one, else 0, 1, or 2 for wrong usage."""
    from jupyter_konduktor.cli.parser import parse

    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")  # a terminal that knows ASCII alone gets `?` for a mark, and no error
    arguments = parse(sys.argv[1:] if argv is None else argv)
    from jupyter_konduktor.cli.commands import run

    try:
        code = run(arguments)
        sys.stdout.flush()
    except KeyboardInterrupt:
        return 128 + signal.SIGINT
    except BrokenPipeError:
        # Whoever read the output, as in `| head`, has enough. Python would complain once more at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 128 + signal.SIGPIPE
    return code
