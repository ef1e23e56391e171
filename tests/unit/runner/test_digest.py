"""The names of buffers: SHA-256, of large ones that of their chunks."""

from __future__ import annotations

import hashlib
import os
from typing import Any

import numpy as np
import pytest

from jupyter_konduktor.runner import codec, digest
from jupyter_konduktor.runner.pack import CodecError


@pytest.fixture
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(digest, "LARGE", 1000)
    monkeypatch.setattr(digest, "CHUNK", 300)


def test_a_small_buffer_has_its_plain_sha_256() -> None:
    data = [b"", b"abc", os.urandom(1 << 20), np.arange(10.0)]
    assert digest.of_buffers(data) == [hashlib.sha256(each).hexdigest() for each in data]


@pytest.mark.usefixtures("small_chunks")
@pytest.mark.parametrize("size", [999, 1000, 1001, 1199, 1200, 1201])
def test_a_large_buffer_has_that_of_its_chunks(size: int) -> None:
    data = os.urandom(size)
    chunks = b"".join(hashlib.sha256(data[start : start + 300]).digest() for start in range(0, size, 300))
    expected = hashlib.sha256(data if size < 1000 else chunks).hexdigest()
    assert digest.of_buffers([b"x", data, b"y"])[1] == expected


@pytest.mark.usefixtures("small_chunks")
def test_one_changed_byte_of_a_large_buffer_is_refused() -> None:
    pack = codec.dump({"x": np.arange(100_000)})
    (name,) = pack.buffers

    def fetch(changed: int | None) -> Any:
        data = bytearray(pack.buffers[name])
        if changed is not None:
            data[changed] ^= 1
        return data

    assert (codec.load(pack.data, lambda *_: fetch(None), {}).values["x"] == np.arange(100_000)).all()
    for changed in (0, 301, 799_999):
        with pytest.raises(CodecError, match="does not have its digest"):
            codec.load(pack.data, lambda *_, changed=changed: fetch(changed), {})
