"""Images in memory: decoded within limits, and encoded as files."""

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
from dataclasses import dataclass
from typing import TYPE_CHECKING, assert_never, cast

from PIL import ExifTags, Image, PngImagePlugin

from tintype.core import Format, Output, Size
from tintype.errors import BadPicture
from tintype.media.colours import srgb_profile, to_srgb
from tintype.media.sanitize import DAMAGED, ImageFile, sanitize

if TYPE_CHECKING:
    from tintype.media.storage import Storage  # which decoders, children with a limit of memory, do without

CUT_SHORT = "the image is damaged or cut short"
#: What Pillow raises on malformed files, in addition to its own errors: its readers trust the lengths, offsets and keys
#: of the file. The blocks that catch these call only Pillow, so that no error of ours is taken for the file's.
MALFORMED = (
    OSError,  # the most common, among it "image file is truncated" and UnidentifiedImageError
    SyntaxError,  # "not a TIFF file", "broken PNG file"
    ValueError,  # an impossible size, mode or text chunk
    EOFError,
    TypeError,  # a tag that is text where a number belongs
    LookupError,  # a tag or a table entry that isn't there
    struct.error,  # a field shorter than its type
    zlib.error,
    RuntimeError,  # a library that can't start
    ArithmeticError,  # a division by zero
    Image.DecompressionBombError,
    Image.DecompressionBombWarning,
)
#: EXIF's orientation → what makes the image upright.
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
#: Full scales of images with more than 8 bits, by mode.
FULL_SCALE = {"I": (0xFFFF, 0xFFFFFFFF), "F": (1, 255, 65535)}
#: How far floats may exceed their full scale: sharpening overshoots, and highlights exceed it. An image with a larger
#: scale would be almost black.
OVERSHOOT = 2
#: How far highlights alone may, and their max share of the pixels that aren't black.
HIGHLIGHTS, FEW = 16, 0.05
#: Rows converted at a time, where the intermediate result would be larger than the image.
BAND = 256
#: Appended to a JPEG without an end marker.
FILLERS = (b"\0" * 2**16 + b"\xff\xd9", b"\x55" * 2**16 + b"\xff\xd9")
#: From this JPEG quality on, chroma has full resolution.
FINE_JPEG = 90
#: Bytes of all notes: an EXIF block in a JPEG file has 65,533, of which its own tables take some.
MAX_NOTE = 65_000
#: The keywords of a PNG's texts; the second is A1111's, which other programs read.
NOTE, PARAMETERS = "tintype", "parameters"
#: EXIF's prefix of a comment in UTF-16.
UNICODE = b"UNICODE\0"
#: A PNG's chunk for an image in sRGB, and its content: the perceptual intent.
SRGB, PERCEPTUAL = b"sRGB", b"\0"


def check(data: bytes, max_pixels: int) -> Size:
    """Width and height as seen, from the header alone; raises BadPicture as `decode` does, but decodes no pixels."""
    _, size = identify(data, max_pixels)
    return size


def identify(data: bytes, max_pixels: int) -> tuple[str, Size]:
    """`jpeg`, `png`, `webp`, `gif`, `bmp` or `tiff`, whatever the file is called, and its size as `check` gives it."""
    file = sanitize(data)
    with _opened(file, max_pixels) as image:
        width, height = image.size
        # Pillow has already turned the size of a TIFF.
        turned = file.format != "TIFF" and _orientation(image) in ON_ITS_SIDE
    return file.format.lower(), (height, width) if turned else (width, height)


def decode(data: bytes, max_pixels: int) -> Image.Image:
    """An image file → RGB, 8 bit, upright, transparency on white; of an animation the first frame.

    BadPicture when it is not JPEG, PNG, WebP, GIF, BMP or TIFF, is damaged or cut short, or has more than `max_pixels`
    pixels. Colours with an ICC profile are converted to sRGB; a profile that Pillow can't read is ignored.
    """
    file = sanitize(data)
    if not file.open_ended:
        return _pixels(file, max_pixels)
    # Where only the end marker is missing, all the pixels are there, and don't depend on what follows them.
    images = (_pixels(file._replace(data=file.data.rstrip(b"\xff") + filler), max_pixels) for filler in FILLERS)
    before = digest(next(images))
    image = next(images)
    if digest(image) != before:
        raise BadPicture(CUT_SHORT)
    return image


