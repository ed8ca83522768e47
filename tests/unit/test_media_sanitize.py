"""Files are told apart and reduced before a decoder sees them: bombs of each format, counted and not timed."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Iterator
from contextlib import suppress
from functools import cache
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import AvifImagePlugin, Image, TiffImagePlugin
from tests.image_files import SCAN, saved, scanned

from tintype.errors import BadPicture
from tintype.media import sanitize as own
from tintype.media.images import check, decode, identify, read_note
from tintype.media.sanitize import sanitize

LIMIT = 50_000_000
WHITE = (255, 255, 255)


@cache
def noise(side: int = 32) -> Image.Image:
    """Always the same."""
    return Image.effect_noise((side, side), 90).convert("RGB")


def frames(count: int) -> list[Image.Image]:
    """So many that all differ from the one before."""
    return [noise().rotate(90 * (number + 1)) for number in range(count)]


def refused(data: bytes, words: str) -> None:
    """By the web process as by a decoder."""
    for read in (check, identify, decode):
        with pytest.raises(BadPicture, match=words):
            read(data, LIMIT)


# Other formats


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", "a HEIC image"),
        (b"\0\0\0\x18ftypmif1\0\0\0\0mif1heic", "a HEIC image"),
        (b"\xff\x0a\xfa\x1f", "a JPEG XL image"),
        (b"\0\0\0\x0cJXL \r\n\x87\n", "a JPEG XL image"),
        (b"\0\0\0\x0cjP  \r\n\x87\n", "a JPEG 2000 image"),
        (b"\0\0\0\x18ftypmp42\0\0\0\0", "a video"),
        (b"\0\0\0\x14ftypqt  \0\0\0\0", "a video"),
        (b"\x1a\x45\xdf\xa3\x01\0\0\0", "a video"),
        (b"RIFF\0\0\0\0AVI LIST", "a video"),
        (b"\0\0\1\0\1\0\x10\x10", "an icon"),
        (b"\0\0\2\0\0\0\0\0", "not a"),  # a TGA, which has no mark: no icon
        (b"8BPS\0\1", "a Photoshop document"),
        (b"%PDF-1.7\n", "a PDF document"),
        (b"%!PS-Adobe-3.0", "a PostScript document"),
        (b"PK\x03\x04", "an archive"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "an SVG drawing"),
        (b"\xef\xbb\xbf<?xml version='1.0'?>\n<!-- by hand -->\n<svg width='1'>", "an SVG drawing"),
        (b"\n<!DOCTYPE html><title>Not found</title><svg>", "an HTML page"),
        (b"<html lang=en>", "an HTML page"),
        (b'{"error": "not found"}', "JSON"),
        (b"<" * 5000, "not a"),
        (b"hello", "not a"),
        (b"", "not a"),
    ],
)
def test_what_else_was_sent_is_named(data: bytes, words: str) -> None:
    refused(data, f"^{words}.*JPEG, PNG, WebP, AVIF, GIF, BMP or TIFF")


# JPEG


def jpeg(**options: Any) -> bytes:
    return saved(noise(), "JPEG", **options)


def segment(code: int, payload: bytes) -> bytes:
    return b"\xff" + bytes([code]) + (len(payload) + 2).to_bytes(2, "big") + payload


def test_scans_of_a_jpeg_are_counted() -> None:
    ordinary = jpeg(progressive=True)
    refused(scanned(ordinary, own.MAX_SCANS + 1), "too many scans: 100 is the limit")
    assert check(scanned(ordinary, own.MAX_SCANS), LIMIT) == (32, 32)


def test_an_end_marker_in_a_comment_between_scans_hides_none() -> None:
    first = jpeg(progressive=True)
    end = first.index(SCAN, first.index(SCAN) + 2)  # where the second scan begins, or its tables
    data = first[:end] + segment(0xFE, b"\xff\xd9") + scanned(first, own.MAX_SCANS + 1)[end:]
    refused(data, "too many scans")


def test_scans_behind_the_end_are_nobodys() -> None:
    """A phone's second picture, a video behind the picture."""
    data = jpeg() + SCAN * 1000
    assert sanitize(data).data.count(SCAN) == 1
    assert decode(data, LIMIT).tobytes() == decode(jpeg(), LIMIT).tobytes()


