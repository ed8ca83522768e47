"""Bytes that are cheap to send and dear to read, made by code."""

from __future__ import annotations

import io
import struct
import zlib
from base64 import b64encode
from collections.abc import Iterator

from PIL import Image

SIDE = 7000  # 49 megapixels: just below what the server takes


def data_uri(data: bytes) -> str:
    """For a JSON body; the server looks at the bytes, not at the kind that is named."""
    return f"data:image/png;base64,{b64encode(data).decode()}"


def scan_bomb(scans: int, side: int = SIDE) -> bytes:
    """A grey progressive JPEG whose last scan comes again and again: each some 75 bytes, and a walk over all blocks."""
    plain = jpeg(side, progressive=True)
    last = plain.rindex(b"\xff\xda")
    return plain[:-2] + plain[last:-2] * scans + plain[-2:]


def jpeg(side: int, *, progressive: bool = False) -> bytes:
    """A grey picture."""
    file = io.BytesIO()
    Image.new("L", (side, side), 128).save(file, "JPEG", progressive=progressive)
    return file.getvalue()


def filled_jpeg(size: int) -> bytes:
    """Fill bytes before the first marker that says something."""
    return b"\xff\xd8" + b"\xff" * size + jpeg(64)[3:]


def segmented_jpeg(size: int) -> bytes:
    """Empty application segments, four bytes each."""
    return b"\xff\xd8" + b"\xff\xe9\x00\x02" * (size // 4) + jpeg(64)[2:]


def commented_gif(size: int) -> bytes:
    """Comments of a byte each before the picture."""
    file = io.BytesIO()
    Image.new("P", (64, 64)).save(file, "GIF")
    plain = file.getvalue()
    start = plain.index(b"\x2c")
    return plain[:start] + b"\x21\xfe\x01x\x00" * (size // 5) + plain[start:]


def chunked_png(size: int) -> bytes:
    """Empty chunks that nobody knows before the pixels."""
    return _png(64, 64, 0, extra=_chunk(b"nOPe", b"") * (size // 12))


def header_bombs(size: int) -> list[bytes]:
    """Each of about `size` bytes, nearly all of them header."""
    return [make(size) for make in (filled_jpeg, segmented_jpeg, chunked_png, commented_gif)]


def turned_png(side: int = SIDE) -> bytes:
    """Transparent, on its side by its EXIF block: to be flattened, and to be turned."""
    exif = b"MM\x00*\x00\x00\x00\x08" + struct.pack(">HHHIHHI", 1, 0x0112, 3, 1, 6, 0, 0)
    return _png(side, side, 6, extra=_chunk(b"eXIf", exif))


def palette_png(side: int = SIDE) -> bytes:
    """Of a palette with transparency: four bytes a pixel once it is flattened."""
    palette = _chunk(b"PLTE", bytes(768)) + _chunk(b"tRNS", bytes(range(256)))
    return _png(side, side, 3, extra=palette)


def deep_png(side: int = SIDE) -> bytes:
    """Grey of 16 bits, which is scaled as floats."""
    return _png(side, side, 0, depth=16)


def rle_bitmap(pixels: int = 49_000_000) -> bytes:
    """A run-length encoded bitmap of one row that ends after its first pixel: the rest is to be filled in."""
    palette, runs = bytes(1024), b"\x01\x00\x00\x00\x00\x01"
    start = 14 + 40 + len(palette)
    info = struct.pack("<IiiHHIIiiII", 40, pixels, 1, 1, 8, 1, len(runs), 0, 0, 256, 0)
    return b"BM" + struct.pack("<IHHI", start + len(runs), 0, 0, start) + info + palette + runs


def bitmap(size: int) -> bytes:
    """An honest, uncompressed picture of about so many bytes."""
    side = int((size / 3) ** 0.5) // 4 * 4
    start = 14 + 40
    info = struct.pack("<IiiHHIIiiII", 40, side, side, 1, 24, 0, 3 * side * side, 0, 0, 0, 0)
    return b"BM" + struct.pack("<IHHI", start + 3 * side * side, 0, 0, start) + info + bytes(3 * side * side)


def _png(width: int, height: int, colour: int, *, depth: int = 8, extra: bytes = b"") -> bytes:
    """All zeros: a thousandth of its pixels' bytes."""
    channels = {0: 1, 3: 1, 6: 4}[colour]
    row = bytes(1 + width * channels * depth // 8)
    packer = zlib.compressobj(9)
    packed = b"".join([*(packer.compress(row) for _ in range(height)), packer.flush()])
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    body = _chunk(b"IHDR", header) + extra + _chunk(b"IDAT", packed) + _chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


def _chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def json_bombs(size: int) -> Iterator[tuple[str, bytes]]:
    """JSON objects of about `size` bytes and what they are made of, none with anything that a model takes."""
    for what, unit in (
        ("empty lists", "[]"),
        ("empty objects", "{}"),
        ("numbers", "0"),
        ("short texts", '"x"'),
        ("floats", "1e9"),
        ("lists of one", "[0]"),
    ):
        yield what, f'{{"a":[{",".join([unit] * (size // (len(unit) + 1)))}]}}'.encode()
    names = ",".join(f'"{number:07}":0' for number in range(size // 12))
    yield "names", f"{{{names}}}".encode()
    yield "nesting", b'{"a":' + b"[" * (size // 2) + b"]" * (size // 2) + b"}"
    yield "escapes", b'{"a":"' + b"\\u00e9" * (size // 6) + b'"}'
    yield "a long number", b'{"a":' + b"9" * size + b"}"
    yield "blanks", b'{"a":' + b" " * size + b"0}"


def dear_pictures() -> list[bytes]:
    """Pictures of several kinds that ask more of their reader than their size tells."""
    note = zlib.compress(bytes(1_000_000), 9)
    notes = _chunk(b"zTXt", b"a\x00\x00" + note) * 60
    return [_png(64, 64, 0, extra=notes), _tagged_tiff(15_000), _thin_tiff(40_000), _animation(20_000)]


def _animation(frames: int) -> bytes:
    """A GIF of so many frames of a pixel."""
    frame = b"\x2c\x00\x00\x00\x00\x01\x00\x01\x00\x00\x02\x02\x44\x01\x00"
    return b"GIF89a\x40\x00\x40\x00\x80\x00\x00\x00\x00\x00\xff\xff\xff" + frame * frames + b";"


def _tagged_tiff(tags: int) -> bytes:
    """A picture of a pixel with so many tags that nobody knows."""
    unknown = b"".join(struct.pack("<HHII", 49_000 + number, 4, 1, 0) for number in range(tags))
    return _tiff(1, 1, [8], extra=unknown, extras=tags)


def _thin_tiff(rows: int) -> bytes:
    """A picture whose every row is a strip of its own."""
    return _tiff(1000, rows, [8] * rows)


def _tiff(width: int, height: int, strips: list[int], extra: bytes = b"", extras: int = 0) -> bytes:
    count = len(strips)
    entries = 10 + extras
    after = 8 + 2 + 12 * entries + 4
    offsets = after if count > 1 else strips[0]
    lengths = after + 4 * count if count > 1 else width
    fields = (
        (256, 4, 1, width),
        (257, 4, 1, height),
        (258, 3, 1, 8),
        (259, 3, 1, 1),
        (262, 3, 1, 1),
        (273, 4, count, offsets),
        (277, 3, 1, 1),
        (278, 4, 1, 1),
        (279, 4, count, lengths),
        (284, 3, 1, 1),
    )
    table = b"".join(struct.pack("<HHII", *field) for field in fields) + extra
    tail = struct.pack(f"<{count}I", *strips) + struct.pack(f"<{count}I", *[width] * count) if count > 1 else b""
    return b"II*\x00\x08\x00\x00\x00" + struct.pack("<H", entries) + table + bytes(4) + tail + bytes(width)
