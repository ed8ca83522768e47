"""Bytes of a body → parameters. Whatever isn't a picture is small, and is held to that before a parser sees it.

Pictures are found and cut out by searches that cost milliseconds, so that what Python looks at piece by piece is a
megabyte and a thousand values at most, however large the body is.
"""

from __future__ import annotations

import json
import re
from base64 import b64encode
from collections.abc import Collection, Iterable, Iterator
from secrets import token_hex
from typing import Any
from urllib.parse import unquote_to_bytes

from python_multipart.multipart import parse_options_header

from tintype.errors import BadRequest, UnsupportedBody
from tintype.media.inline import pieces, unescaped

MULTIPART = "multipart/form-data"
URLENCODED = "application/x-www-form-urlencoded"
#: Parameters that hold pictures: base64, or files of a form. All others together are small.
PICTURES = ("image", "data_urls")
#: Bytes of a body beside its pictures, and bytes of a text that is set aside as if it were a picture.
SMALL, LONG = 2**20, 2**16
#: Values in a body, lists and objects among them, and long texts: no call needs a tenth of these.
MOST_VALUES, MOST_LISTS, MOST_LONG = 1000, 100, 20
#: Character sets that a form's part may name → how its text is read. Apache's client for Java, unasked, names Latin-1
#: for every text.
CHARSETS = {b"utf-8": "utf-8", b"utf8": "utf-8", b"us-ascii": "utf-8", b"ascii": "utf-8", b"iso-8859-1": "latin-1"}
#: Bytes of the headers of a form's part.
MOST_HEADERS = 8192
TOO_MUCH = f"The body has more than {SMALL} bytes beside its pictures"
TOO_MANY = f"The body has more than {MOST_VALUES} values"
SEND_JSON = "The body is JSON, but its content type says that it is a form: send content-type: application/json"
BACKSLASH = ord("\\")
STRAY = "The form has a % that is not followed by two hexadecimal digits: a % itself is sent as %25"
#: The escape, in JSON, of what takes more than a byte.
WIDE = re.compile(rb"\\u(?!00)")
LIKE_JSON = re.compile(rb"\s*[{\[]")
Sent = dict[str, Any]


def parse(content_type: str, data: bytes | bytearray, texts: Collection[str] = ()) -> Sent:
    """The parameters in a body; raises BadRequest, UnsupportedBody.

    A form's values are strings, and a file that is a picture becomes base64: what follows sees no difference. An empty
    value of a form is an absent one, except of the parameters named in `texts`: forms have no null.
    """
    kind, options = parse_options_header(content_type.encode("latin-1", "replace"))
    match kind.decode("latin-1"):
        case "multipart/form-data":
            return _collected(_multipart(data, options.get(b"boundary", b""), texts), texts)
        case "application/x-www-form-urlencoded":
            return _collected(_urlencoded(data), texts)
        case "" | "application/json":
            return parse_json(data)
        case other:
            raise UnsupportedBody(f"The body's content type is {other[:80]!r}")


def parse_json(data: bytes | bytearray) -> Sent:
    """A JSON object; an empty body is an empty one. Raises BadRequest."""
    data = _in_utf8(data)
    outline, long = _cut(data)
    sent = _load(_read("The body", outline) or "{}", exact=not long)
    if not isinstance(sent, dict):
        raise BadRequest("The body must be a JSON object of parameters")
    return _put_back(sent, data, long)


def _in_utf8(data: bytes | bytearray) -> bytes | bytearray:
    encoding = json.detect_encoding(data)
    try:
        if encoding not in ("utf-8", "utf-8-sig"):
            return data.decode(encoding).encode()
    except UnicodeError:
        raise BadRequest(f"The body is not valid {encoding}; JSON is sent as UTF-8") from None
    return data[3:] if encoding == "utf-8-sig" else data


