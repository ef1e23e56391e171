"""The magics themselves, and their traits for ``%config``."""

from __future__ import annotations

from typing import Any

from IPython.core.magic import Magics, line_cell_magic, magics_class, no_var_expand
from traitlets import Bunch, TraitError, TraitType
from traitlets.config import Configurable

from jupyter_konduktor.config import KEYS, parse_value, set_session
from jupyter_konduktor.config.places import Raw
from jupyter_konduktor.errors import ConfigError
from jupyter_konduktor.magics.history import History
from jupyter_konduktor.magics.options import cell_help, command_help


class Setting(TraitType[Any, Any]):
    """One key of the settings; None leaves it to the environment and the files."""

    allow_none = True

    def validate(self, obj: Any, value: Any) -> Any:
        """Accept what a settings file may say."""
        try:
            parse_value(str(self.name), Raw(value, "%config"))
        except ConfigError as error:
            raise TraitError(str(error)) from None
        return value

    def info(self) -> str:
        """Say what is allowed, for traitlets' own messages."""
        return str(self.help)


_Traits = type(
    "_Traits",
    (Configurable,),
    {
        "__module__": __name__,
        "__doc__": "A trait for each key of the settings.",
        **{
            key.name: Setting(default_value=None, allow_none=True, help=key.help).tag(config=True)
            for key in KEYS.values()
        },
    },
)


@magics_class
class KonduktorMagics(Magics, _Traits):  # type: ignore[misc, valid-type]
    """Run cells as jobs; a setting of None is left to the environment, the project and the user's file."""

    def __init__(self, shell: Any) -> None:
        super().__init__(shell=shell, parent=shell)
        self.observe(self._changed, names=list(KEYS))
        for name in KEYS:
            set_session(name, getattr(self, name))
        self._history = History(shell)
        self._events = shell.events
        self._events.register("post_run_cell", self._first_cell)

    def _first_cell(self, result: Any) -> None:
        """Prepare the first job while the user reads or writes; not while the extension is loaded."""
        self._events.unregister("post_run_cell", self._first_cell)
        _warm()

    def _changed(self, change: Bunch) -> None:
        set_session(change.name, change.new)
        if change.name == "backend" and change.new == "kubernetes":
            _warm()

    def close(self) -> None:
        """Take back what ``%config`` has set, and listen to cells no longer."""
        self._history.close()
        if self._first_cell in self._events.callbacks["post_run_cell"]:
            self._events.unregister("post_run_cell", self._first_cell)
        for name in KEYS:
            set_session(name, None)

    @no_var_expand
    @line_cell_magic
    def konduktor(self, line: str, cell: str | None = None) -> Any:
        """Run a cell as a job, or look after jobs."""
        _warm()
        try:
            if cell is None:
                from jupyter_konduktor.magics.commands import run_command

                return run_command(self.shell, line)
            from jupyter_konduktor.magics.cell import run_cell

            return run_cell(self.shell, self._history, line, cell)
        except KeyboardInterrupt as interrupt:
            # IPython asks for this; the frames are ours and would push what was said of the job out of sight.
            interrupt._render_traceback_ = lambda: ["KeyboardInterrupt"]  # type: ignore[attr-defined]
            raise


def _warm() -> None:
    from jupyter_konduktor.session import warm

    warm()


KonduktorMagics.konduktor.__doc__ = f"{cell_help()}\n\n{command_help()}"
