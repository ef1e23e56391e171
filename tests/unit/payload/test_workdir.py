"""The folder that is sent with a job: what is in it, what is left out, what is refused, and what is sent anew."""

from __future__ import annotations

import json
import os
import random
import re
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from jupyter_konduktor.errors import InputTooLargeError, InvalidTaskError, PayloadError, SecretFoundError
from jupyter_konduktor.payload import workdir
from jupyter_konduktor.payload.workdir import Workdir, prepare, survey

LIMIT = 1 << 30
LONG_AGO = 1_600_000_000


def make(folder: Path, files: dict[str, str | bytes]) -> Path:
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        os.utime(path, (LONG_AGO, LONG_AGO))
    return folder


def names(folder: Path) -> list[str]:
    return [file.path for file in survey(str(folder), limit=LIMIT).files]


def index(made: Workdir) -> Any:
    return json.loads(bytes(made.objects[made.sha256].read()))


def test_rules_are_those_of_git(tmp_path: Path) -> None:
    """git itself is asked: of each file, whether it is ignored."""
    make(
        tmp_path,
        {
            ".gitignore": "*.log\n/top.txt\nbuild/\n!keep.log\ndata/*\n!data/small\n# not\\#this\n\\#odd\n",
            "src/.gitignore": "*.tmp\n!deep/\n/only-here\nx.log\n",
            "src/a.py": "",
            "src/a.tmp": "",
            "src/deep/b.tmp": "",
            "src/only-here": "",
            "src/deep/only-here": "",
            "top.txt": "",
            "src/top.txt": "",
            "a.log": "",
            "keep.log": "",
            "src/keep.log": "",
            "build/x": "",
            "src/build/y": "",
            "src/notbuild": "",
            "data/large": "",
            "data/small": "",
            "#odd": "",
            "with space": "",
            "ümlaut": "",
        },
    )
    subprocess.run(["git", "init", "-q"], cwd=tmp_path, check=True)
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--others", "--exclude-standard"], cwd=tmp_path, check=True, capture_output=True
    ).stdout
    assert names(tmp_path) == sorted(os.fsdecode(name) for name in listed.split(b"\0") if name)
    # Below a repository's root its rules hold as well.
    below = [name.removeprefix("src/") for name in names(tmp_path) if name.startswith("src/")]
    assert names(tmp_path / "src") == below


def test_konduktorignore_has_the_last_word(tmp_path: Path) -> None:
    make(
        tmp_path,
        {
            ".gitignore": "*.csv\n",
            ".konduktorignore": "!sent.csv\nnotes/\n",
            "sent.csv": "",
            "b.csv": "",
            "notes/a": "",
        },
    )
    assert names(tmp_path) == [".gitignore", ".konduktorignore", "sent.csv"]


def test_caches_and_environments_stay_here(tmp_path: Path) -> None:
    make(tmp_path, {"env/pyvenv.cfg": "", "env/lib/x.py": "", "__pycache__/a.pyc": "", ".git/config": "", "a.py": ""})
    os.mkfifo(tmp_path / "pipe")
    assert names(tmp_path) == ["a.py"]


@pytest.mark.parametrize("target", ["/etc/passwd", "../outside", "sub/../../outside"])
def test_links_out_of_the_folder_are_refused(tmp_path: Path, target: str) -> None:
    folder = make(tmp_path / "in", {"a": "", "sub/b": ""})
    (folder / "link").symlink_to(target)
    with pytest.raises(InvalidTaskError, match=r"link is a link out of it, to .*\n.*\.konduktorignore"):
        survey(str(folder), limit=LIMIT)
    (folder / ".konduktorignore").write_text("link\n")
    assert names(folder) == [".konduktorignore", "a", "sub/b"]


@pytest.mark.parametrize(
    ("files", "said"),
    [
        (["Readme", "README"], "'README' and 'Readme' are one on some systems"),
        (["Src/a", "src/b"], "'Src' and 'src' are one on some systems"),
        (["sub/a\\b"], "the unsafe name 'sub/a\\\\b'"),
        (["C:x"], "the unsafe name 'C:x'"),
    ],
)
@pytest.mark.needs("linux")
def test_names_that_the_job_would_refuse_are_refused_here(tmp_path: Path, files: list[str], said: str) -> None:
    folder = make(tmp_path / "in", dict.fromkeys(files, ""))
    with pytest.raises(InvalidTaskError, match=re.escape(said) + r"\n.*\.konduktorignore"):
        survey(str(folder), limit=LIMIT)


def test_a_link_up_from_another_link_is_refused_here(tmp_path: Path) -> None:
    folder = make(tmp_path / "in", {"sub/a": ""})
    (folder / "d").symlink_to("sub")
    (folder / "l").symlink_to("d/../sub")
    with pytest.raises(InvalidTaskError, match=r"'l' is a link that goes up from another link, to d/\.\./sub"):
        survey(str(folder), limit=LIMIT)


