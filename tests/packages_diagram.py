"""The picture in ARCHITECTURE.md, as SVG: the packages by layer, and which imports which. `make docs` writes it.

Rows are the layers of import-linter's first contract (pyproject.toml), boxes the packages and modules in them, arrows
their imports, late ones too. An arrow that a path of other arrows implies is left out, and so is one to a package that
nearly all may import: those say by how many they are. Lines of code are not shown, since they would change the picture
with every commit.
"""

from __future__ import annotations

import ast
import tomllib
from collections.abc import Iterator
from functools import cache, partial
from itertools import pairwise, permutations
from pathlib import Path
from typing import NamedTuple
from xml.sax.saxutils import escape

ROOT = Path(__file__).parents[1]
SOURCE = ROOT / "src" / "tintype"
#: The rows from this one down are drawn without arrows: what everything may import.
FLOOR = "core"
#: What loads tensors: packages that import one of these never run in a web process.
TENSORS = {"torch", "diffusers", "transformers"}
WIDTH, TOP, ROW, BOX, GAP, EDGE = 600, 16, 112, 54, 40, 22
STYLE = """
  svg { font-family: system-ui, -apple-system, "Segoe UI", Roboto, Helvetica, Arial, sans-serif; }
  .box { fill: #e3eefc; stroke: #2f6fb3; stroke-width: 1.5; }
  .tensors { fill: #fde6cf; stroke: #b35c00; }
  .floor { fill: #eceff2; stroke: #66707a; }
  .arrow { fill: none; stroke: #4a5560; stroke-width: 1.8; marker-end: url(#head); }
  .name { font-size: 20px; font-weight: 600; text-anchor: middle; fill: #101820; }
  .note { font-size: 16px; text-anchor: middle; fill: #3a444e; }
  .legend { font-size: 16px; fill: #101820; }
""".strip("\n")
#: Boxes that aren't plain, as the legend explains them.
KINDS = {
    "tensors": "has modules that import torch: no web process loads these",
    "floor": "by how many of the others it is imported",
}
#: Of an arrow.
HEAD = (
    '<marker id="head" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" orient="auto">'
    '<path d="M0 0L8 4L0 8z" fill="#4a5560"/></marker>'
)


class Point(NamedTuple):
    x: float
    y: float


class Packages(NamedTuple):
    """What the code says."""

    #: From the top down.
    layers: list[list[str]]
    modules: dict[str, int]
    imports: dict[str, set[str]]
    tensors: set[str]


@cache
def packages() -> Packages:
    layers = _layers()
    places = {
        name: SOURCE / name if (SOURCE / name).is_dir() else SOURCE / f"{name}.py" for row in layers for name in row
    }
    files = {
        name: [file for file in place.rglob("*.py") if file.parent.name != "versions"] if place.is_dir() else [place]
        for name, place in places.items()
    }
    imported = {name: {module for file in found for module in _imports(file)} for name, found in files.items()}
    ours = {
        name: {words[1] for module in found if (words := module.split("."))[0] == "tintype" and words[1:]}
        for name, found in imported.items()
    }
    return Packages(
        layers,
        {name: len(found) for name, found in files.items()},
        {name: (found & set(places)) - {name} for name, found in ours.items()},
        {name for name, found in imported.items() if {module.partition(".")[0] for module in found} & TENSORS},
    )


def _layers() -> list[list[str]]:
    linter = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["tool"]["importlinter"]
    rows = next(contract["layers"] for contract in linter["contracts"] if contract["type"] == "layers")
    return [[name.strip().removeprefix("tintype.") for name in row.split("|")] for row in rows]


