"""Pictures inside the request: data: URIs and base64, told from addresses and paths by their shape."""

from __future__ import annotations

import base64

import pytest

from tintype.errors import BadPicture
from tintype.media.inline import from_text

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
