"""A cartoon of a boy who sits at a table with a phone in his hands."""

from __future__ import annotations

from tintype.media.samples.canvas import Canvas

SKIN = "#f2bd94"
SHADE = "#dd9d74"
HAIR = "#4a2f22"
SHIRT = "#e8b23a"


def draw() -> Canvas:
    """1024×1024, the size that Stable Diffusion 3 was trained at."""
    canvas = Canvas(1024)
    _room(canvas)
    _body(canvas)
    _head(canvas)
    _face(canvas)
    _table(canvas)
    _hands_and_phone(canvas)
    _cup(canvas)
    return canvas


def _room(canvas: Canvas) -> None:
    canvas.gradient(0, 100, "#9ccfcb", "#7ab5b5")
    canvas.box(8, 8, 36, 48, "#f6efe1", 1.5)
    canvas.box(10.5, 10.5, 33.5, 45.5, "#b9e0f2")
    canvas.circle(28, 18, 4, "#fff3c4")
    canvas.oval(19, 39, 8, 5.5, "#a3d08c")
    canvas.box(10.5, 38.5, 33.5, 45.5, "#8cc27a")
    canvas.box(21, 9, 23, 47, "#f6efe1")
    canvas.box(9, 26.5, 35, 28.5, "#f6efe1")
    canvas.box(6, 47, 38, 50, "#e7dcc6", 1)
    canvas.box(72, 27, 96, 29.5, "#b07a4b", 0.6)
    for left, height, colour in ((74, 13, "#d95d52"), (78, 16, "#3f6f9f"), (82, 12, "#f0c75e"), (86, 15, "#6a9f5b")):
        canvas.box(left, 27 - height, left + 3.4, 27, colour, 0.5)
        canvas.box(left, 29 - height, left + 3.4, 30 - height, "#ffffff66")
    canvas.glow(20, 30, 45, "#fff6da", 0.35)


def _body(canvas: Canvas) -> None:
    canvas.blob([(30, 80), (31, 68), (38, 61), (50, 59), (62, 61), (69, 68), (70, 80), (70, 96), (30, 96)], SHIRT)
    for y in (67, 74):
        canvas.box(35, y, 65, y + 2.6, "#f7e7c0")
    canvas.box(45.5, 52, 54.5, 62, SHADE, 3)
    canvas.blob([(43, 60.5), (50, 65), (57, 60.5), (50, 62)], SKIN)


def _head(canvas: Canvas) -> None:
    for x in (31.5, 68.5):
        canvas.oval(x, 41, 3.6, 4.8, SKIN)
        canvas.oval(x, 41, 1.8, 2.8, SHADE)
    cheeks = [(68, 36), (66, 49), (58, 57), (50, 59), (42, 57), (34, 49), (32, 36)]
    canvas.blob([(36, 22), (50, 17), (64, 22), *cheeks], SKIN)
    hair = [(31, 38), (30, 26), (36, 15), (48, 11), (56, 9), (60, 12), (67, 17), (70, 27), (69, 38), (66, 33)]
    fringe = [(64, 26), (58, 29), (55, 25), (48, 30), (45, 26), (38, 30), (35, 32)]
    canvas.blob(hair + fringe, HAIR)
    canvas.line([(40, 18), (48, 14.5), (57, 16)], 1.1, "#7a543f")
    canvas.line([(38, 22), (45, 18.5), (52, 19)], 0.8, "#7a543f")


def _face(canvas: Canvas) -> None:
    """Looking down at the phone, and pleased with it."""
    for side in (-1, 1):
        x = 50 + side * 7.5
        canvas.oval(x, 41.5, 4.3, 4.9, "#ffffff")
        canvas.circle(x, 43, 3.1, "#5b3a26")
        canvas.circle(x, 43.3, 1.7, "#20130c")
        canvas.circle(x + 1.1, 41.7, 0.9, "#ffffff")
        canvas.line([(x - 4.3, 40), (x - 2.6, 37.6), (x, 36.7), (x + 2.6, 37.6), (x + 4.3, 40)], 0.9, HAIR)
        canvas.line([(x - side * 3.4, 32.8), (x, 31.4), (x + side * 4, 33)], 1.2, HAIR)
        canvas.glow(x + side * 3, 49, 4.5, "#ef8f7a", 0.6)
    canvas.line([(49, 46.5), (50, 47.6), (51.4, 46.6)], 0.9, SHADE)
    canvas.blob([(45, 50.8), (50, 51.6), (55, 50.8), (53, 54), (50, 55), (47, 54)], "#8c3b36")
    canvas.blob([(46.4, 51.3), (50, 52), (53.6, 51.3), (52.6, 52.6), (47.4, 52.6)], "#ffffff")


def _table(canvas: Canvas) -> None:
    canvas.polygon([(0, 82), (100, 82), (100, 100), (0, 100)], "#c98f58")
    canvas.gradient(82, 100, "#d59b62", "#b87d48")
    canvas.box(0, 82, 100, 83.2, "#e6b47e")
    for y, start in ((87, 8), (91, 46), (95, 20), (97.5, 62)):
        canvas.line([(start, y), (start + 14, y + 0.4), (start + 30, y)], 0.35, "#a66f3e")


def _hands_and_phone(canvas: Canvas) -> None:
    canvas.oval(50, 87.5, 20, 2.2, "#6b442255")
    for side in (-1, 1):
        canvas.line([(50 + side * 17, 69), (50 + side * 21, 80), (50 + side * 10, 83)], 9, "#d9a233")
        canvas.line([(50 + side * 12.5, 82.5), (50 + side * 9, 81)], 6.5, SKIN)
    canvas.box(42, 66, 58, 88, "#2b3040", 2)
    canvas.box(43, 67, 57, 87, "#39415a", 1.4)
    canvas.circle(50, 76, 3.6, "#59627f")
    canvas.circle(50, 76, 2, "#8d97b8")
    canvas.circle(46, 70, 1.3, "#8d97b8")
    for side in (-1, 1):
        for y in (74.5, 78, 81.5):
            canvas.line([(50 + side * 9.5, y), (50 + side * 6, y + 0.5)], 3, SKIN)
            canvas.line([(50 + side * 9, y + 1.7), (50 + side * 6, y + 2.1)], 0.4, SHADE)


def _cup(canvas: Canvas) -> None:
    canvas.oval(83, 94, 9, 1.8, "#6b442266")
    canvas.circle(90, 85.5, 4.2, "#d95d52")
    canvas.circle(90, 85.5, 2.4, "#c98f58")
    canvas.box(75, 78, 90, 94, "#d95d52", 2)
    canvas.box(77, 79, 79.2, 92, "#ffffff55", 1)
    canvas.oval(82.5, 78.5, 7.5, 1.8, "#a8433a")
    canvas.oval(82.5, 78.8, 6.4, 1.3, "#6a3d28")
    for x in (80, 85):
        canvas.line([(x, 75), (x + 1.5, 72), (x - 0.5, 69), (x + 1, 66)], 0.8, "#ffffff66")
