"""The watermark, version 1: a number of six bytes in an image's pixels, found again after re-encoding or scaling.

A tile of 256 × 256 pixels, repeated over the image, is the sum of about 4,100 waves whose phases are public. A third of
them are the same in every mark: they give a reader the tile's place. Each of the others has one of 1,024 signs, which
encode the number and its check as rows of a Hadamard matrix. So every server can find every server's mark. And all of
this can be used to put any number into an image, or to take one out: docs/provenance.md says what follows from that.

Nothing of it may change, or existing marks are lost: another scheme would be version 2, and readers would try both.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from itertools import chain

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy.ndimage import uniform_filter  # type: ignore[import-untyped]

Pixels = NDArray[np.uint8]
#: One value per pixel, (height, width).
Plane = NDArray[np.float32]

#: What the stream of random numbers is made from. A hash's, since generators of libraries change between versions.
NAME = b"tintype mark 1"
#: Bytes of a number, and with its check.
NUMBER, SEALED = 6, 8
#: Pixels of the tile's sides.
TILE = 256
#: Periods per tile of the waves: below, an image's own content is strong; above, encoders remove them.
LOWEST, HIGHEST = 8, 52
#: Values that a byte of the number chooses from: 128 rows, each as it is or negated.
ROWS = 128
SIGNS = SEALED * ROWS
#: The mark's standard deviation in steps of 255, before `_strength`; its least and most, per busyness.
STRENGTH = 1.5
FLOOR, CEILING, BUSY = 0.55, 2.0, 10.0
#: Red, green and blue in luma (ITU-R BT.601).
LUMA = (0.299, 0.587, 0.114)

#: Standard deviations by which the tile's place stands out: enough with a check that is right, and without one. Of 520
#: unmarked images, two came to 6.2, and none to 8.
ENOUGH, ALONE = 6.0, 8.0
#: Pixels of the longer side that are read, and of each side where the image is scaled.
MAX_SIDE, MIDDLE = 2048, 1024
#: Widths that images often are drawn at, and factors by which they often are scaled.
WIDTHS = (512, 640, 768, 832, 896, 1024, 1152, 1216, 1344, 1536)
FACTORS = (2.0, 4 / 3, 1.5, 1.25, 0.5, 0.75, 0.8)
#: Around the best scale, where it stands out at least so far.
NEAR = tuple(1 + sign * step / 1000 for step in (1, 2, 3) for sign in (1, -1))
WORTH = 4.7
MIN_SCALE, MAX_SCALE = 0.33, 3.0
#: Pixels of a tile's period that are looked for, and how many of an axis are tried.
PERIODS = range(90, 701)
PEAKS = 4
#: Pixels of which an autocorrelation says too little.
TOO_FEW = 64
#: Pixels of the shorter side: less can't hold a mark.
MIN_SIDE = 128
#: Scales that differ by less are one.
SAME = 0.0003


@dataclass(frozen=True)
class Found:
    """A mark in an image."""

    #: Six bytes; None where there is a mark that can't be read.
    number: bytes | None
    #: Standard deviations by which it stands out.
    z: float


@dataclass(frozen=True)
class _Reading:
    """What was read at one scale: no `number` where its check is wrong, or too little stands out."""

    number: bytes | None
    z: float
    scale: float


@dataclass(frozen=True)
class _Scheme:
    """What is public and never changes."""

    #: Places in the tile's half spectrum, flat: the waves that find it, and those that carry signs.
    sync: NDArray[np.intp]
    data: NDArray[np.intp]
    #: Their phases, as complex numbers of length 1.
    sync_phase: NDArray[np.complex128]
    data_phase: NDArray[np.complex128]
    #: For each wave that carries a sign, which.
    sign: NDArray[np.intp]
    #: (ROWS, ROWS) of 1 and -1.
    hadamard: NDArray[np.float64]
    #: Of each place of the half spectrum, periods per tile, rounded.
    radius: NDArray[np.intp]


def put(pixels: Pixels, number: bytes) -> Pixels:
    """The image (height, width, 3) with a number of six bytes in it, as another array.

    It is found again in images of at least 320 pixels a side. Raises ValueError for a number of another length.
    """
    if len(number) != NUMBER:
        raise ValueError(f"a number has {NUMBER} bytes, not {len(number)}")
    height, width = pixels.shape[:2]
    # The place depends on the number, so that a second mark doesn't lie exactly on the first.
    tile = np.roll(_tile(_sealed(number)), (number[4], number[5]), axis=(0, 1)).astype(np.float32)
    change = np.tile(tile, (-(-height // TILE), -(-width // TILE)))[:height, :width]
    change *= _strength(_luma(pixels))
    marked = pixels + np.rint(change, out=change).astype(np.int16)[..., np.newaxis]
    return np.clip(marked, 0, 255, out=marked).astype(np.uint8)


def find(pixels: Pixels) -> Found | None:
    """The mark in an image (height, width, 3); None where none stands out.

    An image without a mark takes longest, half a second of processor: all scales are tried.
    """
    image = Image.fromarray(pixels)
    if max(image.size) > MAX_SIDE:
        shrink = MAX_SIDE / max(image.size)
        width, height = (max(1, round(side * shrink)) for side in image.size)
        image = image.resize((width, height), Image.Resampling.BICUBIC)
    if min(image.size) < MIN_SIDE:
        return None
    flat = _flattened(_luma(np.asarray(image)))
    best = _best(chain(_as_they_are(flat), _at(_scales(flat), flat)))
    if best.number is None and best.z > WORTH:
        best = _best(chain((best,), _at((best.scale * near for near in NEAR), flat)))
    return Found(best.number, best.z) if best.number is not None or best.z > ALONE else None


def _best(readings: Iterable[_Reading]) -> _Reading:
    """The first that has a number, and no more are made; else the one that stands out most."""
    best = _Reading(None, 0.0, 1.0)
    for reading in readings:
        if reading.number is not None:
            return reading
        if reading.z > best.z:
            best = reading
    return best


def _as_they_are(flat: Plane) -> Iterator[_Reading]:
    yield _read(flat, 1.0)
    yield _read(flat[:, ::-1], 1.0)


def _at(scales: Iterable[float], flat: Plane) -> Iterator[_Reading]:
    """Readings of the plane's middle at each scale; those that are too far from 1, or have been tried, are left out."""
    image = Image.fromarray(flat)
    tried = [1.0]
    for scale in scales:
        if MIN_SCALE <= scale <= MAX_SCALE and all(abs(scale / one - 1) > SAME for one in tried):
            tried.append(scale)
            yield _read(_scaled(image, scale), scale)


