"""Pictures in memory: decode with limits, encode."""

from __future__ import annotations

import hashlib
import io
import json
import math
import re
import struct
import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Literal, assert_never, cast

from PIL import ExifTags, Image, PngImagePlugin

from tintype.errors import BadPicture
from tintype.media.colours import srgb_profile, to_srgb
from tintype.media.sanitize import DAMAGED, ImageFile, sanitize

Format = Literal["jpeg", "png", "webp"]

CUT_SHORT = "the picture is damaged or cut short"
#: What Pillow raises on malformed files, beside its own errors: readers trust the lengths, offsets and keys they read.
#: Only calls into Pillow stand in the blocks that catch these, so that no error of ours is taken for the file's.
MALFORMED = (
    OSError,  # the usual one, "image file is truncated" and UnidentifiedImageError among it
    SyntaxError,  # "not a TIFF file", "broken PNG file"
    ValueError,  # a size, mode or text chunk that can't be
    EOFError,
    TypeError,  # a tag that is text where a number belongs
    LookupError,  # a tag or a table entry that isn't there
    struct.error,  # a field shorter than its type
    zlib.error,
    RuntimeError,  # a library that can't begin
    ArithmeticError,  # a division by a number of nothing
    Image.DecompressionBombError,
    Image.DecompressionBombWarning,
)
#: EXIF's orientation → what makes the picture upright.
UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
ON_ITS_SIDE = (5, 6, 7, 8)
#: The full scales that pictures deeper than 8 bits are stored at, by mode.
FULL_SCALE = {"I": (0xFFFF, 0xFFFFFFFF), "F": (1, 255, 65535)}
#: How far numbers with a fraction may exceed their full scale: sharpening overshoots, and highlights are left in. A
#: picture with a larger scale would be all but black.
OVERSHOOT = 2
#: How far where only highlights do, and what share of all that isn't black these are at most.
HIGHLIGHTS, FEW = 16, 0.05
#: Rows that are converted in one go, where the result in between would be larger than the picture.
BAND = 256
#: In the place of what follows a JPEG without an end marker.
FILLERS = (b"\0" * 2**16 + b"\xff\xd9", b"\x55" * 2**16 + b"\xff\xd9")
#: From this JPEG quality on, colour keeps its full resolution too.
FINE_JPEG = 90
#: Bytes of all notes: an EXIF block in a JPEG file has 65,533, of which its own tables take some.
LONGEST_NOTE = 65_000
#: The keywords of a PNG's texts; the second is where A1111 began to keep what made a picture, and others read it.
NOTE, PARAMETERS = "tintype", "parameters"
#: What EXIF puts before a comment in UTF-16.
UNICODE = b"UNICODE\0"
#: A PNG's chunk for a picture in sRGB, and what stands in it: that it is to look as intended (the perceptual intent).
SRGB, PERCEPTUAL = b"sRGB", b"\0"


def check(data: bytes, max_pixels: int) -> tuple[int, int]:
    """Width and height as seen, from the header alone; raises BadPicture as `decode` does, but decodes no pixels."""
    _, size = identify(data, max_pixels)
    return size


def identify(data: bytes, max_pixels: int) -> tuple[str, tuple[int, int]]:
    """`jpeg`, `png`, `webp`, `gif`, `bmp` or `tiff`, whatever the file is called, and its size as `check` gives it."""
    file = sanitize(data)
    with _opened(file, max_pixels) as image:
        width, height = image.size
        # Pillow itself has already turned the size of a TIFF.
        turned = file.format != "TIFF" and _orientation(image) in ON_ITS_SIDE
    return file.format.lower(), (height, width) if turned else (width, height)


def decode(data: bytes, max_pixels: int) -> Image.Image:
    """A picture file → RGB, 8 bit, upright, transparency on white; of an animation the first frame.

    BadPicture when it is not JPEG, PNG, WebP, GIF, BMP or TIFF, is damaged or cut short, or has more than `max_pixels`
    pixels. Colours with an ICC profile are converted to sRGB; a profile that isn't understood is ignored.
    """
    file = sanitize(data)
    if not file.open_ended:
        return _pixels(file, max_pixels)
    # Where only the end marker is missing, all the pixels are there, and don't depend on what follows them.
    pictures = (_pixels(file._replace(data=file.data.rstrip(b"\xff") + filler), max_pixels) for filler in FILLERS)
    before = digest(next(pictures))
    picture = next(pictures)
    if digest(picture) != before:
        raise BadPicture(CUT_SHORT)
    return picture


