"""Pictures that come inside the request: `data:` URIs and bare base64."""

from __future__ import annotations

import base64
import re
from urllib.parse import unquote_to_bytes

from tintype.errors import BadPicture

#: Not inline: an address, or a path on this server. Base64 of a JPEG begins with "/9j/", but holds no dot.
ELSEWHERE = re.compile(r"https?://.*|/files/.*|/[\w.\-]+\.(jpe?g|png|webp)", re.IGNORECASE | re.DOTALL)
#: What stands behind `#` is no part of what a URI holds.
DATA_URI = re.compile(r"data:(?P<kind>[^,]*),(?P<data>[^#]*).*", re.IGNORECASE | re.DOTALL)
#: The last word before the comma, blanks around it or not: as browsers read it (WHATWG's "data: URL processor").
BASE64 = re.compile(r";\s*base64\s*$", re.IGNORECASE)
URL_SAFE = str.maketrans("-_", "+/")


def from_text(text: str, max_bytes: int) -> bytes | None:
    """The bytes of an inline picture; None when `text` is an http(s) address or a path (`/name.jpg`, `/files/…`).

    Base64 may be standard or URL-safe, broken into lines and without its padding. BadPicture when `text` is none of
    these, is empty, or holds more than `max_bytes` bytes.
    """
    text = text.strip()
    if ELSEWHERE.fullmatch(text):
        return None
    uri = DATA_URI.fullmatch(text)
    if uri and not BASE64.search(uri["kind"]):
        data = _unescaped(uri["data"])
    else:
        data = _from_base64(uri["data"] if uri else text)
    if not data:
        raise BadPicture("the picture is empty")
    if len(data) > max_bytes:
        raise BadPicture(f"the picture is too large: {max_bytes} bytes is the limit")
    return data


def _from_base64(text: str) -> bytes:
    if "%" in text:  # a data URI may escape the +, / and = of its base64
        text = _unescaped(text).decode("latin-1")
    packed = "".join(text.split()).translate(URL_SAFE).rstrip("=")
    try:
        return base64.b64decode(packed + "=" * (-len(packed) % 4), validate=True)
    except ValueError as error:
        raise BadPicture("the picture is neither an http(s) address, a data: URI nor base64") from error


def _unescaped(text: str) -> bytes:
    try:
        return unquote_to_bytes(text)
    except UnicodeEncodeError as error:
        raise BadPicture("the data: URI has one half of a surrogate pair in it") from error
