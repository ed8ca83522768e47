"""ARCHITECTURE.md names every module where it lies, and none that is not there."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
SOURCE = ROOT / "src" / "tintype"
ENTRY = re.compile(r"^([│ ]*)[├└]── (\S+)(.*)$")
#: Pictures drawn with code and steps of the schema: named as a folder, not one by one.
AS_FOLDERS = ("media/samples/", "store/migrations/")


def test_the_tree_names_the_modules_of_the_source() -> None:
    there = {path.relative_to(SOURCE).as_posix() for path in SOURCE.rglob("*.py")}
    own = {
        path for path in there if not path.endswith(("__init__.py", "__main__.py")) and not path.startswith(AS_FOLDERS)
    }
    named = {path for path in _named() if path.endswith(".py") and not path.endswith("__init__.py")}
    assert len(own) > 200
    assert own - named == set()
    assert named - there == set()


def test_the_tree_names_the_pages() -> None:
    text = (ROOT / "ARCHITECTURE.md").read_text("utf-8")
    pages = {f"docs/{path.name}" for path in (ROOT / "docs").glob("*.md")}
    assert set(re.findall(r"^(docs/\S+\.md) ", text, re.MULTILINE)) == pages


def _named() -> Iterator[str]:
    """Paths of the tree of src/tintype, below its first line; a line may name several modules of its folder."""
    folders: list[str] = []
    for line in (ROOT / "ARCHITECTURE.md").read_text("utf-8").split("```")[1].split("\ntests/")[0].splitlines():
        if not (entry := ENTRY.match(line)):
            continue
        bars, name, words = entry.groups()
        del folders[len(bars) // 4 :]
        if name.endswith("/"):
            folders.append(name.rstrip("/"))
        names = [name, *re.findall(r"\b[a-z_0-9]+\.py\b", words)]
        yield from ("/".join([*folders, one]) for one in names if one.endswith(".py"))
