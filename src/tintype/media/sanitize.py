"""Image files before decoding: the format detected by content, the file reduced to what decoding needs.

Decoders walk all scans, segments, chunks, blocks and tags of a file, some of them in Python, and a file of a few
kilobytes can have a great many. Here they are counted against limits far above those of ordinary files, and comments,
thumbnails, further frames and text are left out, so that no decoder fails or is slow because of them. Only lengths are
read, no pixels: 25 MB take some milliseconds.
"""

from __future__ import annotations

import re
import struct
import zlib
from collections.abc import Callable, Iterator
from typing import NamedTuple, NoReturn

from tintype.catalog.formats import FORMATS, alternatives
from tintype.errors import BadPicture

#: Scans of a JPEG. A decoder makes a pass over the whole image for each; cameras and editors write 1 to 12.
MAX_SCANS = 100
#: Segments of a JPEG: a photograph with a profile and thumbnails has fewer than a hundred.
MAX_SEGMENTS = 1_000
#: Chunks of a PNG or WebP: 25 MB in the 8 KiB pieces that libpng writes are 3,200.
MAX_CHUNKS = 20_000
#: Data blocks of a GIF: 25 MB in full ones are 103,000.
MAX_BLOCKS = 200_000
#: Tags of a TIFF or of EXIF.
MAX_TAGS = 1_000
#: Values of one tag, which the offsets of strips or tiles are: 50 megapixels in tiles of 32 × 32 are 49,000.
MAX_VALUES = 65_536
#: Bytes in which an AVIF describes its items, without colour profiles: 50 megapixels in 200 tiles have some 9,000.
#: libavif looks through all items for each that is named: 32,000 bytes can take it half a second, 120,000 nine.
MAX_ITEMS = 2**14
#: Pieces that an AVIF's items are in.
MAX_EXTENTS = 10_000
#: Bytes of an AVIF's EXIF: as many as a JPEG has room for.
MAX_EXIF = 2**16
#: Padding bytes between two segments or blocks.
MAX_PADDING = 4_096
#: Bytes of an ICC profile: a display's, calibrated with large tables, has 1 to 3 million.
MAX_PROFILE = 4 * 2**20
#: Bytes of a text, unpacked.
MAX_TEXT = 2**20
#: Pixels of a BMP with run-length encoding, which Pillow decodes in Python.
MAX_RLE_PIXELS = 2**22


class ImageFile(NamedTuple):
    """A file ready for a decoder."""

    #: Pillow's name: a title of READ in capitals.
    format: str
    data: bytes
    #: A PNG's ICC profile; in the other formats it is part of `data`.
    profile: bytes = b""
    #: Whether it is a JPEG without end marker: truncated, or only without that.
    open_ended: bool = False


def sanitize(data: bytes) -> ImageFile:
    """The file reduced to its first image and what decoding that needs.

    BadPicture when it is of another format, which is named if it is known, has a damaged structure, or exceeds a limit.
    """
    name = _format(data)
    reduced = REDUCED[name](data)
    return reduced if isinstance(reduced, ImageFile) else ImageFile(name, reduced)


# Detection