def _imports(file: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(file.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names if node.module == "tintype")


def reduced(imports: dict[str, set[str]]) -> dict[str, set[str]]:
    """Without what a longer path implies."""
    below: dict[str, set[str]] = {}

    def reach(name: str) -> set[str]:
        if name not in below:
            below[name] = {*imports[name], *(far for near in imports[name] for far in reach(near))}
        return below[name]

    return {
        name: {one for one in near if not any(one in reach(other) for other in near)} for name, near in imports.items()
    }


class Drawing:
    """Boxes in rows, and arrows that go down between them."""

    def __init__(self, code: Packages) -> None:
        self._code = code
        cut = next(place for place, row in enumerate(code.layers) if FLOOR in row)
        self._floor = {name for row in code.layers[cut:] for name in row}
        upper = {name: near - self._floor for name, near in code.imports.items() if name not in self._floor}
        self._arrows = reduced(upper)
        self._rows = [*_ordered(code.layers[:cut], self._arrows), *code.layers[cut:]]
        self._row = {name: place for place, row in enumerate(self._rows) for name in row}
        self._boxes = {
            name: self._box(place, number, len(row))
            for place, row in enumerate(self._rows)
            for number, name in enumerate(row)
        }

    def _box(self, row: int, number: int, count: int) -> tuple[Point, float]:
        """The middle of a box, and half of its width."""
        share = (WIDTH - 2 * EDGE + GAP) / count
        half = (share - GAP) / 2
        return Point(EDGE + number * share + half, self._top(row) + BOX / 2), min(half, 130.0) if count < 3 else half

    def _top(self, row: int) -> float:
        floor = len(self._rows) - len([1 for names in self._rows if set(names) & self._floor])
        return TOP + min(row, floor) * ROW + max(0, row - floor) * (BOX + 14)

    def svg(self) -> str:
        height = self._top(len(self._rows) - 1) + BOX + 118
        parts = [*self._paths(), *self._all_boxes(), *self._legend(height - 92)]
        title = "The packages of tintype by layer, and their imports"
        return (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height:g}" width="{WIDTH}" role="img">\n'
            f"<title>{title}</title>\n<style>\n{STYLE}\n</style>\n"
            f"<defs>{HEAD}</defs>\n"
            f'<rect width="{WIDTH}" height="{height:g}" fill="#fff"/>\n' + "\n".join(parts) + "\n</svg>\n"
        )

    def _all_boxes(self) -> Iterator[str]:
        users = {name: sum(name in near for near in self._code.imports.values()) for name in self._floor}
        for name, (middle, half) in self._boxes.items():
            kind = "floor" if name in self._floor else "tensors" if name in self._code.tensors else "plain"
            count = self._code.modules[name]
            note = f"{count} modules" if count > 1 else "1 module"
            if name in self._floor:
                note += (
                    f", imported by {users[name]}" if len(self._rows[self._row[name]]) < 3 else f", by {users[name]}"
                )
            corner = Point(middle.x - half, middle.y - BOX / 2)
            yield _rectangle(kind, corner, 2 * half, BOX) + _text("name", middle.x, middle.y - 3, name)
            yield _text("note", middle.x, middle.y + 18, note)

    def _paths(self) -> Iterator[str]:
        pairs = [(name, other) for name, near in self._arrows.items() for other in near]
        pairs.sort(key=lambda pair: (self._row[pair[0]], self._boxes[pair[0]][0].x, self._boxes[pair[1]][0].x))
        leaving = {pair: self._port(pair[0], pair, [one for one in pairs if one[0] == pair[0]], 1) for pair in pairs}
        coming = {pair: self._port(pair[1], pair, [one for one in pairs if one[1] == pair[1]], 0) for pair in pairs}
        crossed: dict[int, list[float]] = {}
        for name, other in pairs:
            (middle, _), (end, _) = self._boxes[name], self._boxes[other]
            points = [Point(leaving[name, other], middle.y + BOX / 2)]
            last = Point(coming[name, other], end.y - BOX / 2 - 2)
            for row in range(self._row[name] + 1, self._row[other]):
                y = self._top(row) + BOX / 2
                straight = points[-1].x + (last.x - points[-1].x) * (y - points[-1].y) / (last.y - points[-1].y)
                x = self._free(row, straight, crossed.setdefault(row, []))
                crossed[row].append(x)
                points += [Point(x, y - BOX / 2 - 6), Point(x, y + BOX / 2 + 6)]
            yield self._path([*points, last])

    def _port(self, box: str, pair: tuple[str, str], pairs: list[tuple[str, str]], end: int) -> float:
        """Where on a box's edge one of its arrows begins or ends: side by side, in the order of their other ends."""
        middle, half = self._boxes[box]
        pairs = sorted(pairs, key=lambda one: (self._boxes[one[end]][0].x, self._row[one[end]]))
        return middle.x - half + 2 * half * (pairs.index(pair) + 1) / (len(pairs) + 1)

    def _free(self, row: int, wanted: float, crossed: list[float]) -> float:
        """The place next to a wanted one where an arrow may cross a row, between boxes and other arrows."""
        boxes = [self._boxes[name] for name in self._rows[row]]
        taken = [(middle.x - half - 8, middle.x + half + 8) for middle, half in boxes]
        taken += [(x - 9, x + 9) for x in crossed]
        places = [wanted, *(edge for pair in taken for edge in pair)]
        free = [
            place for place in places if 4 <= place <= WIDTH - 4 and not any(low < place < high for low, high in taken)
        ]
        return min(free, key=lambda place: abs(place - wanted))

    def _path(self, points: list[Point]) -> str:
        words = [f"M{points[0].x:.0f} {points[0].y:.0f}"]
        for one, two in pairwise(points):
            bend = (two.y - one.y) / 2
            words.append(f"C{one.x:.0f} {one.y + bend:.0f} {two.x:.0f} {two.y - bend:.0f} {two.x:.0f} {two.y:.0f}")
        return f'<path class="arrow" d="{"".join(words)}"/>'

    def _legend(self, top: float) -> Iterator[str]:
        yield f'<path class="arrow" d="M20 {top + 12:g}h34"/>'
        yield _text("legend", 66, top + 17, "imports (what longer paths imply is left out)")
        for number, (kind, words) in enumerate(KINDS.items(), 1):
            yield _rectangle(kind, Point(20, top + number * 28 + 2), 34, 20)
            yield _text("legend", 66, top + number * 28 + 17, words)


def _rectangle(kind: str, corner: Point, width: float, height: float) -> str:
    place = f'x="{corner.x:.0f}" y="{corner.y:.0f}" width="{width:.0f}" height="{height:.0f}"'
    return f'<rect class="box {kind}" {place} rx="6"/>'


def _text(kind: str, x: float, y: float, words: str) -> str:
    return f'<text class="{kind}" x="{x:.0f}" y="{y:.0f}">{escape(words)}</text>'


def _ordered(layers: list[list[str]], arrows: dict[str, set[str]]) -> list[list[str]]:
    """Each row in the order in which its boxes are nearest to what they are connected to, so that few arrows cross."""
    rows = [list(row) for row in layers]
    ties = {name: {*near, *(other for other in arrows if name in arrows[other])} for name, near in arrows.items()}
    for _ in range(8):
        for place, row in enumerate(rows):
            at = {name: (number + 0.5) / len(one) for one in rows for number, name in enumerate(one)}
            rows[place] = list(min(permutations(sorted(row)), key=partial(_distance, at, ties)))
    return rows


def _distance(at: dict[str, float], ties: dict[str, set[str]], row: tuple[str, ...]) -> float:
    middles = {name: (number + 0.5) / len(row) for number, name in enumerate(row)}
    return sum((middles[name] - at[other]) ** 2 for name in row for other in ties[name])


def draw() -> str:
    """The SVG."""
    return Drawing(packages()).svg()


if __name__ == "__main__":
    print(draw())  # noqa: T201
