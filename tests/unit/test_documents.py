"""What the documents and deploy/ name exists: commands with their options, settings, targets, paths, links' ends."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from tintype.cli import tintype
from tintype.settings import CONFIG, SETTINGS, VARIABLES

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
#: With those for contributors, who have variables of the tests' own.
ALL = [*PAGES, ROOT / "ARCHITECTURE.md", ROOT / "CONTRIBUTING.md"]
TEXTS = [*PAGES, *sorted(path for path in (ROOT / "deploy").rglob("*") if path.is_file())]
#: What commands say on a terminal.
COMMANDS = sorted((ROOT / "src" / "tintype" / "cli").glob("*.py"))
#: A command where one can begin: on a line, after what ends another one, after what is set for it alone.
COMMAND = re.compile(
    r"(?:^[ \t]*|[|;&(][ \t]*|\b(?:until|while|do|or:) )(?:[A-Z_]+=(?:'[^']*'|\S+) )*"
    r"tintype ((?:[a-z]|--\w)[^\n|;&#→)]*)",
    re.M,
)
SPAN = re.compile(r"`([^`]+)`")
BLOCK = re.compile(r"^(?:```\w*\n(.*?)^```|((?: {4}[^\n]*\n)+))", re.M | re.S)
SETTING = re.compile(r"\bTINTYPE_([A-Z0-9_]*[A-Z0-9])(_?…|_\*)?")
TARGET = re.compile(r"^[a-z]+:", re.M)
MAKE = re.compile(r"(?:^|[;&(]) *make ([a-z][a-z-]*)", re.M)
#: Of a file or folder of the repository; not of one with a place to fill in.
PLACE = re.compile(r"`((?:tests|docs|deploy|benchmarks|examples|training|src)/[\w./-]+)`")
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")


def code(path: Path) -> str:
    """What of a text is meant to be typed: of a page its blocks, and by line what stands between backticks."""
    text = path.read_text("utf-8")
    if path.suffix != ".md":
        return "\n".join(re.findall(r"^ *#   (.*)$", text, re.M))
    blocks = [found[0] or found[1] for found in BLOCK.findall(text)]
    return "\n".join([*blocks, *(span.replace("\n", " ") for span in SPAN.findall(BLOCK.sub("\n", text)))])


def commands(text: str) -> Iterator[list[str]]:
    for found in COMMAND.findall(text.replace("\\\n", " ")):
        try:
            yield shlex.split(found)
        except ValueError:  # an open quote: the rest of it is on another line
            yield found.replace('"', " ").replace("'", " ").split()


def mistake(words: list[str]) -> str:
    """What of a command doesn't exist; nothing where all does."""
    command: click.Command = tintype
    context = click.Context(command)
    rest = list(words)
    while isinstance(command, click.Group) and rest and not rest[0].startswith("-"):
        if (found := command.get_command(context, rest[0])) is None:
            own = command.name == "generate" or not rest[0].islower()  # a slug of a models file's, SLUG, …
            return "" if own else f"{command.name} has no {rest[0]}"
        command = found
        rest.pop(0)
    known = {name for option in command.params for name in (*option.opts, *option.secondary_opts)} | {"--help"}
    given = {word.partition("=")[0] for word in rest if re.match(r"--?[a-z]", word)}
    return "" if given <= known else f"{command.name} has no {', '.join(sorted(given - known))}"


@pytest.mark.parametrize("path", TEXTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_command_and_option_exists(path: Path) -> None:
    found = [(words, mistake(words)) for words in commands(code(path))]
    assert [(" ".join(words), wrong) for words, wrong in found if wrong] == []


def test_commands_are_found_at_all() -> None:
    every = [" ".join(words) for path in TEXTS for words in commands(code(path))]
    assert len(every) > 100
    assert {"serve --fleet ray", "queue status", "models pull sd1.5-img2img"} <= set(every)
    wrong = ["serve --flet none", "keys forget x", "no-such", "workers list --jsn", "generate sd1.5-img2img --promt x"]
    assert all(mistake(words.split()) for words in wrong)


@pytest.mark.parametrize("path", [*TEXTS, *COMMANDS], ids=lambda path: str(path.relative_to(ROOT)))
def test_every_setting_exists(path: Path) -> None:
    """By its present name: docs/settings.md alone has the ones of earlier versions too."""
    formerly = set[str]() if path.name == "settings.md" else {one.older for one in SETTINGS}
    known = {*VARIABLES, CONFIG} - formerly
    for name, begins in SETTING.findall(path.read_text("utf-8")):
        assert any(one.startswith(name) for one in known) if begins else name in known, name


@pytest.mark.parametrize("page", ALL, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_target_and_path_exists(page: Path) -> None:
    targets = {found[:-1] for found in TARGET.findall((ROOT / "Makefile").read_text("utf-8"))}
    assert {name for name in MAKE.findall(code(page)) if name not in targets} == set()
    named = PLACE.findall(page.read_text("utf-8"))
    assert {path for path in named if not (ROOT / path).exists()} == set()


def test_targets_and_paths_are_found_at_all() -> None:
    assert {"setup", "bench", "docs"} <= {name for page in ALL for name in MAKE.findall(code(page))}
    assert len({path for page in ALL for path in PLACE.findall(page.read_text("utf-8"))}) > 10


def anchors(page: Path) -> set[str]:
    """Of a page's headings, as GitHub makes them."""
    text = re.sub(r"^```.*?^```", "", page.read_text("utf-8"), flags=re.M | re.S)
    headings = (re.sub(r"[`*]|\[([^\]]*)\]\([^)]*\)", r"\1", line) for line in re.findall(r"^#+ (.+)$", text, re.M))
    return {re.sub(r"[^\w\- ]", "", heading.strip().lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", ALL, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_leads_somewhere(page: Path) -> None:
    text = re.sub(r"^```.*?^```", "", page.read_text("utf-8"), flags=re.M | re.S)
    for target in LINK.findall(text):
        if "://" in target or target.startswith(("mailto:", "/")):
            continue
        path, _, anchor = target.partition("#")
        there = (page.parent / path) if path else page
        assert there.exists(), target
        assert not anchor or anchor in anchors(there), target