def _scales(flat: Plane) -> Iterator[float]:
    """What may bring the tile's period back to TILE pixels, the likeliest first."""
    height, width = flat.shape
    yield from (one / width for one in WIDTHS)
    yield from FACTORS
    middle = flat[_middle(height), _middle(width)]
    for periods in (_periods(middle), _periods(middle.T)):
        yield from (TILE / one for one in periods)
        yield from (2 * TILE / one for one in periods)


def _middle(side: int) -> slice:
    left = max(0, side - MIDDLE) // 2
    return slice(left, left + MIDDLE)


def _scaled(image: Image.Image, scale: float) -> Plane:
    """The middle at that scale exactly: the part that is taken has no whole number of pixels, the result has."""
    size = [min(int(side * scale), MIDDLE) for side in image.size]
    (left, right), (top, bottom) = (
        ((side - taken / scale) / 2, (side + taken / scale) / 2) for side, taken in zip(image.size, size, strict=True)
    )
    box = (max(0.0, left), max(0.0, top), min(image.width, right), min(image.height, bottom))
    return np.asarray(image.resize((size[0], size[1]), Image.Resampling.BICUBIC, box=box))


def _periods(plane: Plane) -> list[float]:
    """After how many pixels the rows repeat themselves best, by their autocorrelation, the best first."""
    width = plane.shape[1]
    spectrum = np.fft.rfft(plane, 2 * width, axis=1)
    power = (spectrum.real**2 + spectrum.imag**2).sum(axis=0)
    likeness = np.fft.irfft(power)[:width] / np.arange(width, 0, -1)
    inner = likeness[1:-1]
    peaks = np.flatnonzero((inner > likeness[:-2]) & (inner >= likeness[2:])) + 1
    peaks = peaks[(peaks >= PERIODS.start) & (peaks < min(PERIODS.stop, width - TOO_FEW))]
    best = peaks[np.argsort(-likeness[peaks], kind="stable")][:PEAKS]
    before, here, after = likeness[best - 1], likeness[best], likeness[best + 1]
    return list(best + (before - after) / (2 * (before - 2 * here + after)))  # a parabola's highest point


