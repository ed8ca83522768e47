"""Request bodies: read within limits in bytes, and parsed: JSON here, forms in forms.py, long ones in a thread."""

from __future__ import annotations

import asyncio
import json
import re
import time
from collections import Counter
from collections.abc import AsyncIterator, Collection, Iterator
from contextlib import asynccontextmanager, contextmanager, nullcontext, suppress
from secrets import token_hex
from typing import Any

from fastapi import Request as HttpRequest
from python_multipart.multipart import parse_options_header
from starlette.datastructures import Headers

from tintype.errors import BadRequest, BodyTooLarge, SentTwice, TextTooLong, TooManyRequests, UnsupportedBody
from tintype.web.forms import (
    IMAGES,
    LONG,
    MAX_VALUES,
    MULTIPART,
    SMALL,
    TOO_LARGE,
    TOO_MANY,
    URLENCODED,
    multipart,
    urlencoded,
)
from tintype.web.threads import in_thread

#: Seconds after which other bodies may have made room.
RETRY_AFTER = 1.0
#: Bytes of a body that is parsed where it was read: whatever is in it, that takes no millisecond, and a thread a tenth.
SHORT = 4096
#: Lists and objects in a JSON body, and long texts: no call needs a tenth of these.
MAX_LISTS, MAX_LONG = 100, 20
BACKSLASH = ord("\\")
#: The escape, in JSON, of what takes more than a byte.
WIDE = re.compile(rb"\\u(?!00)")
Sent = dict[str, Any]


class Bodies:
    """Reads bodies within limits in bytes: of all that are held at the same time, per account and in total.

    A body is held from its first byte until the `read` block ends. For one event loop only.
    """

    def __init__(self, *, per_account: int, total: int, declared: bool = True, whose: str = "this account's") -> None:
        """declared: whether a body counts by the length that it declares, else by what has come of it: where no
        key is needed, those that are sent slowly must not take what is there for others. whose: an account's, in words.
        """
        self._per_account = per_account
        self._declared = declared
        self._whose = whose
        self._total = total
        self._held = Counter[str]()
        #: Large bodies are parsed one by one: each search through one blocks all other threads meanwhile.
        self._large = asyncio.Lock()

    @property
    def held(self) -> int:
        """Bytes that count now, of all."""
        return self._held.total()

    @asynccontextmanager
    async def read(
        self, http: HttpRequest, account_id: str, *, max_size: int = SMALL, texts: Collection[str] = ()
    ) -> AsyncIterator[Sent]:
        """The parameters in a body of at most `max_size` bytes; those named in `texts` may be empty in a form.

        Raises BadRequest, UnsupportedBody, BodyTooLarge, TooManyRequests. What its headers show is refused before any
        of it is asked for.
        """
        coding = http.headers.get("content-encoding", "").strip().lower()
        if coding not in ("", "identity"):
            words = f"The body's content encoding is {coding[:80]!r}; allowed: identity"
            raise UnsupportedBody(words, headers={"accept-encoding": "identity"})
        declared = declared_length(http.headers)
        check_size(declared, max_size)
        held = 0
        try:
            if self._declared:
                self._hold(account_id, declared)
                held = declared
            data = bytearray()
            async for chunk in http.stream():
                data += chunk
                check_size(len(data), max_size)
                if len(data) > held:  # in chunks, it has no declared length; or that is not what counts
                    self._hold(account_id, len(data), held)
                    held = len(data)
            kind = http.headers.get("content-type", "")
            if len(data) <= SHORT:
                sent = parse(kind, data, texts)
            else:
                async with self._large if len(data) > LONG else nullcontext():
                    sent = await in_thread(http, parse, kind, data, texts)
            del data
            yield sent
        finally:
            self._release(account_id, held)

    @contextmanager
    def holding(self, account_id: str, size: int) -> Iterator[None]:
        """Count a part of a body that is needed for longer; raises TooManyRequests."""
        self._hold(account_id, size)
        try:
            yield
        finally:
            self._release(account_id, size)

    def _hold(self, account_id: str, size: int, held: int = 0) -> None:
        """Count `size` bytes of a body of which `held` are counted already; raises TooManyRequests.

        A single body is accepted even above the limits.
        """
        own, total = self._held[account_id] - held, self._held.total() - held
        if own and own + size > self._per_account:
            words = f"{self._whose} have {own} bytes, this one {size}; allowed: {self._per_account} together"
            raise TooManyRequests(f"Too many bodies at the same time: {words}", RETRY_AFTER, time.time())
        if total and total + size > self._total:
            words = f"this server has memory for {self._total} bytes of them"
            raise TooManyRequests(f"Too many bodies at the same time: {words}", RETRY_AFTER, time.time())
        self._held[account_id] += size - held

    def _release(self, account_id: str, size: int) -> None:
        self._held[account_id] -= size
        self._held += Counter()  # without those at 0


