"""Pictures that come inside the request: `data:` URIs and bare base64.

A text may be as long as a body, and is looked at in pieces and at the speed of C, whatever is in it.
"""

from __future__ import annotations

import re
from binascii import a2b_base64
from collections.abc import Iterable, Iterator

from tintype.errors import BadPicture
from tintype.media.escapes import pieces, unescaped

#: Not inline: an address, or a path on this server. Base64 of a JPEG begins with "/9j/", but holds no dot.
ELSEWHERE = re.compile(r"https?://.*|/files/.*|/[\w.\-]+\.(jpe?g|png|webp)", re.IGNORECASE | re.DOTALL)
#: Characters of an address, and of a data URI up to its comma: what a browser's address bar or a file name may give.
LONGEST_ADDRESS, LONGEST_KIND = 8192, 1024
DATA = "data:"
URL_SAFE = bytes.maketrans(b"-_", b"+/")
BLANKS = b" \t\r\n\f\v"


def from_text(text: str, max_bytes: int) -> bytes | None:
    """The bytes of an inline picture; None when `text` is an http(s) address or a path (`/name.jpg`, `/files/…`).

    Base64 may be standard or URL-safe, broken into lines and without its padding. BadPicture when `text` is none of
    these, is empty, or holds more than `max_bytes` bytes.
    """
    text = text.strip()
    if ELSEWHERE.fullmatch(text, 0, LONGEST_ADDRESS):
        if len(text) > LONGEST_ADDRESS:
            raise BadPicture(f"the address has {len(text)} characters: {LONGEST_ADDRESS} are the most")
        return None
    data = _from_uri(text, max_bytes) if text[: len(DATA)].lower() == DATA else _from_base64(_bytes(text), max_bytes)
    if not data:
        raise BadPicture("the picture is empty")
    return data


def _from_uri(uri: str, max_bytes: int) -> bytes:
    comma = uri.find(",", 0, LONGEST_KIND)
    if comma < 0:
        words = f"the data: URI has no comma within its first {LONGEST_KIND} characters"
        raise BadPicture(f"{words}: one begins like data:image/png;base64,")
    # What stands behind `#` is no part of what a URI holds.
    end = uri.find("#", comma)
    data = _bytes(uri, comma + 1, len(uri) if end < 0 else end)
    # The last word before the comma, blanks around it or not: as browsers read it (WHATWG's "data: URL processor").
    _, semicolon, word = uri[len(DATA) : comma].rpartition(";")
    if semicolon and word.strip().lower() == "base64":
        return _from_base64(data, max_bytes)
    return b"".join(_at_most(max_bytes, data, max_bytes))


def _from_base64(text: Iterable[bytes], max_bytes: int) -> bytes:
    # Of more, nothing is decoded.
    cleaned = (piece.translate(URL_SAFE, BLANKS) for piece in text)
    packed = b"".join(_at_most((max_bytes + 2) // 3 * 4, cleaned, max_bytes)).rstrip(b"=")
    try:
        data = a2b_base64(packed + b"=" * (-len(packed) % 4), strict_mode=True)
    except ValueError as error:
        raise BadPicture("the picture is neither an http(s) address, a data: URI nor base64") from error
    return next(_at_most(max_bytes, [data], max_bytes))


def _at_most(most: int, parts: Iterable[bytes], max_bytes: int) -> Iterator[bytes]:
    """As they come; raises BadPicture as soon as they are more than `most` bytes."""
    size = 0
    for part in parts:
        size += len(part)
        if size > most:
            raise BadPicture(f"the picture is too large: {max_bytes} bytes is the limit")
        yield part


def _bytes(text: str, begin: int = 0, end: int | None = None) -> Iterator[bytes]:
    """A text's pieces without their percent-escapes, as a data URI may have them for its +, / and =."""
    try:
        for piece in pieces(text, begin, end):
            yield unescaped(piece.encode()) if "%" in piece else piece.encode()
    except UnicodeEncodeError as error:
        raise BadPicture("the data: URI has one half of a surrogate pair in it") from error
    except ValueError as error:
        raise BadPicture(f"the picture's text has a stray percent sign: {error}") from error
