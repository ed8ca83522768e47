"""A frog on a lily pad, content with the pond it has."""

from __future__ import annotations

import math

from tintype.media.samples.canvas import Canvas

BACK = "#6fb43f"
DARK = "#4d8f2f"
BELLY = "#dbe89a"
PAD = "#3f8f54"


def draw() -> Canvas:
    """1024×1024, the size that Stable Diffusion 3 was trained at."""
    canvas = Canvas(1024)
    _pond(canvas)
    _reeds(canvas)
    _pad(canvas, 84, 62, 13, 4)
    _pad(canvas, 12, 70, 15, 5)
    _pad(canvas, 50, 82, 39, 12)
    _legs(canvas)
    _body(canvas)
    _head(canvas)
    _lily(canvas, 86, 84, 9)
    _lily(canvas, 12, 67, 5)
    return canvas


def _pond(canvas: Canvas) -> None:
    canvas.gradient(0, 50, "#cdeadf", "#7cc4b4")
    canvas.gradient(50, 100, "#5fb0ab", "#1f6379")
    hills = [(10, 36), (30, 41), (52, 37), (74, 42), (92, 35)]
    canvas.blob([(-10, 52), (-10, 44), *hills, (112, 42), (112, 52)], "#86b878")
    canvas.glow(22, 10, 40, "#fffbe0", 0.9)
    canvas.soften(0.7)
    for x, y, length in ((20, 55, 16), (62, 57, 20), (88, 72, 12), (8, 85, 14), (92, 94, 16), (18, 96, 18)):
        canvas.line([(x - length / 2, y), (x, y - 0.6), (x + length / 2, y)], 0.5, "#c9efe8")


def _reeds(canvas: Canvas) -> None:
    for x, top, lean in ((5, 12, 3), (11, 26, 2), (15, 6, 4), (90, 16, -4), (95, 8, -2), (99, 24, -5)):
        canvas.line([(x, 60), (x + lean * 0.3, 40), (x + lean, top)], 0.9, "#4f7f3c")
        canvas.line([(x, 60), (x - lean, 46), (x - lean * 2.5, 34)], 1.2, "#5f9447")
        canvas.line([(x + lean, top), (x + lean * 1.2, top + 9)], 2.6, "#7a4f2e")


def _pad(canvas: Canvas, x: float, y: float, across: float, down: float) -> None:
    """A leaf seen from the side, with its notch towards us."""
    rim = [math.radians(degrees) for degrees in range(112, 429, 4)]
    canvas.oval(x, y + down * 0.25, across * 1.04, down * 1.04, "#0d3b4a66")
    for grow, lower, colour in ((1.0, 0.09, "#2c6b3f"), (1.0, 0, PAD), (0.93, 0, "#4fa565")):
        edge = [(x + math.cos(a) * across * grow, y + down * lower + math.sin(a) * down * grow) for a in rim]
        canvas.polygon([(x, y + down * lower), *edge], colour)
    for degrees in range(130, 415, 28):
        a = math.radians(degrees)
        canvas.line([(x, y), (x + math.cos(a) * across * 0.8, y + math.sin(a) * down * 0.8)], across / 90, "#7cc58a")


def _legs(canvas: Canvas) -> None:
    canvas.oval(50, 83, 27, 5, "#1d5a3755")
    for side in (-1, 1):
        canvas.blob([_at(side, x, y) for x, y in ((10, 66), (20, 58), (28, 64), (27, 76), (18, 83), (10, 80))], DARK)
        canvas.blob([_at(side, x, y) for x, y in ((12, 66), (20, 60), (26, 65), (24, 74), (17, 79), (11, 76))], BACK)
        _foot(canvas, side, 23, 82, 11)


def _foot(canvas: Canvas, side: int, x: float, y: float, length: float) -> None:
    for dx, dy in ((1, -0.05), (0.85, 0.25), (0.45, 0.42)):
        tip = _at(side, x + length * dx, y + length * dy)
        canvas.line([_at(side, x - 1, y - 1), _at(side, x + length * dx / 2, y + length * dy / 2), tip], 2.3, DARK)
        canvas.circle(*tip, 1.9, DARK)


def _body(canvas: Canvas) -> None:
    canvas.blob([(50, 50), (66, 56), (71, 70), (66, 82), (50, 86), (34, 82), (29, 70), (34, 56)], BACK)
    canvas.blob([(50, 56), (61, 60), (64, 71), (60, 81), (50, 84), (40, 81), (36, 71), (39, 60)], BELLY)
    for side in (-1, 1):
        canvas.line([_at(side, 17, 62), _at(side, 19, 72), _at(side, 13, 83)], 6.5, DARK)
        canvas.line([_at(side, 16.4, 61), _at(side, 18, 72), _at(side, 12.4, 82)], 5, BACK)
        _foot(canvas, side, 12, 84, 7)


def _head(canvas: Canvas) -> None:
    for side in (-1, 1):
        canvas.circle(*_at(side, 14, 30), 9.4, DARK)
        canvas.circle(*_at(side, 14, 29.6), 8.8, BACK)
    jaw = [(74, 41), (72, 52), (62, 59), (50, 61), (38, 59), (28, 52), (26, 41)]
    canvas.blob([(36, 31), (50, 28), (64, 31), *jaw], BACK)
    canvas.blob([(30, 51), (40, 55), (50, 56.5), (60, 55), (70, 51), (62, 58.5), (50, 60.6), (38, 58.5)], BELLY)
    for side in (-1, 1):
        _eye(canvas, *_at(side, 14, 29))
        canvas.glow(*_at(side, 18, 46), 5, "#f4a08a", 0.7)
        canvas.oval(*_at(side, 3, 42), 0.8, 0.6, DARK)
        canvas.oval(*_at(side, 11, 36), 1.8, 1.1, "#86c956")
    canvas.line([(29, 48), (38, 53.4), (50, 55), (62, 53.4), (71, 48)], 1.1, "#2f5f22")
    canvas.oval(50, 33, 5, 1.6, "#86c956")


def _eye(canvas: Canvas, x: float, y: float) -> None:
    canvas.circle(x, y, 6.6, "#fdf6d0")
    canvas.circle(x, y + 0.4, 5.2, "#e9b93b")
    canvas.oval(x, y + 0.4, 3.6, 4.4, "#1c1a14")
    canvas.circle(x + 1.7, y - 1.5, 1.5, "#ffffff")
    canvas.circle(x - 1.4, y + 2.2, 0.7, "#ffffffaa")


def _lily(canvas: Canvas, x: float, y: float, size: float) -> None:
    """A flower of two rows of petals around a yellow centre."""
    for reach, lift, colour in ((1.0, 0.0, "#f2a9c4"), (0.72, 0.12, "#fbd3e0")):
        for degrees in (180, 0, 205, 335, 232, 308, 270):
            a = math.radians(degrees)
            tip = x + math.cos(a) * size * reach, y - size * lift + math.sin(a) * size * reach * 0.85
            across = math.sin(a) * size * 0.22, -math.cos(a) * size * 0.22
            middle = (x + tip[0]) / 2, (y + tip[1]) / 2
            sides = [(middle[0] + across[0], middle[1] + across[1]), (middle[0] - across[0], middle[1] - across[1])]
            canvas.blob([(x, y), sides[0], tip, sides[1]], colour)
    canvas.oval(x, y - size * 0.12, size * 0.26, size * 0.18, "#f6d04d")


def _at(side: int, x: float, y: float) -> tuple[float, float]:
    """A point `x` from the middle of the frog, to its left (-1) or right (1)."""
    return 50 + side * x, y
