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
from functools import partial
from typing import TYPE_CHECKING, Literal, cast

from isal import isal_zlib
from PIL import ExifTags, Image, ImageChops, ImageColor, PngImagePlugin

from tintype.catalog import formats
from tintype.core import Output, Role, Size
from tintype.errors import BadPicture
from tintype.media.colours import srgb_profile, to_srgb
from tintype.media.sanitize import DAMAGED, MAX_TAGS, PNG, PREFIX, ImageFile, sanitize

if TYPE_CHECKING:
    from tintype.media.storage import Storage  # which decoders, children with a limit of memory, do without

#: What shows where an image is transparent.
Behind = Literal["white", "black"]
TOO_MANY = "the images of the request have too many pixels together; send them smaller"
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
#: Bytes of all notes: an EXIF block in a JPEG file has 65,533, of which its own tables take some.
MAX_NOTE = 65_000
#: The keywords of a PNG's texts; the second is A1111's, which other programs read.
NOTE, PARAMETERS = "tintype", "parameters"
#: And of its XMP packet.
XMP = "XML:com.adobe.xmp"
#: EXIF's prefix of a comment in UTF-16.
UNICODE = b"UNICODE\0"
#: EXIF's tags that are read: two texts, and where the directory is in which the second is.
READ_TAGS = (ExifTags.Base.ImageDescription, ExifTags.Base.UserComment, ExifTags.IFD.Exif)
#: The end of a PNG's header: depth and colour type, the one compression and set of filters, no interlacing. The filter.
RGB_OF_8_BITS, UP = b"\x08\x02\0\0\0", b"\x02"
#: A PNG's chunk for an image in sRGB, and its content: the perceptual intent.
SRGB, PERCEPTUAL = b"sRGB", b"\0"


@contextmanager
def naming(role: Role) -> Iterator[None]:
    """Have a BadPicture that the block raises say which input image is meant, unless it is the init image."""
    try:
        yield
    except BadPicture as error:
        if role == "init":
            raise
        raise type(error)(f"{role}: {error.message.removeprefix('image: ')}") from error


def check(data: bytes, max_pixels: int) -> Size:
    """Width and height as seen, from the header alone; raises BadPicture as `decode` does, but decodes no pixels."""
    _, size = identify(data, max_pixels)
    return size


def identify(data: bytes, max_pixels: int) -> tuple[str, Size]:
    """The format, as `jpeg` or `gif`, whatever the file is called, and its size as `check` gives it."""
    file = sanitize(data)
    with _opened(file, max_pixels) as image:
        width, height = image.size
        # Pillow has already turned the size of a TIFF.
        turned = file.format != "TIFF" and _orientation(image) in ON_ITS_SIDE
    return file.format.lower(), (height, width) if turned else (width, height)


def decode(data: bytes, max_pixels: int, behind: Behind = "white") -> Image.Image:
    """An image file → RGB, 8 bit, upright, transparency on white or black; of an animation the first frame.

    BadPicture when it is no image of `sanitize.READ`, is damaged or cut short, or has more than `max_pixels`
    pixels. Colours with an ICC profile are converted to sRGB; a profile that Pillow can't read is ignored.
    """
    file = sanitize(data)
    if not file.open_ended:
        return _pixels(file, max_pixels, behind)
    # Where only the end marker is missing, all the pixels are there, and don't depend on what follows them.
    images = (_pixels(file._replace(data=file.data.rstrip(b"\xff") + filler), max_pixels, behind) for filler in FILLERS)
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


def _pixels(file: ImageFile, max_pixels: int, behind: Behind) -> Image.Image:
    with _opened(file, max_pixels) as image:
        with _malformed_is_bad():
            image.load()
        # A TIFF is upright once it is loaded.
        turn = None if image.format == "TIFF" else UPRIGHT.get(_orientation(image))
        rgb = to_srgb(_to_8_bit(image, behind), partial(_to_rgb, behind=behind))
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
    if file.format == "AVIF":
        _decode_avif_in_one_thread()
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


def _decode_avif_in_one_thread() -> None:
    """Pillow has a thread for each core, with memory of its own, and no other way to say how many."""
    from PIL import AvifImagePlugin  # noqa: PLC0415 - its library takes longer to load than most images to be read

    AvifImagePlugin.DEFAULT_MAX_THREADS = 1


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


def _to_8_bit(image: Image.Image, behind: Behind) -> Image.Image:
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
        nothing = levels.point([255 * (level == clear) for level in range(2**16)], "L")
        grey.paste(ImageColor.getcolor(behind, "L"), mask=nothing)
    return grey


def _is_within(levels: Image.Image, highest: float, scale: int) -> bool:
    """Whether an image with this highest level is on a scale, or above it by no more than real images are."""
    if levels.mode != "F" or not scale * OVERSHOOT < highest <= scale * HIGHLIGHTS:
        return highest <= scale * (OVERSHOOT if levels.mode == "F" else 1)
    counts = levels.point(lambda level: level * (254 / scale)).convert("L").histogram()
    return counts[255] <= sum(counts[1:]) * FEW


def _to_rgb(image: Image.Image, behind: Behind) -> Image.Image:
    """RGB, transparency on that colour; an RGB image itself."""
    if not image.has_transparency_data:
        return image if image.mode == "RGB" else image.convert("RGB")
    flat = Image.new("RGB", image.size, behind)
    for band in _bands(image):
        part = image.crop(band).convert("RGBA")
        ground = Image.new("RGBA", part.size, behind)
        flat.paste(Image.alpha_composite(ground, part).convert("RGB"), band)
    return flat