def digest(image: Image.Image) -> str:
    """SHA-256 of an RGB image's pixels and size, in hex, whatever its file format was."""
    found = hashlib.sha256(repr(image.size).encode())
    for band in _bands(image):
        found.update(image.crop(band).tobytes())
    return found.hexdigest()


def _pixels(file: ImageFile, max_pixels: int) -> Image.Image:
    with _opened(file, max_pixels) as image:
        with _malformed_is_bad():
            image.load()
        # A TIFF is upright once it is loaded.
        turn = None if image.format == "TIFF" else UPRIGHT.get(_orientation(image))
        rgb = to_srgb(_to_8_bit(image), _to_rgb)
    del image  # its pixels would take memory in addition to the turned ones
    return rgb.transpose(turn) if turn is not None else rgb


def _bands(image: Image.Image) -> Iterator[tuple[int, int, int, int]]:
    """Boxes of BAND rows each, from the top down."""
    for top in range(0, image.height, BAND):
        yield 0, top, image.width, min(top + BAND, image.height)


@contextmanager
def _opened(file: ImageFile, max_pixels: int) -> Iterator[Image.Image]:
    """The image with its header read and checked."""
    # Pillow's own limit is global, and up to twice its value it only warns. It stays set, since it also covers what the
    # size does not: the tiles of a TIFF, the frames of a GIF.
    warnings.simplefilter("error", Image.DecompressionBombWarning)
    # Its warnings about a file's tags would let callers write into the log.
    warnings.filterwarnings("ignore", category=UserWarning, module=r"PIL\.")
    Image.MAX_IMAGE_PIXELS = max(Image.MAX_IMAGE_PIXELS or 0, max_pixels)
    try:
        # Only Pillow's reader for this format, never a caller's choice of all of them.
        image = Image.open(io.BytesIO(file.data), formats=[file.format])
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise BadPicture(f"the image has too many pixels: {max_pixels} is the limit") from error
    except MALFORMED as error:
        raise BadPicture(DAMAGED) from error
    with image:
        if file.profile:
            image.info["icc_profile"] = file.profile
        width, height = image.size
        if width * height > max_pixels:
            raise BadPicture(f"the image has too many pixels, {width}×{height}: {max_pixels} is the limit")
        yield image


@contextmanager
def _malformed_is_bad() -> Iterator[None]:
    try:
        yield
    except MALFORMED as error:
        raise BadPicture(CUT_SHORT) from error


def _orientation(image: Image.Image) -> int:
    try:
        # Not image.getexif(): for a PNG it decodes all pixels first.
        value = Image.Image.getexif(image).get(ExifTags.Base.Orientation)
    except MALFORMED:
        value = None  # a broken EXIF block says nothing about the pixels
    return value if isinstance(value, int) else 1


def _to_8_bit(image: Image.Image) -> Image.Image:
    """Grey of 16 or 32 bits, or of floats, scaled to 0–255: Pillow's own conversion clips."""
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
    """Whether an image with this highest level is on a scale, or above it by no more than real images are."""
    if levels.mode != "F" or not scale * OVERSHOOT < highest <= scale * HIGHLIGHTS:
        return highest <= scale * (OVERSHOOT if levels.mode == "F" else 1)
    counts = levels.point(lambda level: level * (254 / scale)).convert("L").histogram()
    return counts[255] <= sum(counts[1:]) * FEW