AVIF = rb"....ftypavi[fs]|....ftypm(?:if|sf)1.{0,48}avi[fs]"
#: What is read, by title; AVIF where this machine's Pillow can.
READ = {
    "JPEG": rb"\xff\xd8\xff",
    "PNG": rb"\x89PNG\r\n\x1a\n",
    "WebP": rb"RIFF....WEBP",
    **({"AVIF": AVIF} if FORMATS["avif"].available else {}),
    "GIF": rb"GIF8[79]a",
    "BMP": rb"BM",
    "TIFF": rb"II[*+]\0|MM\0[*+]",
}
READABLE = alternatives(READ)
DAMAGED = f"not a {READABLE} image, or a damaged one"
#: What is sent by mistake: phones' and browsers' formats, a link to a page, a file that is no image.
OTHERS = {
    "an AVIF image": AVIF,
    "a HEIC image, as iPhones take them,": rb"....ftyp(?:hei[cxms]|hev[cxms]|m(?:if|sf)1)",
    "a JPEG XL image": rb"\xff\x0a|\0\0\0\x0cJXL ",
    "a JPEG 2000 image": rb"\0\0\0\x0cjP|\xff\x4f\xff\x51",
    "a video": rb"....(?:ftyp|moov|mdat)|\x1a\x45\xdf\xa3|RIFF....AVI |\0\0\x01[\xb3\xba]|FLV\x01|OggS",
    "an icon (ICO)": rb"\0\0[\x01\x02]\0(?!\0\0)",  # with a number of images, where a TGA has none
    "a Photoshop document": rb"8BPS",
    "an OpenEXR image": rb"\x76\x2f\x31\x01",
    "a Radiance image": rb"#\?R(?:ADIANCE|GBE)",
    "a PNM image": rb"P[1-7FfH][\s#]",
    "a QOI image": rb"qoif",
    "a DDS texture": rb"DDS ",
    "a camera's raw file": rb"FUJIFILMCCD-RAW|IIRO|IIU\0",
    "a PDF document": rb"%PDF",
    "a PostScript document": rb"%!PS|\xc5\xd0\xd3\xc6",
    "an archive": rb"PK\x03\x04|\x1f\x8b|7z\xbc\xaf|Rar!|\xfd7zXZ|BZh|\x28\xb5\x2f\xfd",
    "an HTML page": rb"(?i)(?:\xef\xbb\xbf)?\s*<(?:.{0,2000}?<)?(?:!doctype html|html|head|body)[\s>]",
    "an SVG drawing": rb"(?i)(?:\xef\xbb\xbf)?\s*<(?:.{0,2000}?<)?svg[\s>]",
    "JSON": rb"\s*[{\[]\s*[\"{\[\]}]",
}
#: Bytes read for detection.
HEAD = 2_048


def _format(data: bytes) -> str:
    """Pillow's name for a readable format; raises BadPicture, which names a known other format."""
    head = data[:HEAD]
    for title, pattern in READ.items():
        if re.match(pattern, head, re.DOTALL):
            return title.upper()
    for name, pattern in OTHERS.items():
        if re.match(pattern, head, re.DOTALL):
            raise BadPicture(f"{name} was sent; a {READABLE} image is needed")
    raise BadPicture(DAMAGED)


def _too_many(parts: str, limit: int) -> NoReturn:
    raise BadPicture(f"the image's file has too many {parts}: {limit} is the limit; save it anew")


# JPEG (ITU-T T.81, annex B)

SOI = b"\xff\xd8"
EOI, SOS, APP2 = 0xD9, 0xDA, 0xE2
#: Frames and tables, which a scan is decoded with.
TABLES = {*range(0xC0, 0xD0), 0xDB, 0xDC, 0xDD}
FRAMES = {*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC}
#: Markers without a length, without meaning outside of a scan.
BARE = {0x01, 0xD8}
EXIF, PROFILE = b"Exif\0\0", b"ICC_PROFILE\0"
#: Application segments that say how to show the pixels, by the start of their payload.
SHOWN = {(0xE0, b"JFIF\0"), (0xE1, EXIF), (0xE1, b"http://ns.adobe.com/xap/1.0/\0"), (0xEE, b"Adobe")}
#: A marker, also within a scan's data: there, 0xFF is otherwise followed by 0 or by a restart's number.
MARKER = re.compile(rb"\xff([\x01-\xcf\xd8-\xfe])")
#: Bytes of a scan that are searched at a time: other threads run in between.
PIECE = 2**18


class Segment(NamedTuple):
    """Offsets of a marker and its payload."""

    code: int
    begin: int
    payload: int
    end: int


def _jpeg(data: bytes) -> ImageFile:
    segments = list(_segments(data))
    scans = [segment for segment in segments if segment.code == SOS]
    if not scans:
        raise BadPicture(DAMAGED)
    if len(scans) > MAX_SCANS:
        _too_many("scans", MAX_SCANS)
    header = segments[: segments.index(scans[0])]
    for frame in header:
        if frame.code in FRAMES and data[frame.payload] != 8:
            raise BadPicture(f"a JPEG of {data[frame.payload]} bits per channel was sent; 8 are read")
    seen = set[bytes]()
    kept = [data[one.begin : one.end] for one in header if one.code in TABLES or _is_shown(data, one, seen)]
    profile = [
        data[one.begin : one.end] for one in header if one.code == APP2 and data.startswith(PROFILE, one.payload)
    ]
    if sum(map(len, profile)) > MAX_PROFILE:
        profile = []
    open_ended = segments[-1].code != EOI
    end = len(data) if open_ended else segments[-1].end
    return ImageFile("JPEG", b"".join([SOI, *profile, *kept, data[scans[0].begin : end]]), open_ended=open_ended)


