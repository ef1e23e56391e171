"""``%%konduktor`` and ``%konduktor``: they parse and delegate."""

from __future__ import annotations

import sys
from typing import Any

_HELP_ALONE = ("-h", "--help")


def load(shell: Any) -> None:
    """Add the magics, their settings and their completion to a shell; a second time changes nothing."""
    from jupyter_konduktor.magics.magic import KonduktorMagics

    if _loaded(shell) is not None:
        return
    magics = KonduktorMagics(shell)
    shell.register_magics(magics)
    if magics not in shell.configurables:  # it is there already where Magics itself sees to it
        shell.configurables.append(magics)
    shell.input_transformers_cleanup.append(help_without_body)
    if getattr(shell, "Completer", None) is not None:
        from jupyter_konduktor.magics.completion import matcher

        shell.Completer.custom_matchers.append(matcher(shell))


def unload(shell: Any) -> None:
    """Take all of it away again and end the watches of this process; jobs go on."""
    magics = _loaded(shell)
    if magics is None:
        return
    magics.close()
    shell.configurables[:] = [found for found in shell.configurables if found is not magics]
    shell.input_transformers_cleanup.remove(help_without_body)
    matchers = shell.Completer.custom_matchers
    matchers[:] = [found for found in matchers if getattr(found, "matcher_identifier", "") != "konduktor"]
    for table in shell.magics_manager.magics.values():
        table.pop("konduktor", None)
    shell.magics_manager.registry.pop(type(magics).__name__, None)
    live = sys.modules.get("jupyter_konduktor.widgets.live")
    if live is not None:  # else nothing was shown
        live.LOOP.close()
    session = sys.modules.get("jupyter_konduktor.session")
    if session is not None:  # else nothing was sent and nothing is watched
        session.close()


def help_without_body(lines: list[str]) -> list[str]:
    """Let ``%%konduktor --help`` work with no cell below it, where IPython would ask for a body."""
    words = lines[0].split() if lines else []
    if len(words) == 2 and words[0] == "%%konduktor" and words[1] in _HELP_ALONE and not "".join(lines[1:]).strip():
        return ["%konduktor help %%konduktor\n"]
    return lines


def _loaded(shell: Any) -> Any:
    return next((found for found in shell.configurables if type(found).__name__ == "KonduktorMagics"), None)
