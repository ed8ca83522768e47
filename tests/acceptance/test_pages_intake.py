"""Images that come onto a page in a real browser: however people try it, made fit to be sent, or for their settings."""

from __future__ import annotations

import io
import re
from base64 import b64encode
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image, PngImagePlugin
from playwright.sync_api import Browser, Page, Route, expect

from tests.acceptance.browser import MEDIUM, OLD, Visitor
from tests.image_files import saved
from tests.integration.website import Website
from tests.unit.test_catalog_reuse import THEIRS, made
from tintype.catalog.models import SD15_IMG2IMG, SD15_TXT2IMG
from tintype.catalog.recipe import notes
from tintype.media.images import encode

TEXT = f"/models/{SD15_TXT2IMG.slug}"
INPAINTING = "/models/sd1.5-inpainting"
UPLOADED = re.compile(r"^/files/[0-9a-f]+\.\w+$")

#: Dispatch an event with files and texts, as a browser does for what comes from outside of it.
EVENT = """([kind, selector, files, texts]) => {
    const transfer = new DataTransfer();
    for (const [name, type, base64, size] of files) {
        const start = Uint8Array.from(atob(base64), letter => letter.charCodeAt(0));
        transfer.items.add(new File([start, new Uint8Array(size)], name, { type }));
    }
    for (const [type, text] of Object.entries(texts)) transfer.setData(type, text);
    const target = document.querySelector(selector);
    const how = { bubbles: true, cancelable: true, clipboardData: transfer, dataTransfer: transfer };
    const event = kind === "paste" ? new ClipboardEvent(kind, how) : new DragEvent(kind, how);
    return !target.dispatchEvent(event);
}"""


class Guest(Visitor):
    """Somebody with files."""

    def __init__(self, browser: Browser, site: Website, photos: Path | None) -> None:
        super().__init__(browser, site.address, photos)
        self.site = site

    def at(self, path: str) -> Page:
        return self.go(path, self.site.secret)

    def drop(self, data: bytes = b"", type: str = "image/png", *, kind: str = "drop", **more: Any) -> bool:
        """On the heading, say, or pasted → whether the browser was kept from doing what it does with files."""
        name, padding = more.get("name", "file"), more.get("padding", 0)
        files = [[name, type, b64encode(data).decode(), padding]] if data or "name" in more else []
        sent = [kind, more.get("on", "h1"), files, more.get("texts", {})]
        return bool(self.page.evaluate(EVENT, sent))

    def sent(self) -> tuple[bytes, tuple[int, int]]:
        """The uploaded file that the form names, and its size in pixels as the server noted it."""
        image = self.field("image")
        expect(self.page.get_by_text("Uploaded; kept for 7 days.")).to_be_visible()
        expect(image).to_have_value(UPLOADED)
        name = image.input_value().rpartition("/")[2]
        size = self.site.own.store.uploads.size_of(name)
        assert size is not None
        return self.site.own.files.uploads.get(name), size


@pytest.fixture
def guest(chromium: Browser, site: Website, photos: Path | None) -> Iterator[Guest]:
    came = Guest(chromium, site, photos)
    yield came
    came.leave()


def plain(width: int = 64, height: int = 48) -> Image.Image:
    return Image.linear_gradient("L").resize((width, height)).convert("RGB")


def infotext(text: str) -> bytes:
    """A PNG as A1111 writes it."""
    said = PngImagePlugin.PngInfo()
    said.add_text("parameters", text)
    return saved(plain(), pnginfo=said)


# What is sent


def test_a_large_photo_is_made_smaller_before_it_is_sent_and_stays_upright(guest: Guest) -> None:
    page = guest.at(OLD)
    exif = Image.Exif()
    exif[0x0112] = 6  # it lies on its side
    photo = saved(plain(4200, 3000), "JPEG", exif=exif)
    guest.drop(photo, "image/jpeg", kind="dragover")
    expect(page.get_by_text("Drop to use as input")).to_be_visible()
    assert guest.drop(photo, "image/jpeg"), "the browser stays on the page"
    expect(page.get_by_text("Drop to use as input")).to_be_hidden()
    expect(page.get_by_text("3000 × 4200, made smaller to 1463 × 2048.")).to_be_visible()
    data, size = guest.sent()
    assert (size, data[:2]) == ((1463, 2048), b"\xff\xd8")


