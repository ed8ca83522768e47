"""Images inside the request: `data:` URIs and bare base64.

A text may be as long as a body. It is read in pieces and by functions written in C, whatever its content.
"""

from __future__ import annotations

import re
from binascii import a2b_base64, a2b_qp
from collections.abc import Iterable, Iterator
from typing import TypeVar

from tintype.catalog.formats import FORMATS
from tintype.errors import BadPicture

Text = TypeVar("Text", str, bytes | bytearray)

#: Not inline: an address, or a path on this server. Base64 of a JPEG begins with "/9j/", but has no dot.
SUFFIXES = "|".join(re.escape(suffix) for row in FORMATS.values() for suffix in row.suffixes)
ELSEWHERE = re.compile(rf"https?://.*|/files/.*|/[\w.\-]+(?:{SUFFIXES})", re.IGNORECASE | re.DOTALL)
#: Characters of an address, and of a data URI up to its comma: what a browser's address bar or a file name may give.
MAX_ADDRESS, MAX_KIND = 8192, 1024
DATA = "data:"
URL_SAFE = bytes.maketrans(b"-_", b"+/")
BLANKS = b" \t\r\n\f\v"
#: Characters of a piece.
PIECE = 2**20
#: A % that escapes nothing.
STRAY = re.compile(rb"%(?![0-9A-Fa-f]{2})")
QUOTED = bytes.maketrans(b"%", b"=")


def from_text(text: str, max_bytes: int) -> bytes | None:
    """The bytes of an inline image; None when `text` is an http(s) address or a path (`/name.jpg`, `/files/…`).

    Base64 may be standard or URL-safe, broken into lines and without its padding. BadPicture when `text` is none of
    these, is empty, or has more than `max_bytes` bytes.
    """
    text = text.strip()
    if ELSEWHERE.fullmatch(text, 0, MAX_ADDRESS):
        if len(text) > MAX_ADDRESS:
            raise BadPicture(f"the address has {len(text)} characters: {MAX_ADDRESS} are the most")
        return None
    data = _from_uri(text, max_bytes) if text[: len(DATA)].lower() == DATA else _from_base64(_bytes(text), max_bytes)
    if not data:
        raise BadPicture("the image is empty")
    return data


def _from_uri(uri: str, max_bytes: int) -> bytes:
    comma = uri.find(",", 0, MAX_KIND)
    if comma < 0:
        words = f"the data: URI has no comma within its first {MAX_KIND} characters"
        raise BadPicture(f"{words}: one begins like data:image/png;base64,")
    # A fragment, from `#` on, is not data.
    end = uri.find("#", comma)
    data = _bytes(uri, comma + 1, len(uri) if end < 0 else end)
    # The last word before the comma, with or without blanks: as browsers read it (WHATWG's "data: URL processor").
    _, semicolon, word = uri[len(DATA) : comma].rpartition(";")
    if semicolon and word.strip().lower() == "base64":
        return _from_base64(data, max_bytes)
    return b"".join(_limited(data, max_bytes, max_bytes))


def _from_base64(text: Iterable[bytes], max_bytes: int) -> bytes:
    # Text of more bytes than that isn't decoded.
    cleaned = (piece.translate(URL_SAFE, BLANKS) for piece in text)
    packed = b"".join(_limited(cleaned, (max_bytes + 2) // 3 * 4, max_bytes)).rstrip(b"=")
    try:
        data = a2b_base64(packed + b"=" * (-len(packed) % 4), strict_mode=True)
    except ValueError as error:
        raise BadPicture("the image is neither an http(s) address, a data: URI nor base64") from error
    return next(_limited([data], max_bytes, max_bytes))


def _limited(parts: Iterable[bytes], limit: int, max_bytes: int) -> Iterator[bytes]:
    """The parts; raises BadPicture as soon as they have more than `limit` bytes. max_bytes: the image's own limit."""
    size = 0
    for part in parts:
        size += len(part)
        if size > limit:
            raise BadPicture(f"the image is too large: {max_bytes} bytes is the limit")
        yield part


def _bytes(text: str, begin: int = 0, end: int | None = None) -> Iterator[bytes]:
    """A text's pieces without their percent-escapes, as a data URI may have them for its +, / and =."""
    try:
        for piece in pieces(text, begin, end):
            yield unescaped(piece.encode()) if "%" in piece else piece.encode()
    except UnicodeEncodeError as error:
        raise BadPicture("the data: URI has one half of a surrogate pair in it") from error
    except ValueError as error:
        raise BadPicture(f"the image's text has a stray percent sign: {error}") from error


def unescaped(piece: bytes | bytearray) -> bytes:
    """Percent-decoded at C speed: a Python object for each escape would take thirty times the text's memory.

    Raises ValueError for a % that two hexadecimal digits don't follow.
    """
    if STRAY.search(piece):
        raise ValueError("a % is not followed by two hexadecimal digits")
    # Quoted-printable differs by its escape alone.
    return a2b_qp(piece.replace(b"=", b"=3D").translate(QUOTED))


def pieces(text: Text, begin: int = 0, end: int | None = None) -> Iterator[Text]:
    """A text, or its part, in pieces between which other threads may run; no escape is split."""
    end = len(text) if end is None else end
    while begin < end:
        after = min(begin + PIECE, end)
        split = -1 if after == end else _find_escape(text, after - 2, after)
        after = after if split < 0 else split
        yield text[begin:after]
        begin = after


def _find_escape(text: str | bytes | bytearray, begin: int, end: int) -> int:
    return text.find("%", begin, end) if isinstance(text, str) else text.find(b"%", begin, end)
