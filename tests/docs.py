"""What of the documents is made from the code: `python -m tests.docs` writes it, with `--check` it only compares."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

from tests import packages_diagram, samplers_page, settings_page
from tintype.catalog.limits import LIMITS, Limit

ROOT = Path(__file__).parents[1]
#: What a key may do that has a limit, by the limit's scope.
SCOPES = {
    "request": "The keys that it makes have the same or a smaller one.",
    "key": "It makes no keys, as each would have as much again.",
    "account": "It makes no keys. Those of its account without one share `TINTYPE_KEY_{}`, if that is set.",
}


def limits_of_keys() -> str:
    """docs/api.md with its table of limits."""
    text = (ROOT / "docs/api.md").read_text("utf-8")
    begin, end = "<!-- Made from src/tintype/catalog/limits.py by `make docs`. -->\n", "<!-- Until here. -->\n"
    before, rest = text.split(begin)
    head = "| number | of what | a key that has one |\n|---|---|---|\n"
    return "".join([before, begin, head, *map(_row, LIMITS.values()), end, rest.split(end)[1]])


def _row(limit: Limit) -> str:
    return f"| `{limit.name}` | {limit.help} | {SCOPES[limit.scope].format(limit.name.upper())} |\n"


#: Each file, and what makes its text.
GENERATED: dict[str, Callable[[], str]] = {
    "docs/api.md": limits_of_keys,
    "docs/images/packages.svg": packages_diagram.draw,
    "docs/samplers.md": samplers_page.page,
    "docs/settings.md": settings_page.page,
}


def outdated() -> list[str]:
    """The files that are not as the code has them."""
    return [name for name, made in GENERATED.items() if not _same(ROOT / name, made())]


def _same(file: Path, text: str) -> bool:
    return file.exists() and file.read_text("utf-8") == text


def main() -> int:
    if "--check" in sys.argv:
        for name in (wrong := outdated()):
            print(f"{name} is not as the code has it: run `make docs`")  # noqa: T201
        return int(bool(wrong))
    for name in outdated():
        (ROOT / name).write_text(GENERATED[name](), "utf-8")
        print(f"wrote {name}")  # noqa: T201
    return 0


if __name__ == "__main__":
    sys.exit(main())