def _segments(data: bytes) -> Iterator[Segment]:
    """Each segment, also between scans, up to the end marker or the end; raises BadPicture."""
    position, find = len(SOI), _marker
    for _ in range(MAX_SEGMENTS):
        found = find(data, position)
        if found is None:
            return
        code, position = data[found], found + 1
        if code in BARE:
            continue
        end = position if code == EOI else position + int.from_bytes(data[position : position + 2], "big")
        yield Segment(code, found - 1, position + 2, end)
        if code == EOI:
            return
        if not position + 2 < end <= len(data):
            raise BadPicture(DAMAGED)
        position = end
        if code == SOS:
            find = _marker_in_scan
    _too_many("segments", MAX_SEGMENTS)


def _marker(data: bytes, position: int) -> int | None:
    """Offset of the code of the header's next marker; None at the end."""
    found = MARKER.search(data, position, position + MAX_PADDING)
    if found is None and len(data) > position + MAX_PADDING:
        raise BadPicture(DAMAGED)
    return None if found is None else found.start(1)


def _marker_in_scan(data: bytes, position: int) -> int | None:
    """Offset of the code of the next marker after a scan's data; None at the end."""
    for begin in range(position, len(data), PIECE):
        # Fill bytes, which no encoder writes into a scan, would make the search slow.
        if data.count(b"\xff\xff", begin, begin + PIECE) > MAX_PADDING:
            raise BadPicture(DAMAGED)
        if found := MARKER.search(data, begin, begin + PIECE + 1):
            return found.start(1)
    return None


def _is_shown(data: bytes, segment: Segment, seen: set[bytes]) -> bool:
    """Whether a segment says how to show the pixels, and is the first of its kind."""
    starts = (start for code, start in SHOWN if code == segment.code and data.startswith(start, segment.payload))
    kind = next(starts, None)
    if kind is None or kind in seen:
        return False
    seen.add(kind)
    return kind != EXIF or _has_few_tags(data[segment.payload : segment.end])


# PNG

CHUNK = struct.Struct(">I4s")
PNG = b"\x89PNG\r\n\x1a\n"
CRITICAL = (b"IHDR", b"PLTE", b"IDAT", b"IEND")
#: Chunks that say how to show the pixels. An animation's frames are left out, so that its still image remains.
ANCILLARY = (b"tRNS", b"gAMA", b"cHRM", b"sRGB", b"cICP", b"eXIf", b"pHYs")
#: Keywords of texts that are read: our own note, A1111's, and those that may have an orientation.
TEXT_CHUNKS = (b"tEXt", b"zTXt", b"iTXt")
TEXTS = (b"tintype", b"parameters", b"XML:com.adobe.xmp", b"Raw profile type exif")


def _png(data: bytes) -> ImageFile:
    kept: list[bytes | memoryview] = [PNG]
    texts: list[bytes | memoryview] = []
    profile, seen, view = b"", set[bytes](), memoryview(data)

    def header(at: int) -> tuple[bytes, int]:
        length, name = CHUNK.unpack_from(data, at)
        return name, length + 12

    for name, begin, end in _chunks(len(PNG), len(data), header):
        if name in CRITICAL:
            kept.append(view[begin:end])
            if name == b"IEND":
                break
            continue
        payload = data[begin + 8 : end - 4]
        kind = payload.partition(b"\0")[0] if name in TEXT_CHUNKS else name
        if kind in seen or zlib.crc32(data[begin + 4 : end - 4]).to_bytes(4, "big") != data[end - 4 : end]:
            continue  # viewers show the image all the same
        seen.add(kind)
        if name == b"iCCP":
            profile = _unpacked(payload.partition(b"\0")[2][1:], MAX_PROFILE)
        elif name == b"tRNS":
            if transparent := _transparent(payload, data[24:26]):
                kept.append(_chunk(name, transparent))
        elif _says_how(name, kind, payload):
            (texts if name in TEXT_CHUNKS else kept).append(view[begin:end])
    # Right after the header: a reader finds them there before it has decoded any pixels.
    return ImageFile("PNG", b"".join([*kept[:2], *texts, *kept[2:]]), profile)


