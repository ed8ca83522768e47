"""The page that says who made an image, with a real browser; and that an image which it saves is still signed."""

from __future__ import annotations

import io
from base64 import b64encode
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import c2pa
import httpx2
import pytest
from PIL import Image
from playwright.sync_api import Browser, Page, expect

from tests.acceptance.browser import Visitor
from tests.acceptance.test_pages_intake import EVENT
from tests.integration.website import Website, serving
from tintype.media.images import encode
from tintype.media.provenance.certificates import issue, issuer
from tintype.media.provenance.manifests import ManifestSigner, context_settings
from tintype.media.provenance.source import Origin
from tintype.media.samples import draw

PICTURE = Image.open(io.BytesIO(draw("/sd-img2img-input.jpeg"))).convert("RGB")
DRAWN = Origin("trainedAlgorithmicMedia", "sd1.5-txt2img")
OTHERS = issue("pictures.example", b"\x56\x78", datetime.now(UTC))


def signed(site: Website, format: str = "png") -> bytes:
    pair = site.own.store.signers.current(issuer("https://images.example"))
    return ManifestSigner(pair.chain, pair.key).sign(encode(PICTURE, format), DRAWN)


def file(data: bytes, name: str = "image.png", type: str = "image/png") -> Any:
    return {"name": name, "mimeType": type, "buffer": data}


def drop(page: Page, data: bytes, texts: dict[str, str] | None = None, kind: str = "drop") -> None:
    files = [["image.png", "image/png", b64encode(data).decode(), 0]] if data else []
    page.evaluate(EVENT, [kind, "h1", files, texts or {}])


@pytest.fixture(params=["dark", "light"])
def reader(request: pytest.FixtureRequest, chromium: Browser, site: Website, photos: Path | None) -> Iterator[Visitor]:
    """A visitor without a key who likes the page in these colours; what reads images has started."""
    httpx2.post(f"{site.address}/v1/verify", files={"file": signed(site)}, timeout=120).raise_for_status()
    came = Visitor(chromium, site.address, photos, color_scheme=request.param)
    yield came
    came.leave()


def test_who_made_an_image_is_said_without_a_key(reader: Visitor, site: Website) -> None:
    page = reader.go("/", key=None)
    page.get_by_role("link", name="Who made an image?").click()
    expect(page.get_by_role("heading", name="Verify an image")).to_be_visible()
    reader.sound()
    result = page.get_by_role("region", name="Result")
    image = signed(site)
    page.get_by_label("Choose an image").set_input_files(file(image))
    expect(result.get_by_role("heading", name="Made by this server")).to_be_visible()
    for fact in ("images.exampleThis server", "Changed sinceNo", "By the signer's wordAI made it", "What was doneMade"):
        expect(result.locator("dl")).to_contain_text(fact)
    expect(result.get_by_alt_text("The image that was given")).to_be_visible()
    reader.photograph("pages-verify", "light", whole=True)
    reader.sound()
    turned = bytearray(image)
    turned[turned.rindex(b"IDAT") + 40] ^= 1
    drop(page, bytes(turned))
    expect(result.get_by_role("heading", name="The signature does not fit the image")).to_be_visible()
    expect(result.locator("dl")).to_contain_text("Yes, or the signature was taken from another image")
    reader.sound()
    other = ManifestSigner(OTHERS.chain, OTHERS.key).sign(encode(PICTURE, "png"), DRAWN)
    drop(page, other, kind="paste")
    expect(result.get_by_role("heading", name="Signed by another signer")).to_be_visible()
    expect(result.locator("dl")).to_contain_text("Not known to this server: the name may be made up.")
    drop(page, encode(PICTURE, "png"))
    expect(result.get_by_role("heading", name="No signature was found")).to_be_visible()
    expect(result).to_contain_text("That does not mean that the image was not made by AI.")
    expect(result.locator("dl")).to_have_text("Mark in the pixelsNone was found")
    reader.sound()


def test_what_can_t_be_verified_is_refused_in_words(reader: Visitor, site: Website) -> None:
    page = reader.go("/verify", key=None)
    alert = page.get_by_role("alert")
    drop(page, b"text")
    expect(alert).to_contain_text("not a JPEG, PNG")
    drop(page, b"", {"text/uri-list": "https://images.example/a.png"})
    expect(alert).to_contain_text("Addresses are not fetched here")
    drop(page, b"", {"text/uri-list": f"{site.address}/files/0.png"})
    expect(alert).to_contain_text("That image of this server is gone.")
    reader.sound()


@pytest.mark.parametrize("format", ["png", "jpeg", "webp"])
def test_an_image_that_the_browser_saves_is_still_signed(chromium: Browser, site: Website, format: str) -> None:
    """From this server's address, by a link as the gallery has it, and read by C2PA's own library with our roots."""
    name = site.own.files.outputs.put(signed(site, format), format)
    visitor = Visitor(chromium, site.address, None)
    page = visitor.go("/verify", key=None)
    page.evaluate(
        """path => { const link = document.createElement("a");
        [link.href, link.download, link.textContent] = [path, "saved", "Save it"]; document.body.append(link); }""",
        f"/files/{name}",
    )
    with page.expect_download() as saving:
        page.get_by_role("link", name="Save it").click()
    saved = Path(saving.value.path()).read_bytes()
    with page.expect_download() as saving:
        page.get_by_role("link", name="its certificates").click()
    roots = Path(saving.value.path()).read_text()
    with c2pa.Context.from_dict(context_settings(roots)) as context:
        read = c2pa.Reader(f"image/{format}", io.BytesIO(saved), context=context)
        with read:
            assert read.get_validation_state() == "Trusted"
    drop(page, b"", {"text/uri-list": f"{site.address}/files/{name}"})
    expect(page.get_by_role("heading", name="Made by this server")).to_be_visible()
    visitor.leave()


def test_where_it_is_turned_off_the_page_says_so(chromium: Browser, tmp_path: Path) -> None:
    with serving(tmp_path, verify="off") as site:
        visitor = Visitor(chromium, site.address, None)
        page = visitor.go("/verify", key=None)
        expect(page.get_by_text("The operator of this server has turned this off.")).to_be_visible()
        visitor.leave()
