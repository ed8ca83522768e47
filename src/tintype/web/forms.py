"""Forms → parameters: multipart and urlencoded. Images are found by searches; everything else is small by then.

So Python looks piece by piece at no more than a megabyte and a thousand values, however large the body is.
"""

from __future__ import annotations

import re
from base64 import b64encode
from collections.abc import Collection, Iterable, Iterator
from urllib.parse import unquote_to_bytes

from python_multipart.multipart import parse_options_header

from tintype.core import IMAGE_ROLES
from tintype.errors import BadRequest, SentTwice
from tintype.media.inline import pieces, unescaped

MULTIPART = "multipart/form-data"
URLENCODED = "application/x-www-form-urlencoded"
#: Parameters that hold images: base64, or files of a form. All others together are small.
IMAGES = (*IMAGE_ROLES, "data_urls", "init_images", "input_image", "init_image", "content", "file")
#: Those whose file's name is a parameter too: `content.filename`.
NAMED = ("content",)
#: Bytes of a body without its images, and bytes from which on a text is cut out of it as an image is.
SMALL, LONG = 2**20, 2**16
#: Values in a body, lists and objects among them. No call needs a tenth of these.
MAX_VALUES = 1000
#: Character sets that a form's part may name → how its text is read. Apache's client for Java names Latin-1 for every
#: text by default.
CHARSETS = {b"utf-8": "utf-8", b"utf8": "utf-8", b"us-ascii": "utf-8", b"ascii": "utf-8", b"iso-8859-1": "latin-1"}
#: Bytes of the headers of a form's part.
MAX_HEADERS = 8192
TOO_LARGE = f"The body has more than {SMALL} bytes besides its images"
TOO_MANY = f"The body has more than {MAX_VALUES} values"
SEND_JSON = "The body is JSON, but its content type says that it is a form: send content-type: application/json"
STRAY = "The form has a % that is not followed by two hexadecimal digits: a % itself is sent as %25"
LIKE_JSON = re.compile(rb"\s*[{\[]")
#: Behind the name of each item of a list, as forms have it since PHP.
LISTED = "[]"
#: What a form says, by name.
Form = dict[str, str | list[str]]


def multipart(data: bytes | bytearray, boundary: bytes, texts: Collection[str]) -> Form:
    """The parameters in a multipart form; raises BadRequest."""
    return _collected(_fields(data, boundary, texts), texts)


def urlencoded(data: bytes | bytearray, texts: Collection[str]) -> Form:
    """The parameters in an urlencoded form; raises BadRequest."""
    return _collected(_pairs(data), texts)


def _collected(pairs: Iterable[tuple[str, str]], texts: Collection[str]) -> Form:
    """Without empty values, except of the parameters in `texts`: forms have no null."""
    found: Form = {}
    for sent, value in pairs:
        name, item = _plain(sent), sent.endswith(LISTED)
        if not value and name not in texts:
            continue
        before = found.setdefault(name, []) if item else found.get(name)
        if item and isinstance(before, list):
            before.append(value)
        elif before is not None:
            raise SentTwice(name)
        else:
            found[name] = value
    return found


def _plain(name: str) -> str:
    """A field's name without what says that it is a list's item."""
    return name.removesuffix(LISTED)


def _pairs(data: bytes | bytearray) -> Iterator[tuple[str, str]]:
    if LIKE_JSON.match(data):
        raise BadRequest(SEND_JSON)
    if data.count(b"&") >= MAX_VALUES:
        raise BadRequest(TOO_MANY)
    size = 0
    for pair in data.split(b"&"):
        raw, _, value = pair.partition(b"=")
        name = _decoded("a name in it", _unquoted(raw[:SMALL]))
        size += len(raw) if _plain(name) in IMAGES else len(pair)
        if size > SMALL:
            raise BadRequest(TOO_LARGE)
        yield name, _decoded(name, _unquoted(value))


def _unquoted(raw: bytes | bytearray) -> bytes:
    """Without the + and %XX of a form."""
    if len(raw) <= LONG:
        return unquote_to_bytes(bytes(raw.replace(b"+", b" ")))
    try:
        return b"".join(unescaped(piece.replace(b"+", b" ")) for piece in pieces(raw))
    except ValueError:
        raise BadRequest(STRAY) from None


