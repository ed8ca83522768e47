"""A small drawing board: shapes in coordinates of 0–100, with smooth edges."""

from __future__ import annotations

import io
from collections.abc import Sequence

from PIL import Image, ImageDraw, ImageFilter, ImageOps

Point = tuple[float, float]
#: `#rrggbb`, or `#rrggbbaa` for a transparent one.
Colour = str

#: Straight pieces between two points of a curve.
PIECES = 12


class Canvas:
    """A square image, drawn at twice its size: (0, 0) is the upper left corner, (100, 100) the lower right.

    New shapes cover earlier ones.
    """

    def __init__(self, side: int) -> None:
        self._scale = side * 2 / 100
        self._image = Image.new("RGB", (side * 2, side * 2))
        self._draw = ImageDraw.Draw(self._image, "RGBA")

    def gradient(self, top: float, bottom: float, above: Colour, below: Colour) -> None:
        """The full width between two heights, one colour passing into the other."""
        first, last = round(top * self._scale), round(bottom * self._scale)
        ramp = Image.linear_gradient("L").resize((self._image.width, last - first))
        self._image.paste(ImageOps.colorize(ramp, above, below), (0, first))

    def polygon(self, points: Sequence[Point], colour: Colour) -> None:
        """A shape with straight sides."""
        self._draw.polygon(self._scaled(points), fill=colour)

    def blob(self, points: Sequence[Point], colour: Colour) -> None:
        """A closed shape whose outline runs smoothly through the points."""
        self.polygon(_smooth([points[-1], *points, points[0], points[1]]), colour)

    def oval(self, x: float, y: float, across: float, down: float, colour: Colour) -> None:
        """An ellipse around (x, y) with these half axes."""
        self._draw.ellipse(self._scaled([(x - across, y - down), (x + across, y + down)]), fill=colour)

    def circle(self, x: float, y: float, radius: float, colour: Colour) -> None:
        """A disc around (x, y)."""
        self.oval(x, y, radius, radius, colour)

    def box(self, left: float, top: float, right: float, bottom: float, colour: Colour, corner: float = 0) -> None:
        """A rectangle, its corners rounded by `corner`."""
        self._draw.rounded_rectangle(self._scaled([(left, top), (right, bottom)]), corner * self._scale, fill=colour)

    def line(self, points: Sequence[Point], width: float, colour: Colour) -> None:
        """A pen stroke with round ends, running smoothly through the points."""
        path = self._scaled(_smooth([points[0], *points, points[-1]]))
        self._draw.line(path, fill=colour, width=round(width * self._scale), joint="curve")
        for x, y in (points[0], points[-1]):
            self.circle(x, y, width / 2, colour)

    def glow(self, x: float, y: float, radius: float, colour: Colour, strength: float = 1) -> None:
        """Soft light of that colour around (x, y), gone at `radius`; `strength` 0–1 in the middle."""
        side = round(radius * 2 * self._scale)
        light = ImageOps.invert(Image.radial_gradient("L")).resize((side, side))
        # The ramp is still at 29 % in the middle of each side; it is to be 0 there.
        mask = light.point(lambda level: (max(0, level - 75) / 180) ** 2 * 255 * strength)
        corner = round((x - radius) * self._scale), round((y - radius) * self._scale)
        self._image.paste(Image.new("RGB", mask.size, colour), corner, mask)

    def soften(self, radius: float) -> None:
        """Blur all that has been drawn so far, as if far away."""
        self._image.paste(self._image.filter(ImageFilter.GaussianBlur(radius * self._scale)))

    def jpeg(self) -> bytes:
        """The image, `side` pixels a side, as a JPEG file."""
        file = io.BytesIO()
        self._image.reduce(2).save(file, "JPEG", quality=92, subsampling="4:4:4")
        return file.getvalue()

    def _scaled(self, points: Sequence[Point]) -> list[Point]:
        return [(x * self._scale, y * self._scale) for x, y in points]


def _smooth(points: Sequence[Point]) -> list[Point]:
    """Points along the Catmull-Rom curve through all but the first and the last, which only give its direction."""
    return [_between(points[i : i + 4], piece / PIECES) for i in range(len(points) - 3) for piece in range(PIECES)] + [
        points[-2]
    ]


def _between(points: Sequence[Point], t: float) -> Point:
    """The point at t, 0–1, of the way from the second of four points to the third."""
    (x0, y0), (x1, y1), (x2, y2), (x3, y3) = points
    return _cubic(x0, x1, x2, x3, t), _cubic(y0, y1, y2, y3, t)


def _cubic(a: float, b: float, c: float, d: float, t: float) -> float:
    return b + t * ((c - a) + t * ((2 * a - 5 * b + 4 * c - d) + t * (3 * (b - c) + d - a))) / 2
