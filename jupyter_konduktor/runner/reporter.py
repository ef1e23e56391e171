"""What a supervisor tells of an attempt, and to whom."""

from __future__ import annotations


class Reporter:
    """Where the progress of an attempt goes; override what matters.

    All methods are called from the thread that runs the supervisor. An `OSError` from `log` loses that piece of output
    and nothing else; any other error ends the attempt.
    """

    def started(self, node: int) -> None:
        """Take note that the user's process of a node runs."""

    def log(self, node: int, data: bytes) -> None:
        """Append to the stream of a node (`stream.StreamDecoder` reads it)."""

    def item(self, index: int, envelope: bytes) -> None:
        """Take the envelope of one item of a map."""

    def stopping(self) -> None:
        """Take note that the attempt is told to end."""

    def warning(self, message: str) -> None:
        """Take a sentence about something that went wrong beside the job (its log cannot be written)."""

    def finished(
        self, envelope: bytes, exit_codes: list[int | None], failed_node: int | None, signal: int | None
    ) -> None:
        """Take the end of the attempt; no process of it is left.

        Parameters
        ----------
        envelope : bytes
            What `envelope.parse` reads, at most 4,096 bytes.
        exit_codes : list of int or None
            One per node; 128 + n where signal n ended it.
        failed_node : int or None
            The node that failed first.
        signal : int or None
            The signal that ended that node.
        """