def _decoded(name: str, data: bytes | bytearray | memoryview, encoding: str = "utf-8") -> str:
    try:
        return str(data, "ascii" if _plain(name) in IMAGES and len(data) > LONG else encoding)
    except UnicodeDecodeError:
        raise BadRequest(f"{name[:80]}: not valid UTF-8") from None


def _fields(data: bytes | bytearray, boundary: bytes, texts: Collection[str]) -> Iterator[tuple[str, str]]:
    size = 0
    for count, (head, body) in enumerate(_parts(data, boundary), 1):
        field = _Field(head)
        size += len(head) + (0 if field.is_file or _plain(field.name) in IMAGES else len(body))
        if count > MAX_VALUES:
            raise BadRequest(TOO_MANY)
        if size > SMALL:
            raise BadRequest(TOO_LARGE)
        yield field.name, field.value(body, texts)
        if field.name in NAMED and field.filename:
            yield f"{field.name}.filename", field.filename


def _parts(data: bytes | bytearray, boundary: bytes) -> Iterator[tuple[bytes, memoryview]]:
    """The headers and the body of every part, up to the closing boundary (RFC 2046)."""
    if LIKE_JSON.match(data):
        raise BadRequest(SEND_JSON)
    if not boundary:
        raise BadRequest(
            f"The content type {MULTIPART} has no boundary: leave the header to your HTTP client, which knows it"
        )
    line, shown = b"\r\n--" + boundary, boundary[:80].decode("latin-1")
    begins = -2 if data.startswith(line[2:]) else data.find(line)
    if begins == -1:
        raise BadRequest(f"The form has no line --{shown}, although its content type names that boundary")
    position = begins + len(line)
    while not data.startswith(b"--", position):
        end = data.find(b"\r\n", position, position + MAX_HEADERS)
        if end < 0 or data[position:end].strip(b" \t"):
            raise BadRequest(f"The form breaks off, or a line that begins with --{shown} doesn't end there with CR LF")
        head = data.find(b"\r\n\r\n", end, end + MAX_HEADERS)
        if head < 0:
            raise BadRequest("The form breaks off, or a part's headers have no end: an empty line, with CR LF")
        following = data.find(line, head + 2)
        if following < 0:
            raise BadRequest(f"The form breaks off: its last line, --{shown}--, is missing")
        yield bytes(data[end:head]), memoryview(data)[head + 4 : following]
        position = following + len(line)


class _Field:
    """One field of a multipart form, by its headers; raises BadRequest where its value would be misread."""

    def __init__(self, head: bytes) -> None:
        lines = (line.partition(b":") for line in head.split(b"\r\n"))
        headers = {name.strip().lower(): parse_options_header(value.strip()) for name, _, value in lines}
        _, disposition = headers.get(b"content-disposition", (b"", {}))
        if b"name" not in disposition:
            raise BadRequest("A part of the form has no name")
        self.name = _decoded("a name in it", disposition[b"name"])
        kind, options = headers.get(b"content-type", (b"", {}))
        named = b"filename" in disposition or b"filename*" in head
        self.filename = disposition.get(b"filename", b"").decode("utf-8", "replace")
        self.is_file = named or kind.startswith(b"image/") or kind == b"application/octet-stream"
        coding, _ = headers.get(b"content-transfer-encoding", (b"binary", {}))
        self._check(coding, (b"7bit", b"8bit", b"binary"))
        charset = options.get(b"charset", b"utf-8").lower()
        self._check(charset, CHARSETS)
        self._encoding = CHARSETS[charset]

    def value(self, body: memoryview, texts: Collection[str]) -> str:
        """An image's file as base64, any other file as text."""
        if _plain(self.name) in IMAGES and self.is_file:
            return b64encode(body).decode()
        if not self.is_file or (len(body) <= LONG and _is_utf8(body)):
            return _decoded(self.name, body, self._encoding)
        if self.name in texts:
            raise BadRequest(f"{self.name[:80]}: a file was sent; allowed: text in UTF-8 of at most {LONG} bytes")
        return f"a file of {len(body)} bytes"

    def _check(self, sent: bytes, allowed: Collection[bytes]) -> None:
        if sent not in allowed:
            words = b", ".join(allowed).decode()
            raise BadRequest(f"{self.name[:80]}: {sent[:80].decode('latin-1')} was sent; allowed: {words}")


def _is_utf8(body: memoryview) -> bool:
    try:
        str(body, "utf-8")
    except UnicodeDecodeError:
        return False
    return True