def _cut(data: bytes | bytearray) -> tuple[bytearray, dict[str, slice]]:
    """JSON with names in place of its long texts, and where these were; raises BadRequest unless the rest is small."""
    outline, long, token = bytearray(), dict[str, slice](), token_hex(8)
    position = strings = values = lists = 0
    while True:
        opening = data.find(b'"', position)
        end = len(data) if opening < 0 else opening
        if len(outline) + end - position > SMALL:
            raise BadRequest(TOO_MUCH)
        between = data[position:end]
        lists += between.count(b"[") + between.count(b"{")
        values += between.count(b",")
        if lists > MOST_LISTS:
            raise BadRequest(f"The body has more than {MOST_LISTS} lists and objects")
        if lists + values > MOST_VALUES or strings > 2 * MOST_VALUES:
            raise BadRequest(TOO_MANY)
        outline += between
        if opening < 0:
            return outline, long
        position = _closing(data, opening) + 1
        strings += 1
        if position - opening <= LONG:
            outline += data[opening:position]
            continue
        name = f"{token}{len(long)}"
        long[name] = slice(opening, position)
        outline += f'"{name}"'.encode()
        if len(long) > MOST_LONG:
            raise BadRequest(f"The body has more than {MOST_LONG} texts that are longer than {LONG} bytes")


def _closing(data: bytes | bytearray, opening: int) -> int:
    """Where the text that begins with the quote at `opening` ends."""
    begin = opening + 1
    while (quote := data.find(b'"', begin)) >= 0:
        if data[quote - 1] != BACKSLASH:
            return quote
        before = data[begin:quote]
        if (len(before) - len(before.rstrip(b"\\"))) % 2 == 0:
            return quote
        begin = quote + 1
        if begin - opening > LONG:
            raise BadRequest(f"A text in the body is longer than {LONG} bytes and has quotes in it, as no picture has")
    raise BadRequest("The body is not valid JSON: a text in it doesn't end")


def _load(text: str, *, exact: bool) -> Any:
    try:
        return json.loads(text, parse_int=_whole, object_pairs_hook=_object)
    except json.JSONDecodeError as error:
        where = f", at character {error.pos}" if exact else ""
        reason = error.msg.removesuffix(" at").removesuffix(" starting")
        raise BadRequest(f"The body is not valid JSON ({reason}{where})" + _perhaps_form(text)) from error


def _perhaps_form(text: str) -> str:
    if text.startswith("--"):
        return f": it looks like a form, which is sent as {MULTIPART} with its boundary"
    if re.match(r"[\w.\-\[\]]+=", text):
        return f": it looks like a form, which is sent as {URLENCODED}"
    return ""


def _whole(digits: str) -> int:
    try:
        return int(digits)
    except ValueError:
        raise BadRequest(f"The body has a number of {len(digits)} digits") from None


def _object(pairs: list[tuple[str, Any]]) -> Sent:
    found = Sent()
    for name, value in pairs:
        _add(found, name, value)
    return found


def _add(found: Sent, name: str, value: Any) -> None:
    """Of two values, a caller can't know which one counts, and may pay for the wrong one."""
    if name in found:
        raise BadRequest(f"{name[:80]}: sent twice")
    found[name] = value


def _put_back(sent: Sent, data: bytes | bytearray, long: dict[str, slice]) -> Sent:
    """The long texts where they were, if that is a place for pictures or all of them together are small."""
    beside = 0
    for name, value in sent.items():
        if isinstance(value, str) and value in long:
            place = long.pop(value)
            beside += 0 if name in PICTURES else place.stop - place.start
            if beside > SMALL:
                raise BadRequest(f"{name[:80]}: {place.stop - place.start} bytes were sent. " + TOO_MUCH)
            sent[name] = _text(data, place, name)
        elif name in PICTURES and isinstance(value, list):
            sent[name] = [
                _text(data, long.pop(one), name) if isinstance(one, str) and one in long else one for one in value
            ]
    if long:
        raise BadRequest(f"A name, or a text in a list or an object, is longer than {LONG} bytes")
    return sent


def _text(data: bytes | bytearray, place: slice, name: str) -> str:
    # A picture is ASCII; as anything else it would take up to four times the memory.
    encoding = "ascii" if name in PICTURES else "utf-8"
    try:
        if name in PICTURES and WIDE.search(data, place.start, place.stop):
            raise BadRequest(f"{name}: not valid ASCII")
        found: str = json.loads(str(memoryview(data)[place], encoding))
    except json.JSONDecodeError as error:
        raise BadRequest(f"{name[:80]}: not valid JSON ({error.msg.removesuffix(' at')})") from error
    except UnicodeDecodeError:
        raise BadRequest(f"{name[:80]}: not valid {encoding.upper()}") from None
    return found


