"""Pictures kept in a folder."""

from __future__ import annotations

import math
import os
import re
import stat
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from tintype.errors import NotFound, StorageUnavailable
from tintype.media.storage import Files, Stored

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
    assert (files.size(name), files.read_range(name, 0, 7), files.read_range(name, 2, 5)) == (7, b"picture", b"ctu")
    with pytest.raises(NotFound):
        files.read_range(name, 5, 8)
    assert all(path.suffix == ".jpeg" for path in files.path(name).parent.iterdir())


def test_what_a_disk_can_not_read_is_no_missing_file(files: Files) -> None:
    name = files.put(b"picture", "png")
    path = files.path(name)
    path.unlink()
    path.mkdir()  # what reads it is told EISDIR, as of a broken disk EIO
    for ask in (files.get, lambda name: files.read_range(name, 0, 1)):
        with pytest.raises(StorageUnavailable) as error:
            ask(name)
        assert (error.value.why, error.value.refuses) == ("Is a directory", True)
        assert name not in str(error.value.public())


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
    for ask in (files.get, files.path, files.size, lambda name: files.read_range(name, 0, 0)):
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


@pytest.mark.parametrize(
    ("error", "raised", "left"),
    [(KeyboardInterrupt, KeyboardInterrupt, [".png"]), (OSError, StorageUnavailable, [])],
    ids=["crash", "full"],
)
def test_what_fails_while_writing_leaves_no_picture_that_anybody_knows(
    files: Files,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    error: type[BaseException],
    raised: type[BaseException],
    left: list[str],
) -> None:
    def fail(_: int) -> None:
        raise error("no room on the disk")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(raised):
        files.put(b"picture", "png")
    assert [path.suffix for path in (tmp_path / "deep" / "files").iterdir()] == left


def test_a_file_and_its_name_are_synced_at_the_same_time(files: Files, monkeypatch: pytest.MonkeyPatch) -> None:
    """One wait for the disk, not two; and both are synced once it returns."""
    both, synced, sync = threading.Barrier(2, timeout=60), list[bool](), os.fsync

    def meet(descriptor: int) -> None:
        both.wait()
        sync(descriptor)
        synced.append(stat.S_ISDIR(os.fstat(descriptor).st_mode))

    monkeypatch.setattr(os, "fsync", meet)
    files.put(b"picture", "png")
    assert sorted(synced) == [False, True]


def test_what_is_needed_outlives_its_time(files: Files) -> None:
    """Here for those whose own life for it is longer; nobody else sees it."""
    needed, other = files.put(b"needed", "png"), files.put(b"other", "png")
    folder = files.path(needed).parent
    for name in (needed, other):
        age(folder / name, LIFE + 1)
    assert files.expire({needed}) == 1
    with pytest.raises(NotFound):
        files.get(needed)
    assert Files(folder, math.inf).get(needed) == b"needed"
    assert files.expire() == 1


def test_a_choice_is_made_among_all_that_are_stored(files: Files) -> None:
    old, new, kept = (files.put(data, "png") for data in (b"old", b"newer", b"kept"))
    folder = files.path(old).parent
    age(folder / old, LIFE + 1)
    (folder / "README").write_text("nobody's")
    stale = folder / ("a" * 32 + ".png.part")
    stale.write_bytes(b"half")
    age(stale, 3600)
    seen: list[Stored] = []

    def choose(stored: Iterator[Stored]) -> list[str]:
        seen.extend(stored)
        return [new]

    files.thin(choose)
    assert {one.name: one.size for one in seen} == {old: 3, new: 5, kept: 4}
    assert sorted(seen)[0].name == old
    assert {path.name for path in folder.iterdir()} == {old, kept, "README"}
    files.remove_all([old, kept, new, "README"])
    assert [path.name for path in folder.iterdir()] == ["README"]


def test_a_disk_lacks_room_below_a_gibibyte_or_a_part_of_a_small_one(
    files: Files, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Free bytes can't be had as one wants them: the system's answer is."""
    for total, free, lacks in ((2**40, 2**30, 0), (2**40, 2**30 - 9, 9), (2**30, 2**25, round(0.05 * 2**30) - 2**25)):
        disk = SimpleNamespace(total=total, free=free)
        monkeypatch.setattr("tintype.media.storage.disk_usage", lambda _, disk=disk: disk)
        assert files.missing_space() == lacks


def test_to_discard_never_raises(files: Files, monkeypatch: pytest.MonkeyPatch) -> None:
    name = files.put(b"x", "png")
    files.discard(name)
    with pytest.raises(NotFound):
        files.get(name)
    for gone in (name, "../secret", ""):
        files.discard(gone)

    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "unlink", refuse)
    files.discard(files.put(b"x", "png"))