def test_segments_of_a_jpeg_are_counted_and_most_are_left_out() -> None:
    data, exif = jpeg(), b"Exif\0\0MM\0*\0\0\0\x08\0\0\0\0\0\0"
    extra = segment(0xFE, b"hello") * 300 + segment(0xE1, exif) * 300 + segment(0xED, b"Photoshop 3.0\0") * 300
    kept = sanitize(data[:2] + extra + data[2:]).data
    assert len(kept) - len(sanitize(data).data) == len(segment(0xE1, exif)), "the first EXIF alone"
    refused(data[:2] + segment(0xFE, b"") * 1000 + data[2:], "too many segments: 1000 is the limit|damaged")
    refused(data[:2] + segment(0xFE, b"x") * 1000 + data[2:], "too many segments: 1000 is the limit")
    tables = segment(0xDD, b"\0\0") * 1000
    refused(data[:-2] + tables + data[-2:], "too many segments")


@pytest.mark.parametrize("filling", [b"\xff", b"\0"])
def test_filling_before_a_marker_is_not_walked(filling: bytes) -> None:
    data = jpeg()
    second = data.index(b"\xff\xdb")
    refused(data[:second] + filling * 2**20 + data[second:], "damaged")
    filled = data[:second] + filling * 100 + data[second:]
    assert decode(filled, LIMIT).tobytes() == decode(data, LIMIT).tobytes()
    refused(data[:-2] + b"\xff" * 2**20 + data[-2:], "damaged")


def test_a_jpeg_without_its_end_marker_is_whole_or_is_not() -> None:
    for data in (jpeg(), jpeg(progressive=True), jpeg(quality=100)):
        assert decode(data[:-2], LIMIT).tobytes() == decode(data, LIMIT).tobytes()
        assert decode(data[:-1], LIMIT).tobytes() == decode(data, LIMIT).tobytes()
        for missing in (20, len(data) // 3):
            with pytest.raises(BadPicture, match="cut short"):
                decode(data[:-missing], LIMIT)


def test_a_jpeg_of_12_bits_says_so() -> None:
    data = bytearray(jpeg())
    data[data.index(b"\xff\xc0") + 4] = 12
    refused(bytes(data), "12 bits per channel was sent; 8 are read")


def test_a_phones_second_picture_is_not_opened() -> None:
    second = jpeg()
    mpo = saved(noise(), "MPO", save_all=True, append_images=[noise()])
    assert identify(mpo, LIMIT)[0] == "jpeg"
    assert decode(mpo, LIMIT).size == decode(second, LIMIT).size


# PNG


def chunk(name: bytes, body: bytes, wrong: int = 0) -> bytes:
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body) ^ wrong)


def png(image: Image.Image | None = None, before: bytes = b"", after: bytes = b"") -> bytes:
    """With chunks before and behind its pixels."""
    data = saved(image or noise(), "PNG")
    begin, end = data.index(b"IDAT") - 4, data.rindex(b"IEND") - 4
    return data[:begin] + before + data[begin:end] + after + data[end:]


@pytest.mark.parametrize("place", ["before", "after"])
@pytest.mark.parametrize("length", [2**20 + 1, 3 * 2**20])
def test_long_text_in_a_png_is_left_out(place: str, length: int) -> None:
    packed = zlib.compress(bytes(length))
    for name, body in (
        (b"zTXt", b"Comment\0\0" + packed),
        (b"iTXt", b"Comment\0\1\0\0\0" + packed),
        (b"zTXt", b"Raw profile type exif\0\0" + packed),
        (b"iTXt", b"XML:com.adobe.xmp\0\1\0\0\0" + packed),
        (b"tEXt", b"tintype\0" + bytes(length)),
    ):
        data = png(**{place: chunk(name, body)})
        assert sanitize(data).data == sanitize(png()).data
        assert decode(data, LIMIT).tobytes() == pixels(data)


def pixels(data: bytes) -> bytes:
    """What the pixels are, by Pillow alone and without what stands beside them."""
    with Image.open(io.BytesIO(sanitize(data).data)) as image:
        return image.convert("RGB").tobytes()


def test_a_long_profile_in_a_png_is_kept_and_an_endless_one_is_not() -> None:
    for length, kept in ((2**20 + 1, True), (own.MAX_PROFILE, True), (own.MAX_PROFILE + 1, False), (2**25, False)):
        data = png(before=chunk(b"iCCP", b"display\0\0" + zlib.compress(bytes(length))))
        assert len(sanitize(data).profile) == (length if kept else 0)
        assert decode(data, LIMIT).size == (32, 32)


