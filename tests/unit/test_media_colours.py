"""Colours of files with an ICC profile, and what files that we write say of theirs."""

from __future__ import annotations

import io
import struct
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageCms
from tests.image_files import saved
from tests.unit.test_media_images import LIMIT, near

from tintype.errors import InvalidParameter
from tintype.media import colours
from tintype.media.images import decode, encode
from tintype.media.sanitize import MAX_PROFILE

#: Orange, as a file in Display P3 has it and as sRGB has it.
IN_P3, ORANGE = (235, 145, 61), (250, 140, 30)


def s15(number: float) -> bytes:
    return struct.pack(">i", round(number * 65536))


def profile(space: bytes, tags: dict[bytes, bytes]) -> bytes:
    """An ICC profile of version 2: header, table, tags."""
    table, body, start = b"", b"", 128 + 4 + 12 * len(tags)
    for name, data in tags.items():
        table += name + struct.pack(">II", start + len(body), len(data))
        body += data + bytes(-len(data) % 4)
    whole = struct.pack(">I", len(tags)) + table + body
    white = s15(0.9642) + s15(1) + s15(0.8249)
    pcs = b"Lab " if b"A2B0" in tags else b"XYZ "
    head = struct.pack(">I4sI", 128 + len(whole), b"test", 0x02400000)
    kind = b"prtr" if space == b"CMYK" else b"mntr"
    head += kind + space + pcs + bytes(12) + b"acsp" + bytes(28) + white
    return head.ljust(128, b"\0") + whole


def xyz(*numbers: float) -> bytes:
    return b"XYZ \0\0\0\0" + b"".join(map(s15, numbers))


LINEAR = b"curv\0\0\0\0" + struct.pack(">IH", 1, 256) + b"\0\0"


def curve() -> bytes:
    """sRGB's own, which Display P3 shares, as a table."""
    steps = [step / 255 for step in range(256)]
    linear = [step / 12.92 if step <= 0.04045 else ((step + 0.055) / 1.055) ** 2.4 for step in steps]
    return b"curv\0\0\0\0" + struct.pack(">I256H", 256, *(round(65535 * light) for light in linear))


WHITE = {b"wtpt": xyz(0.9642, 1, 0.8249)}
#: Display P3's primaries, adapted to D50.
P3 = profile(
    b"RGB ",
    WHITE
    | {
        b"rXYZ": xyz(0.5151, 0.2412, -0.0011),
        b"gXYZ": xyz(0.2920, 0.6922, 0.0419),
        b"bXYZ": xyz(0.1571, 0.0666, 0.7841),
    }
    | dict.fromkeys((b"rTRC", b"gTRC", b"bTRC"), curve()),
)
LINEAR_GREY = profile(b"GRAY", WHITE | {b"kTRC": LINEAR})


def ink() -> bytes:
    """CMYK → Lab by a table of its 16 corners: cyan prints as pure green here, all else as white or black."""
    corners = b""
    for corner in range(16):
        cyan, _, _, black = (corner >> bit & 1 for bit in (3, 2, 1, 0))
        corners += bytes((0, 128, 128)) if black else bytes((224, 48, 208)) if cyan else bytes((255, 128, 128))
    table = b"mft1\0\0\0\0" + bytes((4, 3, 2, 0)) + b"".join(map(s15, (1, 0, 0, 0, 1, 0, 0, 0, 1)))
    return profile(b"CMYK", WHITE | {b"A2B0": table + bytes(range(256)) * 4 + corners + bytes(range(256)) * 3})


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "AVIF", "TIFF"])
def test_a_wide_gamut_becomes_srgb(kind: str) -> None:
    options: dict[str, Any] = {"WEBP": {"lossless": True}, "JPEG": {"quality": 100}}.get(kind, {})
    data = saved(Image.new("RGB", (16, 16), IN_P3), kind, icc_profile=P3, **options)
    assert near(decode(data, LIMIT).getpixel((8, 8)), ORANGE, by=3)
    assert near(decode(saved(Image.new("RGB", (16, 16), IN_P3), kind, **options), LIMIT).getpixel((8, 8)), IN_P3, by=2)


