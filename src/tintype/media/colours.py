"""Colours: what a file's ICC profile means by its numbers → sRGB, which models know and outputs say they are.

Of a PNG's chunks, iCCP counts. gAMA and cHRM without a profile are ignored, since nearly all such files mean sRGB and
the rest would be guesses; so is cICP, whose HDR has no right place in 8 bits.
"""

from __future__ import annotations

import io
from functools import cache, lru_cache
from itertools import product
from typing import Any

from PIL import Image, ImageCms

#: Bytes of the largest profile that is read: those of calibrated printers have a few megabytes.
LARGEST_PROFILE = 4 * 2**20
#: Transforms kept: a camera's pictures have all the same profile.
KEPT = 4
#: Profiles that move no colour further than this, of 255, say sRGB in other words: converting would only add rounding.
SAME = 2
#: The colour spaces of profiles → the mode that they are about, the same with transparency, and those that become it.
MODES = {
    "RGB": ("RGB", "RGBA", ("RGB", "RGBA", "RGBX", "P", "PA")),
    "GRAY": ("L", "LA", ("1", "L", "LA")),
    "CMYK": ("CMYK", "CMYK", ("CMYK",)),
}
#: What Pillow raises for profiles that LittleCMS refuses, at any stage.
BROKEN = (ImageCms.PyCMSError, OSError, ValueError, TypeError)
#: Where a profile has the date of its making, which would make equal pictures unequal files.
DATE = slice(24, 36)


def to_srgb(image: Image.Image) -> Image.Image:
    """A picture of 8 bits with its colours in sRGB, its transparency kept.

    Itself where it has no profile, one that isn't understood or isn't for such pictures, or one that means sRGB.
    """
    profile = image.info.get("icc_profile")
    if not isinstance(profile, bytes) or not 0 < len(profile) <= LARGEST_PROFILE:
        return image
    try:
        space = _space(profile)
        plain, clear, taken = MODES.get(space, ("", "", ()))
        transform = _transform(profile, plain) if image.mode in taken else None
        return image if transform is None else _converted(image, transform, plain, clear)
    except BROKEN:
        return image


def _converted(image: Image.Image, transform: ImageCms.ImageCmsTransform, plain: str, clear: str) -> Image.Image:
    if not image.has_transparency_data:
        return _applied(image.convert(plain), transform)
    image = image.convert(clear)
    picture = _applied(image.convert(plain), transform)
    picture.putalpha(image.getchannel("A"))
    return picture


def _applied(image: Image.Image, transform: ImageCms.ImageCmsTransform) -> Image.Image:
    picture = transform.apply(image)
    picture.info.clear()  # of the old colours: the profile, a transparent one
    return picture


def _space(profile: bytes) -> str:
    return profile[16:20].decode("latin-1").strip()


@lru_cache(KEPT)
def _transform(profile: bytes, mode: str) -> ImageCms.ImageCmsTransform | None:
    """From a profile's colours to sRGB; None where they are the same. Raises BROKEN."""
    source: Any = ImageCms.ImageCmsProfile(io.BytesIO(profile))
    transform = ImageCms.buildTransform(source, ImageCms.createProfile("sRGB"), mode, "RGB")
    return None if mode != "CMYK" and _changes_nothing(transform, mode) else transform


def _changes_nothing(transform: ImageCms.ImageCmsTransform, mode: str) -> bool:
    levels = range(0, 256, 15)
    colours = [*product(levels, repeat=3)] if mode == "RGB" else [(level,) * 3 for level in levels]
    before = Image.new("RGB", (len(colours), 1))
    before.putdata(colours)
    after = _applied(before.convert(mode), transform)
    return all(abs(one - other) <= SAME for one, other in zip(before.tobytes(), after.tobytes(), strict=True))


@cache
def srgb_profile() -> bytes:
    """An ICC profile that says sRGB, in 588 bytes, the same in every process."""
    profile = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    profile[DATE] = bytes(12)
    return bytes(profile)