def digest(picture: Image.Image) -> str:
    """SHA-256 of an RGB picture's pixels and size, in hex: the same picture in another file format is the same."""
    found = hashlib.sha256(repr(picture.size).encode())
    for band in _bands(picture):
        found.update(picture.crop(band).tobytes())
    return found.hexdigest()


def _pixels(file: ImageFile, max_pixels: int) -> Image.Image:
    with _opened(file, max_pixels) as image:
        with _malformed_is_bad():
            image.load()
        # A TIFF is upright once it is loaded.
        turn = None if image.format == "TIFF" else UPRIGHT.get(_orientation(image))
        picture = to_srgb(_to_8_bit(image), _to_rgb)
    del image  # its pixels would lie beside the turned ones
    return picture.transpose(turn) if turn is not None else picture


def _bands(picture: Image.Image) -> Iterator[tuple[int, int, int, int]]:
    """A few rows after the other, as boxes."""
    for top in range(0, picture.height, BAND):
        yield 0, top, picture.width, min(top + BAND, picture.height)


@contextmanager
def _opened(file: ImageFile, max_pixels: int) -> Iterator[Image.Image]:
    """The picture with its header read and checked."""
    # Pillow's own limit is one for the whole process, and up to twice its value it only warns. It is kept, though,
    # as it also covers what the size does not tell: the tiles of a TIFF, the frames of a GIF.
    warnings.simplefilter("error", Image.DecompressionBombWarning)
    # Its complaints of a file's tags would be lines in the log that callers write.
    warnings.filterwarnings("ignore", category=UserWarning, module=r"PIL\.")
    Image.MAX_IMAGE_PIXELS = max(Image.MAX_IMAGE_PIXELS or 0, max_pixels)
    try:
        # Only the one of Pillow's readers that the file is for, and never a caller's choice of all.
        image = Image.open(io.BytesIO(file.data), formats=[file.format])
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise BadPicture(f"the picture has too many pixels: {max_pixels} is the limit") from error
    except MALFORMED as error:
        raise BadPicture(DAMAGED) from error
    with image:
        if file.profile:
            image.info["icc_profile"] = file.profile
        width, height = image.size
        if width * height > max_pixels:
            raise BadPicture(f"the picture has too many pixels, {width}×{height}: {max_pixels} is the limit")
        yield image


@contextmanager
def _malformed_is_bad() -> Iterator[None]:
    try:
        yield
    except MALFORMED as error:
        raise BadPicture(CUT_SHORT) from error


def _orientation(image: Image.Image) -> int:
    try:
        # Not image.getexif(): a PNG's decodes all its pixels to look behind them.
        value = Image.Image.getexif(image).get(ExifTags.Base.Orientation)
    except MALFORMED:
        value = None  # a broken EXIF block says nothing about the pixels
    return value if isinstance(value, int) else 1


def _to_8_bit(image: Image.Image) -> Image.Image:
    """Grey of 16 or 32 bits, or of floats, scaled to 0–255: Pillow's own conversion clips it."""
    mode = "I" if image.mode.startswith("I;16") else image.mode
    if mode not in FULL_SCALE:
        return image
    levels = image.convert(mode)
    highest = cast(float, levels.getextrema()[1])  # of its one band
    full = next((scale for scale in FULL_SCALE[mode] if _is_within(levels, highest, scale)), highest)
    if not math.isfinite(full):
        full = 1
    grey = levels.convert("F").point(lambda level: level * (255 / full) + 0.5).convert("L")
    clear = grey.info.pop("transparency", None)  # a grey level on the old scale
    if isinstance(clear, int) and mode == "I":
        grey.paste(255, mask=levels.point([255 * (level == clear) for level in range(2**16)], "L"))
    return grey


