"""What of the documents is made from the code: `python -m tests.docs` writes it, with `--check` it only compares."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

from tests import packages_diagram, settings_page

ROOT = Path(__file__).parents[1]
#: Each file, and what makes its text.
GENERATED: dict[str, Callable[[], str]] = {
    "docs/images/packages.svg": packages_diagram.draw,
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
