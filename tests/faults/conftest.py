"""What the injected faults share: a local backend with ways to reach under it, a small disk, a real kernel."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

import jupyter_konduktor as jk
from jupyter_konduktor import session
from jupyter_konduktor.backends.local.backend import LocalBackend
from jupyter_konduktor.job import Job
from tests.kernel.conftest import kernel
from tests.local.conftest import Local, local, small_disk

__all__ = ["kernel", "local", "small_disk"]


class Home(Local):
    """A root that the whole package uses: what a user calls, beside what lies under it."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.backend.close()
        backend = session.tracker().backend
        assert isinstance(backend, LocalBackend)
        self.backend = backend

    def script(self, text: str, **options: object) -> Job:
        return jk.launch(jk.Task.create(command=["sh", "-c", text], **{"name": "t", **options}))

    def reach(self, job: Job, text: bytes) -> None:
        """Wait until a job has written something, or has ended."""
        self.until(lambda: text in self.backend.read_log(job.name).data or self.backend.get(job.name).state.final)


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Home]:
    root = tmp_path / "jobs"
    monkeypatch.setenv("JUPYTER_KONDUKTOR_LOCAL_DIR", str(root))
    monkeypatch.setenv("JUPYTER_KONDUKTOR_GRACE", "1")
    made = Home(root)
    yield made
    if root.exists():
        made.end()
    session.close()


@pytest.fixture
def nothing_made(home: Home) -> Iterator[None]:
    """Hold a test to leaving no job and no file of one behind."""
    yield
    assert home.backend.list() == []
    assert [*(home.root / "jobs").iterdir(), *(home.root / "objects").iterdir()] == []


def descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))