def test_the_other_kinds_of_rgb() -> None:
    colour = Image.new("RGB", (4, 4), IN_P3)
    table = Image.new("P", (4, 4), 1)
    table.putpalette([0, 0, 0, *IN_P3])
    for data in (saved(colour.convert("RGBA"), "PNG", icc_profile=P3), saved(table, "PNG", icc_profile=P3)):
        assert near(decode(data, LIMIT).getpixel((1, 1)), ORANGE, by=3)
    half = Image.new("RGBA", (4, 4), (*IN_P3, 128))
    assert near(decode(saved(half, "PNG", icc_profile=P3), LIMIT).getpixel((1, 1)), (252, 197, 142), by=3)
    for clear in (
        saved(table, "PNG", icc_profile=P3, transparency=1),
        saved(colour, "PNG", icc_profile=P3, transparency=IN_P3),
        saved(Image.new("LA", (4, 4), (9, 0)), "PNG", icc_profile=LINEAR_GREY),
        saved(Image.new("L", (4, 4), 9), "PNG", icc_profile=LINEAR_GREY, transparency=9),
    ):
        assert decode(clear, LIMIT).getpixel((1, 1)) == (255, 255, 255)


@pytest.mark.parametrize("mode", ["L", "LA", "I;16"])
def test_grey_has_profiles_too(mode: str) -> None:
    """Half the light is 188 of 255 in sRGB."""
    level: Any = {"L": 128, "LA": (128, 255), "I;16": 0x8080}[mode]
    data = saved(Image.new(mode, (4, 4), level), "PNG", icc_profile=LINEAR_GREY)
    assert near(decode(data, LIMIT).getpixel((1, 1)), (188, 188, 188), by=2)


@pytest.mark.parametrize("kind", ["JPEG", "TIFF"])
def test_ink(kind: str) -> None:
    cyan = saved(Image.new("CMYK", (16, 16), (255, 0, 0, 0)), kind, icc_profile=ink())
    red, green, blue = decode(cyan, LIMIT).getpixel((8, 8))  # type: ignore[misc]
    assert green > 200
    assert max(red, blue) < 100, "by the profile, whose cyan is a green"


def test_profiles_that_say_srgb_change_nothing() -> None:
    """Not by a rounding error: recipes know input pictures by a digest of their pixels."""
    noise = Image.effect_noise((64, 64), 90).convert("RGB")
    for said in (colours.srgb_profile(), ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()):
        assert decode(saved(noise, "PNG", icc_profile=said), LIMIT).tobytes() == noise.tobytes()


@pytest.mark.parametrize(
    "said",
    [
        b"",
        b"no profile",
        P3[:200],
        P3[:16] + b"Lab " + P3[20:],
        LINEAR_GREY,
        ink(),
        P3.ljust(MAX_PROFILE + 1),
    ],
    ids=["none", "text", "cut", "lab", "grey", "ink", "large"],
)
def test_a_profile_that_is_not_understood_is_ignored(said: bytes) -> None:
    image, flat = Image.new("RGB", (4, 4), IN_P3), Image.new("RGB", (4, 4), IN_P3)
    image.info["icc_profile"] = said
    assert colours.to_srgb(image, lambda _: flat) is flat
    assert flat.getpixel((0, 0)) == IN_P3


@given(st.lists(st.tuples(st.integers(0, len(P3) - 1), st.integers(0, 255)), max_size=8))
def test_broken_profiles_break_nothing(changes: list[tuple[int, int]]) -> None:
    said = bytearray(P3)
    for at, byte in changes:
        said[at] = byte
    image = Image.new("RGBA", (4, 4), (*IN_P3, 7))
    image.info["icc_profile"] = bytes(said)
    kept = []
    assert colours.to_srgb(image, lambda sent: kept.append(sent) or sent.convert("RGB")).mode == "RGB"
    assert kept[0].getchannel("A").getextrema() == (7, 7)


def test_few_transforms_are_kept() -> None:
    assert colours._transform.cache_info().maxsize == colours.CACHED


@pytest.mark.parametrize("format", ["jpeg", "png", "webp", "avif"])
def test_files_say_that_they_are_srgb(format: str) -> None:
    data = encode(Image.new("RGB", (64, 64), ORANGE), format)
    with Image.open(io.BytesIO(data)) as image:
        image.load()
        if format == "png":
            assert image.info["srgb"] == 0
        else:
            said = ImageCms.ImageCmsProfile(io.BytesIO(image.info["icc_profile"]))
            assert "sRGB" in ImageCms.getProfileDescription(said)
            assert len(image.info["icc_profile"]) < 600
    assert encode(Image.new("RGB", (64, 64), ORANGE), format) == data, "no date is in it"


def test_an_unknown_format_is_refused() -> None:
    with pytest.raises(InvalidParameter, match="jpeg, png"):
        encode(Image.new("RGB", (4, 4)), "jxl")


def test_the_date_is_none() -> None:
    assert colours.srgb_profile()[colours.DATE] == bytes(12)
