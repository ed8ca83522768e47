"""The modules of `src/tintype`, each with the first line of its docstring: `python -m tests.tree [package]`."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path

#: Of a docstring, where a module begins with it.
FIRST_LINE = re.compile(r'"""(.+?)(?:"""|\n)')
SOURCE = Path(__file__).parents[1] / "src" / "tintype"


def tree(folder: Path = SOURCE) -> Iterator[tuple[Path, str]]:
    """Every module below the folder, but for the steps of the schema, and what its docstring's first line says."""
    for path in sorted(folder.rglob("*.py")):
        if path.parent.name != "versions":
            said = FIRST_LINE.match(path.read_text("utf-8"))
            yield path.relative_to(SOURCE), said[1] if said else ""


if __name__ == "__main__":
    for path, said in tree(SOURCE.joinpath(*sys.argv[1:2])):
        name = f"{path.parent}/" if path.name == "__init__.py" else f"  {path.name}"
        sys.stdout.write(f"{'  ' * (len(path.parts) - 2)}{name:32} {said}\n")
