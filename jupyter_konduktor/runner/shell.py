"""What stands for IPython's shell in a job: the few magics that make sense there."""

from __future__ import annotations

import os
import string
import subprocess
import sys
import time

from . import cell, context

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_UNITS = ((1.0, "s"), (1e-3, "ms"), (1e-6, "μs"), (1e-9, "ns"))


class UsageError(Exception):
    """A magic that a job has not, or that was misspelled."""


class Lines(list):  # type: ignore[type-arg]
    """The output of a command, as IPython gives it: a list of lines that is also one text (``s``, ``n``)."""

    @property
    def s(self) -> str:
        """The lines, joined by blanks."""
        return " ".join(self)

    @property
    def n(self) -> str:
        """The lines, joined by newlines."""
        return "\n".join(self)


class Shell:
    """The shell of a job."""

    def __init__(self, job: context.Context) -> None:
        self._job = job
        self.user_ns = job.namespace
        self.config: dict[str, Any] = {}

    def __getattr__(self, name: str) -> Any:
        raise AttributeError(f"get_ipython().{name} is not there in a job")

    # --- commands

    def system(self, command: str) -> None:
        """Run a shell command (``!command``), its output in the job's."""
        sys.stdout.flush()
        done = subprocess.run(  # noqa: S602
            self._expand(command), shell=True, executable=_shell_program(), check=False
        )
        self.user_ns["_exit_code"] = done.returncode

    def getoutput(self, command: str, split: bool = True) -> Any:
        """Run a shell command and give its output (``lines = !command``)."""
        done = subprocess.run(  # noqa: S602  a shell is what ! asks for
            self._expand(command),
            shell=True,
            executable=_shell_program(),
            check=False,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        self.user_ns["_exit_code"] = done.returncode
        text = done.stdout.decode("utf-8", "replace")
        return Lines(text.splitlines()) if split else text

    def _expand(self, command: str) -> str:
        """Replace ``{expression}`` and ``$name`` as IPython does; a command it cannot read so stays as it is."""
        frame = sys._getframe(2)
        names = {**self.user_ns, **frame.f_locals}
        try:
            return _Expander(names).format(command)
        except Exception:  # noqa: BLE001  {} means something else in this command
            return command

    # --- magics

    def run_line_magic(self, name: str, line: str, _stack_depth: int = 1) -> Any:
        """Run ``%name line``."""
        method = getattr(type(self), "_line_" + name, None)
        if method is None:
            raise UsageError(_unknown("%" + name))
        return method(self, self._expand(line) if name in ("cd", "env", "set_env") else line)

    def run_cell_magic(self, name: str, line: str, body: str) -> Any:
        """Run ``%%name line`` over a body."""
        method = getattr(type(self), "_cell_" + name, None)
        if method is None:
            raise UsageError(_unknown("%%" + name))
        return method(self, line, body)

    def _line_time(self, line: str) -> Any:
        return self._timed(lambda: self._run(line))

    def _cell_time(self, line: str, body: str) -> None:
        first = self._first_line(body)
        self._timed(lambda: cell.execute(body, self._filename(), self._job, first))

    def _run(self, line: str) -> Any:
        try:
            code = compile(line.strip(), self._filename(), "eval", dont_inherit=True)
        except SyntaxError:
            exec(compile(line.strip(), self._filename(), "exec", dont_inherit=True), self.user_ns)
            return None
        return eval(code, self.user_ns)  # noqa: S307  it is the user's code

    def _timed(self, run: Any) -> Any:
        wall, before = time.perf_counter(), os.times()
        try:
            return run()
        finally:
            wall, after = time.perf_counter() - wall, os.times()
            user, system = after.user - before.user, after.system - before.system
            print(f"CPU times: user {_span(user)}, sys: {_span(system)}, total: {_span(user + system)}")
            print(f"Wall time: {_span(wall)}")

    def _line_timeit(self, line: str) -> None:
        self._time_it("", line)

    def _cell_timeit(self, line: str, body: str) -> None:
        self._time_it(line, body)

    def _time_it(self, setup: str, statement: str) -> None:
        import argparse
        import shlex
        import statistics
        import timeit

        parser = argparse.ArgumentParser(prog="%timeit", add_help=False)
        parser.add_argument("-n", type=int, default=0)
        parser.add_argument("-r", type=int, default=7)
        words = shlex.split(statement.split("\n")[0]) if statement.lstrip().startswith("-") else []
        options, rest = parser.parse_known_args(words)
        if words:
            statement = " ".join(rest)
        timer = timeit.Timer(statement.strip(), setup.strip() or "pass", globals=self.user_ns)
        number = options.n or timer.autorange()[0]
        runs = [total / number for total in timer.repeat(options.r, number)]
        print(
            f"{_span(statistics.mean(runs))} ± {_span(statistics.pstdev(runs))} per loop "
            f"(mean ± std. dev. of {options.r} runs, {number} loops each)"
        )

    def _line_matplotlib(self, line: str) -> None:
        if line.strip() not in ("", "inline", "agg", "auto"):
            context.warn(f"%matplotlib {line.strip()}: a job has no display, figures are shown inline")

    def _line_env(self, line: str) -> Any:
        line = line.strip()
        if not line:
            return dict(os.environ)
        if "=" not in line and len(line.split()) == 1:
            if line not in os.environ:
                raise UsageError(f"%env: there is no environment variable {line}")
            return os.environ[line]
        return self._line_set_env(line)

    def _line_set_env(self, line: str) -> None:
        name, _, value = line.partition("=") if "=" in line else line.partition(" ")
        os.environ[name.strip()] = value.strip()
        print(f"env: {name.strip()}={value.strip()}")

    def _line_cd(self, line: str) -> None:
        words = line.split()
        quiet = "-q" in words
        target = " ".join(word for word in words if word != "-q").strip("'\"") or "~"
        os.chdir(os.path.expanduser(target))
        if not quiet:
            print(os.getcwd())

    def _line_pwd(self, line: str) -> str:
        return os.getcwd()

    def _line_pip(self, line: str) -> None:
        raise UsageError("%pip cannot work in a job that already runs; say %%konduktor --packages NAME instead")

    _line_conda = _line_pip

    def _filename(self) -> str:
        found = self._job.meta.get("cell")
        return str(found["filename"]) if found else "<magic>"

    def _first_line(self, body: str) -> int:
        """Find the line of the cell at which a body begins, so that tracebacks show the right one."""
        found = self._job.meta.get("cell")
        source = str(found["source"]) if found else ""
        return source.count("\n", 0, max(0, source.find(body.rstrip("\n")))) + 1


class _Expander(string.Formatter):
    """Formats a command as IPython's DollarFormatter does."""

    def __init__(self, names: dict[str, Any]) -> None:
        self._names = names

    def format(self, command: str) -> str:  # type: ignore[override]
        return self.vformat(command, (), {})

    def parse(self, text: Any) -> Any:
        for literal, field, form, conversion in super().parse(text):
            yield self._dollars(literal), field, form, conversion

    def _dollars(self, text: str) -> str:
        import re

        def replaced(match: Any) -> str:
            if match.group(0) == "$$":
                return "$"
            name = match.group(1)
            return str(self._names[name]) if name in self._names else str(match.group(0))

        return re.sub(r"\$\$|\$([A-Za-z_]\w*)", replaced, text)

    def get_field(self, field_name: str, args: Any, kwargs: Any) -> Any:
        return eval(field_name, dict(self._names)), field_name  # noqa: S307  as IPython does


def _shell_program() -> str:
    return os.environ.get("SHELL") or "/bin/sh"


def _unknown(magic: str) -> str:
    return f"{magic} is no magic of a job; it has %time, %timeit, %matplotlib, %env, %cd and !commands"


def _span(seconds: float) -> str:
    for unit, name in _UNITS:
        if seconds >= unit:
            return f"{seconds / unit:.3g} {name}"
    return "0 ns" if seconds <= 0 else "%.3g ns" % (seconds * 1e9)


_shell: Shell | None = None


def shell() -> Shell | None:
    """Give the shell of this process's job; None outside of a job."""
    global _shell
    if _shell is None and context.current is not None:
        _shell = Shell(context.current)
    return _shell