def _read(flat: Plane, scale: float) -> _Reading:
    """A flattened plane whose tiles have TILE pixels a side, at any place."""
    scheme = _scheme()
    spectrum = np.fft.rfft2(_folded(flat)).ravel()
    power = spectrum.real**2 + spectrum.imag**2
    rings = np.bincount(scheme.radius, power) / np.bincount(scheme.radius)
    spectrum /= np.sqrt(np.maximum(rings, np.finfo(np.float32).tiny))[scheme.radius]
    places = _image(scheme.sync, spectrum[scheme.sync] * scheme.sync_phase.conj())
    deviation = float(places.std())
    if not deviation:  # one colour
        return _Reading(None, 0.0, scale)
    highest = int(places.argmax())
    z = (float(places.max()) - float(places.mean())) / deviation
    down, across = divmod(highest, TILE)
    row, column = np.divmod(scheme.data, TILE // 2 + 1)
    back = np.exp(2j * np.pi / TILE * (down * row + across * column))
    values = (spectrum[scheme.data] * back * scheme.data_phase.conj()).real
    rows = np.bincount(scheme.sign, values, SIGNS).reshape(SEALED, ROWS) @ scheme.hadamard
    chosen = np.abs(rows).argmax(axis=1)
    negated = rows[np.arange(SEALED), chosen] < 0
    read = bytes((chosen + ROWS * negated).tolist())
    number = read[:NUMBER]
    return _Reading(number if z > ENOUGH and _sealed(number) == read else None, z, scale)


def _folded(flat: Plane) -> NDArray[np.float64]:
    """All tiles, laid on top of each other."""
    height, width = flat.shape
    padded = np.pad(flat, ((0, -height % TILE), (0, -width % TILE)))
    tiles = padded.reshape(-1, TILE, padded.shape[1] // TILE, TILE)
    folded: NDArray[np.float64] = tiles.sum(axis=(0, 2), dtype=np.float64)
    return folded


def _flattened(luma: Plane) -> Plane:
    """What of an image is as fine as the mark, as strong everywhere."""
    fine = luma - _average(luma, 15)
    fine /= np.sqrt(np.maximum(_average(fine * fine, 31), 0)) + 1.5
    return fine


def _average(plane: Plane, side: int) -> Plane:
    """Of the square around each pixel; mirrored beyond the edges."""
    averages: Plane = uniform_filter(plane, side)
    return averages


def _luma(pixels: Pixels) -> Plane:
    """(height, width), 0 to 255; each pixel by itself, since a matrix product adds in an order of its own."""
    red, green, blue = (pixels[..., band] * np.float32(weight) for band, weight in enumerate(LUMA))
    red += green
    red += blue
    return red


def _strength(luma: Plane) -> Plane:
    """The mark's standard deviation at each pixel: more where the image is busy, and hides it."""
    busy = _average(np.abs(luma - _average(luma, 9)), 9)
    busy /= np.float32(BUSY)
    busy += np.float32(FLOOR)
    np.clip(busy, FLOOR, CEILING, out=busy)
    busy *= np.float32(STRENGTH)
    return busy


def _tile(code: bytes) -> NDArray[np.float64]:
    """(TILE, TILE), with a standard deviation of 1, of a number with its check."""
    scheme = _scheme()
    signs = np.concatenate([scheme.hadamard[one % ROWS] * (-1 if one >= ROWS else 1) for one in code])
    places = np.concatenate([scheme.sync, scheme.data])
    waves = np.concatenate([scheme.sync_phase, scheme.data_phase * signs[scheme.sign]])
    tile = _image(places, waves)
    tile /= tile.std()
    return tile


def _image(places: NDArray[np.intp], waves: NDArray[np.complex128]) -> NDArray[np.float64]:
    """(TILE, TILE) of what these places of a half spectrum hold; the others hold nothing."""
    spectrum = np.zeros(TILE * (TILE // 2 + 1), np.complex128)
    spectrum[places] = waves
    return np.fft.irfft2(spectrum.reshape(TILE, -1), (TILE, TILE))


@cache
def _scheme() -> _Scheme:
    down, across = np.fft.fftfreq(TILE, 1 / TILE)[:, np.newaxis], np.arange(TILE // 2 + 1)
    radius = np.hypot(down, across)
    places = np.flatnonzero((radius >= LOWEST) & (radius <= HIGHEST) & (across > 0))
    count = len(places)
    stream = np.frombuffer(hashlib.shake_256(NAME).digest(2 * count * 4), "<u4")
    places = places[np.argsort(stream[:count], kind="stable")]
    phases = np.exp(1j * (stream[count:] / 2**32 * 2 * np.pi))
    third = count // 3
    hadamard = np.ones((1, 1))
    while len(hadamard) < ROWS:  # Sylvester's
        hadamard = np.block([[hadamard, hadamard], [hadamard, -hadamard]])
    return _Scheme(
        sync=places[:third],
        data=places[third:],
        sync_phase=phases[:third],
        data_phase=phases[third:],
        sign=np.arange(count - third) % SIGNS,
        hadamard=hadamard,
        radius=np.rint(radius).astype(np.intp).ravel(),
    )


def _sealed(number: bytes) -> bytes:
    """A number with its check."""
    return number + hashlib.sha256(NAME + number).digest()[: SEALED - NUMBER]
