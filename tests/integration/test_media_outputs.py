"""Pictures kept in a folder."""

from __future__ import annotations

import os
import re
import time
from pathlib import Path

import pytest

from tintype.errors import NotFound
from tintype.media.outputs import Files

LIFE = 100.0


@pytest.fixture
def files(tmp_path: Path) -> Files:
    return Files(tmp_path / "deep" / "files", LIFE)


def age(path: Path, seconds: float) -> None:
    then = time.time() - seconds
    os.utime(path, (then, then))


def test_put_and_get(files: Files) -> None:
    name = files.put(b"picture", "jpeg")
    assert re.fullmatch(r"[0-9a-f]{32}\.jpeg", name)
    assert files.get(name) == files.path(name).read_bytes() == b"picture"
    assert files.put(b"picture", "jpeg") != name
    assert all(path.suffix == ".jpeg" for path in files.path(name).parent.iterdir())


@pytest.mark.parametrize("suffix", ["", ".png", "../x", "p/g", "PNG", "png\n", "toolong"])
def test_bad_suffix(files: Files, suffix: str) -> None:
    with pytest.raises(ValueError):
        files.put(b"", suffix)


@pytest.mark.parametrize(
    "name",
    [
        "0" * 32 + ".jpeg",
        "../secret",
        "../" + "0" * 32 + ".jpeg",
        "/etc/passwd",
        "",
        ".",
        "..",
        "a" * 32 + ".jpeg\n",
        "a" * 32 + ".jp/g",
        "a" * 32 + ".jpeg\0",
        "A" * 32 + ".jpeg",
        "%2e%2e%2fsecret",
        "a" * 100_000,
    ],
)
def test_unknown_and_malformed_names(files: Files, tmp_path: Path, name: str) -> None:
    (tmp_path / "deep" / "secret").write_text("secret")
    (tmp_path / "deep" / ("0" * 32 + ".jpeg")).write_text("secret")
    for ask in (files.get, files.path):
        with pytest.raises(NotFound) as refused:
            ask(name)
        assert str(tmp_path) not in str(refused.value)


def test_expiry(files: Files) -> None:
    old, new = files.put(b"old", "png"), files.put(b"new", "png")
    age(files.path(new), LIFE - 50)
    age(files.path(old), LIFE + 1)
    with pytest.raises(NotFound):
        files.get(old)
    assert files.expire() == 1
    assert files.expire() == 0
    assert files.get(new) == b"new"


def test_expire_removes_what_a_crash_left_and_nothing_of_others(files: Files) -> None:
    folder = files.path(files.put(b"x", "png")).parent
    stale, fresh, foreign = folder / ("a" * 32 + ".png.part"), folder / ("b" * 32 + ".png.part"), folder / "README.part"
    for path in (stale, fresh, foreign):
        path.write_bytes(b"half")
    age(stale, 3600)
    age(foreign, 3600)
    assert files.expire() == 1
    assert {path.name for path in folder.iterdir()} >= {fresh.name, foreign.name}
    with pytest.raises(NotFound):
        files.get(fresh.name)


def test_a_crash_while_writing_leaves_no_picture(files: Files, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def crash(_: int) -> None:
        raise OSError("power cut")

    monkeypatch.setattr(os, "fsync", crash)
    with pytest.raises(OSError, match="power cut"):
        files.put(b"picture", "png")
    left = list((tmp_path / "deep" / "files").iterdir())
    assert [path.suffix for path in left] == [".part"]
