"""Pictures inside the request: data: URIs and base64, told from addresses and paths by their shape."""

from __future__ import annotations

import base64
import json
import sys
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tintype.errors import BadPicture, PictureUnreachable
from tintype.media import inline
from tintype.media.http import check_target, parse_url, target_of
from tintype.media.inline import PIECE, from_text

LIMIT = 1000
#: Begins as a JPEG does, and its base64 holds "+" and "/".
DATA = b"\xff\xd8\xff\xe0\xfb\xef\xbe\x00\x01"
STANDARD = base64.b64encode(DATA + b"!").decode()


@pytest.mark.parametrize(
    "text",
    [
        "https://example.com/a.png",
        "HTTP://example.com",
        "/sd-img2img-input.jpeg",
        "/sd3-img2img-ip.jpg",
        "/a_b.WEBP",
        "/files/0123.jpeg",
    ],
)
def test_elsewhere(text: str) -> None:
    assert from_text(text, LIMIT) is None


@pytest.mark.parametrize(
    "text",
    [
        STANDARD,
        STANDARD.rstrip("="),
        base64.urlsafe_b64encode(DATA + b"!").decode(),
        f"  {STANDARD[:4]}\r\n{STANDARD[4:9]} {STANDARD[9:]}\n",
        f"data:image/jpeg;base64,{STANDARD}",
        f"DATA:image/jpeg;name=x;BASE64,{STANDARD}",
        f"data:;base64,{STANDARD.replace('+', '%2B').replace('/', '%2F').replace('=', '%3D')}",
        "data:image/jpeg," + "".join(f"%{byte:02x}" for byte in DATA + b"!"),
    ],
)
def test_inline(text: str) -> None:
    assert from_text(text, LIMIT) == DATA + b"!"


def test_base64_of_a_jpeg_is_not_a_path() -> None:
    assert base64.b64encode(DATA).startswith(b"/9j/")
    assert from_text(base64.b64encode(DATA).decode(), LIMIT) == DATA


@pytest.mark.parametrize(
    "text",
    [
        "",
        "  ",
        "data:image/png;base64,",
        "cat.png",
        "ftp://example.com/a",
        "file:///etc/passwd",
        "/etc/passwd.txt",
        "ü",
    ],
)
def test_junk(text: str) -> None:
    with pytest.raises(BadPicture):
        from_text(text, LIMIT)


def test_the_limit_is_named() -> None:
    assert from_text(base64.b64encode(bytes(LIMIT)).decode(), LIMIT) == bytes(LIMIT)
    with pytest.raises(BadPicture, match="1000 bytes"):
        from_text(base64.b64encode(bytes(LIMIT + 1)).decode(), LIMIT)


@pytest.mark.parametrize(
    "kind",
    [
        "image/png; base64",
        "image/png ;base64 ",
        " image/png ; base64 ",
        "image/png;\tBase64\n",
        ";base64",
        "; base64",
        "image/png;charset=utf-8;name=a b;base64",
    ],
)
def test_blanks_around_base64(kind: str) -> None:
    """As browsers read it."""
    assert from_text(f"data:{kind},{STANDARD}", LIMIT) == DATA + b"!"
    assert from_text(f"data:{kind}, {STANDARD} #base64", LIMIT) == DATA + b"!"


@pytest.mark.parametrize("kind", ["", "image/png", "base64", "base64;x", "image/png;base64x", "image/png;base64=1"])
def test_other_words_are_not_base64(kind: str) -> None:
    assert from_text(f"data:{kind},AAAA#AAAA", LIMIT) == b"AAAA"


@pytest.mark.parametrize("text", ["data:,", "data:;base64,", "data:,#AAAA", "data:image/png;base64", "data:", "data"])
def test_data_uris_without_data(text: str) -> None:
    if text == "data":  # is base64
        assert from_text(text, LIMIT) == base64.b64decode("data")
        return
    with pytest.raises(BadPicture):
        from_text(text, LIMIT)


#: What addresses are made of, and what is wrong with some.
PLAIN_PIECES = (
    "http:// https:// data: ;base64 , // /// / [ ] [::1] @ : :99999 % ? # xn-- - . .. %zz %00 é ß 。 ٠ ☃ a b 127.1"
)
PIECES = st.sampled_from(
    [*PLAIN_PIECES.split(), "fe80::1%25eth", "\\", " ", "\t", "\0", "\ud800", "\udfff", "\xad", "a" * 64]
)


