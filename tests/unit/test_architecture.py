"""ARCHITECTURE.md names every package, and each module says in its first line what it is for (`make tree`)."""

from __future__ import annotations

import re
from pathlib import Path

from tests.tree import SOURCE, tree

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "ARCHITECTURE.md").read_text("utf-8")
MODULES = [*tree()]
#: A path of a module, as ARCHITECTURE.md names them.
MODULE = re.compile(r"`((?:[a-z_0-9]+/)*[a-z_0-9]+\.py)`")


def test_every_module_says_what_it_is_for() -> None:
    said = dict(MODULES)
    assert len(said) > 150
    assert [path for path, words in said.items() if not words] == []


def test_the_table_names_every_package() -> None:
    there = {f"`{path.parent.parts[0]}/`" for path, _ in MODULES if path.name == "__init__.py" and len(path.parts) > 1}
    alone = {f"`{path.name}`" for path, _ in MODULES if len(path.parts) == 1 and not path.name.startswith("__")}
    assert {word for word in there | alone if f"| {word}" not in TEXT} == set()


def test_every_module_that_is_named_is_there() -> None:
    named = {path for path in MODULE.findall(TEXT) if "/" in path and not path.startswith(("tests/", "benchmarks/"))}
    assert len(named) > 20
    assert {path for path in named if not (SOURCE / path).exists()} == set()


def test_the_tree_names_the_pages() -> None:
    pages = {f"docs/{path.name}" for path in (ROOT / "docs").glob("*.md")}
    assert set(re.findall(r"^(docs/\S+\.md) ", TEXT, re.MULTILINE)) == pages