def _says_how(name: bytes, kind: bytes, payload: bytes) -> bool:
    """Whether an ancillary chunk says how to show the pixels, or is our note, and can be read."""
    if name in TEXT_CHUNKS:
        return kind in TEXTS and _is_short(name, payload)
    return name in ANCILLARY and (name != b"eXIf" or _has_few_tags(payload))


def _chunk(name: bytes, payload: bytes) -> bytes:
    return CHUNK.pack(len(payload), name) + payload + zlib.crc32(name + payload).to_bytes(4, "big")


#: Bytes of a transparent level, and of a transparent colour, in a PNG without alpha.
LEVEL, COLOUR = 2, 6


def _transparent(payload: bytes, depth_and_colour: bytes) -> bytes:
    """The transparent level, colour or palette in 8 bits: Pillow compares it with pixels that it has brought to 8 bits.

    Empty where it doesn't fit the colour type: viewers show the image all the same.
    """
    depth, colour = depth_and_colour if len(depth_and_colour) == 2 else (0, 0)
    match colour:
        case 0:
            level = payload[:LEVEL] if len(payload) >= LEVEL else b""
            return bytes([0, level[1] * (255 // (2**depth - 1)) & 255]) if level and depth in (2, 4) else level
        case 2:
            levels = payload[:COLOUR] if len(payload) >= COLOUR else b""
            return b"".join(bytes([0, high]) for high in levels[::2]) if depth == 16 else levels
        case 3:
            return payload[:256]  # one for each colour of the palette
        case _:
            return b""


def _is_short(name: bytes, payload: bytes) -> bool:
    """Whether a text is within Pillow's limit; a compressed international one, which no program writes, isn't."""
    text = payload.partition(b"\0")[2]
    if name == b"zTXt":
        return bool(_unpacked(text[1:], MAX_TEXT))
    return len(text) <= MAX_TEXT and (name == b"tEXt" or text.startswith(b"\0"))


def _unpacked(packed: bytes, limit: int) -> bytes:
    """Decompressed; empty if it is damaged, or more than `limit` bytes."""
    try:
        data = zlib.decompressobj().decompress(packed, limit + 1)
    except zlib.error:
        return b""
    return data if len(data) <= limit else b""


# WebP (RFC 9649)

RIFF = struct.Struct("<4sI")
#: Chunks that decoding needs; of an animation, the first frame.
NEEDED = (b"VP8X", b"VP8 ", b"VP8L", b"ALPH", b"ANIM", b"ANMF", b"ICCP", b"EXIF", b"XMP ")


def _webp(data: bytes) -> bytes:
    kept, seen = [], set[bytes]()

    def header(at: int) -> tuple[bytes, int]:
        name, length = RIFF.unpack_from(data, at)
        return name, length + (length & 1) + 8

    for name, begin, end in _chunks(12, len(data), header):
        if name not in NEEDED or name in seen:
            continue
        seen.add(name)
        payload = data[begin + 8 : end]
        too_large = (name == b"ICCP" and len(payload) > MAX_PROFILE) or (name == b"XMP " and len(payload) > MAX_TEXT)
        if not too_large and (name != b"EXIF" or _has_few_tags(payload)):
            kept.append(data[begin:end])
    body = b"WEBP" + b"".join(kept)
    return RIFF.pack(b"RIFF", len(body)) + body


def _chunks(position: int, size: int, header: Callable[[int], tuple[bytes, int]]) -> Iterator[tuple[bytes, int, int]]:
    """Name, begin and end of each chunk; the last may be cut short. Raises BadPicture when there are too many.

    header: position → name, and bytes from there to the next chunk. size: bytes of the file.
    """
    for _ in range(MAX_CHUNKS):
        if position + 8 > size:
            return
        name, length = header(position)
        yield name, position, position + length
        position += length
    _too_many("chunks", MAX_CHUNKS)


# AVIF: boxes (ISO/IEC 14496-12) that describe items (ISO/IEC 23008-12)

BOX = struct.Struct(">I4s")
#: A length that stands for one of 64 bits after the name; bytes up to that one's end.
LARGE, LARGE_BOX = 1, 16
#: For a box that isn't there.
NOWHERE = (0, 0)


def _avif(data: bytes) -> bytes:
    """The still image. What is left out is renamed, not removed: items are found by their offsets in the file."""
    file, metas = bytearray(data), 0
    for name, begin, end in _boxes(data, 0, len(data)):
        if name == b"ftyp":
            file[begin:end] = data[begin:end].replace(b"avis", b"avif").replace(b"msf1", b"mif1")
        elif name == b"meta":
            metas += 1
            for at in _unread(data, begin, end):
                file[at : at + 4] = b"free"
        elif name != b"mdat":
            file[begin - 4 : begin] = b"free"  # the frames of an animation, and boxes that no decoder needs
    if metas != 1:
        raise BadPicture(DAMAGED)
    return bytes(file)


def _boxes(data: bytes, begin: int, end: int) -> Iterator[tuple[bytes, int, int]]:
    """The name of each box between two offsets, and where its content begins and ends; raises BadPicture."""

    def header(at: int) -> tuple[bytes, int]:
        length, name = BOX.unpack_from(data, at)
        if length == LARGE and name == b"mdat":  # no other box has a reason for it
            length = int.from_bytes(data[at + BOX.size : at + LARGE_BOX])
        elif not length:
            length = end - at
        if length < BOX.size:
            raise BadPicture(DAMAGED)
        return name, length

    for name, start, after in _chunks(begin, end, header):
        yield name, start + BOX.size, min(after, end)


def _unread(data: bytes, begin: int, end: int) -> Iterator[int]:
    """Where the types of the items are that are left out: EXIF that isn't worth reading. Raises BadPicture."""
    # Before what is in them, meta, iloc, iinf, infe and iref have 4 bytes, the first of which is a version.
    inner = {name: (start, after) for name, start, after in _boxes(data, begin + 4, end)}
    # Next to ipco are the boxes ipma, which have no boxes in them: a file must not pass for profiles what they say.
    listed = [place for name, *place in _boxes(data, *inner.get(b"iprp", NOWHERE)) if name == b"ipco"]
    within = [box for place in listed for box in _boxes(data, *place)]
    apart = [(start, after) for name, start, after in within if name == b"colr"] + [inner.get(b"idat", NOWHERE)]
    if end - begin - sum(after - start for start, after in apart) > MAX_ITEMS:
        _too_many("bytes about its parts", MAX_ITEMS)
    places: dict[int, list[tuple[int, int]]] = {}
    for item, *place in _extents(data, *inner.get(b"iloc", NOWHERE)):
        places.setdefault(item, []).append((place[0], place[1]))
    start, after = inner.get(b"iinf", NOWHERE)
    for _, info, _ in _boxes(data, start + (8 if any(data[start : start + 1]) else 6), after):
        at = info + (8 if data[info : info + 1] < b"\3" else 10)
        if data[at : at + 4] == b"Exif" and not _is_read(data, places.get(int.from_bytes(data[info + 4 : at - 2]), [])):
            yield at


def _is_read(data: bytes, places: list[tuple[int, int]]) -> bool:
    """Whether an EXIF that is in these pieces of the file is worth reading."""
    if len(places) != 1:
        return False
    [(start, after)] = places
    # Before it: 4 bytes about its beginning, which Pillow leaves out.
    return after - start <= MAX_EXIF and _has_few_tags(data[start + 4 : after])


def _extents(data: bytes, begin: int, end: int) -> Iterator[tuple[int, int, int]]:
    """Item, begin and end of each piece of the file that an item is in, by the box iloc; raises BadPicture."""
    at = begin + 6

    def number(size: int) -> int:
        nonlocal at
        at += size
        if at > end:
            raise BadPicture(DAMAGED)
        return int.from_bytes(data[at - size : at])

    if begin == end:
        return
    if at > end:
        raise BadPicture(DAMAGED)
    version, budget = data[begin], iter(range(MAX_EXTENTS))
    offset, length, base, index = (size for byte in data[begin + 4 : begin + 6] for size in (byte >> 4, byte & 15))
    wide = 2 if version < 2 else 4
    for _ in range(number(wide)):
        item, within_box = number(wide), version and number(2)
        number(2)  # another file, which no AVIF has
        first = number(base)
        for _ in range(number(2)):
            if next(budget, None) is None:
                _too_many("pieces", MAX_EXTENTS)
            number(index if version else 0)
            start = first + number(offset)
            after = start + number(length)
            if not within_box:
                yield item, start, after


# GIF

INTRODUCED = re.compile(rb"[!,;]")
CONTROL = 0xF9


def _gif(data: bytes) -> bytes:
    """The screen, the first frame and its control block, which says whether a colour is transparent."""
    head = position = 13 + _palette(data, 10)
    budget, control = iter(range(MAX_BLOCKS)), b""
    while found := INTRODUCED.search(data, position, position + MAX_PADDING):
        begin = found.start()
        if found[0] == b"!":
            position = _end_of_blocks(data, begin + 2, budget)
            if data[begin + 1 : begin + 2] == bytes([CONTROL]):
                control = data[begin:position]
        elif found[0] == b",":
            end = _end_of_blocks(data, begin + 11 + _palette(data, begin + 9), budget)
            return data[:head] + control + data[begin:end] + b";"
        else:
            break
    raise BadPicture(DAMAGED)


def _palette(data: bytes, flags: int) -> int:
    """Bytes of the palette, by the flags at this offset."""
    bits = data[flags] if flags < len(data) else 0
    return 3 << (bits & 7) + 1 if bits & 0x80 else 0


def _end_of_blocks(data: bytes, position: int, budget: Iterator[int]) -> int:
    for _ in budget:
        size = data[position] if position < len(data) else 0
        position += 1 + size
        if not size:
            return position
    _too_many("blocks", MAX_BLOCKS)


# BMP

RUN_LENGTH = (1, 2)


def _bmp(data: bytes) -> bytes:
    """The file; raises BadPicture for a large one with run-length encoding."""
    # Older headers have no compression.
    header, width, height, compression = struct.unpack_from("<Iii4xI", data, 14) if len(data) >= 34 else (0, 0, 0, 0)
    if header >= 40 and compression in RUN_LENGTH and abs(width * height) > MAX_RLE_PIXELS:
        sent = f"a BMP with run-length encoding of {width}×{abs(height)} pixels"
        raise BadPicture(f"{sent}: {MAX_RLE_PIXELS} is the limit; save it as PNG")
    return data


# TIFF and EXIF

#: Types whose values are bytes, and their tags that may be long: XMP, and programs' private ones.
BYTES, XMP, PRIVATE = (1, 2, 7), 700, 32_768


def _tiff(data: bytes) -> bytes:
    _check_tags(data)
    return data


def _check_tags(data: bytes) -> None:
    """Raise BadPicture when the first directory is damaged, has too many tags, or one of its tags too many values."""
    order = "<" if data.startswith(b"II") else ">"
    big = 43 in data[2:4]
    at, count, entry = ("Q", "Q", "HHQ8x") if big else ("I", "H", "HHI4x")
    try:
        (start,) = struct.unpack_from(order + at, data, 8 if big else 4)
        (tags,) = struct.unpack_from(order + count, data, start)
        if tags > MAX_TAGS:
            _too_many("tags", MAX_TAGS)
        first = start + struct.calcsize(order + count)
        entries = data[first : first + tags * struct.calcsize(order + entry)]
        found = list(struct.iter_unpack(order + entry, entries))
    except (struct.error, OverflowError, ValueError):  # ValueError: an offset beyond what an index can be
        raise BadPicture(DAMAGED) from None
    for tag, kind, values in found:
        if values > MAX_VALUES and not (kind in BYTES and (tag == XMP or tag >= PRIVATE)):
            _too_many("strips, tiles or other values", MAX_VALUES)


#: Before EXIF's TIFF; Pillow too takes up to two of it.
PREFIX = re.compile(rb"^(?:Exif\0\0){1,2}")


def _has_few_tags(exif: bytes) -> bool:
    """Whether EXIF is worth reading: damaged or oversized, it says nothing about the pixels."""
    try:
        _check_tags(PREFIX.sub(b"", exif))
    except BadPicture:
        return False
    return True


#: What makes a file with only its first image of one.
REDUCED: dict[str, Callable[[bytes], bytes | ImageFile]] = {
    "JPEG": _jpeg,
    "PNG": _png,
    "WEBP": _webp,
    "AVIF": _avif,
    "GIF": _gif,
    "BMP": _bmp,
    "TIFF": _tiff,
}
