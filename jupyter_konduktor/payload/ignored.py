"""What of a folder is not sent: the rules of `.gitignore` and `.konduktorignore`, and what nobody means to send."""

from __future__ import annotations

import os
from pathlib import Path

from pathspec import GitIgnoreSpec

FILES = (".gitignore", ".konduktorignore")
"""Files of rules, in the order in which they count: of two rules for a path the later one decides."""

_NEVER = (".git", ".hg", ".svn", ".ipynb_checkpoints", "__pycache__", ".DS_Store")
_ENVIRONMENT = "pyvenv.cfg"  # stands in each virtual environment, which is of use on this machine only


class Ignored:
    """The rules that hold in one folder, its own and those of the folders above it, as git has them (gitignore(5)).

    Paths are plain text here, since a folder may have very many.

    Parameters
    ----------
    folder : str
        Absolute.
    above : tuple of (int, GitIgnoreSpec), optional
        Rules of the folders above, and how long the path of each is, with a slash.
    """

    def __init__(self, folder: str, above: tuple[tuple[int, GitIgnoreSpec], ...] = ()) -> None:
        self._rules = above
        for name in FILES:
            try:
                text = Path(folder, name).read_text("utf-8", "surrogateescape")
            except OSError:
                continue  # there is none, or none that this user may read
            self._rules += ((len(folder) + 1, GitIgnoreSpec.from_lines(text.splitlines())),)

    @classmethod
    def of(cls, root: Path) -> Ignored:
        """Read the rules for a folder, also those above it, as far up as its git repository reaches."""
        top = next((folder for folder in (root, *root.parents) if (folder / ".git").exists()), root)
        found = cls(str(top))
        for folder in reversed([root, *root.parents][: len(root.relative_to(top).parts)]):
            found = found.below(str(folder))
        return found

    def below(self, folder: str) -> Ignored:
        """Give the rules that hold in a folder that lies in this one."""
        return Ignored(folder, self._rules)

    def leaves_out(self, entry: os.DirEntry[str], *, folder: bool) -> bool:
        """Whether what lies in the folder is not sent; of a folder, what is in it is not either."""
        if entry.name in _NEVER or (folder and os.path.exists(os.path.join(entry.path, _ENVIRONMENT))):  # noqa: PTH110, PTH118
            return True
        path = f"{entry.path}/" if folder else entry.path
        for start, rules in reversed(self._rules):
            said = rules.check_file(path[start:]).include
            if said is not None:
                return bool(said)
        return False
