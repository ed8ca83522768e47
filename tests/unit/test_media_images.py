"""Decoding, fitting and encoding, with pictures made in memory."""

from __future__ import annotations

import io
import struct
import warnings
import zlib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from tests.image_files import saved

from tintype.errors import BadPicture
from tintype.media.images import check, decode, encode, identify

LIMIT = 1_000_000
RED, GREEN, BLUE, WHITE = (255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255)


def near(pixel: Any, expected: tuple[int, int, int], by: int = 12) -> bool:
    return all(abs(a - b) <= by for a, b in zip(pixel, expected, strict=True))


def left_red() -> Image.Image:
    """32×16, the left half red, the right half blue."""
    image = Image.new("RGB", (32, 16), BLUE)
    image.paste(RED, (0, 0, 16, 16))
    return image


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "AVIF", "GIF", "BMP", "TIFF"])
def test_every_format(kind: str) -> None:
    data = saved(left_red(), kind)
    image = decode(data, LIMIT)
    assert (image.mode, image.size, check(data, LIMIT)) == ("RGB", (32, 16), (32, 16))
    assert near(image.getpixel((4, 8)), RED)
    assert near(image.getpixel((28, 8)), BLUE)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"hello",
        b"<svg xmlns='http://www.w3.org/2000/svg'/>",
        b"\xff\xd8\xff",
        b"\x89PNG\r\n\x1a\n",
        b"%!PS-Adobe-3.0",
    ],
)
@pytest.mark.parametrize("read", [check, decode])
def test_not_a_picture(read: Any, data: bytes) -> None:
    with pytest.raises(BadPicture, match="JPEG, PNG, WebP"):
        read(data, LIMIT)


@pytest.mark.parametrize("kind", ["PPM", "ICO", "TGA", "PCX"])
def test_other_formats_are_refused(kind: str) -> None:
    with pytest.raises(BadPicture):
        decode(saved(left_red(), kind), LIMIT)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "AVIF", "BMP", "TIFF"])