def _to_rgb(image: Image.Image) -> Image.Image:
    """RGB, transparency on white; an RGB image itself."""
    if not image.has_transparency_data:
        return image if image.mode == "RGB" else image.convert("RGB")
    flat = Image.new("RGB", image.size, "white")
    for band in _bands(image):
        part = image.crop(band).convert("RGBA")
        white = Image.new("RGBA", part.size, "white")
        flat.paste(Image.alpha_composite(white, part).convert("RGB"), band)
    return flat


def encode(image: Image.Image, format: Format, quality: int = 95, note: str = "", parameters: str = "") -> bytes:
    """The bytes of an image file in sRGB; `quality` 1–100 is for JPEG and WebP, PNG is lossless.

    `note`, in JSON, is stored in the file for `read_note`: as PNG text, else as EXIF's description. `parameters` is
    stored for other programs: as PNG text, else as EXIF's user comment. What is too long for EXIF is left out, first
    `parameters`, then `note`.
    """
    file = io.BytesIO()
    match format:
        case "jpeg":
            colour = "4:4:4" if quality >= FINE_JPEG else "4:2:0"
            exif, profile = _exif(note, parameters), srgb_profile()
            image.save(file, "JPEG", quality=quality, subsampling=colour, exif=exif, icc_profile=profile)
        case "png":
            # 1024² takes 68 ms at level 1 and 319 ms at level 6, Pillow's default, for a tenth less.
            image.save(file, "PNG", compress_level=1, pnginfo=_chunks(note, parameters))
        case "webp":
            # 1024² takes half the time of the default, method 4, for 2 % more bytes.
            exif, profile = _exif(note, parameters), srgb_profile()
            image.save(file, "WEBP", quality=quality, method=1, exif=exif, icc_profile=profile)
        case _:
            assert_never(format)
    return file.getvalue()


def _chunks(note: str, parameters: str) -> PngImagePlugin.PngInfo:
    chunks = PngImagePlugin.PngInfo()
    chunks.add(SRGB, PERCEPTUAL)
    if note:
        chunks.add_itxt(NOTE, note)
    if parameters:
        chunks.add_text(PARAMETERS, parameters)  # tEXt where Latin-1 has all of it, else iTXt, as A1111 does
    return chunks


def _exif(note: str, parameters: str) -> Image.Exif:
    """Big-endian throughout: other programs expect the comment's UTF-16 to be, whatever the block's own order is."""
    exif = Image.Exif()
    exif.endian = ">"
    described = re.sub(r"[^\0-\x7f]+", lambda found: json.dumps(found[0])[1:-1], note)  # EXIF has ASCII for it
    comment = UNICODE + parameters.encode("utf-16-be")
    if note and len(described) <= MAX_NOTE:
        exif[ExifTags.Base.ImageDescription] = described
    if parameters and len(described) + len(comment) <= MAX_NOTE:
        exif.get_ifd(ExifTags.IFD.Exif)[ExifTags.Base.UserComment] = comment
    return exif


def read_note(data: bytes) -> str:
    """The note that `encode` was given, in JSON; empty when the file has none. Raises BadPicture."""
    with _opened(sanitize(data), Image.MAX_IMAGE_PIXELS or 0) as image, _malformed_is_bad():
        image.load()
        note = image.info.get(NOTE) or Image.Image.getexif(image).get(ExifTags.Base.ImageDescription, "")
    # Earlier versions wrote UTF-8 into EXIF's ASCII, and Pillow returns one character per byte.
    return str(note) if image.format == "PNG" else str(note).encode("latin-1", "replace").decode("utf-8", "replace")


def content_type(format: Format) -> str:
    """The media type of what `encode` returns."""
    return f"image/{format}"


@dataclass(frozen=True)
class Encoded:
    """A finished image as a file's bytes."""

    data: bytes
    #: Pixels.
    width: int
    height: int
    seed: int

    def store(self, outputs: Storage, format: Format) -> Output:
        """Store it where it is fetched from; raises StorageUnavailable."""
        return Output(outputs.put(self.data, format), len(self.data), self.width, self.height, self.seed)