@pytest.mark.parametrize("name", [b"tEXt", b"iTXt", b"eXIf", b"iCCP", b"gAMA", b"tIME", b"tRNS"])
def test_a_wrong_checksum_beside_the_pixels_is_no_reason_to_refuse(name: bytes) -> None:
    for place in ("before", "after"):
        data = png(**{place: chunk(name, b"tintype\0some text", wrong=1)})
        assert decode(data, LIMIT).size == check(data, LIMIT) == (32, 32)


def test_a_note_is_still_read() -> None:
    assert read_note(png(after=chunk(b"iTXt", b"tintype\0\0\0\0\0fox"))) == "fox"
    assert read_note(png(before=chunk(b"tEXt", b"tintype\0fox"))) == "fox"


def test_chunks_of_a_png_are_counted_and_most_are_left_out() -> None:
    data = png(before=chunk(b"tEXt", b"a\0b") * 5000, after=chunk(b"prVt", b"x") * 5000)
    assert sanitize(data).data == sanitize(png()).data
    for many in (chunk(b"tEXt", b"") * own.MAX_CHUNKS, chunk(b"IDAT", b"") * own.MAX_CHUNKS):
        refused(png(before=many), "too many chunks: 20000 is the limit")
        refused(png(after=many), "too many chunks")


def test_frames_of_an_animated_png_are_left_out() -> None:
    animated = saved(noise(), "PNG", save_all=True, append_images=frames(5))
    assert b"fdAT" in animated
    assert not any(name in sanitize(animated).data for name in (b"fdAT", b"fcTL", b"acTL"))
    assert decode(animated, LIMIT).size == (32, 32)


