"""A naive landscape: a river running down from the mountains in the evening."""

from __future__ import annotations

import random

from tintype.media.samples.canvas import Canvas

GREENS = ("#2f5d3a", "#376b41", "#2a5236", "#41784a")


def draw() -> Canvas:
    """512×512, the size that Stable Diffusion 1.5 was trained at."""
    canvas = Canvas(512)
    _sky(canvas)
    _mountains(canvas)
    _meadows(canvas)
    _river(canvas)
    _forest(canvas)
    _flowers(canvas)
    return canvas


def mask() -> Canvas:
    """White where inpainting repaints it: its middle, from the river up into the sky."""
    canvas = Canvas(512)
    canvas.box(-1, -1, 101, 101, "#000000")
    canvas.oval(52, 50, 27, 33, "#ffffff")
    return canvas


def _sky(canvas: Canvas) -> None:
    canvas.gradient(0, 34, "#4f86c6", "#f3c99b")
    canvas.gradient(34, 60, "#f3c99b", "#fbe3b4")
    canvas.glow(70, 27, 34, "#fff1c0", 0.9)
    canvas.circle(70, 27, 6.5, "#fff6d8")
    for x, y, size in ((16, 12, 1.0), (44, 18, 0.7), (88, 9, 0.8)):
        for dx, dy, across, down in ((-6, 1, 6, 2), (0, -1, 6, 3), (6, 1, 7, 2.2), (0, 1.6, 11, 1.8)):
            canvas.oval(x + dx * size, y + dy * size, across * size, down * size, "#fff8ee")


def _mountains(canvas: Canvas) -> None:
    far = [(0, 44), (10, 35), (20, 42), (33, 30), (46, 43), (58, 36), (70, 44), (84, 33), (100, 43), (100, 64), (0, 64)]
    canvas.polygon(far, "#9fa9cf")
    canvas.soften(0.35)
    _peak(canvas, 22, 24, 26, 64)
    _peak(canvas, 88, 31, 22, 64)
    _peak(canvas, 52, 17, 31, 64)


def _peak(canvas: Canvas, x: float, top: float, half: float, foot: float) -> None:
    """A mountain with its sunny side to the right, and snow down to a third of its height."""
    height = foot - top
    canvas.polygon([(x, top), (x + half, foot), (x - half, foot)], "#5f6f99")
    ridge = [(x, top), (x - half * 0.08, top + height * 0.5), (x + half * 0.15, foot)]
    canvas.polygon([*ridge, (x + half, foot)], "#7f8db3")
    snow = [(-0.3, 0.3), (-0.19, 0.25), (-0.12, 0.36), (0.0, 0.27), (0.1, 0.38), (0.19, 0.26), (0.31, 0.31)]
    line = [(x + across * half, top + down * height) for across, down in snow]
    canvas.polygon([(x, top), *line[::-1]], "#eef2fa")
    canvas.polygon([(x, top), *line[:4]], "#cdd7ec")


def _meadows(canvas: Canvas) -> None:
    canvas.blob([(-10, 60), (15, 54), (40, 60), (70, 55), (110, 60), (110, 130), (-10, 130)], "#7fa860")
    canvas.blob([(-10, 70), (20, 64), (50, 69), (80, 63), (110, 68), (110, 140), (-10, 140)], "#8fbb62")
    canvas.blob([(-10, 86), (18, 77), (45, 83), (75, 79), (110, 84), (110, 150), (-10, 150)], "#9fca67")


def _river(canvas: Canvas) -> None:
    left = [(51, 58.5), (47, 62), (53, 67), (46, 74), (30, 84), (22, 101)]
    right = [(62, 101), (56, 86), (61, 76), (60, 68), (51, 62.5), (52.4, 58.5)]
    canvas.blob(left + right, "#4d93c0")
    canvas.blob([(x + 0.8, y + 0.6) for x, y in left] + [(x - 1.2, y) for x, y in right], "#6db4d8")
    for x, y, length in ((52, 70, 3), (50, 76, 5), (46, 83, 7), (38, 89, 6), (44, 95, 9)):
        canvas.line([(x - length / 2, y), (x, y - 0.5), (x + length / 2, y)], 0.6, "#d4eef7")


def _forest(canvas: Canvas) -> None:
    """Firs on both banks, the nearer the larger, drawn from the back to the front."""
    chance = random.Random(7)  # noqa: S311  places of trees: the same ones every time
    places = [(chance.uniform(-2, 36), chance.uniform(60, 76)) for _ in range(18)]
    places += [(chance.uniform(66, 102), chance.uniform(60, 84)) for _ in range(20)]
    places += [(7, 92), (91, 95), (79, 91)]
    for x, y in sorted(places, key=lambda place: place[1]):
        _fir(canvas, x, y, (y - 50) * 0.42, chance.choice(GREENS))


def _fir(canvas: Canvas, x: float, foot: float, height: float, colour: str) -> None:
    canvas.oval(x + height * 0.1, foot, height * 0.34, height * 0.06, "#2d4a2a55")
    canvas.box(x - height * 0.045, foot - height * 0.2, x + height * 0.045, foot, "#6a4a32")
    for level, half in ((0.12, 0.3), (0.36, 0.24), (0.6, 0.17)):
        bottom, top = foot - height * level, foot - height * (level + 0.4)
        canvas.polygon([(x - height * half, bottom), (x, top), (x + height * half, bottom)], colour)
        canvas.polygon([(x + height * half * 0.2, bottom), (x, top), (x + height * half, bottom)], "#ffffff18")


def _flowers(canvas: Canvas) -> None:
    chance = random.Random(3)  # noqa: S311
    for left, right in ((0, 19), (66, 100)):
        for _ in range(24):
            x, y = chance.uniform(left, right), chance.uniform(87, 99)
            canvas.circle(x, y, chance.uniform(0.35, 0.75), chance.choice(("#f7f3e3", "#f2c14e", "#e4626f")))