def test_cut_short(kind: str) -> None:
    data = saved(Image.effect_noise((64, 64), 90).convert("RGB"), kind)
    with pytest.raises(BadPicture):
        decode(data[: len(data) * 2 // 3], LIMIT)


def bomb(width: int, height: int) -> bytes:
    """A PNG of a few bytes that claims to be that large."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


@pytest.mark.parametrize("side", [1001, 10_000, 60_000])
@pytest.mark.parametrize("read", [check, decode])
def test_bombs_name_the_limit_and_do_not_warn(read: Any, side: int) -> None:
    with warnings.catch_warnings(record=True) as heard:
        warnings.simplefilter("always")
        with pytest.raises(BadPicture, match="1000000 is the limit"):
            read(bomb(side, side), LIMIT)
    assert not heard


def test_a_limit_above_pillows_own_counts() -> None:
    assert check(bomb(20_000, 20_000), 400_000_000) == (20_000, 20_000)


def test_first_frame_of_an_animation() -> None:
    for kind in ("GIF", "WEBP"):
        frames = Image.new("RGB", (8, 8), RED), Image.new("RGB", (8, 8), BLUE)
        data = saved(frames[0], kind, save_all=True, append_images=[frames[1]])
        assert near(decode(data, LIMIT).getpixel((4, 4)), RED)


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_16_bits_are_scaled_and_not_clipped(kind: str) -> None:
    assert decode(saved(Image.new("I;16", (4, 4), 0x8080), kind), LIMIT).getpixel((1, 1)) == (128, 128, 128)


def test_floats_are_scaled() -> None:
    for level, shown in ((0.5, 128), (128.0, 128), (32896.0, 128), (-3.0, 0)):
        assert decode(saved(Image.new("F", (4, 4), level), "TIFF"), LIMIT).getpixel((1, 1)) == (shown,) * 3


def test_cmyk() -> None:
    cyan = decode(saved(Image.new("CMYK", (16, 16), (255, 0, 0, 0)), "JPEG"), LIMIT)
    assert near(cyan.getpixel((8, 8)), (0, 255, 255))
    assert near(decode(saved(left_red().convert("CMYK"), "TIFF"), LIMIT).getpixel((4, 8)), RED)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "AVIF", "TIFF"])
def test_exif_orientation(kind: str) -> None:
    exif = Image.Exif()
    exif[0x112] = 6  # turn it a quarter clockwise
    data = saved(left_red(), kind, exif=exif)
    image = decode(data, LIMIT)
    assert image.size == check(data, LIMIT) == (16, 32)
    assert near(image.getpixel((8, 4)), RED)


def test_broken_exif_is_no_reason_to_refuse() -> None:
    assert decode(saved(left_red(), "JPEG", exif=b"Exif\0\0broken"), LIMIT).size == (32, 16)


def test_transparency_lies_on_white() -> None:
    clear = Image.new("RGBA", (8, 8), (255, 0, 0, 0))
    palette = Image.new("P", (8, 8), 1)
    palette.putpalette([0, 0, 0, 255, 0, 0])
    grey = Image.new("L", (8, 8), 7)
    for data in (
        saved(clear, "PNG"),
        saved(clear, "WEBP", lossless=True, exact=True),
        saved(clear.convert("LA"), "PNG"),
        saved(palette, "PNG", transparency=1),
        saved(palette, "GIF", transparency=1),
        saved(grey, "PNG", transparency=7),
    ):
        assert decode(data, LIMIT).getpixel((4, 4)) == WHITE
    half = decode(saved(Image.new("RGBA", (8, 8), (255, 0, 0, 128)), "PNG"), LIMIT)
    assert near(half.getpixel((4, 4)), (255, 127, 127), by=1)


def test_16_bit_grey_with_transparency() -> None:
    data = saved(Image.new("I;16", (4, 4), 0x8080), "PNG", transparency=0x1234)
    assert decode(data, LIMIT).getpixel((1, 1)) == (128, 128, 128)


@given(st.binary(max_size=300))
def test_bytes_at_random(data: bytes) -> None:
    with pytest.raises(BadPicture):
        decode(data, LIMIT)


@pytest.mark.filterwarnings("ignore::UserWarning:PIL")
@given(st.sampled_from(["JPEG", "PNG", "WEBP", "AVIF", "GIF", "BMP", "TIFF"]), st.data())
def test_damaged_pictures_decode_or_are_bad(kind: str, draw: st.DataObject) -> None:
    data = bytearray(saved(left_red(), kind))
    for _ in range(draw.draw(st.integers(1, 4))):
        data[draw.draw(st.integers(0, len(data) - 1))] = draw.draw(st.integers(0, 255))
    try:
        assert decode(bytes(data), LIMIT).mode == "RGB"
    except BadPicture as error:
        assert "0x" not in str(error)


@pytest.mark.parametrize("format", ["jpeg", "png", "webp", "avif"])
def test_encode_and_back(format: str) -> None:
    image = decode(encode(left_red(), format), LIMIT)
    assert near(image.getpixel((4, 8)), RED)


def test_png_is_exact() -> None:
    noise = Image.effect_noise((64, 64), 90).convert("RGB")
    assert decode(encode(noise, "png"), LIMIT).tobytes() == noise.tobytes()


@pytest.mark.parametrize("format", ["jpeg", "webp", "avif"])
def test_quality_counts(format: str) -> None:
    noise = Image.effect_noise((64, 64), 90).convert("RGB")
    assert len(encode(noise, format, 10)) < len(encode(noise, format, 60)) < len(encode(noise, format, 100))


def test_a_jpeg_with_a_second_picture_is_a_jpeg() -> None:
    """As phones write them; Pillow calls it MPO, which no browser knows."""
    data = saved(left_red(), "MPO", save_all=True, append_images=[Image.new("RGB", (8, 8))])
    with Image.open(io.BytesIO(data)) as image:
        assert image.format == "MPO"
    assert identify(data, LIMIT)[0] == "jpeg"
    assert near(decode(data, LIMIT).getpixel((4, 8)), RED)


@pytest.mark.parametrize("name", ["JPEG", "PNG", "WEBP", "AVIF", "GIF", "BMP", "TIFF"])
def test_kinds_are_media_types(name: str) -> None:
    assert identify(saved(left_red(), name), LIMIT)[0] == name.lower()