def _collected(pairs: Iterable[tuple[str, str]], texts: Collection[str]) -> Sent:
    found = Sent()
    for name, value in pairs:
        if value or name in texts:
            _add(found, name, value)
    return found


def _urlencoded(data: bytes | bytearray) -> Iterator[tuple[str, str]]:
    if LIKE_JSON.match(data):
        raise BadRequest(SEND_JSON)
    if data.count(b"&") >= MOST_VALUES:
        raise BadRequest(TOO_MANY)
    beside = 0
    for pair in data.split(b"&"):
        raw, _, value = pair.partition(b"=")
        name = _read("a name in it", _unquoted(raw[:SMALL]))
        beside += len(raw) if name in PICTURES else len(pair)
        if beside > SMALL:
            raise BadRequest(TOO_MUCH)
        yield name, _read(name, _unquoted(value))


def _unquoted(raw: bytes | bytearray) -> bytes:
    """What the + and %XX in a form stand for."""
    if len(raw) <= LONG:
        return unquote_to_bytes(bytes(raw.replace(b"+", b" ")))
    try:
        return b"".join(unescaped(piece.replace(b"+", b" ")) for piece in pieces(raw))
    except ValueError:
        raise BadRequest(STRAY) from None


def _read(name: str, data: bytes | bytearray | memoryview, encoding: str = "utf-8") -> str:
    try:
        return str(data, "ascii" if name in PICTURES and len(data) > LONG else encoding)
    except UnicodeDecodeError:
        raise BadRequest(f"{name[:80]}: not valid UTF-8") from None


def _multipart(data: bytes | bytearray, boundary: bytes, texts: Collection[str]) -> Iterator[tuple[str, str]]:
    beside = 0
    for count, (head, body) in enumerate(_parts(data, boundary), 1):
        part = _Part(head)
        beside += len(head) + (0 if part.is_file or part.name in PICTURES else len(body))
        if count > MOST_VALUES:
            raise BadRequest(TOO_MANY)
        if beside > SMALL:
            raise BadRequest(TOO_MUCH)
        yield part.name, part.value(body, texts)


def _parts(data: bytes | bytearray, boundary: bytes) -> Iterator[tuple[bytes, memoryview]]:
    """The headers and the body of every part, up to the boundary that says that there is no other (RFC 2046)."""
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
        end = data.find(b"\r\n", position, position + MOST_HEADERS)
        if end < 0 or data[position:end].strip(b" \t"):
            raise BadRequest(f"The form breaks off, or a line that begins with --{shown} doesn't end there with CR LF")
        head = data.find(b"\r\n\r\n", end, end + MOST_HEADERS)
        if head < 0:
            raise BadRequest("The form breaks off, or a part's headers have no end: an empty line, with CR LF")
        following = data.find(line, head + 2)
        if following < 0:
            raise BadRequest(f"The form breaks off: its last line, --{shown}--, is missing")
        yield bytes(data[end:head]), memoryview(data)[head + 4 : following]
        position = following + len(line)


class _Part:
    """One field of a form, by its headers; raises BadRequest where its value would be misread."""

    def __init__(self, head: bytes) -> None:
        lines = (line.partition(b":") for line in head.split(b"\r\n"))
        headers = {name.strip().lower(): parse_options_header(value.strip()) for name, _, value in lines}
        _, disposition = headers.get(b"content-disposition", (b"", {}))
        if b"name" not in disposition:
            raise BadRequest("A part of the form has no name")
        self.name = _read("a name in it", disposition[b"name"])
        kind, options = headers.get(b"content-type", (b"", {}))
        named = b"filename" in disposition or b"filename*" in head
        self.is_file = named or kind.startswith(b"image/") or kind == b"application/octet-stream"
        coding, _ = headers.get(b"content-transfer-encoding", (b"binary", {}))
        self._check(coding, (b"7bit", b"8bit", b"binary"))
        charset = options.get(b"charset", b"utf-8").lower()
        self._check(charset, CHARSETS)
        self._encoding = CHARSETS[charset]

    def value(self, body: memoryview, texts: Collection[str]) -> str:
        """What it holds: a picture's file as base64, any other file as the text that it is."""
        if self.name in PICTURES and self.is_file:
            return b64encode(body).decode()
        if not self.is_file or (len(body) <= LONG and _is_utf8(body)):
            return _read(self.name, body, self._encoding)
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