def encode(
    image: Image.Image, format: str, quality: int = 95, note: str = "", parameters: str = "", xmp: bytes = b""
) -> bytes:
    """The bytes of an RGB image's file in sRGB, in a format of `catalog.formats`; `quality` 1–100 is for lossy ones.

    `note`, in JSON, is stored in the file for `read_note`: as PNG text, else as EXIF's description. `parameters` is
    stored for other programs: as PNG text, else as EXIF's user comment. What is too long for EXIF is left out, first
    `parameters`, then `note`. `xmp` is a packet for any program.
    Raises InvalidParameter for a format that this machine's Pillow doesn't write.
    """
    row, file = formats.find(format), io.BytesIO()
    if row.options is None:
        return _png(image, _texts(note, parameters, xmp))
    about = {"exif": _exif(note, parameters), "icc_profile": srgb_profile(), **({"xmp": xmp} if xmp else {})}
    image.save(file, row.title, **row.options(quality), **about)
    return file.getvalue()


def _png(image: Image.Image, texts: PngImagePlugin.PngInfo) -> bytes:
    """A photograph of 1024² takes 8 ms, where Pillow's own encoder takes 70 at level 1, for 2 % fewer bytes.

    Pillow tries four filters on each row; here each is its difference from the row above, which compresses as well.
    """
    width, height = image.size
    black_and_all_but_last = image.crop((0, -1, width, height - 1))
    levels = ImageChops.subtract_modulo(image, black_and_all_but_last).tobytes()
    rows = (levels[begin : begin + 3 * width] for begin in range(0, len(levels), 3 * width))
    packed = isal_zlib.compress(b"".join(UP + row for row in rows), 2)
    header = struct.pack(">II", width, height) + RGB_OF_8_BITS
    file = io.BytesIO()
    file.write(PNG)
    said = [(chunk[0], chunk[1]) for chunk in texts.chunks]
    for name, content in [(b"IHDR", header), *said, (b"IDAT", packed), (b"IEND", b"")]:
        PngImagePlugin.putchunk(file, name, content)
    return file.getvalue()


def _texts(note: str, parameters: str, xmp: bytes) -> PngImagePlugin.PngInfo:
    chunks = PngImagePlugin.PngInfo()
    chunks.add(SRGB, PERCEPTUAL)
    if note:
        chunks.add_itxt(NOTE, note)
    if parameters:
        chunks.add_text(PARAMETERS, parameters)  # tEXt where Latin-1 has all of it, else iTXt, as A1111 does
    if xmp:
        chunks.add_itxt(XMP, xmp.decode())
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
    return read_texts(data)[0]


def read_texts(data: bytes) -> tuple[str, str]:
    """What a file says of its making: the `note` and the `parameters` that `encode` was given, or others wrote.

    Each is empty where the file has none. No pixels are decoded, so the file may be damaged. Raises BadPicture.
    """
    with _opened(sanitize(data), Image.MAX_IMAGE_PIXELS or 0) as image:
        if image.format == "PNG":
            return _png_text(image, NOTE), _png_text(image, PARAMETERS)
        described, comment = _exif_texts(image.info.get("exif", b""))
    return described.rstrip(b"\0").decode(errors="replace"), _comment(comment)


def _png_text(image: Image.Image, keyword: str) -> str:
    text = image.info.get(keyword, "")
    if not isinstance(text, str):
        return ""
    if isinstance(text, PngImagePlugin.iTXt):
        return str(text)
    try:  # tEXt is Latin-1, but some programs write UTF-8 into it
        return text.encode("latin-1").decode()
    except UnicodeError:
        return text


def _exif_texts(exif: bytes) -> tuple[bytes, bytes]:
    """EXIF's description, and its user comment, from the directory below; empty where they can't be read."""
    tiff = PREFIX.sub(b"", exif)
    order = "<" if tiff.startswith(b"II") else ">"
    try:
        first = _values(tiff, order, tiff[4:8])
        second = _values(tiff, order, first.get(ExifTags.IFD.Exif, b""))
    except struct.error:
        return b"", b""
    return first.get(ExifTags.Base.ImageDescription, b""), second.get(ExifTags.Base.UserComment, b"")


def _values(tiff: bytes, order: str, place: bytes) -> dict[int, bytes]:
    """By tag, the values of a directory as bytes; none without a place. Raises struct.error where it isn't in the file.

    The types aren't looked at: each value is taken for bytes, but for the place of a directory, which has four.
    """
    found = dict[int, bytes]()
    if not place:
        return found
    (start,) = struct.unpack(order + "I", place)
    (tags,) = struct.unpack_from(order + "H", tiff, start)
    for entry in range(start + 2, start + 2 + 12 * min(tags, MAX_TAGS), 12):
        tag, _, size, at = struct.unpack_from(order + "HHII", tiff, entry)
        if tag in READ_TAGS:
            begin, end = (entry + 8, entry + 12) if size <= 4 else (at, at + size)
            found[tag] = tiff[begin:end]
    return found


def _comment(comment: bytes) -> str:
    """The text of EXIF's user comment, whose first 8 bytes name its encoding."""
    kind, text = comment[:8], comment[8:]
    if kind != UNICODE:
        return text.rstrip(b"\0").decode(errors="replace")
    # Its byte order is by convention none of the file's: that of most programs, unless the zeros say otherwise.
    is_little = text[1::2].count(0) > text[::2].count(0)
    return text.decode("utf-16-le" if is_little else "utf-16-be", "replace").removeprefix("\ufeff")


@dataclass(frozen=True)
class Encoded:
    """A finished image as a file's bytes."""

    data: bytes
    #: Pixels.
    width: int
    height: int
    seed: int

    def store(self, outputs: Storage, format: str) -> Output:
        """Store it where it is fetched from; raises StorageUnavailable."""
        return Output(outputs.put(self.data, format), len(self.data), self.width, self.height, self.seed)