def _is_within(levels: Image.Image, highest: float, scale: int) -> bool:
    """Whether a picture with this highest level is on a scale, or no further above it than pictures are."""
    if levels.mode != "F" or not scale * OVERSHOOT < highest <= scale * HIGHLIGHTS:
        return highest <= scale * (OVERSHOOT if levels.mode == "F" else 1)
    counts = levels.point(lambda level: level * (254 / scale)).convert("L").histogram()
    return counts[255] <= sum(counts[1:]) * FEW


def _to_rgb(image: Image.Image) -> Image.Image:
    """RGB, transparency on white; an RGB picture itself."""
    if not image.has_transparency_data:
        return image if image.mode == "RGB" else image.convert("RGB")
    picture = Image.new("RGB", image.size, "white")
    for band in _bands(image):
        part = image.crop(band).convert("RGBA")
        white = Image.new("RGBA", part.size, "white")
        picture.paste(Image.alpha_composite(white, part).convert("RGB"), band)
    return picture


def encode(image: Image.Image, format: Format, quality: int = 95, note: str = "", parameters: str = "") -> bytes:
    """The bytes of a picture file in sRGB; `quality` 1–100 is for JPEG and WebP, PNG being exact.

    `note`, in JSON, is kept in the file for `read_note`: as PNG text, else as EXIF's description. `parameters` is kept
    for other programs: as PNG text, else as EXIF's user comment. What is too long for EXIF is left out, `note` last.
    """
    file = io.BytesIO()
    match format:
        case "jpeg":
            colour = "4:4:4" if quality >= FINE_JPEG else "4:2:0"
            image.save(file, "JPEG", quality=quality, subsampling=colour, **_about(note, parameters))
        case "png":
            # 1024² takes 68 ms at level 1 and 319 ms at level 6, Pillow's default, for a tenth less.
            image.save(file, "PNG", compress_level=1, pnginfo=_chunks(note, parameters))
        case "webp":
            # 1024² takes half the time of the default, method 4, for 2 % more bytes.
            image.save(file, "WEBP", quality=quality, method=1, **_about(note, parameters))
        case _:
            assert_never(format)
    return file.getvalue()


def _about(note: str, parameters: str) -> dict[str, Any]:
    return {"exif": _exif(note, parameters), "icc_profile": srgb_profile()}


def _chunks(note: str, parameters: str) -> PngImagePlugin.PngInfo:
    chunks = PngImagePlugin.PngInfo()
    chunks.add(SRGB, PERCEPTUAL)
    if note:
        chunks.add_itxt(NOTE, note)
    if parameters:
        chunks.add_text(PARAMETERS, parameters)  # tEXt where Latin-1 has all of it, else iTXt, as A1111 does
    return chunks


def _exif(note: str, parameters: str) -> Image.Exif:
    """Big-endian throughout: so is the UTF-16 that other programs expect, whatever the block says of itself."""
    exif = Image.Exif()
    exif.endian = ">"
    described = re.sub(r"[^\0-\x7f]+", lambda found: json.dumps(found[0])[1:-1], note)  # EXIF has ASCII for it
    comment = UNICODE + parameters.encode("utf-16-be")
    if note and len(described) <= LONGEST_NOTE:
        exif[ExifTags.Base.ImageDescription] = described
    if parameters and len(described) + len(comment) <= LONGEST_NOTE:
        exif.get_ifd(ExifTags.IFD.Exif)[ExifTags.Base.UserComment] = comment
    return exif


def read_note(data: bytes) -> str:
    """What `encode` was given as a note, in JSON; empty when the file has none. Raises BadPicture."""
    with _opened(sanitize(data), Image.MAX_IMAGE_PIXELS or 0) as image, _malformed_is_bad():
        image.load()
        note = image.info.get(NOTE) or Image.Image.getexif(image).get(ExifTags.Base.ImageDescription, "")
    # Earlier versions wrote UTF-8 into EXIF's ASCII, and Pillow gives the bytes back one character each.
    return str(note) if image.format == "PNG" else str(note).encode("latin-1", "replace").decode("utf-8", "replace")


def content_type(format: Format) -> str:
    """The media type of what `encode` gives."""
    return f"image/{format}"