def test_links_within_the_folder_stay_links(tmp_path: Path) -> None:
    make(tmp_path, {"a": "", "sub/b": ""})
    (tmp_path / "sub" / "up").symlink_to("../a")
    found = survey(str(tmp_path), limit=LIMIT)
    assert found.links == {"sub/up": "../a"}
    assert index(prepare(found))["links"] == [["sub/up", "../a"]]


def test_what_is_no_folder_is_refused(tmp_path: Path) -> None:
    for path in (tmp_path / "none", make(tmp_path, {"file": ""}) / "file"):
        with pytest.raises(InvalidTaskError, match="there is no such directory on this machine"):
            survey(str(path), limit=LIMIT)


def test_size_and_number_are_limited(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make(tmp_path, {"small": "x", "large": "x" * 5000})
    with pytest.raises(
        InputTooLargeError, match=r"has 2 files, 4\.9 KiB; the limit \(max_workdir\) is 1\.0 KiB.*large \("
    ):
        survey(str(tmp_path), limit=1024)
    monkeypatch.setattr(workdir, "MAX_FILES", 1)
    with pytest.raises(InvalidTaskError, match="more than 1 files"):
        survey(str(tmp_path), limit=LIMIT)


def test_a_change_is_one_new_object_and_nothing_else_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = random.Random(3)
    folder = make(tmp_path / "in", {f"d{i % 9}/f{i:03}": rng.randbytes(30_000) for i in range(400)})
    make(folder, {"big": rng.randbytes(3 << 20)})
    cache = tmp_path / "cache.json"
    before = prepare(survey(str(folder), limit=LIMIT), cache=cache)
    assert len(before.objects) > 5
    (folder / "d4" / "f004").write_bytes(b"new")
    os.utime(folder / "d4" / "f004", (LONG_AGO, LONG_AGO + 1))
    read: list[str] = []
    content = workdir._content
    monkeypatch.setattr(workdir, "_content", lambda root, file: (read.append(file.path), content(root, file))[1])
    after = prepare(survey(str(folder), limit=LIMIT), cache=cache)
    assert len(set(after.objects) - set(before.objects)) == 2  # one of small files, and the index
    assert 0 < len(read) < 200
    read.clear()
    assert prepare(survey(str(folder), limit=LIMIT), cache=cache).sha256 == after.sha256
    assert read == []


def test_many_large_files_are_not_too_many_objects(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workdir, "UNIT", 100)
    folder = make(tmp_path, {f"{i}": f"{i:0>120}" for i in range(1000)})
    made = prepare(survey(str(folder), limit=LIMIT))
    assert len(made.objects) <= workdir.OBJECTS + 1
    assert len(index(made)["files"]) == 1000


def test_a_file_of_now_is_read_again(tmp_path: Path) -> None:
    """A file may change once more without another time or size."""
    (tmp_path / "a").write_text("one")
    now = time.time_ns()
    os.utime(tmp_path / "a", ns=(now, now))
    cache = tmp_path.parent / "cache.json"
    before = prepare(survey(str(tmp_path), limit=LIMIT), cache=cache)
    (tmp_path / "a").write_text("two")
    os.utime(tmp_path / "a", ns=(now, now))
    assert prepare(survey(str(tmp_path), limit=LIMIT), cache=cache).sha256 != before.sha256


def test_a_cache_that_is_damaged_is_none(tmp_path: Path) -> None:
    folder, cache = make(tmp_path / "in", {"a": "1"}), tmp_path / "cache.json"
    expected = prepare(survey(str(folder), limit=LIMIT)).sha256
    for damage in (b"{", b"[]", b"\xff"):
        cache.write_bytes(damage)
        assert prepare(survey(str(folder), limit=LIMIT), cache=cache).sha256 == expected


@pytest.mark.parametrize("size", [10, 17 << 20])
def test_a_file_that_changes_as_it_is_sent_is_an_error(tmp_path: Path, size: int) -> None:
    folder = make(tmp_path, {"a": b"x" * size})
    made = prepare(survey(str(folder), limit=LIMIT))
    (piece,) = (piece for digest, piece in made.objects.items() if digest != made.sha256)
    assert piece.read().nbytes == size
    (folder / "a").write_bytes(b"y" * size)
    with pytest.raises(PayloadError, match="a has changed as it was sent"):
        (piece.check if size > 1 << 20 else piece.read)()


def test_a_secret_in_a_file_is_refused_by_its_name(tmp_path: Path) -> None:
    folder = make(tmp_path, {"sub/.env": "HF_TOKEN=hf_0123456789abcdef\n"})
    with pytest.raises(SecretFoundError, match=r"\$HF_TOKEN in the file sub/\.env") as caught:
        prepare(survey(str(folder), limit=LIMIT), secrets={"HF_TOKEN": b"hf_0123456789abcdef"})
    assert "hf_0123" not in str(caught.value)