def test_transparency_is_kept_and_a_small_file_is_sent_as_it_is(guest: Guest) -> None:
    guest.at(OLD)
    clear = Image.new("RGBA", (3000, 30), (255, 0, 0, 0))
    guest.drop(saved(clear), "image/png")
    data, size = guest.sent()
    with Image.open(io.BytesIO(data)) as image:
        assert (size, image.convert("RGBA").getpixel((0, 0))[3]) == ((2048, 20), 0)  # type: ignore[index]
    small = saved(plain())
    guest.page.get_by_role("button", name="Remove the image").click()
    guest.drop(small, kind="paste", on="body")
    assert guest.sent() == (small, (64, 48))


REFUSED: tuple[tuple[dict[str, Any], str], ...] = (
    ({"name": "empty.png"}, "This file is empty."),
    ({"data": b"x", "padding": 31 * 2**20}, "This file has 31 MB: at most 25 MB can be sent."),
    ({"data": b"%PDF-1.7", "type": "application/pdf"}, "no image that this server reads (JPEG, PNG, WebP"),
    ({"data": b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", "type": ""}, "an iPhone photo (HEIC)"),
)


def test_what_can_t_be_used_is_refused_by_the_control_and_before_it_is_sent_if_possible(guest: Guest) -> None:
    page = guest.at(OLD)
    before = guest.field("image").input_value()
    sent: list[str] = []
    page.on("request", lambda request: sent.append(request.url))
    refusal = page.locator(".intake [role=alert]")
    for file, words in REFUSED:
        guest.drop(**file)
        expect(refusal).to_contain_text(words)
    assert not [url for url in sent if "upload" in url or "recipe" in url]
    guest.drop(b"no image at all", "image/png")
    expect(refusal).to_have_text(re.compile(r"^This file is not a JPEG, .* or a damaged one\.$"))
    colour = "element => getComputedStyle(element).color"
    assert refusal.evaluate(colour) != page.locator(".hint").first.evaluate(colour)
    assert guest.field("image").input_value() == before
    assert guest.barriers() == []
    page.get_by_role("button", name="Sample: Portrait").click()
    expect(refusal).to_be_empty()


def test_it_is_shown_while_it_is_sent_and_can_be_called_off(guest: Guest) -> None:
    page = guest.at(OLD)
    before = guest.field("image").input_value()
    held: list[Route] = []
    page.route("**/upload-asset", lambda route: held.append(route))  # noqa: PLW0108 - playwright marks what it calls
    guest.drop(saved(plain()))
    expect(page.get_by_role("progressbar", name="Sent")).to_be_visible()
    expect(page.locator(".view img")).to_have_attribute("src", re.compile("^blob:"))
    page.locator(".sending").get_by_role("button", name="Cancel").click()
    expect(page.get_by_text("Cancelled.")).to_be_visible()
    expect(page.locator(".view img")).to_have_attribute("src", re.compile("sd-img2img-input"))
    assert guest.field("image").input_value() == before
    page.unroute("**/upload-asset")


# Ways in


def test_images_of_this_server_and_addresses_come_in_by_drag_and_paste(guest: Guest) -> None:
    page = guest.at(OLD)
    image = guest.field("image")
    name = guest.site.own.files.outputs.put(saved(plain()), "png")
    page.evaluate(
        "name => document.querySelector('.stage').prepend(Object.assign(new Image(96, 72), { src: `/files/${name}` }))",
        name,
    )
    page.drag_and_drop(".stage > img", ".tabs")
    expect(image).to_have_value(f"/files/{name}")
    expect(page.get_by_text("It is the input image now.")).to_be_visible()
    guest.drop(texts={"text/uri-list": "# a comment\r\nhttps://one.example/a.png"})
    expect(image).to_have_value("https://one.example/a.png")
    html = "<a href='https://one.example/page'><img src='https://one.example/b.png'></a>"
    guest.drop(texts={"text/html": html, "text/uri-list": "https://one.example/page"})
    expect(image).to_have_value("https://one.example/b.png")
    guest.drop(kind="paste", on="body", texts={"text/plain": "https://one.example/c.png"})
    expect(image).to_have_value("https://one.example/c.png")
    guest.drop(kind="paste", on="body", texts={"text/plain": f"{guest.address}/files/{name}"})
    expect(image).to_have_value(f"/files/{name}")
    assert not guest.drop(saved(plain()), kind="paste", on="textarea", texts={"text/plain": "a fox"}), (
        "text for a field"
    )
    assert not guest.drop(kind="paste", on="body", texts={"text/plain": "a fox"})
    assert not guest.drop(kind="dragover", texts={"text/plain": "a fox"}), "marked text goes where it is dropped"
    pixel = "data:image/gif;base64,R0lGODlhAQABAAAAACH5BAEKAAEALAAAAAABAAEAAAICTAEAOw=="
    guest.drop(kind="paste", on="body", texts={"text/plain": pixel})
    assert guest.sent()[1] == (1, 1)


def test_an_image_is_chosen_taken_with_the_camera_or_a_sample(guest: Guest) -> None:
    page = guest.at(OLD)
    image = guest.field("image")
    page.get_by_role("button", name="Sample: Portrait").click()
    expect(image).to_have_value("/sd3-img2img-ip.jpg")
    page.get_by_label("Image: choose a file").set_input_files(
        {"name": "a.png", "mimeType": "image/png", "buffer": saved(plain())}
    )
    assert guest.sent()[1] == (64, 48)
    chosen = image.input_value()
    guest.field("image")  # folded away with the choice
    page.get_by_role("button", name="Camera").click()
    page.get_by_role("button", name="Take it").click()
    expect(image).not_to_have_value(chosen)
    assert guest.sent()[0].startswith(b"\xff\xd8")


def test_a_mask_s_file_that_is_none_is_refused_by_its_control(guest: Guest) -> None:
    page = guest.at(INPAINTING)
    mask = page.get_by_label("Choose a mask file")
    mask.set_input_files({"name": "a.png", "mimeType": "image/png", "buffer": b"none"})
    expect(page.locator(".brush .error")).to_contain_text("no image that this browser can show")
    mask.set_input_files({"name": "a.png", "mimeType": "image/png", "buffer": saved(plain(300, 10))})
    expect(page.locator(".brush .error")).to_contain_text("another shape")


def test_no_page_is_left_for_a_file(guest: Guest) -> None:
    for path in ("/", "/account"):
        guest.at(path)
        assert guest.drop(saved(plain()), kind="dragover"), path
        assert guest.drop(saved(plain())), path


# Settings


def test_a_file_of_this_server_gives_its_settings_back_or_is_an_input(guest: Guest) -> None:
    page = guest.at(OLD)
    recipe = made(SD15_IMG2IMG.slug)
    file = encode(plain(), "jpeg", 95, *notes(recipe, (64, 48)))
    guest.field("prompt").fill("another")
    guest.drop(file, "image/jpeg")
    dialog = page.get_by_role("dialog")
    expect(dialog).to_contain_text(recipe.params.prompt)
    expect(dialog).to_contain_text("The image that it was made from isn't in the file.")
    assert guest.barriers() == []
    dialog.get_by_role("button", name="Use its settings").click()
    expect(guest.field("prompt")).to_have_value(recipe.params.prompt)
    expect(guest.field("guidance_scale")).to_have_value(str(recipe.params.guidance))
    expect(guest.field("image")).to_have_value("/sd-img2img-input.jpeg")
    guest.drop(file, "image/jpeg", kind="paste", on="body")
    page.get_by_role("dialog").get_by_role("button", name="Use as input").click()
    assert guest.sent()[0] == file, "with its recipe"


def test_the_settings_of_another_model_open_its_page(guest: Guest) -> None:
    page = guest.at(MEDIUM)
    guest.drop(encode(plain(), "png", 95, *notes(made(SD15_TXT2IMG.slug), (64, 48))))
    page.get_by_role("dialog").get_by_role("button", name="Use its settings").click()
    expect(page).to_have_url(re.compile(re.escape(TEXT)))
    expect(guest.field("prompt")).to_have_value(made(SD15_TXT2IMG.slug).params.prompt)
    expect(page.get_by_text("The settings are the file's now.")).to_be_visible()


def test_a1111_s_settings_are_taken_and_what_is_unknown_is_named(guest: Guest) -> None:
    page = guest.at(TEXT)
    guest.drop(infotext(THEIRS), kind="dragover")
    expect(page.get_by_text("Drop to use its settings")).to_be_visible()
    guest.drop(infotext(THEIRS))
    dialog = page.get_by_role("dialog")
    expect(dialog).to_contain_text("Clip skip 2")
    guest.sound()
    dialog.get_by_role("button", name="Use its settings").click()
    expect(guest.field("prompt")).to_have_value("a castle, (best quality:1.2)\non a hill")
    expect(guest.field("num_inference_steps")).to_have_value("30")
    expect(page.get_by_text(re.compile(r"Not known here: .*Clip skip 2\."))).to_be_visible()


def test_an_image_without_settings_opens_a_model_that_takes_it(guest: Guest) -> None:
    page = guest.at(TEXT)
    guest.drop(saved(plain()))
    dialog = page.get_by_role("dialog", name="This model takes no input image")
    expect(dialog.get_by_role("button", name="Use its settings")).to_have_count(0)
    dialog.get_by_role("button", name="Stable Diffusion 3 Medium image to image").click()
    expect(page).to_have_url(re.compile(re.escape(MEDIUM)))
    expect(guest.field("image")).to_have_value(UPLOADED)
