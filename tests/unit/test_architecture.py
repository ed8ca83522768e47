"""The pages about the structure name what is there: packages, modules, decisions; the picture has every package."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from tests import packages_diagram
from tests.tree import SOURCE, tree

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "ARCHITECTURE.md").read_text("utf-8")
DECISIONS = ROOT / "docs" / "decisions"
#: What tells contributors of modules by their paths in `src/tintype`, or in the repository.
PAGES = [
    ROOT / "ARCHITECTURE.md",
    ROOT / "CONTRIBUTING.md",
    ROOT / "docs" / "failure-modes.md",
    *DECISIONS.glob("*.md"),
]
MODULE = re.compile(r"`((?:[a-z_0-9]+/)+[a-z_0-9-]+\.(?:py|js)|(?:[a-z_0-9]+/)+)`")


@pytest.fixture(scope="module")
def said() -> dict[Path, str]:
    return dict(tree())


def test_every_module_says_what_it_is_for(said: dict[Path, str]) -> None:
    assert len(said) > 150
    assert [path for path, words in said.items() if not words] == []


def test_the_table_names_every_package(said: dict[Path, str]) -> None:
    there = {f"`{path.parts[0]}/`" for path in said if len(path.parts) > 1}
    alone = {f"`{path.name}`" for path in said if len(path.parts) == 1 and not path.name.startswith("__")}
    rows = " ".join(re.findall(r"^\|([^|]*)\|", TEXT, re.MULTILINE))
    assert {word for word in there | alone if word not in rows} == set()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_module_that_is_named_is_there(page: Path) -> None:
    named = set(MODULE.findall(page.read_text("utf-8")))
    rooms = (ROOT, SOURCE, *(SOURCE / room for room in ("store", "web")))
    assert {path for path in named if not any((room / path).exists() for room in rooms)} == set()


def test_modules_are_named_at_all() -> None:
    assert len({name for page in PAGES for name in MODULE.findall(page.read_text("utf-8"))}) > 60


def test_the_index_names_every_page_and_the_list_every_decision() -> None:
    pages = {path.name for path in (ROOT / "docs").glob("*.md")} - {"index.md"}
    assert set(re.findall(r"\]\(([a-z-]+\.md)\)", (ROOT / "docs" / "index.md").read_text("utf-8"))) == pages
    decided = {path.name for path in DECISIONS.glob("0*.md")}
    assert set(re.findall(r"\]\((0\S+\.md)\)", (DECISIONS / "README.md").read_text("utf-8"))) == decided


def test_decisions_say_what_they_cost_and_what_else_was_considered() -> None:
    for page in DECISIONS.glob("0*.md"):
        text = page.read_text("utf-8")
        assert text.startswith(f"# {page.name[:4]}: ")
        assert "**Context.**" in text, page.name
        assert "**What it costs.**" in text, page.name


def test_the_picture_has_every_package_and_leaves_out_what_other_arrows_imply() -> None:
    drawn = packages_diagram.draw()
    assert set(re.findall(r'class="name"[^>]*>(\w+)<', drawn)) == {
        name for row in packages_diagram.packages().layers for name in row
    }
    assert packages_diagram.reduced({"a": {"b", "c", "d"}, "b": {"c"}, "c": {"d"}, "d": set()}) == {
        "a": {"b"},
        "b": {"c"},
        "c": {"d"},
        "d": set(),
    }