@settings(max_examples=200)
@given(st.lists(PIECES, max_size=8).map("".join))
def test_addresses_are_read_or_refused_in_our_words(text: str) -> None:
    base = parse_url("http://example.com/a/b")
    for read in (
        lambda: from_text(text, LIMIT),
        lambda: target_of(parse_url(text)),
        lambda: target_of(parse_url(text, base)),
        lambda: check_target(text, frozenset()),
    ):
        try:
            read()
        except BadPicture as error:
            json.dumps(error.public(), ensure_ascii=False).encode()  # it can be answered


@pytest.mark.parametrize("host", ["-.xn--a", ".xn--b", "[", "x]", "a%00b", "a b", "[fe80::1%25etß]"])
def test_hosts_that_no_name_can_be(host: str) -> None:
    for url in (f"http://{host}/", f"https:////{host}/"):
        with pytest.raises(PictureUnreachable):
            parse_url(url)
        with pytest.raises(PictureUnreachable):
            parse_url(f"//{host}/", parse_url("http://example.com/"))
    with pytest.raises(PictureUnreachable):
        parse_url("https:////x[/", parse_url("http://example.com/a"))


SIZE = 2 * PIECE
#: Texts and what they hold, shifted, so that an escape would be torn wherever pieces are cut.
LONG: dict[str, Callable[[int], tuple[str, bytes]]] = {
    "escapes of base64": lambda shift: (
        f"data:;base64,{'A' * shift}{'%2B' * (SIZE // 4)}{'A' * (-shift % 4)}",
        base64.b64decode("A" * shift + "+" * (SIZE // 4) + "A" * (-shift % 4)),
    ),
    "escapes of bytes": lambda shift: (
        f"data:image/png,{'A' * shift}{'%41' * (SIZE // 3)}",
        b"A" * (shift + SIZE // 3),
    ),
    "blanks": lambda shift: (
        "A" * (8 + 4 * shift) + "B\r\nC " * (SIZE // 5 // 8 * 8),
        base64.b64decode("A" * (8 + 4 * shift) + "BC" * (SIZE // 5 // 8 * 8)),
    ),
    "escaped equals signs": lambda shift: (
        f"data:,{'A' * shift}{'=%3d' * (SIZE // 4)}",
        b"A" * shift + b"==" * (SIZE // 4),
    ),
}


@contextmanager
def counted_memory() -> Iterator[list[int]]:
    """Afterwards, the bytes that the block had at most; it runs several times as long."""
    peak: list[int] = []
    tracemalloc.start()
    try:
        yield peak
        peak.append(tracemalloc.get_traced_memory()[1])
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("case", LONG)
@pytest.mark.parametrize("shift", range(3))
def test_long_texts_take_little_memory(case: str, shift: int) -> None:
    text, meant = LONG[case](shift)
    with counted_memory() if shift == 1 else nullcontext() as peak:
        data = from_text(text, SIZE)
    if peak:
        assert peak[0] < 2 * len(text) + 6 * PIECE
    assert data == meant


def no_decoding(packed: bytes, **_: object) -> bytes:
    assert not packed
    return b""


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("A" * SIZE, "too large"),
        ("data:image/png," + "%41" * SIZE, "too large"),
        ("data:" + "; " * SIZE + ",", "no comma within its first 1024 characters"),
        ("data:" + "A" * SIZE, "no comma within"),
        ("http://a.example/" + "a" * SIZE, "the address has 2097169 characters: 8192 are the most"),
        ("/files/" + "a" * SIZE, "the address has"),
        ("data:," + "%" * SIZE, "not followed by two hexadecimal digits"),
        ("/" + "a." * SIZE, "the image"),
        ("\n" * SIZE, "is empty"),
        ("data:image/png,50%", "not followed by two hexadecimal digits"),
    ],
    ids=lambda text: text[:20],
)
def test_long_texts_are_refused_before_they_are_decoded(text: str, words: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inline, "a2b_base64", no_decoding)
    with pytest.raises(BadPicture, match=words):
        from_text(text, LIMIT)


def test_a_long_text_costs_pieces_whatever_is_in_it() -> None:
    """What Python does itself is counted: a few calls for every megabyte."""
    calls = 0

    def count(*_: object) -> None:
        nonlocal calls
        calls += 1

    for case in LONG.values():
        text, _ = case(1)
        sys.setprofile(count)
        try:
            from_text(text, SIZE)
        finally:
            sys.setprofile(None)
    assert calls < 1000


@pytest.mark.parametrize("size", range(3, 12))
def test_no_escape_is_torn(size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inline, "PIECE", size)
    for shift in range(size):
        text = "data:image/jpeg," + "A" * shift + "".join(f"%{byte:02x}" for byte in DATA * 3)
        assert from_text(text, LIMIT) == b"A" * shift + DATA * 3