@pytest.mark.parametrize(("depth", "colour", "level"), [(1, 0, 1), (2, 0, 2), (4, 0, 9), (8, 0, 77), (16, 0, 0x1234)])
def test_a_transparent_grey_level_of_any_depth(depth: int, colour: int, level: int) -> None:
    """Two pixels: the transparent level, and black."""
    bits = (
        (level << depth).to_bytes(4, "big") if depth == 16 else bytes([(level << 8 - depth) & 255] + [0] * (depth // 8))
    )
    row = b"\0" + bits
    header = struct.pack(">IIBBBBB", 2, 1, depth, colour, 0, 0, 0)
    parts = chunk(b"IHDR", header) + chunk(b"tRNS", struct.pack(">H", level)) + chunk(b"IDAT", zlib.compress(row))
    picture = decode(own.PNG + parts + chunk(b"IEND", b""), LIMIT)
    assert (picture.getpixel((0, 0)), picture.getpixel((1, 0))) == (WHITE, (0, 0, 0))


def test_a_transparent_colour_of_16_bits() -> None:
    row = b"\0" + struct.pack(">6H", 0x1234, 0x5678, 0x9ABC, 0, 0, 0)
    header, clear = struct.pack(">IIBBBBB", 2, 1, 16, 2, 0, 0, 0), struct.pack(">3H", 0x1234, 0x5678, 0x9ABC)
    parts = chunk(b"IHDR", header) + chunk(b"tRNS", clear) + chunk(b"IDAT", zlib.compress(row)) + chunk(b"IEND", b"")
    picture = decode(own.PNG + parts, LIMIT)
    assert (picture.getpixel((0, 0)), picture.getpixel((1, 0))) == (WHITE, (0, 0, 0))


@pytest.mark.parametrize(
    ("colour", "pixel", "clear"),
    [
        (0, b"\0", b""),
        (0, b"\0", b"\0"),
        (2, b"\0\0\0", b"\0\1\0"),
        (4, b"\0\xff", b"\0\0"),
        (6, b"\0\0\0\xff", bytes(6)),
    ],
)
def test_transparency_that_does_not_fit_is_left_out(colour: int, pixel: bytes, clear: bytes) -> None:
    header = struct.pack(">IIBBBBB", 1, 1, 8, colour, 0, 0, 0)
    parts = chunk(b"IHDR", header) + chunk(b"tRNS", clear) + chunk(b"IDAT", zlib.compress(b"\0" + pixel))
    data = own.PNG + parts + chunk(b"IEND", b"")
    assert check(data, LIMIT) == (1, 1)
    assert decode(data, LIMIT).getpixel((0, 0)) == (0, 0, 0)


def test_more_transparency_than_a_palette_has_colours() -> None:
    header = struct.pack(">IIBBBBB", 2, 1, 8, 3, 0, 0, 0)
    parts = chunk(b"IHDR", header) + chunk(b"PLTE", bytes(6)) + chunk(b"tRNS", b"\0\xff" + bytes(998))
    picture = decode(own.PNG + parts + chunk(b"IDAT", zlib.compress(b"\0\0\1")) + chunk(b"IEND", b""), LIMIT)
    assert (picture.getpixel((0, 0)), picture.getpixel((1, 0))) == (WHITE, (0, 0, 0))


# WebP


def riff(*chunks: bytes) -> bytes:
    body = b"WEBP" + b"".join(chunks)
    return b"RIFF" + struct.pack("<I", len(body)) + body


def piece(name: bytes, body: bytes) -> bytes:
    return name + struct.pack("<I", len(body)) + body + bytes(len(body) & 1)


def test_a_webp_is_its_first_frame() -> None:
    animated = saved(noise(), "WEBP", save_all=True, append_images=frames(20), lossless=True)
    kept = sanitize(animated).data
    assert (animated.count(b"ANMF"), kept.count(b"ANMF")) == (21, 1)
    with Image.open(io.BytesIO(animated)) as image:
        assert decode(animated, LIMIT).tobytes() == image.convert("RGB").tobytes()


def test_chunks_of_a_webp_are_counted_and_unknown_ones_left_out() -> None:
    ordinary = saved(noise(), "WEBP", exif=Image.Exif().tobytes(), icc_profile=b"x" * 200)
    data = riff(ordinary[12:], piece(b"what", b"abc") * 1000)
    assert sanitize(data).data == sanitize(ordinary).data
    assert decode(data, LIMIT).tobytes() == decode(ordinary, LIMIT).tobytes()
    refused(riff(ordinary[12:], piece(b"what", b"") * own.MAX_CHUNKS), "too many chunks")


def test_a_giant_canvas_is_not_made() -> None:
    canvas = b"\2\0\0\0" + b"\xfe\xff\x00" * 2  # 65,535 × 65,535
    refused(
        riff(piece(b"VP8X", canvas), piece(b"ANIM", bytes(6)), piece(b"ANMF", bytes(16))), "too many pixels|damaged"
    )


# AVIF


def box(name: bytes, *content: bytes) -> bytes:
    body = b"".join(content)
    return struct.pack(">I4s", 8 + len(body), name) + body


def described(*boxes: bytes) -> bytes:
    """An AVIF that describes its items with these boxes, too."""
    ordinary = saved(noise(), "AVIF", speed=10)
    at = ordinary.index(b"meta") - 4
    (length,) = struct.unpack_from(">I", ordinary, at)
    return ordinary[:at] + box(b"meta", ordinary[at + 8 : at + length], *boxes) + ordinary[at + length :]


def test_an_avif_is_its_still_image() -> None:
    animated = saved(noise(), "AVIF", save_all=True, append_images=frames(3), speed=10)
    kept = sanitize(animated).data
    assert (b"moov" in animated, b"avis" in animated) == (True, True)
    assert (b"moov" in kept, b"avis" in kept, len(kept)) == (False, False, len(animated))
    with Image.open(io.BytesIO(kept)) as image:
        assert (image.n_frames, image.size) == (1, decode(animated, LIMIT).size)  # type: ignore[attr-defined]
    refused(animated.replace(b"meta", b"what"), "damaged")


def test_an_avif_that_names_many_items_is_refused() -> None:
    """libavif looks for each of them among all: a file of 120 kB took it nine seconds."""
    ids = struct.pack(">HH", 1, 10_000) + struct.pack(">10000H", *range(2, 10_002))
    refused(described(box(b"iref", bytes(4), box(b"dimg", ids))), "too many bytes about its parts: 16384 is the limit")
    profile = box(b"iprp", box(b"ipco", box(b"colr", b"prof", bytes(2 * own.MAX_ITEMS))))
    assert sanitize(described(profile)).format == "AVIF", "what is long for a good reason is no such file"


def test_an_avif_hides_no_items_in_what_looks_like_a_profile() -> None:
    """The items that properties belong to, in `ipma`: read as boxes, 197 kB of them passed for one `colr`."""
    items = b"".join(struct.pack(">HB", number, 0) for number in range(1, own.MAX_ITEMS // 2))
    disguised = box(b"ipma", bytes(4), b"colr", items)
    refused(described(box(b"iprp", box(b"ipco"), disguised)), "too many bytes about its parts: 16384 is the limit")


def test_pieces_of_an_avif_are_counted() -> None:
    """An item of a dozen bytes can be in 65,535 pieces of no bytes."""
    item = struct.pack(">HHH", 1, 0, 65_535)
    data = box(b"ftyp", b"avif" * 3) + box(b"meta", bytes(4), box(b"iloc", bytes(6), struct.pack(">H", 9), item * 9))
    refused(data, "too many pieces: 10000 is the limit")


@pytest.mark.parametrize("length", [1, 7])
def test_boxes_have_a_length(length: int) -> None:
    refused(box(b"ftyp", b"avif" * 3) + struct.pack(">I4s", length, b"meta") + bytes(99), "damaged")


def test_an_avif_of_one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(AvifImagePlugin, "DEFAULT_MAX_THREADS", 0)
    decode(saved(noise(), "AVIF", speed=10), LIMIT)
    assert AvifImagePlugin.DEFAULT_MAX_THREADS == 1


def test_an_avif_that_ends_where_its_pieces_are_listed() -> None:
    data = saved(noise(), "AVIF", speed=10)
    for end in range(data.index(b"iloc"), data.index(b"iloc") + 12):
        refused(data[:end], "damaged")


@pytest.mark.filterwarnings("ignore:Corrupt EXIF data:UserWarning")
@pytest.mark.parametrize(("tags", "note"), [(1, "fox"), (2_000, "")])
def test_exif_of_an_avif_is_read_where_it_has_few_tags(tags: int, note: str) -> None:
    entries = [(270, 2, 4, int.from_bytes(b"fox\0", "little"))] + [(1000 + number, 3, 1, 1) for number in range(tags)]
    data = saved(noise(), "AVIF", speed=10, exif=b"Exif\0\0" + tiff(entries))
    assert (read_note(data), check(data, LIMIT)) == (note, (32, 32))
    large = saved(noise(), "AVIF", speed=10, exif=b"Exif\0\0" + tiff(entries[:1]) + bytes(own.MAX_EXIF))
    assert read_note(large) == ""


# GIF


def gif(before: bytes = b"", **options: Any) -> bytes:
    data = saved(noise(), "GIF", **options)
    begin = 13 + 768
    return data[:begin] + before + data[begin:]


def test_a_gif_is_its_first_frame() -> None:
    animated = saved(noise(), "GIF", save_all=True, append_images=frames(20))
    kept = sanitize(animated).data
    with Image.open(io.BytesIO(kept)) as image:
        assert getattr(image, "n_frames", 1) == 1
    with Image.open(io.BytesIO(animated)) as image:
        assert decode(animated, LIMIT).tobytes() == image.convert("RGB").tobytes()


def test_blocks_of_a_gif_are_counted_and_comments_left_out() -> None:
    comment = b"!\xfe\x01x\0"
    assert sanitize(gif(comment * 1000)).data == sanitize(gif()).data
    refused(gif(comment * own.MAX_BLOCKS), "too many blocks: 200000 is the limit")
    refused(gif(b"!\xfe" + b"\1x" * own.MAX_BLOCKS + b"\0"), "too many blocks")
    refused(gif(b"\0" * 2**20), "damaged")


# BMP


def run_length_bmp(width: int, height: int, body: bytes = b"\1\1\0\0\0\1") -> bytes:
    """Of the attack's kind, if not told: a pixel, and the end of its line."""
    header = struct.pack("<IiiHHIIiiII", 40, width, height, 1, 8, 1, 0, 0, 0, 256, 0)
    offset = 14 + len(header) + 1024
    return b"BM" + struct.pack("<IHHI", offset + len(body), 0, 0, offset) + header + bytes(1024) + body


def test_run_length_encoding_of_a_bmp_is_bounded() -> None:
    for size in ((LIMIT, 1), (1, LIMIT), (7000, 7000), (2048, -2049)):
        refused(run_length_bmp(*size), "run-length encoding of .* 4194304 is the limit")
    whole = run_length_bmp(100, 100, b"\x64\1\0\0" * 100 + b"\0\1")
    assert decode(whole, LIMIT).size == (100, 100)


# TIFF and EXIF


def tiff(entries: list[tuple[int, int, int, int]], order: str = "<", big: bool = False) -> bytes:
    head = (b"II" if order == "<" else b"MM") + struct.pack(order + "H", 43 if big else 42)
    count, entry, start = ("Q", "HHQQ", (8, 0, 16)) if big else ("H", "HHII", (8,))
    head += struct.pack(order + "HHQ", *start) if big else struct.pack(order + "I", *start)
    return (
        head + struct.pack(order + count, len(entries)) + b"".join(struct.pack(order + entry, *one) for one in entries)
    )


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("big", [False, True])
def test_tags_of_a_tiff_and_their_values_are_counted(order: str, big: bool) -> None:
    refused(tiff([(256, 4, 1, 8)] * 1001, order, big), "too many tags: 1000 is the limit")
    for tag in (258, 273, 320, 324):
        refused(tiff([(tag, 1, 2**24, 8)], order, big), "too many strips, tiles or other values: 65536 is the limit")


def test_a_tiff_of_many_strips_decodes() -> None:
    """A row each, as scanners write them."""
    info = TiffImagePlugin.ImageFileDirectory_v2()
    info[278] = 1
    image = Image.effect_noise((8, 3000), 90).convert("RGB")
    data = saved(image, "TIFF", tiffinfo=info)
    assert decode(data, LIMIT).tobytes() == image.tobytes()


@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP"])
def test_exif_with_too_many_tags_is_left_out(format: str) -> None:
    exif = b"Exif\0\0" + tiff([(0x112, 3, 1, 6)] + [(1000 + number, 3, 1, 1) for number in range(2000)])
    data = saved(noise().resize((32, 16)), format, exif=exif)
    assert check(data, LIMIT) == decode(data, LIMIT).size == (32, 16), "not turned, as it would be by that"


@pytest.mark.parametrize("top", [1.001, 1.3, 2.0, 255.5, 300.0, 65535.5, 66000.0])
def test_a_float_above_its_full_scale(top: float) -> None:
    full = next(scale for scale in (1, 255, 65535) if top <= 2 * scale)
    image = Image.new("F", (2, 1), full / 2)
    image.putpixel((1, 0), top)
    picture = decode(saved(image, "TIFF"), LIMIT)
    assert (picture.getpixel((0, 0)), picture.getpixel((1, 0))) == ((128,) * 3, WHITE)


@pytest.mark.parametrize("scale", [1, 255])
def test_few_highlights_far_above_a_float_s_full_scale(scale: int) -> None:
    image = Image.new("F", (100, 1), scale / 2)
    for x in range(5):
        image.putpixel((x, 0), scale * 9.0)
    picture = decode(saved(image, "TIFF"), LIMIT)
    assert (picture.getpixel((99, 0)), picture.getpixel((0, 0))) == ((128,) * 3, WHITE)


@pytest.mark.parametrize(("scale", "level"), [(255, 5.0), (65535, 2570.0)])
def test_a_dark_float_picture_is_not_all_highlights(scale: int, level: float) -> None:
    image = Image.new("F", (100, 1), level)
    image.paste(0.0, (0, 0, 90, 1))
    assert decode(saved(image, "TIFF"), LIMIT).getpixel((99, 0)) == (round(level * 255 / scale),) * 3


def test_a_float_that_is_no_number() -> None:
    image = Image.new("F", (2, 1), 0.5)
    image.putpixel((1, 0), float("inf"))
    assert decode(saved(image, "TIFF"), LIMIT).getpixel((0, 0)) == (128, 128, 128)


# Anything


def ordinary_files() -> Iterator[bytes]:
    for format in ("JPEG", "PNG", "WEBP", "AVIF", "GIF", "BMP", "TIFF"):
        yield saved(noise(16), format)
    yield jpeg(progressive=True)
    yield saved(noise(16), "WEBP", save_all=True, append_images=[noise(16)], exif=Image.Exif().tobytes())


FILES = tuple(ordinary_files())


@given(st.sampled_from(FILES), st.data())
def test_cut_or_damaged_files_are_sane_or_bad(data: bytes, draw: st.DataObject) -> None:
    broken = bytearray(data[: draw.draw(st.integers(0, len(data)))])
    for _ in range(draw.draw(st.integers(0, 3))):
        if broken:
            broken[draw.draw(st.integers(0, len(broken) - 1))] = draw.draw(st.integers(0, 255))
    with suppress(BadPicture):
        assert len(sanitize(bytes(broken)).data) <= len(broken) + 16