def declared_length(headers: Headers) -> int:
    """A body's length by its Content-Length; 0 where it comes in chunks, or there is none."""
    declared = headers.get("content-length", "")
    return int(declared) if declared.isascii() and declared.isdecimal() and len(declared) < 20 else 0


def check_size(size: int, max_size: int) -> None:
    """Raises BodyTooLarge."""
    if size > max_size:
        raise BodyTooLarge(f"The body is larger than {max_size} bytes")


def parse(content_type: str, data: bytes | bytearray, texts: Collection[str] = ()) -> Sent:
    """The parameters in a body; raises BadRequest, UnsupportedBody.

    A form's values are strings, and an image's file becomes base64, as it is in JSON. An empty value of a form is an
    absent one, except of the parameters named in `texts`.
    """
    kind, options = parse_options_header(content_type.encode("latin-1", "replace"))
    match kind.decode("latin-1"):
        case "" | "application/json":
            return parse_json(data)
        case "multipart/form-data":
            return multipart(data, options.get(b"boundary", b""), texts)
        case "application/x-www-form-urlencoded":
            return urlencoded(data, texts)
        case other:
            raise UnsupportedBody(f"The body's content type is {other[:80]!r}")


def _integer(digits: str) -> int:
    try:
        return int(digits)
    except ValueError:
        raise BadRequest(f"The body has a number of {len(digits)} digits") from None


def _object(pairs: list[tuple[str, Any]]) -> Sent:
    """Raises SentTwice for a name with two values."""
    found = Sent()
    for name, value in pairs:
        if name in found:
            raise SentTwice(name)
        found[name] = value
    return found


#: Made once: `json.loads` would make one for each body.
DECODER = json.JSONDecoder(parse_int=_integer, object_pairs_hook=_object)


def parse_json(data: bytes | bytearray) -> Sent:
    """A JSON object; an empty body is an empty one. Raises BadRequest.

    Long texts are cut out before the rest is parsed, which is small, and put back afterwards.
    """
    encoding = json.detect_encoding(data)
    if encoding == "utf-8-sig":
        data = data[3:]
    elif encoding != "utf-8":
        try:
            data = data.decode(encoding).encode()
        except UnicodeError:
            raise BadRequest(f"The body is not valid {encoding}; JSON is sent as UTF-8") from None
    if len(data) <= SHORT and data.count(b"{") + data.count(b"[") + data.count(b",") <= MAX_LISTS:
        with suppress(ValueError, BadRequest):  # the words for it are found below
            sent = DECODER.decode(data.decode() or "{}")
            if isinstance(sent, dict):
                return sent
    outline, long = _cut(data)
    try:
        text = outline.decode() or "{}"
        sent = DECODER.decode(text)
    except UnicodeDecodeError:
        raise BadRequest("The body: not valid UTF-8") from None
    except json.JSONDecodeError as error:
        raise _not_json(error, text, "" if long else f", at character {error.pos}") from error
    if not isinstance(sent, dict):
        raise BadRequest("The body must be a JSON object of parameters")
    return _put_back(sent, data, long) if long else sent


