"""Project modules are unpacked where they belong, and archives that would write elsewhere are refused."""

from __future__ import annotations

import hashlib
import io
import stat
import zipfile

import pytest

from jupyter_konduktor.runner import modules
from jupyter_konduktor.runner.modules import ArchiveError, extract

from .conftest import cell_pack


def archive(*entries):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as file:
        for name, content, *mode in entries:
            info = zipfile.ZipInfo("x")
            info.filename = info.orig_filename = name
            if mode:
                info.external_attr = mode[0] << 16
            file.writestr(info, content)
    return buffer.getvalue()


def unpack(tmp_path, data):
    return extract(data, hashlib.sha256(data).hexdigest(), str(tmp_path / "job"))


def test_files_come_out_as_they_went_in(tmp_path):
    data = archive(("a.py", "x = 1"), ("pkg/__init__.py", ""), ("pkg/data/é.txt", "text"), ("empty/", ""))
    folder = unpack(tmp_path, data)
    from pathlib import Path

    assert Path(folder, "a.py").read_text() == "x = 1"
    assert Path(folder, "pkg/data/é.txt").read_text() == "text"
    assert Path(folder, "empty").is_dir()
    assert unpack(tmp_path, data) == folder


LINK = stat.S_IFLNK | 0o777


@pytest.mark.parametrize(
    "entries",
    [
        [("../evil.py", "")],
        [("a/../../evil.py", "")],
        [("/etc/evil.py", "")],
        [("C:\\evil.py", "")],
        [("C:evil.py", "")],
        [("a\\b.py", "")],
        [("a//b.py", "")],
        [("./a.py", "")],
        [("", "x")],
        [("link", "/etc", LINK), ("link/evil.py", "")],
        [("device", "", stat.S_IFCHR | 0o600)],
        [("pipe", "", stat.S_IFIFO | 0o600)],
        [("folder", "", stat.S_IFDIR | 0o700)],
        [("A.py", ""), ("a.py", "")],
        [("É.py", ""), ("E\u0301.py", "")],
        [("a", ""), ("a/b.py", "")],
        [("a.py", "1"), ("a.py", "2")],
    ],
)
@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_unsafe_archives_are_refused_and_nothing_is_left(tmp_path, entries):
    with pytest.raises(ArchiveError):
        unpack(tmp_path, archive(("good.py", ""), *entries))
    assert not (tmp_path / "job").exists() or list((tmp_path / "job").iterdir()) == []
    assert sorted(path.name for path in tmp_path.rglob("*evil*")) == []


def test_a_name_with_nul_is_refused(tmp_path):
    data = archive(("evilXX.py", ""))
    with pytest.raises(ArchiveError):
        unpack(tmp_path, data.replace(b"evilXX.py", b"evil\0X.py"))


def test_bombs_are_refused_before_anything_is_written(tmp_path, monkeypatch):
    monkeypatch.setattr(modules, "MAX_ENTRIES", 3)
    with pytest.raises(ArchiveError, match="entries"):
        unpack(tmp_path, archive(*((f"m{i}.py", "") for i in range(4))))
    monkeypatch.setattr(modules, "MAX_BYTES", 1000)
    with pytest.raises(ArchiveError, match="bytes"):
        unpack(tmp_path, archive(("big.py", "x" * 2000)))


def test_what_is_no_archive_or_has_another_digest_is_refused(tmp_path):
    with pytest.raises(ArchiveError, match="no zip"):
        unpack(tmp_path, b"PK no")
    with pytest.raises(ArchiveError, match="SHA-256"):
        extract(archive(("a.py", "")), "0" * 64, str(tmp_path))


def test_a_cell_imports_them_and_a_failure_names_their_file(start):
    data = archive(("mine/__init__.py", ""), ("mine/deep.py", "def f():\n    return 1 / 0\n"))
    digest = hashlib.sha256(data).hexdigest()
    pack = cell_pack("from mine.deep import f\nf()")
    pack.header["meta"]["modules"] = {"buffer": digest, "names": ["mine"]}
    import json

    stream = pack.data.split(b"\n", 1)[1]
    pack.data = json.dumps(pack.header).encode() + b"\n" + stream
    pack.buffers[digest] = memoryview(data)
    job = start(pack).wait()
    assert "File mine/deep.py:2, in f()\n      1 def f():\n----> 2     return 1 / 0" in job.error()["traceback"]
