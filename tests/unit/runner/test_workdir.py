"""Unpacking a working directory: what it becomes, and that a bad one leaves nothing."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Any

import pytest

from jupyter_konduktor.payload.workdir import prepare, survey
from jupyter_konduktor.runner.pack import CodecError
from jupyter_konduktor.runner.workdir import extract


def digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def unpack(tmp_path: Path, found: Any, objects: dict[str, bytes], *, name: str = "workdir") -> Path:
    data = found if isinstance(found, bytes) else json.dumps(found).encode()
    extract(data, digest(data), str(tmp_path / name), objects.__getitem__)
    return tmp_path / name


@pytest.mark.parametrize("from_files", [False, True])
def test_a_folder_comes_out_as_it_went_in(tmp_path: Path, from_files: bool) -> None:
    source = tmp_path / "source"
    (source / "deep" / "er").mkdir(parents=True)
    (source / "a.py").write_text("print(1)")
    (source / "deep" / "er" / "b").write_bytes(bytes(range(256)) * 100)
    (source / "empty").touch()
    (source / "run.sh").write_text("#!/bin/sh")
    (source / "run.sh").chmod(0o755)
    (source / "large").write_bytes(os.urandom(1 << 20))
    (source / "od\udcffd").write_text("a name that is no UTF-8")
    (source / "deep" / "link").symlink_to("../a.py")
    made = prepare(survey(str(source), limit=1 << 30))

    def find(name: str) -> Any:
        data = made.objects[name].read()
        if not from_files:
            return data
        (tmp_path / name).write_bytes(data)
        return str(tmp_path / name)

    extract(made.objects[made.sha256].read(), made.sha256, str(tmp_path / "workdir"), find)
    there = {path.relative_to(source): path for path in source.rglob("*")}
    back = {path.relative_to(tmp_path / "workdir"): path for path in (tmp_path / "workdir").rglob("*")}
    assert there.keys() == back.keys()
    for name, path in there.items():
        if path.is_file():
            assert back[name].read_bytes() == path.read_bytes()
            assert os.access(back[name], os.X_OK) == os.access(path, os.X_OK)
    assert str((tmp_path / "workdir" / "deep" / "link").readlink()) == "../a.py"


ONE = b"content"
SIZE = len(ONE)
BAD: dict[str, Any] = {
    "upwards": {"files": [["../x", 0, 0, 0, SIZE]]},
    "upwards within": {"files": [["a/../../x", 0, 0, 0, SIZE]]},
    "absolute": {"files": [["/tmp/x", 0, 0, 0, SIZE]]},
    "empty name": {"files": [["", 0, 0, 0, SIZE]]},
    "dot": {"files": [["./x", 0, 0, 0, SIZE]]},
    "NUL": {"files": [["a\0b", 0, 0, 0, SIZE]]},
    "backslash": {"files": [["..\\x", 0, 0, 0, SIZE]]},
    "backslash in a link": {"links": [["a\\l", "b"]]},
    "drive": {"files": [["C:/x", 0, 0, 0, SIZE]]},
    "drive below": {"files": [["a/C:x", 0, 0, 0, SIZE]]},
    "case": {"files": [["Readme", 0, 0, 0, SIZE], ["README", 0, 0, 0, 1]]},
    "case of a folder": {"files": [["Src/a", 0, 0, 0, SIZE], ["src/b", 0, 0, 0, 1]]},
    "case of a link": {"files": [["A", 0, 0, 0, SIZE]], "links": [["a", "b"]]},
    "composition": {"files": [["\u00fc", 0, 0, 0, SIZE], ["u\u0308", 0, 0, 0, 1]]},
    "twice": {"files": [["a", 0, 0, 0, SIZE], ["a", 0, 0, 0, 1]]},
    "below a file": {"files": [["a", 0, 0, 0, SIZE], ["a/b", 0, 0, 0, 1]]},
    "through a link": {"files": [["l/x", 0, 0, 0, SIZE]], "links": [["l", "sub"]]},
    "link upwards": {"links": [["l", "../../etc"]]},
    "absolute link": {"links": [["l", "/etc"]]},
    "link with a backslash": {"links": [["l", "..\\x"]]},
    "file and link": {"files": [["a", 0, 0, 0, SIZE]], "links": [["a", "b"]]},
    "beyond its object": {"files": [["a", 0, 0, 0, SIZE + 1]]},
    "before it": {"files": [["a", 0, 0, -1, SIZE]]},
    "no such object": {"files": [["a", 0, 1, 0, SIZE]]},
    "negative object": {"files": [["a", 0, -1, 0, SIZE]]},
    "a bomb": {"objects": [[digest(ONE), 1 << 50]]},
    "many": {"files": [[str(i), 0, 0, 0, 0] for i in range(100_001)]},
    "no list": {"files": 3},
    "no path": {"files": [[3, 0, 0, 0, SIZE]]},
}


@pytest.mark.parametrize("case", BAD)
def test_an_unsafe_one_is_refused_and_leaves_nothing(tmp_path: Path, case: str) -> None:
    found = {"objects": [[digest(ONE), SIZE]], "files": [], "links": [], **BAD[case]}
    with pytest.raises(CodecError, match="the working directory is refused") as caught:
        unpack(tmp_path / "in", found, {digest(ONE): ONE})
    assert caught.value.kind == "integrity"
    assert list(tmp_path.rglob("*")) == []


@pytest.mark.parametrize(
    "links",
    [
        {"d": ".", "l": "d/../secret"},
        {"l": "d/../secret", "d": "."},
        {"sub/d": "..", "l": "sub/d/../secret"},
        {"d": "sub", "l": "d/e/../../../secret"},
        {"d": ".", "l": "D/../secret"},
        {"d": ".", "sub/l": "../d/./../secret"},
    ],
)
def test_a_link_that_goes_up_from_another_link_is_refused(tmp_path: Path, links: dict[str, str]) -> None:
    """By its name alone each stays within the folder."""
    secret = tmp_path / "in" / "secret"
    secret.parent.mkdir()
    secret.write_text("not theirs")
    found = {"objects": [[digest(ONE), SIZE]], "files": [["sub/e/a", 0, 0, 0, SIZE]], "links": list(links.items())}
    with pytest.raises(CodecError, match=r"the working directory is refused: '.*l' is a link "):
        unpack(tmp_path / "in", found, {digest(ONE): ONE})
    assert list((tmp_path / "in").iterdir()) == [secret]
    assert secret.read_text() == "not theirs"


def test_links_that_stay_within_it_are_made(tmp_path: Path) -> None:
    links = {"now": "runs/2", "runs/last": "../now", "top": "runs/../at-12:b.txt", "deep": "now/x"}
    files = [["at-12:b.txt", 0, 0, 0, SIZE], ["runs/2/x", 0, 0, 0, SIZE]]
    found = {"objects": [[digest(ONE), SIZE]], "files": files, "links": list(links.items())}
    folder = unpack(tmp_path / "in", found, {digest(ONE): ONE})
    assert (folder / "deep").read_bytes() == (folder / "runs" / "last" / "x").read_bytes() == ONE
    assert (folder / "top").read_bytes() == ONE, "a time is no drive"


@pytest.mark.parametrize("wrong", [b"CONTENT", b"conten", b"content!"])
def test_an_object_that_is_not_what_its_digest_says_leaves_nothing(tmp_path: Path, wrong: bytes) -> None:
    found = {
        "objects": [[digest(ONE), SIZE], [digest(b"2"), 1]],
        "files": [["b", 0, 1, 0, 1], ["a", 0, 0, 0, SIZE]],
        "links": [],
    }
    with pytest.raises(CodecError, match="does not have the SHA-256") as caught:
        unpack(tmp_path / "in", found, {digest(ONE): wrong, digest(b"2"): b"2"})
    assert caught.value.digest == digest(ONE)
    assert [path for path in tmp_path.rglob("*") if path.name != "in"] == []


def test_an_index_that_is_not_the_spec_s_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CodecError, match="the index"):
        extract(b"{}", digest(b"[]"), str(tmp_path / "x"), lambda name: b"")
    with pytest.raises(CodecError, match="cannot be read"):
        unpack(tmp_path, b"[[[", {})
    assert list(tmp_path.iterdir()) == []
