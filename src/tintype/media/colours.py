"""Colours: a file's ICC profile → sRGB, in which models are trained and outputs are written.

Of a PNG's chunks, iCCP counts. gAMA and cHRM without a profile are ignored, since nearly all such files mean sRGB and
the rest would be guesses; so is cICP, whose HDR doesn't fit into 8 bits.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from functools import cache, lru_cache
from itertools import product
from typing import Any

from PIL import Image, ImageCms

from tintype.media.sanitize import MAX_PROFILE

#: Cached transforms: all images of a camera have the same profile.
CACHED = 4
#: Profiles that move no colour further than this, of 255, are sRGB in effect: converting would only add rounding.
SAME = 2
#: Colour space of a profile → the mode that its transform takes, and the modes of the images that it applies to.
MODES = {
    "RGB": ("RGB", ("RGB", "RGBA", "RGBX", "P", "PA")),
    "GRAY": ("L", ("1", "L", "LA")),
    "CMYK": ("CMYK", ("CMYK",)),
}
#: What Pillow raises for profiles that LittleCMS refuses, at any stage.
BROKEN = (ImageCms.PyCMSError, OSError, ValueError, TypeError)
#: Where a profile has its creation date, which would make files of equal images differ.
DATE = slice(24, 36)


def to_srgb(image: Image.Image, flatten: Callable[[Image.Image], Image.Image]) -> Image.Image:
    """An image of 8 bits → RGB in sRGB; `flatten` makes a new image of it, RGB in the same colours.

    A profile that can't be read, isn't for such images, or is sRGB changes nothing. `image` may be changed in place: a
    copy would take as much memory again.
    """
    mode, transform = _mode_and_transform(image)
    if transform is None:
        rgb = flatten(image)
    elif mode == "CMYK":
        rgb = transform.apply(image)
    elif mode == "L":
        rgb = transform.apply(flatten(image).getchannel(0))
    elif mode == "RGBA":  # before it is flattened, so that half transparent pixels are blended in sRGB, as browsers do
        rgb = flatten(transform.apply_in_place(image))
    else:
        rgb = transform.apply_in_place(flatten(image))
    rgb.info.pop("icc_profile", None)
    return rgb


def _mode_and_transform(image: Image.Image) -> tuple[str, ImageCms.ImageCmsTransform | None]:
    profile = image.info.get("icc_profile")
    if not isinstance(profile, bytes) or not 0 < len(profile) <= MAX_PROFILE:
        return "", None
    mode, taken = MODES.get(_space(profile), ("", ()))
    mode = "RGBA" if mode == "RGB" and image.mode == "RGBA" else mode
    try:
        return mode, _transform(profile, mode) if image.mode in taken else None
    except BROKEN:
        return "", None


def _space(profile: bytes) -> str:
    return profile[16:20].decode("latin-1").strip()


@lru_cache(CACHED)
def _transform(profile: bytes, mode: str) -> ImageCms.ImageCmsTransform | None:
    """From a profile's colours to sRGB; None if they are the same. Raises BROKEN."""
    source: Any = ImageCms.ImageCmsProfile(io.BytesIO(profile))
    target = "RGBA" if mode == "RGBA" else "RGB"
    transform = ImageCms.buildTransform(source, ImageCms.createProfile("sRGB"), mode, target)
    return None if mode != "CMYK" and _changes_nothing(transform, mode) else transform


def _changes_nothing(transform: ImageCms.ImageCmsTransform, mode: str) -> bool:
    levels = range(0, 256, 15)
    colours = [*product(levels, repeat=3)] if mode != "L" else [(level,) * 3 for level in levels]
    before = Image.new("RGB", (len(colours), 1))
    before.putdata(colours)
    after = transform.apply(before.convert(mode)).convert("RGB")
    return all(abs(one - other) <= SAME for one, other in zip(before.tobytes(), after.tobytes(), strict=True))


@cache
def srgb_profile() -> bytes:
    """The ICC profile of sRGB, in 588 bytes, the same in every process."""
    profile = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    profile[DATE] = bytes(12)
    return bytes(profile)