def _cut(data: bytes | bytearray) -> tuple[bytearray, dict[str, slice]]:
    """JSON with names in place of its long texts, and where these were; raises BadRequest unless the rest is small."""
    outline, long, token = bytearray(), dict[str, slice](), token_hex(8)
    position = strings = values = lists = 0
    while True:
        opening = data.find(b'"', position)
        end = len(data) if opening < 0 else opening
        if len(outline) + end - position > SMALL:
            raise BadRequest(TOO_LARGE)
        between = data[position:end]
        lists += between.count(b"[") + between.count(b"{")
        values += between.count(b",")
        if lists > MAX_LISTS:
            raise BadRequest(f"The body has more than {MAX_LISTS} lists and objects")
        if lists + values > MAX_VALUES or strings > 2 * MAX_VALUES:
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
        if len(long) > MAX_LONG:
            raise BadRequest(f"The body has more than {MAX_LONG} texts that are longer than {LONG} bytes")


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
            raise BadRequest(f"A text in the body is longer than {LONG} bytes and has quotes in it, as no image has")
    raise BadRequest("The body is not valid JSON: a text in it doesn't end")


def _not_json(error: json.JSONDecodeError, text: str, where: str) -> BadRequest:
    reason = error.msg.removesuffix(" at").removesuffix(" starting")
    hint = ""
    if text.startswith("--"):
        hint = f": it looks like a form, which is sent as {MULTIPART} with its boundary"
    elif re.match(r"[\w.\-\[\]]+=", text):
        hint = f": it looks like a form, which is sent as {URLENCODED}"
    return BadRequest(f"The body is not valid JSON ({reason}{where}){hint}")


def _put_back(sent: Sent, data: bytes | bytearray, long: dict[str, slice]) -> Sent:
    """The long texts where they were: as images, or as other texts that are small together; raises BadRequest.

    Members of the body, or of an object that is one: some APIs have their parameters in one.
    """
    size = 0
    objects = (sent, *(value for value in sent.values() if isinstance(value, dict)))
    for members, name, value in [(one, name, value) for one in objects for name, value in one.items()]:
        if isinstance(value, str) and value in long:
            place = long.pop(value)
            size += 0 if name in IMAGES else place.stop - place.start
            if size > SMALL:
                raise BadRequest(f"{name[:80]}: {place.stop - place.start} bytes were sent. {TOO_LARGE}")
            members[name] = _text(data, place, name)
        elif name in IMAGES and isinstance(value, list):
            members[name] = [
                _text(data, long.pop(one), name) if isinstance(one, str) and one in long else one for one in value
            ]
    if long:
        words = f"A name, or a text in a list or an object, is longer than {LONG} bytes"
        raise TextTooLong(words, next(_places(sent, long), ()))
    return sent


def _places(value: Any, long: dict[str, slice], *place: str) -> Iterator[tuple[str, ...]]:
    """Where long texts are left, by the names of members."""
    if isinstance(value, str) and value in long:
        yield place
    elif isinstance(value, list):
        for one in value:
            yield from _places(one, long, *place)
    elif isinstance(value, dict):
        for name, one in value.items():
            yield from _places(one, long, *place, name)


def _text(data: bytes | bytearray, place: slice, name: str) -> str:
    # An image is ASCII; as anything else it would take up to four times the memory.
    encoding = "ascii" if name in IMAGES else "utf-8"
    try:
        if name in IMAGES and WIDE.search(data, place.start, place.stop):
            raise BadRequest(f"{name}: not valid ASCII")
        found: str = json.loads(str(memoryview(data)[place], encoding))
    except json.JSONDecodeError as error:
        raise BadRequest(f"{name[:80]}: not valid JSON ({error.msg.removesuffix(' at')})") from error
    except UnicodeDecodeError:
        raise BadRequest(f"{name[:80]}: not valid {encoding.upper()}") from None
    return found
